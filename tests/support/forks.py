"""Real processes of `reconcile` that start at once: forks of one that has imported all of it and runs one thread.

Python's start and these imports take ten times the CPU time of a short command. Whatever is about the start itself, or
about variables that Python or an import reads, starts Python anew (see tests/e2e/test_output.py).
"""

import atexit
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.fork_command import NUMBER, ask_for_fork, read_number

ROOT = Path(__file__).parents[2]
IMPORTED = [
    *(f"reconciler.sources.{name}" for name in ("sqlite", "duckdb", "postgres")),
    *(f"sqlalchemy.dialects.{name}" for name in ("sqlite", "postgresql.psycopg")),
    "alembic.command",
    "psycopg",
]
"""What commands import later, but for drivers that are not always installed, and may start threads."""


class Fork:
    """A process, with what the tests use of `subprocess.Popen`.

    With `terminal` it is in a session of its own, which that terminal controls; no terminal, where it is none.
    """

    def __init__(
        self,
        words: list[str],
        folder: Path,
        environment: Mapping[str, str],
        stdin: int,
        terminal: int | None = None,
    ) -> None:
        out, err = os.pipe(), os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        streams = [nothing if stdin == subprocess.DEVNULL else stdin, out[1], err[1]]
        if terminal is not None:
            streams.append(terminal)
        self._connection, self.pid = ask_for_fork(find_server(), words, str(folder), environment, streams)
        for number in (nothing, out[1], err[1]):
            os.close(number)
        self.stdout, self.stderr = os.fdopen(out[0]), os.fdopen(err[0])
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            if self.returncode is None:
                if not select.select([self._connection], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("reconcile", timeout or 0)
                self.returncode = os.waitstatus_to_exitcode(read_number(self._connection))
                self._connection.close()
            return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read what is left of both streams, and wait for the end."""
        err: list[str] = []
        reader = threading.Thread(target=lambda: err.append(self.stderr.read()), daemon=True)
        reader.start()
        out = self.stdout.read()
        reader.join(timeout)
        self.wait(timeout)
        return out, "".join(err)


@functools.cache
def find_server() -> str:
    """Start the process that forks, once for this one; gives the path of its socket."""
    folder = tempfile.mkdtemp(prefix="forks-")
    path = f"{folder}/socket"
    server = subprocess.Popen(
        [sys.executable, "-m", __spec__.name if __spec__ else "tests.support.forks", path],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.read(1), "the process that forks did not start"

    def end() -> None:
        server.stdin.close()  # type: ignore[union-attr]
        server.wait()
        Path(path).unlink()
        Path(folder).rmdir()

    atexit.register(end)
    return path


# --- the process that forks ----------------------------------------------------------------------------------------


def serve(path: str) -> None:
    """Fork for each connection until stdin ends. Returns in a fork that is to be `reconcile`."""
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not re.search(r"\._migrations|\.__main__|\.sources\.|\.telemetry\.", module.name):
            importlib.import_module(module.name)
    for name in IMPORTED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads can't be forked"  # noqa: PTH208
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        os.write(1, b"!")
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                os._exit(0)
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(connection, NUMBER, 4)
    request = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
    if pid := os.fork():
        for number in streams:
            os.close(number)
        connection.sendall(pid.to_bytes(NUMBER, "big"))
        _, status = os.waitpid(pid, 0)
        connection.sendall(status.to_bytes(NUMBER, "big"))
        os._exit(0)
    connection.close()
    become(streams, *json.loads(request))


def become(streams: list[int], words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be a process that was started with these."""
    for number in streams[3:]:
        os.setsid()
        if os.isatty(number):
            fcntl.ioctl(number, termios.TIOCSCTTY, 0)
        os.close(number)
    for place, number in enumerate(streams[:3]):
        os.dup2(number, place)
        os.close(number)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = ["-c", *words]


def leave(codes: list[int]) -> None:
    """End at once, when all else is done: to free what is shared with the server would copy all of it before.

    `codes`: what the command ended with, once it has.
    """
    with suppress(OSError, ValueError):  # Python tells of it
        sys.stdout.flush()
        sys.stderr.flush()
        for code in codes:
            os._exit(code)


if __name__ == "__main__":
    ended: list[int] = []
    atexit.register(leave, ended)  # the first that is registered is the last that runs
    serve(sys.argv[1])
    from reconciler.cli import main

    try:
        main()
    except SystemExit as end:
        ended += [end.code] if isinstance(end.code, int) else []
        raise
