"""Try again what may succeed: at most 5 attempts and 120 seconds, with full jitter."""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.customerio.outcomes import HELD, Ending, Kind, Outcome
from reconciler.customerio.transport import Attempt, Call, Carrier

MAX_ATTEMPTS = 5
MAX_SECONDS = 120.0
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0


class Budget:
    """At most 120 seconds from the first admission on."""

    def __init__(self, clock: Callable[[], float], timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._ends: float | None = None

    def open(self) -> bool:
        """Begin to count, if not begun; tell whether anything is left."""
        if self._ends is None:
            self._ends = self._clock() + MAX_SECONDS
        return self.left() > 0

    def left(self) -> float:
        return MAX_SECONDS if self._ends is None else self._ends - self._clock()

    def attempt_seconds(self) -> float:
        """Give how long the next attempt may take."""
        return max(min(self._timeout, self.left()), 0.001)


@dataclass(frozen=True)
class Retrier:
    """Tries again. `wait` sleeps, and is true, at once, when the run is stopping; `chance` gives 0 to 1."""

    carrier: Carrier
    timeout: float
    clock: Callable[[], float]
    wall: Callable[[], float]
    wait: Callable[[float], bool]
    chance: Callable[[], float]

    def run(self, call: Call, admit: Callable[[int], bool] | None = None) -> Ending:
        """Make the call. `admit` is asked before each attempt, by its number from 1, when only sending is left."""
        budget = Budget(self.clock, self.timeout)
        last, unknown_at = HELD, None
        ends: list[str] = []
        for number in range(1, MAX_ATTEMPTS + 1):
            outcome = self._attempt(call, number, budget, admit)
            if outcome.kind is Kind.HELD:
                return Ending(last, number - 1, unknown_at, budget.left() > 0, tuple(ends))
            ends.append(str(outcome.status or outcome.failure))
            if outcome.kind.is_doubtful:
                unknown_at = self.wall()
            if not outcome.kind.is_retried or number == MAX_ATTEMPTS:
                return Ending(outcome, number, unknown_at, False, tuple(ends))
            seconds = self._pause(number, outcome)
            if seconds >= budget.left():
                return Ending(outcome, number, unknown_at, False, tuple(ends))
            if self.wait(seconds):
                return Ending(outcome, number, unknown_at, True, tuple(ends))
            last = outcome
        raise AssertionError("the last attempt returns")

    def _attempt(self, call: Call, number: int, budget: Budget, admit: Callable[[int], bool] | None) -> Outcome:
        def may_start() -> bool:
            return budget.open() and (admit is None or admit(number))

        return self.carrier.carry(Attempt(call, number, budget.attempt_seconds, may_start))

    def _pause(self, number: int, outcome: Outcome) -> float:
        """Give the seconds to wait: anything up to twice as much each time, and no less than the server asks."""
        jitter = self.chance() * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (number - 1))
        return max(jitter, outcome.retry_after or 0.0)
