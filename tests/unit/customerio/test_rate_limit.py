"""The limiter: never above the limit in any sliding second, and close to it while there is work."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.customerio.rate_limit import Limiter, Window
from tests.fakes.wire import FakeTime


def most_in_a_second(starts: list[float], seconds: float = 1.0) -> int:
    """The largest number of starts in any closed window."""
    starts = sorted(starts)
    most, left = 0, 0
    for right, start in enumerate(starts):
        while start - starts[left] > seconds:
            left += 1
        most = max(most, right - left + 1)
    return most


rates = st.one_of(st.floats(0.05, 30), st.integers(1, 300))
steps = st.lists(st.tuples(st.sampled_from(["take", "leave", "arrive", "drop"]), st.floats(0, 0.4)), max_size=300)


@settings(deadline=None)
@given(rate=rates, steps=steps)
def test_whatever_happens_between_permit_and_start_no_sliding_second_has_too_many(
    rate: float, steps: list[tuple[str, float]]
) -> None:
    window, now, out, leaving, starts = Window(rate), 0.0, 0, 0, []

    for step, seconds in steps:
        now += seconds
        if step == "take" and window.take(now) == 0:
            out += 1
        elif step == "leave" and out:
            starts.append(now)
            out, leaving = out - 1, leaving + 1
        elif step == "arrive" and leaving:
            window.start(now)
            leaving -= 1
        elif step == "drop" and out:
            window.give_back()
            out -= 1

    assert most_in_a_second(starts) <= max(1, rate)
    assert rate >= 1 or most_in_a_second(starts, 1 / rate) <= 1


@settings(max_examples=40, deadline=None)
@given(rate=st.one_of(st.sampled_from([0.5, 0.1, 1, 10, 100, 1000]), st.integers(1, 400)), delay=st.floats(0, 0.01))
def test_while_there_is_work_nearly_all_of_the_limit_is_used(rate: float, delay: float) -> None:
    time = FakeTime()
    limiter, starts = Limiter(rate, time.clock, time.wait), []

    began = time.clock()
    while time.clock() < began + max(5, 30 / rate):
        permit = limiter.take()
        assert permit is not None
        with permit:
            time.advance(min(delay, 0.02 / rate))
            permit.begin()
            permit.end()
        starts.append(time.clock())

    assert len(starts) >= 0.95 * rate * (time.clock() - began)
    assert most_in_a_second(starts) <= max(1, rate)


def test_after_a_pause_requests_leave_a_quarter_faster_and_not_all_at_once() -> None:
    time = FakeTime()
    limiter, starts = Limiter(100, time.clock, time.wait), []

    for _ in range(50):
        permit = limiter.take()
        assert permit is not None
        permit.end()
        starts.append(time.clock())

    assert most_in_a_second(starts, 0.1) <= 5 + 100 * 1.25 * 0.1 + 1


def test_a_request_that_began_to_leave_and_failed_counts() -> None:
    time = FakeTime()
    limiter = Limiter(1, time.clock, time.wait)
    permit = limiter.take()
    assert permit is not None
    with permit:
        permit.begin()

    assert limiter.take() is not None
    assert sum(time.waits) >= 1


def test_threads_that_share_a_limiter_keep_the_limit_together() -> None:
    time = FakeTime()
    limiter, starts = Limiter(20, time.clock, time.wait), []

    def work() -> None:
        for _ in range(40):
            permit = limiter.take()
            assert permit is not None
            with permit:
                permit.begin()
                starts.append(time.clock())
                permit.end()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(starts) == 160
    assert most_in_a_second(starts) <= 20


def test_a_permit_that_was_not_used_is_free_for_the_next() -> None:
    time = FakeTime()
    limiter = Limiter(1, time.clock, time.wait)

    for _ in range(3):
        permit = limiter.take()
        assert permit is not None
        with permit:
            pass

    assert time.waits == []


def test_permits_that_came_back_do_not_slow_down_the_next() -> None:
    time = FakeTime()
    limiter = Limiter(10, time.clock, time.wait)

    for _ in range(50):
        permit = limiter.take()
        assert permit is not None
        with permit:
            pass

    assert time.waits == []


def test_a_permit_counts_from_when_its_request_has_left() -> None:
    time = FakeTime()
    limiter = Limiter(1, time.clock, time.wait)
    permit = limiter.take()
    assert permit is not None
    with permit:
        time.advance(5)
        permit.begin()
        permit.end()
        permit.end()

    assert limiter.take() is not None
    assert sum(time.waits) >= 1


def test_while_all_permits_are_out_the_next_thread_looks_again_until_one_comes_back() -> None:
    time, out = FakeTime(), []

    def wait(seconds: float) -> bool:
        if seconds and len(time.waits) == 3:
            out[0].__exit__(None, None, None)
        return time.wait(seconds)

    limiter = Limiter(1, time.clock, wait)
    out.append(limiter.take())

    assert limiter.take() is not None
    assert len(time.waits) == 4


@pytest.mark.parametrize("waits", [0, 1])
def test_a_stopping_run_gets_no_permit_at_once_or_in_the_middle_of_a_wait(waits: int) -> None:
    time = FakeTime(stop_after=0)
    limiter = Limiter(1, time.clock, time.wait)
    if waits:
        permit = limiter.take()
        assert permit is not None
        permit.end()
    else:
        time.stopping = True

    assert limiter.take() is None


def test_a_stop_event_ends_the_wait_of_every_thread() -> None:
    stop, time = threading.Event(), FakeTime()
    limiter = Limiter(0.001, time.clock, stop.wait)
    first = limiter.take()
    assert first is not None
    first.end()
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(limiter.take())) for _ in range(5)]
    for thread in threads:
        thread.start()

    stop.set()
    for thread in threads:
        thread.join(timeout=60)

    assert got == [None] * 5


@pytest.mark.parametrize(("rate", "capacity"), [(0.5, 1), (1, 1), (2.9, 2), (100, 100), (10_000, 10_000)])
def test_a_rate_is_a_whole_number_of_starts_in_a_window(rate: float, capacity: int) -> None:
    assert Window(rate).capacity == capacity
