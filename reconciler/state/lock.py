"""The lock on one segment: taking it, keeping it, giving it back."""

import math
import threading
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import InitVar, asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row

from reconciler.clock import Clock
from reconciler.errors import LeaseLost, StateError, StateSetBack
from reconciler.state.base import LEAST_FENCE_SECONDS, write_numbers
from reconciler.state.database import Database, add_row, execute, run
from reconciler.state.runtime import Processes, ProcessIdentity, Runtime, is_alive, is_dead
from reconciler.state.schema import refuse_moved, select_version

LEAST_LEASE = 60.0
"""Seconds."""

LEASE_IN_TIMEOUTS = 3
"""A lease is at least this number of times the time-out of a request."""

RENEWALS_PER_LEASE = 3

FENCE_READS = 3
"""How often a fence is read before an attempt is given up, where the state answers too slowly."""

WHERE_SEGMENT = "workspace = :workspace AND segment_id = :segment_id"
"""Finds a segment by the values of its SegmentRef."""

_NO_HOLDER = (
    "host = NULL, boot_id = NULL, pid_namespace = NULL, pid = NULL, started = NULL, run_id = NULL, command = NULL, "
    "acquired_at = NULL, heartbeat_at = NULL, expires_at = NULL, boot_expires_at = NULL"
)


@dataclass(frozen=True)
class SegmentRef:
    """Which segment a lock is for; `name` is what the spec calls it."""

    workspace: str
    segment_id: int
    name: str

    def values(self) -> dict[str, object]:
        return {"workspace": self.workspace, "segment_id": self.segment_id}


ALL_SEGMENTS = SegmentRef("", 0, "")
"""Stands for all segments in `reconcile_forgotten`."""


@dataclass(frozen=True)
class Holder:
    """The process that has a lock, and until when."""

    identity: ProcessIdentity
    command: str
    acquired_at: float
    heartbeat_at: float
    expires_at: float
    boot_expires_at: float | None
    """The same moment by the clock of the holder's boot; None: a version that did not write it took the lock."""

    @property
    def process(self) -> str:
        """The same for all segments that it has locked."""
        process = f"`reconcile {self.command}`" if self.command else "a process"
        return f"{process} (pid {self.identity.pid} on {self.identity.host})"

    def describe(self, now: float) -> str:
        since = datetime.fromtimestamp(self.acquired_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        silent = max(0, round(now - self.heartbeat_at))
        return f"{self.process} since {since}, last heard of {silent} s ago"

    def is_gone(self, now: float, boot: float, processes: Processes) -> bool:
        """Return whether the lock may be taken over: its holder is dead, or its lease has ended.

        `now` is the time of the state, which can be set; a lease from this boot is judged by `boot`, which can't.
        """
        return is_dead(self.identity, processes) or self.seconds_left(now, boot, processes) <= 0

    def seconds_left(self, now: float, boot: float, processes: Processes) -> float:
        """Return how long the lease lasts, by the same clocks as `is_gone`."""
        if self.boot_expires_at is not None and processes.me().sees_same_processes(self.identity):
            return self.boot_expires_at - boot
        return self.expires_at - now

    def describe_life(self, now: float, boot: float, processes: Processes) -> str:
        """Say why its run counts as alive, in a clause; empty if it does not: it is dead, or its lease has ended."""
        if is_alive(self.identity, processes):
            return "its run is alive"
        if self.is_gone(now, boot, processes):
            return ""
        left = math.ceil(self.seconds_left(now, boot, processes))
        return f"its run may be alive, as its lease lasts {left} s more"


def update_segment(connection: Connection, segment: SegmentRef, assignments: str, **values: object) -> None:
    """Change a segment's row; its values and `values` stand in the assignments."""
    statement = f"UPDATE reconcile_segments SET {assignments} WHERE {WHERE_SEGMENT}"
    run(connection, statement, **values, **segment.values())


def delete_segment(connection: Connection, segment: SegmentRef) -> int:
    """Delete a segment's row, and what it says of its creation; return how many rows that were."""
    tables = ("reconcile_segments", "reconcile_creations")
    deleted = sum(run(connection, f"DELETE FROM {table} WHERE {WHERE_SEGMENT}", **segment.values()) for table in tables)
    if deleted:
        mark_forgotten(connection, segment)
    return deleted


def mark_forgotten(connection: Connection, segment: SegmentRef) -> None:
    """Let no plan of a first fill that was made before fit the segment any more, which the state does not know."""
    statement = (
        "INSERT INTO reconcile_forgotten (workspace, segment_id, token) VALUES (:workspace, :segment_id, :token) "
        "ON CONFLICT (workspace, segment_id) DO UPDATE SET token = excluded.token"
    )
    run(connection, statement, **segment.values(), token=uuid.uuid4().hex)


def find_row(connection: Connection, segment: SegmentRef, suffix: str = "") -> Row[Any] | None:
    statement = f"SELECT * FROM reconcile_locks WHERE {WHERE_SEGMENT}{suffix}"
    return execute(connection, statement, segment.values()).one_or_none()


def find_rows(connection: Connection, workspace: str, segment_ids: Collection[int]) -> dict[int, Row[Any]]:
    """Find the rows of several segments, by their numbers."""
    statement = (
        f"WITH {write_numbers(segment_ids)} SELECT l.* FROM numbers n JOIN reconcile_locks l "
        "ON l.workspace = :workspace AND l.segment_id = n.segment_id"
    )
    return {row.segment_id: row for row in execute(connection, statement, {"workspace": workspace})}


def read_holder(row: Row[Any] | None) -> Holder | None:
    """Read a row of the locks; None: the lock is free."""
    if row is None or row.pid is None:
        return None
    identity = ProcessIdentity(row.host, row.boot_id, row.pid_namespace, row.pid, row.started)
    boot_expires_at = getattr(row, "boot_expires_at", None)  # a state that is about to be upgraded lacks it
    return Holder(identity, row.command, row.acquired_at, row.heartbeat_at, row.expires_at, boot_expires_at)


@dataclass(frozen=True)
class LeaseTerms:
    """Seconds for which a lock lasts unless it is renewed, for which a read of its fence is good, between renewals."""

    lease: float
    fence: float
    heartbeat: float


def find_terms(request_timeout: float, settle: float) -> LeaseTerms:
    """Return the terms of a lock under which requests with a time-out are sent."""
    lease = max(LEAST_LEASE, LEASE_IN_TIMEOUTS * request_timeout)
    fence = max(LEAST_FENCE_SECONDS, settle / 2)
    return LeaseTerms(lease, fence, min(lease / RENEWALS_PER_LEASE, fence / 2))


NOTHING_SENT = find_terms(0, math.inf)
"""The terms of a lock under which no request is sent."""


@dataclass(eq=False)
class HeldLock:
    """A lock that was taken, and its lease. `began`: when the taking began, by `clock.boot`."""

    database: Database
    clock: Clock
    segment: SegmentRef
    fence: int
    terms: LeaseTerms
    began: InitVar[float]
    acquired_at: float
    """By the state's clock, as is the next one."""
    taken_over_at: float | None
    """When this lock was last taken from a holder that may live; None: never."""

    def __post_init__(self, began: float) -> None:
        self._until = began + self.terms.lease
        self._fence_read_at = began
        self._is_lost = False
        self._reading = threading.Lock()

    def lose(self) -> None:
        """Let no further request start under this lock."""
        self._is_lost = True

    def covers(self, seconds: float) -> bool:
        """Return whether the lock certainly lasts this long from now. One that has run out is not renewed."""
        left = self._until - self.clock.boot()
        return not self._is_lost and left > 0 and left >= seconds

    def refresh_fence(self) -> bool:
        """Read the fence unless the state has shown it in the last `terms.fence` seconds; return whether it is ours."""
        with self._reading:
            for _ in range(FENCE_READS):
                if self._is_lost or self._is_fence_fresh():
                    break
                self.renew()
            return self._is_fence_fresh() and not self._is_lost

    def _is_fence_fresh(self) -> bool:
        return self.clock.boot() - self._fence_read_at < self.terms.fence

    def renew(self) -> None:
        """Extend the lease. What the database can't do now, it may do at the next heartbeat, if that is soon enough."""
        if not self.covers(0):
            return
        began = self.clock.boot()
        statement = (
            "UPDATE reconcile_locks SET heartbeat_at = :now, expires_at = :expires_at, "
            f"boot_expires_at = :boot_expires_at WHERE {WHERE_SEGMENT} AND fence = :fence"
        )
        values = {**self.segment.values(), "fence": self.fence, "boot_expires_at": began + self.terms.lease}
        try:
            with self.database.write() as connection:
                now = self.database.now(connection)
                renewed = run(connection, statement, now=now, expires_at=now + self.terms.lease, **values)
        except StateError:
            return
        if renewed != 1:
            self.lose()
        elif began < self._until:
            self._until, self._fence_read_at = began + self.terms.lease, began

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that first makes sure that the lock was not taken over. Raises LeaseLost, StateSetBack."""
        with self.database.write() as connection:
            began = self.clock.boot()
            row = find_row(connection, self.segment, self.database.row_lock)
            # Fences only grow: a lower one, or none, is of a time before this lock was taken.
            if row is None or row.fence < self.fence:
                self.lose()
                raise StateSetBack
            if row.fence != self.fence:
                self.lose()
                raise LeaseLost(
                    "its lock was taken over by another run", "nothing is lost: run it again when the other run is done"
                )
            self._fence_read_at = began
            yield connection

    def release(self) -> None:
        """Give it back, unless another run has it by now."""
        self.lose()
        statement = f"UPDATE reconcile_locks SET {_NO_HOLDER} WHERE {WHERE_SEGMENT} AND fence = :fence"
        with self.database.write() as connection:
            run(connection, statement, fence=self.fence, **self.segment.values())


class ChangeTokens:
    """The change tokens that a segment's row may have, as only its lock's holder changes them; None: it has no row.

    A row with another one is of an earlier time: the database has lost what was written to it.
    """

    def __init__(self) -> None:
        self._possible: set[str | None] = set()
        self._drawn: list[str | None] = []

    def check(self, token: str | None) -> bool:
        """Return whether the row may have this token; the first one that is checked is taken as it is."""
        self._possible = self._possible or {token}
        return token in self._possible

    def draw(self) -> str:
        """Draw a token for the row, to be written by the transaction that is open."""
        token = uuid.uuid4().hex
        self._drawn.append(token)
        return token

    def drop(self) -> None:
        """Say that the transaction that is open deletes the row."""
        self._drawn.append(None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Follow a transaction: once it is committed, the row has the token that was drawn last in it."""
        self._drawn.clear()
        try:
            yield
        except BaseException:
            self._possible.update(self._drawn)  # a transaction that failed may be committed nevertheless
            raise
        if self._drawn:
            self._possible = {self._drawn[-1]}


def break_locks(connection: Connection, now: float, segment: SegmentRef | None = None) -> None:
    """Take a segment's lock, or all locks, from their holders: they can write no more."""
    which, values = (WHERE_SEGMENT, segment.values()) if segment else ("true", {})
    statement = f"UPDATE reconcile_locks SET fence = fence + 1, {_NO_HOLDER}, taken_over_at = :now WHERE {which}"
    run(connection, statement, now=now, **values)


def move_locks(connection: Connection, now: float, old: str, new: str) -> None:
    """Take every lock of two workspaces from its holder, and give `new` a row for each of `old`, with a higher fence.

    The rows of `old` stay: a holder that is suspended now finds in them that its lock is gone.
    """
    statement = (
        "INSERT INTO reconcile_locks (workspace, segment_id, fence) SELECT :new, segment_id, 0 FROM reconcile_locks "
        "WHERE workspace = :old ON CONFLICT DO NOTHING"
    )
    run(connection, statement, old=old, new=new)
    highest = "SELECT max(o.fence) FROM reconcile_locks o WHERE o.workspace IN (:old, :new)"
    statement = (
        f"UPDATE reconcile_locks SET fence = ({highest} AND o.segment_id = reconcile_locks.segment_id) + 1, "
        f"{_NO_HOLDER}, taken_over_at = :now WHERE workspace IN (:old, :new)"
    )
    run(connection, statement, old=old, new=new, now=now)


class LockedBy(NamedTuple):
    """What has a lock, in words: the process, and since when it has this one."""

    process: str
    holder: str


def try_lock(
    database: Database, runtime: Runtime, segment: SegmentRef, run_id: str, command: str, terms: LeaseTerms
) -> HeldLock | LockedBy:
    """Try once to take a lock."""
    began = runtime.clock.boot()
    with database.write() as connection:
        add_row(connection, "reconcile_locks", **segment.values(), fence=0)
        row = find_row(connection, segment, database.row_lock)
        assert row is not None
        refuse_moved(select_version(connection), database.address)  # it may have since it was opened
        now = database.now(connection)
        holder = read_holder(row)
        if holder is not None and not holder.is_gone(now, began, runtime.processes):
            if holder.heartbeat_at > now:  # it was granted by a clock that ran ahead: it ends a lease from now
                expires_at = now + holder.expires_at - holder.heartbeat_at
                statement = f"UPDATE reconcile_locks SET heartbeat_at = :now, expires_at = :end WHERE {WHERE_SEGMENT}"
                run(connection, statement, now=now, end=expires_at, **segment.values())
            return LockedBy(holder.process, holder.describe(now))
        may_live = holder is not None and not is_dead(holder.identity, runtime.processes)
        taken_over_at = now if may_live else row.taken_over_at
        taken = {
            **asdict(runtime.processes.me()),  # its fields are named as the columns
            "run_id": run_id,
            "command": command,
            "acquired_at": now,
            "heartbeat_at": now,
            "expires_at": now + terms.lease,
            "boot_expires_at": began + terms.lease,
            "taken_over_at": taken_over_at,
        }
        changes = ", ".join(f"{name} = :{name}" for name in taken)
        statement = f"UPDATE reconcile_locks SET fence = fence + 1, {changes} WHERE {WHERE_SEGMENT}"
        run(connection, statement, **taken, **segment.values())
        return HeldLock(database, runtime.clock, segment, row.fence + 1, terms, began, now, taken_over_at)
