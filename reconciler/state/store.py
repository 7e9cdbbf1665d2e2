"""The writing side of the state: runs, locks, bindings, spent plans."""

import json
import math
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from reconciler import __version__
from reconciler.clock import Clock
from reconciler.errors import LockHeld, StateError
from reconciler.models.run import Run, SegmentRun
from reconciler.models.spec import Target
from reconciler.state.backends.base import Database, run
from reconciler.state.compaction import find_forgotten, sweep
from reconciler.state.lock import HeldLock, LockManager, Place, Pulse, beat_in_thread, make_terms, write_under
from reconciler.state.locked_segment import LockedSegment, Work
from reconciler.state.processes import Processes
from reconciler.state.reader import find_environment


@dataclass(frozen=True)
class Runtime:
    """What the state takes from outside: clocks, process identity, randomness, a pulse."""

    clock: Clock
    machine: Processes
    draw: Callable[[], uuid.UUID] = uuid.uuid4
    pulse: Pulse = beat_in_thread


class StateStore:
    """The writing side of a state database."""

    def __init__(
        self,
        database: Database,
        runtime: Runtime,
        lock_timeout: float = 0.0,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self._database = database
        self._around = runtime
        self._smith = LockManager(database, runtime.clock, runtime.machine, lock_timeout, pause)
        self._commands: dict[str, str] = {}

    # --- history --------------------------------------------------------------------------------------------------

    def begin(self, run_id: str, workspace: str, command: str, allowed: Sequence[str], plan_id: str | None) -> None:
        """Open a run in the history."""
        self._commands[run_id] = command
        with self._database.write() as connection:
            run(
                connection,
                "INSERT INTO reconcile_runs (run_id, workspace, command, started_at, tool_version, allowed, plan_id) "
                "VALUES (:run_id, :workspace, :command, :now, :tool_version, :allowed, :plan_id) "
                "ON CONFLICT DO NOTHING",  # two URLs of one run may lead to one database
                run_id=run_id,
                workspace=workspace,
                command=command,
                now=self._database.now(connection),
                tool_version=__version__,
                allowed=json.dumps(list(allowed)),
                plan_id=plan_id,
            )

    def end(self, run_id: str, workspace: str, exit_code: int, document: str, segments: Run) -> None:
        """Close it, with its JSON document."""
        with self._database.write() as connection:
            run(
                connection,
                "UPDATE reconcile_runs SET ended_at = :now, exit_code = :exit_code, document = :document "
                "WHERE run_id = :run_id AND workspace = :workspace",
                now=self._database.now(connection),
                exit_code=int(exit_code),
                document=document,
                run_id=run_id,
                workspace=workspace,
            )
            for segment in segments.segments:
                if segment.plan.target.workspace == workspace:
                    run(connection, _INSERT_RUN_SEGMENT, run_id=run_id, **_describe(segment))
            forgotten = find_forgotten(connection)
        for place in forgotten:
            with suppress(LockHeld, StateError):
                self._sweep(place, run_id)

    def _sweep(self, place: Place, run_id: str) -> None:
        """Delete what a `state forget` that was cut short has left of a segment."""
        lock = self._smith.take(place, run_id, "state forget", make_terms(0, math.inf), waits=False)
        try:
            with self._around.pulse(lock.renew, lock.pulse_seconds):
                sweep(partial(write_under, self._database, lock), place)
        finally:
            lock.release()

    # --- locks ----------------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, target: Target, run_id: str, plan_id: str | None, *, waits: bool = True) -> Iterator[LockedSegment]:
        place = Place(target.workspace, target.segment.segment_id, target.segment.name)
        terms = make_terms(target.spec.destination.timeout, target.spec.destination.settle)
        lock = self._smith.take(place, run_id, self._commands.get(run_id, ""), terms, waits=waits)
        work = Work(target.segment.id_type, run_id, plan_id)
        held = LockedSegment(self._database, self._around.clock, lock, work, self._around.draw)
        with ExitStack() as stack:
            stack.callback(self._leave, lock)
            stack.enter_context(self._around.pulse(lock.renew, lock.pulse_seconds))
            held.recover()
            held.compact()
            try:
                yield held
            except BaseException:
                with suppress(StateError):
                    self._put_away(held)
                raise
            self._put_away(held)

    def _put_away(self, held: LockedSegment) -> None:
        held.compact()
        held.stamp()

    def _leave(self, lock: HeldLock) -> None:
        """Give the lock back; where that fails its lease ends it."""
        with suppress(StateError):
            lock.release()
            self._database.tidy()

    # --- workspaces and plans -------------------------------------------------------------------------------------

    def environment(self, workspace: str) -> int | None:
        with self._database.read() as connection:
            return find_environment(connection, workspace)

    def bind(self, workspace: str, environment_id: int) -> None:
        """Bind a workspace's name to an environment; it must be free or bound to the same. Raises StateError."""
        with self._database.write() as connection:
            run(
                connection,
                "INSERT INTO reconcile_workspaces (name, environment_id, bound_at) "
                "VALUES (:workspace, :environment_id, :now) ON CONFLICT (name) DO NOTHING",
                workspace=workspace,
                environment_id=environment_id,
                now=self._database.now(connection),
            )
            bound = find_environment(connection, workspace)
        if bound != environment_id:
            raise StateError(
                f"workspace {workspace} is bound to environment {bound} of Customer.io, not to {environment_id}",
                "use that workspace's credentials, or another `workspace` name for this one",
            )

    def spend(self, plan_id: str) -> None:
        with self._database.write() as connection:
            run(
                connection,
                "INSERT INTO reconcile_plans (plan_id, spent_at) VALUES (:plan_id, :now) "
                "ON CONFLICT (plan_id) DO NOTHING",
                plan_id=plan_id,
                now=self._database.now(connection),
            )

    def close(self) -> None:
        self._database.close()


_INSERT_RUN_SEGMENT = (
    "INSERT INTO reconcile_run_segments "
    "(run_id, workspace, segment_id, name, status, added, removed, rejected, unsettled) VALUES "
    "(:run_id, :workspace, :segment_id, :name, :status, :added, :removed, :rejected, :unsettled) "
    "ON CONFLICT DO NOTHING"
)


def _describe(segment: SegmentRun) -> dict[str, object]:
    target, tally = segment.plan.target, segment.tally
    return {
        "workspace": target.workspace,
        "segment_id": target.segment.segment_id,
        "name": target.segment.name,
        "status": segment.status.value,
        "added": tally.added,
        "removed": tally.removed,
        "rejected": tally.rejected,
        "unsettled": tally.unsettled,
    }
