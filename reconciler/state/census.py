"""Counting what the state holds of a segment, journal and all."""

from sqlalchemy import Connection, text

from reconciler.models.counts import Census
from reconciler.state.database import Database
from reconciler.state.reader import Reader

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


def take_census(database: Database | Reader, connection: Connection, key: int | None) -> Census:
    """Count by status; `key` None: a segment that the state does not know."""
    if key is None:
        return Census(0, 0, 0)
    folded = connection.execute(text(_FOLDED), {"key": key}).one()
    if not _has_journal(connection, key):
        return Census(*folded)
    journaled = connection.execute(text(_JOURNALED.format(pieces=database.pieces)), {"key": key}).one()
    stored, unsettled, unmatched = (a + int(b) for a, b in zip(folded, journaled, strict=True))
    return Census(stored, unsettled, unmatched)


def _has_journal(connection: Connection, key: int) -> bool:
    statement = text("SELECT 1 FROM reconcile_batches WHERE segment_key = :key LIMIT 1")
    return connection.execute(statement, {"key": key}).first() is not None
