"""A new generation of a segment's members: written beside the old one in chunks, and then put in its place at once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from sqlalchemy import Connection, text

from reconciler.models.batches import Direction, Mark
from reconciler.models.drift import Adoption
from reconciler.state import folding
from reconciler.state.database import Database, run
from reconciler.state.lock import Place

Write = Callable[[], AbstractContextManager[Connection]]

_ROWS_PER_SWEEP = 50_000


def new_key(connection: Connection, place: Place) -> int:
    """Draw a number under which members can be stored."""
    key: int = connection.execute(
        text(
            "INSERT INTO reconcile_keys (workspace, segment_id) VALUES (:workspace, :segment_id) RETURNING segment_key"
        ),
        place.values(),
    ).scalar_one()
    return key


def copy_generation(database: Database, write: Write, place: Place, old: int | None, adoption: Adoption) -> int:
    """Write what `refresh` found under a new key; `old`: whose rejections and late arrivals stay remembered."""
    with write() as connection:
        new = new_key(connection, place)
    for ids in adoption.members():
        _store(database, write, new, ids, folding.admit)
    for ids in adoption.unmatched():
        _store(database, write, new, ids, _mark_unmatched(database))
    for ids in adoption.lingering():
        _store(database, write, new, ids, _mark_lingering(database))
    if old is not None:
        with write() as connection:
            _keep_memories(connection, old, new)
    return new


def _store(
    database: Database, write: Write, key: int, ids: list[str], change: Callable[[Connection, int], None]
) -> None:
    with write() as connection:
        database.pick(connection, ids)
        change(connection, key)


def _mark_unmatched(database: Database) -> Callable[[Connection, int], None]:
    return lambda connection, key: folding.mark_picked(connection, key, Mark.UNMATCHED, database.now(connection))


def _mark_lingering(database: Database) -> Callable[[Connection, int], None]:
    def change(connection: Connection, key: int) -> None:
        folding.drop_members(connection, key)
        folding.mark_picked(connection, key, Mark.UNSETTLED, database.now(connection), Direction.REMOVE)

    return change


def _keep_memories(connection: Connection, old: int, new: int) -> None:
    """Echoes stay, unsettled ids become echoes, rejections stay where the id is not there by now."""
    folding.turn_into_echoes(connection, old)
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) "
        "SELECT :new, id, mark, direction, at FROM reconcile_marks o WHERE o.segment_key = :old AND "
        "(o.mark = 'echo' OR (o.mark = 'rejected' AND NOT EXISTS "
        "(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :new AND s.id = o.id))) ON CONFLICT DO NOTHING",
        old=old,
        new=new,
    )


def find_forgotten(connection: Connection) -> list[Place]:
    """Segments that the state has no row of, but still ids: a `state forget` was cut short."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT k.workspace, k.segment_id FROM reconcile_keys k WHERE NOT EXISTS (SELECT 1 "
            "FROM reconcile_segments s WHERE s.workspace = k.workspace AND s.segment_id = k.segment_id)"
        )
    )
    return [Place(workspace, segment_id, f"id:{segment_id}") for workspace, segment_id in rows]


def sweep(write: Write, place: Place) -> None:
    """Delete, in chunks, what stands under keys that the segment no longer has."""
    for key in _find_left_over(write, place):
        for table in ("reconcile_members", "reconcile_marks"):
            while _sweep_chunk(write, table, key):
                pass
        with write() as connection:
            run(connection, "DELETE FROM reconcile_batches WHERE segment_key = :key", key=key)
            run(connection, "DELETE FROM reconcile_keys WHERE segment_key = :key", key=key)


def _find_left_over(write: Write, place: Place) -> Iterator[int]:
    with write() as connection:
        keys = connection.execute(
            text(
                "SELECT segment_key FROM reconcile_keys WHERE workspace = :workspace AND segment_id = :segment_id "
                "AND segment_key NOT IN (SELECT segment_key FROM reconcile_segments)"
            ),
            place.values(),
        ).scalars()
        return iter(list(keys))


def _sweep_chunk(write: Write, table: str, key: int) -> bool:
    with write() as connection:
        touched = run(
            connection,
            f"DELETE FROM {table} WHERE segment_key = :key AND id IN "
            f"(SELECT id FROM {table} WHERE segment_key = :key ORDER BY id LIMIT {_ROWS_PER_SWEEP})",
            key=key,
        )
    return touched > 0
