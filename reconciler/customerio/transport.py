"""From a call to its outcome. Each wrapper has one job: the wire, the log, the limit."""

import contextlib
import email.utils
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Protocol

import httpx

from reconciler.customerio.clients import Clients
from reconciler.customerio.deadline import Deadline
from reconciler.customerio.limiter import Limiter
from reconciler.customerio.outcomes import HELD, HTTPX_FAILURES, Kind, Outcome, sort_failure, sort_status

MAX_BODY = 64 * 1024 * 1024
"""Most bytes read of an answer that is needed."""

MAX_WORDS_BODY = 64 * 1024
"""Most bytes read of any other answer."""

BEGINS = "http11.send_request_headers.started"
ENDS = "http11.receive_response_headers.started"
"""Events of httpcore, which the extension `trace` tells: the request begins to leave, and has left."""

LOG = logging.getLogger("reconciler.customerio")


@dataclass(frozen=True)
class Call:
    """What to ask. `path` begins with a slash; `params` go into the query."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes | None = field(default=None, repr=False)
    wants_body: bool = False
    """The answer is worth nothing without its body."""


@dataclass(frozen=True)
class Attempt:
    """One try of a call. `seconds` tells how long it may take, `admit` whether it may start."""

    call: Call
    number: int
    seconds: Callable[[], float]
    admit: Callable[[], bool]
    departure: "Departure | None" = None


class Departure(Protocol):
    """Is told when a request leaves."""

    def begin(self) -> None:
        """The first byte leaves now."""
        ...

    def end(self) -> None:
        """The whole request has left. It may be said more than once."""
        ...


class Carrier(Protocol):
    """Carries an attempt to Customer.io. Whatever httpx raises comes back as an outcome."""

    def carry(self, attempt: Attempt) -> Outcome: ...


class Wire:
    """Carries over HTTP. `deadline` is the one that the clients heed."""

    def __init__(self, clients: Clients, base: str, deadline: Deadline, wall: Callable[[], float]) -> None:
        self._clients = clients
        self._base = base
        self._deadline = deadline
        self._wall = wall
        self._address = functools.lru_cache(maxsize=128)(self._make_address)  # parsing takes as long as writing

    def carry(self, attempt: Attempt) -> Outcome:
        with self._clients.lend() as client:
            return self._carry(client, attempt)

    def _carry(self, client: httpx.Client, attempt: Attempt) -> Outcome:
        seconds = attempt.seconds()
        self._deadline.set(seconds)
        try:
            response = client.send(self._request(client, attempt, seconds), stream=True)
        except HTTPX_FAILURES as error:
            return sort_failure(error)
        if attempt.departure:
            attempt.departure.end()
        with contextlib.closing(response):
            return self._receive(response, attempt.call)

    def _make_address(self, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
        return httpx.URL(self._base + path, params=dict(params) or None)

    def _request(self, client: httpx.Client, attempt: Attempt, seconds: float) -> httpx.Request:
        call = attempt.call
        return client.build_request(
            call.method,
            self._address(call.path, call.params),
            content=call.content,
            timeout=seconds,
            extensions={"trace": _watch(attempt.departure)},
        )

    def _receive(self, response: httpx.Response, call: Call) -> Outcome:
        kind = sort_status(response.status_code)
        needed = call.wants_body and kind is Kind.ACCEPTED
        body, failure = self._read(response, MAX_BODY if needed else MAX_WORDS_BODY)
        retry_after = parse_retry_after(response.headers.get("retry-after", ""), self._wall())
        if needed and failure:
            kind = Kind.STOPPED if len(body) > MAX_BODY else Kind.UNKNOWN
            return Outcome(kind, response.status_code, failure=failure, retry_after=retry_after)
        # Words that were cut could end in half an id, which no mask finds.
        return Outcome(kind, response.status_code, b"" if failure else body, retry_after)

    def _read(self, response: httpx.Response, most: int) -> tuple[bytes, str]:
        """Read a body as far as it comes; the second value says why it is not whole."""
        body = bytearray()
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > most:
                    return bytes(body), f"the answer is larger than {most:,} bytes"
                if self._deadline.is_over:
                    return bytes(body), "the answer did not come whole in time"
        except HTTPX_FAILURES as error:
            return bytes(body), sort_failure(error).failure
        return bytes(body), ""


class Logged:
    """Writes a line per attempt, without query, body or headers."""

    def __init__(self, inner: Carrier, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._clock = clock

    def carry(self, attempt: Attempt) -> Outcome:
        if not LOG.isEnabledFor(logging.DEBUG):
            return self._inner.carry(attempt)
        began = self._clock()
        outcome = self._inner.carry(attempt)
        took, call = (self._clock() - began) * 1000, attempt.call
        end = outcome.status or outcome.failure
        LOG.debug("%s %s: %s in %.0f ms (attempt %d)", call.method, call.path, end, took, attempt.number)
        return outcome


class Limited:
    """Lets so many through at once, and so many in a second; then asks whether the attempt may start."""

    def __init__(self, inner: Carrier, limiter: Limiter, at_once: int) -> None:
        self._inner = inner
        self._limiter = limiter
        self._slots = threading.BoundedSemaphore(max(1, at_once))

    def carry(self, attempt: Attempt) -> Outcome:
        with self._slots:
            permit = self._limiter.take()
            if permit is None:
                return HELD
            with permit:
                if not attempt.admit():
                    return HELD
                return self._inner.carry(replace(attempt, departure=permit))


def parse_retry_after(text: str, now: float) -> float | None:
    """Give the seconds that a Retry-After asks for (a number or an HTTP date); None: it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _watch(departure: Departure | None) -> Callable[[str, Mapping[str, Any]], None]:
    """Watch for the moments when the request (not a proxy's CONNECT) leaves."""

    def watch(event: str, info: Mapping[str, Any]) -> None:
        if departure is None or event not in (BEGINS, ENDS) or info["request"].method == b"CONNECT":
            return
        if event == BEGINS:
            departure.begin()
        else:
            departure.end()

    return watch
