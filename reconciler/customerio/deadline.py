"""One deadline for a whole attempt. httpx times each read by itself: a server that trickles could hold it for ever."""

import math
import threading
from collections.abc import Callable

LEAST = 0.001
"""Shortest time-out in seconds: 0 would mean not to wait at all."""


class Deadline(threading.local):
    """When the attempt that this thread is making must be over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._at = math.inf

    def set(self, seconds: float) -> None:
        self._at = self.clock() + seconds

    @property
    def is_over(self) -> bool:
        return self.clock() >= self._at

    def cap(self, timeout: float | None) -> float:
        """Shorten a time-out to what is left."""
        left = max(self._at - self.clock(), LEAST)
        return left if timeout is None else min(timeout, left)
