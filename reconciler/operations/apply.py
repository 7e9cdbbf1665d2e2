"""`apply`: make the segments equal to their queries, or send what a plan file holds; and write the history."""

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from reconciler.errors import DestinationError, LockHeld, PlanFileError, ReconcileError, not_confirmed
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT, DEFAULT_PARALLEL
from reconciler.models.events import Event
from reconciler.models.guards import ALLOW_FLAGS
from reconciler.models.plan import Plan, PlanStatus
from reconciler.models.results import Run, RunStatus, SegmentRun, StopSignal
from reconciler.models.spec import Target
from reconciler.operations.actor import find_actor, read_reason
from reconciler.operations.apply_segment import ApplyOptions, Phase, SegmentApply
from reconciler.operations.context import Context
from reconciler.operations.history import RunHistory
from reconciler.operations.load import (
    Loaded,
    Names,
    check_kept,
    refuse_flags,
    refuse_less,
    refuse_shared,
    require_app_keys,
    resolve_allowed,
)
from reconciler.operations.lookups import Lookups
from reconciler.operations.orphans import find_orphans
from reconciler.operations.plan import Compare, PlanOptions, as_undone
from reconciler.operations.plan_checks import bind_new, check_age, check_environment, check_heads, check_number
from reconciler.operations.results import RunResult
from reconciler.operations.rivals import warn_of_rivals
from reconciler.operations.titles import find_shared, resolve, warn_of_former_numbers
from reconciler.plan_file import PLAN_AGAIN, PlanFile, SealedPlan
from reconciler.state.base import Snapshot

if TYPE_CHECKING:
    from reconciler.diff.changes import Changes
    from reconciler.diff.comparison import Comparison

Approve = Callable[[Plan], bool]
"""Is shown the whole plan before anything is sent; False: nothing is."""


def apply(
    loaded: Loaded,
    *,
    confirm: bool = False,
    confirm_timeout: float = 60.0,
    allow_removals: Names = (),
    allow_additions: Names = (),
    allow_empty: Names = (),
    show_ids: int = 0,
    lock_timeout: float = 0.0,
    memory_limit: str | None = None,
    parallel: int = DEFAULT_PARALLEL,
    lookup_timeout: float = DEFAULT_LOOKUP_TIMEOUT,
    reason: str | None = None,
    approve: Approve | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> RunResult:
    """Plan and send every selected segment. `approve` is shown the whole plan first; where it says no, nothing is sent.

    How many members segments have, and what uses them, is asked for that, during at most `lookup_timeout` seconds.
    `reason` is kept in the history.
    Raises UsageError, SpecError and PlanFileError before anything was begun.
    """
    file = loaded.plan_file
    with nullcontext() if file is None else closing(file):
        refuse_less(
            0,
            show_ids=show_ids,
            confirm_timeout=confirm_timeout,
            lock_timeout=lock_timeout,
            lookup_timeout=lookup_timeout,
        )
        if file is not None:
            refuse_flags(
                {"allow_removals": allow_removals, "allow_additions": allow_additions, "allow_empty": allow_empty}
            )
            allowed = {f"{each.workspace}/{each.name}": each.allowed for each in file.plan.segments}
        else:
            refuse_shared(loaded.specs)
            allowed = resolve_allowed(loaded.targets, allow_removals, allow_additions, allow_empty)
        if confirm:
            require_app_keys(loaded.targets, "--confirm")
        plan_id = file.plan.plan_id if file else None
        planning = PlanOptions(allowed, show_ids, is_undo=file is not None and file.plan.undo_of is not None)
        run_id, reason = uuid.uuid4().hex, reason or (file.plan.reason if file else None)
        options = ApplyOptions(run_id, planning, plan_id, confirm, confirm_timeout)
        flags = sorted(f"{ALLOW_FLAGS[guard]} {label}" for label, guards in allowed.items() for guard in guards)
        history = RunHistory(run_id, "apply", flags, plan_id, find_actor(loaded.specs), read_reason(reason))
        with Context(
            loaded.targets, memory_limit, parallel, lock_timeout=lock_timeout, stop=stop, progress=progress
        ) as context:
            lookups = context.enter_context(closing(Lookups(lookup_timeout)))
            return context.observed("apply", _apply(context, loaded, options, history, approve, lookups))


def _apply(
    context: Context,
    loaded: Loaded,
    options: ApplyOptions,
    history: RunHistory,
    approve: Approve | None,
    lookups: Lookups,
) -> RunResult:
    """Apply every segment and write the history.

    A plan that is approved or comes from a file is worked on as a whole, with all its segments locked until its end;
    else each segment goes its own way.
    """
    created_at, file = datetime.now(UTC), loaded.plan_file
    if file is None:
        context.warn_of_specs()
    context.warn_of_names()
    segments = [_prepare(context, index, target, file, options) for index, target in enumerate(context.targets)]

    for at, error in find_shared(context, loaded.specs, [each.target for each in segments]).items():
        segments[at].end(error)
    warn_of_former_numbers(context, loaded.specs, [each.target for each in segments])
    warn_of_rivals(context, loaded.specs, [each.target for each in segments])

    opened = [each for each in segments if each.parts is not None]
    for store, workspace in dict.fromkeys((context.store(each.target), each.target.workspace) for each in opened):
        try:
            history.begin(store, workspace)
        except ReconcileError as error:  # the segments of another state go on
            _end_all([each for each in opened if context.store(each.target) is store], error, file)

    def go_through(each: SegmentApply, *, waits: bool) -> None:
        each.lock(waits)
        each.go_to(Phase.ENDED)

    try:
        if approve is not None or file is not None:
            _go_together(context, segments, file, approve, lookups, created_at)
        else:
            # Segments that another run works on come last, and only then are they waited for: several runs share the
            # work.
            may_postpone = context.lock_timeout > 0
            context.for_each(segments, lambda each: go_through(each, waits=not may_postpone), "segment")
            left = [each for each in segments if each.result is None]
            context.for_each(left, lambda each: go_through(each, waits=True), "segment")
    finally:
        for each in segments:
            if each.steps is not None:
                each.steps.close()  # gives its lock back, wherever it is
    results = tuple(each.result for each in segments if each.result is not None)
    assert len(results) == len(segments)
    signal = context.stop.number if isinstance(context.stop, StopSignal) else None
    orphans = find_orphans(loaded.specs, context.open_snapshot)
    undo_of = None if file is None else file.plan.undo_of
    run = RunResult(options.run_id, created_at, results, tuple(context.warnings), signal, orphans, undo_of=undo_of)
    return history.end(run, spends_plan=is_spent_by(run))


def _prepare(
    context: Context, index: int, target: Target, file: PlanFile | None, options: ApplyOptions
) -> SegmentApply:
    """Open the parts of a segment; a state that can't be opened fails its own segments only."""
    try:
        parts = context.parts(target)
        try:
            context.check_name(target)
        except DestinationError as error:  # it was renamed after the plan was made
            raise error if file is None else PlanFileError(error.message, error.hint) from None
        target = resolve(context, target)
    except ReconcileError as error:
        failed = SegmentApply(target, None, options)
        failed.end(error)
        return failed
    if file is None:
        return SegmentApply(target, parts, options)
    if options.plan.is_undo:
        target = as_undone(target)
    check = partial(check_environment, file.plan, target.workspace)
    check_made = partial(check_number, file.plan, file.plan.segments[index])
    compare = compare_with_file(file, index)
    return SegmentApply(target, parts, options, compare, check_environment=check, check_made=check_made)


# --- all segments together ----------------------------------------------------------------------------------------


def _go_together(
    context: Context,
    segments: Sequence[SegmentApply],
    file: PlanFile | None,
    approve: Approve | None,
    lookups: Lookups,
    created_at: datetime,
) -> None:
    if context.lock_timeout:
        # Runs that hold locks while they wait for others take them one by one in an order that all share, or two would
        # wait for each other.
        for each in sorted(segments, key=lambda each: (each.target.workspace, each.target.segment_id)):
            each.lock()
    else:
        context.for_each(segments, SegmentApply.lock, "segment")
    if file is not None:
        try:
            check_as_a_whole(file.plan, segments, context.snapshot)
            for state in {each.target.spec.state.url: each.target.spec.state for each in segments}.values():
                check_kept(file, state)
        except ReconcileError as error:
            _end_all(segments, error, file)

    context.for_each(segments, lambda each: each.go_to(Phase.PLANNED), "segment")
    _end_all_if_one_ended(segments, file)
    working = [each for each in segments if each.result is None and each.plan is not None and each.plan.has_work]
    if approve is not None and working and not context.stop.is_set():
        for each in working:
            if each.plan is not None:
                lookups.ask(each.plan, context.checked_app(each.target, each.head))
        plans = lookups.fill([each.plan for each in segments if each.plan is not None], context.warn, context.stop)
        undo_of = None if file is None else file.plan.undo_of
        if not approve(Plan(created_at, tuple(plans), tuple(context.warnings), undo_of=undo_of)):
            declined = not_confirmed("nothing was sent", is_stopped=context.stop.is_set())
            for each in working:
                each.end(declined)

    context.for_each(segments, lambda each: each.go_to(Phase.CHECKED), "segment")
    _end_all_if_one_ended(segments, file)
    context.for_each(segments, lambda each: each.go_to(Phase.ENDED), "segment")


def _end_all(segments: Sequence[SegmentApply], error: ReconcileError, file: PlanFile | None) -> None:
    if file is not None:
        file.name_in(error)
    for each in segments:
        each.end(error)


def _end_all_if_one_ended(segments: Sequence[SegmentApply], file: PlanFile | None) -> None:
    """A plan file is sent as a whole, or not at all."""
    if file is not None and any(each.result is not None and not is_done(each.result) for each in segments):
        error = PlanFileError(
            "another segment of the plan file can't be applied; nothing of it was sent",
            f"make a new plan file: {PLAN_AGAIN}",
        )
        _end_all(segments, error, file)


# --- plan files ---------------------------------------------------------------------------------------------------


def check_as_a_whole(
    plan: SealedPlan, segments: Sequence[SegmentApply], snapshot_of: Callable[[Target], Snapshot]
) -> None:
    """Raise PlanFileError or LockHeld unless every segment of a plan file can be applied."""
    for each in segments:
        if each.result is not None and each.result.error is not None:
            kind = LockHeld if each.result.status is RunStatus.LOCKED else PlanFileError
            error = each.result.error
            message = f"{each.target.label} can't be applied, so nothing of the plan was sent: {error.message}"
            raise kind(message, error.hint)
    is_spent = any(snapshot_of(each.target).is_spent(plan.plan_id) for each in segments)
    check_age(plan, datetime.now(UTC), spent=is_spent)
    check_heads(plan, [bind_new(each.head, each.target, snapshot_of(each.target)) for each in segments])


def compare_with_file(file: PlanFile, index: int) -> Compare:
    """Take the changes of segment number `index` of a plan file, in place of its query; of a paused one the numbers."""
    segment = file.plan.segments[index]
    sealed = segment.counts

    def compare(comparison: "Comparison") -> "Changes":
        if sealed.desired is None:
            undone = comparison.resume(file.batches(index), is_undo=True)
            return replace(undone, counts=replace(undone.counts, sent_since=sealed.sent_since))
        changes = comparison.resume(file.batches(index))
        if segment.status is PlanStatus.PAUSED:
            return replace(changes, counts=sealed)
        counts = replace(
            changes.counts,
            desired=sealed.desired,
            unchanged=sealed.desired - changes.counts.add - changes.counts.resend,
            nulls=sealed.nulls,
            invalid=sealed.invalid,
            duplicates=sealed.duplicates,
            missing_sentinels=sealed.missing_sentinels,
            unkeyed=sealed.unkeyed,
        )
        return replace(changes, counts=counts)

    return compare


def is_spent_by(run: Run) -> bool:
    """A plan file is spent once all of it was applied; cut short, it can be applied again."""
    return all(map(is_done, run.segments))


def is_done(run: SegmentRun) -> bool:
    """Tell whether all that a plan says of a segment was done; of a paused one it says that nothing is."""
    return run.status in (RunStatus.APPLIED, RunStatus.UNCHANGED, RunStatus.PAUSED)
