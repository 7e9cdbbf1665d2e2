"""The set engine that runs in an embedded DuckDB, fed by Arrow streams."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.diff.base import Comparison
from reconciler.diff.failures import broken_query, broken_state
from reconciler.diff.flags import HELD, POSSIBLE, Census, Change, Flag, Numbers, Returned, count_drift, select
from reconciler.diff.pushdown import ComparedInDatabase, compare_in_database
from reconciler.diff.statements import Sets
from reconciler.diff.tables import Tables, read_batches, unless_empty, write_batches, write_page
from reconciler.embedded_duckdb import Instance, broken_sets, translating
from reconciler.errors import IncompleteRead, SourceError
from reconciler.models.batches import Batch, Direction, lingers_since
from reconciler.models.columns import Rows
from reconciler.models.counts import Counts
from reconciler.models.drift import Adoption, DriftCounts, Findings
from reconciler.models.plan import Head
from reconciler.models.pushdown import NotPossible
from reconciler.models.remote import Page, RemoteCount
from reconciler.models.spec import MAX_BATCH, OnBad, Ownership, Target
from reconciler.sources.base import PushdownSource, Source
from reconciler.state.base import Snapshot, Stored

log = logging.getLogger(__name__)

IDS_AT_ONCE = 20 * MAX_BATCH
"""Ids that are read together to be sent: few enough for the little memory that may be left."""

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
        pushdown_source_of: Callable[[Target], PushdownSource | None] = lambda _: None,
    ) -> None:
        """`pushdown_source_of` gives the source where it may be the database of the state; then it compares there."""
        self._instance = Instance(memory_limit, spill_parent)
        self._source_of = source_of
        self._snapshot_of = snapshot_of
        self._pushdown_source_of = pushdown_source_of

    def __enter__(self) -> Self:
        self._instance.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._instance.__exit__(kind, error, trace)

    def interrupt(self) -> None:
        self._instance.interrupt()

    @contextmanager
    def open(self, target: Target) -> Iterator[Comparison]:
        """Begin the comparison of one segment; its tables go when it is left."""
        with self._instance.catalog() as name, Tables(self._instance, name) as tables:
            yield EmbeddedComparison(
                target, self._source_of, self._snapshot_of, self._pushdown_source_of, self._instance, tables
            )


class EmbeddedComparison:
    """One segment's sets, as tables of DuckDB."""

    def __init__(
        self,
        target: Target,
        source_of: Callable[[Target], Source],
        snapshot_of: Callable[[Target], Snapshot],
        pushdown_source_of: Callable[[Target], PushdownSource | None],
        instance: Instance,
        tables: Tables,
    ) -> None:
        self.engine = "local"
        self.head = Head()
        self._target = target
        self._segment = target.segment
        self._source_of = source_of
        self._snapshot_of = snapshot_of
        self._pushdown_source_of = pushdown_source_of
        self._instance = instance
        self._tables = tables
        self._members = 0
        self._has_overlay = False
        self._now = 0.0
        self._is_plain = False
        """Nothing is known but members."""
        self._moved = 0
        """Rows that the changes are found in; without any there is no table `changes`."""
        self._sets = Sets(tables.name, target.segment.id_type)
        self._remote: RemoteCount | None = None
        self._sorted: dict[Direction, int] = {}
        """How many ids are to go in each direction, once they are sorted."""
        self._exclusive = target.segment.ownership is Ownership.EXCLUSIVE

    # --- what is there -------------------------------------------------------------------------------------------

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        self._remote = None
        self._tables.run(self._sets.begin("remote"))
        with translating(broken_sets(), self._tables.limits):
            self._tables.repeat(self._sets.add_page(), (write_page(page) for page in pages if page.cio_ids))
        rows, people = self._tables.fetch(self._sets.count_remote())[0]
        self._take_people(listed_once=rows == people)
        self._tables.work(self._sets.take_keys())
        self._remote = RemoteCount(people, self._tables.fetch_one(self._sets.count_unkeyed()), rows - people)
        return self._remote

    def _take_people(self, listed_once: bool) -> None:
        if listed_once:
            self._tables.run(self._sets.drop("people"))
            self._tables.run(self._sets.rename("remote", "people"))
        else:
            self._tables.work(self._sets.take_people())
            self._tables.run(self._sets.drop("remote"))

    def _require_remote(self) -> RemoteCount:
        if self._remote is None:
            raise IncompleteRead("the real membership has not been read", "nothing may be computed without it")
        return self._remote

    # --- what is known -------------------------------------------------------------------------------------------

    def _load_known(self, with_remote: bool, with_tombstones: bool) -> None:
        self._read_state(self._tables)
        self._know(with_remote, with_tombstones)

    @contextmanager
    def _reading_state(self) -> Iterator[None]:
        """Read the state while the block runs, in a thread of its own: neither database waits for the other."""
        with Tables(self._instance, self._tables.name) as beside, ThreadPoolExecutor(1, "state") as pool:
            reading = pool.submit(self._read_state, beside)
            try:
                yield
            except BaseException:
                beside.stop()
                raise
            reading.result()

    def _read_state(self, tables: Tables) -> None:
        snapshot = self._snapshot_of(self._target)
        with snapshot.open(self._target.workspace, self._segment.segment_id) as stored:
            self.head, self._now = stored.head, stored.now
            tables.run(self._sets.begin("members"))
            self._members = 0
            self._has_overlay = False
            if stored.head.id_type in (None, self._segment.id_type):  # ids of another type say nothing of these
                self._members = self._fill(tables, "members", stored.members())
                self._read_beside(tables, stored)

    def _read_beside(self, tables: Tables, stored: Stored) -> None:
        """Read what there is beside members; most segments have nothing, and then there are no tables for it."""
        numbers = {}
        for table, read in (("marks", stored.marks), ("journal", stored.journal)):
            rows = unless_empty(read())
            if rows is not None:
                tables.run(self._sets.begin(table))
                numbers[table] = self._fill(tables, table, rows)
        self._has_overlay = sum(numbers.values()) > 0
        if self._has_overlay:
            tables.run(*(self._sets.begin(table) for table in ("marks", "journal") if table not in numbers))

    def _fill(self, tables: Tables, table: str, rows: Rows) -> int:
        """Give the number of rows."""
        with translating(broken_state(), self._tables.limits):
            if isinstance(rows, Iterator):
                return tables.repeat(self._sets.add_block(table), ([block] for block in rows))
            return tables.read(self._sets.add_stream(table), rows)

    def _know(self, with_remote: bool, with_tombstones: bool) -> None:
        """From what was read of the state, and of what is there, to what is known."""
        overlaid = self._lay_over(with_tombstones)
        held = "held" if with_remote else "known"
        if overlaid:
            self._tables.work(self._sets.hold(held, with_tombstones))
        else:
            self._tables.run(self._sets.drop(held), self._sets.rename("members", held))
        if with_remote:
            self._tables.work(self._sets.know())
        self._is_plain = not overlaid and not with_remote
        if not self._is_plain:
            self._tables.run(*map(self._sets.drop, ("members", "marks", "journal", "held")))

    def _lay_over(self, with_tombstones: bool) -> bool:
        """Tell whether anything is laid over the members."""
        if not self._has_overlay:
            return False
        since = lingers_since(self._now, self._target.spec.destination.settle)
        self._tables.work(self._sets.lay_over(since))
        return bool(self._tables.fetch_one(self._sets.count_overlay(with_tombstones)))

    def _tally(self, sql: str) -> Numbers:
        return {Flag(row[0]): row[1] for row in self._tables.fetch(sql)}

    # --- what changes --------------------------------------------------------------------------------------------

    def compare(self) -> Counts:
        if self._exclusive:
            self._require_remote()
        there = self._compare_there()
        if there is not None:
            self._refuse_bad(there.returned)
            returned, missing = there.returned, self._count_missing()
        else:
            with self._reading_state():
                returned = self._load_desired()
                missing = self._count_missing()
            self._know(with_remote=self._exclusive, with_tombstones=self._exclusive)
        self._change(self._sets.match_desired(self._exclusive), "desired")
        return replace(self._count(returned, there.known if there else None), missing_sentinels=missing)

    def _compare_there(self) -> ComparedInDatabase | None:
        """Have the database compare, if it can."""
        source = (
            None if self._exclusive else self._pushdown_source_of(self._target)
        )  # what is really there isn't in the database
        if source is None:
            return None
        found = compare_in_database(self._target, source, self._snapshot_of(self._target), self._tables)
        if isinstance(found, NotPossible):
            log.debug("%s: compared here, not in the database: %s", self._target.label, found.reason)
            return None
        self.engine, self.head, self._has_overlay = "in_database", found.head, True
        return found

    def resume(self, sealed: Iterable[Batch]) -> Counts:
        with_remote = self._exclusive and self._remote is not None
        self._tables.run(self._sets.begin("sealed"))
        with translating(broken_sets(), self._tables.limits):
            self._tables.repeat(self._sets.add_block("sealed"), ([block] for block in write_batches(sealed)))
        self._load_known(with_remote, with_tombstones=self._exclusive)
        self._change(self._sets.match_sealed(self._exclusive, with_remote), "sealed")
        return replace(self._count(Returned()), desired=0, unchanged=0, duplicates=0)

    def _load_desired(self) -> Returned:
        source = self._source_of(self._target)
        with translating(broken_query(), self._tables.limits), source.stream_values(self._segment) as values:
            if isinstance(values.rows, Iterator):
                self._tables.run(self._sets.begin("desired"))
                self._tables.repeat(self._sets.desire_block(values.select), ([block] for block in values.rows))
            else:
                self._tables.read(self._sets.desire(values.select), values.rows)
        returned = Returned(dict(self._tables.fetch(self._sets.tally_desired())))
        self._refuse_bad(returned)
        return returned

    def _change(self, match: str, matched: str) -> None:
        """Find the changes; the table that is matched with what is known goes when they are found."""
        self._moved = self._tables.work(match)
        self._tables.run(self._sets.drop(matched))
        if not self._moved:
            return
        parts = self._moved // self._tables.rows_at_once + 1
        self._tables.run(self._sets.begin_changes())
        for part in range(parts):
            self._tables.work(self._sets.change(part, parts))
        self._tables.run(self._sets.drop("moved"))

    def _count(self, returned: Returned, known: Numbers | None = None) -> Counts:
        """`known`: what was counted elsewhere."""
        known = known if known is not None else self._tally_known()
        changed = self._tally(self._sets.tally_changes()) if self._moved else {}
        counts = Census(self._exclusive, known, changed).count(returned)
        reverses = self._has_overlay and self._moved
        reversed_at = self._tables.fetch_one(self._sets.latest_reversed(self._sent())) if reverses else None
        unkeyed = self._remote.unkeyed if self._remote and self._exclusive else None
        return replace(counts, unkeyed=unkeyed, reversed_at=reversed_at)

    def _tally_known(self) -> Numbers:
        return {Flag.STORED: self._members} if self._is_plain else self._tally(self._sets.tally_known())

    def _count_missing(self) -> int:
        sentinels = self._segment.guards.must_include
        if not sentinels:
            return 0
        return int(self._tables.fetch_one(self._sets.count_missing(), [list(sentinels)]))

    def _refuse_bad(self, returned: Returned) -> None:
        faults = list(self._find_faults(returned))
        if faults:
            codes, found, steps = zip(*faults, strict=True)
            raise SourceError(f"the query returned {' and '.join(found)}", "; ".join(steps), code=codes[0])

    def _find_faults(self, returned: Returned) -> Iterator[tuple[str, str, str]]:
        """Of each kind of bad value that stops the segment: its code, what was returned, and the next step."""
        if returned.nulls and self._segment.nulls is OnBad.ERROR:
            yield (
                "nulls",
                f"{returned.nulls:,} {'NULL' if returned.nulls == 1 else 'NULLs'}",
                "leave them out in the query (WHERE ... IS NOT NULL), or set `nulls: skip` for this segment",
            )
        if returned.invalid and self._segment.invalid is OnBad.ERROR:
            noun = "value that can't be an id" if returned.invalid == 1 else "values that can't be ids"
            yield (
                "invalid",
                f"{returned.invalid:,} {noun}: {returned.explain_invalid()}",
                "mend them in the query (for example TRIM(...), or CAST(... AS VARCHAR) of an integer), "
                "or set `invalid: skip` for this segment",
            )

    def batches(self, direction: Direction) -> Iterator[Batch]:
        if not self._moved:
            return
        if not self._sorted:  # both at once: what takes memory fails before the first request or never
            for each in Direction:
                self._sorted[each] = self._tables.work(self._sets.sort_changes(each, self._select(each)))
        resends, number = select(Change.RESEND, self._exclusive), self._sorted[direction]
        slices = (
            self._sets.send(direction, resends, start, start + IDS_AT_ONCE) for start in range(0, number, IDS_AT_ONCE)
        )
        for ids, again in self._tables.slices(slices):
            yield from read_batches(direction, ids, again)

    def already_there(self) -> Iterator[list[str]]:
        if not self._moved:
            return iter(())
        return self._tables.stream(self._sets.changed(select(Change.ADOPT, self._exclusive)), FINDINGS_CHUNK)

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        if not self._moved:
            return ()
        return tuple(row[0] for row in self._tables.fetch(self._sets.examples(self._select(direction), number)))

    def _sent(self) -> list[Flag]:
        return [flags for direction in Direction for flags in self._select(direction)]

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
        self._load_known(with_remote=True, with_tombstones=True)
        return remote

    def _finding(self, where: Callable[[Flag], bool]) -> Callable[[], Iterator[list[str]]]:
        sql = self._sets.known([flags for flags in POSSIBLE if where(flags)])
        return lambda: self._tables.stream(sql, FINDINGS_CHUNK)
