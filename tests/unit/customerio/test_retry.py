"""Retries: what is tried again, how often, how long, and what is remembered of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.customerio.outcomes import AttemptResult, CallResult, Kind
from reconciler.customerio.transport import CAP_SECONDS, MAX_ATTEMPTS, MAX_SECONDS, Call, Retrier
from tests.fakes.wire import FakeGate, FakeTime, Script

CALL = Call("POST", "/x")
OK = AttemptResult(Kind.ACCEPTED, 200)
LOST = AttemptResult(Kind.UNKNOWN, failure="the connection was lost")
BUSY = AttemptResult(Kind.REFUSED, 429)
BAD = AttemptResult(Kind.BAD_REQUEST, 400)


def run(script: Script, gate: FakeGate | None = None, timeout: float = 10, chance: float = 1.0) -> CallResult:
    time = script.time
    retrier = Retrier(script, timeout, time.clock, time.wall, time.wait, lambda: chance)
    return retrier.run(CALL, (gate or FakeGate()).admit)


@pytest.mark.parametrize("kind", [Kind.ACCEPTED, Kind.BAD_REQUEST, Kind.TOO_LARGE, Kind.STOPPED])
def test_what_can_not_get_better_is_not_tried_again(kind: Kind) -> None:
    time = FakeTime()

    ending = run(Script(time, [AttemptResult(kind, 499)]))

    assert (ending.outcome.kind, ending.attempts, ending.unknown_at, ending.held) == (kind, 1, None, False)
    assert time.waits == []


def test_five_attempts_and_no_more() -> None:
    gate = FakeGate()

    ending = run(Script(FakeTime(), [LOST] * 9), gate)

    assert ending.attempts == MAX_ATTEMPTS == 5
    assert gate.asked == [1, 2, 3, 4, 5]


def test_the_pauses_double_and_are_full_jitter() -> None:
    most, none = FakeTime(), FakeTime()

    run(Script(most, [BUSY] * 5), chance=1.0)
    run(Script(none, [BUSY] * 5), chance=0.0)

    assert most.waits == [0.5, 1, 2, 4]
    assert none.waits == []


def test_a_refusal_alone_leaves_nothing_unknown() -> None:
    ending = run(Script(FakeTime(), [BUSY, BUSY, OK]))

    assert (ending.outcome, ending.attempts, ending.unknown_at) == (OK, 3, None)


@pytest.mark.parametrize("last", [OK, BUSY, BAD])
def test_an_unknown_attempt_is_remembered_by_when_it_was_given_up_whatever_came_later(last: AttemptResult) -> None:
    time = FakeTime()
    began = time.wall()

    ending = run(Script(time, [LOST, last, *[BUSY] * 4], seconds=10), chance=0.0)

    assert ending.unknown_at == began + 10


def test_the_latest_unknown_attempt_counts() -> None:
    time = FakeTime()
    began = time.wall()

    ending = run(Script(time, [LOST, LOST, OK], seconds=10), chance=0.0)

    assert ending.unknown_at == began + 20


def test_retry_after_is_waited_for() -> None:
    time = FakeTime()

    run(Script(time, [AttemptResult(Kind.REFUSED, 429, retry_after=30), OK]))

    assert time.waits == [30]


def test_a_retry_after_beyond_the_budget_ends_the_request_at_once() -> None:
    time = FakeTime()

    ending = run(Script(time, [AttemptResult(Kind.REFUSED, 429, retry_after=3600), OK]))

    assert (ending.outcome.status, ending.attempts, time.waits) == (429, 1, [])
    assert not ending.held


def test_a_retry_after_shorter_than_the_jitter_does_not_shorten_it() -> None:
    time = FakeTime()

    run(Script(time, [AttemptResult(Kind.UNKNOWN, 503, retry_after=0), OK]))

    assert time.waits == [0.5]


def test_an_attempt_never_lasts_beyond_the_budget() -> None:
    time = FakeTime()
    script = Script(time, [LOST] * 5, seconds=50)

    ending = run(script, timeout=50, chance=0.0)

    assert script.allowed == [50, 50, 20]
    assert ending.attempts == 3


def test_waiting_for_the_first_turn_does_not_use_up_the_budget() -> None:
    script = Script(FakeTime(), [OK], queue=500)

    assert run(script).outcome is OK


def test_a_later_turn_that_comes_after_the_budget_is_not_taken() -> None:
    gate = FakeGate()

    ending = run(Script(FakeTime(), [BUSY, OK], queue=500), gate)

    assert gate.asked == [1]
    assert (ending.outcome, ending.attempts, ending.held) == (BUSY, 1, False)


def test_a_gate_that_is_shut_lets_nothing_leave() -> None:
    script = Script(FakeTime(), [OK])

    ending = run(script, FakeGate(last=0))

    assert (ending.outcome.kind, ending.attempts, ending.held) == (Kind.HELD, 0, True)
    assert script.allowed == []


def test_a_gate_that_shuts_after_an_attempt_ends_with_what_is_known() -> None:
    ending = run(Script(FakeTime(), [LOST, OK]), FakeGate(last=1))

    assert (ending.outcome, ending.attempts, ending.held) == (LOST, 1, True)
    assert ending.unknown_at is not None


def test_a_stop_ends_the_pause_and_starts_nothing() -> None:
    time, gate = FakeTime(stop_after=0), FakeGate()

    ending = run(Script(time, [LOST, OK]), gate)

    assert gate.asked == [1]
    assert (ending.attempts, ending.held) == (1, True)


@settings(deadline=None)
@given(
    kinds=st.lists(st.sampled_from([LOST, BUSY, OK, BAD]), min_size=5, max_size=5),
    seconds=st.floats(0, 200),
    timeout=st.floats(0.1, 300),
    asked=st.one_of(st.none(), st.floats(0, 300)),
    chance=st.floats(0, 1),
)
def test_no_request_outlasts_its_budget_or_forgets_an_unknown_attempt(
    kinds: list[AttemptResult], seconds: float, timeout: float, asked: float | None, chance: float
) -> None:
    time = FakeTime()
    outcomes = [AttemptResult(kind.kind, kind.status, retry_after=asked) for kind in kinds]
    script = Script(time, outcomes, seconds=min(seconds, timeout))
    began = time.clock()

    ending = run(script, timeout=timeout, chance=chance)

    made = outcomes[: ending.attempts]
    assert (ending.unknown_at is not None) == any(outcome.kind is Kind.UNKNOWN for outcome in made)
    assert sum(time.waits) < MAX_SECONDS
    assert all(0 < allowed <= timeout for allowed in script.allowed)
    assert began + sum(time.waits) + sum(script.allowed[-1:]) <= began + MAX_SECONDS + 0.001
    assert all(wait <= max(CAP_SECONDS, asked or 0) for wait in time.waits)
