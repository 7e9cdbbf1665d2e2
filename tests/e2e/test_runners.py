"""Several runners on one state: they divide the segments between them, and send nothing twice."""

import json
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.sandbox.http import Call
from tests.support.project import Project, people, segment

LONG = 60.0
"""Seconds that nothing here takes, unless it hangs."""

POSTPONED = "another run is at work on it"


class Gate:
    """Holds the first write to a segment until it is opened."""

    def __init__(self, project: Project, segment_id: int) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._segment_id = segment_id
        project.sandbox.on_arrival(self._pass)

    def _pass(self, call: Call) -> None:
        if call.direction is not None and call.segment_id == self._segment_id and not self.arrived.is_set():
            self.arrived.set()
            self.opened.wait(LONG)


@contextmanager
def at_work(project: Project, *words: str, gate: Gate) -> Iterator["subprocess.Popen[str]"]:
    """A runner that stays in the middle of a write until the gate opens."""
    process = project.start("apply", "spec.yaml", "--format", "json", *words)
    try:
        assert gate.arrived.wait(LONG)
        yield process
    finally:
        gate.opened.set()
        process.kill()
        process.communicate()


@pytest.fixture
def two(project: Project) -> Project:
    """Two segments, `vip` before `churn`."""
    project.want("vip", people(*range(20)))
    project.want("churn", people(*range(10, 40)))
    project.write({"vip": segment(56, "vip"), "churn": segment(57, "churn")}, timeout=30)
    return project


def statuses(process: "subprocess.Popen[str]") -> dict[str, str]:
    """How each segment ended for a runner, once it has ended."""
    out, err = process.communicate(timeout=LONG)
    assert out, err
    document: dict[str, Any] = json.loads(out)
    return {each["name"]: each["status"] for each in document["segments"]}


def times_sent(project: Project) -> Counter[tuple[int | None, str]]:
    return Counter((call.segment_id, member) for call in project.sandbox.writes for member in call.ids or ())


def test_two_runners_divide_ten_segments_and_send_nobody_twice(project: Project) -> None:
    names = {f"s{number}": number + 100 for number in range(10)}
    for name, segment_id in names.items():
        project.sandbox.create_segment(name, id=segment_id)
        project.want(name, people(*range(segment_id, segment_id + 50)))
    project.write({name: segment(number, name) for name, number in names.items()}, timeout=30)
    both = threading.Barrier(2, timeout=LONG)
    met = iter(range(2))

    def wait_for_the_other(call: Call) -> None:
        if call.direction is not None and next(met, None) is not None:
            both.wait()

    project.sandbox.on_arrival(wait_for_the_other)
    words = ("apply", "spec.yaml", "--parallel", "1", "--lock-timeout", "60", "--format", "json")
    runners = [project.start(*words) for _ in range(2)]
    ended = [statuses(runner) for runner in runners]

    # With one segment at a time, two writes at once are those of two processes.
    assert not both.broken
    assert [runner.returncode for runner in runners] == [0, 0]
    assert [sorted((one[name], other[name])) for one, other in [ended] for name in names] == [
        ["applied", "unchanged"]
    ] * 10
    assert all("applied" in one.values() for one in ended)
    assert set(times_sent(project).values()) == {1}
    for name, number in names.items():
        assert project.sandbox.members(number) == project.stored(name) == set(people(*range(number, number + 50)))


def test_a_runner_comes_back_to_what_another_was_at_work_on(two: Project) -> None:
    gate, other = Gate(two, 56), Gate(two, 57)
    with at_work(two, "--select", "vip", gate=gate) as first:
        second = two.start("apply", "spec.yaml", "--parallel", "1", "--lock-timeout", "60", "--format", "json")
        assert second.stderr is not None
        assert POSTPONED in second.stderr.readline()
        assert other.arrived.wait(LONG)  # `churn` is sent while `vip` is still another's
        other.opened.set()
        gate.opened.set()
        assert statuses(second) == {"vip": "unchanged", "churn": "applied"}
        assert statuses(first) == {"vip": "applied"}
    assert (first.returncode, second.returncode) == (0, 0)
    assert set(times_sent(two).values()) == {1}


@pytest.mark.parametrize("words", [(), ("--lock-timeout", "0.2")])
def test_what_another_keeps_locked_is_5_and_all_the_rest_is_done(two: Project, words: tuple[str, ...]) -> None:
    gate = Gate(two, 56)
    with at_work(two, "--select", "vip", gate=gate):
        done = two.json("apply", *words)
        assert {name: each["status"] for name, each in done.segments.items()} == {"vip": "locked", "churn": "applied"}
    assert done.code == 5
    assert ("waited 0.2 s" in done.out) == bool(words)


def test_a_signal_ends_the_wait_for_a_lock(two: Project) -> None:
    gate = Gate(two, 56)
    with at_work(two, "--select", "vip", gate=gate):
        late = two.start("apply", "spec.yaml", "--select", "vip", "--lock-timeout", "3600", "--format", "json")
        assert late.stderr is not None
        assert POSTPONED in late.stderr.readline()
        late.send_signal(signal.SIGTERM)
        late.communicate(timeout=LONG)
        assert late.returncode == 143
    assert len(two.sandbox.writes) == 1


def test_the_credentials_are_checked_once_for_all_segments(two: Project) -> None:
    assert two.run("apply", "spec.yaml").code == 0
    assert [call.path for call in two.sandbox.calls].count("/api/v1/accounts/region") == 1


def test_who_holds_locks_and_waits_for_others_takes_them_in_an_order_that_all_share(two: Project) -> None:
    two.write({"churn": segment(57, "churn"), "vip": segment(56, "vip")}, timeout=30, name="turned.yaml")
    assert two.run("apply", "spec.yaml").code == 0
    two.want("churn", people(*range(10, 42)))
    two.want("vip", people(*range(22)))
    assert two.run("plan", "turned.yaml", "--out", "sealed.plan").code == 0
    gate = Gate(two, 57)
    with at_work(two, "--select", "churn", gate=gate) as first:
        late = two.start("apply", "sealed.plan", "--lock-timeout", "60")
        # It waits for `churn`, its first segment; two that did so in different orders could wait for each other.
        while (holders := lock_holders(two))["vip"] is None:
            assert str(first.pid) in str(holders["churn"])
        gate.opened.set()
        late.communicate(timeout=LONG)
    assert late.returncode == 4


def lock_holders(project: Project) -> dict[str, object]:
    return {name: each["lock_holder"] for name, each in project.json("status").segments.items()}
