"""A limit on the requests that start in any sliding second, shared by all threads of a run."""

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

SLACK_SECONDS = 0.03
"""Seconds by which the window is longer than needed: what a pause of either machine may squeeze together."""

CATCH_UP_FACTOR = 1.25
"""Factor on the rate after a pause, to make up for it. All at once would arrive squeezed together."""

MAX_BURST = 5
"""Requests that may leave at once."""

GRAIN_SECONDS = 0.02
"""Seconds of requests that may leave at once: waits can't be much shorter and still be kept."""

POLL_SECONDS = 0.005
"""Seconds between two checks while every permit is out."""

LEAST_SECONDS = 0.0001
"""Shortest wait in seconds; a rounding error of the clock is shorter."""


class Window:
    """The arithmetic: at most `capacity` starts in any `seconds`, spread a little. A permit that is out counts, too."""

    def __init__(self, rate: float) -> None:
        self.capacity = max(1, math.floor(rate))
        self.seconds = (1.0 if rate >= 1 else 1.0 / rate) + SLACK_SECONDS
        self._gap = 1.0 / (CATCH_UP_FACTOR * self.capacity)
        self._tolerance = max((MAX_BURST - 1) * self._gap, GRAIN_SECONDS)
        self._due = -math.inf
        self._starts: deque[float] = deque()
        self._out = 0

    def take(self, now: float) -> float:
        """Hand out a permit and give 0, or give the seconds to wait before asking again."""
        while self._starts and now - self._starts[0] >= self.seconds:
            self._starts.popleft()
        if len(self._starts) + self._out >= self.capacity:
            return max(self._starts[0] + self.seconds - now, LEAST_SECONDS) if self._starts else POLL_SECONDS
        wait = self._due - self._tolerance - now
        if wait > 0:
            return max(wait, LEAST_SECONDS)
        self._out += 1
        self._due = max(self._due, now) + self._gap
        return 0.0

    def start(self, now: float) -> None:
        """Use a permit: its request has left by now."""
        self._out -= 1
        self._starts.append(now)

    def give_back(self) -> None:
        """Return a permit that was not used."""
        self._out -= 1
        self._due -= self._gap


class Limiter:
    """Hands out permits to any number of threads.

    A permit counts from when it is handed out until its window after its request has left: neither recording the
    attempt, nor connecting, nor a thread that has to wait for its turn can push two windows into one. A `rate` above
    one is rounded down to a whole number; one below it is one start per 1/`rate` seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float], wait: Callable[[float], bool]) -> None:
        """`clock` is monotonic seconds; `wait` sleeps, and is true, at once, when the run is stopping."""
        self._window = Window(rate)
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def take(self) -> "Permit | None":
        """Wait for a permit; None: the run is stopping."""
        with self._turn:  # the first in the queue waits for time to pass, the others wait for it
            seconds = 0.0
            while not self._wait(seconds):
                with self._lock:
                    seconds = self._window.take(self._clock())
                if seconds == 0:
                    return Permit(self._give_back)
        return None

    def _give_back(self, is_used: bool) -> None:
        with self._lock:
            if is_used:
                self._window.start(self._clock())
            else:
                self._window.give_back()


@dataclass(eq=False, repr=False)
class Permit:
    """The right to start one request. Leaving its `with` gives it back if nothing has left."""

    _give_back: Callable[[bool], None]
    _is_out: bool = True
    has_begun: bool = False
    """The first byte of the request has left."""

    def begin(self) -> None:
        """Note that the first byte of the request leaves now."""
        self.has_begun = True

    def end(self) -> None:
        """Note that the whole request has left: from now on its time counts. A second call changes nothing."""
        self._return(is_used=True)

    def _return(self, *, is_used: bool) -> None:
        if self._is_out:
            self._is_out = False
            self._give_back(is_used)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._return(is_used=self.has_begun)
