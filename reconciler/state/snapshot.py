"""The reading side of a state in a SQLite file: takes no lock, waits for none, changes nothing.

It goes through Python's `sqlite3` alone, as the writing side does: two copies of the SQLite library in one process
must not open one file, since closing it in one drops the locks of the other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from reconciler.core.plan import Head
from reconciler.engine.ports import ROW_END, Stored
from reconciler.state.failures import explained
from reconciler.state.heads import make_head
from reconciler.state.lines import JOURNAL_LINES, MARK_LINE, ROWS_PER_BLOCK
from reconciler.state.lookups import find_environment, find_segment, is_spent, read_head
from reconciler.state.reader import SqliteReader


@dataclass(frozen=True)
class Walk:
    """A table read block by block, by its primary key: what a row's line is, and the columns after `segment_key`.

    Two statements a block: where it ends, then all that is in it, in any order. Measured: finding the end in the
    block itself (`max`) takes half as much again.
    """

    table: str
    columns: tuple[str, ...]
    line: str

    @property
    def end(self) -> str:
        names = ", ".join(self.columns)
        return f"SELECT {names} FROM {self._after} ORDER BY {names} LIMIT 1 OFFSET {ROWS_PER_BLOCK - 1}"

    @property
    def block(self) -> str:
        return f"{self._lines} AND {self._place} <= {self._marks}"

    @property
    def rest(self) -> str:
        return self._lines

    @property
    def _lines(self) -> str:
        return f"SELECT group_concat({self.line}, char({ROW_END})) FROM {self._after}"

    @property
    def _after(self) -> str:
        return f"{self.table} WHERE segment_key = ? AND {self._place} > {self._marks}"

    @property
    def _place(self) -> str:
        return f"({', '.join(self.columns)})"

    @property
    def _marks(self) -> str:
        return f"({', '.join('?' for _ in self.columns)})"


_MEMBERS = Walk("reconcile_members", ("id",), "id")
_MARKS = Walk("reconcile_marks", ("id", "mark"), MARK_LINE)


class SqliteStored:
    """See `engine.ports.Stored`: everything is read in the one transaction of `connection`."""

    def __init__(self, head: Head, key: int | None, connection: Connection | None) -> None:
        self.head = head
        self._key = key
        self._connection = connection

    def members(self) -> Iterator[str]:
        return self._walk(_MEMBERS)

    def marks(self) -> Iterator[str]:
        return self._walk(_MARKS)

    def journal(self) -> Iterator[str]:
        if self._connection is not None and self._key is not None:
            for (line,) in self._connection.exec_driver_sql(JOURNAL_LINES.format(key=self._key)):
                yield line

    def _walk(self, walk: Walk) -> Iterator[str]:
        """Read block after block, each from where the one before ended."""
        if self._connection is None or self._key is None:
            return
        place: tuple[str, ...] = ("",) * len(walk.columns)
        while end := self._connection.exec_driver_sql(walk.end, (self._key, *place)).one_or_none():
            yield self._connection.exec_driver_sql(walk.block, (self._key, *place, *end)).scalar_one()
            place = tuple(end)
        rest = self._connection.exec_driver_sql(walk.rest, (self._key, *place)).scalar_one()
        if rest is not None:
            yield rest


class SqliteSnapshot:
    """See `engine.ports.Snapshot`. A file that is missing is an empty state, and stays missing."""

    def __init__(self, reader: SqliteReader) -> None:
        self._reader = reader
        with reader.read():
            pass

    def head(self, workspace: str, segment_id: int) -> Head:
        with self._reader.read() as connection:
            return Head() if connection is None else read_head(connection, workspace, segment_id)

    def is_spent(self, plan_id: str) -> bool:
        with self._reader.read() as connection:
            return connection is not None and is_spent(connection, plan_id)

    @contextmanager
    def open(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        with self._reader.read() as connection:
            if connection is None:
                yield SqliteStored(Head(), None, None)
                return
            with explained(self._reader.address):
                row = find_segment(connection, workspace, segment_id)
                head = make_head(row, find_environment(connection, workspace))
            yield SqliteStored(head, row.segment_key if row else None, connection)
