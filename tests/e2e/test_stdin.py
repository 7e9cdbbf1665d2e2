"""A spec that is piped into a command: `-` as SPEC."""

import sqlite3
from contextlib import closing

import pytest

from tests.support.project import Project, people, segment
from tests.support.terminal import below_a_terminal


@pytest.fixture
def piped(project: Project) -> Project:
    """A spec that is nowhere on disk; its warehouse, its query file and the file that it extends are."""
    project.want("vip", people(*range(5)))
    (project.folder / "vip.sql").write_text("SELECT id FROM vip\n")
    path = project.write({"vip": "segment_id: 56\nquery_file: vip.sql"}, name="whole.yaml")
    above, entries = path.read_text().split("\nsegments:\n")
    path.unlink()
    (project.folder / "base.yaml").write_text(above)
    project.environment["TEXT"] = f"extends: base.yaml\nsegments:\n{entries}"
    return project


def test_each_command_takes_it_and_relative_paths_begin_in_the_working_folder(piped: Project) -> None:
    text = piped.environment["TEXT"]

    assert piped.run("validate", "-", stdin=text).code == 0
    planned = piped.run("plan", "-", "--format", "json", stdin=text)
    assert planned.code == 0, planned.err
    assert (planned.segments["vip"]["spec"], planned.segments["vip"]["add"]) == ("-", 5)
    assert piped.run("apply", "-", "--yes", stdin=text).code == 0
    assert piped.sandbox.members(56) == set(people(*range(5)))
    assert piped.state_file.exists()
    assert piped.run("drift", "-", stdin=text).code == 0
    assert len(piped.run("history", "-", "--format", "json", stdin=text).document["runs"]) == 1
    assert piped.run("state", "show", "-", "vip", "--members", stdin=text).out.split() == people(*range(5))
    status = piped.run("status", "-", "--format", "json", stdin=text)
    assert (status.segments["vip"]["members"], status.document["orphans"]) == (5, [])


def test_no_spec_is_remembered_for_its_segments(piped: Project) -> None:
    assert piped.run("apply", "-", "--yes", stdin=piped.environment["TEXT"]).code == 0

    with closing(sqlite3.connect(piped.state_file)) as connection:
        assert connection.execute("SELECT name, origin, spec FROM reconcile_segments").fetchall() == [
            ("vip", None, None)
        ]


def test_its_plan_can_not_be_sealed(piped: Project) -> None:
    sealed = piped.run("plan", "-", "--out", "vip.plan", stdin=piped.environment["TEXT"])

    assert sealed.code == 64
    assert "error: a plan of a spec from stdin can't be sealed" in sealed.err
    assert not (piped.folder / "vip.plan").exists()


def test_what_is_wrong_with_it_is_told_with_its_line(piped: Project) -> None:
    wrong = piped.run("plan", "-", stdin=piped.environment["TEXT"].replace("segment_id", "segment_it"))

    assert wrong.code == 64
    assert "\n-:4: `segments.vip.segment_it`" in wrong.err

    empty = piped.run("plan", "-", stdin="")
    assert empty.code == 64
    assert "error: -:1: The file is empty" in empty.err


def test_it_stands_next_to_specs_on_disk_and_is_read_once(piped: Project) -> None:
    piped.write({"churn": segment(57, "vip")}, name="specs/churn.yaml")
    (piped.folder / "specs" / "warehouse.db").symlink_to(piped.folder / "warehouse.db")

    planned = piped.run("plan", "-", "specs", "-", "--format", "json", stdin=piped.environment["TEXT"])

    assert planned.code == 0, planned.err
    assert list(planned.segments) == ["vip", "churn"]


def test_a_file_of_that_name_is_named_by_a_path(piped: Project) -> None:
    (piped.folder / "-").write_text(piped.environment["TEXT"])

    assert piped.run("plan", "./-").code == 0
    assert piped.run("plan", "-", stdin="").code == 64


@pytest.mark.parametrize(("says", "code", "members"), [("no", 1, 0), ("yes", 0, 5), (None, 0, 5)])
def test_apply_asks_on_the_controlling_terminal_if_there_is_one(
    piped: Project, says: str | None, code: int, members: int
) -> None:
    done = below_a_terminal(piped, "apply", "-", given=piped.environment["TEXT"], says=says)

    assert done.code == code, done.err
    assert len(piped.sandbox.members(56)) == members
    assert "[yes/no]" not in done.err  # but on the terminal


def test_refresh_without_a_terminal_needs_yes(piped: Project) -> None:
    piped.sandbox.put_members(56, people(1))

    assert below_a_terminal(piped, "refresh", "-", given=piped.environment["TEXT"], says=None).code == 64
    assert below_a_terminal(piped, "refresh", "-", given=piped.environment["TEXT"], says="yes").code == 0
    assert below_a_terminal(piped, "refresh", "-", "--yes", given=piped.environment["TEXT"], says=None).code == 0
