"""What has changed in members at the source since their head there was recorded.

Ids that were added stand in `reconcile_members`, ids that were dropped in `reconcile_dropped`; one that is in both was
added again. Members are those at the source without the dropped ones, and the added ones.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, text

from reconciler.models.batches import Direction
from reconciler.models.members import MembersHead
from reconciler.state.base import DROPPED
from reconciler.state.database import Database, run
from reconciler.state.lock import SegmentRef

MOST_CHANGED = 200_000
"""Changes that are brought to the source before a run ends."""

MOST_OF_BASE = 0.05
LEAST_CHANGED = 10_000
"""Changes since a base, as a part of the members and as a number, above both of which a new base is written."""

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

RECORD = (
    "members_generation = :generation, members_serial = :serial, members_rows = :rows, members_sum = :sum, "
    "members_changed = :changed, attempted_serial = CASE WHEN :serial = 0 THEN 0 ELSE attempted_serial END"
)
"""Assignments to a segment's row, with the values of `list_values`; serials begin anew with each generation."""


def name_key(segment: SegmentRef) -> str:
    """Name a segment at the source. A workspace that is renamed later keeps the key."""
    return f"{segment.workspace}/{segment.segment_id}"


def list_values(head: MembersHead, changed: int = 0) -> dict[str, object]:
    """List what is recorded of a head; `changed` is the number of changes since its base."""
    values: dict[str, object] = {"generation": head.generation, "serial": head.serial, "rows": head.rows}
    return values | {"sum": str(head.sum), "changed": changed}


def count_changed(database: Database, key: int) -> int:
    statement = " + ".join(
        f"(SELECT count(*) FROM {table} WHERE segment_key = :key)"
        for table in ("reconcile_members", "reconcile_dropped")
    )
    with database.read() as connection:
        number: int = connection.execute(text(f"SELECT {statement}"), {"key": key}).scalar_one()
        return number


def list_changes(database: Database, key: int) -> Iterator[tuple[Direction, list[str]]]:
    """List what has changed, each id in one direction."""
    for ids in list_ids(database, key, DROPPED):
        yield Direction.REMOVE, ids
    for ids in list_ids(database, key, "reconcile_members"):
        yield Direction.ADD, ids


def list_ids(database: Database, key: int, table: str) -> Iterator[list[str]]:
    """List the ids under a key in short transactions: nothing changes them meanwhile."""
    statement = text(
        f"SELECT id FROM {table} WHERE segment_key = :key AND id > :after ORDER BY id LIMIT {IDS_PER_LIST}"
    )
    after = ""
    while True:
        with database.read() as connection:
            ids = list(connection.execute(statement, {"key": key, "after": after}).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]


def forget_changes(connection: Connection, key: int) -> None:
    """Forget what has changed, as the members at the source have it now."""
    for table in ("reconcile_members", "reconcile_dropped"):
        run(connection, f"DELETE FROM {table} WHERE segment_key = :key", key=key)
