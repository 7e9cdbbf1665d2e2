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

# The driver guesses a column's type from its first rows, so it gets one column of texts that is never NULL. A text
# without bytes stands for NULL; an empty text, and what is no id, are marked by bytes that no UTF-8 has.
_EMPTY = "FE"
_UNTYPED = "FF"
# Nearly all are texts: asked for first, in the least time. SQLite sorts NULL, numbers, texts, bytes. The plus takes the
# affinity away: some versions give a union that of one of its parts, and would compare a number as a text.
_RAW = (
    "CASE WHEN +{0} COLLATE BINARY > '' AND +{0} < x'' THEN {0} ELSE CAST("
    f"CASE typeof({{0}}) WHEN 'text' THEN x'{_EMPTY}' WHEN 'null' THEN x'' WHEN 'real' THEN x'{_UNTYPED}' "
    f"WHEN 'blob' THEN x'{_UNTYPED}' ELSE {{0}} END AS TEXT) END AS text"
)

_TYPED = f"""
SELECT
    CASE WHEN strlen(text) > 1 THEN text
        WHEN text = '' THEN NULL
        WHEN encode(text) IN (from_hex('{_EMPTY}'), from_hex('{_UNTYPED}')) THEN ''
        ELSE text END AS value,
    encode(text) <> from_hex('{_UNTYPED}') AS typed
FROM (SELECT CAST(text AS VARCHAR) AS text FROM incoming)
"""
"""The cast is for a query without rows: the driver takes its column for one of integers."""

_BATCH_ROWS = "65536"
"""In one batch of rows. Measured: with the 1,024 of the driver the comparison takes a quarter more CPU."""


class ColumnReader:
    """Reads SQLite files through the driver; `keep` keeps the DuckDB that params and few rows go through."""

    typed = _TYPED
    """What the texts of `raw` mean, for `ValueStream.select`."""

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
        """SQL of SQLite: the value of a column as a text, which may be no UTF-8."""
        return _RAW.format(column)
