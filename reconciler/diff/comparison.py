"""The comparison of one segment's sets, as tables of an embedded DuckDB that streams and blocks of text fill.

    members, marks, journal  what the state holds, as it gives it
    overlay  the status of an id by marks and journal; decided: it outweighs the members
    people   the real membership, each person once (read into `remote`); keys: their ids of the segment's type
    held     every id that the state knows, with its flags
    known    the same, and (if it was read) every id of the real membership
    desired  what the query returned, row by row: an id, or why it is none
    sealed   instead of it, what a plan file changes
    changes  the ids to send, each once (found as `moved`), with its flags
    add, remove  the same by direction, in the order of sending

A statement joins, groups or sorts once: two such steps in one would fight for the memory, and lose it.
Joins have the larger set on the left; the right one is remembered.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from reconciler.diff.decide import (
    HELD,
    POSSIBLE,
    SENT,
    Change,
    Flag,
    Numbers,
    Returned,
    count_changes,
    count_drift,
    refuse_bad,
    select,
)
from reconciler.diff.id_rules import normalize, refusal
from reconciler.diff.pushdown import ComparedInDatabase, compare_in_database
from reconciler.diff.tables import Tables, broken_query, make_database, unless_empty, write_batches
from reconciler.errors import IncompleteRead, StateError
from reconciler.models.batches import MAX_BATCH, Batch, Direction
from reconciler.models.comparison import Adoption, Counts, DriftCounts, Findings, NotPossible, Page, RemoteCount
from reconciler.models.id_status import lingers_since, write_id_status
from reconciler.models.plan import Head
from reconciler.models.spec import Ownership, Target
from reconciler.sources.base import PushdownSource, Source
from reconciler.state.base import Snapshot

log = logging.getLogger(__name__)

IDS_AT_ONCE = 20 * MAX_BATCH
"""Ids that are read together to be sent: few enough for the little memory that may be left."""

FINDINGS_CHUNK = 50_000
"""Ids in one list of findings."""


class SetEngine:
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
        self.source_of = source_of
        self.snapshot_of = snapshot_of
        self.pushdown_source_of = pushdown_source_of
        self._database = make_database(memory_limit, spill_parent)

    @contextmanager
    def keep(self) -> Iterator[Self]:
        """Keep the database, made at once, while the block runs. Raises SegmentError, UsageError."""
        with self._database.keep():
            with self._database.cursor():
                pass
            yield self

    def interrupt(self) -> None:
        """End the comparisons that run: they fail. May be called by a signal's handler."""
        self._database.interrupt()

    @contextmanager
    def begin(self, target: Target) -> Iterator["Comparison"]:
        """Begin the comparison of one segment; its tables go when it is left."""
        with self._database.catalog() as catalog, self._database.cursor(catalog) as cursor:
            yield Comparison(target, self, Tables(self._database, catalog, cursor))


@dataclass(frozen=True)
class Changes:
    """What a comparison found. The ids are read from its tables, any number of times until it is left."""

    engine: str
    """Where it was compared: `local`, or `in_database`."""
    head: Head
    counts: Counts
    _has_any: bool
    """Without any there is no table `changes`."""
    _exclusive: bool
    _tables: Tables = field(repr=False)

    def batches(self, direction: Direction) -> Iterator[Batch]:
        """The changes, in id order, 1,000 at a time; additions include the resends."""
        if not self._has_any:
            return
        joined, resent = "string_agg(id, chr(10))", _list(select([Change.RESEND], self._exclusive))
        slices = (
            f"""SELECT {joined}, {joined} FILTER (WHERE flags IN ({resent}))
            FROM {direction} WHERE rowid >= {start} AND rowid < {start + IDS_AT_ONCE}"""
            for start in range(0, self._sorted[direction], IDS_AT_ONCE)
        )
        for row, resends in self._tables.stream_each(slices):
            ids, again = sorted(row.split("\n")), frozenset(resends.split("\n") if resends else ())
            for start in range(0, len(ids), MAX_BATCH):
                batch = ids[start : start + MAX_BATCH]
                yield Batch(direction, tuple(batch), again.intersection(batch))

    @cached_property
    def _sorted(self) -> dict[Direction, int]:
        """Sort the ids of both directions: what takes memory fails before the first request or never."""
        flags = {each: _list(select(SENT[each], self._exclusive)) for each in Direction}
        rows = "SELECT id, flags FROM changes WHERE flags IN"
        return {each: self._tables.create(each, f"{rows} ({flags[each]}) ORDER BY id") for each in Direction}

    def already_there(self) -> Iterator[list[str]]:
        """Under `exclusive`: ids that are desired and in the segment, and not stored yet; sorted, in lists."""
        if not self._has_any:
            return iter(())
        ids = _list_ids("changes", select([Change.ADOPT], self._exclusive))
        return self._tables.stream(ids, FINDINGS_CHUNK)

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        """The first ids of a direction."""
        if not self._has_any:
            return ()
        ids = _list_ids("changes", select(SENT[direction], self._exclusive))
        return tuple(row[0] for row in self._tables.fetch(f"{ids} LIMIT {int(number)}"))


@dataclass(frozen=True)
class StateRead:
    """What was read of the state, without the rows, which are in the tables now."""

    head: Head
    now: float
    members: int = 0
    has_overlay: bool = False
    """There are marks, or a journal."""


class Comparison:
    """One segment's sets side by side. Either `compare` or `resume` is called, once.

    `load_remote`, `drift`, `examine` and `adoption` may be called again and again: each reads the snapshot afresh.
    """

    def __init__(self, target: Target, engine: SetEngine, tables: Tables) -> None:
        self._target = target
        self._segment = target.segment
        self._exclusive = target.segment.ownership is Ownership.EXCLUSIVE
        self._engine = engine
        self._tables = tables

    # --- the real membership -------------------------------------------------------------------------------------

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        """Load the real membership; called again, it starts afresh."""
        tables = self._tables
        tables.drop("people", "keys")
        tables.begin("remote")
        with tables.translating():
            tables.load_pages(pages, self._segment.id_type)
        ((rows, people),) = tables.fetch("SELECT count(*), count(DISTINCT cio_id) FROM remote")
        if rows == people:
            tables.run("ALTER TABLE remote RENAME TO people")
        else:
            tables.create("people", "SELECT cio_id, max(key) AS key FROM remote GROUP BY cio_id")
            tables.drop("remote")
        tables.create("keys", "SELECT DISTINCT key AS id FROM people WHERE key IS NOT NULL")
        return RemoteCount(*self._count_people())

    def _count_people(self) -> tuple[int, int]:
        """Count the people of the real membership, and those without a key. Raises IncompleteRead if none was read."""
        if ("keys",) not in self._tables.fetch("SHOW TABLES"):
            raise IncompleteRead("the real membership has not been read", "nothing may be computed without it")
        people, keyed = self._tables.fetch("SELECT count(*), count(key) FROM people")[0]
        return people, people - keyed

    # --- what is known -------------------------------------------------------------------------------------------

    def _read_state(self, tables: Tables) -> StateRead:
        broken = StateError(
            "the state database failed while the snapshot was being read",
            "check that it can be reached, then run again",
        )
        snapshot = self._engine.snapshot_of(self._target)
        with snapshot.read_segment(self._target.workspace, self._segment.segment_id) as stored:
            tables.begin("members")
            if stored.head.id_type not in (None, self._segment.id_type):
                return StateRead(stored.head, stored.now)  # ids of another type can't be compared with these
            with tables.translating(broken):
                members = tables.load("members", stored.members())
                # Most segments have nothing but members, and then no tables are made for the rest.
                numbers = {}
                for table, read in (("marks", stored.marks), ("journal", stored.journal)):
                    rows = unless_empty(read())
                    if rows is not None:
                        tables.begin(table)
                        numbers[table] = tables.load(table, rows)
            has_overlay = sum(numbers.values()) > 0
            if has_overlay:
                tables.begin(*(table for table in ("marks", "journal") if table not in numbers))
            return StateRead(stored.head, stored.now, members, has_overlay)

    def _make_known(self, state: StateRead, with_remote: bool) -> Numbers:
        """Make `known` of what was read, and count it."""
        tables = self._tables
        # Most of an overlay are tombstones, which only a comparison with the real membership needs.
        which = "true" if with_remote else "decided"
        is_overlaid = False
        if state.has_overlay:
            since = lingers_since(state.now, self._target.spec.destination.settle)
            id_status = write_id_status(_JOURNAL_IDS, "FROM marks", since)
            columns = "id, add_at, remove_at, decided, status::UTINYINT AS flags"
            tables.create("overlay", f"WITH {id_status} SELECT {columns} FROM id_status")
            is_overlaid = tables.fetch(f"SELECT count(*) FROM overlay WHERE {which}")[0][0] > 0
        held = "held" if with_remote else "known"
        if is_overlaid:
            tables.create(held, _HELD.format(which=which))
        else:
            tables.run(f"ALTER TABLE members RENAME TO {held}")
            if not with_remote:
                return {Flag.STORED: state.members}
        if with_remote:
            tables.create("known", _HELD_OR_REMOTE)
        tables.drop("members", "marks", "journal", "held")
        return self._count_flags("known")

    def _count_flags(self, table: str) -> Numbers:
        rows = self._tables.fetch(f"SELECT flags, count(*) FROM {table} GROUP BY flags")
        return {Flag(flags): number for flags, number in rows}

    # --- what changes --------------------------------------------------------------------------------------------

    def compare(self) -> Changes:
        """Run the query and compare: with the snapshot; under `exclusive` with the loaded membership, too."""
        unkeyed = self._count_people()[1] if self._exclusive else None
        # A database can't compare with the real membership, as that isn't in it.
        source = None if self._exclusive else self._engine.pushdown_source_of(self._target)
        found = None
        if source is not None:
            found = compare_in_database(self._target, source, self._engine.snapshot_of(self._target), self._tables)
            if isinstance(found, NotPossible):
                log.debug("%s: compared here, not in the database: %s", self._target.label, found.reason)
        if isinstance(found, ComparedInDatabase):
            engine, head, known, has_overlay = "in_database", found.head, found.known, True
            returned = found.returned
            refuse_bad(returned, self._segment)
            missing = self._count_missing()
        else:
            # The state is read in a thread of its own, so that neither database waits for the other.
            with self._tables.with_own_cursor() as tables, ThreadPoolExecutor(1, "state") as pool:
                reading = pool.submit(self._read_state, tables)
                try:
                    returned = self._load_desired()
                    missing = self._count_missing()
                except BaseException:
                    tables.stop()
                    raise
                state = reading.result()
            engine, head, has_overlay = "local", state.head, state.has_overlay
            known = self._make_known(state, with_remote=self._exclusive)
        changed, reversed_at = self._find_changes("desired", _MOVED_BY_QUERY, has_overlay)
        counts = count_changes(self._exclusive, known, changed, returned)
        counts = replace(counts, unkeyed=unkeyed, reversed_at=reversed_at, missing_sentinels=missing)
        return Changes(engine, head, counts, bool(changed), self._exclusive, self._tables)

    def resume(self, sealed: Iterable[Batch]) -> Changes:
        """Instead of running the query, take a plan file's changes; those that are already so in the state drop out."""
        unkeyed = self._count_people()[1] if self._exclusive else None
        self._tables.begin("sealed")
        with self._tables.translating():
            self._tables.load("sealed", write_batches(sealed))
        state = self._read_state(self._tables)
        known = self._make_known(state, with_remote=self._exclusive)
        changed, reversed_at = self._find_changes("sealed", _MOVED_BY_PLAN, state.has_overlay)
        counts = count_changes(self._exclusive, known, changed, Returned())
        counts = replace(counts, desired=0, unchanged=0, duplicates=0, unkeyed=unkeyed, reversed_at=reversed_at)
        return Changes("local", state.head, counts, bool(changed), self._exclusive, self._tables)

    def _load_desired(self) -> Returned:
        tables, id_type = self._tables, self._segment.id_type
        source = self._engine.source_of(self._target)
        with tables.translating(broken_query()), source.stream_values(self._segment) as values:
            judged = f"SELECT value, {refusal('value', 'typed', id_type)} AS refused FROM ({values.select})"
            ids = f"SELECT refused, if(refused IS NULL, {normalize('value', id_type)}, NULL) AS id FROM ({judged})"
            tables.load("desired", values.rows, ids)
        returned = Returned(dict(tables.fetch("SELECT refused, count(*) FROM desired GROUP BY refused")))
        refuse_bad(returned, self._segment)
        return returned

    def _count_missing(self) -> int:
        """Count the ids of `must_include` that are not desired."""
        sentinels = self._segment.guards.must_include
        if not sentinels:
            return 0
        statement = f"""WITH given AS (SELECT unnest($1::VARCHAR[]) AS value),
            sentinels AS (SELECT {normalize("value", self._segment.id_type)} AS id FROM given),
            found AS (SELECT id FROM desired SEMI JOIN sentinels USING (id))
            SELECT count(*) FROM sentinels WHERE id NOT IN (FROM found)"""
        return int(self._tables.fetch(statement, [list(sentinels)])[0][0])

    def _find_changes(self, table: str, matched: str, has_overlay: bool) -> tuple[Numbers, float | None]:
        """Make `changes` of `table` (which goes then), side by side with `known` in the query `matched`.

        Give their numbers, and the time of the latest attempt of unknown outcome that one of them reverses.
        """
        tables, unchanged = self._tables, _list(select([Change.NONE], self._exclusive))
        moved = tables.create("moved", f"SELECT id, flags FROM ({matched}) WHERE flags NOT IN ({unchanged})")
        tables.drop(table)
        if not moved:
            return {}, None
        tables.begin("changes")
        parts = moved // tables.rows_at_once + 1
        for part in range(parts):
            where = f"WHERE hash(id) % {parts} = {part}" if parts > 1 else ""
            tables.fetch(f"INSERT INTO changes SELECT id, flags FROM moved {where} GROUP BY id, flags")
        tables.drop("moved")
        reversed_at = None
        if has_overlay:
            sent = _list(flags for each in Direction for flags in select(SENT[each], self._exclusive))
            attempted_at = f"if(changes.flags & {Flag.DESIRED:d} <> 0, overlay.remove_at, overlay.add_at)"
            matched = "changes JOIN overlay ON changes.id = overlay.id"
            rows = tables.fetch(f"SELECT max({attempted_at}) FROM {matched} WHERE changes.flags IN ({sent})")
            reversed_at = rows[0][0]
        return self._count_flags("changes"), reversed_at

    # --- what a read-back shows ----------------------------------------------------------------------------------

    def drift(self) -> DriftCounts:
        """Compare the loaded membership with the snapshot."""
        people, unkeyed = self._count_people()
        return count_drift(self._make_known(self._read_state(self._tables), with_remote=True), people, unkeyed)

    def examine(self) -> Findings:
        """Like `drift`, but give the ids, for recording."""
        self.drift()
        return Findings(
            appeared=self._find(lambda flags: flags == Flag.UNMATCHED | Flag.REMOTE),
            vanished=self._find(lambda flags: flags == Flag.STORED),
            lingering=self._find(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
            gone=self._find(lambda flags: flags == Flag.REMOVED),
        )

    def adoption(self, known_only: bool) -> Adoption:
        """For `refresh`; `known_only` leaves out ids that the state does not hold."""
        self.drift()
        kept = HELD if known_only else HELD | Flag.REMOTE
        return Adoption(
            id_type=self._segment.id_type,
            members=self._find(lambda flags: Flag.REMOTE in flags and Flag.REMOVED not in flags and bool(flags & kept)),
            unmatched=self._find(lambda flags: Flag.REMOTE not in flags and bool(flags & HELD)),
            lingering=self._find(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
        )

    def _find(self, where: Callable[[Flag], bool]) -> Callable[[], Iterator[list[str]]]:
        ids = _list_ids("known", filter(where, POSSIBLE))
        return lambda: self._tables.stream(ids, FINDINGS_CHUNK)


def _list_ids(table: str, flags: Iterable[Flag]) -> str:
    """SQL: the ids with such flags, in the order of their bytes."""
    return f"SELECT id FROM {table} WHERE flags IN ({_list(flags)}) ORDER BY id"


def _list(flags: Iterable[Flag]) -> str:
    return ", ".join(str(int(each)) for each in flags) or "NULL"


# --- the statements that match two tables -----------------------------------------------------------------------------

_JOURNAL_IDS = """
SELECT unnest(string_split(ids, chr(10))) AS id, seq, direction, outcome, "at", unknown_at FROM journal"""

_HELD = """
SELECT coalesce(members.id, overlay.id) AS id,
    if(overlay.id IS NULL OR (members.id IS NOT NULL AND NOT overlay.decided), members.flags, overlay.flags) AS flags
FROM members FULL JOIN (FROM overlay WHERE {which}) AS overlay ON members.id = overlay.id"""

_HELD_OR_REMOTE = f"""
SELECT coalesce(held.id, keys.id) AS id,
    (coalesce(held.flags, 0) | if(keys.id IS NULL, 0, {Flag.REMOTE:d}))::UTINYINT AS flags
FROM held FULL JOIN keys ON held.id = keys.id"""

_MOVED_BY_QUERY = f"""
SELECT coalesce(desired.id, known.id) AS id,
    (coalesce(known.flags, 0) | if(desired.id IS NULL, 0, {Flag.DESIRED:d}))::UTINYINT AS flags
FROM (SELECT id FROM desired WHERE id IS NOT NULL) AS desired FULL JOIN known ON desired.id = known.id"""

_MOVED_BY_PLAN = f"""
SELECT coalesce(sealed.id, known.id) AS id,
    (coalesce(known.flags, 0) | CASE WHEN sealed.id IS NULL THEN {Flag.SPARED:d}
                                     WHEN sealed.adds THEN {Flag.DESIRED:d}
                                     ELSE 0 END)::UTINYINT AS flags
FROM sealed FULL JOIN known ON sealed.id = known.id"""
