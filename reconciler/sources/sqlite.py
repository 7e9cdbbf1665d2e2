"""SQLite: read through ADBC, with the type that SQLite gave each single value."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import duckdb
from adbc_driver_manager.dbapi import Connection

from reconciler.embedded_duckdb import EmbeddedDuckDB
from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream
from reconciler.models.freshness import DataTime, check_columns, read_answer, refuse_kind
from reconciler.models.spec import Segment
from reconciler.sources.base import (
    MEMORY_LIMIT,
    SELECT_LINES,
    Query,
    ValueStream,
    choose,
    naming_freshness,
    read_blocks,
)
from reconciler.sources.duckdb import explaining_stream, fetch_rows, one_row, require
from reconciler.sources.failures import Scrubber

# The driver guesses a column's type from its first rows, so it gets one column of bytes that is never NULL. Zero bytes
# stand for NULL: no value has zero bytes, as an empty text gets a byte of its own. What is no id is marked by bytes
# that no text has (UTF-8 has no FE and FF); a text of SQLite that is no UTF-8 is no text here.
_EMPTY = "FE"
_UNTYPED = "FF"
# Nearly all are texts: asked for first, they take two thirds of the time.
_RAW = (
    "CAST(CASE WHEN typeof({0}) = 'text' AND length(CAST({0} AS BLOB)) > 0 THEN {0} ELSE "
    f"CASE typeof({{0}}) WHEN 'text' THEN x'{_EMPTY}' WHEN 'null' THEN x'' WHEN 'real' THEN x'{_UNTYPED}' "
    f"WHEN 'blob' THEN x'{_UNTYPED}' ELSE {{0}} END END AS BLOB) AS bytes"
)

_TYPED = f"""
SELECT
    CASE WHEN octet_length(bytes) = 0 THEN NULL WHEN text IS NOT NULL THEN text ELSE '' END AS value,
    octet_length(bytes) = 0 OR text IS NOT NULL OR bytes = from_hex('{_EMPTY}') AS typed
FROM (SELECT bytes, try(decode(bytes)) AS text FROM (SELECT CAST(bytes AS BLOB) AS bytes FROM incoming))
"""
"""The cast is for a query without rows: the driver takes its column for one of integers."""

_ERRORS = (adbc_driver_manager.Error, duckdb.Error, sqlite3.Error)
_TypedTexts = list[tuple[str, str | None]]
_BUSY_SECONDS = 5.0
_BATCH_ROWS = "65536"
"""In one batch of rows. Measured: with the 1,024 of the driver the comparison takes a quarter more CPU."""


class SqliteSource:
    """A SQLite file, read-only; or a database in memory."""

    def __init__(self, path: str | None, scrubber: Scrubber) -> None:
        self._file = None if path is None else Path(path)
        self._scrubber = scrubber
        self._database = EmbeddedDuckDB(MEMORY_LIMIT, threads=1)
        # Queries are prepared one at a time, in Python's SQLite library; rows are read through the driver's own.
        # Closing a file in one drops the locks that the other holds on it: this connection stays open.
        self._lock = threading.Lock()
        self._preparing: sqlite3.Connection | None = None

    def keep(self) -> AbstractContextManager[None]:
        return self._database.keep()

    @contextmanager
    def stream_values(self, segment: Segment) -> Iterator[ValueStream]:
        query, freshness = Query.of(segment, "sqlite"), Query.of_freshness(segment, "sqlite")
        sql, at = self._prepare(query)
        with self._unchanged(), ExitStack() as stack:
            with self._scrubber.explaining(_ERRORS, query):
                if at is None:
                    reader = self._open_reader(stack)
                    data_time = self._ask_freshness(freshness, lambda *asked: self._fetch(reader, *asked))
                    values = ValueStream(self._stream(stack, reader, query, sql), _TYPED, data_time)
                else:
                    connection = stack.enter_context(closing(_connect(_uri_of(self._file))))
                    connection.executescript("PRAGMA query_only = ON; BEGIN")
                    data_time = self._ask_freshness(
                        freshness, lambda asked, sql: connection.execute(sql, asked.values).fetchall()
                    )
                    fetch = connection.execute(sql, query.values).fetchmany
                    explaining = self._scrubber.explaining(sqlite3.Error, query)
                    values = ValueStream(read_blocks(fetch, at, explaining), SELECT_LINES, data_time)
            stack.enter_context(explaining_stream(self._scrubber, query))
            yield values

    def _stream(self, stack: ExitStack, reader: Connection, query: Query, sql: str) -> ArrowStream:
        """Run a statement in the transaction of a reader, and stream its rows."""
        cursor = stack.enter_context(closing(reader.cursor()))
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": _BATCH_ROWS})
        params = one_row(stack.enter_context(self._database.cursor()), query.values) if query.params else None
        cursor.execute(sql, params)
        stream = cursor.fetch_arrow()
        stack.callback(stream.release)
        return stream

    def _fetch(self, reader: Connection, query: Query, sql: str) -> _TypedTexts:
        with ExitStack() as stack:
            rows = self._stream(stack, reader, query, sql)
            return fetch_rows(stack.enter_context(self._database.cursor()), rows)

    def _ask_freshness(self, query: Query | None, fetch: Callable[[Query, str], _TypedTexts]) -> DataTime | None:
        if query is None:
            return None
        with naming_freshness():
            sql = self._prepare_freshness(query)
            with self._scrubber.explaining(_ERRORS, query):
                rows = fetch(query, sql)
            for kind, _ in rows:
                if kind not in ("text", "null"):
                    raise refuse_kind(f"a value of type {kind}")
            return read_answer([[text] for _, text in rows])

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Where SQLite reads without a lock, refuse what was read if the file was written to meanwhile."""
        before = _stamp(self._file) if self._file is not None and _is_quiescent(self._file) else None
        yield
        if before is not None and self._file is not None and _stamp(self._file) != before:
            raise SourceError(
                f"source {self._scrubber.source}: the database was written to while it was read without a lock",
                "Run it again; or let the user who runs the command write to the folder, so that SQLite can lock it.",
            )

    def check(self, segment: Segment) -> None:
        query, freshness = Query.of(segment, "sqlite"), Query.of_freshness(segment, "sqlite")
        sql, _ = self._prepare(query)
        with self._scrubber.explaining(adbc_driver_manager.Error, query), ExitStack() as stack:
            statement = stack.enter_context(closing(self._open_reader(stack).cursor())).adbc_statement
            statement.set_sql_query(sql)
            statement.prepare()
        if freshness:
            with naming_freshness():
                self._prepare_freshness(freshness)

    def _prepare(self, query: Query) -> tuple[str, int | None]:
        """Give the statement to run: for the driver, or, with the position of the ids, to be read row by row.

        The driver would give texts as the bytes that the file has, which may be UTF-16.
        """
        names, encoding = self._describe(query)
        at = choose(names, query.id_column)
        if encoding != "UTF-8":
            return _select("*", query), at
        by_position = f"({', '.join(f'c{number}' for number in range(len(names)))})"  # so no name needs quoting
        return _select(_RAW.format(f"c{at}"), query, by_position), None

    def _prepare_freshness(self, query: Query) -> str:
        """Give the statement for up to two answers, each with its type, and the text if it is one."""
        names, _ = self._describe(query)
        check_columns(len(names))
        return _select("typeof(c0), CASE typeof(c0) WHEN 'text' THEN c0 END", query, "(c0)") + " LIMIT 2"

    def _describe(self, query: Query) -> tuple[list[str], str]:
        """Give the names of a query's columns, and the encoding of the database.

        The query is prepared through Python's SQLite module, which reports errors and the names of columns best.
        """
        if self._file is not None:
            require(self._file, self._scrubber)
        with self._scrubber.explaining((sqlite3.Error, OverflowError), query), self._lock:
            if self._preparing is None:
                self._preparing = _connect(_uri_of(self._file))
            with self._scrubber.explaining(sqlite3.Error):
                self._preparing.execute("SELECT count(*) FROM sqlite_schema")  # SQLite opens a file when it is read
                encoding = self._preparing.execute("PRAGMA encoding").fetchone()[0]
            cursor = self._preparing.execute(_select("*", query) + " LIMIT 0", query.values)
        return [column[0] for column in cursor.description], encoding

    def _open_reader(self, stack: ExitStack) -> Connection:
        """Open a connection of the driver that reads columns, in a transaction."""
        connection = stack.enter_context(closing(adbc_driver_sqlite.dbapi.connect(_uri_of(self._file))))
        with connection.cursor() as pragma:
            pragma.execute("PRAGMA query_only = ON")
            pragma.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        return connection


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)


def _uri_of(file: Path | None) -> str:
    """Give a read-only URI; a quiescent file is read without a lock."""
    if file is None:
        return "file::memory:"
    return f"file:{quote(os.fsencode(file))}?mode=ro{'&immutable=1' if _is_quiescent(file) else ''}"


def _is_quiescent(file: Path) -> bool:
    """Tell whether a database is in WAL mode, has nothing in a -wal, and its folder takes no -shm: then no reader
    can lock it, and reading the file as it is misses nothing."""
    file = file.resolve()
    if os.access(file.parent, os.W_OK) or _wal_of(file).exists():
        return False
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(20)[18:20] == b"\x02\x02"  # versions of the format for writing and reading; 2: WAL
    return False


def _wal_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _stamp(file: Path) -> tuple[int, int, bool]:
    """Give what changes when a database is written to."""
    file = file.resolve()
    status = file.stat()
    return status.st_mtime_ns, status.st_size, _wal_of(file).exists()


def _select(what: str, query: Query, columns: str = "") -> str:
    """Select from the query as a common table: SQLite would take a table's name in parentheses for a query."""
    return f"WITH {query.name}{columns} AS (\n{query.numbered('?')}\n) SELECT {what} FROM {query.name}"
