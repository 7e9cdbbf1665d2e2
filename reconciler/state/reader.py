"""Questions to the state about one segment, one workspace or one plan file."""

from sqlalchemy import Connection, text

from reconciler.models.id_status import UNSETTLED, IdStatus, StateCounts, write_id_status
from reconciler.models.plan import Head
from reconciler.state.base import HEAD_COLUMNS, SegmentRow, make_head


def find_segment(connection: Connection, workspace: str, segment_id: int) -> SegmentRow | None:
    found = connection.execute(
        text(
            f"SELECT {', '.join(HEAD_COLUMNS)} FROM reconcile_segments "
            "WHERE workspace = :workspace AND segment_id = :segment_id"
        ),
        {"workspace": workspace, "segment_id": segment_id},
    ).one_or_none()
    return None if found is None else SegmentRow(*found)


def find_environment(connection: Connection, workspace: str) -> int | None:
    """The environment at Customer.io to which a workspace's name is bound."""
    statement = text("SELECT environment_id FROM reconcile_workspaces WHERE name = :workspace")
    found: int | None = connection.execute(statement, {"workspace": workspace}).scalar()
    return found


def read_head(connection: Connection, workspace: str, segment_id: int) -> Head:
    environment_id = find_environment(connection, workspace)
    return make_head(find_segment(connection, workspace, segment_id), environment_id)


def write_statuses(pieces: str) -> str:
    """Write the expressions of `models.id_status` for the segment `:key`; `pieces` is `Database.pieces`.

    Tombstones and echoes are left out: there may be many, and no status but REMOVED depends on them.
    """
    return write_id_status(
        journal='SELECT piece.value AS id, b.seq, b.direction, b.outcome, b."at", b.unknown_at '
        f"FROM {pieces} WHERE b.segment_key = :key",
        marks='SELECT id, mark, direction, "at" FROM reconcile_marks '
        "WHERE segment_key = :key AND mark IN ('unsettled', 'unmatched')",
    )


def count_ids(pieces: str, connection: Connection, key: int | None) -> StateCounts:
    """Count by status; `key` None: a segment that the state does not know."""
    if key is None:
        return StateCounts(0, 0, 0)
    statement = f"""
    WITH {write_statuses(pieces)}, decided AS (
        SELECT status, EXISTS (
            SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = id_status.id
        ) AS is_member
        FROM id_status WHERE decided
    )
    SELECT
        (SELECT count(*) FROM reconcile_members WHERE segment_key = :key)
            - count(CASE WHEN is_member THEN 1 END) + count(CASE WHEN status = {IdStatus.STORED:d} THEN 1 END),
        count(CASE WHEN (status & {UNSETTLED:d}) <> 0 THEN 1 END),
        count(CASE WHEN status = {IdStatus.UNMATCHED:d} THEN 1 END)
    FROM decided"""
    return StateCounts(*connection.execute(text(statement), {"key": key}).one())
