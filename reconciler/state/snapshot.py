"""The reading side of a state in a SQLite file: takes no lock, waits for none, changes nothing.

It goes through Python's `sqlite3` alone, as the writing side does: two copies of the SQLite library in one process
must not open one file, since closing it in one drops the locks of the other.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from reconciler.models.plan import Head
from reconciler.state.base import Stored, make_head
from reconciler.state.failures import explained
from reconciler.state.journal import JOURNAL_LINES, MARKS, MEMBERS, Walk
from reconciler.state.reader import SqliteReader, find_environment, find_segment, is_spent, read_head


class SqliteStored:
    """See `state.base.Stored`: everything is read in the one transaction of `connection`."""

    def __init__(self, head: Head, key: int | None, connection: Connection | None, now: float = 0.0) -> None:
        self.head = head
        self.now = now
        self._key = key
        self._connection = connection

    def members(self) -> Iterator[str]:
        return self._walk(MEMBERS)

    def marks(self) -> Iterator[str]:
        return self._walk(MARKS)

    def journal(self) -> Iterator[str]:
        if self._connection is not None and self._key is not None:
            for (line,) in self._connection.exec_driver_sql(JOURNAL_LINES.format(key=self._key)):
                yield line

    def _walk(self, walk: Walk) -> Iterator[str]:
        if self._connection is None or self._key is None:
            return iter(())
        return walk.read(self._connection, self._key)


class SqliteSnapshot:
    """See `state.base.Snapshot`. A file that is missing is an empty state, and stays missing."""

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
            yield SqliteStored(head, row.segment_key if row else None, connection, self._reader.now(connection))
