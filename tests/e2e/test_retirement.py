"""Retired segments: in plans, in runs, read back, and in plan files."""

import pytest

from reconciler.sandbox.faults import answers, late, poison
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, leave_unsettled, one_line, people, segment

RETIRED = "segment_id: 57\nretired: true"
TITLED = "segment: Churn risk\nquery: SELECT id FROM old"
CONSENT = ("--allow-empty", "old", "--allow-removals", "old")


def retire(project: Project, *lines: str, **more: str) -> None:
    project.write({"vip": segment(56, "vip"), "old": "\n".join([RETIRED, *lines])}, **more)


# --- retired -----------------------------------------------------------------------------------------------------


def test_a_retired_segment_is_emptied_and_forgotten_and_its_entry_may_go(two: Project) -> None:
    retire(two)
    planned = two.run("plan", "spec.yaml")
    reviewed = two.run("plan", "spec.yaml", "--format", "markdown")
    applied = two.run("apply", "spec.yaml")

    assert "retired: 3 people leave, then the state forgets it" in one_line(planned.out)
    assert "retired: 3 people leave, then the state forgets it" in reviewed.out
    assert "all its members have left, and the state forgot it; its entry may be removed" in one_line(applied.out)
    assert (applied.code, two.sandbox.members(57)) == (0, set())
    assert two.run("state", "show", "spec.yaml", "id:57").code == 1, "the state knows nothing of it"
    assert "the state knows nobody of it; its entry may be removed" in one_line(two.run("apply", "spec.yaml").out)
    again = two.json("plan", "--detailed-exitcode")
    assert (again.code, again.segments["old"]["status"], again.segments["old"]["first_fill"]) == (0, "unchanged", False)

    two.write({"vip": segment(56, "vip")})
    assert two.json("status").document["orphans"] == []
    (_, retired, *_) = two.json("history").document["runs"]
    assert retired["removed"] == 3, "the history stays"


def test_nothing_is_asked_of_customer_io_where_a_retired_segment_holds_nobody(two: Project) -> None:
    retire(two)
    assert two.run("apply", "spec.yaml", "--confirm").code == 0
    two.write({"old": RETIRED, "other": "segment_id: 58\nretired: true\nconfirm: true\ntitle: Pinned"})
    two.sandbox.reset_calls()

    done = [two.json("plan"), two.json("apply", "--confirm")]

    for each in done:
        assert (each.code, {row["status"] for row in each.segments.values()}) == (0, {"unchanged"})
        assert each.document["warnings"] == []
    assert two.sandbox.calls == []
    assert two.run("state", "show", "spec.yaml", "id:58").code == 1, "it was not written to"


def test_a_segment_that_its_query_emptied_is_forgotten_without_a_request(two: Project) -> None:
    two.want("old", [])
    assert two.run("apply", "spec.yaml", *CONSENT).code == 0
    retire(two)
    two.sandbox.reset_calls()

    done = two.json("apply")

    assert (done.code, done.segments["old"]["status"], two.sandbox.calls) == (0, "unchanged", [])
    assert two.run("state", "show", "spec.yaml", "id:57").code == 1


def test_what_a_retired_segment_inherits_of_a_query_is_ignored(two: Project) -> None:
    (two.folder / "all.sql").write_text("SELECT no_such_column FROM nowhere")
    inherited = "defaults: {query_file: all.sql, id_type: email, ownership: exclusive, create: true, confirm: false}\n"
    inherited = inherited.replace("}", ", guards: {max_removals: 0, min_members: 9, must_include: [a@b.c]}}")
    two.write({"old": RETIRED}, more=inherited)
    spec = two.spec.read_text().replace("  app_api_key: sandbox-app-key\n", "")
    two.spec.write_text(spec)

    planned, applied = two.json("plan"), two.json("apply")

    assert (planned.code, planned.segments["old"]["status"], planned.segments["old"]["remove"]) == (0, "changes", 3)
    assert (planned.segments["old"]["id_type"], planned.segments["old"]["guards"]) == ("id", [])
    assert (applied.code, two.sandbox.members(57)) == (0, set())


@pytest.mark.parametrize("words", [(), ("--connect",)])
def test_a_spec_with_a_retired_segment_is_valid(two: Project, words: tuple[str, ...]) -> None:
    retire(two)
    done = two.run("validate", "spec.yaml", *words)
    assert done.code == 0, done.err


def test_strangers_in_a_retired_segment_stay(two: Project) -> None:
    two.sandbox.put_members(57, people(900))
    retire(two, "ownership: exclusive")
    assert two.run("apply", "spec.yaml").code == 0
    assert two.sandbox.members(57) == set(people(900))


def test_a_refresh_of_a_retired_segment_takes_no_strangers_over(two: Project) -> None:
    two.sandbox.put_members(57, people(900))
    retire(two)
    refreshed = two.run("refresh", "spec.yaml", "--yes")
    assert (refreshed.code, "1 that the state does not know are left alone" in refreshed.err) == (0, True)
    assert two.run("apply", "spec.yaml").code == 0
    assert two.sandbox.members(57) == set(people(900))


@pytest.mark.parametrize("key", ["query: SELECT id FROM old", "query_file: old.sql"])
def test_a_retired_segment_with_a_query_of_its_own_is_an_error(two: Project, key: str) -> None:
    (two.folder / "old.sql").write_text("SELECT id FROM old")
    retire(two, key)
    done = two.run("apply", "spec.yaml")
    assert (done.code, two.sandbox.writes) == (64, [])
    assert "stands in a segment that is `retired`" in done.err


def test_a_retired_segment_needs_no_source_where_there_are_several(two: Project) -> None:
    retire(two)
    text = two.spec.read_text().replace("sources:\n", "sources:\n  other:\n    url: sqlite:///other.db\n")
    two.spec.write_text(text.replace("query: SELECT id FROM vip", "query: SELECT id FROM vip\n    source: warehouse"))
    done = two.run("apply", "spec.yaml")
    assert (done.code, two.sandbox.members(57)) == (0, set()), done.err


# --- refused -----------------------------------------------------------------------------------------------------


def test_a_segment_that_the_state_knows_by_another_name_is_not_emptied(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "oldest": RETIRED})
    for _ in range(2):  # the first must not make the second possible
        done = two.json("apply")
        error = done.segments["oldest"]["error"]
        assert (done.code, error["code"], two.sandbox.writes) == (1, "retired", [])
        assert "'old'" in error["message"]
        assert "retire it as 'old', or apply its new name before you retire it" in error["hint"]
    assert two.json("plan").segments["oldest"]["status"] == "failed"


def test_a_new_name_that_was_applied_can_be_retired(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "oldest": segment(57, "old")})
    assert two.run("apply", "spec.yaml").code == 0
    two.write({"vip": segment(56, "vip"), "oldest": RETIRED})
    assert (two.run("apply", "spec.yaml").code, two.sandbox.members(57)) == (0, set())


@pytest.mark.parametrize("by_title", [False, True])
def test_a_segment_that_another_spec_still_lists_is_not_emptied(two: Project, by_title: bool) -> None:
    listed = segment(57, "old") if not by_title else "segment: Churn risk\nquery: SELECT id FROM old"
    two.write({"old": listed}, name="crm/other.yaml")
    (two.folder / "crm" / "warehouse.db").write_bytes((two.folder / "warehouse.db").read_bytes())
    text = (two.folder / "crm" / "other.yaml").read_text()
    text = text.replace("\nsegments:", "state: {url: sqlite:///../.reconcile/state.db}\nsegments:")
    (two.folder / "crm" / "other.yaml").write_text(text)
    assert two.run("apply", "crm/other.yaml").code == 0
    two.want("old", people(*range(4)))
    (two.folder / "crm" / "warehouse.db").write_bytes((two.folder / "warehouse.db").read_bytes())
    assert two.run("apply", "crm/other.yaml").code == 0, "a title is known once something was changed"
    retire(two)
    two.sandbox.reset_calls()

    for _ in range(2):
        done = two.json("apply")
        error = done.segments["old"]["error"]
        assert (done.code, error["code"], two.sandbox.writes) == (1, "retired", [])
        assert "spec.yaml:21: crm/other.yaml:18 still lists the segment" in error["message"]

    (two.folder / "crm" / "other.yaml").write_text(text.replace("\nsegments:", "\nsegments: ["))
    assert "can't be read" in two.json("apply").segments["old"]["error"]["message"]
    (two.folder / "crm" / "other.yaml").unlink()
    assert (two.run("apply", "spec.yaml").code, two.sandbox.members(57)) == (0, set())


@pytest.mark.parametrize(
    ("name", "title"), [("old", "Churned in 2025"), ("old", "'Churn risk '"), ("others", "'Churn  risk'")]
)
def test_a_segment_that_another_spec_lists_by_a_title_that_it_may_have_is_not_emptied(
    two: Project, name: str, title: str
) -> None:
    two.want("old", people(*range(4)))
    assert two.run("apply", "spec.yaml").code == 0, "a title is known once something was changed"
    two.sandbox.reset_calls()
    two.write({name: f"segment: {title}\nquery: SELECT id FROM old"})
    two.write({"old": RETIRED}, name="other.yaml")

    done = two.run("apply", "other.yaml", "--format", "json")

    assert (done.code, done.segments["old"]["error"]["code"], two.sandbox.writes) == (1, "retired", [])


def test_a_spec_that_moved_may_retire_what_it_listed(two: Project) -> None:
    retire(two)
    two.spec.rename(two.folder / "moved.yaml")
    assert (two.run("apply", "moved.yaml").code, two.sandbox.members(57)) == (0, set())


def test_a_wrong_number_of_a_retired_segment_is_warned_of(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "old": "segment_id: 58\nretired: true"})
    for command in ("plan", "apply"):
        done = two.json(command)
        assert (done.code, done.segments["old"]["status"]) == (0, "unchanged")
        (warning,) = done.document["warnings"]
        assert "57" in warning
        assert "3 members" in warning
    assert two.sandbox.members(57) == set(people(*range(3)))


# --- what is not settled -----------------------------------------------------------------------------------------


def test_unmatched_ids_of_a_retired_segment_are_sent_once_in_a_remove(two: Project) -> None:
    two.want("old", [*people(*range(3)), "unborn"])
    assert two.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    assert two.run("status", "spec.yaml", "--format", "json").segments["old"]["unmatched"] == 1
    retire(two)
    two.sandbox.reset_calls()

    assert two.run("apply", "spec.yaml").code == 0

    ((call),) = two.sandbox.writes
    assert (call.direction, set(call.ids)) == ("remove", {*people(*range(3)), "unborn"})
    assert two.run("state", "show", "spec.yaml", "id:57").code == 1


def test_unsettled_ids_of_a_retired_segment_are_removed_before_it_is_forgotten(two: Project) -> None:
    two.want("old", people(*range(4)))
    leave_unsettled(two, 57)
    retire(two)

    assert two.run("apply", "spec.yaml").code == 0

    assert [(call.direction, set(call.ids)) for call in two.sandbox.writes] == [("remove", set(people(*range(4))))]
    assert two.run("state", "show", "spec.yaml", "id:57").code == 1


def test_a_retired_segment_with_a_rejected_removal_is_not_forgotten(two: Project) -> None:
    retire(two)
    two.sandbox.inject(poison("p0001"))
    done = two.json("apply")
    assert (done.code, done.segments["old"]["status"], done.segments["old"]["rejected"]) == (6, "partial", 1)
    assert two.stored("old") == {"p0001"}
    two.sandbox.faults.clear()
    assert (two.run("apply", "spec.yaml").code, two.sandbox.members(57)) == (0, set())


@pytest.mark.parametrize(("key", "code"), [("", "refused"), ("  app_api_key: sandbox-app-key\n", "no_such_segment")])
def test_a_retired_segment_that_was_deleted_at_customer_io_fails_and_says_how_to_end(
    two: Project, key: str, code: str
) -> None:
    two.sandbox.workspace.delete_segment(57)
    retire(two)
    two.spec.write_text(two.spec.read_text().replace("  app_api_key: sandbox-app-key\n", key))
    done = two.json("apply")
    error = done.segments["old"]["error"]
    assert (done.code, error["code"]) == (1, code)
    assert "`reconcile state forget spec.yaml id:57`" in error["hint"]
    assert two.stored("old") == set(people(*range(3)))


# --- read back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("--confirm",), ()])
def test_with_a_read_back_it_is_forgotten_once_that_agrees(two: Project, words: tuple[str, ...]) -> None:
    retire(two, *([] if words else ["confirm: true"]))
    two.sandbox.inject(late(direction=Direction.REMOVE))

    first = two.json("apply", *words, "--confirm-timeout", "0")

    assert (first.code, first.segments["old"]["status"]) == (6, "partial")
    assert two.run("state", "show", "spec.yaml", "id:57").code == 0
    two.sandbox.workspace.settle()
    second = two.run("apply", "spec.yaml", *words)
    assert second.code == 0
    assert "the state forgot it" in one_line(second.out)
    assert two.run("state", "show", "spec.yaml", "id:57").code == 1


# --- by title ----------------------------------------------------------------------------------------------------


def test_a_title_that_the_state_has_never_met_is_unchanged_and_asks_nothing(two: Project) -> None:
    entries = {name: f"segment: {title}\nretired: true" for name, title in (("a", "Nobody's"), ("b", "Nowhere"))}
    two.write(entries)
    planned, applied = two.json("plan"), two.json("apply", "--confirm")
    sealed = two.run("plan", "spec.yaml", "--out", "sealed.plan")
    for done in (planned, applied):
        assert (done.code, {row["status"] for row in done.segments.values()}) == (0, {"unchanged"})
        assert done.document["warnings"] == []
    assert (sealed.code, two.sandbox.calls) == (0, [])


def test_a_title_leads_to_the_segment_that_it_led_to_before(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "old": "segment: Churn risk\nquery: SELECT id FROM old"})
    assert two.run("apply", "spec.yaml").code == 0
    two.sandbox.workspace.change_segment(57, name="Renamed")
    two.sandbox.reset_calls()
    two.write({"old": "segment: Churn risk\nretired: true"})

    planned = two.json("plan")
    applied = two.run("apply", "spec.yaml")

    assert (planned.code, planned.segments["old"]["segment_id"], planned.segments["old"]["remove"]) == (0, 57, 3)
    assert (applied.code, two.sandbox.members(57)) == (0, set())


def test_a_title_that_never_led_to_the_segment_of_this_name_is_an_error(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "old": "segment: Typo\nretired: true"})
    done = two.json("apply")
    error = done.segments["old"]["error"]
    assert (done.code, error["code"], two.sandbox.calls) == (1, "title", [])
    assert "`segment_id: 57`" in error["hint"]


# --- plan files --------------------------------------------------------------------------------------------------


def test_a_sealed_plan_of_a_retired_segment_is_applied_once(two: Project) -> None:
    two.want("vip", people(*range(4)))
    retire(two)
    assert two.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0

    first, second = two.run("apply", "sealed.plan"), two.run("apply", "sealed.plan")

    assert (first.code, two.sandbox.members(57), two.sandbox.members(56)) == (0, set(), set(people(*range(4))))
    assert (second.code, "spent" in second.err) == (4, True)


def test_a_sealed_plan_of_a_segment_that_is_retired_by_its_title_is_applied(two: Project) -> None:
    two.write({"vip": segment(56, "vip"), "old": TITLED})
    assert two.run("apply", "spec.yaml").code == 0
    two.write({"old": "segment: Churn risk\nretired: true", "none": "segment: Nobody's\nretired: true"})
    assert two.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    done = two.run("apply", "sealed.plan", "--format", "json")
    assert (done.code, two.sandbox.members(57)) == (0, set()), done.err
    assert [done.segments[name]["status"] for name in ("old", "none")] == ["applied", "unchanged"]
    assert done.document["warnings"] == []
    assert two.run("apply", "sealed.plan").code == 4


@pytest.mark.parametrize("entry", [RETIRED, "segment: Churn risk\nretired: true"])
def test_a_sealed_plan_that_was_cut_short_after_a_segment_was_forgotten_goes_on(two: Project, entry: str) -> None:
    two.write({"vip": segment(56, "vip"), "old": TITLED})
    assert two.run("apply", "spec.yaml").code == 0
    two.want("vip", people(*range(4)))
    two.write({"vip": segment(56, "vip"), "old": entry})
    assert two.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    two.sandbox.inject(answers(403, segment_id=56, times=None))
    assert two.run("apply", "sealed.plan").code == 6
    assert two.run("state", "show", "spec.yaml", "id:57").code == 1
    two.sandbox.faults.clear()

    done = two.run("apply", "sealed.plan")

    assert (done.code, two.sandbox.members(56)) == (0, set(people(*range(4)))), done.err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (segment(57, "old"), RETIRED),
        (RETIRED, segment(57, "old")),
        (segment(57, "old"), segment(57, "old", "paused: true")),
        (segment(57, "old", "paused: true"), segment(57, "old")),
        (RETIRED, RETIRED + "\npaused: true"),
        (RETIRED, RETIRED + "\ntitle: Churn risk"),
        (segment(57, "old", "title: Churn risk"), segment(57, "old")),
        (RETIRED, "segment: Churn risk\nretired: true"),
        (TITLED, TITLED.replace("Churn risk", "Newsletter")),
        (TITLED, segment(57, "old")),
        (segment(57, "old"), TITLED),
        (TITLED, TITLED + "\ncreate: true"),
        (TITLED + "\ncreate: true", TITLED),
        (TITLED, "segment: Churn risk\nretired: true"),
    ],
)
def test_a_plan_is_refused_once_the_spec_says_another_life(two: Project, before: str, after: str) -> None:
    two.want("vip", people(*range(4)))
    two.want("old", people(*range(4)))
    two.write({"vip": segment(56, "vip"), "old": before})
    assert two.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    two.write({"vip": segment(56, "vip"), "old": after})
    done = two.run("apply", "sealed.plan")
    assert (done.code, two.sandbox.writes) == (4, []), done.err
