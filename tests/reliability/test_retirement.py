"""A retirement that is cut short goes on: kill -9 of real processes, and a death at every step."""

import random
import signal
from pathlib import Path

import pytest

from reconciler.models.results import RunStatus
from reconciler.sandbox.workspace import Direction
from tests.reliability.orders import Order
from tests.reliability.worlds import Planet
from tests.support.project import Project, segment
from tests.support.states import StateFixture

CROWD = [f"q{number:05}" for number in range(2500)]


@pytest.fixture
def old(project: Project) -> Project:
    """A segment with 2,500 people, which is retired now."""
    project.sandbox.add_people((person, None) for person in CROWD)
    project.want("old", CROWD)
    project.write({"old": segment(57, "old")}, destination="concurrency: 1")
    assert project.run("apply", "spec.yaml").code == 0
    project.write({"old": "segment_id: 57\nretired: true"}, destination="concurrency: 1")
    project.sandbox.reset_calls()
    return project


def is_forgotten(project: Project) -> bool:
    return project.run("state", "show", "spec.yaml", "id:57").code == 1


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_run_that_was_killed_while_it_emptied_a_segment_goes_on(old: Project, nth: int, applied: bool) -> None:
    seen: list[int] = []

    def is_nth(call: object) -> bool:
        seen.append(1)
        return len(seen) == nth

    killed = old.hit("apply", "spec.yaml", at=is_nth, applied=applied)
    assert killed.code == -signal.SIGKILL
    assert not is_forgotten(old)

    assert old.run("apply", "spec.yaml").code == 0

    assert (old.sandbox.members(57), is_forgotten(old)) == (set(), True)
    assert {call.direction for call in old.sandbox.writes} == {Direction.REMOVE}


def test_a_run_that_was_killed_before_its_read_back_reads_back_the_next_time(old: Project) -> None:
    killed = old.hit("apply", "spec.yaml", "--confirm", at=lambda call: call.path.endswith("/membership"))
    assert killed.code == -signal.SIGKILL
    assert old.sandbox.members(57) == set()
    assert not is_forgotten(old), "not before it was read back"
    old.sandbox.reset_calls()

    done = old.json("apply", "--confirm")

    assert (done.code, done.segments["old"]["status"], is_forgotten(old)) == (0, "unchanged", True)
    assert old.sandbox.writes == []
    assert any(call.path.endswith("/membership") for call in old.sandbox.calls)


def test_a_retirement_that_dies_at_a_step_ends_in_the_next_run(tmp_path: Path) -> None:
    for end in range(1, 200, 2):
        planet = Planet(StateFixture(f"sqlite:///{tmp_path}/{end}/state.db"), random.Random(end), size=2)
        planet.live("abcde")
        life, _ = planet.obey(Order((), retires=True), end)
        result = planet.obey(Order((), retires=True))[1]
        assert result is not None
        assert result.status in (RunStatus.APPLIED, RunStatus.UNCHANGED), result.error
        planet.check_end(())
        assert not planet.is_known()
        if not life.is_over:
            return
    pytest.fail("no run came to its end")
