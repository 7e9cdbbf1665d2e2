"""Ambiguous answers until all attempts are used up: what may be applied is reported, and settled by the next run."""

import pytest

from reconciler.customerio import retry
from reconciler.sandbox.faults import answers, drops, hangs
from tests.support.project import Project, people, segment, wait_for_requests

FREE = "defaults: {guards: {max_removals: 100%, max_additions: 100000, allow_empty: true}}\n"
TABLES = {"vip": 56, "churn": 57, "letter": 58}


@pytest.mark.parametrize("after_change", [False, True], ids=["before the change", "after the change"])
def test_answers_that_stay_away_in_both_directions_end_with_6_and_the_next_run_with_any_query_mends_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, after_change: bool
) -> None:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.01)
    project.write({name: segment(number, name) for name, number in TABLES.items()}, more=FREE, timeout=0.5, settle=0.7)
    for name in TABLES:
        project.want(name, people(*range(20)))
    assert project.run("apply", "spec.yaml").code == 0

    where = {"after_change": after_change, "path": "*/segments/*", "times": None}
    project.sandbox.inject(answers(500, segment_id=56, **where))
    project.sandbox.inject(drops(segment_id=57, **where))
    project.sandbox.inject(hangs(0.8, segment_id=58, **where))
    for name in TABLES:
        project.want(name, people(*range(10, 30)))
    ended = project.json("apply")

    assert ended.code == 6
    for name, row in ended.segments.items():
        assert (row["status"], row["added"], row["removed"], row["unsettled"]) == ("partial", 0, 0, 20), name
        assert row["retries"] == 8
        assert project.stored(name) == set(people(*range(10, 20)))

    wait_for_requests(project.sandbox)
    project.sandbox.faults.clear()
    for name in TABLES:
        project.want(name, people(*range(5, 25)))
    done = project.json("apply")

    assert done.code == 0, done.err
    project.sandbox.workspace.settle()
    for name, number in TABLES.items():
        assert project.sandbox.members(number) == project.stored(name) == set(people(*range(5, 25)))


@pytest.mark.parametrize(
    ("status", "said", "unknown"),
    [
        (429, "20 ids did not arrive (1 batch: the Track API is asked too often (429), after 5 attempts)", 0),
        (503, "whether 20 ids arrived is unknown (1 batch: the Track API failed (503), after 5 attempts)", 20),
    ],
)
def test_the_status_behind_used_up_attempts_is_told_wherever_the_run_is(
    project: Project, monkeypatch: pytest.MonkeyPatch, status: int, said: str, unknown: int
) -> None:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.01)
    project.write({"vip": segment(56, "vip")}, more=FREE)
    project.want("vip", people(*range(20)))
    project.sandbox.inject(answers(status, path="*/segments/*", times=None))

    ended, text = project.json("apply"), project.run("apply", "spec.yaml")

    error = ended.segments["vip"]["error"]
    assert (error["code"], ended.segments["vip"]["unsettled"]) == ("exhausted", unknown)
    assert said in error["message"]
    assert "the next run sends these ids again" in error["hint"]
    assert said in " ".join(text.out.split())
    assert said in " ".join(ended.err.split())


def test_attempts_that_ended_differently_are_told_apart(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.01)
    project.write({"vip": segment(56, "vip")}, more=FREE)
    project.want("vip", people(1))
    project.sandbox.inject(answers(503, path="*/add_customers", times=2))
    project.sandbox.inject(answers(429, path="*/add_customers", times=None))

    ended = project.json("apply")

    assert ended.code == 6
    assert "asked too often (429), after 5 attempts (2 × 503; 3 × 429)" in ended.segments["vip"]["error"]["message"]
