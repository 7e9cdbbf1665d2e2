"""A state's rows as lines of blocks of text (see `models.comparison.Rows`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.models.comparison import FIELD_END, ROW_END

if TYPE_CHECKING:
    from sqlalchemy import Connection

ROWS_PER_BLOCK = 16_384
"""Measured: larger blocks are slower."""

_MARK_LINE = f"""id || char({FIELD_END}) || mark || char({FIELD_END}) || coalesce(direction, '')
    || char({FIELD_END}) || printf('%.6f', at)"""

MARK_LINES = f"SELECT {_MARK_LINE} AS line FROM reconcile_marks WHERE segment_key = {{key}}"
"""Each mark as one line of a block; with `{key}` to be filled in."""

JOURNAL_LINES = f"""
SELECT seq || char({FIELD_END}) || direction || char({FIELD_END}) || coalesce(outcome, '') || char({FIELD_END})
    || printf('%.6f', at) || char({FIELD_END})
    || CASE WHEN outcome = 'acknowledged' AND unknown_at IS NOT NULL THEN printf('%.6f', unknown_at) ELSE '' END
    || char({FIELD_END}) || ids AS line
FROM reconcile_batches WHERE segment_key = {{key}} ORDER BY seq"""
"""Each row of the journal as one line of a block."""

POSTGRES_JOURNAL_LINES = f"""
SELECT concat_ws(chr({FIELD_END}), seq, direction, coalesce(outcome, ''), at,
    coalesce(CAST(CASE WHEN outcome = 'acknowledged' THEN unknown_at END AS text), ''), ids) AS line
FROM reconcile_batches WHERE segment_key = {{key}} ORDER BY seq"""


@dataclass(frozen=True)
class BlockReader:
    """Reads a segment's rows of a table as blocks of text, by the table's primary key.

    Two statements a block: where it ends, then all that is in it, in any order. Measured: finding the end in the
    block itself (`max`) takes half as much again.
    """

    table: str
    columns: tuple[str, ...]
    """Of the primary key, after `segment_key`."""
    line: str
    """What a row's line is."""
    join: str = f"group_concat({{line}}, char({ROW_END}))"
    """Makes one text of the lines."""
    placeholder: str = "?"

    def read(self, connection: "Connection", key: int) -> Iterator[str]:
        """Yield block after block, each from where the one before ended."""
        names = ", ".join(self.columns)
        values = ", ".join(self.placeholder for _ in self.columns)
        rest = f"{self.table} WHERE segment_key = {self.placeholder} AND ({names}) > ({values})"
        find_end = f"SELECT {names} FROM {rest} ORDER BY {names} LIMIT 1 OFFSET {ROWS_PER_BLOCK - 1}"
        read_rest = f"SELECT {self.join.format(line=self.line)} FROM {rest}"
        read_block = f"{read_rest} AND ({names}) <= ({values})"
        after: tuple[str, ...] = ("",) * len(self.columns)
        while end := connection.exec_driver_sql(find_end, (key, *after)).one_or_none():
            yield connection.exec_driver_sql(read_block, (key, *after, *end)).scalar_one()
            after = tuple(end)
        last = connection.exec_driver_sql(read_rest, (key, *after)).scalar_one()
        if last is not None:
            yield last


MEMBERS = BlockReader("reconcile_members", ("id",), "id")
MARKS = BlockReader("reconcile_marks", ("id", "mark"), _MARK_LINE)

_POSTGRES_MARK_LINE = f"concat_ws(chr({FIELD_END}), id, mark, coalesce(direction, ''), at)"
_STRING_AGG = f"string_agg({{line}}, chr({ROW_END}))"

POSTGRES_MEMBERS = BlockReader("reconcile_members", ("id",), "id", _STRING_AGG, "%s")
POSTGRES_MARKS = BlockReader("reconcile_marks", ("id", "mark"), _POSTGRES_MARK_LINE, _STRING_AGG, "%s")
