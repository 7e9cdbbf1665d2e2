"""What is asked only because a person reads it: side by side, within one time, and never in the way of a plan."""

import re

import pytest

from reconciler.sandbox.faults import parse_fault
from tests.support.project import Project, one_line, people, segment


@pytest.fixture
def three(project: Project) -> Project:
    """Three segments whose plans change all of them."""
    project.want("some", people(*range(5)))
    project.write({name: segment(number, "some") for name, number in (("a", 56), ("b", 57), ("c", 58))}, timeout=20)
    return project


def paths(project: Project) -> list[str]:
    return [call.path.rsplit("/", 1)[-1] for call in project.sandbox.calls if call.method == "GET"]


def test_a_plan_asks_for_members_and_uses_of_what_changes_and_for_one_list(three: Project) -> None:
    three.sandbox.put_members(56, people(900))

    planned = three.json("plan")

    asked = paths(three)
    assert [asked.count(each) for each in ("segments", "customer_count", "used_by")] == [1, 3, 3]
    assert all(each["uses"] is not None for each in planned.document["segments"])
    assert "now that the state does not know" in " ".join(three.run("plan", "spec.yaml").out.split())


def test_an_apply_that_nobody_reads_asks_for_neither_and_an_unchanged_plan_for_the_list(three: Project) -> None:
    assert three.run("apply", "spec.yaml").code == 0
    assert not {"customer_count", "used_by"} & set(paths(three))

    three.sandbox.reset_calls()
    planned = three.json("plan")
    assert (planned.code, {each["status"] for each in planned.document["segments"]}) == (0, {"unchanged"})
    assert all(each["title"] for each in planned.document["segments"])
    assert paths(three).count("segments") == 1
    assert not {"customer_count", "used_by"} & set(paths(three))

    three.sandbox.reset_calls()
    assert three.run("apply", "spec.yaml").code == 0
    assert "segments" not in paths(three)


def test_a_plan_tells_of_a_segment_that_is_gone_though_nothing_changes(three: Project) -> None:
    assert three.run("apply", "spec.yaml").code == 0
    three.sandbox.workspace.delete_segment(57)

    planned = three.json("plan")

    assert planned.code == 1
    assert [each["status"] for each in planned.document["segments"]] == ["unchanged", "failed", "unchanged"]
    assert planned.document["segments"][1]["error"]["code"] == "no_such_segment"


def test_what_is_not_answered_in_time_is_not_known_and_said_once(three: Project) -> None:
    three.sandbox.inject(parse_fault("hang=60,api=app,path=used_by,times=forever"))

    planned = three.json("plan", "--lookup-timeout", "1")

    assert planned.code == 0
    assert [each["uses"] for each in planned.document["segments"]] == [None] * 3
    (warning,) = (each for each in planned.document["warnings"] if "--lookup-timeout" in each)
    assert "3 segments" in warning


def test_without_time_nothing_is_asked_and_that_is_said(three: Project) -> None:
    planned = three.json("plan", "--lookup-timeout", "0")

    assert not {"customer_count", "used_by"} & set(paths(three))
    assert any("--lookup-timeout is 0" in each for each in planned.document["warnings"])


def test_an_endpoint_that_refuses_the_key_is_not_tried_for_each_segment(three: Project) -> None:
    three.sandbox.inject(parse_fault("status=401,api=app,path=customer_count,times=forever"))
    three.sandbox.inject(parse_fault("status=401,api=app,path=used_by,times=forever"))
    three.write({f"s{number}": segment(number, "some") for number in range(100, 160)})
    for number in range(100, 160):
        three.sandbox.create_segment(f"S{number}", id=number)

    planned = three.json("plan")

    assert planned.code == 0
    asked = paths(three)
    assert asked.count("customer_count") + asked.count("used_by") <= 16
    assert sum("is not known" in each for each in planned.document["warnings"]) == 1


@pytest.mark.parametrize("key", ["none", "one that is refused"])
def test_a_first_fill_says_that_a_takeover_needs_an_app_key_that_is_accepted(project: Project, key: str) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    if key == "none":
        project.spec.write_text(project.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    project.sandbox.configure(app_key_revoked=True)

    planned, applied = (one_line(project.run(command, "spec.yaml").out) for command in ("plan", "apply"))

    assert "(`refresh`, which takes them over, needs " in planned
    assert "`app_api_key`" in planned
    assert "which takes them over, need " in applied
    assert "reconcile refresh spec.yaml" not in planned + applied


@pytest.mark.parametrize("trouble", ["keys that are refused", "nobody answers"])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_plan_says_why_the_environment_of_the_keys_is_not_known(project: Project, trouble: str, sealed: bool) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, destination="" if sealed else "workspace_id: 3")
    if trouble == "nobody answers":
        text = project.spec.read_text()
        project.spec.write_text(text.replace(f"track_url: {project.sandbox.url}", "track_url: http://127.0.0.1:1"))
    project.sandbox.configure(track_key_revoked=True)

    checked = project.run("validate", "spec.yaml", "--connect")
    planned = project.json("plan", *(["--out", "sealed.plan"] if sealed else []))

    [warning] = [each for each in planned.document["warnings"] if "environment" in each]
    assert (checked.code, planned.code) == (1, 0)
    if trouble == "keys that are refused":
        cause = re.search("the Track API .*", one_line(checked.out).partition(" 1 spec, ")[0])
        assert cause
        assert warning.endswith(cause[0].replace(" next: ", "; next: "))
    else:
        assert warning.endswith("next: `reconcile validate spec.yaml --connect` says why")


def test_what_is_not_known_of_one_segment_is_said_of_one(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})

    planned = project.json("plan", "--lookup-timeout", "0")

    [warning] = [each for each in planned.document["warnings"] if "is not known" in each]
    assert warning.startswith("how many members 1 segment has, and what uses it, is not known: ")
