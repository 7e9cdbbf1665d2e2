"""Any order of churn, deaths, bad networks, full disks, frozen and rival runs, guards and sealed plans; and of waiting.

The promises hold after each step.
"""

import functools
import itertools
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from reconciler.models.guards import Guard
from reconciler.models.results import RunStatus, SegmentRun
from reconciler.state.admin import unlock
from reconciler.state.runtime import Runtime
from tests.reliability.orders import STRICT, Order, Sealed
from tests.reliability.test_locks import RESTING
from tests.reliability.worlds import SETTLE, Life, Planet, finish
from tests.support.states import StateFixture

QUERIES = st.frozensets(st.sampled_from("abcdefgh"))
STEPS = st.integers(4, 60)
DONE = (RunStatus.APPLIED, RunStatus.UNCHANGED)


@dataclass
class Rival:
    """A second process that sets out while the first is at one step; what came of it, and the attempts around it."""

    before: int = 0
    after: int = 0
    result: SegmentRun | None = None


class Reconciling(RuleBasedStateMachine):
    """One segment; every rule is a process that applies something, and what happens to it."""

    plans = Bundle("plans")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self._folder.name)}/.reconcile/state.db"
        self.planet = Planet(StateFixture(url), random.Random(0), size=2)
        self.is_begun = False
        self._plans: list[Sealed] = []
        self._names = itertools.count()

    def _obey(
        self, order: Order, life: Life | int | None = None, failing: range = range(0)
    ) -> tuple[SegmentRun | None, int]:
        """What came of a process, and how many attempts there were meanwhile."""
        self.is_begun = True
        before = self.planet.remote.attempts
        _, result = self.planet.obey(order, life, failing)
        attempts = self.planet.remote.attempts - before
        for plan in self._plans:
            if plan is not order.sealed:
                plan.runs_of_others += 1
                plan.attempts_of_others += attempts
        return result, attempts

    # --- troubles -------------------------------------------------------------------------------------------------

    @rule(desired=QUERIES, trouble=st.sampled_from([0.0, 0.3, 0.9]), shuffles=st.booleans(), seed=st.integers(0, 9))
    def apply(self, desired: frozenset[str], trouble: float, shuffles: bool, seed: int) -> None:
        self.planet.trouble, self.planet.shuffles = trouble, shuffles
        self.planet.chance.seed(seed)
        self._obey(Order(sorted(desired)))

    @rule(desired=QUERIES, end=STEPS)
    def apply_and_die(self, desired: frozenset[str], end: int) -> None:
        self._obey(Order(sorted(desired)), end)

    @rule(desired=QUERIES, first=STEPS, number=st.integers(1, 3))
    def apply_on_a_full_disk(self, desired: frozenset[str], first: int, number: int) -> None:
        self._obey(Order(sorted(desired)), failing=range(first // 3, first // 3 + number))

    @rule(desired=QUERIES, other=QUERIES, at=st.integers(6, 60))
    def apply_and_freeze_while_another_applies(self, desired: frozenset[str], other: frozenset[str], at: int) -> None:
        self.planet.trouble = 0.0
        self._obey(Order(sorted(desired)), Life(watch=functools.partial(self._freeze, at, other)))

    def _freeze(self, at: int, other: frozenset[str], number: int, name: str) -> None:
        if number == at and name in RESTING:
            self.planet.state.clock.time += 61
            self.planet.live(other)

    @rule(desired=QUERIES, other=QUERIES, at=st.integers(6, 60))
    def apply_and_lose_the_lock_by_force_while_another_applies(
        self, desired: frozenset[str], other: frozenset[str], at: int
    ) -> None:
        self.planet.trouble = 0.0
        self._obey(Order(sorted(desired)), Life(watch=functools.partial(self._break_lock, at, other)))

    def _break_lock(self, at: int, other: frozenset[str], number: int, name: str) -> None:
        if number == at and name in RESTING:
            state = self.planet.state
            unlock(state.settings, "production", 56, runtime=Runtime(state.clock, state.machine))
            self.planet.live(other)

    @rule(desired=QUERIES, end=st.none() | STEPS, seed=st.integers(0, 9), dies=st.none() | st.integers(3, 30))
    def apply_in_a_bad_network_and_refresh(
        self, desired: frozenset[str], end: int | None, seed: int, dies: int | None
    ) -> None:
        """Whatever was cut off and is on its way: what the refresh writes down is true once all has arrived."""
        self.planet.chance.seed(seed)
        self.planet.trouble = 0.9
        self._obey(Order(sorted(desired)), end)
        self.planet.refresh(dies)
        self.planet.trouble = 0.0
        result, _ = self._obey(Order(sorted(desired), confirms=True))
        self._check_done(result, desired)
        for plan in self._plans:
            plan.runs_of_others += 1  # of the refresh: it changed the state, and sent nothing

    @rule(seconds=st.sampled_from([1.0, 30.0, 3000.0, 40 * 86400.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.planet.state.clock.time += seconds

    @rule(desired=QUERIES, other=QUERIES, seed=st.integers(0, 9))
    def apply_over_answers_that_take_longer_than_settle(
        self, desired: frozenset[str], other: frozenset[str], seed: int
    ) -> None:
        """No run can know of these: reading back finds what they did, and the next run mends it."""
        self.planet.chance.seed(seed)
        self.planet.trouble, self.planet.latest = 0.9, SETTLE * 10
        self._obey(Order(sorted(desired)))
        self.planet.trouble, self.planet.latest = 0.0, SETTLE * 0.9
        self._obey(Order(sorted(other)))
        self.planet.state.clock.time += SETTLE * 10
        self.planet.remote.arrive_due()
        self._obey(Order(sorted(other), confirms=True))
        result, _ = self._obey(Order(sorted(other), confirms=True))
        self._check_done(result, other)
        assert result is not None
        assert result.confirmed

    # --- retired and paused ---------------------------------------------------------------------------------------

    @rule(end=st.none() | STEPS, trouble=st.sampled_from([0.0, 0.5]), confirms=st.booleans(), seed=st.integers(0, 9))
    def retire(self, end: int | None, trouble: float, confirms: bool, seed: int) -> None:
        """However it ends, nobody who may be there is forgotten, as after each step; the next run ends it."""
        self.planet.chance.seed(seed)
        self.planet.trouble = trouble
        self._obey(Order(retires=True, confirms=confirms), end)
        self.planet.trouble = 0.0
        result, _ = self._obey(Order(retires=True))
        self._check_done(result, ())
        assert not self.planet.is_known()
        _, attempts = self._obey(Order(retires=True))
        assert not attempts
        for plan in self._plans:  # of a state that knew nothing of the segment: so it is again
            if plan.file.plan.segments[0].lineage is None:
                plan.attempts_of_others = 0

    @rule(desired=QUERIES)
    def pause(self, desired: frozenset[str]) -> None:
        self.planet.trouble = 0.0
        before = self.planet.look()
        result, attempts = self._obey(Order(sorted(desired), pauses=True, confirms=True))
        assert result is not None
        assert (result.status, attempts) == (RunStatus.PAUSED, 0)
        assert replace(self.planet.look(), tombstones=before.tombstones) == before

    # --- two at once ----------------------------------------------------------------------------------------------

    @rule(desired=QUERIES, other=QUERIES, at=st.integers(1, 60), patience=st.sampled_from([0.0, 30.0, 90.0]))
    def apply_while_another_sets_out(
        self, desired: frozenset[str], other: frozenset[str], at: int, patience: float
    ) -> None:
        """The first does not renew its lease: a rival that waits for longer gets the lock, and the first stops."""
        self.planet.trouble, began, rival = 0.0, self.planet.remote.attempts, Rival()
        order = Order(sorted(other), lock_timeout=patience)
        self._obey(Order(sorted(desired)), Life(watch=functools.partial(self._set_out, at, order, rival)))
        if rival.result is None:
            return
        own_before, own_after = rival.before - began, self.planet.remote.attempts - rival.after
        if rival.result.status is RunStatus.LOCKED:
            assert rival.after == rival.before, "sent without the lock"
            assert patience < 60
        else:
            assert not (own_before and own_after), "two runs worked on one segment at once"

    def _set_out(self, at: int, order: Order, rival: Rival, number: int, name: str) -> None:
        if number == at and name in RESTING:
            rival.before = self.planet.remote.attempts
            _, rival.result = self.planet.obey(order)
            rival.after = self.planet.remote.attempts

    # --- guards ---------------------------------------------------------------------------------------------------

    @rule(desired=st.just(frozenset()) | QUERIES, crowd=st.sampled_from(["as it is", "stored", "coming", "leaving"]))
    def apply_under_guards_and_allow_what_they_stop(self, desired: frozenset[str], crowd: str) -> None:
        self._set_scene(crowd)
        self.planet.trouble = 0.0
        before, breached = self.planet.look(), self._foresee_breaches(desired)
        order = functools.partial(Order, sorted(desired), guards=STRICT)
        for missing in sorted(breached):
            result, attempts = self._obey(order(allowed=breached - {missing}))
            assert result is not None
            assert result.status is RunStatus.BLOCKED
            assert {verdict.name for verdict in result.plan.verdicts if verdict.breached} == breached
            assert attempts == 0
            assert replace(self.planet.look(), tombstones=before.tombstones) == before  # old ones go in any run
        result, _ = self._obey(order(allowed=breached))
        self._check_done(result, desired)

    def _set_scene(self, crowd: str) -> None:
        """Everybody is stored, or on the way in or out with an unknown outcome."""
        if crowd in ("stored", "leaving"):
            self.planet.trouble = 0.0
            self._obey(Order("abcdefgh"))
        if crowd in ("coming", "leaving"):
            self.planet.trouble = 1.0
            self._obey(Order("abcdefgh" if crowd == "coming" else ""))

    def _foresee_breaches(self, desired: frozenset[str]) -> frozenset[Guard]:
        """By the words of the contract: more than two removals, more than three additions, nobody left."""
        state = self.planet.look()
        repeated = {member for member in state.unsettled if state.unsettled[member] == "remove"}
        removals = state.held - desired - repeated - state.marked_unmatched
        resends = state.unmatched & desired
        additions = desired - state.stored - resends - {m for m in state.unsettled if state.unsettled[m] == "add"}
        only_repeats = state.held and not removals and not state.unmatched
        found = {
            Guard.MAX_REMOVALS: len(removals) > 2,
            Guard.MAX_ADDITIONS: len(additions) > 3,
            Guard.ALLOW_EMPTY: not desired and bool(state.held) and not only_repeats,
        }
        return frozenset(guard for guard, is_breached in found.items() if is_breached)

    # --- sealed plans ---------------------------------------------------------------------------------------------

    @rule(target=plans, desired=QUERIES, is_old=st.sampled_from([False, False, False, True]))
    def seal(self, desired: frozenset[str], is_old: bool) -> Sealed:
        path = Path(self._folder.name, f"{next(self._names)}.plan")
        self._plans.append(self.planet.seal(desired, path, timedelta(hours=24 if is_old else 0)))
        return self._plans[-1]

    @rule(plan=plans, end=st.none() | STEPS, trouble=st.sampled_from([0.0, 0.0, 0.5]), seed=st.integers(0, 9))
    def apply_a_sealed_plan(self, plan: Sealed, end: int | None, trouble: float, seed: int) -> None:
        self.planet.trouble = trouble
        self.planet.chance.seed(seed)
        must_be_refused = plan.is_spent or plan.is_expired or plan.attempts_of_others > 0
        may_be_refused = must_be_refused or plan.runs_of_others > 0 or self._is_spent(plan)

        result, attempts = self._obey(Order(sorted(plan.desired), plan), end)

        is_refused = result is not None and result.status is RunStatus.STALE
        assert not (must_be_refused and attempts), "a plan was applied to what it was not made for"
        assert not must_be_refused or is_refused or result is None
        assert may_be_refused or not is_refused, "a fresh plan was refused"
        if result is not None and not is_refused and not trouble:
            self._check_done(result, plan.desired)
        plan.is_spent |= result is not None and result.status in DONE

    @rule(desired=QUERIES, ends=st.lists(STEPS, max_size=2))
    def seal_and_apply_until_it_is_done(self, desired: frozenset[str], ends: list[int]) -> None:
        plan = self.seal(desired, is_old=False)
        for end in [*ends, None]:
            self.apply_a_sealed_plan(plan, end, trouble=0.0, seed=0)
        assert self._is_spent(plan)
        self.apply_a_sealed_plan(plan, None, trouble=0.0, seed=0)

    @rule(desired=QUERIES)
    def seal_and_apply_a_day_later(self, desired: frozenset[str]) -> None:
        self.apply_a_sealed_plan(self.seal(desired, is_old=True), None, trouble=0.0, seed=0)

    @rule(desired=QUERIES, other=QUERIES, end=st.none() | STEPS)
    def seal_and_apply_after_another_run(self, desired: frozenset[str], other: frozenset[str], end: int | None) -> None:
        plan = self.seal(desired, is_old=False)
        self.planet.trouble = 0.0
        self._obey(Order(sorted(other)), end)
        self.apply_a_sealed_plan(plan, None, trouble=0.0, seed=0)

    def _is_spent(self, plan: Sealed) -> bool:
        """A process may die right after it was written down, too."""
        return self.planet.state.snapshot.is_spent(plan.file.plan.plan_id)

    # --- the laws -------------------------------------------------------------------------------------------------

    def _check_done(self, result: SegmentRun | None, desired: Iterable[str]) -> None:
        assert result is not None
        assert result.status in DONE, result.error
        self.planet.check_end(desired)

    @precondition(lambda self: self.is_begun)
    @invariant()
    def nothing_is_forgotten_and_nothing_claimed_too_much(self) -> None:
        self.planet.check_claims()

    @rule(desired=QUERIES)
    def apply_in_peace(self, desired: frozenset[str]) -> None:
        self.planet.trouble = 0.0
        result, _ = self._obey(Order(sorted(desired)))
        self._check_done(result, desired)

    def teardown(self) -> None:
        finish(self.planet, "abh")
        for plan in self._plans:
            plan.file.close()
        self._folder.cleanup()


TestReconciling = Reconciling.TestCase
TestReconciling.settings = settings(
    max_examples=20, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_sealed_plan_without_changes_cut_short_at_any_step_can_be_applied_again() -> None:
    for end in range(1, 40):
        machine = Reconciling()
        machine.seal_and_apply_until_it_is_done(desired=frozenset(), ends=[end])
        machine.teardown()
