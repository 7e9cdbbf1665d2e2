"""Opening a state for reading or for writing; a missing one is made by whoever writes first.

What a way of opening needs is imported by it alone: a plan over a file does without SQLAlchemy, a third of its start.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from reconciler.models.spec import StateSettings
from reconciler.state import schema
from reconciler.state.address import SqliteAddress, parse
from reconciler.state.base import Snapshot
from reconciler.state.failures import explained
from reconciler.state.file import make_private
from reconciler.state.processes import Clock, SystemClock, this_machine

if TYPE_CHECKING:
    from reconciler.state.database import Database
    from reconciler.state.reader import Reader
    from reconciler.state.store import Runtime, StateStore


def open_snapshot(settings: StateSettings, *, alone: bool = False) -> Snapshot:
    """Open a state for reading; nothing is created. Raises StateError.

    `alone`: nothing else in this process opens this state meanwhile; then it is read faster.
    """
    address = parse(settings.url)
    if not isinstance(address, SqliteAddress):
        from reconciler.state.postgres import PostgresReader, PostgresSnapshot

        return PostgresSnapshot(PostgresReader(address, settings.must_exist))
    if alone:
        from reconciler.state.columnar import ColumnarSnapshot

        return ColumnarSnapshot(address, settings.must_exist)
    from reconciler.state.reader import SqliteReader
    from reconciler.state.snapshot import SqliteSnapshot

    return SqliteSnapshot(SqliteReader(address, SystemClock(), settings.must_exist))


def open_reader(settings: StateSettings, clock: Clock) -> "Reader":
    """Open a state for reading rows of it. Raises StateError."""
    address = parse(settings.url)
    if isinstance(address, SqliteAddress):
        from reconciler.state.reader import SqliteReader

        return SqliteReader(address, clock, settings.must_exist)
    from reconciler.state.postgres import PostgresReader

    return PostgresReader(address, settings.must_exist)


@contextmanager
def open_store(
    settings: StateSettings,
    *,
    lock_timeout: float = 0.0,
    pause: Callable[[float], bool] | None = None,
    runtime: "Runtime | None" = None,
) -> "Iterator[StateStore]":
    """Open a state for writing, and create it where it is missing. Raises StateError.

    `lock_timeout`: seconds to wait for a lock; `pause` waits some seconds of them, and is true when to wait no longer.
    """
    from reconciler.state.store import Runtime, StateStore

    around = runtime or Runtime(SystemClock(), this_machine())
    with open_database(settings, around.clock) as database:
        yield StateStore(database, around, lock_timeout, pause)


@contextmanager
def open_database(settings: StateSettings, clock: Clock, *, creates: bool = True) -> "Iterator[Database]":
    """Open a state's database; without `creates`, or where the spec says must_exist, a missing one is an error."""
    must_exist = settings.must_exist or not creates
    with open_reader(settings, clock).read() as connection:  # before a file that is not ours is touched
        if connection is None and must_exist:
            raise schema.missing(parse(settings.url))
    with open_unchecked(settings, clock) as database:
        _prepare_tables(database, must_exist)
        yield database


@contextmanager
def open_unchecked(settings: StateSettings, clock: Clock) -> "Iterator[Database]":
    """Open a state's database, whatever its schema; a missing file is made."""
    address = parse(settings.url)
    if isinstance(address, SqliteAddress):
        from reconciler.state.mounts import refuse_network
        from reconciler.state.sqlite import SqliteDatabase

        refuse_network(address)
        with explained(address):
            make_private(address.path)
        database: Database = SqliteDatabase(address, clock)
    else:
        from reconciler.state.postgres import PostgresDatabase

        database = PostgresDatabase(address)
    with closing(database):
        yield database


def _prepare_tables(database: "Database", must_exist: bool) -> None:
    with database.read() as connection:
        if schema.is_there(connection, database.address):
            return
    if must_exist:
        raise schema.missing(database.address)
    with database.creating() as connection:
        if not schema.is_there(connection, database.address):
            schema.create(connection)
