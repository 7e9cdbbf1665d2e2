"""Surveying: what is there against what the state says (`drift`), and taking it over (`refresh`)."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.customerio.base import App
from reconciler.diff.base import Comparison
from reconciler.errors import ReconcileError, SegmentError, unexpected
from reconciler.models.drift import DriftCounts, DriftStatus, SegmentDrift, judge_drift
from reconciler.models.plan import Head
from reconciler.models.results import RefreshRow, RefreshStatus
from reconciler.models.spec import Target
from reconciler.operations.plan import as_problem, check_environment, check_head, look_up, require_app
from reconciler.operations.read_back import read_back
from reconciler.operations.send import seconds_left

if TYPE_CHECKING:
    from reconciler.state.locked_segment import LockedSegment

log = logging.getLogger(__name__)


def survey(
    target: Target,
    head: Head,
    comparison: Comparison,
    app: App | None,
    ignore_foreign: bool,
    warn: Callable[[str], None],
) -> SegmentDrift:
    """Read the segment back and compare it with the snapshot. What fails is a value."""
    try:
        check_head(target, head)
        reader = require_app(target, app)
        title = look_up(target, head, reader, warn).title
        read_back(target, comparison, reader)
        counts = comparison.drift()
    except ReconcileError as error:
        return SegmentDrift(target, DriftStatus.FAILED, error=as_problem(target, error))
    except Exception as error:  # one segment's failure never stops the others
        log.debug("surveying %s failed", target.label, exc_info=True)
        return SegmentDrift(target, DriftStatus.FAILED, error=as_problem(target, unexpected(error)))
    return SegmentDrift(target, judge_drift(counts, ignore_foreign), counts, title)


class Takeover:
    """One segment of a `refresh`, under its lock: look first, then take over what was seen."""

    def __init__(self, target: Target, held: "LockedSegment", comparison: Comparison, app: App | None) -> None:
        self.target = target
        self._held = held
        self._comparison = comparison
        self._app = app
        self._title: str | None = None
        self._retypes = False
        """The state has the members by another id type."""
        self.counts: DriftCounts | None = None

    def look(self, warn: Callable[[str], None], wait: Callable[[float], bool]) -> DriftCounts:
        """Read the segment back and compare it with the state: once whatever was sent has surely taken effect.

        `wait` waits some seconds, and is true when the command is being stopped.
        """
        app = require_app(self.target, self._app)
        head = self._held.head()
        self._check(head)
        self._title = look_up(self.target, head, app, warn).title
        seconds = seconds_left(self._held.attempted_at(), self._held, self.target.spec.destination.settle)
        if seconds > 0 and wait(seconds):
            raise SegmentError(f"{self.target.where}: stopped before it was looked at", "run it again", code="stopped")
        read_back(self.target, self._comparison, app)
        self.counts = self._comparison.drift()
        return self.counts

    def _check(self, head: Head) -> None:
        """Refuse another environment, and another id type while an outcome is unknown that the old ids alone settle."""
        check_environment(self.target, head)
        self._retypes = head.id_type not in (None, self.target.segment.id_type)
        if not self._retypes:
            return
        unsettled = self._held.count().unsettled
        if unsettled:
            raise SegmentError(
                f"{self.target.where}: the state holds segment {self.target.segment.segment_id} by {head.id_type}, and "
                f"the outcome of {unsettled:,} ids is unknown",
                f"set id_type back to {head.id_type} and apply, which settles them; or forget the segment "
                "(`reconcile state forget SPEC NAME`)",
                code="id_type",
            )

    def take(self, known_only: bool) -> RefreshRow:
        """Make the snapshot equal to what was seen. `known_only` leaves strangers alone."""
        assert self.counts is not None
        if known_only and self._retypes:
            raise SegmentError(
                f"{self.target.where}: the state knows nobody by {self.target.segment.id_type} yet, so `--adopt known` "
                "would take over nobody",
                "give `--adopt all`, and read the next plan before you apply it",
                code="id_type",
            )
        self._held.adopt(self._comparison.adoption(known_only))
        census = self._held.count()
        strangers = self.counts.strangers
        return RefreshRow(
            self.target,
            RefreshStatus.REFRESHED,
            stored=census.stored,
            strangers=strangers,
            adopted=0 if known_only else strangers,
            unsettled=census.unsettled,
            unmatched=census.unmatched,
            lingering=self.counts.lingering,
            unkeyed=self.counts.unkeyed,
            title=self._title,
        )


def fail_refresh(target: Target, error: ReconcileError, status: RefreshStatus = RefreshStatus.FAILED) -> RefreshRow:
    """The row of a segment that could not be refreshed."""
    return RefreshRow(target, status, error=as_problem(target, error))
