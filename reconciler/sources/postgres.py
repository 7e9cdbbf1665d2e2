"""PostgreSQL: read through ADBC, with types asked from the server.

Two connections, one after the other: psycopg describes the query (ADBC can't), ADBC streams it. ADBC streams only what
has no params (it copies a query out), so params are bound to settings of the transaction, and the query reads them
there. A statement of the comparison may be run around the query in the same way (`open_session`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import duckdb
import psycopg
from adbc_driver_manager.dbapi import Connection
from psycopg import pq
from psycopg.conninfo import make_conninfo
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL

from reconciler.embedded_duckdb import EmbeddedDuckDB
from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream, DatabaseIdentity, NotPossible, StateTables
from reconciler.models.fields import Scalar
from reconciler.models.freshness import DataTime, check_columns, read_answer, refuse_kind
from reconciler.models.options import NO_OPTIONS, Options
from reconciler.models.spec import Segment
from reconciler.sources.base import (
    ALL_TYPED,
    MEMORY_LIMIT,
    SELECT_LINES,
    Interruption,
    PushdownSession,
    Query,
    ValueStream,
    choose,
    naming_freshness,
    refuse_type,
    write_typed,
)
from reconciler.sources.duckdb import explaining_stream, fetch_rows, one_row
from reconciler.sources.failures import Scrubber
from reconciler.sources.rows import Connections

_BOOL, _INT2, _INT4, _INT8, _FLOAT8, _NUMERIC, _UUID, _BPCHAR, _CHAR = 16, 21, 23, 20, 701, 1700, 2950, 1042, 18
_OID = 26
_EXACT = frozenset({_INT2, _INT4, _INT8, _OID, _UUID, _CHAR})

_TYPE_NAMES = """
SELECT t.oid::int8, quote_ident(n.nspname) || '.' || quote_ident(t.typname), t.typcategory = 'S' OR t.typtype = 'e'
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = ANY (%s::int8[]::oid[])
"""

_INTEGRAL = (  # NaN and the infinities have no scale
    "CASE WHEN scale({0}) = 0 THEN {0}::text WHEN scale({0}) > 0 AND {0} = trunc({0}) THEN trunc({0})::text "
    "WHEN {0} IS NOT NULL THEN '' END AS value, "
    "{0} IS NULL OR coalesce(scale({0}) = 0 OR {0} = trunc({0}) AND scale({0}) > 0, false) AS typed"
)
_UNTYPED = "CASE WHEN {0} IS DISTINCT FROM NULL THEN '' END AS value, {0} IS NOT DISTINCT FROM NULL AS typed"

_ISO = "CASE WHEN isfinite(c0) THEN to_char({}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US{}') ELSE c0::text END"
_TIMES = {
    1082: _ISO.format("c0::timestamp", ""),
    1114: _ISO.format("c0", ""),
    1184: _ISO.format("c0 AT TIME ZONE 'UTC'", '"Z"'),
}
"""How a date, a time and a time with a zone are written for `freshness`, whatever the settings of the session."""

BATCH_BYTES = 1024 * 1024
"""In one batch of rows. Measured: 16 MB, which the driver would take, need 40 MB more and save little time."""

_PARAMETERS = frozenset(default.keyword.decode() for default in pq.Conninfo.get_defaults())
_PARAMETERS_HINT = (
    "The source is read through libpq: sslrootcert, passfile, service and the like, with a text, a number or a boolean."
)

_ERRORS = (psycopg.Error, adbc_driver_manager.Error)
_CANCEL_SECONDS = 5.0
_BATCH_BYTES = "adbc.postgresql.batch_size_hint_bytes"


@dataclass(frozen=True)
class Plan:
    """The statement to stream, and whether all its values are typed."""

    sql: str
    all_typed: bool
    exact: bool
    """Two values are equal in SQL where the ids are, and nowhere else."""
    unfit: str = ""
    """The column's type, if no value of it can be an id."""


class PostgresSource:
    """A PostgreSQL database."""

    def __init__(self, url: URL, scrubber: Scrubber, options: Options = NO_OPTIONS, own: Collection[str] = ()) -> None:
        """`options`: parameters of libpq, the client of both drivers, but for those of `own`. Raises SourceError."""
        self._scrubber = scrubber
        _, given = PGDialect_psycopg().create_connect_args(url)  # type: ignore[no-untyped-call]
        libpq = {name: value for name, value in options.reveal().items() if name not in own}
        for name, value in libpq.items():
            if name not in _PARAMETERS or isinstance(value, list | dict):
                problem = (
                    "is no parameter of libpq" if name not in _PARAMETERS else "must be a text, a number, true or false"
                )
                raise SourceError(f"source {self._scrubber.source}: `options.{name}` {problem}", _PARAMETERS_HINT)
            given[name] = str(int(value)) if isinstance(value, bool) else str(value)
        given = {"connect_timeout": 30, "application_name": "reconcile", **given, "client_encoding": "utf8"}
        with self._scrubber.explaining(_ERRORS):
            self._conninfo = make_conninfo(**given)
        self._database = EmbeddedDuckDB(MEMORY_LIMIT, threads=1)
        self._connections = Connections()
        self._interruption = Interruption()

    def keep(self) -> AbstractContextManager[None]:
        return self._database.keep()

    @contextmanager
    def stream_values(self, segment: Segment, few: int = 0, /) -> Iterator[ValueStream]:
        query, freshness = Query.of(segment, "postgresql"), Query.of_freshness(segment, "postgresql")
        with self._connections.slots:
            with self._ask(query) as asking:
                plan = _plan(asking, query)
                found = _fetch_few(asking, query, plan, few) if few and freshness is None else None
            if found is not None:  # a second connection is spared
                yield ValueStream(write_typed(found), SELECT_LINES)
                return
            asked = self._plan_freshness(freshness)
            with self._connect() as connection:
                with self._scrubber.explaining(_ERRORS, query), connection.cursor() as cursor:
                    isolation = "ISOLATION LEVEL REPEATABLE READ " if freshness else ""  # for two statements
                    cursor.execute(f"SET TRANSACTION {isolation}READ ONLY")
                data_time = self._ask_freshness(connection, freshness, asked)
                with self._scrubber.explaining(_ERRORS, query):
                    _bind(connection, query, self._database)
                with self._stream(connection, query, plan.sql) as rows:
                    select = ALL_TYPED if plan.all_typed else ValueStream.select
                    yield ValueStream(rows, select, data_time)

    def check(self, segment: Segment) -> None:
        query = Query.of(segment, "postgresql")
        with self._connections.slots:
            with self._ask(query) as asking:
                plan = _plan(asking, query)
            self._plan_freshness(Query.of_freshness(segment, "postgresql"))
        if plan.unfit:
            raise refuse_type(plan.unfit)

    def interrupt(self) -> None:
        self._interruption.interrupt()

    def is_database(self, identity: DatabaseIdentity) -> bool:
        with self._connections.slots, self._ask() as asking:
            return has_identity(asking, identity)

    @contextmanager
    def open_session(self, segment: Segment, state: StateTables) -> Iterator[PushdownSession | NotPossible]:
        with self._begin_query(
            segment, lambda asking: find_obstacle(asking, state), lambda connection: use_snapshot(connection, state)
        ) as session:
            yield session

    @contextmanager
    def _begin_query(
        self,
        segment: Segment,
        find_obstacle: Callable[[psycopg.Connection], str],
        begin: Callable[[Connection], str],
    ) -> Iterator[PushdownSession | NotPossible]:
        """Prepare a segment's query for a statement around it, unless one of two functions gives a reason not to.

        `begin` makes the transaction, which has just begun, read-only.
        """
        query, freshness = Query.of(segment, "postgresql"), Query.of_freshness(segment, "postgresql")
        with self._connections.slots:
            with self._ask(query) as asking:
                plan = _plan(asking, query)
                inexact = "ids of this type can't be compared exactly in SQL"
                obstacle = find_obstacle(asking) if plan.exact else inexact
            if obstacle:
                yield NotPossible(obstacle)
                return
            asked = self._plan_freshness(freshness)
            with self._connect() as connection:
                if obstacle := begin(connection):
                    yield NotPossible(obstacle)
                    return
                data_time = self._ask_freshness(connection, freshness, asked)
                with self._scrubber.explaining(_ERRORS, query):
                    _bind(connection, query, self._database)
                columns = "value, true AS typed" if plan.all_typed else "value, typed"
                values = f"SELECT {columns} FROM (\n{plan.sql}\n) p"
                yield PushdownSession(values, lambda sql: self._stream(connection, query, sql), data_time)

    def _plan_freshness(self, query: Query | None) -> str:
        """Describe the query of `freshness`, and give the statement for up to two answers."""
        if query is None:
            return ""
        with naming_freshness(), self._ask(query) as asking:
            return _plan_freshness(asking, query)

    def _ask_freshness(self, connection: Connection, query: Query | None, sql: str) -> DataTime | None:
        """Ask in the transaction of the segment's query."""
        if query is None:
            return None
        with naming_freshness():
            with self._scrubber.explaining((*_ERRORS, duckdb.Error), query):
                _bind(connection, query, self._database)
                with self._stream(connection, query, sql) as rows, self._database.cursor() as reading:
                    found = fetch_rows(reading, rows)
            return read_answer(found)

    @contextmanager
    def _ask(self, query: Query | None = None) -> Iterator[psycopg.Connection]:
        """A read-only transaction for questions, and for the rows of a query that has few.

        Behind a pooler, what is prepared outside of a transaction may be described in the session of another client.
        """
        with self._scrubber.explaining(_ERRORS):
            connection = self._connections.connect(lambda: psycopg.connect(self._conninfo, prepare_threshold=None))
        ending = self._interruption.ending(lambda: connection.cancel_safe(timeout=_CANCEL_SECONDS))
        with self._scrubber.explaining(_ERRORS, query), connection, ending:
            connection.execute("SET TRANSACTION READ ONLY")
            yield connection

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        """A transaction for rows."""
        with self._scrubber.explaining(_ERRORS):
            connection = self._connections.connect(lambda: adbc_driver_postgresql.dbapi.connect(self._conninfo))
        with closing(connection):
            yield connection

    @contextmanager
    def _stream(self, connection: Connection, query: Query, sql: str) -> Iterator[ArrowStream]:
        with ExitStack() as stack:
            with self._scrubber.explaining(_ERRORS, query):
                cursor = stack.enter_context(closing(connection.cursor()))
            stack.enter_context(self._interruption.ending(cursor.adbc_cancel))
            with self._scrubber.explaining(_ERRORS, query):
                cursor.adbc_statement.set_options(**{_BATCH_BYTES: str(BATCH_BYTES)})
                cursor.execute(sql)
                stream = cursor.fetch_arrow()
            stack.callback(stream.release)
            stack.enter_context(explaining_stream(self._scrubber, query))
            yield stream


def _plan(connection: psycopg.Connection, query: Query) -> Plan:
    """Have the server describe the query, and write the statement that gives `value` and, where needed, `typed`."""
    described = _describe(connection, query)
    at = choose(described.columns, query.id_column)
    column, kind = f"c{at}", described.kinds[at]
    is_text = kind in described.texts
    all_typed = is_text or kind in _EXACT or kind == _BPCHAR
    if kind == _BPCHAR:
        what = f"{column} AS value"  # a cast to text would take the padding away that the column has
    elif all_typed:
        what = f"{column}::text AS value"
    else:
        what = (_INTEGRAL if kind == _NUMERIC else _UNTYPED).format(column)
    by_position = f"({', '.join(f'c{number}' for number in range(len(described.columns)))})"
    sql = query.derived(what, described.sql, by_position)
    _prepare(connection, sql)
    fit = all_typed or kind == _NUMERIC
    return Plan(sql, all_typed, exact=fit and kind != _BPCHAR, unfit="" if fit else described.name_kind(at))


def _fetch_few(
    connection: psycopg.Connection, query: Query, plan: Plan, few: int
) -> list[tuple[str | None, bool]] | None:
    """Fetch all rows where they are not more than `few`; None: they are, or a text of them is no UTF-8."""
    for name, text in _write_params(query):
        connection.execute("SELECT set_config(%s, %s, true)", (name, text))
    columns = "value, true" if plan.all_typed else "value, typed"
    try:
        rows = connection.execute(f"{query.derived(columns, plan.sql)} LIMIT {few + 1}".encode()).fetchall()
    except UnicodeDecodeError:
        return None
    return rows if len(rows) <= few else None


def _plan_freshness(connection: psycopg.Connection, query: Query) -> str:
    """Write the statement that gives the answers as ISO texts, with a zone where their type has one."""
    described = _describe(connection, query)
    check_columns(len(described.columns))
    (kind,) = described.kinds
    if kind not in _TIMES and kind not in described.texts:
        raise refuse_kind(f"a value of type {described.name_kind(0)}")
    sql = query.derived(_TIMES.get(kind, "c0::text"), described.sql, "(c0)") + " LIMIT 2"
    _prepare(connection, sql)
    return sql


@dataclass(frozen=True)
class Described:
    """What the server says of a query. `sql`: its text, with params read from the settings of a transaction."""

    sql: str
    columns: list[str]
    kinds: list[int]
    """Types of the columns."""
    names: dict[int, str]
    texts: frozenset[int]
    """Those of the types with values that are texts."""

    def name_kind(self, at: int) -> str:
        return self.names[self.kinds[at]].removeprefix("pg_catalog.").strip('"')


def _describe(connection: psycopg.Connection, query: Query) -> Described:
    described = _prepare(connection, query.derived("*", query.numbered("$")), list(map(_oid_of, query.values)))
    columns = [(described.fname(at) or b"").decode() for at in range(described.nfields)]
    kinds = [described.ftype(at) for at in range(described.nfields)]
    params = [described.param_type(number) for number in range(described.nparams)]
    rows = connection.execute(_TYPE_NAMES, [[*kinds, *params]]).fetchall()
    names = {oid: name for oid, name, _ in rows}
    marks = {}
    for number, ((name, value), oid) in enumerate(zip(query.params.items(), params, strict=True)):
        setting = "NULL" if value is None else f"current_setting('{query.name}.p{number}')"
        marks[name] = f"CAST({setting} AS {names[oid]})"
    texts = frozenset(oid for oid, _, is_text in rows if is_text)
    return Described(query.statement.write(marks.__getitem__), columns, kinds, names, texts)


def _prepare(connection: psycopg.Connection, sql: str, types: Sequence[int] = ()) -> pq.abc.PGresult:
    """Have the server parse a statement and describe it; nothing runs."""
    server = connection.pgconn
    for result in (server.prepare(b"", sql.encode(), types), server.describe_prepared(b"")):
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result, encoding="utf-8")
    return result


def _oid_of(value: Scalar) -> int:
    """Give the type of a param as psycopg does: the smallest integer, and for a text whatever the query wants there."""
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        sizes = ((15, _INT2), (31, _INT4), (63, _INT8))
        return next((oid for bits, oid in sizes if -(2**bits) <= value < 2**bits), _NUMERIC)
    return _FLOAT8 if isinstance(value, float) else 0


def _bind(connection: Connection, query: Query, database: EmbeddedDuckDB) -> None:
    """Bind the params to settings that end with the transaction."""
    settings = _write_params(query)
    if settings:
        calls = ", ".join(f"set_config('{name}', ${mark}, true)" for mark, (name, _) in enumerate(settings, start=1))
        with connection.cursor() as cursor, database.cursor() as params:
            cursor.execute(f"SELECT {calls}", one_row(params, tuple(text for _, text in settings)))
            cursor.fetch_arrow().release()


def _write_params(query: Query) -> list[tuple[str, str]]:
    """The settings of a query's params that are not NULL, by name."""
    return [
        (f"{query.name}.p{number}", str(value).lower() if isinstance(value, bool) else str(value))
        for number, value in enumerate(query.values)
        if value is not None
    ]


# --- pushdown: what prevents it, and seeing the state as of a snapshot -------------------------------------------

OLDEST_SERVER = 120_000
"""PostgreSQL 12: before it, every WITH is written out in full."""

_RIGHTS = """
SELECT count(*) FILTER (WHERE has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')),
    count(*) FILTER (WHERE row_security_active(oid)),
    (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database())
FROM pg_class WHERE oid = ANY (%s::int8[]::oid[])
"""


def has_identity(connection: psycopg.Connection, identity: DatabaseIdentity) -> bool:
    """Tell whether this is the database of an identity."""
    row = connection.execute(identity.query.encode()).fetchone()
    return row is not None and str(row[0]) == identity.value


def find_obstacle(connection: psycopg.Connection, state: StateTables) -> str:
    """Say why a statement can't read the state here; empty: it can."""
    if not has_identity(connection, state.identity):
        return "the state is in another database"
    if connection.info.server_version < OLDEST_SERVER:
        return "the server is older than PostgreSQL 12"
    readable, hidden, encoding = connection.execute(_RIGHTS, [list(state.tables)]).fetchall()[0]
    if readable < len(state.tables):
        return "the source's user may not read the tables of the state"
    if hidden:
        return "row security may hide rows of the state from the source's user"
    return "" if encoding == "UTF8" else f"the database's encoding is {encoding}"


def use_snapshot(connection: Connection, state: StateTables) -> str:
    """Make a transaction that has just begun see the snapshot of a state, read-only; say why it can't; empty: it can.

    The address may lead to another server than before, so its identity is asked again: by a statement that fails unless
    the answer is the same, as ADBC gives a result as Arrow only.
    """
    identity = state.identity
    answer = f"convert_from(decode('{identity.value.encode().hex()}', 'hex'), 'UTF8')"
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{state.snapshot}'")
            cursor.adbc_statement.set_sql_query(f"SELECT 1 / CASE WHEN ({identity.query}) = {answer} THEN 1 ELSE 0 END")
            cursor.adbc_statement.execute_update()
    except adbc_driver_manager.Error:
        return "the server does not know the moment of the state"
    return ""
