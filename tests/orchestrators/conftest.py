"""What the examples for orchestrators are tried on: two segments, a sandbox, and no way out of this machine."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox.server import Sandbox
from tests.support.project import Project, segment

EXAMPLES = Path(__file__).parents[2] / "examples" / "orchestrators"
IDS = [f"person-{number:02}" for number in range(40)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Two segments of 40 people, by names that an orchestrator would not take; secrets are variables."""
    with Sandbox() as sandbox:
        sandbox.add_people((person, f"{person}@example.com") for person in IDS)
        project = Project(tmp_path, sandbox)
        for number, name in enumerate(("Big spenders*", "Big spenders"), 56):
            sandbox.create_segment(name, id=number)
            project.want(f"people_{number}", IDS)
        project.write({"Big spenders*": segment(56, "people_56"), "Big spenders": segment(57, "people_57")})
        project.spec.write_text(project.spec.read_text().replace("sandbox-key", "${CUSTOMERIO_API_KEY}"))
        yield project


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuse connections to other machines; the list has what was tried."""
    tried: list[object] = []
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):  # type: ignore[index]
            tried.append(address)
            raise ConnectionRefusedError(f"{address} is not this machine")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    return tried
