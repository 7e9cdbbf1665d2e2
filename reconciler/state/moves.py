"""Moving the members of a segment between the state and the tables of a source. Nothing is sent to Customer.io.

What is moved is written whole under a new key, or as a new generation, and counts once the state's own commit says so:
cut short before that, all is as it was.
"""

from collections.abc import Callable

from sqlalchemy import Connection

from reconciler.errors import ReconcileError, StateError
from reconciler.models.comparison import ROW_END
from reconciler.models.members import OF_ANOTHER, MembersAtSource
from reconciler.models.spec import MembersAt, StateSettings
from reconciler.state import at_source, members, open_database
from reconciler.state.base import SegmentRow
from reconciler.state.database import Database, find_segment, run
from reconciler.state.lock import HeldLock, SegmentRef, update_segment
from reconciler.state.runtime import THIS_MACHINE, Runtime
from reconciler.state.store import StateStore

_FORGET_HEAD = ", ".join(
    f"members_{name} = NULL" for name in ("generation", "serial", "rows", "sum", "changed")
)  # the key and what was attempted stay: a later move writes above that
_DRAW = (
    "members_key = :name, attempted_generation = "
    "CASE WHEN coalesce(attempted_generation, 0) > :least THEN attempted_generation ELSE :least END + 1"
)


def move_members(
    settings: StateSettings,
    segment: SegmentRef,
    source: MembersAtSource,
    to: MembersAt,
    *,
    warn: Callable[[str], None],
    lock_timeout: float = 0.0,
    runtime: Runtime = THIS_MACHINE,
) -> int | None:
    """Move the members of one segment under its lock; return how many they are. None: they were there already.

    Raises LockHeld, StateError, SourceError; then they are where they were.
    """
    with open_database(settings, runtime.clock, creates=False) as database:
        there = source if to is MembersAt.LOCAL else None
        store = StateStore(database, runtime, lock_timeout, settings=settings)
        with store.hold(segment, "state copy", there) as (lock, locked):
            row = _find(database, segment)
            if row is None or (row.members_generation is not None) == (to is MembersAt.SOURCE):
                return None
            locked.recover()
            locked.compact()
            if to is MembersAt.SOURCE:
                _move_there(database, lock, segment, source)
            else:
                locked.flush()
                _move_here(database, lock, segment, source)
            members.sweep(lock.write, segment)
            if to is MembersAt.LOCAL and row.members_key:
                drop_at_source(source, row.members_key, warn)
            return locked.count().stored


def drop_at_source(source: MembersAtSource, key: str, warn: Callable[[str], None]) -> None:
    """Drop all that the tables have of a segment, or warn of what is left there."""
    why = "they take no DELETE"
    try:
        if source.drop(key, ()):
            return
    except ReconcileError as error:
        why = error.message
    warn(f"the tables at the source keep the rows with segment_key '{key}', which nothing reads any more: {why}")


def _find(database: Database, segment: SegmentRef) -> SegmentRow | None:
    with database.read() as connection:
        return find_segment(connection, segment.workspace, segment.segment_id)


def _require(database: Database, segment: SegmentRef) -> SegmentRow:
    row = _find(database, segment)
    if row is None:
        raise StateError("the state knows the segment no more", "run it again")
    return row


def _move_there(database: Database, lock: HeldLock, segment: SegmentRef, source: MembersAtSource) -> None:
    row = _require(database, segment)
    with database.read() as connection:
        name = row.members_key or at_source.draw_key(connection, segment)
    last = source.last(name)
    if last is not None and last.lineage != row.lineage:
        raise StateError(*OF_ANOTHER)
    with lock.write() as connection:
        key = members.new_key(connection, segment)
        update_segment(connection, segment, _DRAW, name=name, least=0 if last is None else last.generation)
    generation = _require(database, segment).attempted[0]
    ids = at_source.list_ids(database, row.segment_key, "reconcile_members")
    head = source.write_generation(name, row.lineage, generation, ids)
    with lock.write() as connection:
        at_source.record(connection, segment, head)
        _take_key(connection, segment, row.segment_key, key)


def _move_here(database: Database, lock: HeldLock, segment: SegmentRef, source: MembersAtSource) -> None:
    row = _require(database, segment)
    with lock.write() as connection:
        key = members.new_key(connection, segment)
    if row.members_head is not None:
        name = row.members_key or ""
        source.check(name, row.members_head, row.attempted)
        with source.read(name, row.members_head) as rows:  # which raises at its end unless they are all
            for block in rows:
                with lock.write() as connection:
                    database.pick(connection, block.split(chr(ROW_END)))
                    members.add_members(connection, key)
    with lock.write() as connection:
        update_segment(connection, segment, _FORGET_HEAD)
        _take_key(connection, segment, row.segment_key, key)


def _take_key(connection: Connection, segment: SegmentRef, old: int, new: int) -> None:
    """Give the segment a new key, and that all but the members: they are under it, or at the source."""
    for table in ("reconcile_marks", "reconcile_batches"):
        run(connection, f"UPDATE {table} SET segment_key = :new WHERE segment_key = :old", new=new, old=old)
    update_segment(connection, segment, "segment_key = :new", new=new)
