"""A project and a sandbox for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox.server import Sandbox
from tests.support.project import Project, people, segment


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox with people p0000 to p0999 and the manual segments 56, 57 and 58."""
    with Sandbox() as running:
        running.add_people((f"p{number:04}", f"p{number:04}@example.com") for number in range(1000))
        for segment_id, name in ((56, "VIP"), (57, "Churn risk"), (58, "Newsletter")):
            running.create_segment(name, id=segment_id)
        yield running


@pytest.fixture
def project(tmp_path: Path, sandbox: Sandbox) -> Project:
    """An empty project and its sandbox."""
    return Project(tmp_path, sandbox)


@pytest.fixture
def two(project: Project) -> Project:
    """Two segments that were applied: `vip` with five people and `old` with three."""
    project.want("vip", people(*range(5)))
    project.want("old", people(*range(3)))
    project.write({"vip": segment(56, "vip"), "old": segment(57, "old")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    return project
