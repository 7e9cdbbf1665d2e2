"""Apply one segment: lock it, plan, check the workspace, send, read back. `apply` does this for each segment."""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.errors import DestinationError, LockHeld, PlanFileError, ReconcileError, SegmentError, as_known
from reconciler.models.events import Confirming, Finished, Planned, Postponed, Reading, Waiting
from reconciler.models.plan import Head, PlanStatus, SegmentPlan
from reconciler.models.results import RunStatus, SegmentRun, Tally
from reconciler.models.spec import Ownership, Target
from reconciler.operations.context import Parts
from reconciler.operations.plan import Compare, PlanOptions, as_problem, fail, plan_segment
from reconciler.operations.read_back import Confirmation, require_app, wait_for_agreement
from reconciler.operations.send import seconds_left, send_batches
from reconciler.operations.workspace import bind, check_before_reading

if TYPE_CHECKING:
    from reconciler.diff.comparison import Changes, Comparison
    from reconciler.state.locked_segment import LockedSegment

log = logging.getLogger(__name__)

Steps = Generator[Head | SegmentPlan, None, SegmentRun]


@dataclass(frozen=True)
class ApplyOptions:
    """How to apply. `confirm` asks for the read-back of every segment; `confirm_timeout` is in seconds."""

    run_id: str
    plan: PlanOptions = field(default_factory=PlanOptions)
    plan_id: str | None = None
    confirm: bool = False
    confirm_timeout: float = 60.0


def apply_segment(
    target: Target,
    parts: Parts,
    options: ApplyOptions,
    *,
    waits: bool = True,
    compare: Compare | None = None,
    inspect: Callable[[int | None], None] | None = None,
) -> Steps:
    """Make one segment equal to its query, or to a plan file (`compare`), in steps.

    Pauses when the segment is locked (yields its head), planned, and checked (yields the plan both times), so that a
    prompt or a plan file can decide about all segments at once. The caller goes on with `next`, or ends it with
    `throw`: then nothing is sent. However it ends, the lock is given back, and the result counts every id that was
    sent. Raises only LockHeld, where it does not wait for a lock (`waits`). `inspect` may refuse an environment.
    """
    started, plan, tally = parts.clock(), None, Tally()
    error: ReconcileError | None = None
    confirmation: Confirmation | None = None
    unmatched: int | None = None
    try:
        _check_stop(parts, compare)
        with (
            parts.store.lock(target, options.run_id, options.plan_id, waits=waits) as segment,
            parts.sets.begin(target) as comparison,
        ):
            started = parts.clock()
            try:
                head = segment.head()
                yield head

                _check_stop(parts, compare)
                parts.report(Reading(target))
                plan, changes = _plan(target, segment, head, comparison, parts, options, compare)
                parts.report(Planned(plan))
                if plan.status is not PlanStatus.BLOCKED:
                    assert plan.counts is not None
                    reads_back = options.confirm or target.segment.confirm
                    changes_anything = plan.has_work or plan.counts.adopt > 0 or reads_back
                    is_checked = not changes_anything
                    yield plan

                    if not is_checked and not parts.stop.is_set():
                        environment_id = parts.preflight()
                        if inspect is not None:
                            inspect(environment_id)
                        bind(target, parts.store, environment_id)
                        is_checked = True
                    yield plan

                    if changes_anything and segment.head().version != plan.head.version:
                        raise _changed_meanwhile(target)
                    if is_checked and plan.counts.adopt:
                        segment.admit(changes.already_there)
                    if is_checked and plan.has_work:
                        if plan.counts.reversed_at is not None:
                            _wait_since(plan.counts.reversed_at, target, segment, parts)
                        sent = send_batches(target, plan.counts, changes, segment, parts)
                        tally, error = sent.tally, sent.error
                        if sent.rejected:
                            segment.reject(sent.rejected)
                        segment.compact()
                    if is_checked and reads_back and error is None and not parts.stop.is_set():
                        confirmation = _confirm(target, segment, comparison, parts, options.confirm_timeout)
                        error = confirmation.error
                        if confirmation.drift and confirmation.drift.lingering:
                            tally = replace(tally, unsettled=segment.count().unsettled)
                    is_whole = is_checked and error is None and not tally.unsettled and _is_all_sent(plan, tally)
                    if is_whole and (plan.has_work or not plan.head.completed or confirmation):
                        segment.complete()
            except Exception as caught:  # one segment's failure never stops the others
                log.debug("applying %s failed", target.label, exc_info=True)
                error = error or as_known(caught)
            unmatched = _count_unmatched(target, segment)
    except LockHeld as caught:
        if not waits:
            parts.report(Postponed(target))
            raise
        error = caught
    except Exception as caught:  # the lock can't be taken, or not be given back: then it ends by its lease
        log.debug("locking or releasing %s failed", target.label, exc_info=True)
        error = error or as_known(caught)

    if plan is None:
        assert error is not None
        run = not_applied(target, error)
    else:
        status = _judge(plan, tally, error)
        if error is None and status is RunStatus.FAILED and tally.rejected:
            error = _all_rejected(target, tally.rejected)
        problem = as_problem(target, error) if error else None
        confirmed = confirmation.agrees if confirmation and confirmation.drift else None
        run = SegmentRun(plan, status, tally, unmatched, problem, confirmed)
    run = replace(run, tally=replace(run.tally, seconds=round(parts.clock() - started, 3)), unmatched=unmatched)
    parts.report(Finished(run))
    return run


def not_applied(target: Target, error: ReconcileError) -> SegmentRun:
    """The result of a segment that could not even be planned."""
    plan = fail(target, error)
    return SegmentRun(plan, _judge(plan, Tally(), error), error=plan.error)


# --- before anything is sent --------------------------------------------------------------------------------------


def _check_stop(parts: Parts, compare: Compare | None) -> None:
    """Raise ReconcileError once the run is to stop; what a plan file has is taken as a whole."""
    if compare is None and parts.stop.is_set():
        raise ReconcileError("stopped before it was planned; nothing was sent", "run it again", code="stopped")


def _plan(
    target: Target,
    segment: "LockedSegment",
    head: Head,
    comparison: "Comparison",
    parts: Parts,
    options: ApplyOptions,
    compare: Compare | None,
) -> tuple[SegmentPlan, "Changes"]:
    """Plan under the lock. Under `exclusive` a plan is made from what is there, which an earlier request may change."""
    app = parts.app
    if target.segment.ownership is Ownership.EXCLUSIVE:
        _wait_for_doubts(target, segment, parts)
        app = check_before_reading(target, head, app, parts.ask_environment, parts.warn)
    return plan_segment(target, head, comparison, app, options.plan, parts.warn, compare)


def _wait_for_doubts(target: Target, segment: "LockedSegment", parts: Parts) -> None:
    """Wait before reading what will be recorded: what an earlier request changes must be there by then.

    Raises SegmentError where a stop cuts the wait short.
    """
    doubtful_at = segment.doubtful_at()
    if doubtful_at is not None and _wait_since(doubtful_at, target, segment, parts):
        raise SegmentError(f"{target.where}: stopped before the segment was read back", "run it again", code="stopped")


def _wait_since(attempted_at: float, target: Target, segment: "LockedSegment", parts: Parts) -> bool:
    """Wait until an attempt has surely arrived, before its ids are reversed; true, at once, once the run is to stop."""
    seconds = seconds_left(attempted_at, segment, target.spec.destination.settle)
    if seconds <= 0:
        return False
    parts.report(Waiting(target, seconds, "an earlier request may still arrive"))
    return parts.stop.wait(seconds)


def _changed_meanwhile(target: Target) -> PlanFileError:
    """A prompt may have taken long."""
    return PlanFileError(
        f"{target.where}: the state changed after the plan was made",
        "run it again to plan anew; nothing was sent",
        code="stale",
    )


# --- read back -------------------------------------------------------------------------------------------


def _confirm(
    target: Target, segment: "LockedSegment", comparison: "Comparison", parts: Parts, timeout: float
) -> Confirmation:
    """Read the segment back until it agrees with the state, and record what was seen. Raises ReconcileError."""
    app = require_app(target, parts.app)
    _wait_for_doubts(target, segment, parts)
    parts.report(Confirming(target, 0))
    confirmation = wait_for_agreement(target, comparison, app, timeout, parts.clock, parts.stop.wait)
    if confirmation.drift is not None:
        segment.record(comparison.examine())
    return confirmation


# --- the end ------------------------------------------------------------------------------------------------------


def _judge(plan: SegmentPlan, tally: Tally, error: ReconcileError | None) -> RunStatus:
    """Say how a segment ended, by what was sent and what went wrong."""
    if error is not None and not tally.touched:
        if isinstance(error, LockHeld):
            return RunStatus.LOCKED
        return RunStatus.STALE if isinstance(error, PlanFileError) else RunStatus.FAILED
    if error is None and plan.status is PlanStatus.BLOCKED:
        return RunStatus.BLOCKED
    if error is not None or tally.unsettled or tally.rejected or not _is_all_sent(plan, tally):
        return RunStatus.PARTIAL if tally.touched else RunStatus.FAILED
    return RunStatus.APPLIED if tally.touched else RunStatus.UNCHANGED


def _is_all_sent(plan: SegmentPlan, tally: Tally) -> bool:
    """Not so after a stop that came in time."""
    counts = plan.counts
    assert counts is not None
    sent = tally.added + tally.removed + tally.resent + tally.rejected
    return sent >= counts.add + counts.remove + counts.resend


def _count_unmatched(target: Target, segment: "LockedSegment") -> int | None:
    try:
        return segment.count().unmatched
    except Exception:  # a number that is not known; the lock must be given back all the same
        log.debug("counting %s failed", target.label, exc_info=True)
        return None


def _all_rejected(target: Target, number: int) -> DestinationError:
    return DestinationError(
        f"{target.where}: Customer.io refused each of the {number:,} ids by itself (400)",
        "check that they are ids of the spec's id_type, as Customer.io knows them; the next run tries them again",
        code="rejected",
    )
