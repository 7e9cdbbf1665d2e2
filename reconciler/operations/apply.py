"""`apply`: make the segments equal to their queries, or send what a plan file holds; and write the history."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.errors import LockHeld, PlanFileError, ReconcileError
from reconciler.models.comparison import DEFAULT_MEMORY_LIMIT, DEFAULT_PARALLEL
from reconciler.models.events import Event
from reconciler.models.guards import ALLOW_FLAGS
from reconciler.models.plan import Examples, Head, Plan, SegmentPlan
from reconciler.models.results import Run, RunStatus, SegmentRun, StopSignal
from reconciler.models.spec import Target
from reconciler.operations.apply_segment import ApplyOptions, Steps, apply_segment, not_applied
from reconciler.operations.context import Context, Parts
from reconciler.operations.load import Loaded, Names, refuse_flags, require_app_keys, resolve_allowed
from reconciler.operations.plan import Compare, PlanOptions
from reconciler.operations.results import RunResult
from reconciler.plan_file import PlanFile, SealedPlan, check_age, check_environment, check_heads
from reconciler.render import json
from reconciler.state.base import Snapshot

if TYPE_CHECKING:
    from reconciler.diff.comparison import Changes, Comparison


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
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
    parallel: int = DEFAULT_PARALLEL,
    approve: Callable[[Plan], bool] | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[Event], None] | None = None,
) -> RunResult:
    """Plan and send every selected segment. `approve` is shown the whole plan first; where it says no, nothing is sent.

    Raises UsageError, SpecError and PlanFileError before anything was begun.
    """
    file = loaded.plan_file
    with ExitStack() as stack:
        if file is not None:
            stack.callback(file.close)
            refuse_flags(
                {"allow_removals": allow_removals, "allow_additions": allow_additions, "allow_empty": allow_empty}
            )
            allowed = {f"{each.workspace}/{each.name}": each.allowed for each in file.plan.segments}
        else:
            allowed = resolve_allowed(loaded.targets, allow_removals, allow_additions, allow_empty)
        if confirm:
            require_app_keys(loaded.targets, "--confirm")
        options = ApplyOptions(
            uuid.uuid4().hex,
            PlanOptions(allowed, show_ids),
            file.plan.plan_id if file else None,
            confirm,
            confirm_timeout,
        )
        context = stack.enter_context(
            Context(loaded.targets, memory_limit, parallel, lock_timeout=lock_timeout, stop=stop, progress=progress)
        )
        return _Apply(context, loaded.targets, file, options, approve).run()


class Applying:
    """One segment on its way through `apply_segment`: where it paused, and in the end its result."""

    def __init__(self, target: Target, start: Callable[[bool], Steps] | None) -> None:
        self.target = target
        self.is_opened = start is not None
        """Its state and its workspace could be opened."""
        self._start = start
        self._steps: Steps | None = None
        self.head = Head()
        self.plan: SegmentPlan | None = None
        self.result: SegmentRun | None = None

    def lock(self, waits: bool = True) -> bool:
        """Go as far as the lock. False: it has ended; or another run has the lock, and `waits` is false."""
        if self._start is not None and self.result is None:
            self._steps = self._start(waits)
            try:
                self.go_on()
            except LockHeld:
                self._steps = None
        return self._steps is not None and self.result is None

    def go_on(self) -> None:
        """Go on to the next pause, or to the end."""
        if self._steps is not None and self.result is None:
            self._step(lambda steps: next(steps))

    def end(self, error: ReconcileError) -> None:
        """End it here because of an error; nothing of it was sent."""
        if self.result is None:
            if self._steps is None:
                self.result = not_applied(self.target, error)
                self.plan = self.result.plan
            else:
                self._step(lambda steps: steps.throw(error))

    def close(self) -> None:
        """Give its lock back, wherever it is."""
        if self._steps is not None:
            self._steps.close()

    @property
    def has_work(self) -> bool:
        """Something is to be sent."""
        return self.result is None and self.plan is not None and self.plan.has_work

    def _step(self, step: Callable[[Steps], Head | SegmentPlan]) -> None:
        assert self._steps is not None
        try:
            paused_at = step(self._steps)
        except StopIteration as end:
            self.result = end.value
            self.plan = end.value.plan
        else:
            match paused_at:
                case Head():
                    self.head = paused_at
                case SegmentPlan():
                    self.plan = paused_at


@dataclass(frozen=True)
class _Apply:
    """All segments of one `apply`."""

    context: Context
    targets: Sequence[Target]
    file: PlanFile | None
    options: ApplyOptions
    approve: Callable[[Plan], bool] | None

    def run(self) -> RunResult:
        """Apply every segment and write the history.

        A plan that is approved or comes from a file is worked on as a whole, with all its segments locked until its
        end; else each segment goes its own way.
        """
        context, created_at = self.context, datetime.now(UTC)
        if self.file is None:
            context.warn_of_specs()
        segments = [self._prepare(index, target) for index, target in enumerate(self.targets)]
        self._begin_history(segments)
        try:
            if self.approve is not None or self.file is not None:
                self._go_together(segments, created_at)
            else:
                # Segments that another run works on come last, and only then are they waited for: several runs share
                # the work.
                self._each(segments, lambda each: self._go_through(each, waits=not context.lock_timeout))
                left = [each for each in segments if each.result is None]
                self._each(left, lambda each: self._go_through(each, waits=True))
        finally:
            for each in segments:
                each.close()
        results = tuple(each.result for each in segments if each.result is not None)
        assert len(results) == len(segments)
        signal = context.stop.number if isinstance(context.stop, StopSignal) else None
        return self._end_history(
            segments, RunResult(self.options.run_id, created_at, results, tuple(context.warnings), signal)
        )

    def _prepare(self, index: int, target: Target) -> Applying:
        """Open the parts of a segment; a state that can't be opened fails its own segments only."""
        try:
            parts = self.context.parts(target)
        except ReconcileError as error:
            failed = Applying(target, None)
            failed.end(error)
            return failed
        return Applying(target, lambda waits: self._start(index, target, parts, waits))

    def _start(self, index: int, target: Target, parts: Parts, waits: bool) -> Steps:
        if self.file is None:
            return apply_segment(target, parts, self.options, waits=waits)
        sealed = self.file.plan
        return apply_segment(
            target,
            parts,
            self.options,
            waits=waits,
            compare=compare_with_file(self.file, index),
            inspect=lambda environment_id: check_environment(sealed, target.workspace, environment_id),
        )

    def _each(self, segments: Sequence[Applying], step: Callable[[Applying], object]) -> None:
        self.context.for_each(segments, step, "segment")

    def _go_through(self, each: Applying, waits: bool) -> None:
        if each.lock(waits):
            while each.result is None:
                each.go_on()

    # --- all segments together ------------------------------------------------------------------------------------

    def _go_together(self, segments: Sequence[Applying], created_at: datetime) -> None:
        self._lock(segments)
        if self.file is not None:
            try:
                check_as_a_whole(self.file.plan, segments, self.context.snapshot)
            except ReconcileError as error:
                self._end_all(segments, error)
        self._each(segments, Applying.go_on)  # until they are planned
        self._end_all_if_one_ended(segments)
        if self.approve is not None:
            self._ask(segments, created_at, self.approve)
        self._each(segments, Applying.go_on)  # until their workspaces are checked
        self._end_all_if_one_ended(segments)
        self._each(segments, Applying.go_on)

    def _lock(self, segments: Sequence[Applying]) -> None:
        """Runs that hold locks while they wait for others take them one by one in an order that all share, or two
        would wait for each other."""
        if not self.context.lock_timeout:
            self._each(segments, Applying.lock)
            return
        for each in sorted(segments, key=lambda each: (each.target.workspace, each.target.segment.segment_id)):
            each.lock()

    def _ask(self, segments: Sequence[Applying], created_at: datetime, approve: Callable[[Plan], bool]) -> None:
        """Ask for approval of what is to be sent."""
        context = self.context
        working = [each for each in segments if each.has_work]
        if not working or context.stop.is_set():
            return
        plans = tuple(each.plan for each in segments if each.plan is not None)
        if approve(Plan(created_at, plans, tuple(context.warnings))):
            return
        error = ReconcileError("not confirmed; nothing was sent", "answer yes, or give --yes", code="declined")
        if context.stop.is_set():
            error = ReconcileError("stopped before it was confirmed; nothing was sent", "run it again", code="stopped")
        for each in working:
            each.end(error)

    def _end_all(self, segments: Sequence[Applying], error: ReconcileError) -> None:
        if self.file is not None:
            self.file.name_in(error)
        for each in segments:
            each.end(error)

    def _end_all_if_one_ended(self, segments: Sequence[Applying]) -> None:
        """A plan file is sent as a whole, or not at all."""
        if self.file is not None and any(each.result is not None for each in segments):
            self._end_all(
                segments,
                PlanFileError(
                    "another segment of the plan file can't be applied; nothing of it was sent",
                    "make a new plan file: reconcile plan SPEC... --out FILE",
                ),
            )

    # --- history --------------------------------------------------------------------------------------------------

    def _places(self, segments: Sequence[Applying]) -> Iterator[Target]:
        """One segment of each state and workspace that could be opened."""
        seen: set[tuple[int, str]] = set()
        for each in filter(lambda each: each.is_opened, segments):
            place = (id(self.context.store(each.target)), each.target.workspace)
            if place not in seen:
                seen.add(place)
                yield each.target

    def _begin_history(self, segments: Sequence[Applying]) -> None:
        allowed = self.options.plan.allowed
        flags = sorted(f"{ALLOW_FLAGS[guard]} {label}" for label, guards in allowed.items() for guard in guards)
        for target in self._places(segments):
            store = self.context.store(target)
            try:
                store.begin(self.options.run_id, target.workspace, "apply", flags, self.options.plan_id)
            except ReconcileError as error:  # the segments of another state go on
                opened = [each for each in segments if each.is_opened]
                self._end_all([each for each in opened if self.context.store(each.target) is store], error)

    def _end_history(self, segments: Sequence[Applying], run: RunResult) -> RunResult:
        """Write the run into the history of each state. A failure is a warning, unless a segment has the error."""
        # The example ids of `--show-ids` do not go into the history.
        segments_without_ids = (replace(each, plan=replace(each.plan, examples=Examples())) for each in run.segments)
        document = json.dump(json.document(replace(run, segments=tuple(segments_without_ids))))
        warnings = []
        for target in self._places(segments):
            store = self.context.store(target)
            try:
                if self.file is not None and is_spent_by(run):
                    store.spend(self.file.plan.plan_id)
                store.end(run.run_id, target.workspace, run.exit_code, document, run)
            except ReconcileError as error:
                if all(segment.error is None for segment in run.segments):
                    warnings.append(f"this run can't be written into the history: {error.message}")
        return replace(run, warnings=(*run.warnings, *warnings))


def check_as_a_whole(plan: SealedPlan, segments: Sequence[Applying], snapshot_of: Callable[[Target], Snapshot]) -> None:
    """Raise PlanFileError or LockHeld unless every segment of a plan file can be applied."""
    for each in segments:
        if each.result is not None and each.result.error is not None:
            kind = LockHeld if each.result.status is RunStatus.LOCKED else PlanFileError
            error = each.result.error
            message = f"{each.target.label} can't be applied, so nothing of the plan was sent: {error.message}"
            raise kind(message, error.hint)
    is_spent = any(snapshot_of(each.target).is_spent(plan.plan_id) for each in segments)
    check_age(plan, datetime.now(UTC), spent=is_spent)
    check_heads(plan, [each.head for each in segments])


def compare_with_file(file: PlanFile, index: int) -> Compare:
    """Take the changes of segment number `index` of a plan file, in place of its query."""
    sealed = file.plan.segments[index].counts

    def compare(comparison: "Comparison") -> "Changes":
        changes = comparison.resume(file.batches(index))
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
    return all(each.status in (RunStatus.APPLIED, RunStatus.UNCHANGED) for each in run.segments)
