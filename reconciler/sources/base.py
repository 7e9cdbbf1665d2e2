"""What a source is to the rest of the program."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from reconciler.models.comparison import ArrowStream, DatabaseIdentity, NotPossible, Rows, StateTables
from reconciler.models.spec import Segment

ALL_TYPED = "SELECT value, true AS typed FROM incoming"


@dataclass(frozen=True)
class ValueStream:
    """What a query returned, before the rules of ids.

    `select` is SQL of DuckDB over `incoming`: the stream, or the lines of the blocks of text (column `line`). It gives
    `value` (text; null: NULL), the value written exactly (`7`, never `7.0`), and `typed` (boolean), true where the
    *source* gave a string, integer, UUID or integral decimal.
    """

    rows: Rows
    select: str = "SELECT value, typed FROM incoming"


class Source(Protocol):
    """One database that answers queries, read-only."""

    def keep(self) -> AbstractContextManager[None]:
        """Keep what its queries share while the block runs, rather than make it again for each."""
        ...

    def stream_values(self, segment: Segment) -> AbstractContextManager[ValueStream]:
        """Run the query and stream its ids. Raises SourceError, also while the stream is read."""
        ...

    def check(self, segment: Segment) -> None:
        """Prepare the query without reading it (for `validate --connect`). Raises SourceError."""
        ...


class PushdownSession(Protocol):
    """A read-only transaction of a source that sees a state as of one snapshot of it."""

    values: str
    """The segment's query, as one with the columns `value` (text) and `typed` (boolean, never null)."""

    def stream(self, statement: str) -> AbstractContextManager[ArrowStream]:
        """Run one statement and stream its rows. Raises SourceError, also while the stream is read."""
        ...


@runtime_checkable
class PushdownSource(Protocol):
    """A Source with a database in which a statement can read the state, too."""

    def is_database(self, identity: DatabaseIdentity) -> bool:
        """Tell whether it is this database. Raises SourceError."""
        ...

    def open_session(
        self, segment: Segment, state: StateTables
    ) -> AbstractContextManager[PushdownSession | NotPossible]:
        """Begin a transaction that sees the snapshot of the state, or say why not. Raises SourceError."""
        ...
