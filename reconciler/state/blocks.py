"""The journal's ids in one text; a state's rows as lines of blocks of text (see `models.columns.Rows`)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import StateError
from reconciler.models.columns import FIELD_END, ROW_END
from reconciler.models.ids import has_utf8

if TYPE_CHECKING:
    from sqlalchemy import Connection

ID_END = "\n"
"""What parts the ids of a row of the journal."""

_RESERVED = frozenset(("\0", ID_END, chr(FIELD_END), chr(ROW_END)))

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
class Walk:
    """A table read block by block, by its primary key: what a row's line is, and the columns after `segment_key`.

    Two statements a block: where it ends, then all that is in it, in any order. Measured: finding the end in the
    block itself (`max`) takes half as much again.
    """

    table: str
    columns: tuple[str, ...]
    line: str
    join: str = f"group_concat({{line}}, char({ROW_END}))"
    """Makes one text of the lines."""
    mark: str = "?"
    """Stands for a value in a statement."""

    def read(self, connection: "Connection", key: int) -> Iterator[str]:
        """Read block after block, each from where the one before ended."""
        place: tuple[str, ...] = ("",) * len(self.columns)
        while end := connection.exec_driver_sql(self._end, (key, *place)).one_or_none():
            yield connection.exec_driver_sql(f"{self._lines} AND {self._is_up_to}", (key, *place, *end)).scalar_one()
            place = tuple(end)
        rest = connection.exec_driver_sql(self._lines, (key, *place)).scalar_one()
        if rest is not None:
            yield rest

    @property
    def _end(self) -> str:
        names = ", ".join(self.columns)
        return f"SELECT {names} FROM {self._after} ORDER BY {names} LIMIT 1 OFFSET {ROWS_PER_BLOCK - 1}"

    @property
    def _lines(self) -> str:
        return f"SELECT {self.join.format(line=self.line)} FROM {self._after}"

    @property
    def _after(self) -> str:
        return f"{self.table} WHERE segment_key = {self.mark} AND {self._place} > {self._marks}"

    @property
    def _is_up_to(self) -> str:
        return f"{self._place} <= {self._marks}"

    @property
    def _place(self) -> str:
        return f"({', '.join(self.columns)})"

    @property
    def _marks(self) -> str:
        return f"({', '.join(self.mark for _ in self.columns)})"


MEMBERS = Walk("reconcile_members", ("id",), "id")
MARKS = Walk("reconcile_marks", ("id", "mark"), _MARK_LINE)

_POSTGRES_MARK_LINE = f"concat_ws(chr({FIELD_END}), id, mark, coalesce(direction, ''), at)"
_STRING_AGG = f"string_agg({{line}}, chr({ROW_END}))"

POSTGRES_MEMBERS = Walk("reconcile_members", ("id",), "id", _STRING_AGG, "%s")
POSTGRES_MARKS = Walk("reconcile_marks", ("id", "mark"), _POSTGRES_MARK_LINE, _STRING_AGG, "%s")


def is_readable(id: str) -> bool:
    """Tell whether an id can be told from its neighbours when it is read again."""
    return bool(id) and _RESERVED.isdisjoint(id) and has_utf8(id)


def check_ids(ids: Iterable[str]) -> None:
    """Raise StateError unless each id can be read again."""
    if not all(map(is_readable, ids)):
        raise StateError(
            "an id holds a character that the journal can't keep; nothing of its batch was sent",
            "correct the query; a plan file that holds it was edited: make a new one",
        )
