"""A state in a PostgreSQL."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, text

from reconciler.arrow import Once
from reconciler.core.plan import Head
from reconciler.engine.ports import ArrowStream, Proof, Site, Stored
from reconciler.errors import StateError
from reconciler.state import schema, tables
from reconciler.state.address import Address, PostgresAddress
from reconciler.state.columns import JOURNAL, MARKS, MEMBERS, NothingStored
from reconciler.state.database import run, transaction
from reconciler.state.failures import explained
from reconciler.state.heads import make_head
from reconciler.state.lookups import find_environment, find_segment, is_spent, read_head

CONNECT_SECONDS = 10

_POOL_SIZE = 4
_MOST_CONNECTIONS = 32

_CREATION_LOCK = 0x7265636F6E63696C
"""Of PostgreSQL's advisory locks the one under which tables are made: 'reconcil' in ASCII."""

_WHICH_DATABASE = """SELECT concat_ws(' ', current_database(), oid, pg_is_in_recovery(), current_setting('port'),
    CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS bigint))
FROM pg_database WHERE datname = current_database()"""
"""No two servers were started in one microsecond; and a database has its number in its server alone."""

_WHICH_TABLES = """SELECT c.relname, quote_ident(n.nspname), CAST(c.oid AS bigint)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid IN (to_regclass('reconcile_members'), to_regclass('reconcile_marks'), to_regclass('reconcile_batches'))"""

_KEEP_ALIVE = {"keepalives_idle": "15", "keepalives_interval": "5", "keepalives_count": "4"}
"""A server that vanished must not hold a heartbeat for hours."""


class PostgresDatabase:
    """The writing side: a small pool, as segments and heartbeats work side by side."""

    pieces = "reconcile_batches b CROSS JOIN LATERAL unnest(string_to_array(b.ids, chr(10))) AS piece(value)"
    address: Address

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        self._engine = _connect(address, pool_size=_POOL_SIZE, max_overflow=_MOST_CONNECTIONS - _POOL_SIZE)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with transaction(self._engine, self.address) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with transaction(self._engine, self.address, reading=True) as connection:
            yield connection

    @contextmanager
    def creating(self) -> Iterator[Connection]:
        with self.write() as connection:
            run(connection, f"SELECT pg_advisory_xact_lock({_CREATION_LOCK})")
            yield connection

    def now(self, connection: Connection, /) -> float:
        """By the server's clock, as it is now and not as the transaction began."""
        return _read_clock(connection)

    def lock_row(self) -> str:
        return " FOR UPDATE"

    def _make_picked(self, connection: Connection) -> None:
        run(
            connection,
            'CREATE TEMP TABLE IF NOT EXISTS picked (id text COLLATE "C" NOT NULL, at double precision, '
            "unknown_at double precision) ON COMMIT DROP",
        )
        run(connection, "TRUNCATE picked")

    def pick(self, connection: Connection, ids: Sequence[str]) -> None:
        self._make_picked(connection)
        driver: Any = connection.connection.dbapi_connection
        with driver.cursor() as cursor, cursor.copy("COPY picked (id) FROM STDIN") as copy:
            copy.write("".join(f"{_escape(id)}\n" for id in dict.fromkeys(ids)))
        run(connection, "ANALYZE picked")

    def pick_batches(self, connection: Connection, key: int, first: int, last: int) -> None:
        self._make_picked(connection)
        run(
            connection,
            "INSERT INTO picked (id, at, unknown_at) SELECT piece.value, max(b.at), max(b.unknown_at) "
            f"FROM {self.pieces} WHERE b.segment_key = :key AND b.seq BETWEEN :first AND :last GROUP BY piece.value",
            key=key,
            first=first,
            last=last,
        )
        run(connection, "ANALYZE picked")

    def freeze(self, connection: Connection) -> None:
        run(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def bar_locks(self, connection: Connection) -> None:
        run(connection, "LOCK TABLE reconcile_locks IN EXCLUSIVE MODE")

    def load(self, connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
        driver: Any = connection.connection.dbapi_connection
        columns = ", ".join(column.name for column in table.columns)
        with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def count_from(self, connection: Connection, table: Table, column: str, number: int) -> None:
        run(
            connection,
            "SELECT setval(pg_get_serial_sequence(:table, :column), :number, false)",
            table=table.name,
            column=column,
            number=number,
        )

    def make_way(self) -> None:
        """Whoever waits for a row is served in turn."""

    def tidy(self) -> None:
        """The server looks after its files itself."""

    def close(self) -> None:
        self._engine.dispose()


def _read_clock(connection: Connection) -> float:
    seconds = connection.execute(text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"))
    return float(seconds.scalar_one())


def _escape(id: str) -> str:
    """As COPY reads text; an id holds no control characters, so a backslash is all that there is to escape."""
    return id.replace("\\", "\\\\")


def _connect(address: PostgresAddress, **options: Any) -> Engine:
    with explained(address):
        try:
            return create_engine(
                address.driver_url,
                connect_args={"connect_timeout": CONNECT_SECONDS, **_KEEP_ALIVE},
                pool_pre_ping=True,
                hide_parameters=True,
                **options,
            )
        except ModuleNotFoundError:
            raise _driver_missing() from None


def _driver_missing() -> StateError:
    return StateError(
        "a state in PostgreSQL needs drivers that are not installed", "pip install 'reconcile-segments[postgres]'"
    )


def _load_adbc() -> ModuleType:
    try:
        import adbc_driver_postgresql.dbapi as adbc
    except ModuleNotFoundError:
        raise _driver_missing() from None
    module: ModuleType = adbc
    return module


class PostgresReader:
    """Reads a database; one without our tables stays without them."""

    pieces = PostgresDatabase.pieces
    address: Address

    def __init__(self, address: PostgresAddress, must_exist: bool) -> None:
        self.address = address
        self._must_exist = must_exist
        self._engine = _connect(address, poolclass=NullPool)

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        with transaction(self._engine, self.address, reading=True) as connection:
            run(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            known = schema.is_there(connection, self.address)
            if not known and self._must_exist:
                raise schema.missing(self.address)
            yield connection if known else None

    def find_schema(self) -> tuple[schema.Schema, str]:
        with transaction(self._engine, self.address, reading=True) as connection:
            return schema.look(connection, self.address), schema.read_version(connection)

    def prove(self) -> Proof:
        """Say which database it is, whether there are tables of ours or not."""
        with transaction(self._engine, self.address, reading=True) as connection:
            return _prove(connection)

    def now(self, connection: Connection, /) -> float:
        return _read_clock(connection)


class PostgresSnapshot:
    """See `engine.ports.Snapshot` and `Resident`."""

    def __init__(self, reader: PostgresReader, address: PostgresAddress) -> None:
        self._reader = reader
        self._address = address
        self._adbc = _load_adbc()
        with reader.read():
            pass

    def head(self, workspace: str, segment_id: int) -> Head:
        with self._reader.read() as connection:
            return Head() if connection is None else read_head(connection, workspace, segment_id)

    def is_spent(self, plan_id: str) -> bool:
        with self._reader.read() as connection:
            return connection is not None and is_spent(connection, plan_id)

    def prove(self) -> Proof:
        return self._reader.prove()

    @contextmanager
    def open(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._reader.read())
            row = find_segment(connection, workspace, segment_id) if connection is not None else None
            if connection is None or row is None:
                head = Head() if connection is None else read_head(connection, workspace, segment_id)
                yield NothingStored(head)
                return
            head = make_head(row, find_environment(connection, workspace))
            shared = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            streams = _Streams(self._adbc, self._address, shared, stack)
            yield PostgresStored(head, row.segment_key, streams, partial(_find_site, connection, shared))


def _prove(connection: Connection) -> Proof:
    return Proof(_WHICH_DATABASE, str(connection.execute(text(_WHICH_DATABASE)).scalar_one()))


def _find_site(connection: Connection, moment: str, key: int) -> Site:
    """Where the rows of a segment stand, with their schemas: whoever reads them may have another search path."""
    found = connection.execute(text(_WHICH_TABLES)).all()
    schemas = {name: schema for name, schema, _ in found}
    members, marks, journal = (
        query.format(schema=f"{schemas[table.name]}.", key=key)
        for query, table in ((MEMBERS, tables.MEMBERS), (MARKS, tables.MARKS), (JOURNAL, tables.BATCHES))
    )
    return Site(_prove(connection), moment, tuple(oid for *_, oid in found), members, marks, journal)


class _Streams:
    """Streams of one moment: each has a connection of its own, and all see what the exporting one sees."""

    def __init__(self, adbc: Any, address: PostgresAddress, shared: str, stack: ExitStack) -> None:
        self._adbc = adbc
        self._address = address
        self._shared = shared
        self._stack = stack

    def read(self, statement: str) -> ArrowStream:
        with explained(self._address):
            connection = self._stack.enter_context(closing(self._adbc.connect(self._address.uri, autocommit=True)))
            cursor = self._stack.enter_context(closing(connection.cursor()))
            cursor.executescript("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.executescript(f"SET TRANSACTION SNAPSHOT '{self._shared}'")
            cursor.execute(statement)
            return Once(cursor.fetch_arrow())


class PostgresStored:
    """See `engine.ports.Stored` and `Sited`."""

    def __init__(self, head: Head, key: int, streams: _Streams, find_site: Callable[[int], Site]) -> None:
        self.head = head
        self._key = key
        self._streams = streams
        self._find_site = find_site

    def site(self) -> Site:
        return self._find_site(self._key)

    def members(self) -> ArrowStream:
        return self._streams.read(MEMBERS.format(schema="", key=self._key) + " ORDER BY id")

    def marks(self) -> ArrowStream:
        return self._streams.read(MARKS.format(schema="", key=self._key) + " ORDER BY id, mark")

    def journal(self) -> ArrowStream:
        return self._streams.read(JOURNAL.format(schema="", key=self._key) + " ORDER BY seq")
