"""Projects whose members are in tables of Sail."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from reconciler.sandbox.http import Call
from reconciler.sandbox.workspace import Direction
from tests.e2e.test_members_at_source import APPLY, Session
from tests.support.project import Project


class OnSail(Protocol):
    """A running server."""

    @property
    def url(self) -> str: ...

    @property
    def execute(self) -> Callable[[str], object]: ...


class SessionOnSail(Session):
    """A project whose spec has its members in Sail, whichever driver reaches them."""

    def __init__(self, project: Project, server: OnSail, schema: str) -> None:
        self.server = server
        super().__init__(project, server.url, schema)

    def execute(self, statement: str) -> None:
        self.server.execute(statement.replace("REPLACE VIEW", "REPLACE TEMP VIEW"))

    def kill_apply(self, direction: Direction, *, applied: bool) -> int:
        """Kill an apply in the middle of its first request in a direction; `applied`: once it has taken effect."""
        aim: list[subprocess.Popen[bytes]] = []
        ready = threading.Event()

        def strike(call: Call) -> None:
            if ready.wait(60) and aim and call.direction is direction:
                process = aim.pop()
                process.kill()
                process.wait(60)

        sandbox = self.project.sandbox
        (sandbox.on_answer if applied else sandbox.on_arrival)(strike)
        words = [str(Path(sys.prefix) / "bin" / "reconcile"), APPLY[0], "spec.yaml", *APPLY[1:]]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(words, cwd=self.project.folder, **streams) as process:
            aim.append(process)
            ready.set()
            return process.wait(120)
