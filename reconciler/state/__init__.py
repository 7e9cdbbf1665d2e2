"""The state database: what was sent and acknowledged, the journal, the locks, the history.

A back end is imported when a state of its kind is opened: a plan over a file does without SQLAlchemy, a third of its
start. A missing state is made by the first writer.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from reconciler.clock import Clock
from reconciler.errors import StateError
from reconciler.models.spec import StateSettings
from reconciler.state.base import Snapshot
from reconciler.state.failures import explained
from reconciler.state.location import Address, SqliteAddress, make_private, parse, refuse_network

if TYPE_CHECKING:
    from reconciler.models.members import MembersAtSource
    from reconciler.models.spec import Target
    from reconciler.state.database import Database, Reader
    from reconciler.state.history import Records
    from reconciler.state.runtime import Processes, Runtime
    from reconciler.state.store import StateStore

__all__ = [
    "open_address",
    "open_database",
    "open_reader",
    "open_records",
    "open_snapshot",
    "open_store",
    "read_plan",
    "store_plan",
]


def open_snapshot(settings: StateSettings, *, alone: bool = False) -> Snapshot:
    """Open a state for reading; nothing is created. Raises StateError.

    `alone`: nothing else in this process opens this state meanwhile; then it is read faster.
    """
    address = parse(settings.url)
    if alone and isinstance(address, SqliteAddress):
        from reconciler.state.sqlite_columns import ColumnarSnapshot

        return ColumnarSnapshot(address, settings.must_exist)
    reader = open_reader(settings, Clock())
    with reader.read():  # whether there is a state that can be used
        return reader


def open_reader(settings: StateSettings, clock: Clock) -> "Reader":
    """Open a state for reading rows of it; it is connected to when it is read. Raises StateError."""
    address = parse(settings.url)
    if isinstance(address, SqliteAddress):
        from reconciler.state.sqlite import SqliteReader

        return SqliteReader(address, clock, settings.must_exist)
    with _needs_drivers():
        from reconciler.state.postgres import PostgresReader

        return PostgresReader(address, settings.must_exist)


def open_records(
    settings: StateSettings, *, clock: Clock | None = None, processes: "Processes | None" = None
) -> "Records":
    """Open a state for reading the numbers of its segments and the past runs. Raises StateError."""
    from reconciler.state.history import Records
    from reconciler.state.runtime import Processes

    clock = clock or Clock()
    return Records(open_reader(settings, clock), clock, processes or Processes())


def store_plan(settings: StateSettings, plan_id: str, expires_at: datetime, lines: Iterable[bytes]) -> None:
    """As `plans.store`."""
    from reconciler.state import plans

    plans.store(settings, plan_id, expires_at, lines)


def read_plan(settings: StateSettings, plan_id: str) -> Iterator[bytes]:
    """As `plans.read`."""
    from reconciler.state import plans

    return plans.read(settings, plan_id)


@contextmanager
def open_store(
    settings: StateSettings,
    *,
    lock_timeout: float = 0.0,
    pause: Callable[[float], bool] | None = None,
    members_of: "Callable[[Target], MembersAtSource | None]" = lambda _: None,
    runtime: "Runtime | None" = None,
) -> "Iterator[StateStore]":
    """Open a state for writing, and create it where it is missing. Raises StateError.

    `lock_timeout`: seconds to wait for a lock; `pause` waits some seconds of them, and is true when to wait no longer.
    `members_of` gives where the members of a segment stand, if not here.
    """
    from reconciler.state.runtime import Runtime
    from reconciler.state.store import StateStore

    around = runtime or Runtime()
    with open_database(settings, around.clock) as database:
        yield StateStore(database, around, lock_timeout, pause, members_of, settings)


@contextmanager
def open_database(settings: StateSettings, clock: Clock, *, creates: bool = True) -> "Iterator[Database]":
    """Open a state's database; without `creates`, or where the spec says must_exist, a missing one is an error."""
    settings = settings.model_copy(update={"must_exist": settings.must_exist or not creates})
    with open_reader(settings, clock).read():  # before a file that is not ours is touched
        pass
    with open_address(parse(settings.url), clock) as database:
        database.make_tables(must_exist=settings.must_exist)
        yield database


@contextmanager
def open_address(address: Address, clock: Clock) -> "Iterator[Database]":
    """Open a database, whatever is in it; a missing file is made."""
    if isinstance(address, SqliteAddress):
        from reconciler.state.sqlite import SqliteDatabase

        refuse_network(address)
        with explained(address):
            make_private(address.path)
        database: Database = SqliteDatabase(address, clock)
    else:
        with _needs_drivers():
            from reconciler.state.postgres import PostgresDatabase

            database = PostgresDatabase(address)
    with closing(database):
        yield database


@contextmanager
def _needs_drivers() -> Iterator[None]:
    """Raise StateError where a library for PostgreSQL is not installed."""
    try:
        yield
    except ModuleNotFoundError:
        raise StateError(
            "a state in PostgreSQL needs drivers that are not installed", "pip install 'reconcile-segments[postgres]'"
        ) from None
