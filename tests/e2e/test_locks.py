"""Two runs never work on one segment at once."""

import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.project import Project, people, segment, wait_for_requests


@contextmanager
def held(project: Project, spec: str = "spec.yaml") -> Iterator["tuple[subprocess.Popen[str], threading.Event]"]:
    """A process that applies, and stays in the middle of its first write until the event is set."""
    arrived, go = threading.Event(), threading.Event()

    def wait(call: object) -> None:
        if getattr(call, "direction", None) is not None:
            arrived.set()
            go.wait(60)

    project.sandbox.on_arrival(wait)
    process = project.start("apply", spec, "--format", "json")
    try:
        assert arrived.wait(60)
        yield process, go
    finally:
        go.set()
        process.kill()
        process.communicate()
        wait_for_requests(project.sandbox)


@pytest.fixture
def two(project: Project) -> Project:
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")}, settle=0.2, timeout=30)
    return project


def test_the_second_of_two_runs_ends_with_5_and_says_who_holds_the_lock(two: Project) -> None:
    with held(two) as (process, go):
        late = two.json("apply")
        assert late.code == 5
        assert late.segments["vip"]["status"] == "locked"
        assert str(process.pid) in late.out + late.err
        assert len(two.sandbox.writes) == 1
        assert two.run("refresh", "spec.yaml", "--yes").code == 5
        assert two.run("state", "forget", "spec.yaml", "vip", "--yes").code == 5
        holder = two.json("status").segments["vip"]["lock_holder"]
        assert holder is not None
        assert str(process.pid) in str(holder)
        go.set()
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    assert two.sandbox.members(56) == set(people(*range(5)))
    assert two.json("status").segments["vip"]["lock_holder"] is None


def test_what_is_locked_is_named_once_and_the_next_step_names_the_spec_and_the_segment(two: Project) -> None:
    two.want("vip", people(1))
    (two.folder / "my specs").mkdir()
    spec = two.write({"vip": segment(56, "vip")}, timeout=30, workspace="term", name="my specs/a.yaml")
    text = spec.read_text().replace("sqlite:///warehouse.db", "sqlite:///../warehouse.db")
    spec.write_text(text)
    unlock = "`reconcile state unlock 'my specs/a.yaml' vip`"

    with held(two, "my specs/a.yaml"):
        late = two.run("apply", "my specs/a.yaml", "--format", "json")
        forgetting = two.run("state", "forget", "my specs/a.yaml", "vip", "--yes")
        copying = two.run("state", "copy", "my specs/a.yaml", "--to", "sqlite:///copy.db")

    error = late.segments["vip"]["error"]
    assert error["message"].startswith("locked by ")
    assert unlock in error["hint"]
    assert "error: term/vip: locked by " in late.err
    assert "error: segment 56 of workspace term is locked by " in forgetting.err
    assert unlock in forgetting.err
    assert "the state is in use: term/vip is locked by " in copying.err
    assert "`reconcile state unlock 'my specs/a.yaml' id:56`" in copying.err


def test_reading_commands_take_no_lock_and_wait_for_none(two: Project) -> None:
    with held(two):
        for command in ("plan", "validate", "drift", "status", "history"):
            done = two.run(command, "spec.yaml", "--quiet")
            assert done.code in (0, 2), (command, done.err)


def test_a_sealed_plan_of_a_locked_segment_is_5_and_still_good_afterwards(two: Project) -> None:
    assert two.run("apply", "spec.yaml").code == 0
    two.want("vip", people(*range(8)))
    assert two.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    with held(two):
        assert two.run("apply", "sealed.plan").code in (4, 5)
    # The one that held the lock was killed with its request in flight.
    assert two.run("apply", "sealed.plan").code in (0, 4)


def test_lock_timeout_waits_for_the_holder(two: Project) -> None:
    with held(two) as (process, go):
        waiting = two.start("apply", "spec.yaml", "--lock-timeout", "60", "--format", "json")
        assert two.json("apply", "--lock-timeout", "0.1").code == 5
        assert waiting.poll() is None
        go.set()
        assert process.wait(60) == 0
        out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, err
    assert '"unchanged"' in out
    assert len(two.sandbox.writes) == 1


def test_the_lock_of_a_killed_process_is_taken_over_at_once(two: Project) -> None:
    with held(two) as (process, go):
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        go.set()
        wait_for_requests(two.sandbox)
        two.want("vip", people(2, 3))
        done = two.json("apply")
        assert done.code == 0, done.err
    assert two.sandbox.members(56) == set(people(2, 3))


def test_a_locked_segment_does_not_stop_the_others(two: Project) -> None:
    two.want("churn", people(*range(50, 60)))
    with held(two) as (_, go):
        two.write({"vip": segment(56, "vip"), "churn": segment(57, "churn")}, settle=0.2, timeout=30)
        go.set()  # writes are answered again; the first process may end meanwhile
        done = two.json("apply")
        assert done.segments["churn"]["status"] == "applied"
        assert done.code in (0, 5)
    assert two.sandbox.members(57) == set(people(*range(50, 60)))


def test_unlock_breaks_a_lock_and_its_former_holder_starts_no_further_request(project: Project) -> None:
    crowd = [f"q{number:05}" for number in range(3000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, settle=0.2, timeout=30, destination="concurrency: 1")
    with held(project) as (process, go):
        assert project.run("state", "unlock", "spec.yaml", "vip", "--yes", "--force").code == 0
        assert project.json("status").segments["vip"]["lock_holder"] is None
        go.set()
        out, err = process.communicate(timeout=90)
        assert process.returncode in (1, 5, 6), out + err
    sent = [member for call in project.sandbox.writes for member in call.ids or ()]
    assert len(sent) <= 2000
    project.want("vip", crowd[:10])
    assert project.run("apply", "spec.yaml", "--allow-removals", "vip").code == 0
    assert project.sandbox.members(56) == set(crowd[:10])


def test_many_runs_at_once_end_with_one_of_them_done_and_nothing_sent_twice(project: Project) -> None:
    project.want("vip", people(*range(100)))
    project.write({"vip": segment(56, "vip")}, settle=0)
    project.sandbox.configure(latency=100)
    running = [project.start("apply", "spec.yaml", "--quiet") for _ in range(4)]
    codes = []
    for process in running:
        process.communicate(timeout=120)
        codes.append(process.returncode)
    assert set(codes) <= {0, 5}
    assert 0 in codes
    assert [call.id_count for call in project.sandbox.writes] == [100]
    assert project.sandbox.members(56) == set(people(*range(100)))
