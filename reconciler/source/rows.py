"""Every other database: rows through the raw cursor of a SQLAlchemy connection, in large blocks."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Connection, CursorResult, Engine
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from reconciler.core.spec import Scalar, Segment
from reconciler.core.tokens import Kind
from reconciler.engine.ports import ValueStream
from reconciler.errors import SourceError
from reconciler.source.arrow import RowStream
from reconciler.source.blocks import Rows, blocks
from reconciler.source.columns import choose
from reconciler.source.complaints import Complaint
from reconciler.source.connections import Connections
from reconciler.source.drivers import missing_driver
from reconciler.source.duck import handing_out
from reconciler.source.failures import Scrubber
from reconciler.source.query import Query, derived

_READ_ONLY = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}
"""What makes a connection read-only; PostgreSQL's family has an option of SQLAlchemy. SQL Server, Snowflake, BigQuery,
Databricks and Redshift have nothing of the kind: there, nothing is ever committed, and a derived table can't write."""

_UNWRAPPED = frozenset({"mssql"})
"""No WITH and no ORDER BY in a derived table. Such a query runs as it is, also to be checked, and is rolled back."""

_EVERYWHERE = frozenset({Kind.CODE, Kind.QUOTED, Kind.COMMENT})
_PERCENTS = {
    "bigquery": _EVERYWHERE,
    "clickhouse": _EVERYWHERE,
    "redshift+redshift_connector": frozenset({Kind.CODE}),
    "postgresql+pg8000": frozenset({Kind.CODE}),
}
"""Where a driver reads `%%` as `%`, also when there are no params. Source: `_format_operation` of
google-cloud-bigquery, `finalize_query` of clickhouse-connect, `convert_paramstyle` of pg8000 and redshift_connector."""


_MARKS = {
    "qmark": "?",
    "format": "%s",
    "pyformat": "%({key})s",
    "named": ":{key}",
    "numeric": ":{number}",
    "numeric_dollar": "${number}",
}


@dataclass(frozen=True)
class RowSource:
    """Any database that SQLAlchemy reaches."""

    url: URL = field(repr=False)
    scrubber: Scrubber
    connections: Connections = field(default_factory=Connections)

    def held(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def open(self, segment: Segment) -> Iterator[ValueStream]:
        query = Query.of(segment, self._dialect)
        with self.connections.one(), ExitStack() as stack:
            result = self._run(stack, query, "")
            at = self._choose(result, query)
            stream = RowStream(blocks(partial(_fetch, result), at))
            yield stack.enter_context(handing_out(stream, self.scrubber, query, all_typed=False))

    def check(self, segment: Segment) -> None:
        query = Query.of(segment, self._dialect)
        with self.connections.one(), ExitStack() as stack:
            self._choose(self._run(stack, query, " WHERE 1 = 0"), query)

    @property
    def _dialect(self) -> str:
        return self.url.get_backend_name()

    def _run(self, stack: ExitStack, query: Query, condition: str) -> CursorResult[Any]:
        engine = self._engine()
        stack.callback(engine.dispose)
        sql, values = _write(query, self.url, engine.dialect.paramstyle)
        sql = self._wrap(query, sql, condition)
        try:
            connection = stack.enter_context(self.connections.connect(engine.connect))
            _make_read_only(connection, self._dialect)
        except Exception as error:  # a driver may raise what it likes before SQLAlchemy wraps it
            raise self.scrubber.complain(Complaint.of(error)) from None
        try:
            options = {"stream_results": True, "no_parameters": not values}
            return connection.execution_options(**options).exec_driver_sql(sql, values or None)
        except Exception as error:
            raise self.scrubber.complain(Complaint.of(error), query) from None

    def _choose(self, result: CursorResult[Any], query: Query) -> int:
        if not result.returns_rows:
            raise self._no_select()
        return choose(list(result.keys()), query.id_column)

    def _no_select(self) -> SourceError:
        return SourceError(f"source {self.scrubber.source}: the query is not a SELECT", "Write a SELECT.")

    def _wrap(self, query: Query, sql: str, condition: str) -> str:
        if self._dialect not in _UNWRAPPED:
            return derived("*", sql) + condition
        if query.statement.first_word() not in ("select", "with"):
            raise self._no_select()
        return sql

    def _engine(self) -> Engine:
        try:
            return create_engine(self.url, poolclass=NullPool, hide_parameters=True)
        except (NoSuchModuleError, ImportError) as error:
            raise missing_driver(self.scrubber.source, self.url.drivername, error) from None
        except (SQLAlchemyError, ValueError, TypeError) as error:
            raise self.scrubber.complain(Complaint.of(error)) from None


def _fetch(result: CursorResult[Any], size: int) -> Rows:
    """Rows as the driver gives them; the cursor alone won't do, as the first ones may be in SQLAlchemy's buffer."""
    rows: Rows = result.cursor_strategy.fetchmany(result, result.cursor, size)
    return rows


def _make_read_only(connection: Connection, dialect: str) -> None:
    if dialect in ("postgresql", "cockroachdb"):
        connection.execution_options(postgresql_readonly=True)
    if dialect in _READ_ONLY:
        connection.exec_driver_sql(_READ_ONLY[dialect])


def _write(query: Query, url: URL, paramstyle: str) -> tuple[str, tuple[Scalar, ...] | dict[str, Scalar]]:
    """Write the query for a driver, with its params as the driver wants them."""
    keys = {name: f"p{at}" for at, name in enumerate(query.params, start=1)}
    used: list[str] = []

    def mark(name: str) -> str:
        used.append(name)
        return _MARKS[paramstyle].format(key=keys[name], number=keys[name][1:])

    sql = query.statement.write(mark, _doubled(url, paramstyle, bool(query.params)))
    if paramstyle in ("qmark", "format"):
        return sql, tuple(query.params[name] for name in used)
    if paramstyle in ("pyformat", "named"):
        return sql, {keys[name]: value for name, value in query.params.items()}
    return sql, query.values


def _doubled(url: URL, paramstyle: str, has_params: bool) -> Collection[Kind]:
    """In which pieces `%` has to be written twice."""
    if paramstyle not in ("format", "pyformat"):
        return ()
    special = _PERCENTS.get(url.drivername) or _PERCENTS.get(url.get_backend_name())
    return special or (_EVERYWHERE if has_params else ())
