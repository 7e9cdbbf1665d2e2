"""Questions to the state about one segment, one workspace or one plan file."""

from sqlalchemy import Connection, text

from reconciler.models.counts import StateCounts
from reconciler.models.plan import Head
from reconciler.state.backends.base import Database, Reader
from reconciler.state.base import HEAD_COLUMNS, Row, make_head


def find_segment(connection: Connection, workspace: str, segment_id: int) -> Row | None:
    found = connection.execute(
        text(
            f"SELECT {', '.join(HEAD_COLUMNS)} FROM reconcile_segments "
            "WHERE workspace = :workspace AND segment_id = :segment_id"
        ),
        {"workspace": workspace, "segment_id": segment_id},
    ).one_or_none()
    return None if found is None else Row(*found)


def find_environment(connection: Connection, workspace: str) -> int | None:
    """The environment at Customer.io to which a workspace's name is bound."""
    statement = text("SELECT environment_id FROM reconcile_workspaces WHERE name = :workspace")
    found: int | None = connection.execute(statement, {"workspace": workspace}).scalar()
    return found


def read_head(connection: Connection, workspace: str, segment_id: int) -> Head:
    environment_id = find_environment(connection, workspace)
    return make_head(find_segment(connection, workspace, segment_id), environment_id)


def is_spent(connection: Connection, plan_id: str) -> bool:
    """Tell whether a plan file was applied to its end."""
    statement = text("SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id")
    return connection.execute(statement, {"plan_id": plan_id}).first() is not None


# --- Counting what the state holds of a segment, journal and all.

_FOLDED = """
SELECT
  (SELECT count(*) FROM reconcile_members WHERE segment_key = :key),
  (SELECT count(*) FROM reconcile_marks WHERE segment_key = :key AND mark = 'unsettled'),
  (SELECT count(*) FROM reconcile_marks m WHERE segment_key = :key AND mark = 'unmatched' AND NOT EXISTS
    (SELECT 1 FROM reconcile_marks u WHERE u.segment_key = m.segment_key AND u.id = m.id AND u.mark = 'unsettled'))
"""

_JOURNALED = """
WITH journal AS (
  SELECT piece.value AS id, b.seq, b.direction, coalesce(b.outcome, 'unknown') AS outcome
  FROM {pieces} WHERE b.segment_key = :key
), latest AS (
  SELECT j.* FROM journal j JOIN (SELECT id, max(seq) AS seq FROM journal GROUP BY id) l
  ON j.id = l.id AND j.seq = l.seq
), known AS (
  SELECT l.*,
    EXISTS (SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = l.id) AS was_member,
    EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = l.id AND m.mark = 'unsettled')
      AS was_unsettled,
    EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = l.id AND m.mark = 'unmatched')
      AS was_unmatched,
    EXISTS (SELECT 1 FROM journal r WHERE r.id = l.id AND r.direction = 'remove' AND r.outcome = 'acknowledged')
      AS was_removed
  FROM latest l
)
SELECT
  coalesce(sum(
    CASE WHEN outcome = 'acknowledged' AND direction = 'add' AND (was_removed OR NOT was_unmatched) THEN 1 ELSE 0 END
    - CASE WHEN was_member THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN outcome = 'unknown' THEN 1 ELSE 0 END - CASE WHEN was_unsettled THEN 1 ELSE 0 END), 0),
  coalesce(sum(
    CASE WHEN outcome = 'acknowledged' AND direction = 'add' AND was_unmatched AND NOT was_removed THEN 1 ELSE 0 END
    - CASE WHEN was_unmatched AND NOT was_unsettled THEN 1 ELSE 0 END), 0)
FROM known
"""
"""How the journal changes the numbers of what is folded: each id's last row decides."""


def count_ids(database: Database | Reader, connection: Connection, key: int | None) -> StateCounts:
    """Count by status; `key` None: a segment that the state does not know."""
    if key is None:
        return StateCounts(0, 0, 0)
    folded = connection.execute(text(_FOLDED), {"key": key}).one()
    if not _has_journal(connection, key):
        return StateCounts(*folded)
    journaled = connection.execute(text(_JOURNALED.format(pieces=database.pieces)), {"key": key}).one()
    stored, unsettled, unmatched = (a + int(b) for a, b in zip(folded, journaled, strict=True))
    return StateCounts(stored, unsettled, unmatched)


def _has_journal(connection: Connection, key: int) -> bool:
    statement = text("SELECT 1 FROM reconcile_batches WHERE segment_key = :key LIMIT 1")
    return connection.execute(statement, {"key": key}).first() is not None
