"""Comparing in the database of the query: which database it is, and where the state stands there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """Tells one database from all others: a query that any user may run, and what it answers there alone."""

    question: str
    answer: str


@dataclass(frozen=True)
class Site:
    """Where a segment's state stands in its database, for a statement that reads it there."""

    proof: Proof
    moment: str
    """The name of a snapshot that other transactions of the database can take, as long as the view is open."""
    tables: tuple[int, ...]
    """What has to be readable, as object ids."""
    members: str
    """A query with the columns of `Stored.members`; the next two likewise. Their tables are named in full."""
    marks: str
    journal: str


@dataclass(frozen=True)
class Unfit:
    """A segment can't be compared in its database; `reason` says why, without ids."""

    reason: str
