"""`refresh` from the command line, over several segments at once."""

import signal

from tests.support.project import Project, people, segment


def test_all_segments_of_a_spec_are_taken_over_in_one_run(project: Project) -> None:
    for table, segment_id in (("vip", 56), ("churn", 57)):
        project.want(table, people(*range(10)))
        project.sandbox.put_members(segment_id, people(*range(2, 13)))
    project.write({"vip": segment(56, "vip"), "churn": segment(57, "churn")})

    taken = project.json("refresh", "--yes")

    assert taken.code == 0, taken.out + taken.err
    assert [row["stored"] for row in taken.segments.values()] == [11, 11]
    for row in project.json("plan").segments.values():
        assert (row["remove"], row["add"]) == (3, 2)
    assert len(project.run("history", "spec.yaml", "--format", "json").document["runs"]) == 1


def test_what_was_taken_out_by_hand_is_put_back_by_refresh_and_apply(project: Project) -> None:
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.pull_members(56, people(3))
    project.sandbox.put_members(56, people(500))

    assert project.run("refresh", "spec.yaml", "--adopt", "known", "--yes").code == 0
    applied = project.json("apply")

    assert (applied.segments["vip"]["added"], applied.segments["vip"]["resent"]) == (0, 1)
    assert project.sandbox.members(56) == {*people(*range(10)), "p0500"}


def test_where_nobody_can_be_asked_a_refresh_needs_a_yes(project: Project) -> None:
    project.want("vip", people(1))
    project.sandbox.put_members(56, people(1, 2))
    project.write({"vip": segment(56, "vip")})
    refused = project.run("refresh", "spec.yaml")
    assert (refused.code, refused.out) == (64, "")
    assert "--yes" in refused.err
    assert not project.state_file.exists()
    assert project.sandbox.calls == []


def test_a_refresh_that_was_stopped_says_so_in_the_history(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0

    done = project.hit("refresh", "spec.yaml", "--yes", at=lambda call: "membership" in call.path, by=signal.SIGTERM)

    assert done.code == 143
    last = project.json("history").document["runs"][0]
    assert (last["command"], last["exit_code"]) == ("refresh", 143)
    assert "stopped (143)" in project.run("history", "spec.yaml").out


def test_the_number_of_unknown_members_can_not_be_read_as_one_of_removals(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    project.sandbox.put_members(56, people(1, 2, 3, 4))

    told = project.run("refresh", "spec.yaml", "--yes")
    listed = project.run("history", "spec.yaml")

    assert (
        "4 that the state does not know are taken over; of these, the next plan removes those that the query does not "
        "return"
    ) in told.err
    assert "refreshed: vip" in listed.out


def test_a_refresh_that_took_over_nobody_does_not_say_so_in_the_history(project: Project) -> None:
    project.want("vip", [])
    project.write({"vip": segment(56, "vip")})
    project.sandbox.put_members(56, people(1, 2))

    assert project.run("refresh", "spec.yaml", "--yes", "--adopt", "known").code == 0

    assert "taken over" not in project.run("history", "spec.yaml").out
