"""Never more than so many starts in any sliding second, whoever asks."""

import math
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

SLACK = 0.03
"""Seconds by which the window is longer than needed: what a pause of either machine may squeeze together."""

HASTE = 1.25
"""How many times the rate is gone after a pause, to make up for it. All at once would arrive squeezed together."""

BURST = 5
"""Requests that may leave at once."""

GRAIN = 0.02
"""Seconds whose requests may leave at once: waits can't be much shorter and still be kept."""

POLL = 0.005
"""Seconds between two looks while every permit is out."""

LEAST = 0.0001
"""Shortest wait in seconds; a rounding error of the clock is shorter."""


class Window:
    """The arithmetic: at most `capacity` starts in any `seconds`, spread a little. A permit that is out counts, too."""

    def __init__(self, rate: float) -> None:
        self.capacity = max(1, math.floor(rate))
        self.seconds = (1.0 if rate >= 1 else 1.0 / rate) + SLACK
        self._gap = 1.0 / (HASTE * self.capacity)
        self._tolerance = max((BURST - 1) * self._gap, GRAIN)
        self._due = -math.inf
        self._starts: deque[float] = deque()
        self._out = 0

    def take(self, now: float) -> float:
        """Hand out a permit and give 0, or give the seconds to wait before asking again."""
        wait = self._wait(now)
        if wait > 0:
            return max(wait, LEAST)
        self._out += 1
        self._due = max(self._due, now) + self._gap
        return 0.0

    def _wait(self, now: float) -> float:
        while self._starts and now - self._starts[0] >= self.seconds:
            self._starts.popleft()
        if len(self._starts) + self._out < self.capacity:
            return self._due - self._tolerance - now
        return max(self._starts[0] + self.seconds - now, LEAST) if self._starts else POLL

    def start(self, now: float) -> None:
        """Use a permit: its request has left by now."""
        self._out -= 1
        self._starts.append(now)

    def give_back(self) -> None:
        """Return a permit that was not used."""
        self._out -= 1
        self._due -= self._gap


class Permit:
    """The right to start one request. Leaving its `with` gives it back if nothing has left."""

    def __init__(self, use: Callable[[], None], give_back: Callable[[], None]) -> None:
        self._use = use
        self._give_back = give_back
        self._open = True
        self._leaving = False

    def begin(self) -> None:
        """Say that the first byte of the request leaves now."""
        self._leaving = True

    def end(self) -> None:
        """Say that the whole request has left: from now on its time counts. Saying it again changes nothing."""
        if self._open:
            self._open = False
            self._use()

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leaving:
            self.end()
        elif self._open:
            self._open = False
            self._give_back()


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

    def take(self) -> Permit | None:
        """Wait for a permit; None: the run is stopping."""
        with self._turn:  # the first in the queue waits for time to pass, the others wait for it
            if self._wait(0):
                return None
            while (seconds := self._try()) > 0:
                if self._wait(seconds):
                    return None
        return Permit(self._start, self._give_back)

    def _try(self) -> float:
        with self._lock:
            return self._window.take(self._clock())

    def _start(self) -> None:
        with self._lock:
            self._window.start(self._clock())

    def _give_back(self) -> None:
        with self._lock:
            self._window.give_back()
