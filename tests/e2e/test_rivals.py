"""Two entries for one segment: each would remove whom the other adds, and these people get messages."""

import json

import pytest

from reconciler.sandbox.workspace import UsedBy
from tests.support.project import Project, people


def titled(title: str, table: str, *lines: str) -> str:
    return "\n".join([f"segment: {title}", f"query: SELECT id FROM {table}", *lines])


@pytest.fixture
def wanted(project: Project) -> Project:
    """Two queries that want different people."""
    project.want("a", people(*range(5)))
    project.want("b", people(*range(50, 55)))
    return project


# --- a spec on one line --------------------------------------------------------------------------------------------


def write_one_line(project: Project, **segments: dict[str, object]) -> None:
    """Write the spec as JSON on one line, so that all entries have one `file:line`."""
    url = project.sandbox.url
    destination = {"site_id": "sandbox-site", "api_key": "sandbox-key", "app_api_key": "sandbox-app-key"}
    spec = {
        "version": 1,
        "sources": {"warehouse": {"url": "sqlite:///warehouse.db"}},
        "destination": destination | {"track_url": url, "app_url": url, "settle": 0},
        "segments": segments,
    }
    project.spec.write_text(json.dumps(spec))


@pytest.mark.parametrize("command", ["plan", "apply", "refresh"])
def test_of_a_spec_on_one_line_a_number_and_a_title_of_one_segment_are_refused(wanted: Project, command: str) -> None:
    number, title = {"segment_id": 56, "query": "SELECT id FROM a"}, {"segment": "VIP", "query": "SELECT id FROM b"}
    write_one_line(wanted, a=number, b=title)

    done = wanted.json(command, *(["--yes"] if command == "refresh" else []))

    assert done.code == 1
    assert {each["error"]["code"] for each in done.segments.values()} == {"title"}
    assert "'b' (spec.yaml:1)" in done.segments["a"]["error"]["message"]
    assert wanted.sandbox.writes == []


def test_of_a_spec_on_one_line_each_segment_is_told_its_own_campaigns_and_people(wanted: Project) -> None:
    wanted.sandbox.create_segment("Gold", id=61, used_by=UsedBy(campaigns=(12,)))
    wanted.sandbox.put_members(57, people(*range(40)))
    query = {"query": "SELECT id FROM a"}
    write_one_line(wanted, gold={"segment_id": 61, **query}, churn={"segment_id": 57, **query})

    planned = wanted.json("plan").segments

    assert {name: each["uses"]["campaigns"] for name, each in planned.items()} == {"gold": [12], "churn": []}
    assert {name: each["remote_members"] for name, each in planned.items()} == {"gold": 0, "churn": 40}
