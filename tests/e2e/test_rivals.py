"""Two entries for one segment: each would remove whom the other adds, and these people get messages."""

import json
from collections.abc import Sequence

import pytest

from reconciler.sandbox.faults import answers
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings
from reconciler.sandbox.workspace import UsedBy
from tests.support.project import Project, people, segment


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


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "refresh"])
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


# --- a rival in a spec of which nothing is selected ----------------------------------------------------------------

COMMANDS = (("plan",), ("apply",), ("drift",), ("refresh", "--yes"), ("validate", "--connect"))

STATE = "state: {url: 'sqlite:///state.db'}\n"


@pytest.fixture
def apart(wanted: Project) -> Project:
    """Two specs that name one segment, one by its number and one by its title, which no run has met."""
    wanted.write({"a": segment(56, "a")}, name="1.yaml", more=STATE)
    wanted.write({"b": titled("VIP", "b")}, name="2.yaml", more=STATE)
    return wanted


def refused(project: Project, name: str, *words: str) -> bool:
    """Whether a command on both specs fails the segment as it is another one, too."""
    command, *flags = words
    done = project.run(command, "1.yaml", "2.yaml", *flags, "--select", name, "--format", "json")
    if command == "validate":
        return done.code == 1 and any("and so is" in each["message"] for each in done.document["problems"])
    error = done.segments[name]["error"]
    return done.code == 1 and error["code"] == "title" and "and so is" in error["message"]


@pytest.mark.parametrize("words", COMMANDS)
def test_an_entry_of_a_spec_without_anything_selected_is_a_rival_too(apart: Project, words: Sequence[str]) -> None:
    assert refused(apart, "a", *words)
    assert refused(apart, "b", *words)
    assert apart.sandbox.writes == []


def test_the_entries_of_a_plan_that_is_undone_are_compared_with_all_named_ones(apart: Project) -> None:
    assert apart.run("apply", "1.yaml").code == 0

    undone = apart.run("undo", ".", "last", "--select", "a", "--out", "undo.plan", "--format", "json")

    assert (undone.code, undone.segments["a"]["error"]["code"]) == (1, "title")
    assert not (apart.folder / "undo.plan").exists()


def test_a_title_that_the_state_knows_is_compared_though_the_list_cannot_be_had(apart: Project) -> None:
    assert apart.run("apply", "2.yaml").code == 0
    apart.sandbox.faults.add(answers(403, path="/v1/segments", times=None))

    assert refused(apart, "a", "apply")


@pytest.mark.parametrize("trouble", ["state", "list", "app keys"])
def test_the_troubles_of_what_is_not_selected_fail_nothing_that_is(apart: Project, trouble: str) -> None:
    other = apart.folder / "2.yaml"
    if trouble == "state":
        other.write_text(other.read_text().replace("state.db", "missing/state.db").replace("VIP", "Weekly"))
    elif trouble == "list":
        apart.sandbox.faults.add(answers(403, path="/v1/segments", times=None))
    else:
        other.write_text(other.read_text().replace("sandbox-app-key", "revoked").replace("VIP", "Weekly"))

    done = apart.run("apply", "1.yaml", "2.yaml", "--select", "a", "--format", "json")

    assert (done.code, done.segments["a"]["status"]) == (0, "applied")


def test_of_what_is_not_selected_customer_io_is_asked_nothing_more(apart: Project) -> None:
    apart.write({"b": titled("Weekly", "b")}, name="2.yaml", more=STATE)
    with Sandbox(settings=Settings(environment_id=4)) as staging:
        elsewhere = Project(apart.folder, staging)
        entries = {"c": titled("VIP", "b"), "d": segment(57, "b")}
        elsewhere.write(entries, workspace="staging", name="3.yaml", more=STATE)
        apart.sandbox.reset_calls()

        assert apart.run("plan", "1.yaml", "2.yaml", "3.yaml", "--select", "a").code == 0

        assert sum(call.path == "/v1/segments" for call in apart.sandbox.calls) == 1
        assert staging.calls == []


def test_two_names_of_one_workspace_are_seen_to_be_one_where_one_is_selected(wanted: Project) -> None:
    wanted.write({"a": segment(56, "a")}, workspace="one", name="1.yaml", more="state: {url: 'sqlite:///1.db'}\n")
    wanted.write({"b": segment(56, "b")}, workspace="two", name="2.yaml", more="state: {url: 'sqlite:///2.db'}\n")

    done = wanted.run("apply", "1.yaml", "2.yaml", "--select", "a", "--format", "json")

    assert (done.code, done.segments["a"]["error"]["code"]) == (1, "environment")
    assert wanted.sandbox.writes == []


# --- a rival that another job applies ------------------------------------------------------------------------------


@pytest.fixture
def taking_turns(wanted: Project) -> Project:
    """Two specs that list one segment, each applied by a job of its own; the second one last."""
    wanted.write({"a": segment(56, "a")}, name="1.yaml")
    wanted.write({"b": segment(56, "b", "guards: {max_removals: 100%}")}, name="2.yaml")
    for spec in ("1.yaml", "2.yaml"):
        assert wanted.run("apply", spec).code == 0
    return wanted


def rivals(project: Project, *words: str) -> list[str]:
    warnings = project.run(*words, "--format", "json").document["warnings"]
    return [each for each in warnings if "was applied from there last" in each]


def test_a_spec_that_another_job_has_applied_and_that_still_lists_the_segment_is_warned_of(
    taking_turns: Project,
) -> None:
    for command in ("plan", "apply"):
        (warning,) = rivals(taking_turns, command, "1.yaml")
        assert warning.startswith("1.yaml:")
        assert "segment 56 is listed at 2.yaml:" in warning
    assert rivals(taking_turns, "plan", "1.yaml") == []  # which was applied last now
    assert len(rivals(taking_turns, "plan", "2.yaml")) == 1


@pytest.mark.parametrize("other", ["", "retired", "elsewhere", "not a spec", "another number"])
def test_a_spec_that_does_not_list_the_segment_any_more_is_no_rival(taking_turns: Project, other: str) -> None:
    path = taking_turns.folder / "2.yaml"
    if not other:
        path.unlink()
    elif other == "retired":
        taking_turns.write({"b": "segment_id: 56\nretired: true"}, name="2.yaml")
    elif other == "elsewhere":
        taking_turns.write({"b": segment(56, "b")}, workspace="staging", name="2.yaml")
    elif other == "another number":
        taking_turns.write({"b": segment(57, "b")}, name="2.yaml")
    else:
        path.write_text("[")

    assert rivals(taking_turns, "plan", "1.yaml") == []


def test_the_title_by_which_another_job_lists_the_segment_is_seen(taking_turns: Project) -> None:
    taking_turns.write({"b": titled("VIP", "b", "guards: {max_removals: 100%}")}, name="2.yaml")
    assert taking_turns.run("apply", "2.yaml").code == 0

    assert len(rivals(taking_turns, "plan", "1.yaml")) == 1
