"""A workspace's name in the state: it is renamed, and an environment of Customer.io has one."""

import os
import signal
import subprocess
import sys

import pytest
import sqlalchemy

from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings
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


# --- one name for an environment -------------------------------------------------------------------------------------


def test_a_second_name_for_an_environment_is_refused_by_every_command_that_asks(applied: Project) -> None:
    write(applied, "production", churn=57)

    for words in (["plan"], ["plan", "--out", "sealed.plan"], ["apply"], ["drift"], ["refresh", "--yes"]):
        done = applied.json(*words)
        assert (done.code, done.segments["churn"]["error"]["code"]) == (1, "environment"), words
        assert "'default'" in done.segments["churn"]["error"]["message"]
        hint = done.segments["churn"]["error"]["hint"]
        assert "reconcile state rename spec.yaml default production" in hint
    checked = applied.run("validate", "spec.yaml", "--connect")
    assert (checked.code, "is workspace 'default' in this state" in checked.out + checked.err) == (1, True)
    assert applied.sandbox.writes == []
    assert not (applied.folder / "sealed.plan").exists()

    assert applied.run("state", "rename", "spec.yaml", "default", "production").code == 0
    assert applied.json("apply").segments["churn"]["status"] == "applied"


def test_a_second_name_is_refused_where_nothing_would_be_sent(applied: Project) -> None:
    applied.want("churn", [])
    write(applied, "production", churn=57)
    assert (applied.run("plan", "spec.yaml").code, applied.run("apply", "spec.yaml").code) == (1, 1)


def test_a_plan_file_of_a_first_fill_under_a_second_name_is_stale(applied: Project) -> None:
    write(applied, "default", vip=56, churn=57)
    assert applied.run("plan", "spec.yaml", "--select", "churn", "--out", "sealed.plan").code == 0
    assert applied.run("state", "rename", "spec.yaml", "default", "production").code == 0

    assert applied.run("apply", "sealed.plan").code == 4
    assert applied.sandbox.writes == []


def test_another_environment_is_welcome_and_so_is_one_that_is_not_told(applied: Project) -> None:
    write(applied, "staging", churn=57)
    applied.sandbox.configure(environment_id=4)
    assert applied.json("apply").segments["churn"]["status"] == "applied"


def test_two_new_names_for_one_environment_in_one_command_bind_one(applied: Project) -> None:
    applied.sandbox.configure(environment_id=9)
    applied.want("news", people(1))
    write(applied, "one", name="one.yaml", churn=57)
    write(applied, "two", name="two.yaml", news=58)

    done = applied.run("apply", "one.yaml", "two.yaml", "--parallel", "1", "--format", "json")

    assert done.code == 6
    assert {name: each["status"] for name, each in done.segments.items()} == {"churn": "applied", "news": "failed"}


# --- one segment, listed twice ---------------------------------------------------------------------------------------


def test_one_segment_that_two_specs_list_fails_in_both_where_nobody_knew_the_environment(applied: Project) -> None:
    applied.sandbox.configure(environment_id=9)
    write(applied, "one", name="one.yaml", vip=57)
    write(applied, "two", name="two.yaml", churn=57)

    for command in ("plan", "apply", "drift", "refresh"):
        words = ["--yes"] if command == "refresh" else []
        done = applied.run(command, "one.yaml", "two.yaml", "--format", "json", *words)
        assert done.code == 1, command
        assert {each["error"]["code"] for each in done.segments.values()} == {"environment"}, command
        assert "two.yaml:" in done.segments["vip"]["error"]["message"], command
    checked = applied.run("validate", "one.yaml", "two.yaml", "--connect")
    assert (checked.code, "two.yaml:" in checked.out + checked.err) == (1, True)
    assert applied.sandbox.writes == []
    assert applied.run("apply", "one.yaml").code == 0  # alone it is fine


def test_with_two_environments_one_number_is_two_segments(applied: Project) -> None:
    with Sandbox(settings=Settings(environment_id=4)) as other:
        other.create_segment("VIP", id=56)
        other.add_people((each, f"{each}@example.com") for each in people(*range(5)))
        write(Project(applied.folder, other), "staging", name="staging.yaml", churn=56)

        done = applied.run("apply", "spec.yaml", "staging.yaml", "--format", "json")

        assert (done.code, other.members(56)) == (0, set(people(*range(5))))
        assert applied.run("plan", "spec.yaml", "staging.yaml", "--detailed-exitcode").code == 0


# --- a state of the first edition with two names ---------------------------------------------------------------------


@pytest.fixture
def doubled(applied: Project) -> Project:
    """Two names for one environment: `default` holds segment 56, `other` segment 57."""
    applied.sandbox.configure(environment_id=4)
    write(applied, "other", name="other.yaml", churn=57)
    assert applied.run("apply", "other.yaml").code == 0
    applied.sandbox.configure(environment_id=3)
    with sqlalchemy.create_engine(applied.environment["STATE"], poolclass=sqlalchemy.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE reconcile_workspaces SET environment_id = 3")
    applied.sandbox.reset_calls()
    return applied


def test_two_names_go_on_working_and_are_warned_of(doubled: Project) -> None:
    doubled.want("vip", people(*range(21)))

    for words in (["plan"], ["drift"], ["status"], ["apply"]):
        done = doubled.json(*words)
        assert done.code == 0, words
        (warning,) = done.document["warnings"]
        assert "'default', 'other' are one workspace (environment 3)" in warning
        assert warning.endswith("reconcile state rename spec.yaml other default")
    assert "are one workspace" in doubled.run("validate", "spec.yaml", "--connect").out
    assert len(doubled.sandbox.members(56)) == 21


def test_two_names_are_made_one(doubled: Project) -> None:
    assert doubled.run("state", "rename", "spec.yaml", "other", "default").code == 0

    write(doubled, "default", vip=56, churn=57)

    planned = doubled.json("plan")
    assert planned.document["warnings"] == []
    assert {each["status"] for each in planned.segments.values()} == {"unchanged"}


def test_one_segment_under_both_names_is_a_usage_error_and_is_renamed_after_one_is_forgotten(doubled: Project) -> None:
    write(doubled, "other", name="other.yaml", churn=56)
    for command in ("plan", "apply", "drift", "refresh", "status", "history", "segments"):
        words = ["--yes"] if command == "refresh" else []
        done = doubled.run(command, ".", *words)
        assert (done.code, done.out) == (64, ""), command
        assert "other.yaml:" in done.err, command
        assert "spec.yaml:" in done.err, command
    assert doubled.run("validate", "spec.yaml", "other.yaml", "--connect").code == 64
    assert doubled.sandbox.writes == []

    assert doubled.run("apply", "other.yaml", "--yes").code == 0  # alone it goes on, as in the first edition
    refused = doubled.run("state", "rename", "spec.yaml", "other", "default")
    assert refused.code == 1
    assert "reconcile state forget spec.yaml id:56" in refused.err

    assert doubled.run("state", "forget", "other.yaml", "id:56", "--yes").code == 0
    assert doubled.run("state", "rename", "spec.yaml", "other", "default").code == 0
