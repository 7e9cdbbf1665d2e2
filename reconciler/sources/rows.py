"""Every other database: rows through the raw cursor of a SQLAlchemy connection, in large blocks."""

import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from time import sleep
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Connection, CursorResult, Dialect
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.pool import NullPool

from reconciler.errors import SourceError
from reconciler.models.fields import Scalar
from reconciler.models.freshness import DataTime, check_columns, read_answer
from reconciler.models.options import NO_OPTIONS, Options
from reconciler.models.spec import Segment
from reconciler.models.sql import Kind, Piece, Statement
from reconciler.sources import failures
from reconciler.sources.base import SELECT_LINES, Query, ValueStream, choose, naming_freshness, read_blocks, refuse_type
from reconciler.sources.column_types import find_unfit
from reconciler.sources.drivers import log_in, missing_driver, read_login_seconds, refuse_unknown, write_arguments
from reconciler.sources.failures import Scrubber
from reconciler.sources.messages import DatabaseMessage

if TYPE_CHECKING:
    from reconciler.sources.columns import Columns

_READ_ONLY = {
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "oracle": "SET TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}
"""What makes a connection read-only; PostgreSQL's family has an option of SQLAlchemy. SQL Server, Snowflake, BigQuery,
Databricks and Redshift have nothing of the kind: there, no query is ever committed (but next to tables of members in
Snowflake), and a derived table can't write."""

_WHOLE = dict.fromkeys(("mysql", "mariadb"), f"SET SESSION sql_select_limit = {2**64 - 1}")
"""What keeps a setting of the server or of the URL from ending each result early, without an error."""

_UNWRAPPED = frozenset({"mssql"})
"""No WITH and no ORDER BY in a derived table. Such a query runs as it is, also to be checked, and is rolled back."""

_ALWAYS_READ = frozenset({"bigquery", "clickhousedb", "pinot"})
"""Dialects with a driver that reads `%%` as `%` also where there are no params. Source: `_format_operation` of
google-cloud-bigquery, `Cursor._execute` of clickhouse-connect, `escape_operation` of pinotdb."""

_NEVER_READ = frozenset({"mysqlconnector", "pymssql"})
"""Drivers that replace their own marks and leave every other `%` as it is, so also `%%`."""

_SCANNING = frozenset({"pg8000", "redshift_connector"})
"""Drivers that look for marks outside strings and comments, with a scanner of their own, and read `%%` only there;
without params they read nothing. Source: `convert_paramstyle` of both."""

_SCANNED = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|e'[^'\\]*'|E'(?:[^'\\]|\\[^\\]|'')*'|\$\w*\$(?:(?!--|/\*)[^'"%])*\$\w*\$""",
    re.DOTALL,
)
"""The strings and quoted names that these scanners read as the database does."""

_BY_COLUMN = frozenset({"snowflake", "bigquery", "databricks"})
"""Drivers that give Arrow as well as rows, where pyarrow is installed."""

_REWRITTEN = {"databricks": re.compile(r"%\(\w+\)s")}
"""What a driver makes a mark of, wherever it stands in a query with params, whatever its name. Source:
`_interpolate_named_markers` of databricks-sql-connector."""

_READING_TO_THE_END = frozenset({"pymysql", "mysqldb"})
"""Drivers of which a cursor that is closed reads the rows that are left. Source: `SSCursor.close` of both."""

MARKS = {
    "qmark": "?",
    "format": "%s",
    "pyformat": "%({key})s",
    "named": ":{key}",
    "numeric": ":{number}",
    "numeric_dollar": "${number}",
}


Values: TypeAlias = tuple[Scalar, ...] | dict[str, Scalar]
"""Params as a driver takes them."""

_POOL = "reconcile"
"""Names the log of our pools, which is switched off: a cursor that can't be closed is logged with what the database
said, and that may hold a row."""

MOST_CONNECTIONS = 2
"""Of one source at a time, however many segments are worked on; docs/databases.md promises it."""

_FOR_ALL = frozenset(
    {
        failures.Kind.CONNECT,
        failures.Kind.SILENT,
        failures.Kind.AUTH,
        failures.Kind.CERTIFICATE,
        failures.Kind.HOSTNAME,
        failures.Kind.NO_TLS,
        failures.Kind.NEEDS_TLS,
        failures.Kind.TLS,
        failures.Kind.DENIED,
    }
)
"""Why a source can't be connected to that holds for all its segments. A wrong password that is tried for each may lock
the account."""

_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts: a server counts a connection until its process there has ended."""

Opened = TypeVar("Opened")


class Connections:
    """Limits the connections of a source, and meets once why there is none.

    A thread asks for one at a time, so that a wait for one ends.
    """

    def __init__(self, pause: Callable[[float], None] = sleep) -> None:
        self.slots = threading.BoundedSemaphore(MOST_CONNECTIONS)
        """To be held while a connection is open."""
        self._pause = pause
        self._has_closed = False
        self._refusal: Exception | None = None
        """Why nobody can connect."""

    def connect(self, open_one: Callable[[], Opened], seconds: float | None = None) -> Opened:
        """Connect; wait a moment where the server still counts one that was closed. Raises what `open_one` raises.

        Once that is no matter of one segment, it is raised without another try. `seconds`: how long it may take, where
        the driver does not see to that.
        """
        for pause in (*(_PAUSES if self._has_closed else ()), None):
            if self._refusal is not None:
                raise self._refusal
            try:
                connection = open_one() if seconds is None else log_in(open_one, seconds)
            except Exception as error:
                kind = failures.classify(DatabaseMessage.of(error))
                if kind in _FOR_ALL:
                    self._refusal = self._refusal or error
                    raise self._refusal from None
                if pause is None or kind is not failures.Kind.CONNECTIONS:
                    raise
            else:
                break
            self._pause(pause)
        self._has_closed = True  # by the time that another one is asked for, or soon
        return connection


@dataclass(frozen=True)
class RowSource:
    """Any database that SQLAlchemy reaches."""

    url: URL = field(repr=False)
    scrubber: Scrubber
    options: Options = NO_OPTIONS
    connections: Connections = field(default_factory=Connections)

    def keep(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        query, freshness = self._read_queries(segment)
        with self.connections.slots, ExitStack() as stack:
            connection = self._connect(stack, is_repeatable=freshness is not None)
            data_time = self._ask_freshness(connection, freshness)
            result = self._run(connection, query)
            stack.callback(_close, result)
            stack.callback(_kill_query, connection, result)
            at, unfit = self._choose_ids(connection, result, query)
            columns = None if unfit else stack.enter_context(self._read_columns(result, at, query))
            if columns is not None:
                yield ValueStream(columns.rows, columns.select, data_time)
                return
            # Rows as the driver gives them; SQLAlchemy's buffer may hold the first, so its cursor won't do.
            blocks = read_blocks(
                lambda size: result.cursor_strategy.fetchmany(result, result.cursor, size),
                at,
                self.scrubber.explaining(Exception, query),
                fit=not unfit,
            )
            yield ValueStream(blocks, SELECT_LINES, data_time)

    def _ask_freshness(self, connection: Connection, freshness: Query | None) -> DataTime | None:
        if freshness is None:
            return None
        end = " LIMIT 2" if connection.dialect.driver in _READING_TO_THE_END else ""
        with naming_freshness(), closing(self._run(connection, freshness, end)) as answer:
            with self.scrubber.explaining(Exception, freshness):
                rows = answer.fetchmany(2)
            return read_answer(rows)

    @contextmanager
    def _read_columns(self, result: CursorResult[Any], at: int, query: Query) -> "Iterator[Columns | None]":
        """Stream the ids of a result by column; None where they are to be read by rows."""
        if result.dialect.driver not in _BY_COLUMN or find_spec("pyarrow") is None:
            yield None
            return
        from reconciler.sources.columns import open_batches, read_columns

        with self.scrubber.explaining(Exception, query):
            batches = open_batches(result, at)
        with nullcontext() if batches is None else read_columns(batches, at, self.scrubber, query) as columns:
            yield columns

    def interrupt(self) -> None:
        """Nothing ends: a query is awaited."""

    def check(self, segment: Segment) -> None:
        query, freshness = self._read_queries(segment)
        with self.connections.slots, ExitStack() as stack:
            connection = self._connect(stack)
            with closing(self._run(connection, query, " WHERE 1 = 0")) as result:
                _, unfit = self._choose_ids(connection, result, query)
            if freshness is not None:
                with naming_freshness(), closing(self._run(connection, freshness, " WHERE 1 = 0")) as result:
                    check_columns(len(result.keys()))
        if unfit:
            raise refuse_type(unfit)

    def _read_queries(self, segment: Segment) -> tuple[Query, Query | None]:
        dialect = self.url.get_backend_name()
        query, freshness = Query.of(segment, dialect), Query.of_freshness(segment, dialect)
        for each in (query, freshness) if dialect in _UNWRAPPED else ():
            if each is not None and each.statement.first_word() not in ("select", "with"):
                raise self._refuse()
        return query, freshness

    def _refuse(self) -> SourceError:
        return SourceError(f"source {self.scrubber.source}: the query is not a SELECT", "Write a SELECT.")

    def _connect(self, stack: ExitStack, *, is_repeatable: bool = False, for_members: bool = False) -> Connection:
        """Connect, read-only. `is_repeatable`: several statements are to see one moment, where the database can."""
        source, dialect = self.scrubber.source, self.url.get_backend_name()
        try:
            logging.getLogger(f"{NullPool.__module__}.{NullPool.__name__}.{_POOL}").disabled = True
            given = {**self.url.query, **self.options.reveal()}
            if unknown := refuse_unknown(source, dialect, given):
                raise unknown
            # A SQLite through a driver of its own (SQLCipher) stays with the thread that opened it, and is no server.
            seconds = None if dialect == "sqlite" else read_login_seconds(dialect, given)
            arguments = write_arguments(self.url, self.options, for_members=for_members)
            engine = create_engine(
                self.url, poolclass=NullPool, pool_logging_name=_POOL, hide_parameters=True, **arguments
            )
        except SourceError:
            raise
        except (NoSuchModuleError, ImportError) as error:
            raise missing_driver(source, self.url.drivername, error) from None
        except Exception as error:  # a dialect may log in here, and raise anything
            raise self.scrubber.explain(error) from None
        stack.callback(engine.dispose)
        try:
            connection = self.connections.connect(engine.connect, seconds)
            stack.callback(_close, connection)
            if dialect in ("postgresql", "cockroachdb"):
                level = {"isolation_level": "REPEATABLE READ"} if is_repeatable and dialect == "postgresql" else {}
                connection.execution_options(postgresql_readonly=True, **level)
            for statements in (_WHOLE, _READ_ONLY):
                if dialect in statements:
                    connection.exec_driver_sql(statements[dialect])
        except ImportError as error:
            raise missing_driver(source, self.url.drivername, error) from None
        except Exception as error:  # a driver may raise anything before SQLAlchemy wraps it
            raise self.scrubber.explain(error) from None
        return connection

    def _run(self, connection: Connection, query: Query, end: str = "") -> CursorResult[Any]:
        """Run a query in the transaction of a connection, and give its result. `end`: of the statement around it."""
        sql, values = write_query(query, connection.dialect)
        if self.url.get_backend_name() not in _UNWRAPPED:
            sql = query.derived("*", sql) + end
        result = self.execute(connection, sql, values, query)
        if not result.returns_rows:
            raise self._refuse()
        return result

    def _choose_ids(self, connection: Connection, result: CursorResult[Any], query: Query) -> tuple[int, str | None]:
        """Give the position of the ids, and their type if no value of it can be an id."""

        def ask(sql: str) -> tuple[str, bool] | None:
            with closing(self.execute(connection, sql, ())) as answer, self.scrubber.explaining(Exception):
                rows: list[Any] = list(answer.fetchall())
                return (str(rows[0][0]), bool(rows[0][1])) if rows else None

        at = choose(list(result.keys()), query.id_column)
        described = result.cursor.description if result.cursor is not None else None
        return at, find_unfit(described[at][1], result.dialect, ask) if described else None

    def execute(
        self, connection: Connection, sql: str, values: Values, query: Query | None = None
    ) -> CursorResult[Any]:
        with self.scrubber.explaining(Exception, query):
            options = {"stream_results": True, "no_parameters": not values}
            return connection.execution_options(**options).exec_driver_sql(sql, values or None)


def _close(opened: Connection | CursorResult[Any]) -> None:
    """Close what may be lost, which has been told by then; or a result that was not read to its end: a driver warns of
    one that is left open.
    """
    with suppress(Exception):
        opened.close()


def _kill_query(connection: Connection, result: CursorResult[Any]) -> None:
    """Have the server end a query of which rows are left, where closing its cursor would read all of them.

    Their protocol has no other way, and below a cursor a closed connection has the driver fail later, on stderr. Where
    the server does not let it, the cursor reads them.
    """
    if result.cursor is None or result.dialect.driver not in _READING_TO_THE_END:
        return
    with suppress(Exception), connection.engine.connect() as other:
        driven: Any = connection.connection.driver_connection
        other.exec_driver_sql(f"KILL QUERY {driven.thread_id():d}")


def reads_percent(dialect: Dialect, *, has_params: bool) -> bool:
    """Tell whether a driver reads `%%` as `%` anywhere in a statement."""
    is_read = dialect.paramstyle in ("format", "pyformat") and dialect.driver not in _NEVER_READ | _SCANNING
    return is_read and (has_params or dialect.name in _ALWAYS_READ)


def write_query(query: Query, dialect: Dialect, *, has_others: bool = False) -> tuple[str, Values]:
    """Write the query for a driver, with its params as the driver takes them. Raises SourceError.

    `has_others`: params of ours come with it.
    """
    numbers = {name: at for at, name in enumerate(query.params, start=1)}
    keys = {name: f"{query.name}_{at}" for name, at in numbers.items()}
    used: list[str] = []
    paramstyle, driver = dialect.paramstyle, dialect.driver

    # BigQuery's driver sends each param with its type, and None has none; written out it fits any.
    nulls = {name for name, value in query.params.items() if value is None and driver == "bigquery"}

    def mark(name: str) -> str:
        if name in nulls:
            return "NULL"
        used.append(name)
        return MARKS[paramstyle].format(key=keys[name], number=numbers[name])

    statement = query.statement
    # The pieces in which `%` has to be written twice.
    doubled: Collection[Kind] = (
        tuple(Kind) if reads_percent(dialect, has_params=has_others or bool(query.params)) else ()
    )
    if query.params and (rewritten := find_rewritten(query, driver)):
        raise SourceError(
            f"the driver {driver} would change {rewritten} in this query, as it has params",
            "Write a string in parts, for example '%' || '(x)s'.",
        )
    if query.params and driver in _SCANNING:
        for piece in statement.pieces:
            if piece.kind is Kind.QUOTED and not _SCANNED.fullmatch(piece.text):
                raise SourceError(
                    f"the driver {driver} can't read a string of this query together with params",
                    "Write it in single quotes, a quote inside as '', without backslashes; or use psycopg or psycopg2.",
                )
        # In a comment, too, the scanner would see the end of something else.
        statement = Statement(tuple(Piece(Kind.CODE, " ") if p.kind is Kind.COMMENT else p for p in statement.pieces))
        doubled = (Kind.CODE,) if paramstyle in ("format", "pyformat") else ()
    sql = statement.write(mark, doubled)
    if paramstyle in ("qmark", "format"):
        return sql, tuple(query.params[name] for name in used)
    if paramstyle in ("pyformat", "named"):
        return sql, {keys[name]: value for name, value in query.params.items() if name not in nulls}
    return sql, query.values


def find_rewritten(query: Query, driver: str) -> str:
    """Find what a driver would change in the text of a query if any params came with it."""
    if driver not in _REWRITTEN:
        return ""
    pieces = [piece for piece in query.statement.pieces if piece.kind is not Kind.COMMENT]
    found = _REWRITTEN[driver].search("".join(":" if each.kind is Kind.PARAM else each.text for each in pieces))
    return found[0] if found else ""
