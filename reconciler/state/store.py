"""The writing side of the state: runs, locks, bindings of workspaces, spent plans."""

import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial

from sqlalchemy import Connection

from reconciler import __version__
from reconciler.errors import LockHeld, StateError, StateUnreachable
from reconciler.git import identify
from reconciler.models.history import NOBODY, Actor, Reason
from reconciler.models.ids import IdType
from reconciler.models.members import MembersAtSource
from reconciler.models.results import RefreshRow, SegmentRun, Tally
from reconciler.models.spec import DEFAULT_AUDIT, DEFAULT_HISTORY, SpecIdentity, StateSettings, Target
from reconciler.state import audit, plans
from reconciler.state.database import Database, add_row, execute, find_environments, run
from reconciler.state.lock import NOTHING_SENT, HeldLock, LeaseTerms, SegmentRef, find_terms, try_lock
from reconciler.state.locked_segment import LockedSegment
from reconciler.state.members import sweep
from reconciler.state.runs import find_statuses
from reconciler.state.runtime import Runtime

POLL_SECONDS = 0.5

_FORGOTTEN = """
SELECT DISTINCT k.workspace, k.segment_id FROM reconcile_keys k WHERE NOT EXISTS (
    SELECT 1 FROM reconcile_segments s WHERE s.workspace = k.workspace AND s.segment_id = k.segment_id
)"""
"""Segments that the state has no row of, but still ids: a `state forget` was cut short."""


_RUNS_PER_TRANSACTION = 50

_OLD_RUNS = (
    "SELECT run_id FROM reconcile_runs r WHERE workspace = :workspace AND started_at < :before {} "
    f"ORDER BY started_at LIMIT {_RUNS_PER_TRANSACTION}"
)
_OF_RUN = (
    "EXISTS (SELECT 1 FROM reconcile_run_segments t WHERE t.run_id = r.run_id AND t.workspace = r.workspace "
    "AND t.segment_id IN ({}))"
)


@dataclass(eq=False)
class StateStore:
    """The writing side of a state database. For `lock_timeout` and `pause` see `state.open_store`."""

    database: Database
    runtime: Runtime
    lock_timeout: float = 0.0
    pause: Callable[[float], bool] | None = None
    members_of: Callable[[Target], MembersAtSource | None] = lambda _: None
    """Gives where the members of a segment stand, if not here."""
    settings: StateSettings | None = None
    """Says for how long runs and changes are kept; None: nothing is pruned."""
    _unreachable: StateUnreachable | None = field(default=None, init=False, repr=False)
    """Why no lock can be taken any more."""

    # --- history --------------------------------------------------------------------------------------------------

    def begin(
        self,
        run_id: str,
        workspace: str,
        command: str,
        allowed: Sequence[str],
        plan_id: str | None,
        *,
        actor: Actor = NOBODY,
        reason: str | None = None,
    ) -> None:
        """Open a run in the history."""
        process = json.dumps(asdict(self.runtime.processes.me()))
        with self.database.write() as connection:
            add_row(  # two URLs of one run may lead to one database
                connection,
                "reconcile_runs",
                run_id=run_id,
                workspace=workspace,
                command=command,
                started_at=self.database.now(connection),
                tool_version=__version__,
                allowed=json.dumps(list(allowed)),
                plan_id=plan_id,
                actor_user=actor.user,
                actor_host=actor.host,
                actor_commit=actor.commit,
                actor_job=actor.job,
                reason=reason,
                process=process,
            )

    def end(
        self, run_id: str, workspace: str, exit_code: int, document: str, segments: Sequence[SegmentRun | RefreshRow]
    ) -> None:
        """Close a run in the history, with its JSON document."""
        statement = (
            "UPDATE reconcile_runs SET ended_at = :now, exit_code = :exit_code, document = :document "
            "WHERE run_id = :run_id AND workspace = :workspace"
        )
        values = {"exit_code": int(exit_code), "document": document, "run_id": run_id}
        with self.database.write() as connection:
            values["workspace"] = name = _find_name(connection, run_id, workspace, segments)
            now = self.database.now(connection)
            run(connection, statement, now=now, **values)
            for segment in segments:
                target, tally = segment.target, segment.tally if isinstance(segment, SegmentRun) else Tally()
                if target.workspace == workspace:
                    add_row(
                        connection,
                        "reconcile_run_segments",
                        run_id=run_id,
                        workspace=name,
                        segment_id=target.segment_id,
                        name=target.segment.name,
                        status=segment.status.value,
                        added=tally.added,
                        removed=tally.removed,
                        rejected=tally.rejected,
                        unsettled=tally.unsettled,
                        code=segment.error.code if segment.error else None,
                        title=segment.title,
                        ended_at=now,
                    )
            forgotten = execute(connection, _FORGOTTEN).all()
        for forgotten_workspace, segment_id in forgotten:
            with suppress(LockHeld, StateError):  # a later run ends it
                self._sweep_forgotten(SegmentRef(forgotten_workspace, segment_id, f"id:{segment_id}"), run_id)

    def statuses(self, workspace: str) -> dict[int, str]:
        """Return what became of each segment of a workspace in the last run that ended, by its number."""
        with self.database.read() as connection:
            return find_statuses(connection, workspace)

    def prune(self, workspace: str, targets: Iterable[Target]) -> None:
        """Delete old plans, and old changes and runs of a workspace after a run on `targets`, in bounded transactions.

        Of the specs that share a workspace each decides for its segments, and for the runs that worked on them. What is
        of no segment that the state knows is kept for the longer of what this spec says and the default, if there are
        other specs.
        """
        if self.settings is None:
            return
        with self.database.write() as connection:
            plans.drop_expired(connection, self.database.now(connection))
        here = [each for each in targets if (each.spec.state.url, each.workspace) == (self.settings.url, workspace)]
        with self.database.read() as connection:
            now = self.database.now(connection)
            # The spec that listed each segment last.
            statement = "SELECT segment_id, origin, spec FROM reconcile_segments WHERE workspace = :workspace"
            rows = execute(connection, statement, {"workspace": workspace})
            listed = {row.segment_id: SpecIdentity(row.origin, row.spec or "") for row in rows}
        if own := _find_own(listed, [each for each in here if each.spec.state == self.settings]):
            kept = self.settings.audit
            before = math.inf if kept is None else now - float(kept.seconds)
            prune = partial(audit.prune, self.database.write, workspace)
            if others := listed.keys() - own:
                prune(before, f"AND segment_id IN ({_write(own)})")
                before = min(before, now - float(DEFAULT_AUDIT.seconds))
            prune(before, f"AND segment_id NOT IN ({_write(own | others)})" if others else "")
        if own := _find_own(listed, here):
            before = now - float(self.settings.history.seconds)
            if others := listed.keys() - own:
                of_others = _OF_RUN.format(_write(others))
                self._prune_runs(workspace, before, f"AND {_OF_RUN.format(_write(own))} AND NOT {of_others}")
                before = min(before, now - float(DEFAULT_HISTORY.seconds))
            self._prune_runs(workspace, before, f"AND NOT {of_others}" if others else "")

    def _prune_runs(self, workspace: str, before: float, which: str) -> None:
        found = _RUNS_PER_TRANSACTION
        while found == _RUNS_PER_TRANSACTION:
            with self.database.write() as connection:
                values = {"workspace": workspace, "before": before}
                run_ids = execute(connection, _OLD_RUNS.format(which), values).scalars().all()
                for table in ("reconcile_run_segments", "reconcile_runs"):
                    statement = f"DELETE FROM {table} WHERE workspace = :workspace AND run_id = :run_id"
                    for run_id in run_ids:
                        run(connection, statement, workspace=workspace, run_id=run_id)
            found = len(run_ids)

    def _sweep_forgotten(self, segment: SegmentRef, run_id: str) -> None:
        """Delete the ids that a `state forget` left, as it was cut short. Raises LockHeld, StateError."""
        lock = self.take_lock(segment, run_id, "state forget", NOTHING_SENT, waits=False)
        try:
            with self.runtime.heartbeat(lock.renew, lock.terms.heartbeat):
                sweep(lock.write, segment)
        finally:
            lock.release()

    # --- locks ----------------------------------------------------------------------------------------------------

    def take_lock(
        self, segment: SegmentRef, run_id: str, command: str, terms: LeaseTerms, *, waits: bool = True
    ) -> HeldLock:
        """Take the lock, or raise LockHeld: at once, or with `waits` when the time to wait is over.

        Once nobody can use the state, no other lock is tried; what has a lock goes on trying. Raises StateError.
        """
        timeout = self.lock_timeout if waits else 0
        deadline = self.runtime.clock.boot() + timeout
        while True:
            if self._unreachable is not None:
                raise self._unreachable
            try:
                taken = try_lock(self.database, self.runtime, segment, run_id, command, terms)
            except StateUnreachable as error:
                self._unreachable = error
                raise
            if isinstance(taken, HeldLock):
                return taken
            left = deadline - self.runtime.clock.boot()
            if left <= 0:
                waited = f" (waited {timeout:g} s)" if timeout else ""
                break
            seconds = min(POLL_SECONDS, left)
            if self.pause is None:
                self.runtime.clock.sleep(seconds)
            elif self.pause(seconds):
                waited = ""
                break
        raise LockHeld(
            f"locked by {taken.holder}{waited}",
            "wait for it, give `--lock-timeout SECONDS`, or, if it is surely dead, `reconcile state unlock SPEC NAME` "
            "with `--force`",
            holder=taken.holder,
            shared=f"locked by {taken.process}{waited}",
        )

    @contextmanager
    def hold(
        self, segment: SegmentRef, command: str, source: MembersAtSource | None = None
    ) -> Iterator[tuple[HeldLock, LockedSegment]]:
        """Take the lock of a segment, for a command that sends nothing; leaving gives it back. Raises LockHeld."""
        run_id = uuid.uuid4().hex
        try:
            lock = self.take_lock(segment, run_id, command, NOTHING_SENT)
        except LockHeld as error:
            message = f"segment {segment.segment_id} of workspace {segment.workspace} is {error.message}"
            raise LockHeld(message, error.hint, holder=error.holder) from None
        try:
            with self.runtime.heartbeat(lock.renew, lock.terms.heartbeat):
                audits = self.settings is not None and self.settings.audit is not None
                yield lock, LockedSegment(lock, IdType.ID, run_id, None, audits=audits, source=source)
        finally:
            lock.release()

    @contextmanager
    def lock(
        self,
        target: Target,
        run_id: str,
        command: str,
        plan_id: str | None,
        *,
        waits: bool = True,
        reason: Reason | None = None,
    ) -> Iterator[LockedSegment]:
        """Take a segment's lock, or raise LockHeld; leaving gives it back. `waits`: as long as the user asked for.

        `reason`: why it is sent what is sent, if neither for its query nor as it is retired.
        """
        segment = SegmentRef(target.workspace, target.segment_id, target.segment.name)
        terms = find_terms(target.spec.destination.timeout, target.spec.destination.settle)
        lock = self.take_lock(segment, run_id, command, terms, waits=waits)
        spec, title = identify(target.spec.path), target.segment.title_key
        reason = reason or (Reason.RETIRED if target.segment.retired else Reason.QUERY)
        audits = target.spec.state.audit is not None
        id_type = target.segment.id_type
        try:
            source = self.members_of(target)
            locked = LockedSegment(
                lock, id_type, run_id, plan_id, spec, title, reason=reason, audits=audits, source=source
            )
            with self.runtime.heartbeat(lock.renew, lock.terms.heartbeat):
                locked.check_place()
                locked.recover()
                locked.compact()
                try:
                    yield locked
                except BaseException:
                    with suppress(StateError):
                        locked.compact()
                        locked.stamp()
                    raise
                locked.compact()
                locked.stamp()
        finally:
            with suppress(StateError):  # where the lock can't be given back, its lease ends it
                lock.release()
                self.database.checkpoint()

    # --- workspaces and plans -------------------------------------------------------------------------------------

    def environments(self) -> dict[str, int]:
        """Return the environments to which the names of workspaces are bound."""
        with self.database.read() as connection:
            return find_environments(connection)

    def bind(self, workspace: str, environment_id: int) -> dict[str, int]:
        """Bind a workspace's name to an environment if both are free; return what all names are bound to then."""
        with self.database.write() as connection:
            if connection.dialect.name == "postgresql":  # of two runs that bind two names, one waits
                run(connection, "LOCK TABLE reconcile_workspaces IN SHARE ROW EXCLUSIVE MODE")
            if environment_id not in find_environments(connection).values():
                now = self.database.now(connection)
                add_row(connection, "reconcile_workspaces", name=workspace, environment_id=environment_id, bound_at=now)
            return find_environments(connection)

    def spend(self, plan_id: str) -> None:
        """Record that a plan was applied to its end; the state keeps it no longer, if it did."""
        with self.database.write() as connection:
            plans.drop(connection, plan_id)
            add_row(connection, "reconcile_plans", plan_id=plan_id, spent_at=self.database.now(connection))


def _find_own(listed: Mapping[int, SpecIdentity], targets: Sequence[Target]) -> set[int]:
    """Find the segments of the specs of some targets, those that they do not list any more too."""
    specs = {identify(path) for path in {each.spec.path for each in targets}}
    return {each.segment_id for each in targets} | {number for number, spec in listed.items() if spec in specs}


def _write(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _find_name(connection: Connection, run_id: str, workspace: str, segments: Sequence[SegmentRun | RefreshRow]) -> str:
    """Find the name that a run's workspace has in the history: `state rename` waits for locks, and it may have none."""
    statement = "SELECT workspace FROM reconcile_runs WHERE run_id = :run_id AND ended_at IS NULL"
    begun = set(execute(connection, statement, {"run_id": run_id}).scalars())
    renamed = begun - {segment.target.workspace for segment in segments}
    return renamed.pop() if workspace not in begun and len(renamed) == 1 else workspace
