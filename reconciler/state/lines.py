"""Rows of a SQLite state as lines of a block of text (see `engine.ports.Rows`)."""

from reconciler.engine.ports import FIELD_END

ROWS_PER_BLOCK = 16_384
"""Measured: larger blocks are slower."""

MARK_LINE = f"""id || char({FIELD_END}) || mark || char({FIELD_END}) || coalesce(direction, '')
    || char({FIELD_END}) || printf('%.6f', at)"""

MARK_LINES = f"SELECT {MARK_LINE} AS line FROM reconcile_marks WHERE segment_key = {{key}}"
"""Each mark as one line of a block; with `{key}` to be filled in."""

JOURNAL_LINES = f"""
SELECT seq || char({FIELD_END}) || direction || char({FIELD_END}) || coalesce(outcome, '') || char({FIELD_END})
    || printf('%.6f', at) || char({FIELD_END})
    || CASE WHEN outcome = 'acknowledged' AND unknown_at IS NOT NULL THEN printf('%.6f', unknown_at) ELSE '' END
    || char({FIELD_END}) || ids AS line
FROM reconcile_batches WHERE segment_key = {{key}} ORDER BY seq"""
"""Each row of the journal as one line of a block."""
