"""Reading a SQLite file as columns, through ADBC, with the type that SQLite gave each single value."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import duckdb
from adbc_driver_manager.dbapi import Connection

from reconciler.embedded_duckdb import EmbeddedDuckDB
from reconciler.models.comparison import ArrowStream
from reconciler.sources.base import MEMORY_LIMIT, Query
from reconciler.sources.duckdb import explaining_stream, fetch_rows, one_row
from reconciler.sources.failures import Scrubber
from reconciler.sources.sqlite import BUSY_SECONDS, TypedTexts

_ERRORS = (adbc_driver_manager.Error, duckdb.Error, sqlite3.Error)

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

_BATCH_ROWS = "65536"
"""In one batch of rows. Measured: with the 1,024 of the driver the comparison takes a quarter more CPU."""


class ColumnReader:
    """Reads SQLite files through the driver; `keep` keeps the DuckDB that params and few rows go through."""

    typed = _TYPED
    """What the bytes of `raw` mean, for `ValueStream.select`."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._database = EmbeddedDuckDB(MEMORY_LIMIT, threads=1)

    def keep(self) -> AbstractContextManager[None]:
        return self._database.keep()

    @contextmanager
    def connect(self, uri: str, query: Query) -> Iterator[Connection]:
        """Connect, in a transaction. Raises SourceError."""
        with ExitStack() as stack:
            with self._scrubber.explaining(_ERRORS, query):
                connection = stack.enter_context(closing(adbc_driver_sqlite.dbapi.connect(uri)))
                with connection.cursor() as pragma:
                    pragma.execute("PRAGMA query_only = ON")
                    pragma.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            yield connection

    @contextmanager
    def stream(self, connection: Connection, query: Query, sql: str) -> Iterator[ArrowStream]:
        """Run a statement with the params of a query, and stream its rows. Raises SourceError."""
        with ExitStack() as stack:
            with self._scrubber.explaining(_ERRORS, query):
                cursor = stack.enter_context(closing(connection.cursor()))
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": _BATCH_ROWS})
                params = one_row(stack.enter_context(self._database.cursor()), query.values) if query.params else None
                cursor.execute(sql, params)
                stream = cursor.fetch_arrow()
                stack.callback(stream.release)
            stack.enter_context(explaining_stream(self._scrubber, query))
            yield stream

    def fetch(self, connection: Connection, query: Query, sql: str) -> TypedTexts:
        """Run a statement with the params of a query, and give its few rows. Raises SourceError."""
        with self._scrubber.explaining(_ERRORS, query):
            with self.stream(connection, query, sql) as rows, self._database.cursor() as reading:
                return fetch_rows(reading, rows)

    def prepare(self, uri: str, query: Query, sql: str) -> None:
        """Prepare a statement, which the driver's library must know. Raises SourceError."""
        with self.connect(uri, query) as connection, self._scrubber.explaining(_ERRORS, query):
            with closing(connection.cursor()) as cursor:
                cursor.adbc_statement.set_sql_query(sql)
                cursor.adbc_statement.prepare()

    @staticmethod
    def raw(column: str) -> str:
        """SQL of SQLite: the value of a column as bytes."""
        return _RAW.format(column)
