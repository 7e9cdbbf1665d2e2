"""The comparison that runs in an embedded DuckDB, fed by streams and blocks of text."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.diff.base import Comparison
from reconciler.diff.flags import (
    HELD,
    POSSIBLE,
    Change,
    Flag,
    Numbers,
    Returned,
    count_changes,
    count_drift,
    select,
)
from reconciler.diff.pushdown import ComparedInDatabase, compare_in_database
from reconciler.diff.statements import Statements, normalize
from reconciler.diff.tables import (
    Tables,
    broken_query,
    broken_state,
    make_database,
    read_batches,
    unless_empty,
    write_batches,
    write_page,
)
from reconciler.embedded_duckdb import translating
from reconciler.errors import IncompleteRead, SourceError
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import Adoption, Counts, DriftCounts, Findings, NotPossible, Page, RemoteCount, Rows
from reconciler.models.id_status import lingers_since
from reconciler.models.plan import Head
from reconciler.models.spec import MAX_BATCH, OnBad, Ownership, Target
from reconciler.sources.base import PushdownSource, Source
from reconciler.state.base import Snapshot

log = logging.getLogger(__name__)

IDS_AT_ONCE = 20 * MAX_BATCH
"""Ids that are read together to be sent: few enough for the little memory that may be left."""

FINDINGS_CHUNK = 50_000
"""Ids in one list of findings."""


@dataclass(frozen=True)
class StateRead:
    """What was read of the state, without the rows, which are in the tables now."""

    head: Head
    now: float
    members: int = 0
    has_overlay: bool = False
    """There are marks, or a journal."""


class EmbeddedSetEngine:
    """Compares sets in one DuckDB for the whole run. Segments may be compared in several threads, one each."""

    def __init__(
        self,
        memory_limit: str,
        spill_parent: Path,
        source_of: Callable[[Target], Source],
        snapshot_of: Callable[[Target], Snapshot],
        pushdown_source_of: Callable[[Target], PushdownSource | None] = lambda _: None,
    ) -> None:
        """`pushdown_source_of` gives the source where its database may be that of the state; then it compares in it."""
        self._database = make_database(memory_limit, spill_parent)
        self._source_of = source_of
        self._snapshot_of = snapshot_of
        self._pushdown_source_of = pushdown_source_of
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Make the database. Raises SegmentError, UsageError."""
        with ExitStack() as stack:
            stack.enter_context(self._database.keep())
            with self._database.cursor():
                self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def interrupt(self) -> None:
        self._database.interrupt()

    @contextmanager
    def begin(self, target: Target) -> Iterator[Comparison]:
        """Begin the comparison of one segment; its tables go when it is left."""
        with self._database.catalog() as name, self._database.cursor() as cursor:
            tables = Tables(name, self._database, cursor)
            yield EmbeddedComparison(target, self._source_of, self._snapshot_of, self._pushdown_source_of, tables)


class EmbeddedComparison:
    """One segment's sets, as tables of DuckDB."""

    def __init__(
        self,
        target: Target,
        source_of: Callable[[Target], Source],
        snapshot_of: Callable[[Target], Snapshot],
        pushdown_source_of: Callable[[Target], PushdownSource | None],
        tables: Tables,
    ) -> None:
        self.engine = "local"
        self.head = Head()
        self._target = target
        self._segment = target.segment
        self._source_of = source_of
        self._snapshot_of = snapshot_of
        self._pushdown_source_of = pushdown_source_of
        self._tables = tables
        self._exclusive = target.segment.ownership is Ownership.EXCLUSIVE
        self._sql = Statements(tables.name, target.segment.id_type, self._exclusive)
        self._remote: RemoteCount | None = None
        self._moved = 0
        """The number of rows that the changes are found in; with none, no table `changes` is made."""
        self._sorted: dict[Direction, int] = {}
        """How many ids are to go in each direction, once they are sorted."""

    # --- the real membership -------------------------------------------------------------------------------------

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        self._remote = None
        db = self._tables.name
        self._tables.run(self._sql.begin("remote"))
        with translating(self._tables.limits):
            self._tables.insert(self._sql.add_page(), (write_page(page) for page in pages if page.cio_ids))
        ((rows, people),) = self._tables.fetch(f"SELECT count(*), count(DISTINCT cio_id) FROM {db}.remote")
        if rows == people:
            self._tables.run(self._sql.drop("people"), self._sql.rename("remote", "people"))
        else:
            each_once = f"SELECT cio_id, max(key) AS key FROM {db}.remote GROUP BY cio_id"
            self._tables.fetch(f"CREATE OR REPLACE TABLE {db}.people AS {each_once}")
            self._tables.run(self._sql.drop("remote"))
        distinct_keys = f"SELECT DISTINCT key AS id FROM {db}.people WHERE key IS NOT NULL"
        self._tables.fetch(f"CREATE OR REPLACE TABLE {db}.keys AS {distinct_keys}")
        unkeyed = self._tables.fetch_one(f"SELECT count(*) - count(key) FROM {db}.people")
        self._remote = RemoteCount(people, unkeyed, rows - people)
        return self._remote

    def _require_remote(self) -> RemoteCount:
        if self._remote is None:
            raise IncompleteRead("the real membership has not been read", "nothing may be computed without it")
        return self._remote

    # --- what is known -------------------------------------------------------------------------------------------

    def _read_state(self, tables: Tables) -> StateRead:
        with self._snapshot_of(self._target).read_segment(self._target.workspace, self._segment.segment_id) as stored:
            tables.run(self._sql.begin("members"))
            if stored.head.id_type not in (None, self._segment.id_type):
                return StateRead(stored.head, stored.now)  # ids of another type can't be compared with these
            members = self._fill(tables, "members", stored.members())
            # Most segments have nothing but members, and then no tables are made for the rest.
            numbers = {}
            for table, read in (("marks", stored.marks), ("journal", stored.journal)):
                rows = unless_empty(read())
                if rows is not None:
                    tables.run(self._sql.begin(table))
                    numbers[table] = self._fill(tables, table, rows)
            has_overlay = sum(numbers.values()) > 0
            if has_overlay:
                tables.run(*(self._sql.begin(table) for table in ("marks", "journal") if table not in numbers))
            return StateRead(stored.head, stored.now, members, has_overlay)

    def _fill(self, tables: Tables, table: str, rows: Rows) -> int:
        """Give the number of rows."""
        with translating(self._tables.limits, broken_state()):
            if isinstance(rows, Iterator):
                return tables.insert(self._sql.add_block(table), ([block] for block in rows))
            return tables.insert_stream(self._sql.add_stream(table), rows)

    def _make_known(self, state: StateRead, with_remote: bool, with_tombstones: bool) -> bool:
        """Make `known` of what was read; true: it is nothing but the members."""
        # Most of an overlay are tombstones, which a plan does without.
        which = "true" if with_tombstones else "decided"
        is_overlaid = False
        if state.has_overlay:
            since = lingers_since(state.now, self._target.spec.destination.settle)
            self._tables.fetch(self._sql.make_overlay(since))
            is_overlaid = self._tables.fetch_one(f"SELECT count(*) FROM {self._tables.name}.overlay WHERE {which}") > 0
        held = "held" if with_remote else "known"
        if is_overlaid:
            self._tables.fetch(self._sql.make_held(held, which))
        else:
            self._tables.run(self._sql.drop(held), self._sql.rename("members", held))
        if with_remote:
            self._tables.fetch(self._sql.make_known())
        if is_overlaid or with_remote:
            self._tables.run(*map(self._sql.drop, ("members", "marks", "journal", "held")))
            return False
        return True

    def _count_known(self, state: StateRead, is_plain: bool) -> Numbers:
        return {Flag.STORED: state.members} if is_plain else self._count_flags("known")

    def _count_flags(self, table: str) -> Numbers:
        rows = self._tables.fetch(f"SELECT flags, count(*) FROM {self._tables.name}.{table} GROUP BY flags")
        return {Flag(flags): number for flags, number in rows}

    # --- what changes --------------------------------------------------------------------------------------------

    def compare(self) -> Counts:
        if self._exclusive:
            self._require_remote()
        found = self._compare_in_database()
        if found is not None:
            self.engine, self.head = "in_database", found.head
            self._refuse_bad(found.returned)
            returned, known, has_overlay, missing = found.returned, found.known, True, self._count_missing()
        else:
            # The state is read in a thread of its own, so that neither database waits for the other.
            with self._tables.with_own_cursor() as tables, ThreadPoolExecutor(1, "state") as pool:
                reading = pool.submit(self._read_state, tables)
                try:
                    returned, missing = self._load_desired(), self._count_missing()
                except BaseException:
                    tables.stop()
                    raise
                state = reading.result()
            self.engine, self.head, has_overlay = "local", state.head, state.has_overlay
            is_plain = self._make_known(state, with_remote=self._exclusive, with_tombstones=self._exclusive)
            known = self._count_known(state, is_plain)
        self._find_changes(self._sql.match_desired(), "desired")
        return replace(self._count(returned, known, has_overlay), missing_sentinels=missing)

    def _compare_in_database(self) -> ComparedInDatabase | None:
        """Have the database compare, if it can; the real membership isn't in it."""
        source = None if self._exclusive else self._pushdown_source_of(self._target)
        if source is None:
            return None
        found = compare_in_database(self._target, source, self._snapshot_of(self._target), self._tables)
        if isinstance(found, NotPossible):
            log.debug("%s: compared here, not in the database: %s", self._target.label, found.reason)
            return None
        return found

    def resume(self, sealed: Iterable[Batch]) -> Counts:
        with_remote = self._exclusive and self._remote is not None
        self._tables.run(self._sql.begin("sealed"))
        with translating(self._tables.limits):
            self._tables.insert(self._sql.add_block("sealed"), ([block] for block in write_batches(sealed)))
        state = self._read_state(self._tables)
        self.head = state.head
        is_plain = self._make_known(state, with_remote, with_tombstones=self._exclusive)
        known = self._count_known(state, is_plain)
        self._find_changes(self._sql.match_sealed(with_remote), "sealed")
        return replace(self._count(Returned(), known, state.has_overlay), desired=0, unchanged=0, duplicates=0)

    def _load_desired(self) -> Returned:
        source = self._source_of(self._target)
        with translating(self._tables.limits, broken_query()), source.stream_values(self._segment) as values:
            if isinstance(values.rows, Iterator):
                self._tables.run(self._sql.begin("desired"))
                self._tables.insert(self._sql.add_desired(values.select), ([block] for block in values.rows))
            else:
                self._tables.insert_stream(self._sql.make_desired(values.select), values.rows)
        by_refusal = f"SELECT refused, count(*) FROM {self._tables.name}.desired GROUP BY refused"
        returned = Returned(dict(self._tables.fetch(by_refusal)))
        self._refuse_bad(returned)
        return returned

    def _count_missing(self) -> int:
        """Count the ids of `must_include` that are not desired."""
        sentinels = self._segment.guards.must_include
        if not sentinels:
            return 0
        statement = f"""WITH given AS (SELECT unnest($1::VARCHAR[]) AS value),
            sentinels AS (SELECT {normalize("value", self._segment.id_type)} AS id FROM given),
            found AS (SELECT id FROM {self._tables.name}.desired SEMI JOIN sentinels USING (id))
            SELECT count(*) FROM sentinels WHERE id NOT IN (FROM found)"""
        return int(self._tables.fetch_one(statement, [list(sentinels)]))

    def _find_changes(self, match: str, matched: str) -> None:
        """Find the changes; the table that is matched with what is known goes when they are found."""
        self._sorted = {}
        self._moved = self._tables.fetch_one(match)
        self._tables.run(self._sql.drop(matched))
        if not self._moved:
            return
        parts = self._moved // self._tables.rows_at_once + 1
        self._tables.run(self._sql.begin("changes"))
        for part in range(parts):
            self._tables.fetch(self._sql.add_changes(part, parts))
        self._tables.run(self._sql.drop("moved"))

    def _count(self, returned: Returned, known: Numbers, has_overlay: bool) -> Counts:
        changed = self._count_flags("changes") if self._moved else {}
        reversed_at = None
        if has_overlay and self._moved:
            sent = [flags for direction in Direction for flags in self._select(direction)]
            reversed_at = self._tables.fetch_one(self._sql.latest_reversed(sent))
        unkeyed = self._remote.unkeyed if self._remote and self._exclusive else None
        counts = count_changes(self._exclusive, known, changed, returned)
        return replace(counts, unkeyed=unkeyed, reversed_at=reversed_at)

    def _refuse_bad(self, returned: Returned) -> None:
        """Raise SourceError for values that stop the segment, with the next step for each kind."""
        faults = []
        if returned.nulls and self._segment.nulls is OnBad.ERROR:
            faults.append(
                (
                    "nulls",
                    f"{returned.nulls:,} {'NULL' if returned.nulls == 1 else 'NULLs'}",
                    "leave them out in the query (WHERE ... IS NOT NULL), or set `nulls: skip` for this segment",
                )
            )
        if returned.invalid and self._segment.invalid is OnBad.ERROR:
            noun = "value that can't be an id" if returned.invalid == 1 else "values that can't be ids"
            faults.append(
                (
                    "invalid",
                    f"{returned.invalid:,} {noun}: {returned.explain_invalid()}",
                    "correct them in the query (for example TRIM(...), or CAST(... AS VARCHAR) of an integer), "
                    "or set `invalid: skip` for this segment",
                )
            )
        if faults:
            codes, found, steps = zip(*faults, strict=True)
            raise SourceError(f"the query returned {' and '.join(found)}", "; ".join(steps), code=codes[0])

    def batches(self, direction: Direction) -> Iterator[Batch]:
        if not self._moved:
            return
        if not self._sorted:  # both at once: what takes memory fails before the first request or never
            for each in Direction:
                self._sorted[each] = self._tables.fetch_one(self._sql.sort_changes(each, self._select(each)))
        starts = range(0, self._sorted[direction], IDS_AT_ONCE)
        slices = (self._sql.read_slice(direction, start, start + IDS_AT_ONCE) for start in starts)
        for ids, resends in self._tables.stream_each(slices):
            yield from read_batches(direction, ids, resends)

    def already_there(self) -> Iterator[list[str]]:
        if not self._moved:
            return iter(())
        return self._tables.stream(self._sql.list_ids("changes", select(Change.ADOPT, self._exclusive)), FINDINGS_CHUNK)

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        if not self._moved:
            return ()
        rows = self._tables.fetch(self._sql.list_ids("changes", self._select(direction), number))
        return tuple(row[0] for row in rows)

    def _select(self, direction: Direction) -> list[Flag]:
        changes = (change for change in Change if change.direction is direction)
        return [flags for change in changes for flags in select(change, self._exclusive)]

    # --- what a read-back shows ----------------------------------------------------------------------------------

    def drift(self) -> DriftCounts:
        remote = self._make_known_with_remote()
        return count_drift(self._count_flags("known"), remote.people, remote.unkeyed)

    def examine(self) -> Findings:
        self._make_known_with_remote()
        return Findings(
            appeared=self._find(lambda flags: flags == Flag.UNMATCHED | Flag.REMOTE),
            vanished=self._find(lambda flags: flags == Flag.STORED),
            lingering=self._find(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
            gone=self._find(lambda flags: flags == Flag.REMOVED),
        )

    def adoption(self, known_only: bool) -> Adoption:
        self._make_known_with_remote()
        return Adoption(
            id_type=self._segment.id_type,
            members=self._find(
                lambda flags: (
                    Flag.REMOTE in flags and Flag.REMOVED not in flags and (not known_only or bool(flags & HELD))
                )
            ),
            unmatched=self._find(lambda flags: Flag.REMOTE not in flags and bool(flags & HELD)),
            lingering=self._find(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
        )

    def _make_known_with_remote(self) -> RemoteCount:
        remote = self._require_remote()
        state = self._read_state(self._tables)
        self.head = state.head
        self._make_known(state, with_remote=True, with_tombstones=True)
        return remote

    def _find(self, where: Callable[[Flag], bool]) -> Callable[[], Iterator[list[str]]]:
        sql = self._sql.list_ids("known", [flags for flags in POSSIBLE if where(flags)])
        return lambda: self._tables.stream(sql, FINDINGS_CHUNK)
