"""The Airflow example does its work, and fails where somebody has to look; Airflow itself is not needed."""

import runpy
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.sandbox.server import Sandbox
from tests.support.project import Project

EXAMPLE = Path(__file__).parents[3] / "examples" / "airflow" / "segments_dag.py"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Sandbox() as sandbox:
        sandbox.add_people((f"p{number:02}", f"p{number:02}@example.com") for number in range(40))
        sandbox.create_segment("VIP", id=56)
        project = Project(tmp_path, sandbox)
        project.write({"vip": "segment_id: 56\nquery: SELECT id FROM vip\n"})
        project.want("vip", [f"p{number:02}" for number in range(40)])
        yield project


@pytest.fixture
def apply_segments() -> Callable[..., dict[str, Any]]:
    function: Callable[..., dict[str, Any]] = runpy.run_path(str(EXAMPLE))["apply_segments"]
    return function


def test_the_task_applies_every_spec_of_its_folder(
    project: Project, apply_segments: Callable[..., dict[str, Any]]
) -> None:
    document = apply_segments(str(project.folder / "*.yaml"))

    assert document["summary"]["added"] == 40
    assert len(project.sandbox.members(56)) == 40


def test_a_guard_fails_the_task_for_good(project: Project, apply_segments: Callable[..., dict[str, Any]]) -> None:
    apply_segments(str(project.spec))
    project.want("vip", ["p00"])

    with pytest.raises(Exception, match="a guard stopped a segment") as caught:
        apply_segments(str(project.spec))

    assert type(caught.value).__name__ == "NeedsReview"
    assert len(project.sandbox.members(56)) == 40


def test_a_source_that_fails_makes_the_task_be_retried(
    project: Project, apply_segments: Callable[..., dict[str, Any]]
) -> None:
    with sqlite3.connect(project.folder / "warehouse.db") as warehouse:
        warehouse.execute("DROP TABLE vip")

    with pytest.raises(RuntimeError, match="the run ended with 1"):
        apply_segments(str(project.spec))
