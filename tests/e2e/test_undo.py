"""Undoing a run: what is sealed, what is sent, and what later runs have changed."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.sandbox.faults import answers, drops, poison
from reconciler.sandbox.http import Call
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, Result, leave_unsettled, one_line, people, segment

BEFORE = people(*range(5))
NIGHT = people(2, 3, 4, 10, 11, 12)


def apply(project: Project, *words: str) -> str:
    """Apply the spec; give the id of the run."""
    done = project.json("apply", *words)
    assert done.code == 0, done.err
    run: str = done.document["run_id"]
    return run


def undo(project: Project, run: str, *words: str) -> Result:
    return project.json("undo", run, "--out", "undo.plan", *words)


def send(project: Project, *words: str) -> Result:
    return project.run("apply", "undo.plan", "--format", "json", *words)


def list_sealed(project: Project) -> list[tuple[str, list[str]]]:
    lines = map(json.loads, Path(project.folder, "undo.plan").read_text().splitlines())
    return [(line["direction"], line["ids"]) for line in lines if "ids" in line]


@pytest.fixture
def night(two: Project) -> str:
    """The run of last night: `vip` (0 to 4) lost 0 and 1 and got 10 to 12; `old` (0 to 2) got 3."""
    two.want("vip", NIGHT)
    two.want("old", people(0, 1, 2, 3))
    run = apply(two)
    two.sandbox.reset_calls()
    return run


# -- the way of one undo


def test_the_undo_of_last_night_brings_back_the_evening(two: Project, night: str) -> None:
    planned = undo(two, night)
    rows = planned.segments
    assert (planned.code, planned.document["undo_of"], two.sandbox.writes) == (0, night, [])
    assert [(row["status"], row["desired"], row["remove"], row["add"], row["unchanged"]) for row in rows.values()] == [
        ("changes", None, 3, 2, 3),
        ("changes", None, 1, 0, 3),
    ]
    assert two.json("status").segments["vip"]["members"] == 6, "nothing is done yet"

    done = send(two)

    assert (done.code, done.document["undo_of"], done.segments["vip"]["desired"]) == (0, night, None)
    assert two.sandbox.members(56) == two.stored("vip") == set(BEFORE)
    assert two.sandbox.members(57) == two.stored("old") == set(people(0, 1, 2))
    again = send(two)
    assert (again.code, "spent" in again.err) == (4, True)


def test_it_says_what_it_undoes_and_how_to_keep_the_next_run_from_repeating_it(two: Project, night: str) -> None:
    shown = two.run("undo", "spec.yaml", night, "--out", "undo.plan")
    said = one_line(shown.out)
    assert f"Undo of run {night[:8]}" in said
    assert "Undo: 4 to remove, 2 to add, in 2 segments." in said
    assert "does again what that run did, unless the query is mended or the segment has `paused: true`" in said
    assert "reconcile apply undo.plan" in shown.err
    assert Path(two.folder, "undo.plan").stat().st_mode & 0o777 == 0o600


def test_only_the_selected_segments_are_undone(two: Project, night: str) -> None:
    assert list(undo(two, night, "--select", "old").segments) == ["old"]
    assert send(two).code == 0
    assert (two.sandbox.members(56), two.sandbox.members(57)) == (set(NIGHT), set(people(0, 1, 2)))


@pytest.mark.parametrize(("name", "other"), [("vip", "old"), ("old", "vip")])
def test_a_segment_that_the_run_did_not_change_binds_the_undo_to_nothing(two: Project, name: str, other: str) -> None:
    numbers = {"vip": 56, "old": 57}
    before = two.stored(name)
    two.want(name, people(0, 20))
    run = apply(two)
    planned = undo(two, run)
    assert [planned.segments[each]["status"] for each in (name, other)] == ["changes", "unchanged"]
    assert planned.segments[other]["stored"] == len(two.stored(other))
    two.want(other, people(7))
    apply(two, "--select", other)

    assert send(two).code == 0
    assert [two.sandbox.members(numbers[each]) for each in (name, other)] == [before, set(people(7))]


def test_nothing_left_to_undo_is_an_empty_plan(two: Project, night: str) -> None:
    undo(two, night)
    send(two)
    planned = undo(two, night)
    assert (planned.code, list_sealed(two)) == (0, [])
    assert [row["sent_since"] for row in planned.segments.values()] == [5, 1]
    assert "Nothing to undo" in two.run("undo", "spec.yaml", night, "--out", "undo.plan").out
    two.sandbox.reset_calls()
    done = two.run("apply", "undo.plan")
    assert (done.code, two.sandbox.writes) == (0, [])
    assert (done.out.splitlines()[-1], "Nothing to do" in done.out) == ("Nothing to undo.", False)


def test_an_undo_can_be_undone(two: Project, night: str) -> None:
    undo(two, night)
    first = send(two).document["run_id"]
    assert undo(two, first).code == 0
    second = send(two).document["run_id"]
    assert (two.sandbox.members(56), two.sandbox.members(57)) == (set(NIGHT), set(people(0, 1, 2, 3)))
    undo(two, second)
    send(two)
    assert two.sandbox.members(56) == set(BEFORE)


def test_a_state_that_changed_since_makes_the_undo_stale(two: Project, night: str) -> None:
    undo(two, night)
    two.want("old", people(9))
    apply(two, "--select", "old")
    two.sandbox.reset_calls()
    refused = send(two)
    assert (refused.code, two.sandbox.writes) == (4, [])
    assert f"reconcile undo spec.yaml {night[:8]} --out undo.plan" in refused.err


def test_a_run_is_named_by_its_first_characters_or_as_the_last_one(two: Project, night: str) -> None:
    for run in (night[:8], "last"):
        assert undo(two, run).document["undo_of"] == night
    refused = two.run("undo", "spec.yaml", "abc", "--out", "undo.plan")
    assert (refused.code, Path(two.folder, "undo.plan").exists()) == (64, True), "an older file stays"


def test_the_reason_is_sealed_and_kept_in_the_history(two: Project, night: str) -> None:
    assert undo(two, night, "--reason", "wrong table").code == 0
    done = send(two)
    assert done.document["reason"] == "wrong table"
    told = one_line(two.run("history", "spec.yaml", "last").out)
    assert f"Undo of run {night[:8]}" in told
    assert "Applied: 4 removed, 2 added, in 2 segments." in told
    traced = two.run("trace", "spec.yaml", "p0010", "--format", "json").document["events"]
    assert [(event["direction"], event["reason"]) for event in traced] == [("add", "query"), ("remove", "undo")]


def test_a_spec_from_stdin_can_t_be_undone(two: Project, night: str) -> None:
    refused = two.run("undo", "-", night, "--out", "undo.plan", stdin=two.spec.read_text())
    assert (refused.code, "stdin" in refused.err) == (64, True)


# -- guards


def test_the_first_fill_is_undone_only_where_an_empty_segment_is_allowed(project: Project) -> None:
    project.want("vip", people(*range(30)))
    project.write({"vip": segment(56, "vip", "guards: {min_members: 10, must_include: [p0001]}")})
    run = apply(project)
    Path(project.folder, "undo.plan").write_text('{"reconcile_plan": 1}')

    refused = undo(project, run)

    row = refused.segments["vip"]
    assert (refused.code, row["status"], Path(project.folder, "undo.plan").exists()) == (3, "blocked", False)
    assert [(guard["name"], guard["breached"]) for guard in row["guards"]] == [
        ("max_removals", True),
        ("max_additions", False),
        ("allow_empty", True),
    ]
    assert undo(project, run, "--allow-removals", "vip").code == 3
    assert undo(project, run, "--allow-removals", "vip", "--allow-empty", "vip").code == 0
    assert (send(project).code, project.sandbox.members(56)) == (0, set())


def test_guards_are_judged_by_what_the_state_says_now(project: Project) -> None:
    project.want("vip", people(*range(100)))
    project.write({"vip": segment(56, "vip", "guards: {max_removals: 20}")})
    apply(project)
    project.want("vip", people(*range(121)))
    grown = apply(project)
    assert undo(project, grown).segments["vip"]["status"] == "blocked"
    project.want("vip", people(*range(120)))
    apply(project)
    assert undo(project, grown).segments["vip"]["remove"] == 20


# -- what came after


def test_what_later_runs_have_sent_is_left_alone(two: Project, night: str) -> None:
    two.want("vip", [*people(0), *NIGHT[:-1]])  # 0 is back, 12 has gone again
    apply(two)
    two.want("vip", [*people(0), *NIGHT])  # and 12 is back by now
    apply(two)

    row = undo(two, night, "--select", "vip").segments["vip"]

    assert (row["remove"], row["add"], row["sent_since"]) == (2, 1, 2)
    assert list_sealed(two) == [("remove", people(10, 11)), ("add", people(1))]
    assert (send(two).code, two.sandbox.members(56)) == (0, set(people(0, 1, 2, 3, 4, 12)))


def test_what_a_later_run_has_sent_with_an_unknown_outcome_is_left_alone(two: Project, night: str) -> None:
    two.want("vip", [*people(0), *NIGHT])
    leave_unsettled(two, 56)
    assert two.json("status").segments["vip"]["unsettled"] == 1

    assert list_sealed_of(two, night) == [("remove", people(10, 11, 12)), ("add", people(1))]


def test_what_a_later_run_that_was_killed_has_sent_is_left_alone(two: Project, night: str) -> None:
    two.want("vip", [*people(0), *NIGHT[:-1]])
    killed = two.hit("apply", "spec.yaml", at=lambda call: call.direction is Direction.ADD)
    assert killed.code == -9
    assert list_sealed_of(two, night) == [("remove", people(10, 11)), ("add", people(1))]


def list_sealed_of(project: Project, run: str) -> list[tuple[str, list[str]]]:
    assert undo(project, run, "--select", "vip").code == 0
    return list_sealed(project)


def test_somebody_who_came_back_and_was_taken_over_is_not_added(two: Project, night: str) -> None:
    two.sandbox.put_members(56, people(0))  # by hand
    with sqlite3.connect(two.state_file) as connection:
        connection.execute("UPDATE reconcile_marks SET at = 0 WHERE mark = 'removed'")
    assert two.run("refresh", "spec.yaml", "--yes").code == 0
    assert list_sealed_of(two, night) == [("remove", people(10, 11, 12)), ("add", people(1))]


def refresh(project: Project) -> None:
    assert project.run("refresh", "spec.yaml", "--yes").code == 0


@pytest.mark.parametrize("is_forgotten", [False, True])
def test_somebody_who_had_left_and_was_added_by_hand_stays(two: Project, night: str, is_forgotten: bool) -> None:
    if is_forgotten:
        assert two.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0
    two.sandbox.pull_members(56, people(10))
    refresh(two)
    two.sandbox.put_members(56, people(10))
    refresh(two)
    removed = [] if is_forgotten else [("remove", people(11, 12))]
    assert list_sealed_of(two, night) == [*removed, ("add", people(0, 1))]


def test_what_had_an_unknown_outcome_and_was_read_back_is_undone(two: Project) -> None:
    two.want("vip", NIGHT)
    two.sandbox.inject(drops(segment_id=56, direction=Direction.ADD, after_change=True, times=None))
    run = two.json("apply", "--select", "vip").document["run_id"]
    two.sandbox.faults.clear()
    refresh(two)
    assert list_sealed_of(two, run) == [("remove", people(10, 11, 12)), ("add", people(0, 1))]


def test_who_was_never_there_is_not_put_in(two: Project) -> None:
    two.want("vip", [*BEFORE, "ghost"])
    two.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0")
    again = apply(two)
    assert list_sealed_of(two, again) == [], "it was only sent again"


def test_who_was_never_there_and_may_have_been_sent_is_not_put_in_either(two: Project) -> None:
    two.want("vip", [*BEFORE, "ghost"])
    two.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0")
    two.sandbox.inject(drops(segment_id=56, direction=Direction.ADD, times=None))
    two.run("apply", "spec.yaml")
    two.sandbox.faults.clear()
    again = apply(two)
    assert list_sealed_of(two, again) == [], "it was reported as added, and only sent again"


def test_somebody_with_a_refused_add_by_a_later_run_is_left_alone(two: Project, night: str) -> None:
    two.want("vip", [*people(0), *NIGHT])
    two.sandbox.inject(poison("p0000", times=None))
    two.run("apply", "spec.yaml")
    two.sandbox.faults.clear()
    assert list_sealed_of(two, night) == [("remove", people(10, 11, 12)), ("add", people(1))]


def test_a_later_run_of_which_nothing_is_kept_stops_the_undo(two: Project, night: str) -> None:
    two.want("vip", people(2, 3, 4, 10))
    later = apply(two)
    with sqlite3.connect(two.state_file) as connection:
        connection.execute("DELETE FROM reconcile_audit WHERE run_id = ?", (later,))
    refused = undo(two, night)
    assert (refused.code, refused.segments["vip"]["error"]["code"]) == (1, "audit")
    assert "could bring back what that one removed" in refused.err
    assert not Path(two.folder, "undo.plan").exists()


# -- runs that did not come to their end


def test_a_run_that_was_killed_is_undone_with_what_may_have_arrived(two: Project) -> None:
    two.want("vip", NIGHT)
    killed = two.hit("apply", "spec.yaml", at=lambda call: call.direction is Direction.ADD, applied=True)
    assert (killed.code, two.sandbox.members(56)) == (-9, set(NIGHT))
    (run,) = [each["run_id"] for each in two.json("history").document["runs"] if each["exit_code"] is None]

    assert undo(two, run).code == 0

    assert (send(two).code, two.sandbox.members(56), two.stored("vip")) == (0, set(BEFORE), set(BEFORE))


def test_a_run_with_unknown_outcomes_is_undone_with_what_may_have_arrived(two: Project) -> None:
    two.want("vip", NIGHT)
    two.sandbox.inject(drops(segment_id=56, direction=Direction.ADD, times=None))
    ended = two.json("apply", "--select", "vip")
    two.sandbox.faults.clear()
    assert (ended.code, ended.segments["vip"]["unsettled"]) == (6, 3)

    assert undo(two, ended.document["run_id"]).segments["vip"]["remove"] == 3

    assert (send(two).code, two.sandbox.members(56), two.stored("vip")) == (0, set(BEFORE), set(BEFORE))
    assert two.json("status").segments["vip"]["unsettled"] == 0


def test_a_run_that_goes_on_is_not_undone(two: Project, night: str) -> None:
    with sqlite3.connect(two.state_file) as connection:  # as while it is at work
        connection.execute("UPDATE reconcile_runs SET ended_at = NULL, process = NULL WHERE run_id = ?", (night,))
    for run in (night, "last"):
        refused = two.run("undo", "spec.yaml", run, "--out", "undo.plan")
        assert (refused.code, f"run {night[:8]} is still at work" in one_line(refused.err)) == (5, True)
    assert not Path(two.folder, "undo.plan").exists()


@pytest.mark.parametrize("applied", [False, True])
def test_an_undo_that_is_killed_goes_on_from_its_file(two: Project, night: str, applied: bool) -> None:
    undo(two, night)
    for direction in (Direction.REMOVE, Direction.ADD):

        def is_it(call: Call, direction: Direction = direction) -> bool:
            return call.direction is direction

        assert two.hit("apply", "undo.plan", at=is_it, applied=applied).code == -9
    assert send(two).code == 0
    assert two.sandbox.members(56) == two.stored("vip") == set(BEFORE)
    assert two.sandbox.members(57) == two.stored("old") == set(people(0, 1, 2))
    assert send(two).code == 4


def test_an_undo_that_failed_halfway_goes_on_from_its_file(two: Project, night: str) -> None:
    undo(two, night)
    two.sandbox.inject(answers(401, path="*add_customers", times=None))
    assert send(two).code == 6
    two.sandbox.faults.clear()
    assert (send(two).code, two.sandbox.members(56)) == (0, set(BEFORE))


# -- paused, retired, exclusive


def test_pausing_between_undo_and_apply_keeps_the_next_run_from_repeating_it(two: Project, night: str) -> None:
    undo(two, night)
    two.write({"vip": segment(56, "vip", "paused: true"), "old": segment(57, "old", "paused: true")})

    done = send(two)

    assert (done.code, done.segments["vip"]["status"], two.sandbox.members(56)) == (0, "applied", set(BEFORE))
    assert two.json("apply").segments["vip"]["status"] == "paused"
    assert two.sandbox.members(56) == set(BEFORE)


def test_the_undo_of_a_paused_segment_is_sent_and_so_it_is_when_the_pause_has_ended(two: Project, night: str) -> None:
    two.write({"vip": segment(56, "vip", "paused: true"), "old": segment(57, "old")})
    planned = undo(two, night)
    assert planned.segments["vip"]["status"] == "changes"
    two.write({"vip": segment(56, "vip"), "old": segment(57, "old")})
    assert (send(two).code, two.sandbox.members(56)) == (0, set(BEFORE))


def test_a_query_that_was_mended_before_the_apply_makes_the_undo_stale(two: Project, night: str) -> None:
    undo(two, night)
    two.write({"vip": segment(56, "vip WHERE id < 'p0010'"), "old": segment(57, "old")})
    assert (send(two).code, two.sandbox.writes) == (4, [])


def test_a_retired_segment_is_left_out_and_said(two: Project, night: str) -> None:
    two.write({"vip": segment(56, "vip"), "old": "segment_id: 57\nretired: true"})
    planned = undo(two, night)
    assert (list(planned.segments), planned.document["warnings"][0]) == (
        ["vip"],
        "default/old is retired: the undo leaves it out",
    )


def test_what_was_emptied_as_retired_is_not_brought_back(two: Project) -> None:
    entries = {"vip": segment(56, "vip"), "old": segment(57, "old")}
    two.write({**entries, "old": "segment_id: 57\nretired: true"})
    run = apply(two)
    two.write(entries)
    planned = undo(two, run)
    assert (planned.code, planned.segments["old"]["status"], list_sealed(two)) == (0, "unchanged", [])
    assert "default/old: the run emptied it as a retired segment, and the undo leaves that as it is" in planned.err


def test_an_unmatched_id_whose_removal_took_two_runs_is_not_brought_back(two: Project) -> None:
    """It was never there: the first run's removal had an unknown outcome, the next run's was acknowledged."""
    two.want("vip", [*BEFORE, "nobody"])
    assert two.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    two.want("vip", BEFORE)
    two.sandbox.inject(answers(503, times=None, direction=Direction.REMOVE))
    run = two.json("apply").document["run_id"]
    two.sandbox.faults.clear()
    assert apply(two) != run

    planned = undo(two, run)

    assert (planned.code, planned.segments["vip"]["status"], list_sealed(two)) == (0, "unchanged", [])


def test_a_run_is_undone_also_where_the_one_id_of_a_later_run_was_erased(two: Project) -> None:
    two.want("vip", people(0, 1, 2, 4))
    run = apply(two)
    two.want("vip", people(0, 1, 2))
    apply(two)
    with closing(sqlite3.connect(two.state_file)) as state, state:
        for table in ("reconcile_marks", "reconcile_batches"):
            state.execute(f"UPDATE {table} SET at = at - 3601")
    assert two.run("state", "erase", "spec.yaml", *people(4), "--yes").code == 0
    assert "No change of this id is kept" in two.run("trace", "spec.yaml", *people(4)).out

    planned = undo(two, run)

    assert (planned.code, list_sealed(two)) == (0, [("add", people(3))])


def test_a_segment_that_its_spec_no_longer_lists_is_named(two: Project, night: str) -> None:
    two.write({"vip": segment(56, "vip")})
    planned = undo(two, night)
    assert (planned.code, list(planned.segments)) == (0, ["vip"])
    assert "segment 57 (old) of workspace default, too, which no named spec lists" in planned.err


def test_an_exclusive_segment_is_undone_without_looking_for_strays(two: Project) -> None:
    two.write({"vip": segment(56, "vip", "ownership: exclusive"), "old": segment(57, "old")})
    two.sandbox.put_members(56, people(*range(5), 90))
    two.want("vip", NIGHT)
    run = apply(two)  # which removes the stray 90, too
    two.sandbox.put_members(56, [*NIGHT, *people(80)])
    two.sandbox.reset_calls()

    assert undo(two, run).segments["vip"]["add"] == 3
    assert (send(two).code, two.sandbox.members(56)) == (0, {*BEFORE, *people(80, 90)})
    assert not [call for call in two.sandbox.calls if "membership" in call.path]


# -- what is not kept


def test_a_run_that_the_state_does_not_know_can_t_be_undone(two: Project) -> None:
    refused = two.run("undo", "spec.yaml", "f" * 32, "--out", "undo.plan")
    assert (refused.code, "there is no run" in refused.err) == (1, True)


def test_without_an_audit_nothing_can_be_undone(two: Project, night: str) -> None:
    two.write({"vip": segment(56, "vip"), "old": segment(57, "old")}, more="state: {audit: off}\n")
    refused = two.run("undo", "spec.yaml", night, "--out", "undo.plan")
    assert (refused.code, "`audit: off`" in refused.err) == (1, True)


@pytest.mark.parametrize(("days", "why"), [(100, "keeps changes for 90d"), (0, "`state.audit` was off")])
def test_a_run_with_an_audit_that_is_gone_says_why(two: Project, night: str, days: int, why: str) -> None:
    with sqlite3.connect(two.state_file) as connection:
        connection.execute("DELETE FROM reconcile_audit")
        connection.execute("UPDATE reconcile_runs SET started_at = started_at - ?", (days * 86400,))
    refused = undo(two, night)
    assert (refused.code, {row["error"]["code"] for row in refused.segments.values()}) == (1, {"audit"})
    assert why in refused.err


def test_a_state_that_forgot_the_segment_can_t_bring_anybody_back(two: Project, night: str) -> None:
    assert two.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0
    refused = undo(two, night)
    assert (refused.code, "the state has forgotten the segment" in refused.err) == (1, True)


def test_a_state_of_a_backup_does_not_know_what_came_after_it(two: Project, night: str) -> None:
    assert two.run("state", "backup", "spec.yaml", "--to", "backup.db").code == 0
    two.want("vip", [*BEFORE, *NIGHT])
    apply(two)  # 0 and 1 are back
    two.want("vip", NIGHT)
    apply(two)  # and have gone again
    assert two.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0
    refused = undo(two, night, "--select", "vip")
    assert (refused.code, refused.segments["vip"]["error"]["code"]) == (1, "audit")
    assert "reconcile refresh spec.yaml --select vip" in one_line(refused.err)
    assert not Path(two.folder, "undo.plan").exists()


@pytest.mark.parametrize("way", ["refreshed", "renamed", "forgotten", "of a run that only added"])
def test_ids_of_another_type_are_not_sent(two: Project, night: str, way: str) -> None:
    by_email = "SELECT id || '@example.com' AS id FROM vip"
    if way == "forgotten":
        assert two.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0
    entries = {"vip": f"segment_id: 56\nid_type: email\nquery: {by_email}", "old": segment(57, "old")}
    two.write(entries)
    if way == "forgotten":
        apply(two)
    else:
        refresh(two)
    if way == "renamed":
        assert two.run("state", "rename", "spec.yaml", "default", "prod").code == 0
        two.write(entries, workspace="prod")
    if way == "of a run that only added":  # by email, none of its ids is stored
        night = two.json("history").document["runs"][-1]["run_id"]
    refused = undo(two, night)
    assert (refused.code, refused.segments["vip"]["error"]["code"]) == (1, "id_type")


def test_undo_changes_nothing_in_the_state_and_waits_for_no_lock(two: Project, night: str) -> None:
    shutil.copytree(two.state_file.parent, two.folder / "before")
    undo(two, night)
    with sqlite3.connect(two.state_file) as now, sqlite3.connect(two.folder / "before" / "state.db") as before:
        assert list(now.iterdump()) == list(before.iterdump())
