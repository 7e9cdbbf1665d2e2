"""Applying: plan under the lock, send, read back, and bring each segment to an orderly end."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.customerio.base import App, Track
from reconciler.diff.base import Comparison, SetEngine
from reconciler.errors import DestinationError, LockHeld, PlanFileError, ReconcileError, SegmentError
from reconciler.models.counts import Counts
from reconciler.models.events import Confirming, Finished, Planned, Postponed, Reading, Reporter, Waiting
from reconciler.models.plan import Head, PlanStatus, Problem, RemoteFacts, SegmentPlan
from reconciler.models.run import RunStatus, SegmentRun, Tally
from reconciler.models.spec import Ownership, Target
from reconciler.operations.plan import (
    PlanOptions,
    as_known,
    as_problem,
    check_head,
    describe,
    environment_mismatch,
    fail,
    look_up_if_needed,
    plan_segment,
    require_app,
)
from reconciler.operations.read_back import Confirmation, read_back, wait_for_agreement
from reconciler.operations.send import Delivery, Stop, seconds_left
from reconciler.operations.workspace import check_before_reading

if TYPE_CHECKING:
    from reconciler.state.locked_segment import LockedSegment
    from reconciler.state.store import StateStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What one segment is worked on with."""

    ledger: "StateStore"
    sets: SetEngine
    track: Track
    app: App | None
    pool: Executor
    stop: Stop
    reporter: Reporter
    clock: Callable[[], float]
    """Seconds that never go back."""
    warn: Callable[[str], None]
    ask_environment: Callable[[], int | None]
    """The environment id of the Track API's keys, None where it can't be had."""


@dataclass(frozen=True)
class ApplyOptions:
    """How to apply. `confirm` asks for the read-back of every segment; `confirm_timeout` is in seconds."""

    run_id: str
    plan: PlanOptions = field(default_factory=PlanOptions)
    plan_id: str | None = None
    confirm: bool = False
    confirm_timeout: float = 60.0


Resume = Callable[[Comparison], Counts]
"""Takes a sealed plan's changes instead of running the query; may raise PlanFileError once the lock is held."""


class Session:
    """One segment of an apply, from its lock to its release. The methods are called in this order, each once; `lock`
    again where it left another run's lock alone."""

    def __init__(self, target: Target, parts: Parts, options: ApplyOptions) -> None:
        self.target = target
        self._parts = parts
        self._options = options
        self._stack = ExitStack()
        self._held: LockedSegment | None = None
        self._comparison: Comparison | None = None
        self._started = parts.clock()
        self._tally = Tally()
        self.plan = SegmentPlan(target, PlanStatus.FAILED)
        self.result: SegmentRun | None = None

    # --- lock and plan --------------------------------------------------------------------------------------------

    def lock(self, waits: bool = True) -> bool:
        """Take the lock. If that fails, `result` says how, and nothing is held any more.

        Without `waits`, a lock that another run holds is no failure: there is no `result`, and it may be tried again.
        """
        with self._ending_on_error():
            try:
                self._open(waits)
            except LockHeld:
                if waits:
                    raise
                self._parts.reporter.tell(Postponed(self.target))
        return self._held is not None

    def head(self) -> Head:
        """What the state says, under the lock."""
        assert self._held is not None
        return self._held.head()

    def prepare(self, resume: Resume | None = None) -> None:
        """Plan under the lock. If that fails or a guard trips, `result` says how, and nothing is held any more."""
        if self.result is not None:
            return
        with self._ending_on_error():
            self.plan = self._make_plan(resume)
        if self.result is None:
            self._parts.reporter.tell(Planned(self.plan))
            self._end_if_stopped_by_plan()

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        try:
            yield
        except LockHeld as error:
            self._end_without(RunStatus.LOCKED, error)
        except PlanFileError as error:
            self._end_without(RunStatus.STALE, error)
        except Exception as error:  # one segment's failure never stops the others
            log.debug("preparing %s failed", self.target.label, exc_info=True)
            self._end_without(RunStatus.FAILED, as_known(error))

    def _open(self, waits: bool) -> None:
        self._held = self._stack.enter_context(
            self._parts.ledger.lock(self.target, self._options.run_id, self._options.plan_id, waits=waits)
        )
        self._started = self._parts.clock()
        self._comparison = self._stack.enter_context(self._parts.sets.open(self.target))

    def _make_plan(self, resume: Resume | None) -> SegmentPlan:
        assert self._held is not None
        assert self._comparison is not None
        parts, comparison, head = self._parts, self._comparison, self._held.head()
        parts.reporter.tell(Reading(self.target))
        if self.target.segment.ownership is Ownership.EXCLUSIVE:
            self._wait_for_doubts(self._held)
        app = self._check_app(head)
        if resume is None:
            return plan_segment(self.target, head, comparison, app, self._options.plan, parts.warn)

        def take_sealed() -> tuple[Counts, RemoteFacts]:
            check_head(self.target, head)
            if self.target.segment.ownership is Ownership.EXCLUSIVE:
                read_back(self.target, comparison, require_app(self.target, app))
            counts = resume(comparison)
            return counts, look_up_if_needed(self.target, head, counts, app, parts.warn)

        return describe(self.target, take_sealed, comparison, app, self._options.plan, parts.warn)

    def _check_app(self, head: Head) -> App | None:
        """Under `exclusive` a plan is made from what is there; else the preflight is in time."""
        parts = self._parts
        if self.target.segment.ownership is not Ownership.EXCLUSIVE:
            return parts.app
        return check_before_reading(self.target, head, parts.app, parts.ask_environment, parts.warn)

    def _end_if_stopped_by_plan(self) -> None:
        if self.plan.status is PlanStatus.BLOCKED:
            self._end(RunStatus.BLOCKED)
        elif self.plan.status is PlanStatus.FAILED:
            self._end(RunStatus.FAILED, error=self.plan.error)

    # --- send -----------------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Something is to be sent."""
        return self.result is None and self.plan.has_work

    @property
    def has_news(self) -> bool:
        """Something is to be sent, or taken into the state from what is there: Customer.io must be who it was."""
        adopts = self.plan.counts is not None and self.plan.counts.adopt > 0
        return self.has_work or (self.result is None and (adopts or self.reads_back))

    @property
    def reads_back(self) -> bool:
        return self._options.confirm or self.target.segment.confirm

    def drop(self, status: RunStatus, error: ReconcileError | None = None) -> None:
        """End without sending: refused by the preflight, or by whoever was asked."""
        if self.result is None:
            self._end(status, error=as_problem(self.target, error) if error else None)

    def deliver(self) -> None:
        """Send, read back if asked for, and end in good order."""
        if self.result is not None:
            return
        try:
            self._deliver()
        except PlanFileError as error:
            self._end(RunStatus.STALE, error=as_problem(self.target, error))
        except Exception as error:  # one segment's failure never stops the others
            log.debug("applying %s failed", self.target.label, exc_info=True)
            self._end(RunStatus.FAILED, error=as_problem(self.target, as_known(error)))

    def _deliver(self) -> None:
        assert self._held is not None
        assert self._comparison is not None
        assert self.plan.counts is not None
        error, confirmation = None, None
        if self.has_news:
            self._check_serial()
        if self.plan.counts.adopt:
            self._held.admit(self._comparison.already_there)
        if self.plan.has_work:
            error = self._send(self._held, self._comparison, self.plan.counts)
        if self.reads_back and error is None and not self._parts.stop.is_set():
            confirmation, error = self._confirm(self._held, self._comparison)
        if confirmation and confirmation.drift and confirmation.drift.lingering:
            self._tally = replace(self._tally, unsettled=self._held.count().unsettled)
        is_whole = error is None and not self._tally.unsettled and self._is_all_sent()
        if is_whole and (self.plan.has_work or not self.plan.head.completed or confirmation):
            self._held.complete()
        status = self._judge(error)
        if error is None and status is RunStatus.FAILED and self._tally.rejected:
            error = _refused(self.target, self._tally.rejected)
        self._end(status, error=as_problem(self.target, error) if error else None, confirmation=confirmation)

    def _check_serial(self) -> None:
        """A prompt may have taken long: nothing may have changed since the plan."""
        assert self._held is not None
        if self._held.head().version != self.plan.head.version:
            raise PlanFileError(
                f"{self.target.where}: the state changed after the plan was made",
                "run it again to plan anew; nothing was sent",
                code="stale",
            )

    def _send(self, held: "LockedSegment", comparison: Comparison, counts: Counts) -> ReconcileError | None:
        """Send, and fold. `_tally` has what it came to, whatever follows."""
        self._settle_down(held, counts)
        parts = self._parts
        delivery = Delivery(
            self.target,
            comparison,
            held,
            parts.track,
            parts.pool,
            parts.stop,
            parts.reporter,
            total=counts.add + counts.remove + counts.resend,
            accepted_before=counts.stored > 0,
        )
        delivery.run()
        self._tally = delivery.tally
        try:
            if delivery.rejected:
                held.reject(delivery.rejected)
            held.compact()
        except ReconcileError as error:
            return delivery.error or error
        return delivery.error

    def _settle_down(self, held: "LockedSegment", counts: Counts) -> None:
        """Wait before reversing an id whose last outcome is unknown: the earlier request may still arrive."""
        if counts.reversed_at is not None:
            self._wait_since(counts.reversed_at, held)

    def _wait_for_doubts(self, held: "LockedSegment") -> None:
        """Wait before reading what will be written down: what an earlier request changes must be there by then.

        Raises SegmentError where a signal cuts the wait short.
        """
        doubtful_at = held.doubtful_at()
        if doubtful_at is not None and self._wait_since(doubtful_at, held):
            raise SegmentError(
                f"{self.target.where}: stopped before the segment was read back", "run it again", code="stopped"
            )

    def _wait_since(self, attempted_at: float, held: "LockedSegment") -> bool:
        """Wait until an attempt has surely arrived; true, at once, when the run is stopping."""
        seconds = seconds_left(attempted_at, held, self.target.spec.destination.settle)
        if seconds <= 0:
            return False
        self._parts.reporter.tell(Waiting(self.target, seconds, "an earlier request may still arrive"))
        return self._parts.stop.wait(seconds)

    # --- read back ------------------------------------------------------------------------------------------------

    def _confirm(
        self, held: "LockedSegment", comparison: Comparison
    ) -> tuple[Confirmation | None, ReconcileError | None]:
        parts = self._parts
        try:
            app = require_app(self.target, parts.app)
            self._wait_for_doubts(held)
            parts.reporter.tell(Confirming(self.target, 0))
            confirmation = wait_for_agreement(
                self.target,
                comparison,
                app,
                self._options.confirm_timeout,
                parts.clock,
                lambda seconds: parts.stop.wait(seconds),
            )
            if confirmation.drift is not None:
                held.record(comparison.examine())
        except ReconcileError as error:
            return None, error
        return confirmation, confirmation.error

    # --- the end --------------------------------------------------------------------------------------------------

    def _judge(self, error: ReconcileError | None) -> RunStatus:
        tally = self._tally
        if error is not None or tally.unsettled or tally.rejected or not self._is_all_sent():
            return RunStatus.PARTIAL if tally.touched else RunStatus.FAILED
        return RunStatus.APPLIED if tally.touched else RunStatus.UNCHANGED

    def _is_all_sent(self) -> bool:
        """Not so after a signal that came in time."""
        counts, tally = self.plan.counts, self._tally
        assert counts is not None
        sent = tally.added + tally.removed + tally.resent + tally.rejected
        return sent >= counts.add + counts.remove + counts.resend

    def _end_without(self, status: RunStatus, error: ReconcileError) -> None:
        self.plan = fail(self.target, error)
        self._end(status, error=as_problem(self.target, error))

    def _end(
        self, status: RunStatus, *, error: Problem | None = None, confirmation: Confirmation | None = None
    ) -> None:
        """Give everything back, and say how it ended; once."""
        if self.result is not None:
            return
        unmatched, released = self._count_unmatched(), self._release()
        if released is not None and error is None:
            error, status = released, RunStatus.PARTIAL if self._tally.touched else RunStatus.FAILED
        if error is not None and self._tally.touched:
            status = RunStatus.PARTIAL
        seconds = round(self._parts.clock() - self._started, 3)
        confirmed = confirmation.agrees if confirmation and confirmation.drift else None
        self.result = SegmentRun(self.plan, status, replace(self._tally, seconds=seconds), unmatched, error, confirmed)
        self._parts.reporter.tell(Finished(self.result))

    def _count_unmatched(self) -> int | None:
        try:
            return self._held.count().unmatched if self._held else None
        except Exception:  # a number that is not known; the lock must be given back all the same
            log.debug("counting %s failed", self.target.label, exc_info=True)
            return None

    def _release(self) -> Problem | None:
        """Give everything back; a lock that can't be given back ends by its lease."""
        try:
            self._stack.close()
        except Exception as error:
            log.debug("releasing %s failed", self.target.label, exc_info=True)
            return as_problem(self.target, as_known(error))
        finally:
            self._held = None
        return None


def _refused(target: Target, number: int) -> DestinationError:
    """Nothing but rejected ids."""
    return DestinationError(
        f"{target.where}: Customer.io refused each of the {number:,} ids by itself (400)",
        "check that they are ids of the spec's id_type, as Customer.io knows them; the next run tries them again",
        code="rejected",
    )


def pass_preflight(
    sessions: Sequence[Session],
    ledger: "StateStore",
    preflight: Callable[[], int | None],
    inspect: Callable[[str, int | None], None],
) -> None:
    """Check credentials, region and workspace before the first write, and bind the workspace's name.

    All sessions are of one workspace. A run that neither sends nor reads back makes no request. Where it fails, no
    session does.
    `preflight` is that of `Track`; `inspect` is told the workspace and its environment, and may raise PlanFileError.
    """
    working = [session for session in sessions if session.has_news]
    if not working:
        return
    try:
        environment_id = preflight()
        inspect(working[0].target.workspace, environment_id)
        if environment_id is not None:
            bind(working[0].target, ledger, environment_id)
    except Exception as error:  # it fails these segments, not those of other workspaces
        log.debug("the preflight of %s failed", working[0].target.workspace, exc_info=True)
        status = RunStatus.STALE if isinstance(error, PlanFileError) else RunStatus.FAILED
        for session in working:
            session.drop(status, as_known(error))


def bind(target: Target, ledger: "StateStore", environment_id: int) -> None:
    """Bind the workspace's name to the environment at Customer.io, or refuse another one."""
    bound = ledger.environment(target.workspace)
    if bound is not None and bound != environment_id:
        raise environment_mismatch(target, bound, environment_id)
    if bound is None:
        ledger.bind(target.workspace, environment_id)
