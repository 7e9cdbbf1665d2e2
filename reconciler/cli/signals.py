"""Ctrl-C and SIGTERM: the first requests an orderly stop, the second exits at once (the journal survives it)."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.cli.console import Console
from reconciler.models.results import StopSignal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping(console: Console, words: str = "stopping after the batches in flight") -> Iterator[StopSignal]:
    """Request a stop at the first signal and print `words`; exit at the second one."""
    stop = StopSignal()

    def receive(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.number = number
        stop.set()
        console.info(f"{words}; once more to stop at once", always=True)

    with _handling(SIGNALS, receive):
        yield stop


@contextmanager
def cut_short(console: Console) -> Iterator[StopSignal]:
    """Like `stopping`, for commands that have no result once they are stopped: exit with the code of the signal."""
    with stopping(console, "stopping") as stop:
        yield stop
    if stop.number is not None:
        raise SystemExit(128 + stop.number)


@contextmanager
def exiting_on_signals() -> Iterator[list[int]]:
    """Raise SystemExit with 128 and its number at the first signal, for a block that has something to clean up.

    Yields a list that gets the number: code that runs in the block may lose the exception. Later signals are ignored,
    so that the clean-up is not interrupted.
    """
    received: list[int] = []
    numbers = (*SIGNALS, signal.SIGHUP)

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with _handling(numbers, receive):
        yield received


@contextmanager
def _handling(numbers: Iterable[int], receive: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals for a block."""
    before = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
