"""Drift: what the snapshot says against what is really there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.models.ids import IdType
from reconciler.models.plan import Problem
from reconciler.models.spec import Target


class DriftStatus(StrEnum):
    IN_SYNC = "in_sync"
    DRIFTED = "drifted"
    FAILED = "failed"


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


@dataclass(frozen=True)
class SegmentDrift:
    """The drift of one segment. `counts` is None where it failed; `stored` and `unmatched` are then what the state
    holds, None where that can't be read either."""

    target: Target
    status: DriftStatus
    counts: DriftCounts | None = None
    title: str | None = None
    error: Problem | None = None
    stored: int | None = None
    unmatched: int | None = None


@dataclass(frozen=True)
class Drift:
    """The drift of all selected segments."""

    created_at: datetime
    segments: tuple[SegmentDrift, ...]
    warnings: tuple[str, ...] = ()


def judge_drift(counts: DriftCounts, ignore_foreign: bool) -> DriftStatus:
    """Missing members are drift, and so are foreign ones of our own; strangers unless others may add to the segment."""
    foreign = counts.foreign - counts.strangers if ignore_foreign else counts.foreign
    return DriftStatus.DRIFTED if counts.missing or foreign else DriftStatus.IN_SYNC


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
