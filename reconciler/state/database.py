"""What every state database does alike, and what each must do for itself. Every method raises StateError."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache, partial
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Table, create_mock_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from reconciler.errors import StateUnreachable
from reconciler.models.id_status import StateCounts
from reconciler.models.members import MembersAtSource
from reconciler.models.plan import Head
from reconciler.models.results import Listing
from reconciler.state import schema
from reconciler.state.base import (
    BLOCK_ROWS,
    DROPPED,
    FORGETTING,
    HEAD_COLUMNS,
    LISTINGS,
    FewStored,
    SegmentRow,
    Stored,
    find_at_source,
    read_few,
    read_listing,
    write_counts,
)
from reconciler.state.failures import explained
from reconciler.state.location import Address, SqliteAddress, is_missing
from reconciler.state.schema import VERSION_TABLE
from reconciler.state.tables import METADATA

_ROWS_AT_ONCE = 100
"""Rows of the journal that one exchange with the server brings."""

_FIND_TABLES = {
    "sqlite": r"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'",
    "postgresql": f"SELECT relname FROM pg_catalog.pg_class WHERE relname = '{VERSION_TABLE}' "
    "AND relkind IN ('r', 'p', 'f', 'v', 'm') AND pg_catalog.pg_table_is_visible(oid)",
}
"""All names in a file, which is the state's alone; of a server, whether ours is there.

`to_regclass` would do for the latter, but it may answer from a cache that knows nothing of a table that another process
has made since this transaction began.
"""

_NAME = re.compile(r"(?<![:\w]):(\w+)(?!:)")
"""A name that stands for a value; not a cast."""


class Backend(ABC):
    """What both sides share."""

    address: Address
    pieces: str
    """The journal with one row per id, as a FROM clause: columns of `b`, and `piece.value`."""

    _engine: Engine

    @abstractmethod
    def now(self, connection: Connection, /) -> float:
        """Unix seconds by the database's clock."""


class Database(Backend):
    """One open state database: the writing side."""

    row_lock: str = ""
    """What a SELECT ends with to keep its row from other writers."""

    clear_picked: Sequence[str]
    """Statements that make the temporary table `picked` (`id`, `at`, `unknown_at`), and make it empty."""

    fill_picked: str
    """The statement that fills `picked` from the batches `:first` to `:last` of the segment `:key`."""

    analyze_picked: Sequence[str] = ()
    """Statements that tell the planner of the database how much is in `picked`."""

    pause: float = 0.0
    """Seconds between two transactions that give waiting writers time to write."""

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
            if has_state(connection, self.address):
                return
        if must_exist:
            raise schema.missing(self.address)
        with self.creating() as connection:
            if not has_state(connection, self.address):
                create_tables(connection)

    @abstractmethod
    def creating(self) -> AbstractContextManager[Connection]:
        """One transaction in which no other process makes or upgrades the tables."""

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
        """Insert whole rows in bulk; a counter of keys goes on from the highest."""

    def checkpoint(self) -> None:
        """Move what was written into the one file that stays."""

    def scrub(self) -> None:
        """Write over what was deleted, where it could still be read in the one file. Raises StateError."""

    def close(self) -> None:
        with self._mutex:
            self._engine.dispose()


class Reader(Backend):
    """The reading side: sees one moment, takes no lock, changes nothing. It is a `state.base.Snapshot`."""

    mark_line: str
    """A row of the marks as one line of a block (see `models.comparison.Rows`)."""

    journal_lines: str
    """The statement that gives the journal of segment `{key}` as lines of blocks."""

    join: str
    """Makes one text of the lines `{line}`."""

    placeholder: str
    """Where the driver puts a parameter."""

    def __init__(self, address: Address, engine: Engine, must_exist: bool) -> None:
        self.address = address
        self._engine = engine
        self._must_exist = must_exist
        self._unreachable: StateUnreachable | None = None

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        """A transaction that sees one moment; None: there is no state, and none is made."""
        with self._transaction() as connection:
            there = connection is not None and has_state(connection, self.address)
            if not there and self._must_exist:
                raise schema.missing(self.address)
            yield connection if there else None

    def find_schema(self) -> str:
        """Find the version of the schema, as the function of this name; empty, too, where there is no file."""
        with self._transaction() as connection:
            return "" if connection is None else find_schema(connection, self.address)

    @contextmanager
    def _transaction(self) -> Iterator[Connection | None]:
        """None: there is no file to connect to. That nobody can connect is met once."""
        if self._unreachable is not None:
            raise self._unreachable
        with explained(self.address):
            missing = isinstance(self.address, SqliteAddress) and is_missing(self.address.path)
        if missing:
            yield None
            return
        try:
            with transaction(self._engine, self.address, reading=True) as connection:
                yield connection
        except StateUnreachable as error:
            self._unreachable = error
            raise

    def head(self, workspace: str, segment_id: int) -> Head:
        with self.read() as connection:
            if connection is None:
                return Head()
            return read_head(connection, workspace, find_segment(connection, workspace, segment_id))

    def is_spent(self, plan_id: str) -> bool:
        with self.read() as connection:
            if connection is None:
                return False
            statement = "SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id"
            return execute(connection, statement, {"plan_id": plan_id}).first() is not None

    def find_forgetting(self, workspace: str, segment_id: int) -> str | None:
        with self.read() as connection:
            if connection is None:
                return None
            statement = FORGETTING.format(workspace=":workspace", segment_id=":segment_id")
            tokens = execute(connection, statement, {"workspace": workspace, "segment_id": segment_id}).scalars()
            return "-".join(tokens) or None

    def environments(self) -> Mapping[str, int]:
        with self.read() as connection:
            return {} if connection is None else find_environments(connection)

    def listings(self, workspace: str) -> Sequence[Listing]:
        with self.read() as connection:
            if connection is None:
                return ()
            statement = f"SELECT * FROM ({LISTINGS}) l WHERE workspace = :workspace ORDER BY segment_id"
            rows = execute(connection, statement, {"workspace": workspace})
            return [read_listing(*columns) for _, *columns in rows]

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int, source: MembersAtSource | None = None) -> Iterator[Stored]:
        with self.read() as connection:
            if connection is None:
                yield Stored(Head())
                return
            row = find_segment(connection, workspace, segment_id)
            head = read_head(connection, workspace, row)
            if row is None:
                yield Stored(head)
                return
            stored = self._view(connection, head, row.segment_key)
            if row.members_generation is not None:
                stored.state_tables = None  # they have what changed, and not the members
                dropped = partial(self._read_blocks, connection, row.segment_key, "id", DROPPED, "id")
                stored.at_source = find_at_source(row, source, stored.members, dropped)
            yield stored

    def read_few(self, workspace: str, segment_id: int, most: int) -> FewStored | None:
        with self.read() as connection:
            if connection is None:
                return FewStored(Head(), ())
            row = find_segment(connection, workspace, segment_id)
            head = read_head(connection, workspace, row)
            if row is None:
                return FewStored(head, ())
            if row.members_generation is not None:
                return None

            def fetch(statement: str, **values: object) -> list[Any]:
                return list(execute(connection, statement, values))

            return read_few(fetch, self.pieces, head, row.segment_key, most)

    def _view(self, connection: Connection, head: Head, key: int) -> Stored:
        """Block by block, so that each statement ends soon: how long all takes is up to what takes the blocks."""
        journal = self.journal_lines.format(key=key)
        return Stored(
            head,
            self.now(connection),
            members=partial(self._read_blocks, connection, key, "id", "reconcile_members", "id"),
            marks=partial(self._read_blocks, connection, key, self.mark_line, "reconcile_marks", "id", "mark"),
            journal=lambda: iter(execute(connection, journal, rows_at_once=_ROWS_AT_ONCE).scalars()),
            count=lambda: StateCounts(*execute(connection, write_counts(self.pieces), {"key": key}).one()),
        )

    def _read_blocks(self, connection: Connection, key: int, line: str, table: str, *columns: str) -> Iterator[str]:
        """Read a segment's rows of a table as blocks of lines, in the order of the `columns` of its primary key.

        Two statements a block: where it ends, then all that is in it, in any order. Measured: finding the end in the
        block itself (`max`) takes half as much again.
        """
        names = ", ".join(columns)
        values = ", ".join(self.placeholder for _ in columns)
        rest = f"{table} WHERE segment_key = {self.placeholder} AND ({names}) > ({values})"
        find_end = f"SELECT {names} FROM {rest} ORDER BY {names} LIMIT 1 OFFSET {BLOCK_ROWS - 1}"
        read_rest = f"SELECT {self.join.format(line=line)} FROM {rest}"
        read_block = f"{read_rest} AND ({names}) <= ({values})"
        after: tuple[str, ...] = ("",) * len(columns)
        while end := connection.exec_driver_sql(find_end, (key, *after)).one_or_none():
            yield connection.exec_driver_sql(read_block, (key, *after, *end)).scalar_one()
            after = tuple(end)
        last = connection.exec_driver_sql(read_rest, (key, *after)).scalar_one()
        if last is not None:
            yield last


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


def execute(
    connection: Connection, statement: str, values: Mapping[str, object] | None = None, *, rows_at_once: int = 0
) -> CursorResult[*tuple[Any, ...]]:
    """Execute one statement, in which names stand for values as `:name`.

    `rows_at_once`: of a result that is read in parts. It goes to the driver as it is, but for how that writes a name:
    SQLAlchemy parses and compiles each `text()` anew in each process, which takes longer than to execute it.
    """
    options = {"yield_per": rows_at_once} if rows_at_once else {}
    written = statement if connection.dialect.name == "sqlite" else _write_for_psycopg(statement)
    return connection.exec_driver_sql(written, dict(values or {}), execution_options=options)


@lru_cache(maxsize=256)
def _write_for_psycopg(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement.replace("%", "%%"))


def run(connection: Connection, statement: str, **values: object) -> int:
    """Execute one statement with named values; gives the number of rows it touched."""
    return execute(connection, statement, values).rowcount


def add_row(connection: Connection, table: str, **values: object) -> None:
    """Insert a row, unless one with its key is there."""
    parameters = ", ".join(f":{name}" for name in values)
    run(connection, f"INSERT INTO {table} ({', '.join(values)}) VALUES ({parameters}) ON CONFLICT DO NOTHING", **values)


def find_segment(connection: Connection, workspace: str, segment_id: int) -> SegmentRow | None:
    statement = (
        f"SELECT {HEAD_COLUMNS} FROM reconcile_segments WHERE workspace = :workspace AND segment_id = :segment_id"
    )
    values = {"workspace": workspace, "segment_id": segment_id}
    found = execute(connection, statement, values).one_or_none()
    return None if found is None else SegmentRow(*found)


def find_environments(connection: Connection) -> dict[str, int]:
    """The environments at Customer.io to which the names of workspaces are bound."""
    return dict(map(tuple, execute(connection, "SELECT name, environment_id FROM reconcile_workspaces")))


def read_head(connection: Connection, workspace: str, row: SegmentRow | None) -> Head:
    """Return the head of a segment with this row."""
    environment_id = find_environments(connection).get(workspace)
    return Head(environment_id=environment_id) if row is None else row.head(environment_id)


def find_schema(connection: Connection, address: Address) -> str:
    """Find the version of the schema; empty: there is no state.

    Raises StateError for one of a newer tool, one that was moved away, and a file of something else.
    """
    tables = connection.exec_driver_sql(_FIND_TABLES[connection.dialect.name]).scalars().all()
    version = schema.select_version(connection) if VERSION_TABLE in tables else ""
    schema.check(tables, version, address)
    return version


def has_state(connection: Connection, address: Address) -> bool:
    """Tell whether there is a state that can be used. Raises StateError for an older or newer one."""
    return schema.is_usable(find_schema(connection, address), address)


def create_tables(connection: Connection) -> None:
    """Make all tables, in one transaction. The migrations lead to the same, which a test checks."""
    for statement in write_tables(connection.dialect.name):
        connection.exec_driver_sql(statement)
    kind = "TEXT" if connection.dialect.name == "postgresql" else "VARCHAR(32)"  # as the migrations leave it
    run(
        connection,
        f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num {kind} NOT NULL, "
        f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))",
    )
    run(connection, f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:revision)", revision=schema.REVISION)


@cache
def write_tables(dialect: str) -> tuple[str, ...]:
    """Write the statements that make what is missing of the tables. Measured: it takes longer than to execute them."""
    statements = []

    def write(element: Any, *_: object) -> None:
        if isinstance(element, CreateTable | CreateIndex):
            element.if_not_exists = True
        statements.append(str(element.compile(dialect=engine.dialect)))

    engine = create_mock_engine(f"{dialect}://", write)
    METADATA.create_all(engine, checkfirst=False)
    return tuple(statements)
