"""Members at the source, as the state sees them: what has changed since their head was recorded, and writing it there.

Ids that were added stand in `reconcile_members`, ids that were dropped in `reconcile_dropped`; one that is in both was
added again. Members are those at the source without the dropped ones, and the added ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import chain, count

from sqlalchemy import Connection

from reconciler.errors import ReconcileError, StateError
from reconciler.models.batches import Direction
from reconciler.models.members import OF_ANOTHER, MembersAtSource, MembersHead
from reconciler.state.base import DROPPED, SegmentRow
from reconciler.state.database import Database, execute, find_segment, run
from reconciler.state.lock import HeldLock, SegmentRef, update_segment

MOST_OF_BASE = 0.05
"""A part of the members: changes above it and the number are brought to the source, or make a new base there."""
MOST_CHANGED = 200_000
"""Changes that the state has."""
LEAST_CHANGED = 10_000
"""Changes since a base."""

IDS_PER_LIST = 50_000

FIRST_VALUES = {
    "members_generation": 0,
    "members_serial": 0,
    "members_rows": 0,
    "members_sum": "0",
    "members_changed": 0,
    "attempted_generation": 0,
    "attempted_serial": 0,
}
"""Of a segment with members at the source, before any was written there."""

_RECORD = (
    "members_generation = :generation, members_serial = :serial, members_rows = :rows, members_sum = :sum, "
    "members_changed = :changed, attempted_serial = CASE WHEN :serial = 0 THEN 0 ELSE attempted_serial END"
)
"""Assignments to a segment's row; serials begin anew with each generation."""


def draw_key(connection: Connection, segment: SegmentRef) -> str:
    """Name a segment at the source, as no other one of this state is: a workspace that is renamed keeps its keys."""
    statement = "SELECT members_key FROM reconcile_segments WHERE members_key IS NOT NULL"
    taken = set(execute(connection, statement).scalars())
    first = f"{segment.workspace}/{segment.segment_id}"
    return next(key for key in chain([first], (f"{first}/{number}" for number in count(2))) if key not in taken)


def record(connection: Connection, segment: SegmentRef, head: MembersHead, changed: int = 0) -> None:
    """Record the head that counts from here on; `changed` is the number of changes since its base."""
    values = {"generation": head.generation, "serial": head.serial, "rows": head.rows}
    update_segment(connection, segment, _RECORD, **values, sum=str(head.sum), changed=changed)


def count_changed(database: Database, key: int) -> int:
    statement = " + ".join(
        f"(SELECT count(*) FROM {table} WHERE segment_key = :key)"
        for table in ("reconcile_members", "reconcile_dropped")
    )
    with database.read() as connection:
        number: int = execute(connection, f"SELECT {statement}", {"key": key}).scalar_one()
        return number


def list_changes(database: Database, key: int) -> Iterator[tuple[Direction, list[str]]]:
    """List what has changed, each id in one direction."""
    for ids in list_ids(database, key, DROPPED):
        yield Direction.REMOVE, ids
    for ids in list_ids(database, key, "reconcile_members"):
        yield Direction.ADD, ids


def list_ids(database: Database, key: int, table: str) -> Iterator[list[str]]:
    """List the ids under a key in short transactions: nothing changes them meanwhile."""
    statement = f"SELECT id FROM {table} WHERE segment_key = :key AND id > :after ORDER BY id LIMIT {IDS_PER_LIST}"
    after = ""
    while True:
        with database.read() as connection:
            ids = list(execute(connection, statement, {"key": key, "after": after}).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]


class MembersWriter:
    """Writes one segment's members at their source, under its lock. What it writes counts once the state records it."""

    def __init__(
        self, source: MembersAtSource, lock: HeldLock, write: Callable[[], AbstractContextManager[Connection]]
    ) -> None:
        """`write` begins a transaction under the lock."""
        self.source = source
        self._database = lock.database
        self._segment = lock.segment
        self._write = write

    def is_flush_due(self, row: SegmentRow) -> bool:
        """Tell whether the changes in the state are to be flushed before the run ends."""
        # Each flush has all members of the segment read once, to see that all arrived.
        most = max(MOST_CHANGED, (row.members_rows or 0) * MOST_OF_BASE)
        return count_changed(self._database, row.segment_key) > most

    def flush(self) -> None:
        """Append what has changed, and record the head; nobody changes it meanwhile. Raises SourceError, StateError."""
        row = self._find()
        if row is None or row.members_generation is None:
            return
        key, name, head = row.segment_key, row.members_key or "", row.members_head
        changed = count_changed(self._database, key)
        if not changed:
            return
        if head is None:
            if (last := self.source.last(name)) is not None and last.lineage != row.lineage:
                raise StateError(*OF_ANOTHER)
            there = self.write_generation(list_ids(self._database, key, "reconcile_members"))
            changed = 0
        else:
            serial = self._attempt("attempted_serial").attempted[1]
            there = self.source.append(name, head, serial, list_changes(self._database, key))
            changed += row.members_changed or 0
        with self._write() as connection:
            record(connection, self._segment, there, changed)
            for table in ("reconcile_members", "reconcile_dropped"):  # the members at the source have it now
                run(connection, f"DELETE FROM {table} WHERE segment_key = :key", key=key)
        if changed > max(LEAST_CHANGED, there.rows * MOST_OF_BASE):
            with suppress(ReconcileError):  # a later flush tries again
                self.drop_generations(there.generation, self._rewrite(name, there).generation)

    def write_generation(self, ids: Iterator[list[str]]) -> MembersHead:
        """Write a generation above all that are there; it does not count before it is recorded."""
        row = self._find()
        assert row is not None
        last = self.source.last(row.members_key or "")
        row = self._attempt("attempted_generation", 0 if last is None else last.generation)
        return self.source.write_generation(row.members_key or "", row.lineage, row.attempted[0], ids)

    def write_adopted(self, ids: Iterator[list[str]]) -> tuple[MembersHead, list[str]]:
        """Write a generation of what a `refresh` read; return also those of its ids that were rejected once."""
        statement = "SELECT id FROM reconcile_marks WHERE segment_key = :key AND mark = 'rejected'"
        with self._database.read() as connection:
            row = find_segment(connection, self._segment.workspace, self._segment.segment_id)
            values = {"key": None if row is None else row.segment_key}
            rejected = set(execute(connection, statement, values).scalars())
        seen: list[str] = []

        def watch() -> Iterator[list[str]]:
            for some in ids:
                seen.extend(rejected.intersection(some))
                yield some

        return self.write_generation(watch()), seen

    def drop_generations(self, *kept: int) -> None:
        """Drop all generations at the source but some; they do not count any more, and what fails is left there."""
        row = self._find()
        with suppress(ReconcileError):
            if row is not None:
                self.source.drop(row.members_key or "", kept)

    def check(self) -> None:
        """Check that the tables have the head that the state has recorded. Raises SourceError, StateError."""
        row = self._find()
        if row is not None and row.members_head is not None:
            self.source.check(row.members_key or "", row.members_head, row.attempted)

    def holds(self, ids: Sequence[str]) -> bool:
        """Tell whether one of a few ids is a member there; all that has changed was appended before."""
        row = self._find()
        if row is None or row.members_head is None:
            return False
        return bool(self.source.holds(row.members_key or "", row.members_head, ids))

    def erase(self, ids: Sequence[str]) -> bool:
        """Write a generation without ids that are no members, and drop all others. Cut short, it goes on where it was.

        False: the tables take no DELETE, so that old rows stay. Raises SourceError.
        """
        row = self._find()
        assert row is not None
        name, head = row.members_key or "", row.members_head
        if head is not None and max(self.source.generations_of(name, ids), default=0) >= head.generation:
            head = self._rewrite(name, head)
        return self.source.drop(name, () if head is None else (head.generation,))

    def _rewrite(self, name: str, head: MembersHead) -> MembersHead:
        """Make a base of base and changes, which counts from then on."""
        there = self.source.rewrite(name, head, self._attempt("attempted_generation").attempted[0])
        with self._write() as connection:
            record(connection, self._segment, there)
        return there

    def _attempt(self, column: str, least: int = 0) -> SegmentRow:
        """Draw the next number, above `least`, for what is about to be written at the source; give the row with it."""
        with self._write() as connection:
            higher = f"CASE WHEN coalesce({column}, 0) > :least THEN {column} ELSE :least END + 1"
            update_segment(connection, self._segment, f"{column} = {higher}", least=least)
            row = find_segment(connection, self._segment.workspace, self._segment.segment_id)
        assert row is not None
        return row

    def _find(self) -> SegmentRow | None:
        with self._database.read() as connection:
            return find_segment(connection, self._segment.workspace, self._segment.segment_id)
