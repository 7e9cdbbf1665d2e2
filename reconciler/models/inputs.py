"""The inputs of a comparison: rows by column, or the tables of the state in the database of the query."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias


class ArrowStream(Protocol):
    """Anything that speaks the Arrow C stream interface; it can be read once."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


ROW_END = 0x1E
FIELD_END = 0x1F
"""The control characters (Unicode: record and unit separator) that end rows and fields in blocks of text."""

Rows: TypeAlias = ArrowStream | Iterator[str]
"""Rows by column: an Arrow stream; or blocks of text, in which ROW_END separates rows and FIELD_END fields, and an
empty field is a null. Ids hold no control characters."""


@dataclass(frozen=True)
class DatabaseIdentity:
    """Distinguishes one database from all others: a query that any user may run, and the value it gives there alone."""

    query: str
    value: str


@dataclass(frozen=True)
class StateTables:
    """The tables of a segment's state in its database, for a statement that reads them there."""

    identity: DatabaseIdentity
    snapshot: str
    """The name of a snapshot that other transactions of the database can use while the view is open."""
    tables: tuple[int, ...]
    """What has to be readable, as object ids."""
    members: str
    """A query with the columns of `Stored.members`; the next two likewise. Their tables are named in full."""
    marks: str
    journal: str


@dataclass(frozen=True)
class NotPossible:
    """A segment can't be compared in its database; `reason` says why, without ids."""

    reason: str
