"""The comparison of one segment's sets, as tables of an embedded DuckDB that streams and blocks of text fill.

    members, marks, journal  what the state holds, as it gives it
    overlay  the status of an id by marks and journal; decided: it outweighs the members (from a database: times only)
    people   the real membership, each person once (read into `remote`); keys: their ids of the segment's type
    held     every id that the state knows, with its flags
    known    the same, and (if it was read) every id of the real membership
    desired  what the query returned, row by row: an id, or why it is none (from its database: and how many rows)
    sealed   instead of it, what a plan file changes, or what reverses a run
    sent     what that run sent (own), and what later runs have sent or read back since
    differing  the buckets in which they may (see `buckets`)
    changes  the ids to send, each once (found as `moved`), with its flags
    add, remove  the same by direction, in the order of sending (see `changes`)

A statement joins, groups or sorts once: two such steps in one would fight for the memory, and lose it.
Joins have the larger set on the left; the right one is remembered.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.diff.at_source import compare_at_source
from reconciler.diff.changes import Changes
from reconciler.diff.changes_in_tables import ChangesInTables, find_changes
from reconciler.diff.decide import HELD, POSSIBLE, Flag, Numbers, Returned, count_changes, count_drift, refuse_bad
from reconciler.diff.overlay import broken_state, load_marks, make_overlay
from reconciler.diff.pushdown import ComparedInDatabase, compare_in_database
from reconciler.diff.tables import Tables, list_ids, write_batches
from reconciler.errors import IncompleteRead, SegmentError, StateError
from reconciler.models.batches import Batch
from reconciler.models.comparison import Adoption, DriftCounts, Findings, NotPossible, Page, RemoteCount, Rows
from reconciler.models.freshness import DataTime
from reconciler.models.ids import normalize, refusal
from reconciler.models.members import StoredAtSource
from reconciler.models.plan import Head
from reconciler.models.spec import CompareAt, Target
from reconciler.sources.base import ValueStream

if TYPE_CHECKING:
    from reconciler.diff.comparison import SetEngine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StateRead:
    """What was read of the state, without the rows, which are in the tables now."""

    head: Head
    now: float
    members: int = 0
    has_overlay: bool = False
    """There are marks, or a journal."""


class ComparisonInTables:
    """As `Comparison`, for any number of ids."""

    def __init__(self, target: Target, engine: "SetEngine", tables: Tables) -> None:
        self._target = target
        self._segment = target.segment
        self._exclusive = target.segment.reads_members
        self._engine = engine
        self._tables = tables
        self._remote: RemoteCount | None = None
        """What is in `people` and `keys`; None: no real membership has been read."""
        self.does_without_members = False
        self.lost: StateError | None = None

    # --- the real membership -------------------------------------------------------------------------------------

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        """Load the real membership; called again, it starts afresh."""
        tables, self._remote = self._tables, None
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
        ((keyed,),) = tables.fetch("SELECT count(key) FROM people")
        self._remote = RemoteCount(people, people - keyed)
        return self._remote

    def _require_remote(self) -> RemoteCount:
        if self._remote is None:
            raise IncompleteRead("the real membership has not been read", "nothing may be computed without it")
        return self._remote

    # --- what is known -------------------------------------------------------------------------------------------

    def _read_state(self, tables: Tables) -> StateRead:
        with self._engine.read_segment(self._target, lacks=self._lose) as stored:
            tables.begin("members")
            if stored.head.id_type not in (None, self._segment.id_type):
                return StateRead(stored.head, stored.now)  # ids of another type can't be compared with these
            with tables.translating(broken_state()):
                members = tables.load("members", stored.members())
                if stored.at_source is not None and self.lost is None:
                    members = self._load_members(tables, stored.at_source)
            return StateRead(stored.head, stored.now, members, load_marks(stored, tables))

    def _lose(self, error: StateError) -> None:
        """Go on without the members at the source, if that is wanted, or raise the error."""
        if not self.does_without_members:
            raise error
        self.lost = error

    def _load_members(self, tables: Tables, there: StoredAtSource) -> int:
        """Load the members at the source below those that the state has added, and drop those that it has dropped."""
        tables.begin("dropped")
        tables.load("dropped", there.dropped())
        tables.run("ALTER TABLE members RENAME TO added")
        tables.begin("members")
        try:
            with there.source.read(there.key, there.head) as rows:
                tables.load("members", rows)
        except StateError as error:
            self._lose(error)
            tables.begin("members")
        members = tables.create(
            "members",
            "FROM (FROM members ANTI JOIN dropped USING (id)) ANTI JOIN added USING (id) UNION ALL FROM added",
        )
        tables.drop("added", "dropped")
        return members

    def _make_known_of_state(self, state: StateRead) -> Numbers:
        """Make `known` of what the state holds, and count it.

        Most of an overlay are tombstones, which only a comparison with the real membership needs.
        """
        if not self._make_overlay(state, "decided"):
            self._tables.run("ALTER TABLE members RENAME TO known")
            return {Flag.STORED: state.members}
        self._tables.create("known", _HELD.format(which="decided"))
        self._tables.drop("members", "marks", "journal")
        return self._tables.count_flags("known")

    def _make_known_with_remote(self, state: StateRead) -> Numbers:
        """Make `known` of what the state holds, tombstones too, and of the real membership; count it."""
        held = "members"
        if self._make_overlay(state, "true"):
            held = "held"
            self._tables.create(held, _HELD.format(which="true"))
        self._tables.create("known", _HELD_OR_REMOTE.format(held=held))
        self._tables.drop("members", "marks", "journal", "held")
        return self._tables.count_flags("known")

    def _make_overlay(self, state: StateRead, which: str) -> bool:
        """Make `overlay` if there are marks or a journal; tell whether `which` is true of any id in it."""
        if not state.has_overlay:
            return False
        make_overlay(self._tables, state.now, self._target.spec.destination.settle)
        return bool(self._tables.fetch(f"SELECT count(*) FROM overlay WHERE {which}")[0][0])

    # --- what changes --------------------------------------------------------------------------------------------

    def compare(self, loaded: ValueStream | None = None) -> Changes:
        """Run the query and compare: with the snapshot; under `exclusive` with the loaded membership, too.

        `loaded`: what the query returned, if `load` has read that already.
        """
        unkeyed = self._require_remote().unkeyed if self._exclusive else None
        found = self._compare_in_database() if loaded is None else None
        bucketed = False
        if isinstance(found, ComparedInDatabase):
            self._engine.queried(self._target)
            engine, head, known, has_overlay = "in_database", found.head, found.known, True
            returned, data_time = found.returned, found.data_time
            refuse_bad(returned, self._segment)
            missing = self._count_missing()
        else:
            engine = "local"
            returned, data_time, missing, state = self._read_both(loaded)
            self._engine.queried(self._target)
            head, has_overlay = state.head, state.has_overlay
            known = self._make_known_with_remote(state) if self._exclusive else self._make_known_of_state(state)
            bucketed = min(returned.valid, sum(known.values())) >= self._engine.bucketed_from
        changed, reversed_at = find_changes(self._tables, "desired", self._exclusive, has_overlay, bucketed)
        counts = count_changes(self._exclusive, known, changed, returned)
        counts = replace(counts, unkeyed=unkeyed, reversed_at=reversed_at, missing_sentinels=missing)
        return ChangesInTables(engine, head, counts, data_time, bool(changed), self._exclusive, self._tables)

    def _compare_in_database(self) -> ComparedInDatabase | None:
        """Compare where the query runs, if that can be; None: nothing was. Raises SegmentError where it has to be."""
        if self._segment.retired:  # it has no query
            return None
        found: ComparedInDatabase | NotPossible
        snapshot, source = self._engine.snapshot_of(self._target), None
        is_there = self._target.is_at_source and self._target.compare_at is not CompareAt.LOCAL
        if self._exclusive:  # a database can't compare with the real membership, as that isn't in it
            found = NotPossible("`ownership: exclusive` compares with the real members")
        elif is_there:
            found = compare_at_source(self._target, self._engine.read_segment, self._tables)
        elif (source := self._engine.pushdown_source_of(self._target)) is None:
            found = NotPossible("the database of the query does not have the members")
        else:
            found = compare_in_database(self._target, source, snapshot, self._tables)
        if isinstance(found, ComparedInDatabase):
            return found
        if self._target.compare_at is CompareAt.PUSHDOWN and not found.is_new:
            raise SegmentError(
                f"its source says `compare: pushdown`, and the ids can't be compared there: {found.reason}",
                f"set `compare: auto` for the source {self._segment.source}, and they are compared here",
                code="compare",
            )
        if source is not None or is_there:
            log.debug("%s: compared here, not in the database: %s", self._target.label, found.reason)
        return None

    def resume(self, sealed: Iterable[Batch], *, is_undo: bool = False) -> Changes:
        """Instead of running the query, take a plan file's changes; those that are already so in the state drop out.

        `is_undo`: they reverse a run, and nobody says who is desired.
        """
        unkeyed = self._require_remote().unkeyed if self._exclusive else None
        self._tables.begin("sealed")
        with self._tables.translating():
            self._tables.load("sealed", write_batches(sealed))
        changes = self._compare_sealed()
        if is_undo:
            return changes
        counts = replace(changes.counts, desired=0, unchanged=0, duplicates=0, unkeyed=unkeyed)
        return replace(changes, counts=counts)

    def undo(self, sent: Rows) -> Changes:
        """Instead of running the query, reverse what a run sent, but for the ids that later runs have touched.

        `sent` has the columns of the table of this name. Of an id that was added nothing is left to undo once the state
        does not hold it; of one that was removed, once it is stored.
        """
        tables = self._tables
        tables.begin("sent")
        with tables.translating(broken_state()):
            tables.load("sent", sent)
        undone = tables.create("undone", _UNDONE)
        left = tables.create("sealed", _NOT_SENT_SINCE)
        tables.drop("sent", "undone")
        changes = self._compare_sealed()
        return replace(changes, counts=replace(changes.counts, sent_since=undone - left))

    def _compare_sealed(self) -> Changes:
        """Compare `sealed` with what is known: what it does not name stays, and nothing is desired."""
        state = self._read_state(self._tables)
        known = self._make_known_with_remote(state) if self._exclusive else self._make_known_of_state(state)
        changed, reversed_at = find_changes(self._tables, "sealed", self._exclusive, state.has_overlay)
        counts = count_changes(self._exclusive, known, changed, Returned())
        counts = replace(counts, desired=None, duplicates=0, reversed_at=reversed_at)
        return ChangesInTables("local", state.head, counts, None, bool(changed), self._exclusive, self._tables)

    def _read_both(self, loaded: ValueStream | None) -> tuple[Returned, DataTime | None, int, StateRead]:
        """Read the query's result, and the state in a thread of its own, so that neither database waits."""
        with self._tables.with_own_cursor() as tables, ThreadPoolExecutor(1, "state") as pool:
            reading = pool.submit(self._read_state, tables)
            try:
                returned, data_time = self._read_desired(loaded)
                missing = self._count_missing()
            except BaseException:
                tables.stop()
                raise
            return returned, data_time, missing, reading.result()

    def _read_desired(self, loaded: ValueStream | None) -> tuple[Returned, DataTime | None]:
        if self._segment.retired:  # wants nobody, and has no query
            self._tables.begin("desired")
            return Returned(), None
        values = loaded
        if values is None:
            source = self._engine.source_of(self._target)
            with self._engine.reading(), source.stream_values(self._segment) as values:
                self.load(values)
        returned = Returned(dict(self._tables.fetch("SELECT refused, count(*) FROM desired GROUP BY refused")))
        refuse_bad(returned, self._segment)
        return returned, values.data_time

    def load(self, values: ValueStream) -> None:
        """Load what the query returns, by the rules of ids. Raises DuckDB's errors."""
        id_type = self._segment.id_type
        judged = f"SELECT value, {refusal('value', 'typed', id_type)} AS refused FROM ({values.select})"
        ids = f"SELECT refused, if(refused IS NULL, {normalize('value', id_type)}, NULL) AS id FROM ({judged})"
        self._tables.load("desired", values.rows, ids)

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

    # --- what a read-back shows ----------------------------------------------------------------------------------

    def drift(self) -> DriftCounts:
        """Compare the loaded membership with the snapshot."""
        remote = self._require_remote()
        return count_drift(self._make_known_afresh(), remote.people, remote.unkeyed)

    def examine(self) -> Findings:
        """Like `drift`, but give the ids, for recording."""
        self._make_known_afresh()
        return Findings(
            appeared=self._find(lambda flags: flags == Flag.UNMATCHED | Flag.REMOTE),
            vanished=self._find(lambda flags: flags == Flag.STORED),
            lingering=self._find(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
            gone=self._find(lambda flags: flags == Flag.REMOVED),
        )

    def adoption(self, known_only: bool) -> Adoption:
        """For `refresh`; `known_only` leaves out ids that the state does not hold."""
        self._make_known_afresh()
        kept = HELD if known_only else HELD | Flag.REMOTE

        def is_member(flags: Flag) -> bool:
            return Flag.REMOTE in flags and Flag.REMOVED not in flags and bool(flags & kept)

        return Adoption(
            id_type=self._segment.id_type,
            members=self._find(is_member),
            unmatched=self._find(lambda flags: Flag.REMOTE not in flags and bool(flags & HELD)),
            lingering=self._find(lambda flags: flags == Flag.REMOVED | Flag.REMOTE),
            entered=self._find(lambda flags: is_member(flags) and Flag.STORED not in flags),
            left=self._find(lambda flags: flags == Flag.STORED),
        )

    def _make_known_afresh(self) -> Numbers:
        """Make `known` of the loaded membership and of the snapshot as it is now."""
        self._require_remote()
        return self._make_known_with_remote(self._read_state(self._tables))

    def _find(self, where: Callable[[Flag], bool]) -> Callable[[], Iterator[list[str]]]:
        ids = list_ids("known", filter(where, POSSIBLE))
        return lambda: self._tables.stream(ids)


# --- the statements that match two tables -----------------------------------------------------------------------------

_HELD = """
SELECT coalesce(members.id, overlay.id) AS id,
    if(overlay.id IS NULL OR (members.id IS NOT NULL AND NOT overlay.decided), members.flags, overlay.flags) AS flags
FROM members FULL JOIN (FROM overlay WHERE {which}) AS overlay ON members.id = overlay.id"""

_HELD_OR_REMOTE = f"""
SELECT coalesce(held.id, keys.id) AS id,
    (coalesce(held.flags, 0) | if(keys.id IS NULL, 0, {Flag.REMOTE:d}))::UTINYINT AS flags
FROM {{held}} AS held FULL JOIN keys ON held.id = keys.id"""

_SENT_IDS = "SELECT unnest(string_split(ids, chr(10))) AS id, adds, sure, place FROM sent WHERE"

_UNDONE = f"""
SELECT id, NOT arg_max(adds, place) AS adds, arg_max(sure, place) AS sure FROM ({_SENT_IDS} own) GROUP BY id"""
"""The reverse of the run. It sends an id in one direction only; of two, its last would count."""

_NOT_SENT_SINCE = f"""
SELECT undone.id, undone.adds FROM undone ANTI JOIN ({_SENT_IDS} NOT own) AS since
    ON undone.id = since.id AND (since.sure OR undone.sure OR since.adds = undone.adds)"""
"""Without the ids that later runs have sent, and those that they have read back: who had left since is there by
somebody else. Only where the outcome of the run was unknown may a read-back show that it was done, and nothing more."""
