"""`segments`: what a workspace has, and which spec manages each; `--scaffold` writes entries for the rest."""

import json
import subprocess
import threading

import pytest

from reconciler.sandbox.faults import answers
from reconciler.sandbox.http import Api
from tests.support.project import Project, Result, people, segment


@pytest.fixture
def applied(project: Project) -> Project:
    """A workspace with the segments 56 to 58 and a data-driven one; `vip` is applied to 56."""
    project.sandbox.create_segment("Active", id=60, type="dynamic")
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    return project


def managers(listed: Result) -> dict[int, tuple[str, str | None, str | None]]:
    """Who manages each segment: its status, the name there, and the spec."""
    return {each["segment_id"]: (each["status"], each["name"], each["spec"]) for each in listed.document["segments"]}


def test_each_segment_is_listed_with_its_people_and_its_spec(applied: Project) -> None:
    applied.sandbox.put_members(57, people(*range(3)))

    listed = applied.json("segments")

    assert listed.code == 0
    rows = [
        (each["segment_id"], each["title"], each["type"], each["people"], each["spec"])
        for each in listed.document["segments"]
    ]
    assert rows == [
        (56, "VIP", "manual", 5, "spec.yaml"),
        (57, "Churn risk", "manual", 3, None),
        (58, "Newsletter", "manual", 0, None),
        (60, "Active", "data_driven", 0, None),
    ]
    assert listed.document["summary"] == {"segments": 4, "manual": 3, "free": 2, "orphans": 0}
    assert all(call.method == "GET" for call in applied.sandbox.calls[-5:])


def test_the_spec_that_manages_a_segment_is_known_from_the_state_too(applied: Project) -> None:
    applied.write({"churn": segment(57, "vip")}, name="churn.yaml")
    applied.write({"news": "segment: Newsletter\nquery: SELECT id FROM vip"}, name="news.yaml")

    assert managers(applied.run("segments", "churn.yaml", "--format", "json")) == {
        56: ("managed", "vip", "spec.yaml"),
        57: ("managed", "churn", "churn.yaml"),
        58: ("unmanaged", None, None),
        60: ("unmanaged", None, None),
    }
    assert managers(applied.run("segments", "news.yaml", "--format", "json"))[58] == ("managed", "news", "news.yaml")


def test_what_a_spec_names_and_the_workspace_lacks_is_a_warning(applied: Project) -> None:
    segments = {
        "vip": segment(56, "vip", "title: VIP customers"),
        "lost": segment(99, "vip"),
        "typo": "segment: Newsleter\nquery: SELECT id FROM vip",
        "new": "segment: Brand new\ncreate: true\nquery: SELECT id FROM vip",
    }
    applied.write(segments)

    listed = applied.json("segments")

    assert listed.code == 0
    assert [warning.partition(": ")[2] for warning in listed.document["warnings"]] == [
        "segment 56 is called 'VIP' at Customer.io, and `title` is 'VIP customers'",
        "there is no segment 99 in workspace 'default'",
        "no segment of workspace 'default' is called 'Newsleter'",
    ]


def test_a_segment_that_left_its_spec_is_an_orphan_while_it_holds_somebody(applied: Project) -> None:
    applied.write({"churn": segment(57, "vip")})
    listed = applied.json("segments")
    assert managers(listed)[56] == ("orphan", "vip", "spec.yaml")
    assert "none (left" in applied.run("segments", "spec.yaml").out

    applied.want("vip", [])
    applied.write({"vip": segment(56, "vip")})
    assert applied.run("apply", "spec.yaml", "--allow-empty", "vip", "--allow-removals", "vip").code == 0
    applied.write({"churn": segment(57, "vip")})
    assert managers(applied.json("segments"))[56] == ("unmanaged", None, None)


def test_in_a_repository_the_spec_that_manages_a_segment_has_its_path_from_the_top(project: Project) -> None:
    for words in (["init", "-q"], ["remote", "add", "origin", "https://ana:secret@example.com/crm.git"]):
        subprocess.run(["git", *words], cwd=project.folder, check=True)
    project.want("vip", people(*range(5)))
    state = "state: {url: 'sqlite:///../state.db'}\n"
    project.write({"vip": segment(56, "vip")}, more=state, name="crm/vip.yaml")
    project.write({"churn": segment(57, "vip")}, more=state, name="crm/churn.yaml")
    for name in ("warehouse.db",):
        (project.folder / "crm" / name).symlink_to(project.folder / name)
    assert project.run("apply", "crm/vip.yaml").code == 0

    listed = project.run("segments", "crm/churn.yaml", "--format", "json")
    assert managers(listed)[56] == ("managed", "vip", "crm/vip.yaml")
    assert "secret" not in listed.out

    (project.folder / "crm" / "vip.yaml").unlink()
    listed = project.run("segments", "crm/churn.yaml", "--format", "json")
    assert managers(listed)[56] == ("orphan", "vip", "crm/vip.yaml")


@pytest.mark.server
def test_a_state_in_postgresql_knows_the_spec_too(project: Project, postgres_url: str) -> None:
    state = f"state: {{url: '{postgres_url}'}}\n"
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")}, more=state, name="vip.yaml")
    project.write({"churn": segment(57, "vip")}, more=state, name="churn.yaml")
    assert managers(project.run("segments", "churn.yaml", "--format", "json"))[56] == ("unmanaged", None, None)
    assert project.run("apply", "vip.yaml").code == 0

    assert managers(project.run("segments", "churn.yaml", "--format", "json"))[56] == ("managed", "vip", "vip.yaml")


def test_a_folder_of_specs_lists_each_workspace_once(applied: Project) -> None:
    applied.write({"vip": segment(56, "vip")}, name="specs/vip.yaml")
    applied.write({"churn": segment(57, "vip")}, name="specs/churn.yaml")
    applied.sandbox.reset_calls()

    found = managers(applied.run("segments", "specs", "--format", "json"))

    assert [found[number][2] for number in (56, 57, 58)] == ["specs/vip.yaml", "specs/churn.yaml", None]
    assert sum(call.path == "/v1/segments" for call in applied.sandbox.calls) == 1


# --- scaffold ----------------------------------------------------------------------------------------------------


def test_a_scaffold_is_pasted_filled_and_applied(applied: Project) -> None:
    applied.sandbox.workspace.change_segment(57, name='Churn: "risk" ${NOW}')
    scaffold = applied.run("segments", "spec.yaml", "--scaffold")
    assert scaffold.code == 0
    own = applied.spec.read_text()

    applied.spec.write_text(own + scaffold.out)
    refused = applied.run("apply", "spec.yaml")
    assert refused.code == 64
    assert "`segments.churn_risk_now.query` has no value" in refused.err

    applied.spec.write_text(own + scaffold.out.replace("query:", "query: SELECT id FROM vip"))
    done = applied.json("apply")
    assert done.code == 0, done.err
    assert applied.sandbox.members(57) == applied.sandbox.members(58) == set(people(*range(5)))
    assert "managed by a spec" in applied.run("segments", "spec.yaml", "--scaffold").out


def test_a_scaffold_has_one_format(applied: Project) -> None:
    assert applied.run("segments", "spec.yaml", "--scaffold", "--format", "json").code == 64


# --- what can go wrong -------------------------------------------------------------------------------------------


def test_without_an_app_key_it_says_which_key_is_missing(applied: Project) -> None:
    applied.spec.write_text(applied.spec.read_text().replace("  app_api_key: sandbox-app-key\n", ""))

    done = applied.run("segments", "spec.yaml")

    assert (done.code, done.out) == (64, "")
    assert "`segments` needs destination.app_api_key" in done.err


def test_a_wrong_app_key_is_named(applied: Project) -> None:
    applied.sandbox.configure(app_key_revoked=True)

    done = applied.run("segments", "spec.yaml")

    assert (done.code, done.out) == (1, "")
    assert "destination.app_api_key" in done.err


def test_a_key_of_another_workspace_is_refused_before_anything_is_read(applied: Project) -> None:
    applied.sandbox.configure(environment_id=4)
    applied.sandbox.reset_calls()

    assert applied.run("segments", "spec.yaml").code == 1
    assert not [call for call in applied.sandbox.calls if call.path.startswith("/v1/")]


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        (None, 0),
        ([], 0),
        ([{"id": 56, "name": "VIP"}], 1),
        ([{"id": "56", "name": "VIP", "type": "manual"}], 1),
        ([{"id": 56, "type": "manual"}, {"id": 56, "type": "dynamic"}], 1),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(applied: Project, segments: object, code: int) -> None:
    body = json.dumps({"segments": segments})
    applied.sandbox.faults.add(answers(200, body=body, api=Api.APP, path="/v1/segments", times=None))

    done = applied.run("segments", "spec.yaml")

    assert done.code == code
    assert ("Workspace default: 0 segments" in done.out) is (code == 0)


def test_a_title_cannot_change_the_terminal(applied: Project) -> None:
    applied.sandbox.workspace.change_segment(57, name="\x1b[2J\x1b]0;gone\x07::error::\r\nNews\u202e##[group]")

    for words in ((), ("--scaffold",), ("--format", "json"), ("--format", "markdown")):
        shown = applied.run("segments", "spec.yaml", *words).out
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown)
        assert "##[" not in shown
        assert not [line for line in shown.splitlines() if line.lstrip().startswith("::")]


# --- people ------------------------------------------------------------------------------------------------------


def test_people_that_are_not_asked_for_are_null_and_that_is_said(applied: Project) -> None:
    applied.sandbox.reset_calls()

    listed = applied.json("segments", "--lookup-timeout", "0")

    assert listed.code == 0
    assert {each["people"] for each in listed.document["segments"]} == {None}
    assert "4 segments were not counted" in listed.document["warnings"][0]
    assert not [call for call in applied.sandbox.calls if call.path.endswith("/customer_count")]


def test_answers_that_do_not_come_in_time_fail_nothing(applied: Project) -> None:
    applied.spec.write_text(applied.spec.read_text().replace("timeout: 30", "timeout: 1"))
    is_over = threading.Event()
    applied.sandbox.on_arrival(lambda call: call.path.endswith("/customer_count") and is_over.wait(60))

    listed = applied.json("segments", "--lookup-timeout", "0.1")
    is_over.set()

    assert listed.code == 0
    assert {each["people"] for each in listed.document["segments"]} == {None}
    assert listed.document["warnings"] == ["the people of 4 segments were not counted within --lookup-timeout (0.1 s)"]


def test_a_count_that_is_refused_is_said_once(applied: Project) -> None:
    applied.sandbox.faults.add(answers(403, path="customer_count", times=None))

    listed = applied.json("segments")

    assert {each["people"] for each in listed.document["segments"]} == {None}
    (warning,) = listed.document["warnings"]
    assert warning.startswith("the people of 4 segments can't be counted: ")
