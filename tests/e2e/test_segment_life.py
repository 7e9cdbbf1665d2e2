"""The life of a segment around its runs: it leaves its spec, is paused, retired."""

import pytest

from reconciler.sandbox.faults import answers
from tests.support.project import Project, people, segment


@pytest.fixture
def two(project: Project) -> Project:
    """Two segments that were applied: `vip` with five people and `old` with three."""
    project.want("vip", people(*range(5)))
    project.want("old", people(*range(3)))
    project.write({"vip": segment(56, "vip"), "old": segment(57, "old")})
    assert project.run("apply", "spec.yaml").code == 0
    return project


# --- orphans -----------------------------------------------------------------------------------------------------


def test_a_segment_that_leaves_its_spec_is_an_orphan_in_plan_apply_and_status(two: Project) -> None:
    two.write({"vip": segment(56, "vip")})

    for command in ("plan", "apply", "status"):
        done = two.json(command)
        assert done.code == 0
        (orphan,) = done.document["orphans"]
        assert (orphan["segment_id"], orphan["name"], orphan["members"]) == (57, "old", 3)
        shown = two.run(command, "spec.yaml")
        assert "list it with `retired: true`" in " ".join(shown.out.split())
        assert "forget" not in shown.out
    assert two.sandbox.members(57) == set(people(*range(3)))


def test_the_segments_of_another_spec_are_no_orphans(two: Project) -> None:
    two.write({"vip": segment(56, "vip")}, name="vip.yaml")
    two.write({"old": segment(57, "old")}, name="old.yaml")
    two.spec.unlink()
    assert two.run("apply", "vip.yaml", "old.yaml").code == 0

    assert two.run("status", "vip.yaml", "--format", "json").document["orphans"] == []


def test_a_segment_that_holds_nobody_is_no_orphan(two: Project) -> None:
    two.want("old", [])
    assert two.run("apply", "spec.yaml", "--allow-empty", "old", "--allow-removals", "old").code == 0

    two.write({"vip": segment(56, "vip")})

    assert two.json("status").document["orphans"] == []


# --- paused ------------------------------------------------------------------------------------------------------


def test_a_paused_segment_is_planned_and_nothing_is_sent(two: Project) -> None:
    two.want("vip", people(*range(4)))
    two.write({"vip": segment(56, "vip", "paused: true"), "old": segment(57, "old")})

    planned, applied = two.json("plan", "--detailed-exitcode"), two.json("apply")

    assert (planned.code, applied.code) == (0, 0)
    assert (planned.segments["vip"]["status"], planned.segments["vip"]["remove"]) == ("paused", 1)
    assert applied.segments["vip"]["status"] == "paused"
    assert planned.document["summary"]["paused"] == applied.document["summary"]["paused"] == 1
    assert two.sandbox.members(56) == set(people(*range(5)))


def test_a_paused_segment_with_a_breached_guard_shows_it_and_is_paused(two: Project) -> None:
    two.want("vip", [])
    two.write({"vip": segment(56, "vip", "paused: true")})

    planned = two.json("plan")

    assert (planned.code, planned.segments["vip"]["status"]) == (0, "paused")
    assert [guard["name"] for guard in planned.segments["vip"]["guards"] if guard["breached"]] == ["allow_empty"]


# --- retired -----------------------------------------------------------------------------------------------------


def test_a_retired_segment_loses_everybody_whatever_the_guards_say(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "old": "segment_id: 57\nretired: true"})

    planned, applied = two.json("plan"), two.json("apply")

    assert (planned.segments["old"]["remove"], planned.segments["old"]["guards"]) == (3, [])
    assert (applied.code, applied.segments["old"]["status"], applied.segments["old"]["removed"]) == (0, "applied", 3)
    assert two.sandbox.members(57) == set()
    assert two.json("plan").segments["old"]["status"] == "unchanged"


# --- by title ----------------------------------------------------------------------------------------------------


def titled(title: str, table: str, *lines: str) -> str:
    return "\n".join([f"segment: {title}", f"query: SELECT id FROM {table}", *lines])


@pytest.fixture
def vip(project: Project) -> Project:
    """A workspace with a segment called `VIP customers`, and a query for it."""
    project.want("vip", people(*range(5)))
    project.sandbox.workspace.change_segment(56, name="VIP customers")
    project.write({"vip": titled("VIP customers", "vip")})
    return project


def test_a_segment_is_found_by_its_title(vip: Project) -> None:
    planned, applied = vip.json("plan"), vip.json("apply")

    assert (planned.segments["vip"]["segment_id"], planned.segments["vip"]["title"]) == (56, "VIP customers")
    assert (applied.code, vip.sandbox.members(56)) == (0, set(people(*range(5))))


def test_a_segment_that_was_renamed_is_found_by_its_number_and_that_is_said(vip: Project) -> None:
    assert vip.run("apply", "spec.yaml").code == 0
    vip.sandbox.workspace.change_segment(56, name="Best customers")

    planned = vip.json("plan")

    assert (planned.code, planned.segments["vip"]["segment_id"]) == (0, 56)
    assert any("is called 'Best customers' now" in warning for warning in planned.document["warnings"])


def test_a_number_and_a_title_that_lead_to_different_segments_are_an_error(vip: Project) -> None:
    assert vip.run("apply", "spec.yaml").code == 0
    vip.sandbox.workspace.change_segment(56, name="Best customers")
    vip.sandbox.workspace.change_segment(57, name="VIP customers")

    done = vip.json("apply")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "title")
    assert "56" in done.segments["vip"]["error"]["message"]
    assert "57" in done.segments["vip"]["error"]["message"]


def test_a_title_that_the_segment_of_another_entry_had_does_not_lead_to_that_segment(vip: Project) -> None:
    vip.write({"vip": segment(56, "vip")})
    assert vip.run("apply", "spec.yaml").code == 0
    vip.sandbox.workspace.change_segment(56, name="VIP until 2025")
    vip.want("new", people(*range(20, 25)))
    vip.write({"vip": titled("VIP customers", "new", "create: true")}, name="other.yaml")

    done = vip.run("apply", "other.yaml", "--format", "json")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "title")
    assert "'VIP customers' was segment 56 of the entry 'vip'" in done.segments["vip"]["error"]["message"]
    assert vip.sandbox.members(56) == set(people(*range(5)))

    assert vip.run("refresh", "spec.yaml", "--yes").code == 0
    assert vip.run("apply", "other.yaml").code == 0

    assert vip.sandbox.members(56) == set(people(*range(5)))


def test_status_and_forget_give_no_entry_the_segment_that_another_had_by_its_title(vip: Project) -> None:
    assert vip.run("apply", "spec.yaml").code == 0
    vip.write({"vip": titled("Best customers", "vip"), "new": titled("VIP customers", "vip")})

    shown = vip.json("status")

    assert shown.segments["new"]["members"] is None
    assert vip.run("state", "forget", "spec.yaml", "new", "--yes").code == 1


@pytest.mark.parametrize(("name", "code"), [("VIP", "no_such_segment"), ("Twins", "title")])
def test_a_title_that_leads_to_no_segment_or_to_two_is_an_error(vip: Project, name: str, code: str) -> None:
    vip.sandbox.workspace.change_segment(57, name="Twins")
    vip.sandbox.workspace.change_segment(58, name="Twins")
    vip.write({"vip": titled(name, "vip")})

    done = vip.json("plan")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, code)
    assert vip.sandbox.writes == []


@pytest.mark.parametrize("named", ["", "title"])
def test_long_titles_that_differ_in_their_end_are_two(vip: Project, named: str) -> None:
    vip.sandbox.create_segment("x" * 310 + " one", id=61)
    title = "x" * 310 + " two"
    vip.write({"t": segment(61, "vip", f"title: {title}") if named else titled(title, "vip")})

    assert vip.run("apply", "spec.yaml").code == 1
    assert vip.sandbox.writes == []


def test_a_pinned_title_that_differs_stops_the_segment(vip: Project) -> None:
    vip.write({"vip": segment(56, "vip", "title: Newsletter")})

    done = vip.json("apply")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "title")
    assert vip.sandbox.writes == []


def test_a_plan_says_that_a_segment_will_be_created_and_makes_nothing(vip: Project) -> None:
    vip.write({"vip": titled("Brand new", "vip", "create: true")})
    before = len(vip.sandbox.calls)

    planned = vip.json("plan")

    assert (planned.code, planned.segments["vip"]["segment_id"], planned.segments["vip"]["add"]) == (0, None, 5)
    assert all(call.method == "GET" for call in vip.sandbox.calls[before:])


def test_the_name_of_another_specs_segment_leads_to_no_number(vip: Project) -> None:
    assert vip.run("apply", "spec.yaml").code == 0
    vip.want("others", people(7))
    vip.write({"vip": titled("Weekly", "others")}, name="other.yaml")
    vip.sandbox.workspace.change_segment(57, name="Weekly")

    assert vip.run("apply", "other.yaml").code == 0

    assert vip.sandbox.members(56) == set(people(*range(5)))
    assert vip.sandbox.members(57) == set(people(7))


def test_a_new_title_under_an_old_name_is_another_segment(vip: Project) -> None:
    assert vip.run("apply", "spec.yaml").code == 0
    vip.write({"vip": titled("Nobody knows this", "vip")})

    done = vip.json("apply")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "no_such_segment")


@pytest.mark.parametrize("command", ["plan", "apply"])
@pytest.mark.parametrize("selected", [(), ("--select", "twin")])
def test_a_number_and_a_title_of_one_segment_are_refused(vip: Project, command: str, selected: tuple[str, ...]) -> None:
    vip.want("others", people(7))
    vip.write({"vip": segment(56, "vip"), "twin": titled("VIP customers", "others")})

    done = vip.json(command, *selected)

    assert done.code == 1
    assert {each["error"]["code"] for each in done.segments.values()} == {"title"}
    assert vip.sandbox.writes == []


def test_a_title_that_the_state_does_not_know_makes_no_orphan_of_its_segment(vip: Project) -> None:
    assert vip.run("apply", "spec.yaml").code == 0
    vip.sandbox.workspace.change_segment(56, name="Best customers")
    vip.write({"vip": titled("Best customers", "vip")})

    assert vip.json("status").document["orphans"] == vip.json("plan").document["orphans"] == []


def test_of_a_title_that_was_sent_to_before_the_app_key_is_not_in_doubt(vip: Project) -> None:
    def doubts() -> int:
        return sum("app_api_key, which finds titles" in each for each in vip.json("plan").document["warnings"])

    assert doubts() == 1
    assert vip.run("apply", "spec.yaml").code == 0
    assert doubts() == 0


@pytest.mark.parametrize("first", ["vip", "titled"])
def test_a_number_and_a_title_of_one_segment_are_refused_also_where_one_is_selected(vip: Project, first: str) -> None:
    vip.want("new", people(*range(20, 25)))
    entries = {"vip": segment(56, "vip"), "titled": titled("VIP customers", "new")}
    second = "titled" if first == "vip" else "vip"
    vip.write({first: entries[first]})
    assert vip.run("apply", "spec.yaml").code == 0
    before = vip.sandbox.members(56)
    vip.write(entries)

    done = vip.json("apply", "--select", second)

    assert (done.code, done.segments[second]["error"]["code"]) == (1, "title")
    assert vip.sandbox.members(56) == before


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_title_that_was_never_applied_is_compared_with_a_selected_number(vip: Project, command: str) -> None:
    vip.write({"vip": segment(56, "vip"), "titled": titled("VIP customers", "vip")})

    done = vip.json(command, "--select", "vip")

    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "title")
    assert vip.sandbox.writes == []


def test_a_list_of_segments_that_cannot_be_had_refuses_no_number(vip: Project) -> None:
    vip.write({"vip": segment(56, "vip"), "titled": titled("Weekly", "vip")})
    vip.sandbox.faults.add(answers(403, path="/v1/segments", times=None))

    assert vip.run("apply", "spec.yaml", "--select", "vip").code == 0


def test_a_refresh_of_a_number_and_a_title_of_one_segment_is_refused(vip: Project) -> None:
    vip.write({"vip": segment(56, "vip"), "titled": titled("VIP customers", "vip")})

    done = vip.json("refresh", "--yes")

    assert (done.code, {each["error"]["code"] for each in done.segments.values()}) == (1, {"title"})
