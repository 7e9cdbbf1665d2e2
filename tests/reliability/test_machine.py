"""Any order of churn, deaths, bad networks, full disks, frozen holders and waiting: the promises hold throughout."""

import functools
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.reliability.test_locks import RESTING
from tests.reliability.worlds import Life, Planet, finish
from tests.support.states import Bench

QUERIES = st.frozensets(st.sampled_from("abcdefgh"))
STEPS = st.integers(4, 60)


class Reconciling(RuleBasedStateMachine):
    """One segment; every rule is a process that applies a query result, and what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self._folder.name)}/.reconcile/state.db"
        self.planet = Planet(Bench(url), random.Random(0), size=2)
        self.is_begun = False

    def _live(self, desired: frozenset[str], life: Life | int | None = None, failing: range = range(0)) -> None:
        self.is_begun = True
        self.planet.live(desired, life, failing)

    @rule(desired=QUERIES, trouble=st.sampled_from([0.0, 0.3, 0.9]), shuffles=st.booleans(), seed=st.integers(0, 9))
    def apply(self, desired: frozenset[str], trouble: float, shuffles: bool, seed: int) -> None:
        self.planet.trouble, self.planet.shuffles = trouble, shuffles
        self.planet.chance.seed(seed)
        self._live(desired)

    @rule(desired=QUERIES, end=STEPS)
    def apply_and_die(self, desired: frozenset[str], end: int) -> None:
        self._live(desired, end)

    @rule(desired=QUERIES, first=STEPS, number=st.integers(1, 3))
    def apply_on_a_full_disk(self, desired: frozenset[str], first: int, number: int) -> None:
        self._live(desired, failing=range(first // 3, first // 3 + number))

    @rule(desired=QUERIES, other=QUERIES, at=st.integers(6, 60))
    def apply_and_freeze_while_another_applies(self, desired: frozenset[str], other: frozenset[str], at: int) -> None:
        self.planet.trouble = 0.0
        self._live(desired, Life(watch=functools.partial(self._freeze, at, other)))

    def _freeze(self, at: int, other: frozenset[str], number: int, name: str) -> None:
        if number == at and name in RESTING:
            self.planet.bench.clock.time += 61
            self.planet.live(other)

    @rule(seconds=st.sampled_from([1.0, 30.0, 3000.0, 40 * 86400.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.planet.bench.clock.time += seconds

    @precondition(lambda self: self.is_begun)
    @invariant()
    def nothing_is_forgotten_and_nothing_claimed_too_much(self) -> None:
        self.planet.check_claims()

    @rule(desired=QUERIES)
    def apply_in_peace(self, desired: frozenset[str]) -> None:
        self.is_begun = True
        finish(self.planet, desired)

    def teardown(self) -> None:
        finish(self.planet, "abh")
        self._folder.cleanup()


TestReconciling = Reconciling.TestCase
TestReconciling.settings = settings(
    max_examples=12, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
