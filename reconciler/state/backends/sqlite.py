"""A state in a SQLite file."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

from reconciler.clock import Clock
from reconciler.models.plan import Head
from reconciler.state import schema
from reconciler.state.backends.base import run, transaction
from reconciler.state.base import Stored, make_head
from reconciler.state.blocks import JOURNAL_LINES, MARKS, MEMBERS, Walk
from reconciler.state.failures import explained
from reconciler.state.location import (
    BUSY_SECONDS,
    Address,
    SqliteAddress,
    folder_lock,
    is_missing,
    make_uri,
    reading_uri,
)
from reconciler.state.reader import find_environment, find_segment, is_spent, read_head

PAUSE_SECONDS = 0.11
"""Longer than SQLite's busy handler sleeps between two tries (100 ms): one that waits gets in."""

_CACHE_KIB = 64 * 1024

_QUOTED = """replace(json_quote(b.ids), '\\\\', '\\u005c')"""
_AS_JSON = f"""'[' || replace({_QUOTED}, '\\n', '","') || ']'"""
"""A batch's ids as a JSON list, whatever they hold. Once a backslash is written as a number, `\\n` is a line feed."""

PIECES = f"reconcile_batches b, json_each({_AS_JSON}) piece"
"""See `Database.pieces`."""


class SqliteDatabase:
    """The writing side: one connection per process, shared by all threads, one transaction at a time."""

    pieces = PIECES
    address: Address

    def __init__(self, address: SqliteAddress, clock: Clock) -> None:
        self.address = address
        self._path = address.path
        self._clock = clock
        self._mutex = threading.RLock()
        with explained(address):
            self._engine = _begin_explicitly(
                create_engine("sqlite://", creator=self._connect, poolclass=StaticPool, hide_parameters=True)
            )
            self._engine.connect().close()  # now, as connecting takes the folder's lock for a moment

    def _connect(self) -> sqlite3.Connection:
        # Two who turn a new file to WAL at once would be told that it is busy. And no restore replaces it meanwhile.
        with folder_lock(self._path):
            connection = sqlite3.connect(
                make_uri(self._path, "mode=rw"),
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        return connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._mutex, transaction(self._engine, self.address) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._mutex, transaction(self._engine, self.address, reading=True) as connection:
            yield connection

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        with explained(self.address), folder_lock(self._path), self.write() as connection:
            yield connection

    def now(self, _connection: Connection) -> float:
        """A file has no clock of its own: it is this machine's."""
        return self._clock.wall()

    def lock_row(self) -> str:
        return ""  # BEGIN IMMEDIATE keeps everybody out

    def _make_picked(self, connection: Connection) -> None:
        run(
            connection,
            "CREATE TEMP TABLE IF NOT EXISTS picked (id TEXT PRIMARY KEY, at REAL, unknown_at REAL) WITHOUT ROWID",
        )
        run(connection, "DELETE FROM picked")

    def pick(self, connection: Connection, ids: Sequence[str]) -> None:
        self._make_picked(connection)
        run(
            connection,
            "INSERT OR IGNORE INTO picked (id) SELECT value FROM json_each(:ids)",
            ids=json.dumps(list(ids), ensure_ascii=False),
        )

    def pick_batches(self, connection: Connection, key: int, first: int, last: int) -> None:
        """Measured: merging into the table's order takes half the time of grouping."""
        self._make_picked(connection)
        run(
            connection,
            f"INSERT INTO picked (id, at, unknown_at) SELECT piece.value, b.at, b.unknown_at FROM {PIECES} "
            "WHERE b.segment_key = :key AND b.seq BETWEEN :first AND :last "
            "ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at), "
            "unknown_at = coalesce(max(unknown_at, excluded.unknown_at), unknown_at, excluded.unknown_at)",
            key=key,
            first=first,
            last=last,
        )

    def bar_locks(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE has done so."""

    def load(self, connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
        marks = ", ".join("?" for _ in table.columns)
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", [tuple(row) for row in rows])

    def count_from(self, connection: Connection, table: Table, column: str, number: int) -> None:
        """AUTOINCREMENT goes on from the highest number by itself."""

    def make_way(self) -> None:
        self._clock.sleep(PAUSE_SECONDS)

    def tidy(self) -> None:
        """Move the WAL into the file, unless somebody reads just now."""
        with self._mutex, explained(self.address), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA busy_timeout=0")
            try:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                raw.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")

    def close(self) -> None:
        with self._mutex:
            self._engine.dispose()


def _open_reading(address: SqliteAddress) -> Engine:
    """Open a file for reading only: nothing of it is changed."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            reading_uri(address.path), uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        ),
        poolclass=NullPool,
        hide_parameters=True,
    )
    return _begin_explicitly(engine)


def _begin_explicitly(engine: Engine) -> Engine:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("state_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


class SqliteReader:
    """Reads a file; a missing one stays missing."""

    pieces = PIECES
    address: Address

    def __init__(self, address: SqliteAddress, clock: Clock, must_exist: bool) -> None:
        self.address = address
        self._file = address
        self._clock = clock
        self._must_exist = must_exist

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        if self._is_missing():
            self._refuse_missing()
            yield None
            return
        with transaction(_open_reading(self._file), self.address, reading=True) as connection:
            known = schema.is_there(connection, self.address)
            if not known:
                self._refuse_missing()
            yield connection if known else None

    def find_schema(self) -> tuple[schema.Schema, str]:
        if self._is_missing():
            return schema.Schema.NONE, ""
        with transaction(_open_reading(self._file), self.address, reading=True) as connection:
            return schema.look(connection, self.address), schema.read_version(connection)

    def now(self, _connection: Connection) -> float:
        return self._clock.wall()

    def _is_missing(self) -> bool:
        with explained(self.address):
            return is_missing(self._file.path)

    def _refuse_missing(self) -> None:
        if self._must_exist:
            raise schema.missing(self.address)


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
