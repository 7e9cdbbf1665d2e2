"""What happens while a run goes on, for progress lines and bars."""

from dataclasses import dataclass

from reconciler.models.plan import SegmentPlan
from reconciler.models.results import RefreshRow, SegmentDrift, SegmentRun
from reconciler.models.spec import Target


@dataclass(frozen=True)
class Reading:
    """The query of a segment runs."""

    target: Target


@dataclass(frozen=True)
class Postponed:
    """Another run is at work on a segment: it comes last."""

    target: Target


@dataclass(frozen=True)
class Queried:
    """The query of a segment has been read to its end, and is compared."""

    target: Target


@dataclass(frozen=True)
class Planned:
    """A segment is planned."""

    plan: SegmentPlan


@dataclass(frozen=True)
class Sending:
    """Batches of a segment are on their way: `done` of `total` ids."""

    target: Target
    done: int
    total: int


@dataclass(frozen=True)
class Waiting:
    """A segment waits `seconds`, because `reason`."""

    target: Target
    seconds: float
    reason: str


@dataclass(frozen=True)
class Created:
    """A segment was made at Customer.io; the target has its number."""

    target: Target


@dataclass(frozen=True)
class Confirming:
    """A segment is read back."""

    target: Target


@dataclass(frozen=True)
class ReadBack:
    """A segment was read back, by `drift` or `refresh`."""

    row: SegmentDrift | RefreshRow


@dataclass(frozen=True)
class Finished:
    """A segment is done."""

    run: SegmentRun


Event = Reading | Queried | Postponed | Planned | Sending | Waiting | Created | Confirming | ReadBack | Finished
