"""What section 4 of the contract promises about changes: minimal, bounded, and never forgotten."""

import itertools
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest

from reconciler.sandbox.faults import Fault, answers, drops, late, poison
from reconciler.sandbox.http import Call
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, people, segment, wait_for_requests

FREE = "defaults: {guards: {max_removals: 100%, max_additions: 100000, allow_empty: true}}\n"
ADD, REMOVE = Direction.ADD, Direction.REMOVE


def sent(project: Project, direction: Direction) -> list[str]:
    """The ids of all requests in a direction, in order."""
    return [member for call in project.sandbox.writes if call.direction is direction for member in call.ids or ()]


def is_write(direction: Direction) -> Callable[[Call], bool]:
    return lambda call: call.direction is direction


def leave_unsettled(project: Project, direction: Direction, fault: Fault) -> None:
    """An apply that meets a fault in its first request of a direction, and is told to stop in the middle of it."""
    project.sandbox.inject(fault)
    ended = project.hit("apply", "spec.yaml", at=is_write(direction), by=signal.SIGTERM)
    assert ended.code == 143, ended.err
    project.sandbox.faults.clear()
    project.sandbox.reset_calls()


BROKEN = {
    "500 after the change": lambda direction: answers(500, after_change=True, direction=direction),
    "408 after the change": lambda direction: answers(408, after_change=True, direction=direction),
    "lost connection before the change": lambda direction: drops(direction=direction),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_an_add_with_an_unknown_outcome_is_added_again_or_removed_as_the_query_says(
    project: Project, broken: str
) -> None:
    project.want("vip", people(*range(10)))
    project.write({"vip": segment(56, "vip")})
    leave_unsettled(project, ADD, BROKEN[broken](ADD))
    assert project.stored("vip") == set()

    project.want("vip", people(*range(5, 12)))
    planned = project.json("plan").segments["vip"]
    assert (planned["unsettled"], planned["add"], planned["remove"], planned["stored"]) == (10, 7, 5, 0)
    done = project.json("apply")

    assert done.code == 0, done.err
    assert project.sandbox.members(56) == set(people(*range(5, 12)))
    assert sorted(sent(project, REMOVE)) == people(*range(5))
    assert sorted(sent(project, ADD)) == people(*range(5, 12))
    assert project.stored("vip") == set(people(*range(5, 12)))


@pytest.mark.parametrize("broken", ["500 after the change", "lost connection before the change"])
def test_a_remove_with_an_unknown_outcome_is_removed_again_or_added_back_as_the_query_says(
    project: Project, broken: str
) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")}, more=FREE)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(10)))
    leave_unsettled(project, REMOVE, BROKEN[broken](REMOVE))
    assert project.stored("vip") == set(people(*range(10)))

    project.want("vip", people(*range(15)))
    planned = project.json("plan").segments["vip"]
    assert (planned["unsettled"], planned["add"], planned["remove"], planned["stored"]) == (10, 5, 5, 10)
    assert project.json("apply").code == 0

    assert project.sandbox.members(56) == set(people(*range(15)))
    assert sorted(sent(project, REMOVE)) == people(*range(15, 20))
    assert sorted(sent(project, ADD)) == people(*range(10, 15))


def test_an_unknown_outcome_of_a_whole_run_ends_with_6_and_counts_as_unsettled(project: Project) -> None:
    project.want("vip", people(*range(3)))
    project.write({"vip": segment(56, "vip")})
    project.sandbox.inject(answers(503, after_change=True, direction=ADD, times=None))

    ended = project.json("apply")

    assert ended.code == 6
    row = ended.segments["vip"]
    assert (row["status"], row["added"], row["unsettled"]) == ("partial", 0, 3)
    assert row["retries"] == len(project.sandbox.writes) - 1 > 0
    assert row["requests"] in (1, len(project.sandbox.writes))


def test_a_reversal_waits_until_settle_is_over(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, settle=3000)
    leave_unsettled(project, ADD, answers(500, after_change=True, direction=ADD))
    project.want("vip", people(2))

    waiting = project.start("apply", "spec.yaml", "--allow-removals", "vip")
    assert waiting.stderr is not None
    assert any("wait" in line or "arrive" in line for line in iter(waiting.stderr.readline, ""))
    assert project.sandbox.writes == []
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate(timeout=60)

    assert waiting.returncode == 143
    assert project.sandbox.writes == []
    project.write({"vip": segment(56, "vip")}, settle=0)
    assert project.run("apply", "spec.yaml", "--allow-removals", "vip").code == 0
    assert project.sandbox.members(56) == set(people(2))


def test_a_repetition_in_the_same_direction_need_not_wait(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, settle=3000)
    leave_unsettled(project, ADD, answers(500, direction=ADD))

    assert project.run("apply", "spec.yaml").code == 0

    assert project.sandbox.members(56) == set(people(1))


def test_settle_also_holds_after_an_acknowledged_retry_of_an_unknown_attempt(project: Project) -> None:
    """The first attempt may still arrive: here it is applied late, after the retry was acknowledged."""
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, settle=4)
    arrived: list[float] = []
    project.sandbox.on_arrival(lambda call: arrived.append(time.monotonic()) if call.direction else None)
    project.sandbox.inject(drops(direction=ADD))
    assert project.run("apply", "spec.yaml").code == 0
    assert len(arrived) == 2

    project.want("vip", people(2))
    assert project.run("apply", "spec.yaml").code == 0

    first_removal = next(
        at for at, call in zip(arrived, project.sandbox.writes, strict=True) if call.direction is REMOVE
    )
    assert first_removal - arrived[0] >= 4


def test_customer_io_that_applies_late_within_settle_ends_equal_to_the_query(project: Project) -> None:
    """The change of the lost add arrives three seconds later; it must not overtake the remove that reverses it."""
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, settle=5)
    project.sandbox.inject(late(3.0, direction=ADD))
    ended = project.hit("apply", "spec.yaml", at=is_write(ADD))
    assert ended.code == -signal.SIGKILL

    project.want("vip", [])
    assert project.run("apply", "spec.yaml", "--allow-empty", "vip", "--allow-removals", "vip").code == 0

    project.sandbox.workspace.settle()
    assert project.sandbox.members(56) == set()


def test_a_request_carries_at_most_1000_ids_and_nobody_goes_both_ways(project: Project) -> None:
    everybody = [f"q{number:05}" for number in range(6000)]
    project.sandbox.add_people((person, None) for person in everybody)
    project.write({"vip": segment(56, "vip")}, more=FREE)
    project.want("vip", everybody[:3500])
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", everybody[1001:5003])
    assert project.run("apply", "spec.yaml").code == 0

    sizes = {
        direction: [c.id_count for c in project.sandbox.writes if c.direction is direction]
        for direction in (ADD, REMOVE)
    }
    assert max(sizes[ADD] + sizes[REMOVE]) <= 1000
    assert sorted(sizes[REMOVE]) == [1, 1000]
    assert sorted(sizes[ADD]) == [500, 503, 1000, 1000, 1000, 1000]
    touched = sent(project, ADD) + sent(project, REMOVE)
    assert sorted(sent(project, ADD)) == everybody[:5003]
    assert len(touched) == 5003 + 1001
    assert project.sandbox.members(56) == set(everybody[1001:5003])


def test_a_poisoned_id_is_rejected_alone_and_everybody_else_is_sent(project: Project) -> None:
    project.want("vip", people(*range(300)))
    project.write({"vip": segment(56, "vip")})
    project.sandbox.inject(poison("p0123"))

    ended = project.json("apply")

    assert ended.code == 6
    row = ended.segments["vip"]
    assert (row["status"], row["rejected"], row["added"], row["unsettled"]) == ("partial", 1, 299, 0)
    assert "p0123" not in ended.out + ended.err
    assert project.sandbox.members(56) == set(people(*range(300))) - {"p0123"}
    assert project.stored("vip") == project.sandbox.members(56)
    assert project.json("plan").segments["vip"]["add"] == 1

    project.sandbox.faults.clear()
    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert sent(project, ADD) == ["p0123"]


def test_a_rejected_removal_keeps_its_member_and_is_tried_again(project: Project) -> None:
    project.want("vip", people(*range(50)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(6, 50)))
    project.sandbox.inject(poison("p0003"))

    ended = project.json("apply")
    assert (ended.code, ended.segments["vip"]["removed"], ended.segments["vip"]["rejected"]) == (6, 5, 1)
    assert project.stored("vip") == project.sandbox.members(56) == {"p0003", *people(*range(6, 50))}

    project.sandbox.faults.clear()
    assert project.run("apply", "spec.yaml").code == 0
    assert project.sandbox.members(56) == set(people(*range(6, 50)))


def test_a_refused_batch_is_no_longer_there_when_the_query_changes(project: Project) -> None:
    """429 alone is a definite refusal: nothing of it may ever arrive, so the ids are where they were."""
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")})
    project.sandbox.inject(answers(401, direction=ADD))
    ended = project.json("apply")
    assert ended.code == 1
    assert ended.segments["vip"]["status"] == "failed"
    project.sandbox.reset_calls()

    project.want("vip", people(7))
    assert project.run("apply", "spec.yaml").code == 0

    assert sent(project, REMOVE) == []
    assert sent(project, ADD) == people(7)


def test_a_process_killed_at_any_moment_then_any_query_result_ends_equal_to_the_query(project: Project) -> None:
    chance = random.Random(20261121)
    crowd = [f"q{number:05}" for number in range(5000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.sandbox.configure(latency=40)
    project.write({"vip": segment(56, "vip")}, more=FREE, settle=0.4, destination="concurrency: 3")

    for moment in range(8):
        project.want("vip", chance.sample(crowd, chance.randrange(len(crowd))))
        project.sandbox.reset_calls()
        strike = chance.randrange(1, 6)
        count = itertools.count(1)
        killed = project.hit(
            "apply",
            "spec.yaml",
            at=lambda call, count=count, strike=strike: call.direction is not None and next(count) == strike,
            applied=moment % 2 == 0,
        )
        assert killed.code in (0, -signal.SIGKILL), killed.err

        wanted = set(chance.sample(crowd, chance.choice([0, 1, 2000, len(crowd)])))
        project.want("vip", wanted)
        project.sandbox.reset_calls()
        done = project.json("apply")
        before = done.segments["vip"]

        assert done.code == 0, done.err
        assert project.sandbox.members(56) == wanted
        adds, removes = sent(project, ADD), sent(project, REMOVE)
        assert not set(adds) & set(removes)
        assert (len(adds), len(removes)) == (len(set(adds)), len(set(removes))) == (before["add"], before["remove"])
        assert max((call.id_count for call in project.sandbox.writes), default=0) <= 1000


def test_a_process_killed_by_the_clock_while_several_segments_are_written_loses_nothing(project: Project) -> None:
    chance = random.Random(4)
    project.sandbox.configure(latency=15)
    tables = {"vip": 56, "churn": 57, "letter": 58}
    crowd = people(*range(1000))
    project.write({t: segment(i, t) for t, i in tables.items()}, more=FREE, settle=0.3)

    for _ in range(2):
        for table in tables:
            project.want(table, chance.sample(crowd, chance.randrange(1000)))
        process = project.start("apply", "spec.yaml")
        first = threading.Event()
        project.sandbox.on_arrival(lambda call, first=first: first.set())
        first.wait(20)
        bomb = threading.Timer(chance.random() * 0.25, process.kill)
        bomb.start()
        process.communicate(timeout=60)
        bomb.cancel()
        wait_for_requests(project.sandbox)
        wanted = {table: set(chance.sample(crowd, chance.randrange(1000))) for table in tables}
        for table, ids in wanted.items():
            project.want(table, ids)

        done = project.run("apply", "spec.yaml")

        assert done.code == 0, done.err
        assert {table: project.sandbox.members(number) for table, number in tables.items()} == wanted


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_batches_in_flight_and_the_next_run_goes_on(
    project: Project, stop: signal.Signals, code: int
) -> None:
    crowd = [f"q{number:05}" for number in range(8000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, destination="concurrency: 2")

    ended = project.hit("apply", "spec.yaml", "--format", "json", at=is_write(ADD), by=stop)

    assert ended.code == code, ended.err
    there = project.sandbox.members(56)
    assert 0 < len(there) < 8000
    assert project.stored("vip") == there  # in flight, finished and recorded
    assert ended.segments["vip"]["added"] == len(there)
    assert ended.segments["vip"]["unsettled"] == 0
    assert project.json("status").segments["vip"]["lock_holder"] is None

    project.sandbox.reset_calls()
    assert project.run("apply", "spec.yaml").code == 0
    assert sorted(sent(project, ADD)) == sorted(set(crowd) - there)
