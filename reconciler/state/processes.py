"""This machine: its clocks, who this process is, and whether another one still runs."""

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reconciler.clock import boot_seconds

_DEAD_STATES = frozenset("ZX")


@dataclass(frozen=True)
class Identity:
    """One process among all that ever were: `started` tells it from a later one with the same pid.

    An empty text: this system doesn't say. Then nobody can know from outside whether the process runs.
    """

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    started: str

    def is_neighbour(self, other: "Identity") -> bool:
        """Tell whether both see the same processes: same host, same boot, same pid namespace."""
        mine = (self.host, self.boot_id, self.pid_namespace)
        return bool(self.boot_id) and mine == (other.host, other.boot_id, other.pid_namespace)


class Clock(Protocol):
    """Seconds. `boot` counts on while the machine is suspended; `wall` is Unix time."""

    def wall(self) -> float: ...

    def boot(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class Machine(Protocol):
    """Knows processes."""

    def me(self) -> Identity: ...

    def started(self, pid: int) -> str | None:
        """When a process began, as this system writes it; None: there is none, or it is a zombie; empty: not told."""
        ...


def is_dead(holder: Identity, machine: Machine) -> bool:
    """Tell whether a process surely runs no more; one that can't be seen from here may run."""
    if not holder.started or not machine.me().is_neighbour(holder):
        return False
    started = machine.started(holder.pid)
    return started is None or (bool(started) and started != holder.started)


class SystemClock:
    """The clocks of this system."""

    def wall(self) -> float:
        return time.time()

    def boot(self) -> float:
        return boot_seconds()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Linux:
    """Processes as /proc shows them."""

    def me(self) -> Identity:
        pid = os.getpid()
        return Identity(socket.gethostname(), self._boot_id(), self._pid_namespace(), pid, self.started(pid) or "")

    def started(self, pid: int) -> str | None:
        if not _exists(pid):
            return None
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:  # /proc may hide the processes of others
            return ""
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in _DEAD_STATES else fields[18]

    def _boot_id(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""

    def _pid_namespace(self) -> str:
        try:
            return str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            return ""


class Unix:
    """Processes as `ps` shows them, for systems without /proc."""

    def me(self) -> Identity:
        pid = os.getpid()
        boot_id = _ask("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid") or ""
        return Identity(socket.gethostname(), boot_id, "", pid, self.started(pid) or "")

    def started(self, pid: int) -> str | None:
        if not _exists(pid):
            return None
        said = _ask("/bin/ps", "-o", "state=,lstart=", "-p", str(pid))
        state, _, started = (said or "").strip().partition(" ")
        return None if state[:1] in _DEAD_STATES and state else started.strip()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603 (ours)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def this_machine() -> Machine:
    return Linux() if Path("/proc/self/stat").exists() else Unix()
