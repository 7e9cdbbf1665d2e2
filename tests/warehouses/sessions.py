"""Projects whose members are in tables of a warehouse."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reconciler.sandbox.http import Call
from reconciler.sandbox.workspace import Direction
from tests.e2e.test_members_at_source import APPLY, Session
from tests.support.project import Project
from tests.warehouses.engine import Started
from tests.warehouses.watched import stand_before

if TYPE_CHECKING:
    from tests.warehouses.engines._databricks import Warehouse  # its driver is in one virtual environment alone

COMMAND = (str(Path(sys.prefix) / "bin" / "reconcile"), APPLY[0], "spec.yaml", *APPLY[1:])
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Server(Protocol):
    """A running server."""

    @property
    def url(self) -> str: ...

    @property
    def execute(self) -> Callable[[str], object]: ...


class WarehouseSession(Session):
    """A project whose spec has its members in a warehouse."""

    server: Server

    def __init__(self, project: Project, server: Server, schema: str) -> None:
        self.server = server
        super().__init__(project, server.url, schema)

    @property
    def options(self) -> Mapping[str, object]:
        options = self.server.options if isinstance(self.server, Started) else {}
        return {**options, "members_schema": self.schema}

    def execute(self, statement: str) -> None:
        self.server.execute(statement)

    def name_nowhere(self) -> None:
        """Let the spec name a schema that is not there, and nothing of which one could be made."""
        text = self.project.spec.read_text()
        own = {key: value for key, value in self.options.items() if key not in ("location", "table_format")}
        key = "members_schema" if "members_schema" in own else "schema"
        self.project.spec.write_text(text.replace(json.dumps(self.options), json.dumps({**own, key: "nowhere"})))

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
        with subprocess.Popen(COMMAND, cwd=self.project.folder, **QUIET) as process:
            aim.append(process)
            ready.set()
            return process.wait(120)


class SessionOnSail(WarehouseSession):
    """A project whose spec has its members in Sail, whichever driver reaches them."""

    def __init__(self, project: Project, server: Server, schema: str, folder: Path, address: str) -> None:
        """`folder`: where the files of the tables are; `address`: of the server, with its port."""
        self.folder = folder
        self.port = address.partition("127.0.0.1:")[2].partition("/")[0]
        self.reached_port = self.port
        """The port that the spec names."""
        super().__init__(project, server, schema)

    def execute(self, statement: str) -> None:
        super().execute(statement.replace("REPLACE VIEW", "REPLACE TEMP VIEW"))

    def reach(self, port: str) -> None:
        """Let the spec name this port of the server."""
        self.reached_port = port
        self.write("source")

    @contextmanager
    def watched(self, words: bytes, then: Callable[[], object], *, passes_on: bool) -> Iterator[None]:
        """Let the spec reach the server by a place where `then` is done once the words are asked (`stand_before`)."""
        with stand_before(int(self.port), words, then, passes_on=passes_on) as own:
            self.reach(str(own))
            yield
        self.reach(self.port)

    def kill_apply_at(self, words: bytes, *, written: bool) -> int:
        """Kill an apply when it asks the source for what has these words, or once that is done and not answered yet."""
        aim: list[subprocess.Popen[bytes]] = []
        ready = threading.Event()
        before = self.count_heads()

        def strike() -> None:
            while written and self.count_heads() == before:
                threading.Event().wait(0.01)
            assert ready.wait(60)
            aim[0].kill()

        with (
            self.watched(words, strike, passes_on=written),
            subprocess.Popen(COMMAND, cwd=self.project.folder, **QUIET) as process,
        ):
            aim.append(process)
            ready.set()
            try:
                return process.wait(120)
            finally:
                process.kill()

    def count_heads(self) -> int:
        """Count the commits of Delta that heads came with."""
        return len(list((self.folder / "reconcile_heads" / "_delta_log").glob("*.json")))


class SailSession(SessionOnSail):
    """A project whose spec reaches its members, in tables of Delta, by Spark Connect."""

    table_format = "delta"

    def __init__(self, project: Project, server: Started, schema: str) -> None:
        super().__init__(project, server, schema, project.folder / "lake", server.url)

    @property
    def options(self) -> dict[str, str]:
        return {"schema": self.schema, "location": str(self.folder), "table_format": self.table_format}

    def reach(self, port: str) -> None:
        self.url = self.server.url.replace(self.port, port, 1)
        super().reach(port)

    def drop(self, table: str) -> None:
        shutil.rmtree(self.folder)
        super().drop(table)


class DatabricksSession(SessionOnSail):
    """A project whose spec has its members in an emulated Databricks."""

    server: "Warehouse"

    def __init__(self, project: Project, server: "Warehouse", schema: str) -> None:
        server.make_schema(schema)
        super().__init__(project, server, schema, server.folder / schema, str(server.options["_connection_uri"]))

    @property
    def options(self) -> dict[str, object]:
        uri = str(self.server.options["_connection_uri"]).replace(self.port, self.reached_port, 1)
        # What can't be reached the driver would try again for 15 minutes.
        once = {"_retry_stop_after_attempts_count": 1}
        return {**self.server.options, **once, "_connection_uri": uri, "members_schema": self.schema}
