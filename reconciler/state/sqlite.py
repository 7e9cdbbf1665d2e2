"""A state in a SQLite file."""

import fcntl
import json
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

from reconciler.state.address import Address, SqliteAddress
from reconciler.state.database import run, transaction
from reconciler.state.failures import explained
from reconciler.state.machine import Clock

BUSY_SECONDS = 60.0
"""How long to wait for another writer: longer than any transaction of ours."""

PAUSE_SECONDS = 0.11
"""Longer than SQLite's busy handler sleeps between two tries (100 ms): one that waits gets in."""

PRIVATE_FOLDER = ".reconcile"
"""A folder of this name is ours: nobody else may look into it."""

_CACHE_KIB = 64 * 1024

_ESCAPED = """replace(replace(b.ids, '\\', '\\\\'), '"', '\\"')"""
_AS_JSON = f"""'["' || replace({_ESCAPED}, char(10), '","') || '"]'"""
"""A batch's ids as a JSON list; they hold no control characters, so this is all there is to escape."""

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
        connection = sqlite3.connect(
            _uri(self._path, "mode=rw"),
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        with folder_lock(self._path):  # two who turn a new file to WAL at once would be told that it is busy
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

    def freeze(self, connection: Connection) -> None:
        """Every transaction does."""

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


def open_reader(address: SqliteAddress) -> Engine:
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


def reading_uri(path: Path) -> str:
    """A read-only URI. In a folder where no -shm can be made, a file without a -wal is read as it lies there."""
    lies_still = not os.access(path.parent, os.W_OK) and not _beside(path, "-wal").exists()
    return _uri(path, "mode=ro&immutable=1" if lies_still else "mode=ro")


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{options}"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def is_missing(path: Path) -> bool:
    """Tell whether there is no state: no file, or one that was just made and holds nothing yet."""
    try:
        return path.stat().st_size == 0 and not _beside(path, "-wal").exists()
    except FileNotFoundError:
        return True


def make_private(path: Path) -> None:
    """Make the file if it is missing, readable by its owner alone before SQLite opens it, and its folder so, too."""
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if made or path.parent.name == PRIVATE_FOLDER:
        path.parent.chmod(0o700)
    with suppress(FileExistsError):
        make_file(path)
    for file in (path, _beside(path, "-wal"), _beside(path, "-shm")):
        _close_to_others(file)


def make_file(path: Path) -> None:
    """Make an empty file that is its owner's alone, whatever the umask."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _close_to_others(path: Path) -> None:
    with suppress(FileNotFoundError):
        if stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """One process at a time makes or upgrades a state in a folder; it leaves no file behind."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems know no such lock; SQLite's own then has to do
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
