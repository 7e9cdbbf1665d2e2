"""One `apply` from its first lock to its entry in the history."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.cli.console import Console
from reconciler.cli.documents import write
from reconciler.cli.signals import Stopping
from reconciler.cli.wiring import Wiring
from reconciler.customerio.base import Track
from reconciler.diff.base import Comparison
from reconciler.errors import LockHeld, PlanFileError, ReconcileError
from reconciler.models.counts import Counts
from reconciler.models.exit_codes import exit_code_of_run
from reconciler.models.plan import Examples, Plan
from reconciler.models.run import Run, RunStatus, SegmentRun
from reconciler.models.spec import Target
from reconciler.operations.apply import ApplyOptions, Session, pass_preflight
from reconciler.operations.concurrency import Once, work_on_each
from reconciler.operations.load import Loaded, flags_of
from reconciler.operations.plan import as_problem, fail
from reconciler.plan_file import PlanFile, check_age, check_environment, check_heads
from reconciler.render import Format

if TYPE_CHECKING:
    from reconciler.state.store import StateStore


@dataclass
class Applying:
    """What one `apply` works with."""

    console: Console
    wiring: Wiring
    loaded: Loaded
    options: ApplyOptions
    parallel: int
    sealed: PlanFile | None
    asks: bool
    _checks: Once = field(default_factory=Once)

    def run(self, stopping: Stopping) -> Run:
        """Lock, plan, ask, check, send, record. Raises ReconcileError only where nothing was begun.

        A plan that is looked at before it is applied is worked on as a whole, and all its segments are locked for so
        long; else each segment goes its own way.
        """
        created_at = datetime.now(UTC)
        if self.sealed is None:
            self.wiring.warn_of_specs()
        sessions, failed = self._open_sessions()
        self._begin(sessions)
        try:
            if self.asks or self.sealed is not None:
                self._go_together(sessions, created_at)
            else:
                self._go_alone(sessions)
        finally:
            for session in sessions:
                session.drop(RunStatus.FAILED)
        results = self._in_order(sessions, failed)
        run = Run(self.options.run_id, created_at, results, tuple(self.wiring.warnings), stopping.signal)
        self._end(sessions, run)
        return run

    def _go_together(self, sessions: Sequence[Session], created_at: datetime) -> None:
        self._lock(sessions)
        self._plan(sessions)
        if not self._is_agreed(sessions, created_at):
            self._decline(sessions)
        self._preflight(sessions)
        self._each(sessions, Session.deliver)

    def _lock(self, sessions: Sequence[Session]) -> None:
        """Who holds locks and waits for others takes them one by one in an order that all share, or two would wait for
        each other."""
        if not self.wiring.lock_timeout:
            self._each(sessions, lambda session: session.lock())
            return
        for session in sorted(sessions, key=_place):
            session.lock()

    def _go_alone(self, sessions: Sequence[Session]) -> None:
        """What another run is at work on comes last, and only then is it waited for: several runs divide the work."""
        self._each(sessions, lambda session: self._work(session, waits=not self.wiring.lock_timeout))
        self._each([session for session in sessions if session.result is None], self._work)

    def _work(self, session: Session, waits: bool = True) -> None:
        if self.wiring.stop.is_set():
            session.drop(RunStatus.FAILED, _stopped())
        if session.result is None and session.lock(waits):
            self._prepare(session)
            self._preflight([session])
            session.deliver()

    # --- the parts ------------------------------------------------------------------------------------------------

    def _open_sessions(self) -> tuple[list[Session], dict[str, SegmentRun]]:
        """Open a session for each segment; a state that can't be opened fails its own segments only."""
        sessions: list[Session] = []
        failed: dict[str, SegmentRun] = {}
        for target in self.loaded.targets:
            try:
                sessions.append(Session(target, self.wiring.parts(target), self.options))
            except ReconcileError as error:
                failed[_key(target)] = SegmentRun(
                    fail(target, error), RunStatus.FAILED, error=as_problem(target, error)
                )
        return sessions, failed

    def _in_order(self, sessions: Sequence[Session], failed: dict[str, SegmentRun]) -> tuple[SegmentRun, ...]:
        results = dict(failed)
        for session in sessions:
            assert session.result is not None
            results[_key(session.target)] = session.result
        return tuple(results[_key(target)] for target in self.loaded.targets)

    def _each(self, sessions: Sequence[Session], step: Callable[[Session], object]) -> None:
        work_on_each(sessions, step, self.parallel, "segment")

    # --- plan -----------------------------------------------------------------------------------------------------

    def _plan(self, sessions: Sequence[Session]) -> None:
        if self.sealed is None:
            self._each(sessions, self._prepare)
            return
        try:
            self._check_as_a_whole(self.sealed, sessions)
        except ReconcileError as error:
            self._drop_all(sessions, _status_of(error), error)
            return
        numbers = {id(session): index for index, session in enumerate(sessions)}
        sealed = self.sealed
        self._each(sessions, lambda session: session.prepare(_resume(sealed, numbers[id(session)])))
        if any(session.result is not None for session in sessions):
            self._drop_all(sessions, RunStatus.STALE, _spoiled())

    def _prepare(self, session: Session) -> None:
        if self.wiring.stop.is_set():
            session.drop(RunStatus.FAILED, _stopped())
        else:
            session.prepare()

    def _check_as_a_whole(self, sealed: PlanFile, sessions: Sequence[Session]) -> None:
        """Raise PlanFileError or LockHeld unless every segment can be applied: one that can't, and nothing is sent."""
        for session in sessions:
            if session.result is not None and session.result.error is not None:
                kind = LockHeld if session.result.status is RunStatus.LOCKED else PlanFileError
                error = session.result.error
                message = f"{session.target.label} can't be applied, so nothing of the plan was sent: {error.message}"
                raise kind(message, error.hint)
        if len(sessions) < len(sealed.plan.segments):
            raise PlanFileError("a state of this plan can't be opened; nothing of it was sent")
        spent = any(self.wiring.snapshot(each.target).is_spent(sealed.plan.plan_id) for each in sessions)
        check_age(sealed.plan, datetime.now(UTC), spent=spent)
        check_heads(sealed.plan, [session.head() for session in sessions])

    def _drop_all(self, sessions: Sequence[Session], status: RunStatus, error: ReconcileError) -> None:
        if self.sealed is not None:
            self.sealed.name_in(error)
        for session in sessions:
            session.drop(status, error)

    # --- ask ------------------------------------------------------------------------------------------------------

    def _is_agreed(self, sessions: Sequence[Session], created_at: datetime) -> bool:
        working = [session for session in sessions if session.has_work]
        if not self.asks or not working or self.wiring.stop.is_set():
            return True
        plan = Plan(created_at, tuple(session.plan for session in sessions), tuple(self.wiring.warnings))
        self.wiring.pause_progress()
        self.console.prompt(write(self.console, plan, Format.TEXT, shared=self.loaded.shared))
        return self.console.ask(f"Send these changes to Customer.io ({_name_workspaces(working)})?", self.wiring.stop)

    def _decline(self, sessions: Sequence[Session]) -> None:
        error = ReconcileError("not confirmed; nothing was sent", "answer yes, or give --yes", code="declined")
        if self.wiring.stop.is_set():
            error = ReconcileError("stopped before it was confirmed; nothing was sent", "run it again", code="stopped")
        for session in sessions:
            if session.has_work:
                session.drop(RunStatus.FAILED, error)

    # --- check ----------------------------------------------------------------------------------------------------

    def _preflight(self, sessions: Sequence[Session]) -> None:
        if self.wiring.stop.is_set():
            return
        groups: dict[object, list[Session]] = {}
        for session in sessions:
            track, ledger = self.wiring.track(session.target), self.wiring.ledger(session.target)
            groups.setdefault((id(track), id(ledger), session.target.workspace), []).append(session)
        for group in groups.values():
            target = group[0].target
            pass_preflight(group, self.wiring.ledger(target), self._ask_once(self.wiring.track(target)), self._inspect)
        if self.sealed and any(_was_refused(session) for session in sessions):
            self._drop_all(sessions, RunStatus.STALE, _spoiled())

    def _ask_once(self, track: Track) -> Callable[[], int | None]:
        return lambda: self._checks.ask(id(track), track.preflight)

    def _inspect(self, workspace: str, environment_id: int | None) -> None:
        if self.sealed is not None:
            check_environment(self.sealed.plan, workspace, environment_id)

    # --- history --------------------------------------------------------------------------------------------------

    def _places(self, sessions: Sequence[Session]) -> Iterator[tuple[Target, str]]:
        """One segment of each state and workspace."""
        seen: set[tuple[int, str]] = set()
        for session in sessions:
            place = (id(self.wiring.ledger(session.target)), session.target.workspace)
            if place not in seen:
                seen.add(place)
                yield session.target, session.target.workspace

    def _begin(self, sessions: Sequence[Session]) -> None:
        allowed = flags_of(self.loaded.allowed)
        for target, workspace in self._places(sessions):
            ledger = self.wiring.ledger(target)
            try:
                ledger.begin(self.options.run_id, workspace, "apply", allowed, self.options.plan_id)
            except ReconcileError as error:  # the segments of another state go on
                self._drop_all(self._sharing(ledger, sessions), RunStatus.FAILED, error)

    def _sharing(self, ledger: "StateStore", sessions: Sequence[Session]) -> list[Session]:
        return [session for session in sessions if self.wiring.ledger(session.target) is ledger]

    def _end(self, sessions: Sequence[Session], run: Run) -> None:
        """Write the history. A state that can't take it is told of, unless its segments have told so."""
        from reconciler.render import json

        code, document = exit_code_of_run(run), json.dump(json.document(without_ids(run)))
        for target, workspace in self._places(sessions):
            ledger = self.wiring.ledger(target)
            try:
                if self.sealed is not None and is_spent_by(run):
                    ledger.spend(self.sealed.plan.plan_id)
                ledger.end(run.run_id, workspace, code, document, run)
            except ReconcileError as error:
                if all(segment.error is None for segment in run.segments):
                    self.console.warn(f"this run can't be written into the history: {error.message}")


def without_ids(run: Run) -> Run:
    """Give a run without the example ids of `--show-ids`: none goes into the history."""
    segments = (replace(each, plan=replace(each.plan, examples=Examples())) for each in run.segments)
    return replace(run, segments=tuple(segments))


def is_spent_by(run: Run) -> bool:
    """A plan file is spent once all of it was applied; cut short, it can be applied again."""
    return all(each.status in (RunStatus.APPLIED, RunStatus.UNCHANGED) for each in run.segments)


def _status_of(error: ReconcileError) -> RunStatus:
    """What became of a plan file's segments, by the error that stopped them all."""
    if isinstance(error, LockHeld):
        return RunStatus.LOCKED
    return RunStatus.STALE if isinstance(error, PlanFileError) else RunStatus.FAILED


def _key(target: Target) -> str:
    return f"{target.spec.path}\n{target.label}"


def _place(session: Session) -> tuple[str, int]:
    """What a lock is for."""
    return session.target.workspace, session.target.segment.segment_id


def _was_refused(session: Session) -> bool:
    return session.result is not None and session.result.status in (RunStatus.STALE, RunStatus.FAILED)


def _name_workspaces(sessions: Sequence[Session]) -> str:
    return ", ".join(sorted({f"workspace {session.target.workspace}" for session in sessions}))


def _stopped() -> ReconcileError:
    return ReconcileError("stopped before it was planned; nothing was sent", "run it again", code="stopped")


def _spoiled() -> PlanFileError:
    return PlanFileError(
        "another segment of the plan file can't be applied; nothing of it was sent",
        "make a new plan file: reconcile plan SPEC... --out FILE",
    )


def _resume(sealed: PlanFile, index: int) -> Callable[[Comparison], Counts]:
    """Take segment number `index` of a plan file into a comparison, in place of its query."""
    segment = sealed.plan.segments[index]

    def resume(comparison: Comparison) -> Counts:
        left = comparison.resume(sealed.batches(index))
        unchanged = segment.counts.desired - left.add - left.resend
        return replace(
            left,
            desired=segment.counts.desired,
            unchanged=unchanged,
            nulls=segment.counts.nulls,
            invalid=segment.counts.invalid,
            duplicates=segment.counts.duplicates,
            missing_sentinels=segment.counts.missing_sentinels,
            unkeyed=segment.counts.unkeyed,
        )

    return resume
