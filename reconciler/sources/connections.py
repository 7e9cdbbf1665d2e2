"""How many connections a source may have at a time, and the wait for one that the server still counts."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from reconciler.sources.complaints import Complaint
from reconciler.sources.failures import Kind, sort

MOST_CONNECTIONS = 2
"""Of one source at a time, however many segments are worked on; docs/databases.md promises it."""

_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts: a server counts a connection until its process there has ended."""

Connection = TypeVar("Connection")


class Connections:
    """Gives leave for a connection, or has the caller wait. A thread asks for one at a time, so the wait ends."""

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._pause = pause
        self._has_closed = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Give leave for one connection at a time while the block runs."""
        with self._free:
            yield

    def connect(self, open_one: Callable[[], Connection]) -> Connection:
        """Connect; wait a moment where the server still counts one that was closed. Raises what `open_one` raises."""
        for seconds in _PAUSES if self._has_closed else ():
            try:
                return open_one()
            except Exception as error:
                if sort(Complaint.of(error)) is not Kind.CONNECTIONS:
                    raise
            self._pause(seconds)
        connection = open_one()
        self._has_closed = True  # by the time that another one is asked for, or soon
        return connection
