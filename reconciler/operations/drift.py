"""`drift`: compare the members at Customer.io with the snapshot. Changes nothing."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.customerio import App
from reconciler.errors import DestinationError, StateError, as_known
from reconciler.models.comparison import DEFAULT_PARALLEL, DriftCounts
from reconciler.models.events import Confirming, Event, ReadBack
from reconciler.models.plan import Head
from reconciler.models.results import DriftStatus, SegmentDrift
from reconciler.models.spec import Target
from reconciler.operations.actor import find_actor
from reconciler.operations.context import Context
from reconciler.operations.load import Loaded, refuse_plan_file, refuse_shared, require_app_keys
from reconciler.operations.notify import tell
from reconciler.operations.read_back import find_unmatched, read_back
from reconciler.operations.results import DriftResult, as_problem
from reconciler.operations.titles import find_shared, recall, resolve_made
from reconciler.operations.workspace import check_head, look_up

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison

log = logging.getLogger(__name__)


def drift(
    loaded: Loaded,
    *,
    ignore_foreign: bool = False,
    memory_limit: str | None = None,
    parallel: int = DEFAULT_PARALLEL,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> DriftResult:
    """Compare the members of every selected segment with the snapshot. `ignore_foreign`: others may add members.

    Raises UsageError, and SpecError where an App API key is missing.
    """
    refuse_plan_file(loaded, "drift")
    require_app_keys(loaded.targets, "drift")
    refuse_shared(loaded.specs)
    created_at = datetime.now(UTC)
    with Context(loaded.targets, memory_limit, parallel, reads_only=True, stop=stop, progress=progress) as context:
        context.warn_of_names()
        shared = find_shared(context, loaded.specs, loaded.targets)

        def work(each: tuple[int, Target]) -> SegmentDrift:
            found = _drift_of_one(context, each[1], ignore_foreign, shared.get(each[0]))
            context.report(ReadBack(found))
            return found

        segments = context.for_each(enumerate(loaded.targets), work, "drift")
        found = DriftResult(created_at, tuple(segments), tuple(context.warnings))
        return context.observed("drift", tell("drift", found, find_actor(loaded.specs), {}))


def _drift_of_one(
    context: Context, target: Target, ignore_foreign: bool, refusal: DestinationError | None
) -> SegmentDrift:
    """Compare one segment. One that fails has the numbers that the state holds, where that can be read."""
    try:
        context.check_stop()
        if refusal is not None:
            raise refusal
        context.check_name(target)
        target = recall(target, context.snapshot(target).listings(target.workspace))
        target = resolve_made(context, target)
        head = context.snapshot(target).head(target.workspace, target.segment_id)
        context.report(Confirming(target))
        with context.sets().begin(target) as comparison:
            app = context.checked_app(target, head)
            return compare_segment(target, head, comparison, app, ignore_foreign, context.warn)
    except Exception as error:  # one segment's failure never stops the others
        log.debug("the drift of %s failed", target.label, exc_info=True)
        failed = SegmentDrift(target, DriftStatus.FAILED, error=as_problem(target, as_known(error)))
    try:
        with context.snapshot(target).read_segment(target.workspace, target.segment_id) as stored:
            counts = stored.count()
    except StateError:
        return failed
    return replace(failed, stored=counts.stored, unmatched=counts.unmatched)


def compare_segment(
    target: Target,
    head: Head,
    comparison: "Comparison",
    app: App | None,
    ignore_foreign: bool,
    warn: Callable[[str], None],
) -> SegmentDrift:
    """Read the segment back and compare it with the snapshot. Raises ReconcileError."""
    check_head(target, head)
    doubts: list[str] = []
    title = look_up(target, app, doubts.append).title
    read_back(target, comparison, app)
    for doubt in doubts:  # now, as a read-back that fails for the same reason says it
        warn(doubt)
    counts = comparison.drift()
    status, error = judge_drift(counts, ignore_foreign), find_unmatched(target, counts.unmatched_after, counts.held)
    if error is not None:
        return SegmentDrift(target, DriftStatus.DRIFTED, counts, title, as_problem(target, error))
    return SegmentDrift(target, status, counts, title)


def judge_drift(counts: DriftCounts, ignore_foreign: bool) -> DriftStatus:
    """Missing members are drift, and so are foreign ones of our own; strangers unless others may add to the segment."""
    foreign = counts.foreign - counts.strangers if ignore_foreign else counts.foreign
    return DriftStatus.DRIFTED if counts.missing or foreign else DriftStatus.IN_SYNC
