"""The set engine that runs in an embedded DuckDB, fed by Arrow streams."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reconciler.core.batches import Batch, Direction
from reconciler.core.counts import Counts
from reconciler.core.drift import DriftCounts
from reconciler.core.plan import Head
from reconciler.core.spec import MAX_BATCH, OnBad, Ownership, Target
from reconciler.diff.blocks import add_block, begin_blocks, drop_blocks
from reconciler.diff.census import Census, Numbers, count_drift
from reconciler.diff.failures import broken_query, broken_sets, broken_state, translating
from reconciler.diff.instance import Instance
from reconciler.diff.sets import Sets
from reconciler.diff.standing import HELD, POSSIBLE, Change, Flag, select
from reconciler.engine.ports import (
    Adoption,
    Comparison,
    Findings,
    Member,
    RemoteCount,
    Rows,
    Snapshot,
    Source,
    Stored,
)
from reconciler.errors import IncompleteRead, SourceError

FINDINGS_CHUNK = 50_000
"""Ids in one list of findings."""


class EmbeddedSetEngine:
    """Compares sets in one DuckDB for the whole run. Segments may be compared in several threads, one each."""

    def __init__(
        self,
        memory_limit: str,
        spill_parent: Path,
        source_of: Callable[[Target], Source],
        snapshot_of: Callable[[Target], Snapshot],
    ) -> None:
        self._instance = Instance(memory_limit, spill_parent)
        self._source_of = source_of
        self._snapshot_of = snapshot_of

    def __enter__(self) -> Self:
        self._instance.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._instance.__exit__(kind, error, trace)

    @contextmanager
    def open(self, target: Target) -> Iterator[Comparison]:
        """Begin the comparison of one segment; its tables go when it is left."""
        with self._instance.catalog() as catalog, Tables(self._instance, catalog) as tables:
            yield EmbeddedComparison(target, self._source_of, self._snapshot_of, tables)


class Tables:
    """The cursors on the tables of one comparison; all are closed with it."""

    def __init__(self, instance: Instance, catalog: str) -> None:
        self.catalog = catalog
        self._instance = instance
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._main = self._stack.enter_context(self._instance.cursor())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with translating(broken_sets()):
            self._main.execute(sql, list(parameters))

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with translating(broken_sets()):
            return self._main.execute(sql, list(parameters)).fetchall()

    def read(self, sql: str, **streams: Rows) -> None:
        """Run a statement that reads streams by these names. Raises DuckDB's errors: who calls knows whose they are."""
        with ExitStack() as stack:
            for name, rows in streams.items():
                if isinstance(rows, Iterator):
                    stack.callback(self._main.execute, drop_blocks(name))
                    self._load_blocks(name, rows)
                else:
                    # The capsule, not its owner: DuckDB would ask an owner for several streams, and there is only one.
                    stack.callback(self._main.unregister, name)
                    self._main.register(name, rows.__arrow_c_stream__())
            self._main.execute(sql)

    def _load_blocks(self, name: str, blocks: Iterator[str]) -> None:
        """Put blocks of text into a temporary table, which only this cursor sees."""
        self._main.execute(begin_blocks(name))
        insert = add_block(name)
        for block in blocks:
            self._main.execute(insert, [block])

    def stream(self, sql: str, size: int) -> Iterator[list[str]]:
        """Give the first column in lists of `size`, as the statement orders it; in any thread, any number of times."""
        with self._instance.cursor() as cursor, translating(broken_sets()):
            cursor.execute(sql)
            while rows := cursor.fetchmany(size):
                yield [row[0] for row in rows]


class EmbeddedComparison:
    """One segment's sets, as tables of DuckDB."""

    engine = "local"

    def __init__(
        self,
        target: Target,
        source_of: Callable[[Target], Source],
        snapshot_of: Callable[[Target], Snapshot],
        tables: Tables,
    ) -> None:
        self.head = Head()
        self._target = target
        self._segment = target.segment
        self._source_of = source_of
        self._snapshot_of = snapshot_of
        self._tables = tables
        self._sets = Sets(tables.catalog, target.segment.id_type)
        self._remote: RemoteCount | None = None
        self._exclusive = target.segment.ownership is Ownership.EXCLUSIVE

    # --- what is there -------------------------------------------------------------------------------------------

    def load_remote(self, pages: Iterable[Sequence[Member]]) -> RemoteCount:
        self._remote = None
        self._tables.run(self._sets.begin_remote())
        for page in pages:
            if page:
                self._tables.run(self._sets.add_remote(), _write_page(page))
        self._tables.run(self._sets.end_remote())
        self._tables.run(self._sets.drop_remote())
        people, unkeyed, rows = self._tables.fetch(self._sets.count_remote())[0]
        self._remote = RemoteCount(people, unkeyed, rows - people)
        return self._remote

    def _require_remote(self) -> RemoteCount:
        if self._remote is None:
            raise IncompleteRead("the real membership has not been read", "nothing may be computed without it")
        return self._remote

    # --- what is known -------------------------------------------------------------------------------------------

    def _load_known(self, with_remote: bool) -> None:
        snapshot = self._snapshot_of(self._target)
        with snapshot.open(self._target.workspace, self._segment.segment_id) as stored, translating(broken_state()):
            self.head = stored.head
            self._read_state(stored, with_remote)

    def _read_state(self, stored: Stored, with_remote: bool) -> None:
        self._tables.read(self._sets.lay_over(), marks=stored.marks(), journal=stored.journal())
        self._tables.read(self._sets.know(with_remote), members=stored.members())

    def _tally(self, sql: str) -> Numbers:
        return {Flag(row[0]): row[1] for row in self._tables.fetch(sql)}

    # --- what changes --------------------------------------------------------------------------------------------

    def compare(self) -> Counts:
        if self._exclusive:
            self._require_remote()
        self._load_known(with_remote=self._exclusive)
        self._match_query()
        census = self._take_census()
        self._refuse_bad(census)
        return replace(self._count(census), missing_sentinels=self._count_missing())

    def resume(self, sealed: Iterable[Batch]) -> Counts:
        with_remote = self._exclusive and self._remote is not None
        self._load_known(with_remote)
        self._tables.run(self._sets.begin_sealed())
        for batch in sealed:
            self._tables.run(self._sets.add_sealed(), ["\n".join(batch.ids), batch.direction is Direction.ADD])
        self._tables.run(self._sets.match_sealed(self._exclusive, with_remote))
        return replace(self._count(self._take_census()), desired=0, unchanged=0, duplicates=0)

    def _match_query(self) -> None:
        source = self._source_of(self._target)
        with translating(broken_query()), source.open(self._segment) as values:
            self._tables.read(self._sets.match_desired(values.all_typed, self._exclusive), desired=values.arrow)

    def _take_census(self) -> Census:
        changed = self._tables.fetch(self._sets.tally_changes())
        return Census(
            exclusive=self._exclusive,
            known=self._tally(self._sets.tally_known()),
            changed={Flag(flags): ids for flags, ids, _ in changed},
            changed_rows={Flag(flags): rows for flags, _, rows in changed},
            idle_rows=self._tally(self._sets.tally_idle()),
            refused=dict(self._tables.fetch(self._sets.tally_refused())),
        )

    def _count(self, census: Census) -> Counts:
        unkeyed = self._remote.unkeyed if self._remote and self._exclusive else None
        return replace(census.count(unkeyed), reversed_at=self._tables.fetch(self._sets.latest_reversed())[0][0])

    def _count_missing(self) -> int:
        sentinels = self._segment.guards.must_include
        if not sentinels:
            return 0
        missing = self._tables.fetch(self._sets.count_missing(self._exclusive), [list(sentinels)])[0][0]
        return int(missing)

    def _refuse_bad(self, census: Census) -> None:
        if census.nulls and self._segment.nulls is OnBad.ERROR:
            raise SourceError(
                f"the query returned {census.nulls:,} NULLs",
                "leave them out in the query (WHERE ... IS NOT NULL), or set `nulls: skip` for this segment",
                code="nulls",
            )
        if census.invalid and self._segment.invalid is OnBad.ERROR:
            raise SourceError(
                f"the query returned {census.invalid:,} values that can't be ids: {census.explain_invalid()}",
                "mend them in the query (for example TRIM(...), or CAST(... AS VARCHAR) of an integer), "
                "or set `invalid: skip` for this segment",
                code="invalid",
            )

    def batches(self, direction: Direction) -> Iterator[Batch]:
        sql = self._sets.changes(self._select(direction))
        return (Batch(direction, tuple(ids)) for ids in self._tables.stream(sql, MAX_BATCH))

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        sql = f"{self._sets.changes(self._select(direction))} LIMIT {int(number)}"
        return tuple(row[0] for row in self._tables.fetch(sql))

    def _select(self, direction: Direction) -> list[Flag]:
        changes = (change for change in Change if change.direction is direction)
        return [flags for change in changes for flags in select(change, self._exclusive)]

    # --- what a read-back shows ----------------------------------------------------------------------------------

    def drift(self) -> DriftCounts:
        remote = self._load_known_and_remote()
        return count_drift(self._tally(self._sets.tally_known()), remote.people, remote.unkeyed)

    def examine(self) -> Findings:
        self._load_known_and_remote()
        return Findings(
            appeared=self._finding(lambda flags: flags == Flag.UNMATCHED | Flag.REMOTE),
            vanished=self._finding(lambda flags: flags == Flag.STORED),
            lingering=self._finding(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
            gone=self._finding(lambda flags: flags == Flag.REMOVED),
        )

    def adoption(self, known_only: bool) -> Adoption:
        self._load_known_and_remote()
        return Adoption(
            id_type=self._segment.id_type,
            members=self._finding(
                lambda flags: (
                    Flag.REMOTE in flags and Flag.REMOVED not in flags and (not known_only or bool(flags & HELD))
                )
            ),
            unmatched=self._finding(lambda flags: Flag.REMOTE not in flags and bool(flags & HELD)),
            lingering=self._finding(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
        )

    def _load_known_and_remote(self) -> RemoteCount:
        remote = self._require_remote()
        self._load_known(with_remote=True)
        return remote

    def _finding(self, where: Callable[[Flag], bool]) -> Callable[[], Iterator[list[str]]]:
        sql = self._sets.known([flags for flags in POSSIBLE if where(flags)])
        return lambda: self._tables.stream(sql, FINDINGS_CHUNK)


def _write_page(page: Sequence[Member]) -> tuple[str, str]:
    """A page as two texts, a line for each member; a line feed within a key makes it no key."""
    cio_ids = "\n".join(member.cio_id.replace("\n", " ") for member in page)
    keys = "\n".join("" if member.key is None or "\n" in member.key else member.key for member in page)
    return cio_ids, keys
