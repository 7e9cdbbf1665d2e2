"""The lock on one segment: taking it, keeping it, giving it back."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from reconciler.clock import Clock
from reconciler.errors import LeaseLost, LockHeld, StateError, StateSetBack
from reconciler.state.backends.base import Database, run
from reconciler.state.processes import Processes, ProcessIdentity, is_dead
from reconciler.state.schema import refuse_moved, select_version

LEAST_LEASE = 60.0
"""Seconds."""

LEASE_IN_TIMEOUTS = 3
"""A lease is at least so many times the time-out of a request."""

RENEWALS_PER_LEASE = 3

LEAST_SIGHT = 1.0
"""Seconds for which the sight of a fence is good at least; otherwise half of `settle`."""

LOOKS = 3
"""How often a lock is looked at before an attempt is given up, where the state answers too slowly."""

_POLL_SECONDS = 0.5

_WHERE = "workspace = :workspace AND segment_id = :segment_id"


@dataclass(frozen=True)
class Place:
    """Which segment a lock is for; `name` is what the spec calls it."""

    workspace: str
    segment_id: int
    name: str

    def values(self) -> dict[str, object]:
        return {"workspace": self.workspace, "segment_id": self.segment_id}


@dataclass(frozen=True)
class Holder:
    """Who has a lock."""

    identity: ProcessIdentity
    run_id: str
    command: str
    acquired_at: float
    heartbeat_at: float
    expires_at: float
    boot_expires_at: float | None = None
    """The same moment by the clock of the holder's boot; None: the first edition took the lock."""

    def describe(self, now: float) -> str:
        """Say in words who it is."""
        since = datetime.fromtimestamp(self.acquired_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        silent = max(0, round(now - self.heartbeat_at))
        who = f"`reconcile {self.command}`" if self.command else "a process"
        return f"{who} (pid {self.identity.pid} on {self.identity.host}) since {since}, last heard of {silent} s ago"

    def is_gone(self, now: float, boot: float, machine: Processes) -> bool:
        """Tell whether the lock may be taken over: its holder is dead, or its lease has ended.

        `now` is the time of the state, which can be set; a lease from this boot is judged by `boot`, which can't.
        """
        if is_dead(self.identity, machine):
            return True
        if self.boot_expires_at is not None and machine.me().sees_same_processes(self.identity):
            return boot >= self.boot_expires_at
        return now >= self.expires_at


def read_holder(row: Row[Any] | None) -> Holder | None:
    """Read a row of the locks; None: nobody holds it."""
    if row is None or row.pid is None:
        return None
    identity = ProcessIdentity(row.host, row.boot_id, row.pid_namespace, row.pid, row.started)
    boot_expires_at = getattr(row, "boot_expires_at", None)  # a state that is about to be upgraded lacks it
    return Holder(identity, row.run_id, row.command, row.acquired_at, row.heartbeat_at, row.expires_at, boot_expires_at)


def find_row(connection: Connection, place: Place, suffix: str = "") -> Row[Any] | None:
    """The row of a segment's lock."""
    statement = text(f"SELECT * FROM reconcile_locks WHERE {_WHERE}{suffix}")
    return connection.execute(statement, place.values()).one_or_none()


Pulse = Callable[[Callable[[], None], float], AbstractContextManager[None]]
"""Calls a function every so many seconds until it is left."""


@contextmanager
def beat_in_thread(renew: Callable[[], None], seconds: float) -> Iterator[None]:
    """The pulse of a real run: a thread."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(seconds):
            renew()

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass(frozen=True)
class Terms:
    """How long a lock lasts: `lease` seconds unless it is renewed; the sight of its fence is good for `sight`."""

    lease: float
    sight: float

    @property
    def pulse_seconds(self) -> float:
        return min(self.lease / RENEWALS_PER_LEASE, self.sight / 2)


def make_terms(request_timeout: float, settle: float) -> Terms:
    """Give the terms of a lock under which requests with this time-out are sent."""
    return Terms(max(LEAST_LEASE, LEASE_IN_TIMEOUTS * request_timeout), max(LEAST_SIGHT, settle / 2))


class HeldLock:
    """A lock that was taken. It is the lease, too: `covers` tells how far it reaches."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        place: Place,
        fence: int,
        terms: Terms,
        began: float,
        taken_over_at: float | None,
    ) -> None:
        """`began`: when the taking began, by `clock.boot`."""
        self._database = database
        self._clock = clock
        self._terms = terms
        self._until = began + terms.lease
        self._seen = began
        self._lost = False
        self._looking = threading.Lock()
        self.place = place
        self.fence = fence
        self.taken_over_at = taken_over_at
        """When this lock was last taken from a holder that may live, by the state's clock; None: never."""

    @property
    def pulse_seconds(self) -> float:
        return self._terms.pulse_seconds

    def covers(self, seconds: float) -> bool:
        """Tell whether the lock surely lasts so long from now; false for ever once it has run out."""
        left = self._until - self._clock.boot()
        if left <= 0:
            self._lost = True
        return not self._lost and left >= seconds

    def is_in_sight(self) -> bool:
        """Make sure that the state has shown the fence a short while ago: less than half of `settle`, or a second."""
        with self._looking:
            for _ in range(LOOKS):
                if self._lost or self._has_seen():
                    break
                self.renew()
            return not self._lost and self._has_seen()

    def _has_seen(self) -> bool:
        return self._clock.boot() - self._seen < self._terms.sight

    def renew(self) -> None:
        """Extend the lease. What the database can't do now, it may do at the next beat, if that is soon enough."""
        if not self.covers(0):
            return
        began = self._clock.boot()
        try:
            renewed = self._extend(began)
        except StateError:
            return
        if renewed and began < self._until:
            self._until, self._seen = began + self._terms.lease, began
        elif not renewed:
            self._lost = True

    def _extend(self, began: float) -> bool:
        with self._database.write() as connection:
            now = self._database.now(connection)
            touched = run(
                connection,
                "UPDATE reconcile_locks SET heartbeat_at = :now, expires_at = :expires_at, "
                f"boot_expires_at = :boot_expires_at WHERE {_WHERE} AND fence = :fence",
                now=now,
                expires_at=now + self._terms.lease,
                boot_expires_at=began + self._terms.lease,
                fence=self.fence,
                **self.place.values(),
            )
        return touched == 1

    def check(self, connection: Connection) -> None:
        """Make sure, within a write, that nobody has taken the lock over. Raises LeaseLost.

        Fences only grow: a lower one, or none, is of a time before this lock was taken.
        """
        began = self._clock.boot()
        row = find_row(connection, self.place, self._database.row_lock)
        if row is None or row.fence < self.fence:
            self.give_up()
            raise StateSetBack
        if row.fence != self.fence:
            self.give_up()
            raise LeaseLost(
                "its lock was taken over by another run",
                "nothing is lost: run it again when the other run is done",
            )
        self._seen = began

    def give_up(self) -> None:
        """Let no further request start."""
        self._lost = True

    def release(self) -> None:
        """Give it back, unless somebody else has it by now."""
        self.give_up()
        with self._database.write() as connection:
            run(
                connection,
                "UPDATE reconcile_locks SET host = NULL, boot_id = NULL, pid_namespace = NULL, pid = NULL, "
                "started = NULL, run_id = NULL, command = NULL, acquired_at = NULL, heartbeat_at = NULL, "
                f"expires_at = NULL, boot_expires_at = NULL WHERE {_WHERE} AND fence = :fence",
                fence=self.fence,
                **self.place.values(),
            )


@contextmanager
def write_under(database: Database, lock: HeldLock) -> Iterator[Connection]:
    """A transaction that begins by making sure that the lock is still ours. Raises LeaseLost."""
    with database.write() as connection:
        lock.check(connection)
        yield connection


def break_locks(connection: Connection, now: float, place: Place | None = None) -> None:
    """Take a segment's lock, or all locks, from whoever holds them: they can write no more."""
    run(
        connection,
        "UPDATE reconcile_locks SET fence = fence + 1, host = NULL, boot_id = NULL, pid_namespace = NULL, "
        "pid = NULL, started = NULL, run_id = NULL, command = NULL, acquired_at = NULL, heartbeat_at = NULL, "
        f"expires_at = NULL, boot_expires_at = NULL, taken_over_at = :now WHERE {_WHERE if place else 'true'}",
        now=now,
        **(place.values() if place else {}),
    )


@dataclass(frozen=True)
class LockManager:
    """Takes locks for one process. `timeout`: seconds to wait for one; `pause`: see `open_store`."""

    database: Database
    clock: Clock
    machine: Processes
    timeout: float = 0.0
    pause: Callable[[float], bool] | None = None

    def take(self, place: Place, run_id: str, command: str, terms: Terms, *, waits: bool = True) -> HeldLock:
        """Take the lock, or raise LockHeld: at once, or with `waits` when the time to wait is over."""
        deadline = self.clock.boot() + (self.timeout if waits else 0)
        while True:
            taken = self._try(place, run_id, command, terms)
            if isinstance(taken, HeldLock):
                return taken
            left = deadline - self.clock.boot()
            if left <= 0 or self._wait(min(_POLL_SECONDS, left)):
                raise self._refuse(taken, self.timeout if waits and left <= 0 else 0)

    def _try(self, place: Place, run_id: str, command: str, terms: Terms) -> HeldLock | str:
        """One attempt; a text says who holds it."""
        began = self.clock.boot()
        with self.database.write() as connection:
            run(
                connection,
                "INSERT INTO reconcile_locks (workspace, segment_id, fence) VALUES (:workspace, :segment_id, 0) "
                "ON CONFLICT (workspace, segment_id) DO NOTHING",
                **place.values(),
            )
            row = find_row(connection, place, self.database.row_lock)
            assert row is not None
            refuse_moved(select_version(connection), self.database.address)  # it may have since it was opened
            now = self.database.now(connection)
            holder = read_holder(row)
            if holder is not None and not holder.is_gone(now, began, self.machine):
                self._clamp(connection, place, holder, now)
                return holder.describe(now)
            may_live = holder is not None and not is_dead(holder.identity, self.machine)
            taken_over_at = now if may_live else row.taken_over_at
            self._enter(connection, place, run_id, command, now, began, terms, taken_over_at)
            return HeldLock(self.database, self.clock, place, row.fence + 1, terms, began, taken_over_at)

    def _clamp(self, connection: Connection, place: Place, holder: Holder, now: float) -> None:
        """Let a lease that was granted by a clock that ran ahead end a lease from now."""
        if holder.heartbeat_at > now:
            run(
                connection,
                f"UPDATE reconcile_locks SET heartbeat_at = :now, expires_at = :expires_at WHERE {_WHERE}",
                now=now,
                expires_at=now + holder.expires_at - holder.heartbeat_at,
                **place.values(),
            )

    def _enter(
        self,
        connection: Connection,
        place: Place,
        run_id: str,
        command: str,
        now: float,
        began: float,
        terms: Terms,
        taken_over_at: float | None,
    ) -> None:
        me = self.machine.me()
        run(
            connection,
            "UPDATE reconcile_locks SET fence = fence + 1, host = :host, boot_id = :boot_id, "
            "pid_namespace = :pid_namespace, pid = :pid, started = :started, run_id = :run_id, command = :command, "
            "acquired_at = :now, heartbeat_at = :now, expires_at = :expires_at, boot_expires_at = :boot_expires_at, "
            f"taken_over_at = :taken_over_at WHERE {_WHERE}",
            host=me.host,
            boot_id=me.boot_id,
            pid_namespace=me.pid_namespace,
            pid=me.pid,
            started=me.started,
            run_id=run_id,
            command=command,
            now=now,
            expires_at=now + terms.lease,
            boot_expires_at=began + terms.lease,
            taken_over_at=taken_over_at,
            **place.values(),
        )

    def _wait(self, seconds: float) -> bool:
        if self.pause is not None:
            return self.pause(seconds)
        self.clock.sleep(seconds)
        return False

    def _refuse(self, holder: str, seconds: float) -> LockHeld:
        waited = f" (waited {seconds:g} s)" if seconds else ""
        return LockHeld(
            f"locked by {holder}{waited}",
            "wait for it, give `--lock-timeout SECONDS`, or, if it is surely dead, `reconcile state unlock SPEC NAME`",
            holder=holder,
        )
