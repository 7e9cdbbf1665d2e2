"""Retries: what is tried again, how often, how long, and what is remembered of it; and the clients of requests."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.customerio.network import Deadline
from reconciler.customerio.outcomes import CallResult
from reconciler.customerio.rate_limit import Limiter
from reconciler.customerio.retry import CAP_SECONDS, MAX_ATTEMPTS, MAX_SECONDS
from reconciler.customerio.transport import Call, Transport
from reconciler.errors import DestinationError
from reconciler.models.batches import Outcome
from tests.fakes.wire import FakeGate, FakeTime

CALL = Call("POST", "/x", content=b"{}")
OK, BAD, BUSY, BROKEN = 200, 400, 429, 503
LOST = None
"""The connection is lost after the request has left."""


@dataclass
class Script:
    """A server that plays endings in turn; each attempt takes `seconds`, after `queue` seconds in the limiter."""

    time: FakeTime
    endings: Iterable[int | None]
    seconds: float = 0.0
    queue: float = 0.0
    retry_after: int | None = None
    allowed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = list(self.endings)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.allowed.append(request.extensions["timeout"]["read"])
        self.time.advance(self.seconds)
        status = self._left.pop(0)
        if status is None:
            raise httpx.ReadError("lost")
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(b"{}"))


class SlowLimiter(Limiter):
    """Every permit comes after `queue` seconds."""

    def __init__(self, time: FakeTime, queue: float) -> None:
        super().__init__(1e9, time.clock, time.wait)
        self.time = time
        self.queue = queue

    def take(self) -> object:  # type: ignore[override]
        self.time.advance(self.queue)
        return super().take()


def run(
    script: Script,
    gate: FakeGate | None = None,
    timeout: float = 10,
    chance: float = 1.0,
    most_attempts: int = MAX_ATTEMPTS,
) -> CallResult:
    time = script.time
    transport = Transport(
        "https://track.example",
        lambda: httpx.Client(transport=httpx.MockTransport(script.answer)),
        SlowLimiter(time, script.queue),
        Deadline(time.clock),
        concurrency=1,
        wait=time.wait,
        clock=time.clock,
        wall=time.wall,
        chance=lambda: chance,
    )
    return transport.call(CALL, (gate or FakeGate()).try_start, timeout=timeout, most_attempts=most_attempts)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (OK, Outcome.ACKNOWLEDGED),
        (BAD, Outcome.BAD_REQUEST),
        (413, Outcome.TOO_LARGE),
        (401, Outcome.STOPPED),
    ],
)
def test_what_can_not_get_better_is_not_tried_again(status: int, outcome: Outcome) -> None:
    time = FakeTime()

    result = run(Script(time, [status]))

    assert (result.outcome, result.attempts, result.unknown_at, result.is_held) == (outcome, 1, None, False)
    assert time.waits == []


def test_five_attempts_and_no_more() -> None:
    gate = FakeGate()

    result = run(Script(FakeTime(), [LOST] * 9), gate)

    assert result.attempts == MAX_ATTEMPTS == 5
    assert gate.asked == [1, 2, 3, 4, 5]


def test_a_call_of_one_attempt_does_not_wait_for_another() -> None:
    time = FakeTime()

    result = run(Script(time, [LOST] * 9), most_attempts=1)

    assert (result.outcome, result.attempts, time.waits) == (Outcome.UNKNOWN, 1, [])


def test_the_pauses_double_and_are_full_jitter() -> None:
    most, none = FakeTime(), FakeTime()

    run(Script(most, [BUSY] * 5), chance=1.0)
    run(Script(none, [BUSY] * 5), chance=0.0)

    assert most.waits == [0.5, 1, 2, 4]
    assert none.waits == []


def test_a_refusal_alone_leaves_nothing_unknown() -> None:
    result = run(Script(FakeTime(), [BUSY, BUSY, OK]))

    assert (result.last.status, result.attempts, result.unknown_at) == (OK, 3, None)


@pytest.mark.parametrize("last", [OK, BUSY, BAD])
def test_an_unknown_attempt_is_remembered_by_when_it_was_given_up_whatever_came_later(last: int) -> None:
    time = FakeTime()
    began = time.wall()

    result = run(Script(time, [LOST, last, *[BUSY] * 4], seconds=10), chance=0.0)

    assert result.unknown_at == began + 10


def test_the_latest_unknown_attempt_counts() -> None:
    time = FakeTime()
    began = time.wall()

    result = run(Script(time, [LOST, LOST, OK], seconds=10), chance=0.0)

    assert result.unknown_at == began + 20


def test_retry_after_is_waited_for() -> None:
    time = FakeTime()

    run(Script(time, [BUSY, OK], retry_after=30))

    assert time.waits == [30]


def test_a_retry_after_beyond_the_budget_ends_the_request_at_once() -> None:
    time = FakeTime()

    result = run(Script(time, [BUSY, OK], retry_after=3600))

    assert (result.last.status, result.attempts, time.waits) == (429, 1, [])
    assert not result.is_held


def test_a_retry_after_shorter_than_the_jitter_does_not_shorten_it() -> None:
    time = FakeTime()

    run(Script(time, [BROKEN, OK], retry_after=0))

    assert time.waits == [0.5]


def test_an_attempt_never_lasts_beyond_the_budget() -> None:
    time = FakeTime()
    script = Script(time, [LOST] * 5, seconds=50)

    result = run(script, timeout=50, chance=0.0)

    assert script.allowed == [50, 50, 20]
    assert result.attempts == 3


def test_waiting_for_the_first_turn_does_not_use_up_the_budget() -> None:
    script = Script(FakeTime(), [OK], queue=500)

    assert run(script).outcome is Outcome.ACKNOWLEDGED


def test_a_later_turn_that_comes_after_the_budget_is_not_taken() -> None:
    gate = FakeGate()

    result = run(Script(FakeTime(), [BUSY, OK], queue=500), gate)

    assert gate.asked == [1]
    assert (result.last.status, result.attempts, result.is_held) == (BUSY, 1, False)


def test_a_gate_that_is_shut_lets_nothing_leave() -> None:
    script = Script(FakeTime(), [OK])

    result = run(script, FakeGate(last=0))

    assert (result.outcome, result.attempts, result.is_held) == (Outcome.NOT_STARTED, 0, True)
    assert script.allowed == []


@pytest.mark.parametrize(("timeout", "suspended"), [(10, 10), (10, 62), (300, 130)])
def test_a_process_suspended_right_after_the_gate_asks_it_again(timeout: float, suspended: float) -> None:
    """Its lease may be over by now: what the gate said is good for the time-out of one attempt."""
    time = FakeTime()

    class Suspended(FakeGate):
        def try_start(self, attempt: int) -> bool:
            answer = super().try_start(attempt) and len(self.asked) == 1
            time.advance(suspended)
            return answer

    script, gate = Script(time, [OK]), Suspended()
    result = run(script, gate, timeout=timeout)

    assert (result.outcome, result.attempts, script.allowed) == (Outcome.NOT_STARTED, 0, [])
    assert gate.asked[0] == 1


def test_the_time_that_the_gate_takes_is_a_part_of_the_attempt() -> None:
    time = FakeTime()

    class Slow(FakeGate):
        def try_start(self, attempt: int) -> bool:
            time.advance(3)
            return super().try_start(attempt)

    script = Script(time, [OK])
    result = run(script, Slow(), timeout=10)

    assert (result.outcome, script.allowed) == (Outcome.ACKNOWLEDGED, [7])


def test_a_gate_that_shuts_after_an_attempt_ends_with_what_is_known() -> None:
    result = run(Script(FakeTime(), [LOST, OK]), FakeGate(last=1))

    assert (result.outcome, result.attempts, result.is_held) == (Outcome.UNKNOWN, 1, True)
    assert result.unknown_at is not None


def test_a_stop_ends_the_pause_and_starts_nothing() -> None:
    time, gate = FakeTime(stop_after=0), FakeGate()

    result = run(Script(time, [LOST, OK]), gate)

    assert gate.asked == [1]
    assert (result.attempts, result.is_held) == (1, True)


@settings(deadline=None)
@given(
    endings=st.lists(st.sampled_from([LOST, BUSY, BROKEN, OK, BAD]), min_size=5, max_size=5),
    seconds=st.floats(0, 200),
    timeout=st.floats(0.1, 300),
    asked=st.one_of(st.none(), st.integers(0, 300)),
    chance=st.floats(0, 1),
)
def test_no_request_outlasts_its_budget_or_forgets_an_unknown_attempt(
    endings: list[int | None], seconds: float, timeout: float, asked: int | None, chance: float
) -> None:
    time = FakeTime()
    script = Script(time, endings, seconds=min(seconds, timeout), retry_after=asked)
    began = time.clock()

    result = run(script, timeout=timeout, chance=chance)

    made = endings[: result.attempts]
    assert (result.unknown_at is not None) == any(ending in (LOST, BROKEN) for ending in made)
    assert sum(time.waits) < MAX_SECONDS
    assert all(0 < allowed <= timeout for allowed in script.allowed)
    assert began + sum(time.waits) + sum(script.allowed[-1:]) <= began + MAX_SECONDS + 0.001
    assert all(wait <= max(CAP_SECONDS, asked or 0) for wait in time.waits)


# --- the clients ---------------------------------------------------------------------------------------------------


class Clients:
    """Opens clients with requests that `answer` answers, and notes them."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self.answer = answer
        self.opened: list[httpx.Client] = []
        self.used: list[int] = []

    def __call__(self) -> httpx.Client:
        number = len(self.opened)

        def note(request: httpx.Request) -> httpx.Response:
            self.used.append(number)
            return self.answer(request)

        self.opened.append(httpx.Client(transport=httpx.MockTransport(note)))
        return self.opened[-1]


def open_transport(clients: Callable[[], httpx.Client]) -> Transport:
    time = FakeTime()
    return Transport(
        "https://track.example",
        clients,
        Limiter(1000, time.clock, time.wait),
        Deadline(time.clock),
        concurrency=2,
        wait=lambda seconds: seconds > 0,
        clock=time.clock,
        wall=time.wall,
        chance=lambda: 1.0,
    )


def ok(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=httpx.ByteStream(b"{}"))


def test_one_request_after_the_other_has_the_same_client() -> None:
    clients = Clients(ok)
    transport = open_transport(clients)

    transport.call(CALL, timeout=10)
    transport.call(CALL, timeout=10)

    assert (len(clients.opened), clients.used) == (1, [0, 0])


def test_requests_at_once_have_a_client_each_and_the_one_returned_last_is_lent_first() -> None:
    first_is_in, second_is_done = threading.Event(), threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/first":
            first_is_in.set()
            second_is_done.wait(60)
        return ok(request)

    clients = Clients(answer)
    transport = open_transport(clients)
    first = threading.Thread(
        target=transport.call, args=(Call("POST", "/first", content=b"{}"),), kwargs={"timeout": 10}
    )
    first.start()
    first_is_in.wait(60)
    transport.call(CALL, timeout=10)
    transport.call(CALL, timeout=10)
    second_is_done.set()
    first.join()
    transport.call(CALL, timeout=10)

    assert (len(clients.opened), clients.used) == (2, [0, 1, 1, 0])


def test_a_client_comes_back_from_a_request_that_failed() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too long")

    clients = Clients(fail)
    transport = open_transport(clients)

    assert transport.call(CALL, timeout=10).outcome is Outcome.UNKNOWN
    assert transport.call(CALL, timeout=10).outcome is Outcome.UNKNOWN
    assert len(clients.opened) == 1


def test_closing_closes_every_client() -> None:
    clients = Clients(ok)
    transport = open_transport(clients)
    transport.call(CALL, timeout=10)

    transport.close()

    assert [client.is_closed for client in clients.opened] == [True]


def test_a_client_that_can_not_be_opened_is_reported_at_once() -> None:
    def refuse() -> httpx.Client:
        raise DestinationError("the proxy can't be used")

    with pytest.raises(DestinationError):
        open_transport(refuse)
