"""The members and marks of a segment: changes to a set of ids at once, and a new generation of them all.

The set is in the temporary table `picked` (see `Database.pick`).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection, text

from reconciler.models.batches import Direction
from reconciler.models.comparison import Adoption
from reconciler.models.id_status import Mark
from reconciler.state.backends.base import Database, run
from reconciler.state.lock import SegmentRef

Write = Callable[[], AbstractContextManager[Connection]]
"""Begins a transaction under the segment's lock."""

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
    run(
        connection,
        "INSERT INTO reconcile_members (segment_key, id) SELECT :key, p.id FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = :mark) "
        "ORDER BY p.id ON CONFLICT DO NOTHING",
        key=key,
        mark=unless.value,
    )


def drop_members(connection: Connection, key: int) -> None:
    run(connection, f"DELETE FROM reconcile_members WHERE {_OF_PICKED}", key=key)


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
    time = "p.at" if at is None else ":at"
    clause = _OVERWRITE if overwrite else "ON CONFLICT DO NOTHING"
    run(
        connection,
        f"{_INSERT_MARKS} SELECT :key, p.id, :mark, :direction, {time} FROM picked p WHERE true ORDER BY p.id {clause}",
        key=key,
        mark=mark.value,
        direction=direction.value if direction else None,
        **({} if at is None else {"at": at}),
    )


def drop_marks(connection: Connection, key: int, *marks: Mark) -> None:
    names = ", ".join(f"'{mark}'" for mark in marks)
    run(connection, f"DELETE FROM reconcile_marks WHERE {_OF_PICKED} AND mark IN ({names})", key=key)


def add_tombstones(connection: Connection, key: int) -> None:
    """Give the picked ids a tombstone as of their times; one that was only unmatched was never there, and gets none."""
    run(
        connection,
        f"{_INSERT_MARKS} SELECT :key, p.id, 'removed', NULL, p.at FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = 'unmatched') "
        "OR EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id "
        "AND m.mark = 'unsettled') OR EXISTS "
        f"(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = p.id) ORDER BY p.id {_OVERWRITE}",
        key=key,
    )


def add_echoes(connection: Connection, key: int, direction: Direction) -> None:
    """Remember attempts of unknown outcome that may still arrive: of this request, and of an earlier one like it."""
    run(
        connection,
        f"{_INSERT_MARKS} SELECT :key, p.id, 'echo', :direction, p.unknown_at FROM picked p "
        f"WHERE p.unknown_at IS NOT NULL ORDER BY p.id {_KEEP_LATER}",
        key=key,
        direction=direction.value,
    )
    run(
        connection,
        f"{_COPY_UNSETTLED} AND direction = :direction AND id IN (SELECT id FROM picked) {_KEEP_LATER}",
        key=key,
        direction=direction.value,
    )


# --- changes to a whole segment ----------------------------------------------------------------------------------


def prune(connection: Connection, key: int, now: float) -> None:
    """Forget tombstones and echoes that are too old to matter."""
    run(
        connection,
        "DELETE FROM reconcile_marks WHERE segment_key = :key AND "
        "((mark = 'removed' AND at < :tombstones) OR (mark = 'echo' AND at < :echoes))",
        key=key,
        tombstones=now - TOMBSTONE_SECONDS,
        echoes=now - ECHO_SECONDS,
    )


# --- generations -------------------------------------------------------------------------------------------------


def new_key(connection: Connection, segment: SegmentRef) -> int:
    """Draw a number under which members can be stored."""
    key: int = connection.execute(
        text(
            "INSERT INTO reconcile_keys (workspace, segment_id) VALUES (:workspace, :segment_id) RETURNING segment_key"
        ),
        segment.values(),
    ).scalar_one()
    return key


def write_generation(database: Database, write: Write, segment: SegmentRef, old: int | None, adoption: Adoption) -> int:
    """Write what `refresh` found under a new key, in chunks, and return the key: to be put in place of the old at once.

    `old`: the key of which echoes stay, unsettled ids become echoes, and rejections stay where the id is not there.
    """
    with write() as connection:
        new = new_key(connection, segment)
    for ids in adoption.members():
        with write() as connection:
            database.pick(connection, ids)
            add_members(connection, new)
    for ids in adoption.unmatched():
        with write() as connection:
            database.pick(connection, ids)
            add_marks(connection, new, Mark.UNMATCHED, database.now(connection))
    for ids in adoption.lingering():
        with write() as connection:
            database.pick(connection, ids)
            drop_members(connection, new)
            add_marks(connection, new, Mark.UNSETTLED, database.now(connection), Direction.REMOVE)
    if old is not None:
        with write() as connection:
            run(connection, f"{_COPY_UNSETTLED} {_KEEP_LATER}", key=old)
            run(
                connection,
                f"{_INSERT_MARKS} SELECT :new, id, mark, direction, at FROM reconcile_marks o "
                "WHERE o.segment_key = :old AND (o.mark = 'echo' OR (o.mark = 'rejected' AND NOT EXISTS "
                "(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :new AND s.id = o.id))) "
                "ON CONFLICT DO NOTHING",
                old=old,
                new=new,
            )
    return new


def find_forgotten(connection: Connection) -> list[SegmentRef]:
    """Return segments that the state has no row of, but still ids: a `state forget` was cut short."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT k.workspace, k.segment_id FROM reconcile_keys k WHERE NOT EXISTS (SELECT 1 "
            "FROM reconcile_segments s WHERE s.workspace = k.workspace AND s.segment_id = k.segment_id)"
        )
    )
    return [SegmentRef(workspace, segment_id, f"id:{segment_id}") for workspace, segment_id in rows]


def sweep(write: Write, segment: SegmentRef) -> None:
    """Delete, in chunks, what is stored under keys that the segment no longer has."""
    with write() as connection:
        keys = connection.execute(
            text(
                "SELECT segment_key FROM reconcile_keys WHERE workspace = :workspace AND segment_id = :segment_id "
                "AND segment_key NOT IN (SELECT segment_key FROM reconcile_segments)"
            ),
            segment.values(),
        ).scalars()
        left_over = list(keys)
    for key in left_over:
        for table in ("reconcile_members", "reconcile_marks"):
            deleted = _ROWS_PER_SWEEP
            while deleted:
                with write() as connection:
                    deleted = run(
                        connection,
                        f"DELETE FROM {table} WHERE segment_key = :key AND id IN "
                        f"(SELECT id FROM {table} WHERE segment_key = :key ORDER BY id LIMIT {_ROWS_PER_SWEEP})",
                        key=key,
                    )
        with write() as connection:
            run(connection, "DELETE FROM reconcile_batches WHERE segment_key = :key", key=key)
            run(connection, "DELETE FROM reconcile_keys WHERE segment_key = :key", key=key)
