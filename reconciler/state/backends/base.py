"""What every state database does alike, and what each must do for itself. Every method raises StateError."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy import Connection, Engine, Table, inspect, text

from reconciler.models.plan import Head
from reconciler.state import schema
from reconciler.state.base import HEAD_COLUMNS, BlockReader, NothingStored, SegmentRow, Stored
from reconciler.state.failures import explained
from reconciler.state.location import Address
from reconciler.state.schema import VERSION_TABLE, Schema
from reconciler.state.tables import METADATA

_ROWS_AT_ONCE = 100
"""Rows of the journal that one exchange with the server brings."""


class Database(ABC):
    """One open state database: the writing side."""

    address: Address
    pieces: str
    """The journal with one row per id, as a FROM clause: columns of `b`, and `piece.value`."""

    row_lock: str = ""
    """What a SELECT ends with to keep its row from other writers."""

    clear_picked: Sequence[str]
    """Statements that make the temporary table `picked` (`id`, `at`, `unknown_at`), and make it empty."""

    fill_picked: str
    """The statement that fills `picked` from the batches `:first` to `:last` of the segment `:key`."""

    analyze_picked: Sequence[str] = ()
    """Statements that tell the planner of the database how much is in `picked`."""

    _engine: Engine
    _mutex: AbstractContextManager[object] = nullcontext()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction; it may wait for other writers."""
        with self._mutex, transaction(self._engine, self.address) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read-only transaction, that sees one moment."""
        with self._mutex, transaction(self._engine, self.address, reading=True) as connection:
            yield connection

    def make_tables(self, *, must_exist: bool = False) -> None:
        """Make all tables where there is no state; with `must_exist` that is an error."""
        with self.read() as connection:
            known = has_state(connection, self.address)
        if not known and must_exist:
            raise schema.missing(self.address)
        if not known:
            with self.creating() as connection:
                if not has_state(connection, self.address):
                    create_tables(connection)

    @abstractmethod
    def creating(self) -> AbstractContextManager[Connection]:
        """One transaction in which no other process makes or upgrades the tables."""

    @abstractmethod
    def now(self, connection: Connection, /) -> float:
        """Unix seconds by the database's clock."""

    def pick(self, connection: Connection, ids: Sequence[str]) -> None:
        """Fill the temporary table `picked` with ids."""
        for statement in self.clear_picked:
            run(connection, statement)
        self._insert_picked(connection, ids)
        for statement in self.analyze_picked:
            run(connection, statement)

    def pick_batches(self, connection: Connection, key: int, first: int, last: int) -> None:
        """Fill `picked` with the ids of a segment's batches from one number to another, with their latest times."""
        for statement in self.clear_picked:
            run(connection, statement)
        run(connection, self.fill_picked, key=key, first=first, last=last)
        for statement in self.analyze_picked:
            run(connection, statement)

    @abstractmethod
    def _insert_picked(self, connection: Connection, ids: Sequence[str]) -> None:
        """Insert ids into `picked`."""

    @abstractmethod
    def load(self, connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
        """Insert whole rows in bulk."""

    def restart_counter(self, connection: Connection, table: Table, column: str, number: int) -> None:  # noqa: B027 (nothing to do by default)
        """Make the database hand out numbers from this one on."""

    def block_new_locks(self, connection: Connection) -> None:  # noqa: B027 (nothing to do by default)
        """Keep others from taking segments' locks until the transaction ends."""

    def yield_to_writers(self) -> None:  # noqa: B027 (nothing to do by default)
        """Give waiting writers time to write, between two transactions."""

    def checkpoint(self) -> None:  # noqa: B027 (nothing to do by default)
        """Move what was written into the one file that stays."""

    def close(self) -> None:
        with self._mutex:
            self._engine.dispose()


class Reader(ABC):
    """The reading side: sees one moment, takes no lock, changes nothing. It is a `state.base.Snapshot`."""

    pieces: str
    """As `Database.pieces`."""

    members: BlockReader
    marks: BlockReader
    journal: str
    """The statement that gives the journal of segment `{key}` as lines."""

    stored_kind: "type[SqlStored]"

    def __init__(self, address: Address, engine: Engine, must_exist: bool) -> None:
        self.address = address
        self._engine = engine
        self._must_exist = must_exist

    @abstractmethod
    def now(self, connection: Connection, /) -> float:
        """Unix seconds by the database's clock."""

    def is_missing(self) -> bool:
        """Tell whether there is no database to connect to; without a state in it is another matter."""
        return False

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        """A transaction that sees one moment; None: there is no state, and none is made."""
        with self._transaction() as connection:
            there = connection is not None and has_state(connection, self.address)
            if not there and self._must_exist:
                raise schema.missing(self.address)
            yield connection if there else None

    def find_schema(self) -> tuple[Schema, str]:
        """Find which schema there is, and its name; raises StateError for one of a newer tool."""
        with self._transaction() as connection:
            return (Schema.NONE, "") if connection is None else find_schema(connection, self.address)

    @contextmanager
    def _transaction(self) -> Iterator[Connection | None]:
        with explained(self.address):
            missing = self.is_missing()
        if missing:
            yield None
            return
        with transaction(self._engine, self.address, reading=True) as connection:
            yield connection

    def head(self, workspace: str, segment_id: int) -> Head:
        with self.read() as connection:
            if connection is None:
                return Head()
            return read_head(connection, workspace, find_segment(connection, workspace, segment_id))

    def is_spent(self, plan_id: str) -> bool:
        with self.read() as connection:
            if connection is None:
                return False
            statement = text("SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id")
            return connection.execute(statement, {"plan_id": plan_id}).first() is not None

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        with self.read() as connection:
            if connection is None:
                yield NothingStored(Head())
                return
            row = find_segment(connection, workspace, segment_id)
            head = read_head(connection, workspace, row)
            yield NothingStored(head) if row is None else self.stored_kind(self, head, row.segment_key, connection)


class SqlStored:
    """See `state.base.Stored`: everything is read in the one transaction of `connection`.

    Block by block, so that each statement ends soon: how long all takes is up to what takes the blocks.
    """

    def __init__(self, reader: Reader, head: Head, key: int, connection: Connection) -> None:
        self.head = head
        self.now = reader.now(connection)
        self._reader = reader
        self._key = key
        self._connection = connection

    def members(self) -> Iterator[str]:
        return self._reader.members.read(self._connection, self._key)

    def marks(self) -> Iterator[str]:
        return self._reader.marks.read(self._connection, self._key)

    def journal(self) -> Iterator[str]:
        statement = text(self._reader.journal.format(key=self._key))
        yield from self._connection.execute(statement, execution_options={"yield_per": _ROWS_AT_ONCE}).scalars()


@contextmanager
def transaction(engine: Engine, address: Address, *, reading: bool = False) -> Iterator[Connection]:
    """One transaction of an engine, with foreign errors explained."""
    with explained(address):
        connection = engine.connect()
        try:
            connection = connection.execution_options(state_reading=reading)
            with connection.begin():
                yield connection
        finally:
            connection.close()


def run(connection: Connection, statement: str, **values: object) -> int:
    """Execute one statement with named values; gives the number of rows it touched."""
    return connection.execute(text(statement), values).rowcount


def add_row(connection: Connection, table: str, **values: object) -> None:
    """Insert a row, unless one with its key is there."""
    parameters = ", ".join(f":{name}" for name in values)
    run(connection, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({parameters}) ON CONFLICT DO NOTHING", **values)


def find_segment(connection: Connection, workspace: str, segment_id: int) -> SegmentRow | None:
    statement = (
        f"SELECT {HEAD_COLUMNS} FROM reconcile_segments WHERE workspace = :workspace AND segment_id = :segment_id"
    )
    values = {"workspace": workspace, "segment_id": segment_id}
    found = connection.execute(text(statement), values).one_or_none()
    return None if found is None else SegmentRow(*found)


def find_environment(connection: Connection, workspace: str) -> int | None:
    """The environment at Customer.io to which a workspace's name is bound."""
    statement = text("SELECT environment_id FROM reconcile_workspaces WHERE name = :workspace")
    found: int | None = connection.execute(statement, {"workspace": workspace}).scalar()
    return found


def read_head(connection: Connection, workspace: str, row: SegmentRow | None) -> Head:
    """Return the head of a segment with this row."""
    environment_id = find_environment(connection, workspace)
    return Head(environment_id=environment_id) if row is None else row.head(environment_id)


def find_schema(connection: Connection, address: Address) -> tuple[Schema, str]:
    """Find which schema there is, and its name; empty: none.

    Raises StateError for one of a newer tool, and for a file of something else.
    """
    inspector = inspect(connection)
    version = schema.select_version(connection) if inspector.has_table(VERSION_TABLE) else ""
    return schema.judge(inspector.get_table_names(), version, address), version


def has_state(connection: Connection, address: Address) -> bool:
    """Tell whether there is a state that can be used. Raises StateError for an older or newer one."""
    return schema.is_usable(find_schema(connection, address)[0], address)


def create_tables(connection: Connection) -> None:
    """Make all tables, in one transaction. The migrations lead to the same, which a test checks."""
    METADATA.create_all(connection)
    kind = "TEXT" if connection.dialect.name == "postgresql" else "VARCHAR(32)"  # as the migrations leave it
    run(
        connection,
        f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num {kind} NOT NULL, "
        f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))",
    )
    run(connection, f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:revision)", revision=schema.REVISION)
