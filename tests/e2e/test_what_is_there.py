"""Drift, refresh, confirmation, unmatched and lingering ids, and exclusive ownership."""

import sqlite3

import pytest

from reconciler.sandbox.faults import answers, late, shifts
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, one_line, people, segment

ADD, REMOVE = Direction.ADD, Direction.REMOVE


def sent(project: Project, direction: Direction) -> list[str]:
    return [member for call in project.sandbox.writes if call.direction is direction for member in call.ids or ()]


@pytest.fixture
def twenty(project: Project) -> Project:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    return project


def drift(project: Project, *words: str) -> tuple[int, dict[str, object]]:
    done = project.json("drift", *words)
    return done.code, done.segments["vip"]


def test_a_segment_that_nobody_touched_is_in_sync(twenty: Project) -> None:
    code, row = drift(twenty)
    assert (code, row["status"], row["stored"], row["remote"]) == (0, "in_sync", 20, 20)


def test_people_taken_out_are_missing_and_people_put_in_are_foreign(twenty: Project) -> None:
    twenty.sandbox.pull_members(56, people(1, 2))
    twenty.sandbox.put_members(56, people(30, 31, 32))
    code, row = drift(twenty)
    assert (code, row["missing"], row["foreign"], row["lingering"], row["remote"]) == (2, 2, 3, 0, 21)
    assert twenty.sandbox.writes == []


def test_foreign_members_are_no_drift_where_they_are_to_be_ignored(twenty: Project) -> None:
    twenty.sandbox.put_members(56, people(30, 31, 32))
    assert drift(twenty)[0] == 2
    code, row = drift(twenty, "--ignore-foreign")
    assert (code, row["status"]) == (0, "in_sync")
    twenty.sandbox.pull_members(56, people(1))
    assert drift(twenty, "--ignore-foreign")[0] == 2


def test_an_unmatched_id_that_has_appeared_is_neither_foreign_nor_missing(twenty: Project) -> None:
    twenty.sandbox.pull_members(56, people(0, 1, 2))
    assert twenty.run("refresh", "spec.yaml", "--yes").code == 0
    twenty.sandbox.put_members(56, people(1, 2))

    code, row = drift(twenty)

    assert (code, row["status"], row["missing"], row["foreign"]) == (0, "in_sync", 0, 0)
    assert (row["unmatched"], row["appeared"], row["stored"], row["remote"]) == (3, 2, 17, 19)
    for output in ("text", "markdown"):
        said = twenty.run("drift", "spec.yaml", "--ignore-foreign", "--format", output).out
        assert "In sync: 1 of 1 segment; 3 unmatched, of these 2 there by now." in said


def test_what_we_removed_and_is_still_there_is_lingering(twenty: Project) -> None:
    twenty.want("vip", people(*range(5, 20)))
    assert twenty.run("apply", "spec.yaml").code == 0
    twenty.sandbox.put_members(56, people(0, 1, 50))
    code, row = drift(twenty)
    assert (code, row["foreign"], row["lingering"], row["missing"]) == (2, 3, 2, 0)


def test_reading_a_segment_back_does_not_make_its_lingering_members_disappear(twenty: Project) -> None:
    twenty.want("vip", people(*range(5, 20)))
    assert twenty.run("apply", "spec.yaml").code == 0
    twenty.sandbox.put_members(56, people(0, 1))
    assert twenty.run("refresh", "spec.yaml", "--yes").code == 6

    code, row = drift(twenty)
    assert (code, row["stored"], row["foreign"], row["lingering"]) == (2, 15, 2, 2)


def test_without_an_app_key_drift_and_refresh_say_what_is_missing(twenty: Project) -> None:
    twenty.spec.write_text(twenty.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    for words in (["drift", "spec.yaml"], ["refresh", "spec.yaml", "--yes"], ["apply", "spec.yaml", "--confirm"]):
        done = twenty.run(*words)
        assert done.code in (1, 64)
        assert "app_api_key" in done.out + done.err


def test_refresh_takes_over_who_is_there_and_the_next_plan_removes_whom_the_query_drops(project: Project) -> None:
    project.sandbox.put_members(56, people(*range(40)))
    project.want("vip", people(*range(35)))
    project.write({"vip": segment(56, "vip")})

    done = project.json("refresh", "--yes")

    assert done.code == 0
    assert "40" in done.err + project.run("status", "spec.yaml").out
    assert project.stored("vip") == set(people(*range(40)))
    assert project.sandbox.writes == []
    assert project.json("plan").segments["vip"]["remove"] == 5
    assert project.run("apply", "spec.yaml").code == 0
    assert sent(project, ADD) == []
    assert sorted(sent(project, REMOVE)) == people(*range(35, 40))


def test_refresh_with_adopt_known_leaves_strangers_alone(twenty: Project) -> None:
    twenty.sandbox.put_members(56, people(*range(100, 110)))
    twenty.sandbox.pull_members(56, people(0))
    assert twenty.run("refresh", "spec.yaml", "--adopt", "known", "--yes").code == 0
    assert twenty.stored("vip") == set(people(*range(1, 20)))
    planned = twenty.json("plan").segments["vip"]
    assert planned["remove"] == 0
    assert planned["add"] + planned["resend"] == 1
    assert twenty.run("apply", "spec.yaml").code == 0
    assert twenty.sandbox.members(56) == set(people(*range(20), *range(100, 110)))


def test_refresh_recovers_a_lost_state(twenty: Project) -> None:
    for file in (twenty.folder / ".reconcile").iterdir():
        file.unlink()
    assert twenty.run("refresh", "spec.yaml", "--yes").code == 0
    assert twenty.json("plan").segments["vip"]["status"] == "unchanged"
    twenty.want("vip", people(*range(2, 20)))
    assert twenty.run("apply", "spec.yaml").code == 0
    assert twenty.sandbox.members(56) == set(people(*range(2, 20)))


def test_a_read_that_disagrees_with_itself_fails_and_changes_nothing(twenty: Project) -> None:
    before = twenty.stored("vip")
    twenty.sandbox.configure(count_offset=7)
    for words in (["refresh", "spec.yaml", "--yes"], ["drift", "spec.yaml"]):
        assert twenty.run(*words).code == 1
    assert twenty.stored("vip") == before


def test_people_who_do_not_exist_are_unmatched_and_sent_again_while_the_query_returns_them(project: Project) -> None:
    project.want("vip", [*people(1, 2), "ghost"])
    project.write({"vip": segment(56, "vip")})

    done = project.json("apply", "--confirm", "--confirm-timeout", "0")

    assert done.code == 0
    assert (done.segments["vip"]["unmatched"], done.segments["vip"]["status"]) == (1, "applied")
    assert project.stored("vip") == set(people(1, 2))
    row = project.json("plan", "--detailed-exitcode")
    assert row.code == 0
    assert [row.segments["vip"][name] for name in ("add", "resend", "unmatched", "stored", "unchanged", "desired")] == [
        0, 1, 1, 2, 2, 3
    ]  # fmt: skip
    assert row.segments["vip"]["status"] == "unchanged"

    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert sent(project, ADD) == ["ghost"]
    assert project.json("plan").segments["vip"]["resend"] == 1  # only a read-back ends it

    project.sandbox.add_people([("ghost", None)])
    assert project.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    row = project.json("plan").segments["vip"]
    assert (row["resend"], row["unmatched"], row["stored"]) == (0, 0, 3)
    assert project.sandbox.members(56) == {*people(1, 2), "ghost"}


def test_an_unmatched_id_that_the_query_drops_is_removed_once_without_a_guard_and_forgotten(project: Project) -> None:
    ghosts = [f"ghost{number:02}" for number in range(30)]
    project.want("vip", [*people(1, 2), *ghosts])
    project.write({"vip": segment(56, "vip", "guards: {max_removals: 0, max_unmatched: 100%}")})
    assert project.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    project.want("vip", people(1, 2))
    project.sandbox.reset_calls()

    assert project.run("apply", "spec.yaml").code == 0
    assert sorted(sent(project, REMOVE)) == ghosts
    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert project.sandbox.calls == []
    assert project.json("status").segments["vip"]["unmatched"] == 0


def test_confirm_waits_until_the_membership_agrees(project: Project) -> None:
    project.sandbox.configure(apply_delay=1.5)
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip", "confirm: true")})
    done = project.json("apply")
    assert (done.code, done.segments["vip"]["unmatched"]) == (0, 0)
    assert len([call for call in project.sandbox.calls if call.path.endswith("/membership")]) > 1


def test_confirm_looks_also_when_there_was_nothing_to_send(twenty: Project) -> None:
    twenty.sandbox.pull_members(56, people(3))
    done = twenty.json("apply", "--confirm", "--confirm-timeout", "0")
    assert done.segments["vip"]["unmatched"] == 1
    assert done.code == 0
    twenty.run("apply", "spec.yaml")
    assert twenty.sandbox.members(56) == set(people(*range(20)))


def test_what_was_removed_and_is_still_there_becomes_unsettled_and_ends_with_6(twenty: Project) -> None:
    twenty.want("vip", people(*range(5, 20)))
    twenty.sandbox.inject(late(direction=REMOVE))
    done = twenty.json("apply", "--confirm", "--confirm-timeout", "0")
    assert done.code == 6
    assert done.segments["vip"]["unsettled"] == 5
    twenty.sandbox.faults.clear()
    assert twenty.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    assert twenty.sandbox.members(56) == set(people(*range(5, 20)))


def test_an_unmatched_id_that_came_late_and_whose_removal_is_late_becomes_unsettled(twenty: Project) -> None:
    twenty.sandbox.pull_members(56, people(3))
    assert twenty.json("apply", "--confirm", "--confirm-timeout", "0").segments["vip"]["unmatched"] == 1
    assert twenty.run("apply", "spec.yaml").code == 0  # it is sent again, and is there
    twenty.want("vip", [id for id in people(*range(20)) if id not in people(3)])
    twenty.sandbox.inject(late(direction=REMOVE))

    done = twenty.json("apply", "--confirm", "--confirm-timeout", "0")

    assert (done.code, done.segments["vip"]["unsettled"]) == (6, 1)
    twenty.sandbox.faults.clear()
    assert twenty.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    assert twenty.sandbox.members(56) == set(people(*range(20))) - set(people(3))


def test_refresh_marks_unmatched_and_unsettled_in_the_same_way(twenty: Project) -> None:
    twenty.sandbox.pull_members(56, people(1))
    twenty.want("vip", people(*range(18)))
    twenty.sandbox.inject(late(direction=REMOVE))
    assert twenty.run("apply", "spec.yaml").code == 0
    twenty.sandbox.faults.clear()
    assert twenty.run("refresh", "spec.yaml", "--adopt", "known", "--yes").code == 6, "who was removed is still there"
    row = twenty.json("status").segments["vip"]
    assert (row["unmatched"], row["unsettled"], row["members"]) == (1, 2, 17)
    assert twenty.run("apply", "spec.yaml").code == 0
    assert twenty.run("refresh", "spec.yaml", "--adopt", "known", "--yes").code == 0


def exclusive(project: Project, *lines: str) -> None:
    project.write(
        {
            "vip": segment(
                56, "vip", "ownership: exclusive", "guards: {max_removals: 100%, max_additions: 1000%}", *lines
            )
        }
    )


def test_whose_keys_they_are_is_asked_once_for_the_plan_and_once_before_the_first_write(project: Project) -> None:
    lines = segment(56, "vip", "ownership: exclusive"), segment(57, "vip", "ownership: exclusive")
    project.want("vip", people(*range(20)))
    project.write(dict(zip(("vip", "risk"), lines, strict=True)))
    assert project.run("apply", "spec.yaml").code == 0  # binds the workspace to its environment
    project.want("vip", people(*range(21)))
    project.sandbox.reset_calls()

    assert project.run("apply", "spec.yaml").code == 0

    assert [call.path for call in project.sandbox.calls].count("/api/v1/accounts/region") == 2


def test_under_exclusive_strays_are_removed_and_the_lost_are_put_back(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.sandbox.put_members(56, people(*range(10, 25)))
    exclusive(project)
    planned = project.json("plan").segments["vip"]
    assert (planned["add"], planned["remove"]) == (10, 5)
    assert project.run("apply", "spec.yaml").code == 0
    assert sorted(sent(project, ADD)) == people(*range(10))
    assert sorted(sent(project, REMOVE)) == people(*range(20, 25))
    assert project.sandbox.members(56) == set(people(*range(20)))

    project.sandbox.pull_members(56, people(0, 1))
    project.sandbox.put_members(56, people(99))
    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert (sent(project, ADD), sent(project, REMOVE)) == (people(0, 1), people(99))
    assert project.sandbox.members(56) == set(people(*range(20)))


@pytest.mark.parametrize("output", ["text", "markdown", "json"])
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_first_fill_under_exclusive_needs_no_refresh(project: Project, command: str, output: str) -> None:
    project.want("vip", people(*range(20)))
    project.sandbox.put_members(56, people(*range(10, 25)))
    exclusive(project)

    done = project.run(command, "spec.yaml", "--format", output)

    said = done.out + done.err
    assert not [word for word in ("refresh", "unknown", "can never remove", " stay") if word in said]
    assert output == "json" or "it had 15 members when it was read" in done.out


def test_under_tracked_people_whom_someone_added_by_hand_stay(twenty: Project) -> None:
    twenty.sandbox.put_members(56, people(*range(100, 120)))
    twenty.want("vip", people(*range(2, 20)))
    assert twenty.run("apply", "spec.yaml").code == 0
    assert twenty.sandbox.members(56) == set(people(*range(2, 20), *range(100, 120)))


def test_members_that_the_id_type_cannot_express_are_unkeyed_and_never_removed(project: Project) -> None:
    project.sandbox.add_people([(None, "only@example.com")])
    project.sandbox.put_members(56, ["only@example.com"], "email")
    project.want("vip", people(1))
    exclusive(project)
    done = project.json("apply")
    assert done.code == 0
    assert done.segments["vip"]["unkeyed"] == 1
    assert project.sandbox.members(56, "email") >= {"only@example.com"}
    assert "unkeyed" in project.run("plan", "spec.yaml").out or "no id" in project.run("plan", "spec.yaml").out


@pytest.mark.parametrize("trouble", ["count", "pages", "500"])
def test_a_removal_is_never_computed_from_a_read_that_is_not_whole(project: Project, trouble: str) -> None:
    many = [f"q{number:05}" for number in range(31_000)]
    if trouble == "pages":
        project.sandbox.add_people((person, None) for person in many)
        project.sandbox.put_members(56, many)
    project.sandbox.put_members(56, people(*range(20)))
    project.want("vip", people(1))
    exclusive(project)
    if trouble == "count":
        project.sandbox.configure(count_offset=3)
    elif trouble == "pages":
        project.sandbox.inject(shifts(-5, times=None))
    else:
        project.sandbox.inject(answers(404, path="*membership", times=None))
    done = project.json("apply")
    assert done.code == 1
    assert done.segments["vip"]["status"] == "failed"
    assert project.sandbox.writes == []


def test_exclusive_without_an_app_key_is_refused(project: Project) -> None:
    project.want("vip", people(1))
    exclusive(project)
    project.spec.write_text(project.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    done = project.run("plan", "spec.yaml")
    assert done.code in (1, 64)
    assert "app_api_key" in done.out + done.err
    assert project.run("apply", "spec.yaml").code in (1, 64)
    assert project.sandbox.writes == []


def test_exclusive_by_email_ignores_the_case_of_letters(project: Project) -> None:
    project.sandbox.add_people([("x1", "Anna@Example.com"), ("x2", "bert@example.com")])
    project.sandbox.put_members(56, ["x1", "x2"])
    project.want("vip", ["ANNA@example.COM"])
    exclusive(project, "id_type: email")
    planned = project.json("plan").segments["vip"]
    assert (planned["add"], planned["remove"], planned["unchanged"]) == (0, 1, 1)
    assert project.run("apply", "spec.yaml").code == 0
    assert project.sandbox.members(56) == {"x1"}


def test_under_exclusive_apply_takes_those_into_the_snapshot_who_were_there_already(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.sandbox.put_members(56, people(*range(10, 20)))
    exclusive(project)
    before = project.json("plan").segments["vip"]
    assert (before["add"], before["unchanged"], before["adopt"]) == (10, 10, 10)
    assert project.run("status", "spec.yaml").code == 0
    assert not project.state_file.exists(), "a plan writes nothing"
    assert project.run("apply", "spec.yaml").code == 0
    assert sorted(sent(project, ADD)) == people(*range(10))
    assert project.stored("vip") == set(people(*range(20)))
    assert project.json("drift").segments["vip"]["status"] == "in_sync"
    assert project.json("plan").segments["vip"]["adopt"] == 0


def test_under_exclusive_nothing_is_sent_only_to_adopt(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.sandbox.put_members(56, people(*range(20)))
    exclusive(project)
    assert project.run("plan", "spec.yaml", "--detailed-exitcode").code == 0
    done = project.json("apply")
    assert (done.code, done.segments["vip"]["status"]) == (0, "unchanged")
    assert project.sandbox.writes == []
    assert project.stored("vip") == set(people(*range(20)))
    assert project.json("drift").code == 0


def test_under_exclusive_nobody_is_adopted_from_another_environment(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.sandbox.put_members(56, people(*range(20)))
    exclusive(project)
    project.spec.write_text(project.spec.read_text().replace("  site_id:", "  workspace_id: 999\n  site_id:"))
    assert project.json("apply").code == 1
    assert project.json("status").segments["vip"]["members"] in (0, None)


def test_under_exclusive_a_plan_file_adopts_whom_it_adds_and_finds_there(project: Project) -> None:
    project.want("vip", people(*range(20)))
    exclusive(project)
    assert project.run("plan", "spec.yaml", "--out", "vip.plan").code == 0
    project.sandbox.put_members(56, people(*range(10)))
    assert project.run("apply", "vip.plan").code == 0
    assert sorted(sent(project, ADD)) == people(*range(10, 20))
    assert project.stored("vip") == set(people(*range(20)))


def test_under_exclusive_an_unmatched_id_that_shows_is_a_member(project: Project) -> None:
    project.want("vip", [*people(1), "late"])
    exclusive(project)
    assert project.run("apply", "spec.yaml", "--confirm", "--confirm-timeout", "0").code == 0
    assert project.json("status").segments["vip"]["unmatched"] == 1
    project.sandbox.add_people([("late", None)])
    project.sandbox.put_members(56, ["late"])
    done = project.json("apply").segments["vip"]
    assert (done["status"], done["unmatched"]) == ("unchanged", 0)
    assert project.stored("vip") == {"late", *people(1)}


def test_under_exclusive_a_removal_that_shows_late_does_not_keep_a_wanted_person_out(project: Project) -> None:
    project.want("vip", people(1, 2))
    exclusive(project)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(1))
    project.sandbox.inject(late(direction=REMOVE))
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(1, 2))
    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert sent(project, ADD) == people(2), "what is read may be older than the removal"
    assert project.stored("vip") == set(people(1, 2))


@pytest.mark.parametrize(("command", "said"), [("plan", "7 members"), ("apply", "are unknown")])
def test_a_first_fill_says_how_many_are_there_also_where_it_has_nothing_to_send(
    project: Project, command: str, said: str
) -> None:
    project.want("vip", [])
    project.sandbox.put_members(56, people(*range(7)))
    project.write({"vip": segment(56, "vip", "guards: {allow_empty: true}")})
    done = project.run(command, "spec.yaml")
    assert done.code == 0
    assert said in done.out  # Customer.io is asked only where somebody reads it before
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    assert project.run(command, "spec.yaml").code == 0
    assert not [call for call in project.sandbox.calls if call.path.endswith("customer_count")], "only the first time"


# -- what was sent, and has not arrived yet


def test_a_refresh_after_a_kill_waits_until_the_removal_on_its_way_has_arrived(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")}, settle=3)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(19)))
    project.sandbox.inject(late(2.5, direction=REMOVE))
    assert project.hit("apply", "spec.yaml", at=lambda call: call.direction is REMOVE).code == -9

    done = project.run("refresh", "spec.yaml", "--yes")

    assert done.code == 0, done.err
    assert "an earlier request may still arrive" in done.err
    assert project.stored("vip") == project.sandbox.members(56) == set(people(*range(19)))


def test_a_refresh_waits_until_what_was_acknowledged_has_arrived(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")}, settle=3)
    project.sandbox.inject(late(2.5, direction=ADD))
    assert project.run("apply", "spec.yaml").code == 0

    assert project.run("refresh", "spec.yaml", "--yes").code == 0

    assert project.stored("vip") == project.sandbox.members(56) == set(people(*range(20)))


def test_an_exclusive_apply_reads_what_a_removal_on_its_way_has_left(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip", "ownership: exclusive")}, settle=3)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(19)))
    project.sandbox.inject(late(2.5, direction=REMOVE))
    assert project.hit("apply", "spec.yaml", at=lambda call: call.direction is REMOVE).code == -9
    project.want("vip", people(*range(20)))

    assert project.run("apply", "spec.yaml").code == 0

    assert project.stored("vip") == project.sandbox.members(56) == set(people(*range(20)))


# -- who was removed long ago, and added by somebody else since


@pytest.fixture
def readded(twenty: Project) -> Project:
    """p0000 to p0004 were removed 20 days ago, and a colleague has added them again by hand."""
    twenty.want("vip", people(*range(5, 20)))
    assert twenty.run("apply", "spec.yaml").code == 0
    with sqlite3.connect(twenty.state_file) as connection:
        changed = connection.execute("UPDATE reconcile_marks SET at = at - 20 * 86400 WHERE mark = 'removed'")
        assert changed.rowcount == 5
    connection.close()
    twenty.sandbox.put_members(56, people(*range(5)))
    twenty.sandbox.reset_calls()
    return twenty


def test_whom_somebody_added_again_later_is_foreign_and_not_lingering(readded: Project) -> None:
    code, row = drift(readded)
    assert (code, row["foreign"], row["lingering"]) == (2, 5, 0)
    assert drift(readded, "--ignore-foreign")[0] == 0


def test_a_confirmation_leaves_alone_whom_somebody_added_again_later(readded: Project) -> None:
    done = readded.json("apply", "--confirm", "--confirm-timeout", "1")
    assert (done.code, done.segments["vip"]["unsettled"]) == (0, 0)
    assert readded.run("apply", "spec.yaml").code == 0
    assert readded.sandbox.writes == []
    assert readded.sandbox.members(56) == set(people(*range(20)))


def test_a_refresh_takes_over_as_strangers_whom_somebody_added_again_later(readded: Project) -> None:
    assert readded.run("refresh", "spec.yaml", "--adopt", "known", "--yes").code == 0
    assert readded.stored("vip") == set(people(*range(5, 20)))
    assert readded.run("refresh", "spec.yaml", "--yes").code == 0
    assert readded.stored("vip") == set(people(*range(20)))


def test_under_exclusive_whom_somebody_added_again_later_is_a_stray_that_the_guards_judge(readded: Project) -> None:
    readded.write({"vip": segment(56, "vip", "ownership: exclusive", "guards: {max_removals: 4}")})
    planned = readded.json("plan")
    assert (planned.code, planned.segments["vip"]["remove"]) == (3, 5)
    assert readded.run("apply", "spec.yaml").code == 3
    readded.want("vip", people(*range(20)))
    assert readded.run("apply", "spec.yaml").code == 0
    assert readded.sandbox.writes == [], "they are wanted and there: adopted, and nothing is sent"
    assert readded.stored("vip") == set(people(*range(20)))


# -- another id type


def test_a_refresh_takes_the_members_over_under_another_id_type(twenty: Project) -> None:
    twenty.want("vip", [f"p{number:04}@example.com" for number in range(2, 22)])
    twenty.write({"vip": segment(56, "vip", "id_type: email")})
    assert twenty.run("plan", "spec.yaml").code == 1

    assert twenty.run("refresh", "spec.yaml", "--yes").code == 0

    assert twenty.stored("vip") == {f"p{number:04}@example.com" for number in range(20)}
    planned = twenty.json("plan").segments["vip"]
    assert (planned["add"], planned["remove"], planned["unchanged"], planned["first_fill"]) == (2, 2, 18, False)
    assert twenty.run("apply", "spec.yaml").code == 0
    assert twenty.sandbox.members(56) == set(people(*range(2, 22)))


def test_a_refresh_under_another_id_type_forgets_nobody_who_lacks_it(project: Project) -> None:
    project.sandbox.add_people([("a", None), ("b", "b@example.com")])
    project.want("vip", ["a", "b"])
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.write({"vip": segment(56, "vip", "id_type: email", "invalid: skip")})

    done = project.run("refresh", "spec.yaml", "--yes")

    assert done.code == 1
    assert "1 of the 2 members have no email, and the state holds 2 by id" in one_line(done.out)
    assert project.stored("vip") == {"a", "b"}
    assert project.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    assert project.stored("vip") == {"b@example.com"}


def test_under_another_id_type_nobody_is_known_yet(twenty: Project) -> None:
    twenty.write({"vip": segment(56, "vip", "id_type: email", "invalid: skip")})
    done = twenty.run("refresh", "spec.yaml", "--adopt", "known", "--yes")
    assert done.code == 1
    assert "--adopt all" in done.out + done.err
    assert twenty.stored("vip") == set(people(*range(20)))


def test_while_an_outcome_is_unknown_another_id_type_is_refused(twenty: Project) -> None:
    twenty.want("vip", people(*range(19)))
    assert twenty.hit("apply", "spec.yaml", at=lambda call: call.direction is REMOVE).code == -9
    twenty.write({"vip": segment(56, "vip", "id_type: email", "invalid: skip")})
    done = twenty.run("refresh", "spec.yaml", "--yes")
    assert done.code == 1
    assert "state forget" in done.out + done.err
    assert "the outcome of 1 ids is unknown" in done.out + done.err
    assert twenty.stored("vip") == set(people(*range(19)))
