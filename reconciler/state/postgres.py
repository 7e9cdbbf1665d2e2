"""A state in a PostgreSQL."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text

from reconciler.core.plan import Head
from reconciler.engine.ports import ArrowStream, Stored
from reconciler.errors import StateError
from reconciler.state import schema
from reconciler.state.address import Address, PostgresAddress
from reconciler.state.columns import JOURNAL, MARKS, MEMBERS, NothingStored, Once, Shape, Typist
from reconciler.state.database import run, transaction
from reconciler.state.failures import explained
from reconciler.state.heads import find_segment, make_head, read_head

CONNECT_SECONDS = 10

_POOL_SIZE = 4
_MOST_CONNECTIONS = 32

_CREATION_LOCK = 0x7265636F6E63696C
"""Of PostgreSQL's advisory locks the one under which tables are made: 'reconcil' in ASCII."""

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
        seconds = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::double precision"))
        return float(seconds.scalar_one())

    def lock_row(self) -> str:
        return " FOR UPDATE"

    def make_picked(self, connection: Connection) -> None:
        run(
            connection,
            'CREATE TEMP TABLE IF NOT EXISTS picked (id text COLLATE "C" PRIMARY KEY, at double precision, '
            "unknown_at double precision) ON COMMIT DROP",
        )
        run(connection, "TRUNCATE picked")

    def pick(self, connection: Connection, ids: Sequence[str]) -> None:
        self.make_picked(connection)
        driver: Any = connection.connection.dbapi_connection
        with driver.cursor() as cursor, cursor.copy("COPY picked (id) FROM STDIN") as copy:
            copy.write("".join(f"{_escape(id)}\n" for id in dict.fromkeys(ids)))
        self.take_stock(connection)

    def take_stock(self, connection: Connection) -> None:
        run(connection, "ANALYZE picked")

    def tidy(self) -> None:
        """The server looks after its files itself."""

    def close(self) -> None:
        self._engine.dispose()


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


class PostgresSnapshot:
    """See `engine.ports.Snapshot`. A database without our tables is an empty state, and stays without them."""

    def __init__(self, address: PostgresAddress, must_exist: bool) -> None:
        self._address = address
        self._must_exist = must_exist
        self._adbc = _load_adbc()
        self._engine = _connect(address, pool_size=1, max_overflow=_MOST_CONNECTIONS)
        with self._read():
            pass

    def head(self, workspace: str, segment_id: int) -> Head:
        with self._read() as connection:
            return Head() if connection is None else read_head(connection, workspace, segment_id)

    def is_spent(self, plan_id: str) -> bool:
        statement = text("SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id")
        with self._read() as connection:
            return connection is not None and connection.execute(statement, {"plan_id": plan_id}).first() is not None

    @contextmanager
    def open(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._read())
            row = find_segment(connection, workspace, segment_id) if connection is not None else None
            if connection is None or row is None:
                head = Head() if connection is None else read_head(connection, workspace, segment_id)
                yield NothingStored(head, stack.enter_context(closing(Typist())))
                return
            head = make_head(row, read_head(connection, workspace, segment_id).environment_id)
            shared = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            yield PostgresStored(head, row.segment_key, _Streams(self._adbc, self._address, shared, stack))

    @contextmanager
    def _read(self) -> Iterator[Connection | None]:
        """A transaction that sees one moment; None: there is no state."""
        with transaction(self._engine, self._address, reading=True) as connection:
            run(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            known = schema.is_there(connection, self._address)
            if not known and self._must_exist:
                raise schema.missing(self._address)
            yield connection if known else None


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
            for command in (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                f"SET TRANSACTION SNAPSHOT '{self._shared}'",
            ):
                cursor.executescript(command) if hasattr(cursor, "executescript") else cursor.execute(command)
            cursor.execute(statement)
            return Once(cursor.fetch_arrow())


class PostgresStored:
    """See `engine.ports.Stored`."""

    def __init__(self, head: Head, key: int, streams: _Streams) -> None:
        self.head = head
        self._key = key
        self._streams = streams

    def members(self) -> ArrowStream:
        return self._stream(MEMBERS)

    def marks(self) -> ArrowStream:
        return self._stream(MARKS)

    def journal(self) -> ArrowStream:
        return self._stream(JOURNAL)

    def _stream(self, shape: Shape) -> ArrowStream:
        return self._streams.read(f"SELECT {', '.join(shape.types)} FROM {shape.rows.format(key=self._key)}")
