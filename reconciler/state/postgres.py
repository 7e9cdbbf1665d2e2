"""A state in a PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from time import monotonic
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event

from reconciler.models.comparison import FIELD_END, ROW_END, DatabaseIdentity, StateTables
from reconciler.models.plan import Head
from reconciler.state import tables
from reconciler.state.base import Stored
from reconciler.state.database import Backend, Database, Reader, execute, run, transaction
from reconciler.state.failures import explained
from reconciler.state.location import PostgresAddress

_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

_POOL_SIZE = 4
_MOST_CONNECTIONS = 32

CONNECT_SECONDS = 10

STATEMENT_SECONDS = 20
"""Seconds after which the server ends a statement: a lease lasts three times as long."""

ANSWER_SECONDS = 25
"""Seconds after which no answer is expected. Longer than the limit of the server: its message is more exact."""

LIBPQ = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": ANSWER_SECONDS * 1000,
    "client_encoding": "utf8",
}
"""For a server that vanished, and for a database that is not in UTF-8. The parameters of the URL have precedence."""

_CREATION_LOCK = 0x7265636F6E63696C
"""Of PostgreSQL's advisory locks the one under which tables are made: 'reconcil' in ASCII."""

MEMBERS = "SELECT id FROM {schema}reconcile_members WHERE segment_key = {key}"
MARKS = "SELECT id, mark, direction, at FROM {schema}reconcile_marks WHERE segment_key = {key}"
JOURNAL = (
    "SELECT seq, direction, outcome, at, CASE WHEN outcome = 'acknowledged' THEN unknown_at END AS unknown_at, ids\n"
    "FROM {schema}reconcile_batches WHERE segment_key = {key}"
)
"""`schema` is empty, or ends in a dot."""

_JOURNAL_LINES = f"""
SELECT concat_ws(chr({FIELD_END}), seq, direction, coalesce(outcome, ''), at,
    coalesce(CAST(CASE WHEN outcome = 'acknowledged' THEN unknown_at END AS text), ''), ids) AS line
FROM reconcile_batches WHERE segment_key = {{key}} ORDER BY seq"""
"""As `state.base.JOURNAL_LINES`."""

_WHICH_DATABASE = """SELECT concat_ws(' ', current_database(), oid, pg_is_in_recovery(), current_setting('port'),
    CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS bigint))
FROM pg_database WHERE datname = current_database()"""
"""No two servers were started in one microsecond; and a database has its number in its server alone."""

_WHICH_TABLES = """SELECT c.relname, quote_ident(n.nspname), CAST(c.oid AS bigint)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid IN (to_regclass('reconcile_members'), to_regclass('reconcile_marks'), to_regclass('reconcile_batches'))"""

_READING = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITING = """SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;
SELECT set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"""
"""An intent must be on the disk, on that of a synchronous standby too, before its request leaves."""


class _Server(Backend):
    pieces = "reconcile_batches b CROSS JOIN LATERAL unnest(string_to_array(b.ids, chr(10))) AS piece(value)"

    def now(self, connection: Connection) -> float:
        """Read the server's clock as it is now, and not as the transaction began."""
        seconds = execute(connection, "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
        return float(seconds.scalar_one())


class PostgresDatabase(_Server, Database):
    """The writing side: a small pool, as segments and heartbeats work in parallel."""

    row_lock = " FOR UPDATE"
    clear_picked = (
        'CREATE TEMP TABLE IF NOT EXISTS picked (id text COLLATE "C" NOT NULL, at double precision, '
        "unknown_at double precision) ON COMMIT DROP",
        "TRUNCATE picked",
    )
    fill_picked = (
        "INSERT INTO picked (id, at, unknown_at) SELECT piece.value, max(b.at), max(b.unknown_at) "
        f"FROM {_Server.pieces} WHERE b.segment_key = :key AND b.seq BETWEEN :first AND :last GROUP BY piece.value"
    )
    analyze_picked = ("ANALYZE picked",)

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self._engine = _make_engine(address, pool_size=_POOL_SIZE, max_overflow=_MOST_CONNECTIONS - _POOL_SIZE)

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        with self.write() as connection:
            run(connection, f"SELECT pg_advisory_xact_lock({_CREATION_LOCK})")
            yield connection

    def _insert_picked(self, connection: Connection, ids: Sequence[str]) -> None:
        driver: Any = connection.connection.dbapi_connection
        with driver.cursor() as cursor, cursor.copy("COPY picked (id) FROM STDIN") as copy:
            copy.write("".join(f"{id.translate(_COPY_ESCAPES)}\n" for id in dict.fromkeys(ids)))

    def load(self, connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
        driver: Any = connection.connection.dbapi_connection
        columns = ", ".join(column.name for column in table.columns)
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        if table.autoincrement_column is not None:
            counter = table.autoincrement_column.name
            sequence = f"pg_get_serial_sequence('{table.name}', '{counter}')"
            run(connection, f"SELECT setval({sequence}, max({counter})) FROM {table.name}")


class PostgresReader(_Server, Reader):
    """Reads a database; one without our tables stays without them. It is a `state.base.PushdownSnapshot`."""

    mark_line = f"concat_ws(chr({FIELD_END}), id, mark, coalesce(direction, ''), at)"
    journal_lines = _JOURNAL_LINES
    join = f"string_agg({{line}}, chr({ROW_END}))"
    placeholder = "%s"

    def __init__(self, address: PostgresAddress, must_exist: bool) -> None:
        super().__init__(address, _make_reading_engine(address), must_exist)

    def identify_database(self) -> DatabaseIdentity:
        with transaction(self._engine, self.address, reading=True) as connection:
            return _identify(connection)

    def _view(self, connection: Connection, head: Head, key: int) -> Stored:
        stored = super()._view(connection, head, key)
        stored.state_tables = partial(_locate_tables, connection, key)
        return stored


def _identify(connection: Connection) -> DatabaseIdentity:
    return DatabaseIdentity(_WHICH_DATABASE, str(execute(connection, _WHICH_DATABASE).scalar_one()))


def _locate_tables(connection: Connection, key: int) -> StateTables:
    """Name the tables with their schemas: another session may have another search path."""
    moment = execute(connection, "SELECT pg_export_snapshot()").scalar_one()
    found = execute(connection, _WHICH_TABLES).all()
    schemas = {name: schema for name, schema, _ in found}
    members, marks, journal = (
        query.format(schema=f"{schemas[table.name]}.", key=key)
        for query, table in ((MEMBERS, tables.MEMBERS), (MARKS, tables.MARKS), (JOURNAL, tables.BATCHES))
    )
    return StateTables(_identify(connection), moment, tuple(oid for *_, oid in found), members, marks, journal)


# --- connections -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _make_reading_engine(address: PostgresAddress) -> Engine:
    """Make what holds no connection, but what it was told of the server: a run reads a state a few times."""
    return _make_engine(address, poolclass=NullPool)


def _make_engine(address: PostgresAddress, **options: Any) -> Engine:
    with explained(address):
        engine = create_engine(
            address.url.reveal(), pool_pre_ping=True, hide_parameters=True, use_native_hstore=False, **options
        )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, arguments: Sequence[Any], named: dict[str, Any]) -> Any:
        # Nothing is prepared: behind a pooler each transaction may meet another session.
        return TimedConnection.connect(*arguments, **{**LIBPQ, "prepare_threshold": None, **named})

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Set what a transaction relies on, whatever the role or the server has set.

        It holds for the transaction alone, so that it does so behind a pooler, too. No writing transaction
        idles; a reading one does, while what it read is compared.
        """
        reading = connection.get_execution_options().get("state_reading", False)
        milliseconds = STATEMENT_SECONDS * 1000
        settings = {
            "statement_timeout": milliseconds,
            "lock_timeout": 0,
            "idle_in_transaction_session_timeout": 0 if reading else milliseconds,
        }
        if (connection.dialect.server_version_info or ()) >= (17,):
            settings["transaction_timeout"] = 0
        statements = [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
        driver: Any = connection.connection.dbapi_connection
        driver.execute("; ".join([_READING if reading else _WRITING, *statements]))

    return engine


class TimedConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer stays away; the statement then fails with OperationalError.

    A server with a stopped process, or a proxy that forwards nothing any more, keeps its TCP connection alive:
    neither keepalives nor time-outs of the server itself end such a wait.
    """

    def wait(self, gen: Any, *options: Any, **more: Any) -> Any:
        """As psycopg's: every exchange with the server comes through here."""
        return super().wait(self._within(gen, ANSWER_SECONDS), *options, **more)

    def _within(self, exchange: Any, seconds: float) -> Any:
        """Pass an exchange on; psycopg wakes it up several times a second."""
        deadline = monotonic() + seconds
        try:
            wanted = next(exchange)
            while True:
                ready = yield wanted
                if not ready and monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"the server has not answered for {seconds:g} seconds")
                wanted = exchange.send(ready)
        except StopIteration as end:
            return end.value
