"""The Arrow driver of SQLite, for `sqlite_columns`, and the DuckDB by which rows of its streams come to Python."""

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, TypeAlias

import adbc_driver_sqlite.dbapi as adbc
import duckdb

from reconciler.models.comparison import ROW_END, ArrowStream
from reconciler.state.base import BLOCK_ROWS
from reconciler.state.failures import explained
from reconciler.state.location import BUSY_SECONDS, SqliteAddress, reading_uri

Execute: TypeAlias = Callable[[str], ArrowStream]


class Driver:
    """Connects to states; may be used by several threads."""

    def __init__(self) -> None:
        self._duckdb = duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False})
        self._lock = threading.Lock()

    @contextmanager
    def connect(self, address: SqliteAddress) -> Iterator[Execute]:
        """Connect for one transaction; what it gives executes a query. Streams end with it. Raises StateError."""
        with ExitStack() as stack:
            with explained(address):
                connection = stack.enter_context(closing(adbc.connect(reading_uri(address.path))))
                with closing(connection.cursor()) as cursor:
                    # The first to open the file builds its index of the -wal; others must wait for that.
                    cursor.executescript(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

            def execute(statement: str) -> ArrowStream:
                cursor: Any = stack.enter_context(closing(connection.cursor()))  # it must outlive the stream
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
                cursor.execute(statement)
                stream: ArrowStream = cursor.fetch_arrow()
                return stream

            yield execute

    def fetch(self, stream: ArrowStream) -> list[tuple[Any, ...]]:
        """Read a small stream whole. Raises OSError."""
        try:
            with self._select("*", stream) as rows:
                return rows.fetchall()
        except duckdb.Error as error:
            raise OSError(errno.EIO, str(error)) from None

    def read_lines(self, execute: Execute, statement: str) -> Iterator[str]:
        """Give the lines of a stream's one column as blocks."""
        with self._select("COLUMNS(*)::VARCHAR", execute(statement)) as rows:
            while block := rows.fetchmany(BLOCK_ROWS):
                yield chr(ROW_END).join(row[0] for row in block)

    @contextmanager
    def _select(self, columns: str, stream: ArrowStream) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            cursor = self._duckdb.cursor()
        with closing(cursor):
            cursor.register("raw", stream)
            yield cursor.execute(f"SELECT {columns} FROM raw")
