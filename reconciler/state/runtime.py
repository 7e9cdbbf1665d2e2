"""What the state takes from outside: clocks, the heartbeat of a lease, and the processes that hold locks.

Locks hold the identities of processes, so later versions must understand them. psutil is not used:
`Process.create_time()` is Unix time, which changes when the clock is set, and a holder that seems to have another start
time counts as dead (see docs/decisions.md).
"""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.clock import Clock

_DEAD_STATES = frozenset("ZX")


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, unique over time: `started` tells it from a later one with the same pid.

    An empty text: this system doesn't say. Then it can't be known from outside whether the process runs.
    """

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: str

    def sees_same_processes(self, other: "ProcessIdentity") -> bool:
        """Return whether both have the same host, boot and pid namespace."""
        mine = (self.host, self.boot_id, self.pid_namespace)
        return bool(self.boot_id) and mine == (other.host, other.boot_id, other.pid_namespace)


class Processes:
    """The processes of this machine: as /proc shows them, or as `ps` does on a system without it."""

    def me(self) -> ProcessIdentity:
        boot_id = pid_namespace = ""
        if _has_proc():
            with suppress(OSError):
                boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            with suppress(OSError):
                pid_namespace = str(Path("/proc/self/ns/pid").readlink())
        else:
            boot_id = _run("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
        pid = os.getpid()
        return ProcessIdentity(socket.gethostname(), boot_id, pid_namespace, pid, self.started(pid) or "")

    def started(self, pid: int) -> str | None:
        """Return when a process began, as this system writes it.

        None: there is no such process, or it is a zombie. Empty: this system doesn't say.
        """
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:  # it is another user's
            pass
        if not _has_proc():
            state, _, started = _run("/bin/ps", "-o", "state=,lstart=", "-p", str(pid)).partition(" ")
            return None if state[:1] in _DEAD_STATES and state else started.strip()
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:  # /proc may hide the processes of others
            return ""
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in _DEAD_STATES else fields[18]


def is_dead(holder: ProcessIdentity, processes: Processes) -> bool:
    """Return whether a process certainly runs no more; one that can't be seen from here may run."""
    if not holder.started or not processes.me().sees_same_processes(holder):
        return False
    started = processes.started(holder.pid)
    return started is None or (bool(started) and started != holder.started)


def is_alive(holder: ProcessIdentity, processes: Processes) -> bool:
    """Return whether a process certainly runs; one that can't be seen from here may have ended."""
    seen = bool(holder.started) and processes.me().sees_same_processes(holder)
    return seen and processes.started(holder.pid) == holder.started


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _run(*command: str) -> str:
    """Return what a command prints, without the white space around it; empty if it fails."""
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, text=True, timeout=5).strip()  # noqa: S603 (ours)
    except (OSError, subprocess.SubprocessError):
        return ""


Heartbeat = Callable[[Callable[[], None], float], AbstractContextManager[None]]
"""Calls a function at intervals of some seconds until it is left."""


@contextmanager
def heartbeat_in_thread(renew: Callable[[], None], seconds: float) -> Iterator[None]:
    """The heartbeat of a real run: a thread."""
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
class Runtime:
    """What the state takes from outside: clocks, processes, the heartbeat of a lease."""

    clock: Clock = field(default_factory=Clock)
    processes: Processes = field(default_factory=Processes)
    heartbeat: Heartbeat = heartbeat_in_thread


THIS_MACHINE = Runtime()
