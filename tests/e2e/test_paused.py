"""Paused segments: planned, and nothing is sent."""

import json
from pathlib import Path

from tests.support.project import Project, leave_unsettled, one_line, people, segment


def test_a_paused_segment_says_what_waits_and_that_the_spec_says_so(two: Project) -> None:
    two.want("vip", people(3, 4, 5))
    two.write({"vip": segment(56, "vip", "paused: true"), "old": segment(57, "old")})

    planned, applied = two.run("plan", "spec.yaml"), two.run("apply", "spec.yaml")
    reviewed = two.run("plan", "spec.yaml", "--format", "markdown")

    waits = "vip: paused by the spec: nothing is sent; 3 to remove and 1 to add when it goes on"
    assert waits in one_line(planned.out)
    assert waits.replace("vip: ", "") in reviewed.out
    assert waits.replace("is sent", "was sent") in one_line(applied.out)
    assert "1 unchanged; 1 paused." in planned.out
    assert "1 unchanged; 1 paused." in applied.out


def test_a_paused_segment_shows_what_would_stop_it(two: Project) -> None:
    two.want("vip", [])
    two.write({"vip": segment(56, "vip", "paused: true")})
    planned, applied = two.run("plan", "spec.yaml"), two.run("apply", "spec.yaml")
    assert (planned.code, applied.code) == (0, 0)
    assert "allow_empty is breached: the query returned nobody" in one_line(planned.out)


def test_the_failed_query_of_a_paused_segment_is_failed(two: Project) -> None:
    two.write({"vip": segment(56, "nowhere", "paused: true")})
    assert [two.json(command).segments["vip"]["status"] for command in ("plan", "apply")] == ["failed", "failed"]


def test_a_paused_segment_is_not_read_back_nor_settled_nor_takes_anybody_over(two: Project) -> None:
    two.want("vip", people(*range(6)))
    leave_unsettled(two, 56)
    two.sandbox.put_members(56, people(5, 700))
    two.want("vip", people(*range(6), 700))
    two.write({"vip": segment(56, "vip", "paused: true", "ownership: exclusive")})
    two.sandbox.reset_calls()

    done = two.json("apply", "--confirm")

    row = done.segments["vip"]
    assert (done.code, row["status"], two.sandbox.writes) == (0, "paused", [])
    assert two.json("status").segments["vip"]["unsettled"] == 1
    assert two.stored("vip") == set(people(*range(5))), "what is there already is not taken over"


def test_drift_and_refresh_of_a_paused_segment_work_as_usual(two: Project) -> None:
    two.write({"vip": segment(56, "vip", "paused: true")})
    two.sandbox.put_members(56, people(700))
    assert two.json("drift").segments["vip"]["foreign"] == 1
    assert two.run("refresh", "spec.yaml", "--yes").code == 0
    assert two.stored("vip") == set(people(*range(5), 700))


def test_a_segment_that_is_retired_and_paused_is_paused(two: Project) -> None:
    two.write({"old": "segment_id: 57\nretired: true\npaused: true"})
    done = two.json("apply")
    assert (done.code, done.segments["old"]["status"], two.sandbox.members(57)) == (0, "paused", set(people(0, 1, 2)))


def test_a_sealed_plan_leaves_a_paused_segment_out_and_is_spent_all_the_same(two: Project) -> None:
    two.want("vip", people(*range(4)))
    two.want("old", people(*range(1)))
    two.write({"vip": segment(56, "vip"), "old": segment(57, "old", "paused: true")})
    assert two.json("plan", "--out", "sealed.plan").segments["old"]["remove"] == 2
    ids = [line.get("ids") for line in map(json.loads, Path(two.folder, "sealed.plan").read_text().splitlines())]
    assert people(1) not in ids, "what is not sent is not sealed"

    first, second = two.run("apply", "sealed.plan", "--format", "json"), two.run("apply", "sealed.plan")

    assert (first.code, first.segments["vip"]["status"], first.segments["old"]["status"]) == (0, "applied", "paused")
    assert (two.sandbox.members(56), two.sandbox.members(57)) == (set(people(*range(4))), set(people(*range(3))))
    assert (second.code, "spent" in second.err) == (4, True)
