"""Apply one segment: lock it, plan, check the workspace, send, read back. `apply` does this for each segment."""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING

from reconciler.errors import DestinationError, LockHeld, ReconcileError, SegmentError, StaleError, as_known
from reconciler.models.comparison import Counts
from reconciler.models.events import Confirming, Created, Finished, Planned, Postponed, Reading, Sending
from reconciler.models.history import Reason
from reconciler.models.plan import Head, PlanStatus, SegmentPlan
from reconciler.models.results import RunStatus, SegmentRun, Tally
from reconciler.models.spec import Target
from reconciler.operations.context import Parts
from reconciler.operations.creation import (
    CheckMade,
    ask_to_create,
    check_absent,
    explain_unknown,
    find_made,
)
from reconciler.operations.plan import Compare, PlanOptions, plan_segment, warn_of_restored
from reconciler.operations.read_back import (
    Confirmation,
    find_unmatched,
    seconds_left,
    shows_what_was_sent,
    wait_for_agreement,
    wait_for_arrival,
    warn_of_unmatched,
)
from reconciler.operations.results import as_failed_plan, as_problem
from reconciler.operations.send import send_batches
from reconciler.operations.titles import check_arrival
from reconciler.operations.workspace import END_OF_DELETED, bind, check_before_reading

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison
    from reconciler.state.locked_segment import LockedSegment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApplyOptions:
    """How to apply. `confirm` asks for the read-back of every segment; `confirm_timeout` is in seconds."""

    run_id: str
    plan: PlanOptions = field(default_factory=PlanOptions)
    plan_id: str | None = None
    confirm: bool = False
    confirm_timeout: float = 60.0


class Phase(IntEnum):
    """How far the apply of a segment has come: it can pause after each."""

    NEW = 0
    LOCKED = 1
    PLANNED = 2
    CHECKED = 3
    """The workspace is the right one, where anything is to be written."""
    ENDED = 4


@dataclass(eq=False)
class SegmentApply:
    """Makes one segment equal to its query, or to a plan file (`compare`), phase by phase.

    It pauses between the phases where it is told to, so that a prompt or a plan file can decide about all segments at
    once. However it ends, the lock is given back, and the result counts every id that was sent.
    """

    target: Target
    parts: Parts | None
    """None where the state or the workspace can't be opened."""
    options: ApplyOptions
    compare: Compare | None = None
    check_environment: Callable[[int | None], None] | None = None
    """May refuse the environment of the keys; raises ReconcileError."""
    check_made: CheckMade | None = None

    head: Head = field(default_factory=Head)
    """As of the lock."""
    plan: SegmentPlan | None = None
    made: "LockedSegment | None" = None
    """Under the lock of its number, once it was created."""
    tally: Tally = field(default_factory=Tally)
    confirmation: Confirmation | None = None
    forgotten: bool = False
    paused: float = 0.0
    """Seconds for which it waited for the other plans and for an answer."""
    error: ReconcileError | None = None
    result: SegmentRun | None = None
    phase: Phase = Phase.NEW
    steps: Generator[Phase, None, None] | None = None
    """Once it is locked; to be closed."""

    def lock(self, waits: bool = True) -> None:
        """Go as far as the lock. Where another run has it, and this does not wait for it, nothing has begun."""
        if self.parts is not None and self.result is None:
            self.steps = self._run(self.parts, waits)
            try:
                self.go_to(Phase.LOCKED)
            except LockHeld:
                self.steps = None

    def go_to(self, phase: Phase) -> None:
        """Go on until this phase is reached, or it has ended before; nothing where it has no lock."""
        while self.steps is not None and self.result is None and self.phase < phase:
            self.phase = next(self.steps, Phase.ENDED)

    def end(self, error: ReconcileError) -> None:
        """End it at a pause because of an error: nothing of it is sent."""
        if self.result is not None:
            return
        if self.steps is None:
            self.error = error
            self.result = self._conclude()
        else:
            with suppress(StopIteration):
                self.steps.throw(error)

    # --- the steps ------------------------------------------------------------------------------------------------

    def _run(self, parts: Parts, waits: bool) -> Generator[Phase, None, None]:
        """Take the steps. Raises only LockHeld, where it does not wait for the lock."""
        started = parts.clock()
        unmatched: int | None = None
        members: int | None = None
        if self.target.segment.retired and self.target.segment.segment_id is None:
            yield from self._run_unknown(parts)
            return
        try:
            self._check_stop(parts)
            with (
                self._lock(parts, waits) as segment,
                parts.sets.begin(self.target) as comparison,
                ExitStack() as held,
            ):
                started = parts.clock()
                try:
                    yield from self._run_locked(parts, segment, comparison, held)
                except Exception as caught:  # one segment's failure never stops the others
                    log.debug("applying %s failed", self.target.label, exc_info=True)
                    self.error = self.error or as_known(caught)
                try:
                    segment = self.made or segment
                    if self.plan is not None and not self.forgotten:
                        segment.keep_listing(self.plan.head, self.plan.title)
                        self._flush(parts, segment)
                    counted = segment.count()
                    unmatched, members = counted.unmatched, counted.stored
                except Exception:  # a number that is not known; the lock must be given back all the same
                    log.debug("counting %s failed", self.target.label, exc_info=True)
        except LockHeld as caught:
            if not waits:
                parts.report(Postponed(self.target))
                raise
            self.error = caught
        except Exception as caught:  # the lock can't be taken, or not be given back: then it ends by its lease
            log.debug("locking or releasing %s failed", self.target.label, exc_info=True)
            self.error = self.error or as_known(caught)
        run = self._conclude()
        tally = replace(run.tally, seconds=round(parts.clock() - started - self.paused, 3))
        self.result = replace(run, tally=tally, unmatched=unmatched, members=members)
        parts.report(Finished(self.result))

    def _run_unknown(self, parts: Parts) -> Generator[Phase, None, None]:
        """Take the steps of a retired segment with a title that the state does not know: nobody is held."""
        status = PlanStatus.PAUSED if self.target.segment.paused else PlanStatus.UNCHANGED
        try:
            yield Phase.LOCKED
            self.plan = SegmentPlan(self.target, status, counts=Counts())
            parts.report(Planned(self.plan))
            yield Phase.PLANNED
        except ReconcileError as error:  # of the whole, as of a plan file that is spent
            self.error = error
        self.result = self._conclude()
        parts.report(Finished(self.result))

    @contextmanager
    def _lock(self, parts: Parts, waits: bool) -> Iterator["LockedSegment"]:
        """Take the segment's lock; where it is to be created that of its title, unless another run has made it."""
        options, reason = self.options, Reason.UNDO if self.options.plan.is_undo else None
        take = partial(parts.store.lock, run_id=options.run_id, command="apply", plan_id=options.plan_id, reason=reason)
        with ExitStack() as locks:
            segment = locks.enter_context(take(self.target, waits=waits))
            if self.target.segment.segment_id is None:
                self.target = find_made(self.target, segment, parts)
                if self.target.segment.segment_id is not None:
                    segment = locks.enter_context(take(self.target, waits=waits))
            if self.check_made is not None:
                self.check_made(self.target.segment.segment_id, segment.creations.find())
            yield segment

    def _run_locked(
        self, parts: Parts, segment: "LockedSegment", comparison: "Comparison", held: ExitStack
    ) -> Generator[Phase, None, None]:
        """`held` is left right after: a segment that is created has a lock of its own."""
        target, options, app = self.target, self.options, parts.app
        self.head = segment.head()
        if self.head.restored:  # now, as a plan file is refused before it is planned
            parts.warn(warn_of_restored(target))
        yield Phase.LOCKED

        self._check_stop(parts)
        parts.report(Reading(target))
        if target.segment.reads_members:  # its plan is made from what is there
            self._wait_for_doubts(parts, segment)
            app = check_before_reading(target, self.head, app, parts.ask_environment, parts.warn)
        plan, changes = plan_segment(target, self.head, comparison, app, options.plan, parts.warn, self.compare)
        self.plan = plan
        parts.report(Planned(plan))
        if plan.status in (PlanStatus.BLOCKED, PlanStatus.PAUSED):
            return
        counts = plan.counts
        assert counts is not None
        reads_back = options.confirm or target.segment.confirm
        if target.segment.retired and not plan.has_work:  # only what an earlier run removed may be left to read back
            reads_back = reads_back and not plan.head.is_new and not plan.head.confirmed
        if not reads_back:  # which tells what is so now
            warn_of_unmatched(target, counts.unmatched, counts.held_by_state, parts.warn)
        changes_anything = plan.has_work or counts.adopt > 0 or reads_back
        may_go_on = not changes_anything  # else once the workspace is checked, which a stop leaves out
        paused_at = parts.clock()
        try:
            yield Phase.PLANNED
        finally:
            self.paused = parts.clock() - paused_at

        if changes_anything and not parts.stop.is_set():
            environment_id = parts.preflight()
            if self.check_environment is not None:
                self.check_environment(environment_id)
            bind(target, parts.store, environment_id)
            if plan.creates:
                check_absent(target, parts, options.plan_id)
            may_go_on = True
        yield Phase.CHECKED

        if changes_anything and segment.head().version != plan.head.version:  # a prompt may have taken long
            raise StaleError(
                f"{target.where}: the state changed after the plan was made",
                "run it again to plan anew; nothing was sent",
            )
        if may_go_on and plan.creates:
            segment, comparison = held.enter_context(self._create(parts, segment, plan))
            target, plan = self.target, self.plan
        if may_go_on and counts.adopt:
            segment.add_found(changes.already_there, Reason.ADOPTED)
        if may_go_on and plan.has_work:
            segment.bring_here(changes.stored_additions)
            if counts.reversed_at is not None:
                self._wait_since(parts, segment, counts.reversed_at)
            parts.report(Sending(target, 0, counts.add + counts.remove + counts.resend))
            sent = send_batches(target, counts, changes, segment, parts)
            self.tally, self.error = replace(sent.tally, created=self.tally.created), sent.error
            if sent.rejected:
                segment.reject(sent.rejected)
            segment.compact()

        if may_go_on and reads_back and self.error is None and not parts.stop.is_set():
            self._wait_for_doubts(parts, segment)
            parts.report(Confirming(target))
            timeout, clock, pause = options.confirm_timeout, parts.clock, parts.stop.wait
            found = wait_for_agreement(target, comparison, parts.app, timeout, clock, pause)
            if target.segment.segment is not None and parts.app is not None:
                check_arrival(target, found, self.tally.added, parts.list_known(), parts.app.segments())
            if found.drift is not None:
                proves = shows_what_was_sent(found.drift, self.tally.added, counts.adopt, plan.head)
                segment.record(comparison.examine(), proves=proves)
            self.confirmation, self.error = found, found.error
            if found.drift is not None:
                after = segment.count()
                self.error = find_unmatched(target, after.unmatched, after.held)
                if found.drift.lingering:
                    self.tally = replace(self.tally, unsettled=after.unsettled)

        is_whole = may_go_on and self.error is None and not self.tally.unsettled and is_all_sent(plan, self.tally)
        if target.segment.retired:
            is_confirmed = not reads_back or (self.confirmation is not None and self.confirmation.agrees)
            if is_whole and is_confirmed and not plan.head.is_new:
                self.forgotten = self._forget(parts, segment)
        elif is_whole and plan.is_undo and not plan.head.completed:
            pass  # a first fill that was cut short has not come to its end by being undone
        elif is_whole and (plan.has_work or not plan.head.completed or self.confirmation):
            segment.complete()

    @contextmanager
    def _create(
        self, parts: Parts, segment: "LockedSegment", plan: SegmentPlan
    ) -> Iterator[tuple["LockedSegment", "Comparison"]]:
        """Create the segment under the lock of its title, then take the lock of its number."""
        segment.creations.begin()
        self.tally = Tally(created=True)  # until it is certain that it was not
        answer = ask_to_create(self.target, segment, parts)
        if not answer.may_be_applied:
            self.tally = Tally()
            segment.creations.end(None)
            message = f"{self.target.where}: segment {self.target.segment.segment!r} was not created: {answer.message}"
            raise DestinationError(message, answer.hint, code="creation")
        if answer.segment_id is None:
            raise explain_unknown(self.target, answer)
        segment.creations.end(answer.segment_id)
        self.target = self.target.changed(segment_id=answer.segment_id)
        self.plan = replace(plan, target=self.target)
        parts.report(Created(self.target))
        with self._lock(parts, waits=True) as made, parts.sets.begin(self.target) as comparison:
            if not made.head().is_new:
                raise StaleError(
                    f"{self.target.where}: Customer.io gave the new segment the number {answer.segment_id}, which the "
                    "state knows already",
                    f"forget what it knows: `reconcile state forget SPEC id:{answer.segment_id}`",
                )
            self.made = made
            yield made, comparison

    def _check_stop(self, parts: Parts) -> None:
        """Raise ReconcileError once the run is to stop; what a plan file has is taken as a whole."""
        if self.compare is None and parts.stop.is_set():
            raise ReconcileError("stopped before it was planned; nothing was sent", "run it again", code="stopped")

    def _wait_for_doubts(self, parts: Parts, segment: "LockedSegment") -> None:
        """Wait before reading what will be recorded: what an earlier request changes must be there by then.

        Raises SegmentError where a stop cuts the wait short.
        """
        doubtful_at = segment.doubtful_at()
        if doubtful_at is not None and self._wait_since(parts, segment, doubtful_at):
            message = f"{self.target.where}: stopped before the segment was read back"
            raise SegmentError(message, "run it again", code="stopped")

    def _flush(self, parts: Parts, segment: "LockedSegment") -> None:
        """Bring what was sent to members at the source; where that fails the state keeps it for the next run."""
        try:
            segment.flush()
        except Exception as error:
            log.debug("flushing %s failed", self.target.label, exc_info=True)
            known = as_known(error)
            parts.warn(
                f"{self.target.label}: what was sent is recorded in the state, and not yet at the source, which the "
                f"next run does: {known.message}. {known.hint}"
            )

    def _forget(self, parts: Parts, segment: "LockedSegment") -> bool:
        """Let the state forget the segment, once nothing of it can still arrive; not if a stop cuts the wait short."""
        doubtful_at = segment.doubtful_at()
        if doubtful_at is not None and self._wait_since(parts, segment, doubtful_at):
            return False
        return segment.forget()

    def _wait_since(self, parts: Parts, segment: "LockedSegment", attempted_at: float) -> bool:
        """Wait until an attempt has surely arrived, before its ids are reversed; true, at once, once it is to stop."""
        seconds = seconds_left(attempted_at, segment, self.target.spec.destination.settle)
        if seconds <= 0:
            return False
        return wait_for_arrival(self.target, seconds, parts.report, parts.stop.wait)

    # --- the end --------------------------------------------------------------------------------------------------

    def _conclude(self) -> SegmentRun:
        """The result, by what was sent and what went wrong; a segment that could not be planned has a failed plan."""
        tally, error = self.tally, self.error
        if self.plan is None:
            assert error is not None
            self.plan = as_failed_plan(self.target, error)
        plan = self.plan
        if error is not None and error.code == "max_unmatched":
            status = RunStatus.PARTIAL
        elif error is not None and not tally.touched:
            status = RunStatus.STALE if isinstance(error, StaleError) else RunStatus.FAILED
            if isinstance(error, LockHeld):
                status = RunStatus.LOCKED
        elif error is None and plan.status is PlanStatus.BLOCKED:
            status = RunStatus.BLOCKED
        elif error is None and plan.status is PlanStatus.PAUSED:
            status = RunStatus.PAUSED
        elif error is not None or tally.unsettled or tally.rejected or not is_all_sent(plan, tally):
            status = RunStatus.PARTIAL if tally.touched else RunStatus.FAILED
        else:
            status = RunStatus.APPLIED if tally.touched else RunStatus.UNCHANGED
        if error is None and status is RunStatus.FAILED and tally.rejected:
            error = DestinationError(
                f"{self.target.where}: Customer.io refused "
                + (
                    "the one id (400)" if tally.rejected == 1 else f"each of the {tally.rejected:,} ids by itself (400)"
                ),
                "check the spec's id_type, and that Customer.io knows such ids; the next run tries again",
                code="rejected",
            )
        if error is not None and error.code == "refused" and self.target.segment.retired:
            error.hint += (
                f"; {END_OF_DELETED}{self.target.segment_id}`"  # without an App key nobody knows that it is gone
            )
        problem = as_problem(self.target, error) if error else None
        problem = plan.error or problem
        result = SegmentRun(plan, status, tally, error=problem, forgotten=self.forgotten)
        if self.confirmation is None or self.confirmation.drift is None:
            return result
        return replace(result, confirmed=self.confirmation.agrees, strangers=self.confirmation.drift.strangers)


def is_all_sent(plan: SegmentPlan, tally: Tally) -> bool:
    """Return whether every change of a plan was sent or refused by itself; not so after a stop that came in time."""
    counts = plan.counts
    assert counts is not None
    sent = tally.added + tally.removed + tally.resent + tally.rejected
    return sent >= counts.add + counts.remove + counts.resend
