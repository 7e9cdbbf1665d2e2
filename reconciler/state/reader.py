"""Reading a state without a lock: one moment of it, and nothing is changed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection

from reconciler.state import schema
from reconciler.state.address import Address, SqliteAddress
from reconciler.state.database import transaction
from reconciler.state.failures import explained
from reconciler.state.file import is_missing
from reconciler.state.machine import Clock
from reconciler.state.sqlite import PIECES, open_reader


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


class SqliteReader:
    """Reads a file; a missing one stays missing."""

    pieces = PIECES
    address: Address

    def __init__(self, address: SqliteAddress, clock: Clock, must_exist: bool) -> None:
        self.address = address
        self._file = address
        self._clock = clock
        self._must_exist = must_exist

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        if self._is_missing():
            self._refuse_missing()
            yield None
            return
        with transaction(open_reader(self._file), self.address, reading=True) as connection:
            known = schema.is_there(connection, self.address)
            if not known:
                self._refuse_missing()
            yield connection if known else None

    def find_schema(self) -> tuple[schema.Schema, str]:
        if self._is_missing():
            return schema.Schema.NONE, ""
        with transaction(open_reader(self._file), self.address, reading=True) as connection:
            return schema.look(connection, self.address), schema.read_version(connection)

    def now(self, _connection: Connection) -> float:
        return self._clock.wall()

    def _is_missing(self) -> bool:
        with explained(self.address):
            return is_missing(self._file.path)

    def _refuse_missing(self) -> None:
        if self._must_exist:
            raise schema.missing(self.address)
