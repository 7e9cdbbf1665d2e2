"""A process that dies at any step, then any query result: nothing is forgotten, and nothing is claimed too much."""

import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import pytest

from reconciler.models.batches import Batch
from reconciler.models.results import RunStatus
from tests.reliability.worlds import ADD, Life, Planet, finish, live_at_random
from tests.support.states import StateFixture

EVERYBODY = "abcdefghij"
BEFORE = "abcdef"
NOW = "defghi"
LATER = {"the same": NOW, "what was before": BEFORE, "nobody": "", "everybody": EVERYBODY}

Find = Callable[..., Planet]


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state after one clean run."""
    folder = tmp_path_factory.mktemp("seed")
    _, result = Planet(StateFixture(f"sqlite:///{folder}/.reconcile/state.db"), random.Random(0)).live(BEFORE)
    assert result is not None
    assert result.status is RunStatus.APPLIED
    return folder


def copy(planet: Planet, folder: Path) -> Planet:
    """Copy all that outlives the processes: what came of them so far goes on in several ways."""
    state = Path(planet.state.url.removeprefix("sqlite:///"))
    shutil.copytree(state.parents[1], folder)
    copied = Planet(StateFixture(f"sqlite:///{folder}/.reconcile/state.db"), deepcopy(planet.chance), planet.size)
    copied.state.clock.time = planet.state.clock.time
    copied.remote = deepcopy(planet.remote)
    copied.remote.clock = copied.state.clock
    copied.trouble = planet.trouble
    copied.pids, copied.runs = itertools.count(2000), itertools.count(2000)
    return copied


@pytest.fixture
def find(seed: Path, tmp_path: Path) -> Find:
    """Finds new planets: with one clean run behind them, or none."""
    numbers = itertools.count()

    def find(number: int, *, is_new: bool = False) -> Planet:
        folder = tmp_path / str(next(numbers))
        planet = Planet(StateFixture(f"sqlite:///{folder}/.reconcile/state.db"), random.Random(number))
        planet.pids, planet.runs = itertools.count(1000), itertools.count(1000)
        if not is_new:
            shutil.copytree(seed, folder)
            members = Batch(ADD, tuple(BEFORE))
            number = planet.remote.leave(members)
            planet.remote.apply(members)
            planet.remote.acknowledge(members, number)
        return planet

    return find


def test_a_death_at_each_step_then_another_query_ends_equal_to_it(find: Find, tmp_path: Path) -> None:
    for end in itertools.count(1):
        planet = find(end)
        life, result = planet.live(NOW, end)
        for name, later in LATER.items():
            finish(copy(planet, tmp_path / f"{end} {name}"), later)
        if result is not None:
            break
    assert end == len(life.steps) + 1 > 40


def test_a_death_at_each_step_of_a_first_fill_then_any_query_ends_equal_to_it(find: Find) -> None:
    for end in itertools.count(1):
        planet = find(end, is_new=True)
        _, result = planet.live(NOW, end)
        finish(planet, planet.chance.choice([*LATER.values()]))
        if result is not None:
            break


def test_two_deaths_in_a_row_then_any_query_ends_equal_to_it(find: Find) -> None:
    for first, second in itertools.product(range(3, 60, 11), repeat=2):
        planet = find(1000 * first + second)
        planet.live(NOW, first)
        planet.live(planet.chance.sample(EVERYBODY, 5), second)
        finish(planet, planet.chance.choice([*LATER.values()]))


@pytest.mark.parametrize("number", range(24))
def test_random_lives_in_a_bad_network_end_equal_to_the_query(tmp_path: Path, number: int) -> None:
    """Lost answers, changes that arrive late, full disks, deaths; `python -m benchmarks.reliability death` has more."""
    live_at_random(tmp_path, number)


class Slowest(random.Random):
    """Every attempt takes its longest, is lost, and arrives as late as it can."""

    def random(self) -> float:
        return 0.0

    def uniform(self, a: float, b: float) -> float:
        return b

    def choice(self, seq: Sequence[str]) -> str:  # type: ignore[override]
        return "lost, and applied late"


def test_a_change_on_its_way_when_its_process_died_is_waited_for_from_the_recovery_on(tmp_path: Path) -> None:
    """The attempt that is cut off is much younger than its intent, which was made durable with that of "ab"."""

    def live(name: str, end: int | None) -> tuple[Planet, Life]:
        planet = Planet(StateFixture(f"sqlite:///{tmp_path}/{name}/.reconcile/state.db"), Slowest(), trouble=1.0)
        return planet, planet.live("abcd", end)[0]

    _, whole = live("whole", None)
    departures = [number for number, name in enumerate(whole.steps, 1) if name == "after an attempt left"]
    planet, _ = live("cut", departures[3])

    finish(planet, "ab")


@pytest.mark.parametrize(("first", "later"), list(enumerate(LATER, 1)))
def test_a_death_at_each_step_while_changes_are_on_their_way_then_a_refresh_then_any_query_ends_equal_to_it(
    find: Find, first: int, later: str
) -> None:
    for end in itertools.count(first, len(LATER)):
        planet = find(end)
        planet.chance, planet.trouble = Slowest(), 1.0
        _, result = planet.live(NOW, end)
        planet.refresh()
        finish(planet, LATER[later], confirms=True)
        if result is not None:
            break


def test_a_death_at_each_step_of_a_refresh_then_any_query_ends_equal_to_it(find: Find, tmp_path: Path) -> None:
    dead = find(1)
    dead.chance, dead.trouble = Slowest(), 1.0
    dead.live(NOW, 25)
    for end in itertools.count(1):
        planet, life = copy(dead, tmp_path / f"refresh {end}"), Life(end)
        planet.refresh(life)
        finish(planet, [*LATER.values()][end % len(LATER)], confirms=True)
        if not life.is_over:
            break
    assert end > 10
