"""SQLite: read through ADBC, with the type that SQLite gave each single value."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import adbc_driver_manager
import adbc_driver_sqlite.dbapi
import duckdb
from adbc_driver_manager import ArrowArrayStreamHandle
from sqlalchemy.engine import URL

from reconciler.core.spec import Segment
from reconciler.engine.ports import ValueStream
from reconciler.source.columns import choose
from reconciler.source.duck import handing_out, one_row, require, stream_of, workbench
from reconciler.source.failures import Complaint, Scrubber
from reconciler.source.query import Query, derived

# The driver guesses a column's type from its first rows, so it is given nothing to guess: text, and text as bytes
# (SQLite lets a text be no UTF-8, which must not reach a column of strings).
_RAW = "SELECT typeof({0}) AS kind, CAST(coalesce(CAST({0} AS TEXT), '') AS BLOB) AS bytes FROM q"

_TYPED = """
SELECT
    CASE WHEN kind = 'null' THEN NULL WHEN kind IN ('integer', 'text') THEN coalesce(try(decode(bytes)), '') ELSE '' END
        AS value,
    kind IN ('null', 'integer') OR kind = 'text' AND try(decode(bytes)) IS NOT NULL AS typed
FROM raw
"""

_BUSY_SECONDS = 5.0
_NOTHING = "SELECT CAST(NULL AS VARCHAR) AS value, true AS typed FROM raw LIMIT 0"


@dataclass(frozen=True)
class SqliteSource:
    """A SQLite file; `uri` opens it read-only."""

    file: Path | None
    scrubber: Scrubber
    memory_limit: str

    @classmethod
    def of(cls, url: URL, scrubber: Scrubber, memory_limit: str) -> "SqliteSource":
        return cls(_file_of(url.database or ""), scrubber, memory_limit)

    @property
    def uri(self) -> str:
        return f"file:{quote(str(self.file))}?mode=ro" if self.file else "file::memory:"

    @contextmanager
    def open(self, segment: Segment) -> Iterator[ValueStream]:
        query = Query.of(segment, "sqlite")
        columns, at = self._prepare(query)
        with ExitStack() as stack:
            bench = stack.enter_context(workbench(self.memory_limit, threads=1))
            try:
                raw = self._read(stack, bench, query, _over(query, columns, at))
                bench.register("raw", raw)
                stream = stream_of(_type(bench))
            except (adbc_driver_manager.Error, duckdb.Error) as error:
                raise self.scrubber.complain(Complaint.of(error), query.values, reading=True) from None
            stack.callback(stream.close)
            yield stack.enter_context(handing_out(stream, self.scrubber, query, all_typed=False))

    def check(self, segment: Segment) -> None:
        self._prepare(Query.of(segment, "sqlite"))

    def _prepare(self, query: Query) -> tuple[int, int]:
        """How many columns the query has, and which holds the ids; SQLite's own module says what is wrong best."""
        if self.file is not None:
            require(self.file, self.scrubber)
        try:
            with closing(sqlite3.connect(self.uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema")  # the file is opened only when it is read
                cursor = connection.execute(derived("*", query.numbered("?")) + " LIMIT 0", query.values)
        except (sqlite3.Error, OverflowError) as error:
            raise self.scrubber.complain(Complaint.of(error), query.values) from None
        names = [column[0] for column in cursor.description]
        return len(names), choose(names, query.id_column)

    def _read(
        self, stack: ExitStack, bench: duckdb.DuckDBPyConnection, query: Query, sql: str
    ) -> ArrowArrayStreamHandle:
        connection = stack.enter_context(closing(adbc_driver_sqlite.dbapi.connect(self.uri)))
        with connection.cursor() as pragma:
            pragma.execute("PRAGMA query_only = ON")
            pragma.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        # The row of params stays open while the result is read, and a connection has one open result at a time.
        params = stack.enter_context(bench.cursor())
        cursor = stack.enter_context(closing(connection.cursor()))
        cursor.execute(sql, one_row(params, query.values) if query.params else None)
        return cursor.fetch_arrow()


def _file_of(database: str) -> Path | None:
    """The file of a path or of SQLite's own `file:` URI; None: a database in memory."""
    path = unquote(urlsplit(database).path) if database.startswith("file:") else database
    return None if path in ("", ":memory:") else Path(path)


def _type(bench: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
    """Make `value` and `typed` of the raw columns; where there are no rows, the driver had no type to give them."""
    raw = bench.sql("SELECT bytes FROM raw")
    return bench.sql(_TYPED if str(raw.types[0]) == "BLOB" else _NOTHING)


def _over(query: Query, columns: int, at: int) -> str:
    """Name the columns by position, so that no name needs quoting."""
    names = ", ".join(f"c{number}" for number in range(columns))
    return f"WITH q({names}) AS (\n{query.numbered('?')}\n) {_RAW.format(f'c{at}')}"
