"""From a call to its outcome. Each wrapper has one job: the wire, the log, the limit."""

import contextlib
import email.utils
import functools
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Protocol

import httpx

from reconciler.customerio.network import Deadline, Stream
from reconciler.customerio.outcomes import (
    HELD,
    HTTPX_FAILURES,
    AttemptResult,
    CallResult,
    Kind,
    sort_failure,
    sort_status,
)
from reconciler.customerio.rate_limit import Limiter
from reconciler.customerio.responses import BodyError, check_receipt, decode_body, is_page

MAX_BODY = 64 * 1024 * 1024
"""Most bytes read of an answer that is needed."""

MAX_WORDS_BODY = 64 * 1024
"""Most bytes read of any other answer."""

BEGINS = "http11.send_request_headers.started"
ENDS = "http11.receive_response_headers.started"
"""Events of httpcore, which the extension `trace` tells: the request begins to leave, and has left."""

LOG = logging.getLogger("reconciler.customerio")


class Clients:
    """Opens as many as are needed at once. Who came back last goes out first: its connection is most likely open."""

    def __init__(self, open_client: Callable[[], httpx.Client]) -> None:
        """The first is opened at once. Raises what `open_client` raises."""
        self._open = open_client
        self._lock = threading.Lock()
        self._all = [open_client()]
        self._idle = list(self._all)

    @contextmanager
    def lend(self) -> Iterator[httpx.Client]:
        """Lend one, for a request and its answer. Raises what `open_client` raises."""
        client = self._take()
        try:
            yield client
        finally:
            with self._lock:
                self._idle.append(client)

    def _take(self) -> httpx.Client:
        with self._lock:
            if not self._idle:
                client = self._open()
                self._all.append(client)
                return client
            return self._idle.pop()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._all:
                client.close()


@dataclass(frozen=True)
class Call:
    """What to ask. `path` begins with a slash; `params` go into the query."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes | None = field(default=None, repr=False)
    wants_body: bool = False
    """What is asked for is the body."""

    @property
    def is_write(self) -> bool:
        return self.content is not None


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

    def carry(self, attempt: Attempt) -> AttemptResult: ...


class Wire:
    """Carries over HTTP. `deadline` is the one that the clients heed."""

    def __init__(
        self, clients: Clients, base: str, deadline: Deadline, wall: Callable[[], float], *, is_proxied: bool = False
    ) -> None:
        self._clients = clients
        self._is_proxied = is_proxied
        self._base = base
        self._deadline = deadline
        self._wall = wall
        self._address = functools.lru_cache(maxsize=128)(self._make_address)  # parsing takes as long as writing

    def carry(self, attempt: Attempt) -> AttemptResult:
        with self._clients.lend() as client:
            return self._carry(client, attempt)

    def _carry(self, client: httpx.Client, attempt: Attempt) -> AttemptResult:
        seconds = attempt.seconds()
        self._deadline.set(seconds)
        watch = Watch(attempt.departure)
        try:
            response = client.send(self._request(client, attempt, seconds, watch), stream=True)
        except HTTPX_FAILURES as error:
            outcome = sort_failure(error)
            if self._is_proxied and not watch.has_begun and outcome.kind is Kind.UNKNOWN:
                return replace(outcome, kind=Kind.REFUSED, failure=f"the proxy: {outcome.failure}", by_proxy=True)
            return outcome
        if attempt.departure:
            attempt.departure.end()
        with contextlib.closing(response):
            return self._receive(response, attempt.call)

    def _make_address(self, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
        return httpx.URL(self._base + path, params=dict(params) or None)

    def _request(self, client: httpx.Client, attempt: Attempt, seconds: float, watch: "Watch") -> httpx.Request:
        call = attempt.call
        return client.build_request(
            call.method,
            self._address(call.path, call.params),
            content=call.content,
            timeout=seconds,
            extensions={"trace": watch},
        )

    def _receive(self, response: httpx.Response, call: Call) -> AttemptResult:
        status, kind = response.status_code, sort_status(response.status_code)
        stream = response.extensions.get("network_stream")
        connection = stream if isinstance(stream, Stream) else None
        if connection:
            connection.expect(_length(response))
        retry_after = parse_retry_after(response.headers.get("retry-after", ""), self._wall())
        most = MAX_BODY if call.wants_body else MAX_WORDS_BODY
        try:
            raw = self._read(response, most)
            if connection and connection.has_more():
                return AttemptResult(Kind.UNKNOWN, status, failure="more came than one answer")
            if kind is Kind.ACCEPTED and connection and connection.came_early:
                raise BodyError("it was answered before it had left whole", Kind.UNKNOWN)
            if kind is Kind.ACCEPTED and call.is_write:
                check_receipt(response.headers, raw)
                body = b""
            else:
                body = _decode(response, raw, most)
        except BodyError as error:
            if kind is Kind.ACCEPTED:
                return AttemptResult(error.kind, status, failure=str(error), retry_after=retry_after)
            body = b""  # words that were cut could end in half an id, which no mask finds
        redirects_to = _host(response) if response.has_redirect_location else ""
        return AttemptResult(
            kind, status, body, retry_after, redirects_to=redirects_to, is_page=is_page(response.headers, body)
        )

    def _read(self, response: httpx.Response, most: int) -> bytes:
        """Read a body whole, as it is sent. Raises BodyError."""
        body = bytearray()
        try:
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > most:
                    raise BodyError(f"the answer is larger than {most:,} bytes")
        except HTTPX_FAILURES as error:
            raise BodyError(sort_failure(error).failure, Kind.UNKNOWN) from None
        return bytes(body)


def _length(response: httpx.Response) -> int | None:
    """Give the length of the body, where the head tells it."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdigit() and "transfer-encoding" not in response.headers else None


def _host(response: httpx.Response) -> str:
    """Give the host that a redirect leads to."""
    try:
        host = response.url.join(response.headers["location"]).host
    except (httpx.InvalidURL, ValueError):
        host = ""
    return host if re.fullmatch(r"[\w.:-]{1,100}", host) else "another host"


def _decode(response: httpx.Response, raw: bytes, most: int) -> bytes:
    asked = "gzip" in response.request.headers.get("accept-encoding", "")
    return decode_body(response.headers.get("content-encoding", ""), raw, most, gzip_asked=asked)


class Logged:
    """Writes a line per attempt, without query, body or headers."""

    def __init__(self, inner: Carrier, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._clock = clock

    def carry(self, attempt: Attempt) -> AttemptResult:
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

    def carry(self, attempt: Attempt) -> AttemptResult:
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


class Watch:
    """Watches for the moments when the request (not a proxy's CONNECT) leaves."""

    def __init__(self, departure: Departure | None) -> None:
        self._departure = departure
        self.has_begun = False

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event not in (BEGINS, ENDS) or info["request"].method == b"CONNECT":
            return
        self.has_begun = True
        if self._departure is None:
            return
        if event == BEGINS:
            self._departure.begin()
        else:
            self._departure.end()


MAX_ATTEMPTS = 5
MAX_SECONDS = 120.0
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0


class Budget:
    """At most 120 seconds from the first admission on."""

    def __init__(self, clock: Callable[[], float], timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout
        self._ends: float | None = None

    def open(self) -> bool:
        """Begin to count, if not begun; tell whether anything is left."""
        if self._ends is None:
            self._ends = self._clock() + MAX_SECONDS
        return self.left() > 0

    def left(self) -> float:
        return MAX_SECONDS if self._ends is None else self._ends - self._clock()

    def attempt_seconds(self) -> float:
        """Give how long the next attempt may take."""
        return max(min(self._timeout, self.left()), 0.001)


@dataclass(frozen=True)
class Retrier:
    """Tries again. `wait` sleeps, and is true, at once, when the run is stopping; `chance` gives 0 to 1."""

    carrier: Carrier
    timeout: float
    clock: Callable[[], float]
    wall: Callable[[], float]
    wait: Callable[[float], bool]
    chance: Callable[[], float]

    def run(self, call: Call, admit: Callable[[int], bool] | None = None) -> CallResult:
        """Make the call. `admit` is asked before each attempt, by its number from 1, when only sending is left."""
        budget = Budget(self.clock, self.timeout)
        last, unknown_at = HELD, None
        ends: list[str] = []
        for number in range(1, MAX_ATTEMPTS + 1):
            outcome = self._attempt(call, number, budget, admit)
            if outcome.kind is Kind.HELD:
                return CallResult(last, number - 1, unknown_at, budget.left() > 0, tuple(ends))
            ends.append(str(outcome.status or outcome.failure))
            if outcome.kind.is_doubtful:
                unknown_at = self.wall()
            if not outcome.kind.is_retried or number == MAX_ATTEMPTS:
                return CallResult(outcome, number, unknown_at, False, tuple(ends))
            seconds = self._pause(number, outcome)
            if seconds >= budget.left():
                return CallResult(outcome, number, unknown_at, False, tuple(ends))
            if self.wait(seconds):
                return CallResult(outcome, number, unknown_at, True, tuple(ends))
            last = outcome
        raise AssertionError("the last attempt returns")

    def _attempt(self, call: Call, number: int, budget: Budget, admit: Callable[[int], bool] | None) -> AttemptResult:
        def may_start() -> bool:
            return budget.open() and (admit is None or admit(number))

        return self.carrier.carry(Attempt(call, number, budget.attempt_seconds, may_start))

    def _pause(self, number: int, outcome: AttemptResult) -> float:
        """Give the seconds to wait: anything up to twice as much each time, and no less than the server asks."""
        jitter = self.chance() * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (number - 1))
        return max(jitter, outcome.retry_after or 0.0)
