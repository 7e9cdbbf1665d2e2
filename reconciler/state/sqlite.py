"""A state in a SQLite file."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, Pool, StaticPool, Table, create_engine, event

from reconciler.clock import Clock
from reconciler.errors import StateError
from reconciler.models.comparison import ROW_END
from reconciler.state.base import JOURNAL_LINES, MARK_LINE, SQLITE_PIECES
from reconciler.state.database import Backend, Database, Reader, run
from reconciler.state.failures import explained
from reconciler.state.location import BUSY_SECONDS, SqliteAddress, folder_lock, make_uri, reading_uri

_CACHE_KIB = 64 * 1024


class _File(Backend):
    pieces = SQLITE_PIECES
    _clock: Clock

    def now(self, _connection: Connection) -> float:
        """A file has no clock of its own: it is this machine's."""
        return self._clock.wall()


class SqliteDatabase(_File, Database):
    """The writing side: one connection per process, shared by all threads, one transaction at a time."""

    pause = 0.11
    """Longer than SQLite's busy handler sleeps between two tries (100 ms): one that waits gets in."""

    clear_picked = (
        "CREATE TEMP TABLE IF NOT EXISTS picked (id TEXT PRIMARY KEY, at REAL, unknown_at REAL) WITHOUT ROWID",
        "DELETE FROM picked",
    )
    fill_picked = (
        f"INSERT INTO picked (id, at, unknown_at) SELECT piece.value, b.at, b.unknown_at FROM {_File.pieces} "
        "WHERE b.segment_key = :key AND b.seq BETWEEN :first AND :last "
        "ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at), "
        "unknown_at = coalesce(max(unknown_at, excluded.unknown_at), unknown_at, excluded.unknown_at)"
    )
    """Measured: merging into the table's order takes half the time of grouping."""

    def __init__(self, address: SqliteAddress, clock: Clock) -> None:
        self.address = address
        self._path = address.path
        self._clock = clock
        self._mutex = threading.RLock()
        with explained(address):
            self._engine = _make_engine(self._connect, StaticPool)
            self._engine.connect().close()  # now, as connecting takes the folder's lock for a moment

    def _connect(self) -> sqlite3.Connection:
        # Of two processes that turn a new file to WAL at once one would fail. And no restore replaces it meanwhile.
        with folder_lock(self._path):
            connection = _connect(make_uri(self._path, "mode=rw"))
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        return connection

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        with explained(self.address), folder_lock(self._path), self.write() as connection:
            yield connection

    def _insert_picked(self, connection: Connection, ids: Sequence[str]) -> None:
        statement = "INSERT OR IGNORE INTO picked (id) SELECT value FROM json_each(:ids)"
        run(connection, statement, ids=json.dumps(list(ids), ensure_ascii=False))

    def load(self, connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
        marks = ", ".join("?" for _ in table.columns)
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", [tuple(row) for row in rows])

    def checkpoint(self) -> None:
        """Move the WAL into the file, unless another process reads just now."""
        with self._mutex, explained(self.address), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA busy_timeout=0")
            try:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                raw.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")

    def scrub(self) -> None:
        """Write the file anew: free pages, the space between rows and the WAL keep what was deleted before.

        It needs as much space on the disk again for the WAL, and for a temporary file of the same size.
        Source: https://sqlite.org/lang_vacuum.html and https://sqlite.org/pragma.html#pragma_secure_delete.
        """
        with self._mutex, explained(self.address), self._engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA temp_store=FILE")
            raw.execute("VACUUM")
            is_busy, *_ = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise StateError(f"another process reads the state, and keeps its WAL ({self.address})")


class SqliteReader(_File, Reader):
    """Reads a file; a missing one stays missing.

    It goes through Python's `sqlite3`, as the writing side does: two copies of the SQLite library in one process must
    not open one file, since closing it in one drops the locks of the other.
    """

    mark_line = MARK_LINE
    journal_lines = JOURNAL_LINES
    join = f"group_concat({{line}}, char({ROW_END}))"
    placeholder = "?"

    def __init__(self, address: SqliteAddress, clock: Clock, must_exist: bool) -> None:
        super().__init__(address, _make_reading_engine(address.path), must_exist)
        self._clock = clock


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


@lru_cache(maxsize=16)
def _make_reading_engine(path: Path) -> Engine:
    """Make what holds no connection, but the statements that were compiled: a run reads a state a few times."""
    return _make_engine(lambda: _connect(reading_uri(path)), NullPool)


def _make_engine(connect: Callable[[], sqlite3.Connection], pool: type[Pool]) -> Engine:
    """Begin each transaction by a statement: a reading one takes no lock, a writing one keeps all other writers out."""
    engine = create_engine("sqlite://", creator=connect, poolclass=pool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("state_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
