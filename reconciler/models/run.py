"""A run: what was sent and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.models.plan import Problem, SegmentPlan
from reconciler.models.spec import Target


class RunStatus(StrEnum):
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    STALE = "stale"
    LOCKED = "locked"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True)
class Tally:
    """What the sending of one segment came to; all but `seconds` are numbers of ids or requests."""

    added: int = 0
    removed: int = 0
    resent: int = 0
    rejected: int = 0
    unsettled: int = 0
    """Sent in this run, with an unknown outcome."""
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0

    @property
    def touched(self) -> bool:
        """Something was or may have been changed at Customer.io."""
        return bool(self.added or self.removed or self.resent or self.unsettled)


@dataclass(frozen=True)
class SegmentRun:
    """One segment of a run."""

    plan: SegmentPlan
    status: RunStatus
    tally: Tally = Tally()
    unmatched: int | None = None
    """Unmatched ids that the state holds at the end."""
    error: Problem | None = None
    confirmed: bool | None = None
    """The read-back agreed; None where none was asked for or it did not come to an end."""

    @property
    def target(self) -> Target:
        return self.plan.target

    @property
    def unmatched_after(self) -> int | None:
        """Unmatched ids at the end of the run; where nothing was sent they are those of its plan."""
        counts = self.plan.counts
        if self.unmatched is not None or counts is None or self.tally.touched:
            return self.unmatched
        return counts.unmatched


@dataclass(frozen=True)
class Run:
    """All segments of one `apply`."""

    run_id: str
    created_at: datetime
    segments: tuple[SegmentRun, ...]
    warnings: tuple[str, ...] = ()
    stopped_by: int | None = None
    """The signal that stopped it, or None."""
