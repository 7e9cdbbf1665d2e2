"""A comparison: its limits, its inputs by column, and the numbers and ids that it finds."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from reconciler.models.ids import IdType

LEAST_MEMORY_LIMIT = "512MB"
"""Of the default, which is a quarter of the memory that the process may use."""

DEFAULT_PARALLEL = 4
MOST_PARALLEL = 64
"""Segments processed concurrently."""

DEFAULT_LOOKUP_TIMEOUT = 10.0
"""Seconds of a run for what Customer.io is asked only because a person reads it."""

MIN_MEMORY = "16MB"
"""Suffices for small segments, 64 at once. Measured: with 8MB most of them fail."""

FEW_IDS = 10_000
"""Up to this number of ids on each side Python's sets compare. Measured: from 50,000 on, DuckDB is as fast."""

BUCKETED_FROM = 1_000_000
"""From this number of ids on each side, it is found first where they are equal. Measured: fewer are joined as fast."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?\s*", re.IGNORECASE)


def read_size(text: str) -> int | None:
    """Bytes of a size such as `512MB` or `1.5GiB`; None: it is none."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" KMGT".index(unit.upper())))


# --- inputs --------------------------------------------------------------------------------------------------------


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
    is_new: bool = False
    """The state has nothing to compare with: every id that the query returns is received anyway."""


@dataclass(frozen=True)
class Page:
    """Members as the App API lists them, by column: both are equally long.

    `keys` are their ids of the segment's id type, ready to compare; None: a member has none.
    """

    cio_ids: Sequence[str]
    keys: Sequence[str | None]


@dataclass(frozen=True)
class RemoteCount:
    """What was loaded of a real membership: distinct people, and those without a key."""

    people: int
    unkeyed: int


# --- what it finds -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """What a comparison of desired and stored (and, under `exclusive`, remote) found; all are numbers of ids.

    desired = unchanged + add + resend, always.
    """

    desired: int | None = 0
    """None: an undo, which reverses a run, whatever the query returns."""
    stored: int = 0
    add: int = 0
    remove: int = 0
    resend: int = 0
    unchanged: int = 0
    unsettled: int = 0
    unmatched: int = 0
    nulls: int = 0
    invalid: int = 0
    duplicates: int = 0

    held: int = 0
    """Every id that the state holds (stored, unsettled, unmatched), and under `exclusive` the real members too."""
    repeated_adds: int = 0
    """Of `add`: those that only repeat an unsettled add."""
    exempt_removes: int = 0
    """Of `remove`: those that repeat an unsettled remove, or drop an unmatched id."""
    missing_sentinels: int = 0
    """Of `must_include`: those that the query did not return."""
    adopt: int = 0
    """Of `unchanged`, under `exclusive`: ids that the state does not hold as members yet; `apply` takes them over."""
    strays: int = 0
    """Of `remove`, under `exclusive`: members that the state does not know."""
    unkeyed: int | None = None
    """Members that the id type cannot express; None where the real membership was not read."""
    reversed_at: float | None = None
    """Unix seconds of the latest attempt, of unknown outcome, that one of these changes reverses."""

    sent_since: int | None = None
    """Of an undo: ids of its run that it leaves alone, as a later run sent them or read them back; else None."""

    @property
    def left(self) -> int:
        """The ids that are stored once all was sent."""
        return self.unchanged + self.add + self.resend

    @property
    def held_by_state(self) -> int:
        """As `held`, without the real members that the state does not hold."""
        return self.stored + self.unsettled + self.unmatched

    @property
    def is_changed(self) -> bool:
        """Resends alone do not make a change."""
        return bool(self.add or self.remove)


@dataclass(frozen=True)
class DriftCounts:
    """Numbers of one comparison of stored and remote; all are numbers of members."""

    stored: int
    remote: int
    missing: int
    """Stored, and not there."""
    foreign: int
    """There, and not stored; without `appeared`."""
    lingering: int
    """Of `foreign`: removed by us, and the removal may not have arrived yet (within `settle` and an hour)."""
    unkeyed: int
    """There, without an id of the segment's id type."""
    strangers: int = 0
    """Of `foreign`: the state knows nothing of them."""
    unmatched: int = 0
    """Acknowledged, and not there when last read."""
    appeared: int = 0
    """Of `unmatched`: there by now, so neither missing nor foreign."""
    held: int = 0
    """Every id that the state holds once this read-back is recorded."""

    @property
    def unmatched_after(self) -> int:
        """Unmatched ids once this read-back is recorded."""
        return self.missing + self.unmatched - self.appeared


@dataclass(frozen=True)
class Findings:
    """What a read-back showed against the state; each iterates ids in sorted order, in lists of up to 50,000."""

    appeared: Callable[[], Iterator[list[str]]]
    """Unmatched before, and there now: they become members."""
    vanished: Callable[[], Iterator[list[str]]]
    """Stored, and not there: they become unmatched."""
    lingering: Callable[[], Iterator[list[str]]]
    """Tombstones that are still there: they become unsettled removes."""
    gone: Callable[[], Iterator[list[str]]]
    """Tombstones that are no longer there: they are forgotten."""


@dataclass(frozen=True)
class Adoption:
    """What `refresh` makes the snapshot to be; each a way to iterate ids in sorted order, in lists of up to 50,000."""

    id_type: IdType
    members: Callable[[], Iterator[list[str]]]
    """There, and taken over."""
    unmatched: Callable[[], Iterator[list[str]]]
    """Held by the state in any way, and not there."""
    lingering: Callable[[], Iterator[list[str]]]
    """Tombstones that are still there: they become unsettled removes, not members."""
    entered: Callable[[], Iterator[list[str]]]
    """Of `members`: those that the state did not have as stored."""
    left: Callable[[], Iterator[list[str]]]
    """Of `unmatched`: those that it did."""
