"""Orphans: which segments have left their spec, whatever files, workspaces and states there are."""

import sqlite3

import pytest

from tests.support.project import Project, people, segment


@pytest.fixture
def crm(project: Project) -> Project:
    """A repository of acme/crm with two applied specs that share a state: vip.yaml with `vip`, old.yaml with `old`."""
    (project.folder / ".git").mkdir()
    origin = '[remote "origin"]\n\turl = https://deploy:hush@git.example.com/acme/crm.git\n'
    (project.folder / ".git" / "config").write_text(origin)
    project.want("vip", people(*range(5)))
    project.want("old", people(*range(3)))
    project.write({"vip": segment(56, "vip")}, name="vip.yaml")
    project.write({"old": segment(57, "old")}, name="old.yaml")
    assert project.run("apply", "vip.yaml", "old.yaml").code == 0
    return project


def find_orphans(project: Project, *words: str, command: str = "status") -> list[tuple[str, int, str, int]]:
    done = project.run(command, *words, "--format", "json")
    assert done.code == 0, done.err
    return [(row["workspace"], row["segment_id"], row["name"], row["members"]) for row in done.document["orphans"]]


OLD = ("default", 57, "old", 3)


def test_the_segments_of_a_file_that_is_still_there_are_no_orphans(crm: Project) -> None:
    for command in ("plan", "apply", "status"):
        assert find_orphans(crm, "vip.yaml", command=command) == []


def test_the_segments_of_a_deleted_spec_of_the_same_repository_are_orphans(crm: Project) -> None:
    (crm.folder / "old.yaml").unlink()
    for command in ("plan", "apply", "status"):
        assert find_orphans(crm, "vip.yaml", command=command) == [OLD]


def test_the_segments_of_a_deleted_spec_of_another_repository_are_no_orphans(crm: Project) -> None:
    (crm.folder / "old.yaml").unlink()
    config = crm.folder / ".git" / "config"
    config.write_text(config.read_text().replace("acme/crm", "acme/other"))
    assert find_orphans(crm, "vip.yaml") == []


def test_outside_a_repository_only_a_named_spec_is_known_to_be_left(crm: Project) -> None:
    (crm.folder / ".git" / "config").unlink()
    assert crm.run("apply", "vip.yaml", "old.yaml").code == 0
    (crm.folder / "old.yaml").rename(crm.folder / "gone.txt")
    assert find_orphans(crm, "vip.yaml") == []
    crm.write({"new": segment(58, "vip")}, name="old.yaml")
    assert find_orphans(crm, "old.yaml") == [OLD]


def test_a_spec_that_moved_with_its_segments_has_lost_none(crm: Project) -> None:
    (crm.folder / "specs").mkdir()
    (crm.folder / "old.yaml").rename(crm.folder / "specs" / "moved.yaml")
    text = (crm.folder / "specs" / "moved.yaml").read_text().replace("///warehouse", "///../warehouse")
    text = text.replace("\nsegments:", "state: {url: sqlite:///../.reconcile/state.db}\nsegments:")
    (crm.folder / "specs" / "moved.yaml").write_text(text)
    assert find_orphans(crm, "vip.yaml", "specs") == []
    assert find_orphans(crm, "specs", command="apply") == []
    (crm.folder / "specs" / "moved.yaml").unlink()
    assert find_orphans(crm, ".") == [OLD], "and the state knows the new place"


def test_orphans_are_listed_whatever_is_selected_and_change_no_exit_code(crm: Project) -> None:
    crm.write({"vip": segment(56, "vip"), "new": segment(58, "vip")}, name="vip.yaml")
    (crm.folder / "old.yaml").unlink()
    assert find_orphans(crm, "vip.yaml", "--select", "vip", "--detailed-exitcode", command="plan") == [OLD]


def test_two_states_with_a_workspace_of_one_name_are_two(crm: Project) -> None:
    other = "state: {url: sqlite:///other.db}"
    crm.write({"vip": segment(56, "vip"), "old": segment(57, "old")}, name="other.yaml", more=other)
    assert crm.run("apply", "other.yaml").code == 0
    crm.write({"vip": segment(56, "vip")}, name="other.yaml", more=other, workspace="default")

    done = crm.run("status", "old.yaml", "other.yaml", "--select", "old", "--format", "json")

    assert done.code == 0, done.err
    assert [row["segment_id"] for row in done.document["orphans"]] == [57]


def test_segments_of_the_first_edition_are_no_orphans_until_an_apply_has_named_their_spec(crm: Project) -> None:
    with sqlite3.connect(crm.state_file) as connection:
        connection.execute("UPDATE reconcile_segments SET spec = NULL, origin = NULL")
    connection.close()
    (crm.folder / "old.yaml").rename(crm.folder / "old.txt")
    assert find_orphans(crm, "vip.yaml") == []
    (crm.folder / "old.txt").rename(crm.folder / "old.yaml")
    assert crm.run("apply", "old.yaml").code == 0
    (crm.folder / "old.yaml").unlink()
    assert find_orphans(crm, "vip.yaml") == [OLD]


def test_a_state_that_cannot_be_read_has_no_orphans_and_the_segment_has_the_error(crm: Project) -> None:
    (crm.folder / "broken.db").write_text("no database at all, but long enough to be looked at as one")
    crm.write({"new": segment(58, "vip")}, name="broken.yaml", more="state: {url: sqlite:///broken.db}")
    (crm.folder / "old.yaml").unlink()
    done = crm.run("plan", "vip.yaml", "broken.yaml", "--format", "json")
    assert (done.code, done.segments["new"]["error"]["code"]) == (1, "state")
    assert [row["segment_id"] for row in done.document["orphans"]] == [57]


def test_markdown_lists_orphans_with_what_to_do(crm: Project) -> None:
    crm.sandbox.workspace.change_segment(57, name="Old | *customers*")
    crm.want("old", people(*range(4)))
    assert crm.run("apply", "old.yaml").code == 0
    (crm.folder / "old.yaml").unlink()
    out = crm.run("plan", "vip.yaml", "--format", "markdown").out
    assert r"| default | old | 57 | Old \| \*customers\* | id | 4 |" in out
    assert "make sure that no other spec lists it, and list it with `retired: true`" in out
