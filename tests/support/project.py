"""A small project of a user: a warehouse, a spec, a sandbox, and `reconcile` run on them from the command line."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.request import urlopen

from reconciler.render.json_schema import Document, make_schema
from reconciler.sandbox.faults import drops
from reconciler.sandbox.http import Call
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.workspace import Direction
from tests.support.forks import Fork
from tests.support.json_schema import find_violations

DESTINATION = """
destination:
  workspace: {workspace}
  site_id: sandbox-site
  api_key: sandbox-key
  app_api_key: sandbox-app-key
  track_url: {url}
  app_url: {url}
  rate_limit: 10000
  settle: {settle}
  timeout: {timeout}
"""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document of stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def segments(self) -> dict[str, dict[str, Any]]:
        """The segments of the document by name."""
        return {segment["name"]: segment for segment in self.document["segments"]}


@dataclass
class Project:
    """A folder with `spec.yaml` and `warehouse.db`, next to a running sandbox."""

    folder: Path
    sandbox: Sandbox
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def state_file(self) -> Path:
        return self.folder / ".reconcile" / "state.db"

    def want(self, table: str, ids: Iterable[object]) -> None:
        """Make a table of the warehouse hold exactly these values in its one column `id`."""
        with sqlite3.connect(self.folder / "warehouse.db") as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id)")
            connection.execute(f"DELETE FROM {table}")
            connection.executemany(f"INSERT INTO {table} VALUES (?)", ((value,) for value in ids))
        connection.close()

    def write(
        self,
        segments: Mapping[str, str],
        *,
        workspace: str = "default",
        settle: float = 0,
        timeout: float = 30,
        more: str = "",
        destination: str = "",
        name: str = "spec.yaml",
    ) -> Path:
        """Write a spec. `segments` are the YAML lines of each one below its name; `destination` are lines to add."""
        text = "version: 1\nsources:\n  warehouse:\n    url: sqlite:///warehouse.db\n"
        text += DESTINATION.format(url=self.sandbox.url, workspace=workspace, settle=settle, timeout=timeout)
        text += indent(destination, 2) + more + "\nsegments:\n"
        for key, lines in segments.items():
            text += f"  {key}:\n{indent(lines, 4)}"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *words: str | Path, stdin: str | None = None) -> Result:
        """Run `reconcile` in this process, in the project's folder."""
        from reconciler.cli import run

        out, err = io.StringIO(), io.StringIO()
        with (
            working_in(self.folder),
            mock.patch.dict(os.environ, self.environment),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO((stdin or "").encode()))),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                code = run([str(word) for word in words])
            except SystemExit as error:
                code = int(error.code or 0)
        return Result(code, out.getvalue(), err.getvalue())

    def json(self, command: str, *words: str | Path) -> Result:
        """Run a command on the project's spec with `--format json`, and hold what it prints to its schema, if any."""
        done = self.run(command, "spec.yaml", "--format", "json", *words)
        kind = done.document.get("kind") if done.out else None
        if kind in list(Document):
            assert list(find_violations(done.document, make_schema(Document(kind)))) == []
        return done

    def start(self, *words: str | Path, stdin: int = subprocess.DEVNULL) -> Fork:
        """Run `reconcile` as a process of its own."""
        return Fork([str(word) for word in words], self.folder, {**os.environ, **self.environment}, stdin)

    def hit(
        self,
        *words: str | Path,
        at: Callable[[Call], bool],
        by: signal.Signals = signal.SIGKILL,
        applied: bool = False,
    ) -> Result:
        """Run `reconcile` as a process and send it a signal in the middle of the first request that `at` is true of.

        The request goes on at the sandbox: when the signal strikes it has arrived, or, with `applied`, taken effect.
        It has ended when this returns: how long a busy sandbox takes says nothing about the product's `settle`.
        No request is answered before the process has said that it heard the signal, or has ended.
        """
        aim: list[Fork] = []
        ready, struck, heard = threading.Event(), threading.Event(), threading.Event()

        def strike(call: Call) -> None:
            if ready.wait(30) and aim and at(call):
                aim.pop().send_signal(by)
                struck.set()
            if struck.is_set():
                heard.wait(60)

        (self.sandbox.on_answer if applied else self.sandbox.on_arrival)(strike)
        process = self.start(*words)
        said: list[str] = []
        listener = threading.Thread(target=_listen, args=(process.stderr, said, heard))
        listener.start()
        aim.append(process)
        ready.set()
        out = process.stdout.read()
        listener.join()
        process.wait(120)
        aim.clear()
        wait_for_requests(self.sandbox)
        return Result(process.returncode, out, "".join(said))

    def stored(self, name: str, spec: str = "spec.yaml") -> set[str]:
        """The ids that the state holds as members of a segment."""
        shown = self.run("state", "show", spec, name, "--members")
        assert shown.code == 0, shown.err
        return set(shown.out.splitlines())


def _listen(stream: Iterable[str], said: list[str], heard: threading.Event) -> None:
    """Keep what a process says; `heard` is set once it answers a signal, or has ended."""
    for line in stream:
        said.append(line)
        if "once more to stop at once" in line:
            heard.set()
    heard.set()


def people(*numbers: int) -> list[str]:
    """The ids of some people of the sandbox."""
    return [f"p{number:04}" for number in numbers]


def leave_unsettled(project: Project, segment_id: int) -> None:
    """An apply that is told to stop in the middle of its first add, which gets no answer."""
    project.sandbox.inject(drops(segment_id=segment_id, direction=Direction.ADD))
    ended = project.hit(
        "apply",
        "spec.yaml",
        at=lambda call: call.direction is Direction.ADD and call.segment_id == segment_id,
        by=signal.SIGTERM,
    )
    assert ended.code == 143, ended.err
    project.sandbox.faults.clear()
    project.sandbox.reset_calls()


def one_line(text: str) -> str:
    return " ".join(text.split())


def indent(text: str, columns: int) -> str:
    """Shift lines to the right; an empty text stays empty."""
    return "".join(f"{' ' * columns}{line}\n" for line in text.strip("\n").splitlines())


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder for a block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def segment(segment_id: int, table: str, *lines: str) -> str:
    """The YAML lines of a segment that selects a table."""
    return "\n".join([f"segment_id: {segment_id}", f"query: SELECT id FROM {table}", *lines])


def wait_for_requests(sandbox: Sandbox, *, applied: bool = False) -> None:
    """Return once the sandbox has done all that ended clients had asked for; with `applied` also what it does late.

    What `settle` promises is about the delays of Customer.io. On a busy machine a thread of the sandbox may read a
    request, or end a hang, after that time only, and what it does then says nothing about the product.
    """
    with urlopen(f"{sandbox.url}/sandbox"):  # whatever connected before has been accepted then
        pass
    deadline = time.monotonic() + 120
    while sandbox.connections or (applied and sandbox.workspace.pending()):
        assert time.monotonic() < deadline, "a request that nobody waits for is still being answered"
        time.sleep(0.01)
