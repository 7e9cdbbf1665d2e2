"""One deadline for a whole attempt. httpx times each read by itself: a server that trickles could hold it for ever."""

import math
import threading
from collections.abc import Callable
from typing import Any

import httpx

LEAST = 0.001
"""Seconds given to a read after the deadline; it then fails as any read that takes too long."""

PIECE = 65536
"""Bytes written under one time-out."""


class Deadline(threading.local):
    """When the attempt that this thread is making must be over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = math.inf

    def set(self, seconds: float) -> None:
        self._at = self._clock() + seconds

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._at

    def cap(self, timeout: float | None) -> float:
        """Shorten a time-out to what is left."""
        left = max(self._at - self._clock(), LEAST)
        return left if timeout is None else min(timeout, left)


class TimedStream:
    """A connection whose every read and write ends by the deadline."""

    def __init__(self, inner: Any, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        return self._inner.read(max_bytes, self._deadline.cap(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._inner.write(buffer[start : start + PIECE], self._deadline.cap(timeout))

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.cap(timeout))
        return TimedStream(inner, self._deadline)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class TimedBackend:
    """Opens connections that heed the deadline."""

    def __init__(self, inner: Any, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> TimedStream:
        inner = self._inner.connect_tcp(host, port, timeout=self._deadline.cap(timeout), **options)
        return TimedStream(inner, self._deadline)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def heed(client: httpx.Client, deadline: Deadline) -> None:
    """Make all connections of a client heed the deadline.

    httpx has no public way in; where its inside differs, each read keeps its own time-out and a test fails.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool: Any = getattr(transport, "_pool", None)
        if getattr(pool, "_network_backend", None) is not None:
            pool._network_backend = TimedBackend(pool._network_backend, deadline)
