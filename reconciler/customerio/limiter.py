"""Never more than so many starts in any sliding second, whoever asks."""

import math
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

SLACK = 0.02
"""Seconds by which the window is longer than needed, so that a request delayed on its way does not break the limit."""

POLL = 0.005
"""Seconds between two looks while every permit is out and none of them has been used yet."""

LEAST = 0.0001
"""Shortest wait in seconds; a rounding error of the clock is shorter."""


class Window:
    """The arithmetic: at most `capacity` starts in any `seconds`. A permit that is out counts like a start to come."""

    def __init__(self, rate: float) -> None:
        self.capacity = max(1, math.floor(rate))
        self.seconds = (1.0 if rate >= 1 else 1.0 / rate) + SLACK
        self._starts: deque[float] = deque()
        self._out = 0

    def take(self, now: float) -> float:
        """Hand out a permit and give 0, or give the seconds to wait before asking again."""
        while self._starts and now - self._starts[0] >= self.seconds:
            self._starts.popleft()
        if len(self._starts) + self._out < self.capacity:
            self._out += 1
            return 0.0
        return max(self._starts[0] + self.seconds - now, LEAST) if self._starts else POLL

    def start(self, now: float) -> None:
        """Use a permit: its request leaves now."""
        self._out -= 1
        self._starts.append(now)

    def give_back(self) -> None:
        """Return a permit that was not used."""
        self._out -= 1


class Permit:
    """The right to start one request. Leaving its `with` gives it back if it was not used."""

    def __init__(self, use: Callable[[], None], give_back: Callable[[], None]) -> None:
        self._use = use
        self._give_back = give_back
        self._open = True

    def start(self) -> None:
        """Say that the request's first byte leaves now. Saying it again changes nothing."""
        if self._open:
            self._open = False
            self._use()

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            self._give_back()


class Limiter:
    """Hands out permits to any number of threads.

    A permit is counted when its request leaves, not when it is handed out: what lies between (recording the attempt,
    connecting) can't push two windows into one. A `rate` above one is rounded down to a whole number; one below it is
    one start per 1/`rate` seconds.
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
