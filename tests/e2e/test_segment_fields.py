"""What each document says of a segment: its spec's words, its title, and what uses it."""

import pytest

from tests.support.project import Project, people, segment

ABOUT = {
    "description": "The best of all",
    "owner": "crm@example.com",
    "tags": ["nightly"],
    "retired": False,
    "paused": False,
    "create": False,
}


@pytest.fixture
def vip(project: Project) -> Project:
    """An applied segment with words for people, and one that has none."""
    project.want("vip", people(5))
    project.want("churn", people(3))
    words = "\ndescription: The best of all\nowner: crm@example.com\ntags: [nightly]\n"
    project.write({"vip": segment(56, "vip") + words, "churn": segment(57, "churn")})
    return project


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "refresh", "status"])
def test_each_document_says_what_the_spec_says_of_a_segment(vip: Project, command: str) -> None:
    done = vip.json(command, *(["--yes"] if command == "refresh" else []))

    found = done.segments["vip"]
    assert {name: found[name] for name in ABOUT} == ABOUT
    nothing = done.segments["churn"]
    assert (nothing["description"], nothing["owner"], nothing["tags"]) == (None, None, [])


def test_status_has_the_title_that_the_state_knows(vip: Project) -> None:
    assert vip.json("status").segments["vip"]["title"] is None
    vip.run("apply", "spec.yaml")

    assert vip.json("status").segments["vip"]["title"] == "VIP"


@pytest.mark.parametrize("output", ["text", "markdown", "html"])
def test_a_plan_names_the_owner(vip: Project, output: str) -> None:
    written = vip.run("plan", "spec.yaml", "--format", output).out.replace("\u200b", "")

    assert written.lower().count("owner: crm@example.com") == 1


def test_what_uses_a_segment_is_asked_where_somebody_reads_it(vip: Project) -> None:
    assert vip.json("plan").segments["vip"]["uses"] is not None
    assert vip.json("apply").segments["vip"]["uses"] is None
