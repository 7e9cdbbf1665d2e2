"""DuckDB files, and all that DuckDB reads (such as Parquet files), read natively."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from reconciler.embedded_duckdb import EmbeddedDuckDB
from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream
from reconciler.models.fields import Scalar
from reconciler.models.freshness import DataTime, check_columns, read_answer, refuse_kind
from reconciler.models.spec import Segment
from reconciler.sources.base import (
    ALL_TYPED,
    MEMORY_LIMIT,
    SELECT_LINES,
    Interruption,
    Query,
    ValueStream,
    choose,
    naming_freshness,
    refuse_type,
    require,
    write_typed,
)
from reconciler.sources.failures import Scrubber
from reconciler.sources.messages import find_paths

_TEXTS = frozenset({"varchar", "enum"})
_INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
    | {"bignum", "varint"}
)
_TAKEN = frozenset({"memory", "temp", "system", "main"})
INTEGRAL = (  # a macro of the user's database may be called as a function is
    "CASE WHEN {0} = system.main.trunc({0}) THEN system.main.split_part(CAST({0} AS VARCHAR), '.', 1) "
    "WHEN {0} IS NOT NULL THEN '' END AS value, "
    "coalesce({0} = system.main.trunc({0}), true) AS typed"
)
"""Writes the integral values of a column of decimals."""


def one_row(connection: duckdb.DuckDBPyConnection, values: tuple[Scalar, ...]) -> duckdb.DuckDBPyRelation:
    """Give the params of a query as one row of columns, to be bound through ADBC."""
    types = {bool: "BIGINT", int: "BIGINT", float: "DOUBLE", str: "VARCHAR", type(None): "VARCHAR"}
    marks = [f"CAST(${number} AS {types[type(value)]})" for number, value in enumerate(values, start=1)]
    columns = ", ".join(f"{mark} AS p{at}" for at, mark in enumerate(marks))
    return connection.sql(f"SELECT {columns}", params=list(values))


def fetch_rows(connection: duckdb.DuckDBPyConnection, rows: ArrowStream) -> list[Any]:
    """Read a stream of a few rows to its end."""
    connection.register("incoming", rows.__arrow_c_stream__())
    try:
        return connection.execute("FROM incoming").fetchall()
    finally:
        connection.unregister("incoming")


_STREAM_FAILED = "reading the stream registered as "
"""How DuckDB begins what a stream that it reads says of its own failure."""


@contextmanager
def explaining_stream(scrubber: Scrubber, query: Query) -> Iterator[None]:
    """Turn the failure of a stream, which its reader meets as an error of DuckDB, into SourceError."""
    try:
        yield
    except duckdb.InvalidInputException as error:
        if _STREAM_FAILED not in str(error):
            raise
        raise scrubber.explain(error, query) from None


@dataclass(frozen=True)
class StartedRelation:
    """A stream that has started, and nothing but a stream: its rows come while they are read, once."""

    capsule: object

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.capsule


class DuckSource:
    """A DuckDB file, or nothing but what the query itself reads, such as Parquet files."""

    def __init__(self, database: str, scrubber: Scrubber) -> None:
        """`database`: the path of the file; empty, or `:memory:`, for none."""
        self._file = None if database in ("", ":memory:") else Path(database)
        self._scrubber = scrubber
        self._interruption = Interruption()
        self._database = EmbeddedDuckDB(MEMORY_LIMIT, prepare=self._attach)
        self._catalog: str | None = None
        if self._file is not None:
            # The name that DuckDB gives a file that it opens, unless it has such a catalog already.
            name = "warehouse" if self._file.stem.casefold() in _TAKEN else self._file.stem
            self._catalog = '"' + name.replace('"', '""') + '"'

    def keep(self) -> AbstractContextManager[None]:
        return self._database.keep()

    @contextmanager
    def stream_values(self, segment: Segment, few: int = 0, /) -> Iterator[ValueStream]:
        query = Query.of(segment, "duckdb")
        with self._connect() as connection:
            connection.begin()
            data_time = self._ask_freshness(connection, segment)
            with self._explaining(connection, query):
                select, all_typed, _ = _select(connection, query)
                # As text: to limit a relation takes four times as long as the query of a small segment.
                rows = connection.execute(f"{select} LIMIT {few + 1}", list(query.values)).fetchall() if few else ()
            if few and len(rows) <= few:
                block = write_typed([(*row, True) for row in rows] if all_typed else rows)
                yield ValueStream(block, SELECT_LINES, data_time)
                return
            with self._explaining(connection, query):
                relation = connection.sql(select, params=list(query.values))
                stream = StartedRelation(relation.__arrow_c_stream__())
            with explaining_stream(self._scrubber, query):
                yield ValueStream(stream, ALL_TYPED if all_typed else ValueStream.select, data_time)

    def check(self, segment: Segment) -> None:
        query = Query.of(segment, "duckdb")
        with self._connect() as connection:
            with self._explaining(connection, query):
                _, _, unfit = _select(connection, query)
            self._ask_freshness(connection, segment, is_prepared_only=True)
        if unfit:
            raise refuse_type(unfit)

    def _ask_freshness(
        self, connection: duckdb.DuckDBPyConnection, segment: Segment, *, is_prepared_only: bool = False
    ) -> DataTime | None:
        query = Query.of_freshness(segment, "duckdb")
        if query is None:
            return None
        with naming_freshness():
            with self._explaining(connection, query):
                sql, values = query.numbered("$"), list(query.values)
                types = connection.sql(query.derived("*", sql), params=values).types
            check_columns(len(types))
            kind = str(getattr(types[0], "id", ""))
            if not kind.startswith("timestamp") and kind not in {"date", "varchar", "null"}:
                raise refuse_kind(f"a value of type {types[0]}")
            if is_prepared_only:
                return None
            with self._explaining(connection, query):
                text = query.derived("CAST(c0 AS VARCHAR)", sql, "(c0)")
                rows = connection.sql(text, params=values).limit(2).fetchall()
            return read_answer(rows)

    @contextmanager
    def _explaining(self, connection: duckdb.DuckDBPyConnection, query: Query) -> Iterator[None]:
        """Turn the error of a query that could not begin into SourceError; DuckDB proposes names that it has."""
        try:
            yield
        except duckdb.Error as error:
            proposes = isinstance(error, (duckdb.BinderException, duckdb.CatalogException))
            known = _find_known(connection, query) if proposes else ()
            raise self._scrubber.explain(error, query, known=known) from None

    @contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if self._file is not None:
            require(self._file, self._scrubber.source)
        with self._database.cursor(self._catalog) as connection, self._interruption.ending(connection.interrupt):
            yield connection

    def interrupt(self) -> None:
        self._interruption.interrupt()

    def _attach(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Attach, rather than open: one file can't be open twice with settings that differ. Raises SourceError."""
        if self._file is None:
            return
        path = str(self._file).replace("'", "''")
        try:
            connection.execute(f"ATTACH '{path}' AS {self._catalog} (READ_ONLY)")
        except UnicodeEncodeError:
            raise SourceError(
                f"source {self._scrubber.source}: DuckDB opens no file with a path that is not UTF-8",
                "Rename its folder.",
            ) from None
        except duckdb.Error as error:
            raise self._scrubber.explain(error) from None


_KNOWN = """
SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()
UNION SELECT column_name FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (table_oid)
UNION SELECT function_name FROM duckdb_functions() UNION SELECT schema_name FROM duckdb_schemas()
"""
"""Names of the catalog, but none of a view's columns: a view of a CSV file may take them from its first row."""


def _find_known(connection: duckdb.DuckDBPyConnection, query: Query) -> list[str]:
    """List the names that DuckDB may propose and that are no values: the catalog's, and those of Parquet files."""
    texts = [*find_paths(query.statement), *(value for value in query.values if isinstance(value, str))]
    known = [row[0] for row in connection.execute(_KNOWN).fetchall()]
    for path in (text for text in texts if text.endswith(".parquet")):
        with suppress(duckdb.Error):
            known += [row[0] for row in connection.execute("SELECT name FROM parquet_schema(?)", [path]).fetchall()]
    return known


def _select(connection: duckdb.DuckDBPyConnection, query: Query) -> tuple[str, bool, str]:
    """Select the ids of a query, by the type of their column.

    Give the statement; whether all are typed by that type; and the type itself, if no value of it can be an id.
    """
    sql, values = query.numbered("$"), list(query.values)
    types = connection.sql(query.derived("*", sql), params=values).types
    # The names as the query gives them: a derived table has made double ones unlike.
    names = [str(row[0]) for row in connection.execute(f"DESCRIBE {sql}", values).fetchall()]
    at = choose(names, query.id_column)
    column, kind = f"c{at}", types[at]
    name = str(getattr(kind, "id", ""))
    all_typed = str(kind) != "JSON" and name in _TEXTS | _INTEGERS | {"uuid"}
    unfit = "" if all_typed or name == "decimal" or str(kind) == '"NULL"' else str(kind)
    if all_typed:
        what = f"CAST({column} AS VARCHAR) AS value"
    elif name == "decimal":
        what = INTEGRAL.format(column)
    else:
        what = f"CASE WHEN {column} IS NULL THEN NULL ELSE '' END AS value, {column} IS NULL AS typed"
    by_position = f"({', '.join(f'c{number}' for number in range(len(types)))})"
    return query.derived(what, sql, by_position), all_typed, unfit
