"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once (the journal survives it)."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.cli.console import Console
from reconciler.cli.wiring import Wiring

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Which signal asked for the end, if one did."""

    def __init__(self, announce: Callable[[str], None], words: str) -> None:
        self._announce = announce
        self._words = words
        self.event = threading.Event()
        self.signal: int | None = None
        self.on_stop: Callable[[], None] = lambda: None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The handler: it only sets a flag, says so, and interrupts what can't see the flag."""
        if self.event.is_set():
            os._exit(128 + number)
        self.signal = number
        self.event.set()
        self._announce(f"{self._words}; once more to stop at once")
        self.on_stop()


@contextmanager
def stopping(console: Console, words: str = "stopping after the batches in flight") -> Iterator[Stopping]:
    """Handle the signals for a block; `words` are said at the first one."""
    state = Stopping(console.announce, words)
    before = {number: signal.signal(number, state.receive) for number in SIGNALS}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def cut_short(wiring: Wiring) -> Iterator[None]:
    """For commands that only read: on a signal end the queries that run, and leave with 128 and its number."""
    with stopping(wiring.console, "stopping") as state:
        state.on_stop = wiring.interrupt
        wiring.stop = state.event
        yield
    if state.signal is not None:
        raise SystemExit(128 + state.signal)


@contextmanager
def exiting_on_signals() -> Iterator[list[int]]:
    """Raise SystemExit with 128 and its number at the first signal, for a block that has something to clean up.

    Yields a list that gets the number: code that runs in the block may lose the exception. Later signals are ignored,
    so that the clean-up is not interrupted.
    """
    received: list[int] = []

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, receive) for number in (*SIGNALS, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
