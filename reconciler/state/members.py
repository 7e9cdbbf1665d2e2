"""The members and marks of a segment: changes to a set of ids at once, and their numbers by status.

The set is in the temporary table `picked` (see `Database.pick`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from reconciler.models.batches import Direction
from reconciler.models.id_status import Mark, StateCounts
from reconciler.state.base import write_counts
from reconciler.state.database import execute, run
from reconciler.state.lock import WHERE_SEGMENT, SegmentRef

TOMBSTONE_SECONDS = 30 * 24 * 3600.0
ECHO_SECONDS = 24 * 3600.0

_ROWS_PER_SWEEP = 50_000

_INSERT_MARKS = "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at)"
_OVERWRITE = "ON CONFLICT (segment_key, id, mark) DO UPDATE SET direction = excluded.direction, at = excluded.at"
_KEEP_LATER = f"{_OVERWRITE} WHERE excluded.at >= reconcile_marks.at"
_OF_PICKED = "segment_key = :key AND id IN (SELECT id FROM picked)"
_COPY_UNSETTLED = (
    f"{_INSERT_MARKS} SELECT segment_key, id, 'echo', direction, at FROM reconcile_marks "
    "WHERE segment_key = :key AND mark = 'unsettled'"
)
"""Gives unsettled ids an echo, too; their marks are dropped next."""


# --- changes to the ids that are picked --------------------------------------------------------------------------


def add_members(connection: Connection, key: int, *, unless: Mark = Mark.UNMATCHED) -> None:
    """Make members of all that are picked and don't have a mark: only a read-back ends that an id is unmatched."""
    statement = (
        "INSERT INTO reconcile_members (segment_key, id) SELECT :key, p.id FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = :mark) "
        "ORDER BY p.id ON CONFLICT DO NOTHING"
    )
    run(connection, statement, key=key, mark=unless.value)


def drop_members(connection: Connection, key: int, *, were_stored: bool = True) -> None:
    """Let those that are picked be no members. Of members at the source, it is written down that they are none.

    Marks are to be changed after it: an unsettled or unmatched id was no member. `were_stored`: the others were. So
    what is written down is counted exactly. Changes that may have been appended already stay in any case, as the
    next ones appended are to outweigh them.
    """
    statement = (
        "INSERT INTO reconcile_dropped (segment_key, id) SELECT :key, p.id FROM picked p "
        "CROSS JOIN reconcile_segments t WHERE t.segment_key = :key AND t.members_generation IS NOT NULL AND "
        "CASE WHEN EXISTS (SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = p.id) "
        "THEN t.attempted_serial > t.members_serial "
        "ELSE :were_stored AND NOT EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id "
        "AND m.mark IN ('unsettled', 'unmatched')) END ON CONFLICT DO NOTHING"
    )
    run(connection, statement, key=key, were_stored=were_stored)
    run(connection, f"DELETE FROM reconcile_members WHERE {_OF_PICKED}", key=key)


def bring_here(connection: Connection, key: int) -> None:
    """Let the state itself have those that are picked, which are members; at the source they are none from then on."""
    statement = (
        "INSERT INTO reconcile_dropped (segment_key, id) SELECT :key, p.id FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = p.id) ON CONFLICT DO NOTHING"
    )
    run(connection, statement, key=key)
    statement = (
        "INSERT INTO reconcile_members (segment_key, id) SELECT :key, p.id FROM picked p WHERE true "
        "ON CONFLICT DO NOTHING"
    )
    run(connection, statement, key=key)


def add_marks(
    connection: Connection,
    key: int,
    mark: Mark,
    at: float | None = None,
    direction: Direction | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Give all that are picked a mark, as of `at`, or each as of its own time; without `overwrite` old ones stay."""
    statement = (
        f"{_INSERT_MARKS} SELECT :key, p.id, :mark, :direction, coalesce(:at, p.at) FROM picked p WHERE true "
        f"ORDER BY p.id {_OVERWRITE if overwrite else 'ON CONFLICT DO NOTHING'}"
    )
    run(connection, statement, key=key, mark=mark.value, at=at, direction=direction and direction.value)


def drop_marks(connection: Connection, key: int, *marks: Mark) -> None:
    names = ", ".join(f"'{mark}'" for mark in marks)
    run(connection, f"DELETE FROM reconcile_marks WHERE {_OF_PICKED} AND mark IN ({names})", key=key)


def add_tombstones(connection: Connection, key: int) -> None:
    """Give the picked ids a tombstone as of their times; also unmatched ones, which a later add may have brought."""
    statement = (
        f"{_INSERT_MARKS} SELECT :key, p.id, 'removed', NULL, p.at FROM picked p WHERE true ORDER BY p.id {_OVERWRITE}"
    )
    run(connection, statement, key=key)


def add_echoes(connection: Connection, key: int, direction: Direction) -> None:
    """Remember attempts of unknown outcome that may still arrive: of this request, and of an earlier one like it."""
    statement = (
        f"{_INSERT_MARKS} SELECT :key, p.id, 'echo', :direction, p.unknown_at FROM picked p "
        f"WHERE p.unknown_at IS NOT NULL ORDER BY p.id {_KEEP_LATER}"
    )
    run(connection, statement, key=key, direction=direction.value)
    statement = f"{_COPY_UNSETTLED} AND direction = :direction AND id IN (SELECT id FROM picked) {_KEEP_LATER}"
    run(connection, statement, key=key, direction=direction.value)


def list_marked(connection: Connection, key: int, mark: Mark) -> Sequence[str]:
    """List those that are picked and have a mark."""
    statement = f"SELECT id FROM reconcile_marks WHERE {_OF_PICKED} AND mark = :mark"
    return execute(connection, statement, {"key": key, "mark": mark.value}).scalars().all()


def list_new(connection: Connection, key: int) -> Sequence[str]:
    """List those that are picked and neither members nor unsettled."""
    statement = (
        "SELECT p.id FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = p.id) AND NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = 'unsettled')"
    )
    return execute(connection, statement, {"key": key}).scalars().all()


# --- the whole of a segment --------------------------------------------------------------------------------------


def drop_rejected(connection: Connection, key: int, before: float) -> None:
    """Forget the ids that were refused before a time."""
    statement = "DELETE FROM reconcile_marks WHERE segment_key = :key AND mark = 'rejected' AND at < :before"
    run(connection, statement, key=key, before=before)


def prune(connection: Connection, key: int, now: float) -> None:
    """Forget tombstones and echoes that are too old to matter."""
    statement = (
        "DELETE FROM reconcile_marks WHERE segment_key = :key AND "
        "((mark = 'removed' AND at < :tombstones) OR (mark = 'echo' AND at < :echoes))"
    )
    run(connection, statement, key=key, tombstones=now - TOMBSTONE_SECONDS, echoes=now - ECHO_SECONDS)


def keep_marks(connection: Connection, old: int, new: int) -> None:
    """Give a new key the echoes of an old one, also for its unsettled ids, and rejections of ids that are not there."""
    run(connection, f"{_COPY_UNSETTLED} {_KEEP_LATER}", key=old)
    statement = (
        f"{_INSERT_MARKS} SELECT :new, id, mark, direction, at FROM reconcile_marks o "
        "WHERE o.segment_key = :old AND (o.mark = 'echo' OR (o.mark = 'rejected' AND NOT EXISTS "
        "(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :new AND s.id = o.id))) "
        "ON CONFLICT DO NOTHING"
    )
    run(connection, statement, old=old, new=new)


def new_key(connection: Connection, segment: SegmentRef) -> int:
    """Draw a number under which members can be stored."""
    statement = (
        "INSERT INTO reconcile_keys (workspace, segment_id) VALUES (:workspace, :segment_id) RETURNING segment_key"
    )
    key: int = execute(connection, statement, segment.values()).scalar_one()
    return key


def sweep(write: Callable[[], AbstractContextManager[Connection]], segment: SegmentRef) -> None:
    """Delete, in chunks, what is stored under keys that the segment no longer has.

    `write` begins a transaction under the segment's lock.
    """
    statement = (
        f"SELECT segment_key FROM reconcile_keys WHERE {WHERE_SEGMENT} "
        "AND segment_key NOT IN (SELECT segment_key FROM reconcile_segments)"
    )
    with write() as connection:
        left_over = execute(connection, statement, segment.values()).scalars().all()
    for key in left_over:
        for table in ("reconcile_members", "reconcile_dropped", "reconcile_marks"):
            statement = (
                f"DELETE FROM {table} WHERE segment_key = :key AND id IN "
                f"(SELECT id FROM {table} WHERE segment_key = :key ORDER BY id LIMIT {_ROWS_PER_SWEEP})"
            )
            deleted = _ROWS_PER_SWEEP
            while deleted:
                with write() as connection:
                    deleted = run(connection, statement, key=key)
        with write() as connection:
            run(connection, "DELETE FROM reconcile_batches WHERE segment_key = :key", key=key)
            run(connection, "DELETE FROM reconcile_audit WHERE pending_key = :key", key=key)
            run(connection, "DELETE FROM reconcile_keys WHERE segment_key = :key", key=key)


# --- numbers by status -------------------------------------------------------------------------------------------


def count_ids(pieces: str, connection: Connection, key: int) -> StateCounts:
    """Count a segment's ids by status."""
    return StateCounts(*execute(connection, write_counts(pieces), {"key": key}).one())
