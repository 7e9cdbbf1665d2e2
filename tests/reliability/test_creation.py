"""A process that dies at any step of creating a segment, whatever becomes of its request: there is one in the end."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reconciler.models.batches import CreationResult, Outcome
from reconciler.models.plan import RemoteSegment
from reconciler.models.results import RunStatus
from reconciler.models.spec import GuardSettings, Target
from reconciler.operations.context import Parts
from tests.reliability.orders import Order, Window
from tests.reliability.worlds import SETTLE, Life, ModelSets, Planet, finish
from tests.support.states import FakeClock, StateFixture

TITLE = "Brand new"
DESIRED = "abcde"

FATES = ("done", "answer lost", "late", "never there", "refused")
"""What becomes of a request. Late: it is given up by its client, and takes effect shortly before `settle` is over."""


@dataclass
class Registry:
    """The segments of this title in a workspace. `fates` are those of the requests to come; then all is well."""

    clock: FakeClock
    fates: list[str]
    made: list[int] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    """When requests that are on their way take effect."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(61))

    def arrive(self) -> None:
        for at in [at for at in self.due if at <= self.clock.time]:
            self.due.remove(at)
            self.made.append(next(self.numbers))

    def find(self) -> int | None:
        """The number by which a list shows the segment now."""
        self.arrive()
        assert len(self.made) <= 1, "two segments were made"
        return self.made[0] if self.made else None


@dataclass
class MortalRegistry(Window):
    """The App API of a process that may die around its requests."""

    registry: Registry = field(default_factory=lambda: Registry(FakeClock(), []))
    life: Life = field(default_factory=Life)

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]:
        self.life.step("before a list")
        number = self.registry.find()
        return {} if number is None else {number: RemoteSegment(number, TITLE, manual=True)}

    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult:
        assert title == TITLE
        if not may_start(1):
            return CreationResult(Outcome.NOT_STARTED)
        self.life.step("before the request")
        assert self.registry.find() is None, "it was asked for although it is there"
        assert not self.registry.due, "it was asked for again while a request was on its way"
        fate = self.registry.fates.pop(0) if self.registry.fates else "done"
        if fate in ("done", "answer lost"):
            self.registry.due.append(self.registry.clock.time)
        elif fate == "late":
            self.registry.due.append(self.registry.clock.time + SETTLE * 0.9)
        number = self.registry.find()
        self.life.step("after the request")
        match fate:
            case "done":
                return CreationResult(Outcome.ACKNOWLEDGED, number)
            case "refused":
                return CreationResult(Outcome.REFUSED)
        return CreationResult(Outcome.UNKNOWN)


class Founding(Planet):
    """A workspace in which the segment is to be created first."""

    registry: Registry

    def aim(self, guards: GuardSettings, **keys: bool) -> Target:
        return super().aim(guards, **keys).changed(segment=TITLE, create=True, segment_id=self.registry.find())

    def _gather(self, store: object, sets: ModelSets, life: Life, order: Order) -> Parts:
        parts = super()._gather(store, sets, life, order)  # type: ignore[arg-type]
        app = MortalRegistry(self.remote.present, self.remote.arrive_due, self.registry, life)
        listings = self.state.snapshot.listings
        return replace(parts, app=app, list_known=lambda: listings("production"))


def found(folder: Path, *fates: str) -> Founding:
    state = StateFixture(f"sqlite:///{folder}/.reconcile/state.db")
    planet = Founding.__new__(Founding)
    planet.registry = Registry(state.clock, list(fates))
    planet.__init__(state, random.Random(0), size=10)  # type: ignore[misc]
    return planet


@pytest.mark.parametrize("fate", ["done", "late", "never there"])
def test_a_death_at_each_step_of_a_creation_ends_with_one_segment(tmp_path: Path, fate: str) -> None:
    steps = found(tmp_path / "whole").live(DESIRED)[0].steps
    first = steps.index("before the request") - 4  # what comes before is the lock of any segment
    for end in range(first, first + 16):
        planet = found(tmp_path / str(end), fate)
        _, result = planet.live(DESIRED, end)
        if result is not None and fate in ("answer lost", "late", "never there"):
            assert result.status is RunStatus.PARTIAL
        planet.registry.fates.clear()
        finish(planet, DESIRED)
        assert planet.registry.find() is not None


@pytest.mark.parametrize("second", FATES)
@pytest.mark.parametrize("first", FATES[1:])
def test_one_trouble_after_another_ends_with_one_segment(tmp_path: Path, first: str, second: str) -> None:
    planet = found(tmp_path, first, second)
    planet.live(DESIRED)
    planet.live(DESIRED)
    planet.registry.fates.clear()
    finish(planet, DESIRED)
    assert planet.registry.find() is not None
