"""Comparing in the database of the query: which database it is, and the tables of the state in it."""

from dataclasses import dataclass


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
