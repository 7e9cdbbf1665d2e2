"""Ctrl-C, SIGTERM and SIGHUP: the first requests an orderly stop, the second exits at once (the journal survives it).

SIGHUP counts as SIGTERM. Where the command began with SIGHUP ignored, as below `nohup`, it stays ignored.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from reconciler.cli.console import Console
from reconciler.models.results import StopSignal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Receive = Callable[[int], None]
"""Is told the number of a signal: SIGTERM for SIGHUP."""


@contextmanager
def stopping(console: Console, words: str = "stopping after the batches in flight") -> Iterator[StopSignal]:
    """Request a stop at the first signal and print `words`; exit at the second one."""
    stop = StopSignal()

    def receive(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.number = number
        stop.set()
        console.info(f"{words}; once more to stop at once", always=True)

    with _handling(receive):
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

    def receive(number: int) -> None:
        received.append(number)
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    with _handling(receive):
        yield received


@contextmanager
def _handling(receive: Receive) -> Iterator[None]:
    """Handle signals for a block."""

    def handle(number: int, _frame: FrameType | None) -> None:
        receive(signal.SIGTERM if number == signal.SIGHUP else number)

    heard = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
