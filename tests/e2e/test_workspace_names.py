"""A workspace's name in the state: it is renamed, and an environment of Customer.io has one."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.project import Project, people, segment

KILLED = """
import os, signal, sys
from reconciler.cli import main
import reconciler.state.rename as module
real, left = module.run, {statements}
def run(*arguments, **values):
    global left
    touched = real(*arguments, **values)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return touched
module.run = run
main()
"""


def write(project: Project, workspace: str, *, name: str = "spec.yaml", **segments: int) -> None:
    """Write a spec of a workspace with segments that select the tables of their names."""
    listed = {table: segment(number, table) for table, number in segments.items()}
    project.write(listed, workspace=workspace, name=name, more="state: {url: '${STATE}'}\n")


@pytest.fixture
def file_state(project: Project) -> Project:
    project.environment["STATE"] = f"sqlite:///{project.state_file}"
    project.want("vip", people(*range(20)))
    project.want("churn", people(*range(5)))
    write(project, "default", vip=56)
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    return project


@pytest.fixture(params=["sqlite", "postgresql"])
def applied(request: pytest.FixtureRequest, project: Project) -> Project:
    """Segment 56 with twenty people, under the name `default`."""
    if request.param == "postgresql":
        project.environment["STATE"] = request.getfixturevalue("postgres_url")
    else:
        project.environment["STATE"] = f"sqlite:///{project.state_file}"
    project.want("vip", people(*range(20)))
    project.want("churn", people(*range(5)))
    write(project, "default", vip=56)
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    return project


# --- renaming --------------------------------------------------------------------------------------------------------


def test_after_a_renaming_the_segments_are_unchanged_under_the_new_name(applied: Project) -> None:
    runs = applied.json("history").document["runs"]

    done = applied.run("state", "rename", "spec.yaml", "default", "production")

    assert (done.code, done.err) == (0, "")
    assert "workspace default is production now, with 1 segment." in done.out
    write(applied, "production", vip=56)
    assert applied.json("plan").segments["vip"]["status"] == "unchanged"
    assert [run["run_id"] for run in applied.json("history").document["runs"]] == [run["run_id"] for run in runs]
    applied.want("vip", people(*range(21)))
    assert applied.json("apply").segments["vip"]["added"] == 1
    assert len(applied.sandbox.members(56)) == 21


@pytest.mark.parametrize("name", ["default", "production"])
def test_a_plan_file_from_before_is_stale(applied: Project, name: str) -> None:
    applied.want("vip", people(*range(21)))
    assert applied.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    assert applied.run("state", "rename", "spec.yaml", "default", "production").code == 0

    write(applied, name, vip=56)

    assert applied.run("apply", "sealed.plan").code == 4
    assert applied.sandbox.writes == []


def test_while_a_run_works_under_the_old_name_it_is_refused(applied: Project) -> None:
    applied.want("vip", people(*range(30)))
    refused = []
    applied.sandbox.on_arrival(
        lambda call: (
            refused.append(applied.run("state", "rename", "spec.yaml", "default", "production"))
            if call.method == "POST" and not refused
            else None
        )
    )
    process = applied.start("apply", "spec.yaml")
    process.communicate()

    assert process.returncode == 0
    (done,) = refused
    assert done.code == 5
    assert "default/vip is locked by `reconcile apply`" in done.err
    assert applied.json("plan").segments["vip"]["status"] == "unchanged"


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("nowhere", "production", 1, "knows no workspace 'nowhere'"),
        ("default", "default", 64, "are the same"),
        ("default", "a/b", 64, "can't be used"),
    ],
)
def test_what_can_not_be_renamed_is_said(file_state: Project, old: str, new: str, code: int, words: str) -> None:
    done = file_state.run("state", "rename", "spec.yaml", old, new)
    assert done.code == code
    assert words in done.err
    assert file_state.json("plan").segments["vip"]["status"] == "unchanged"


def test_killed_at_any_statement_it_is_done_or_not(file_state: Project) -> None:
    words = ("state", "rename", "spec.yaml", "default", "production")
    for statements in (1, 4, 9):
        script = KILLED.format(statements=statements)
        command = [sys.executable, "-c", script, *words]
        environment = {**os.environ, **file_state.environment}
        done = subprocess.run(command, cwd=file_state.folder, env=environment, capture_output=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert file_state.json("plan").segments["vip"]["status"] == "unchanged"
    assert file_state.run(*words).code == 0
