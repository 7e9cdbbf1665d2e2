"""Work on several segments, and a signal that reaches one of its threads."""

import concurrent.futures
import signal
import sys
import threading
import traceback
from collections.abc import Iterator

import pytest

from reconciler.operations.context import Context


@pytest.fixture
def heard() -> Iterator[threading.Event]:
    """Set once the handler of SIGUSR1 has run, in the main thread."""
    event = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: event.set())
    yield event
    signal.signal(signal.SIGUSR1, before)


def wait_for_main_to_wait() -> None:
    """Go on once the main thread waits for the work: only there can it miss a signal, and is every thread started."""
    main, seen = threading.main_thread().ident, 0
    assert main is not None
    for _ in range(12_000):
        frames = [frame.f_code for frame, _ in traceback.walk_stack(sys._current_frames()[main])]
        stands = frames[0] is threading.Condition.wait.__code__ and concurrent.futures.wait.__code__ in frames
        seen = seen + 1 if stands else 0
        if seen == 3:
            return
        threading.Event().wait(0.005)
    raise AssertionError("the main thread does something else")


def test_a_signal_that_a_working_thread_takes_is_heard_while_it_works(heard: threading.Event) -> None:
    def work(_: int) -> bool:
        wait_for_main_to_wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return heard.wait(60)

    assert Context([], parallel=1).for_each([1], work, "work") == [True]


def test_results_come_in_the_order_of_the_items() -> None:
    last = threading.Event()

    def work(number: int) -> int:
        if number == 3:
            last.set()
        assert last.wait(60)
        return number * 10

    assert Context([], parallel=3).for_each([1, 2, 3], work, "work") == [10, 20, 30]


def test_an_error_is_raised_when_all_have_ended() -> None:
    ended = []

    def work(number: int) -> None:
        if number == 1:
            raise LookupError("the first")
        ended.append(number)

    with pytest.raises(LookupError, match="the first"):
        Context([], parallel=1).for_each([1, 2, 3], work, "work")

    assert ended == [2, 3]


def test_an_exception_in_the_callers_thread_lets_the_work_end_in_good_order() -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    stop, ended = threading.Event(), []

    def work(_: int) -> None:
        wait_for_main_to_wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        ended.append(stop.wait(60))

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            Context([], parallel=1, stop=stop).for_each([1], work, "work")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended == [True]
