"""Surveying: what is there against what the state says (`drift`), and taking it over (`refresh`)."""

import logging
from collections.abc import Callable

from reconciler.core.drift import DriftCounts, DriftStatus, SegmentDrift, judge_drift
from reconciler.core.plan import Head
from reconciler.core.report import RefreshRow, RefreshStatus
from reconciler.core.spec import Target
from reconciler.engine.planning import as_problem, check_head, look_up, require_app, unexpected
from reconciler.engine.ports import App, Comparison, HeldSegment
from reconciler.engine.verifying import read_back
from reconciler.errors import ReconcileError

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
        return SegmentDrift(target, DriftStatus.FAILED, error=as_problem(error))
    except Exception as error:  # one segment's failure never stops the others
        log.debug("surveying %s failed", target.label, exc_info=True)
        return SegmentDrift(target, DriftStatus.FAILED, error=as_problem(unexpected(error)))
    return SegmentDrift(target, judge_drift(counts, ignore_foreign), counts, title)


class Takeover:
    """One segment of a `refresh`, under its lock: look first, then take over what was seen."""

    def __init__(self, target: Target, held: HeldSegment, comparison: Comparison, app: App | None) -> None:
        self.target = target
        self._held = held
        self._comparison = comparison
        self._app = app
        self._title: str | None = None
        self.counts: DriftCounts | None = None

    def look(self, warn: Callable[[str], None]) -> DriftCounts:
        """Read the segment back and compare it with the state."""
        app = require_app(self.target, self._app)
        head = self._held.head()
        check_head(self.target, head)
        self._title = look_up(self.target, head, app, warn).title
        read_back(self.target, self._comparison, app)
        self.counts = self._comparison.drift()
        return self.counts

    def take(self, known_only: bool) -> RefreshRow:
        """Make the snapshot equal to what was seen. `known_only` leaves strangers alone."""
        assert self.counts is not None
        self._held.adopt(self._comparison.adoption(known_only))
        census = self._held.census()
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
    return RefreshRow(target, status, error=as_problem(error))
