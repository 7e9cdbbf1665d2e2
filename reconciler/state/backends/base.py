"""What the state needs of a database, whichever it is."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, Engine, Table, text

from reconciler.clock import Clock
from reconciler.state import schema
from reconciler.state.failures import explained
from reconciler.state.location import Address


class Database(Protocol):
    """One open state database. Every method raises StateError."""

    address: Address
    pieces: str
    """The journal beside its ids one by one, as a FROM clause: columns of `b`, and `piece.value`."""

    def write(self) -> AbstractContextManager[Connection]:
        """One transaction; it may wait for other writers."""
        ...

    def read(self) -> AbstractContextManager[Connection]:
        """One read-only transaction, that sees one moment."""
        ...

    def creating(self) -> AbstractContextManager[Connection]:
        """One transaction in which nobody else makes or upgrades the tables."""
        ...

    def now(self, connection: Connection, /) -> float:
        """Unix seconds by the database's clock."""
        ...

    def lock_row(self) -> str:
        """What a SELECT ends with to keep its row from other writers."""
        ...

    def pick(self, connection: Connection, ids: Sequence[str]) -> None:
        """Fill the temporary table `picked` (`id`, `at`, `unknown_at`) with ids."""
        ...

    def pick_batches(self, connection: Connection, key: int, first: int, last: int) -> None:
        """Fill `picked` with the ids of a segment's batches from one number to another, with their latest times."""
        ...

    def bar_locks(self, connection: Connection) -> None:
        """Keep others from taking segments' locks until the transaction ends."""
        ...

    def load(self, connection: Connection, table: Table, rows: Sequence[Sequence[object]]) -> None:
        """Insert whole rows in bulk."""
        ...

    def count_from(self, connection: Connection, table: Table, column: str, number: int) -> None:
        """Make the database hand out numbers from this one on."""
        ...

    def make_way(self) -> None:
        """Let others write who wait for it, between two transactions of ours."""
        ...

    def tidy(self) -> None:
        """Leave the files small."""
        ...

    def close(self) -> None: ...


class Reader(Protocol):
    """Reads one state database."""

    address: Address
    pieces: str
    """As `Database.pieces`."""

    def read(self) -> AbstractContextManager[Connection | None]:
        """A transaction that sees one moment; None: there is no state. Raises StateError."""
        ...

    def find_schema(self) -> tuple[schema.Schema, str]:
        """Which schema there is, and its name. Raises StateError for one of a newer tool."""
        ...

    def now(self, connection: Connection, /) -> float:
        """Unix seconds by the database's clock."""
        ...


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


def skew(database: Database, connection: Connection, clock: Clock) -> float:
    """Seconds that the database's clock is ahead of this machine's."""
    return database.now(connection) - clock.wall()


def run(connection: Connection, statement: str, **values: object) -> int:
    """Execute one statement with named values; gives the number of rows it touched."""
    return connection.execute(text(statement), values).rowcount
