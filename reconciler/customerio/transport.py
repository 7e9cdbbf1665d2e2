"""From a call to its result: rate limit, concurrency, attempts, deadline, log."""

import contextlib
import functools
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import httpx

from reconciler.customerio.network import Deadline, Stream
from reconciler.customerio.outcomes import (
    HTTPX_FAILURES,
    NOT_STARTED,
    AttemptResult,
    CallResult,
    sort_failure,
    sort_status,
)
from reconciler.customerio.rate_limit import Limiter, Permit
from reconciler.customerio.responses import MAX_ERROR_BODY, BodyError, check_receipt, decode_body, is_page
from reconciler.customerio.retry import MAX_ATTEMPTS, MAX_SECONDS, RETRIED, choose_pause, parse_retry_after
from reconciler.models.batches import Outcome

FEWEST_UNREACHED = 3
"""Attempts in a row without a connection, at the end of a call that had that many, after which none may follow."""

MAX_BODY = 64 * 1024 * 1024
"""Most bytes read of an answer that is needed."""

JSON = {"Content-Type": "application/json"}
"""Goes with a content for the App API; all requests of the Track API have it."""

REQUEST_BEGINS = "http11.send_request_headers.started"
REQUEST_ENDS = "http11.receive_response_headers.started"
"""Events that httpcore reports to the extension `trace`: the request begins to leave, and has left."""

LOG = logging.getLogger("reconciler.customerio")


@dataclass(frozen=True)
class Call:
    """What to ask. `path` begins with a slash; `params` go into the query."""

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes | None = field(default=None, repr=False)
    """None: what is asked for is the body of the answer."""
    is_answer_needed: bool = False
    """The body of the answer is asked for in spite of a content."""

    @property
    def is_receipt_enough(self) -> bool:
        return self.content is not None and not self.is_answer_needed


@dataclass(eq=False, repr=False)
class Transport:
    """Makes calls to one account of an API. Any number of threads may share it.

    The first client is opened at once; `deadline` is the one that the clients of `open_client` obey. `clock` is
    monotonic seconds and `wall` Unix seconds; `wait` sleeps, and is true, at once, when the run is stopping; `chance`
    gives 0 to 1.
    """

    base: str
    open_client: Callable[[], httpx.Client]
    limiter: Limiter
    deadline: Deadline
    _: KW_ONLY
    concurrency: int
    wait: Callable[[float], bool]
    clock: Callable[[], float]
    wall: Callable[[], float]
    chance: Callable[[], float]
    is_proxied: bool = False

    def __post_init__(self) -> None:
        self._slots = threading.BoundedSemaphore(max(1, self.concurrency))
        self._lock = threading.Lock()
        self._clients = [self.open_client()]
        self._idle = list(self._clients)
        self._answered_at = -math.inf
        """When the latest answer to any call came."""
        self.closed_by: CallResult | None = None
        """The call that showed that no other can succeed in this run."""

    def call(
        self,
        call: Call,
        try_start: Callable[[int], bool] | None = None,
        *,
        timeout: float,
        most_attempts: int = MAX_ATTEMPTS,
    ) -> CallResult:
        """Make a call, with retries where a retry may succeed; each attempt takes at most `timeout` seconds.

        `try_start` is called before each attempt, with its number from 1, when only sending is left. Where it returns
        False, no attempt starts any more. Nor does one, of any call, once the API can't be reached at all, or refuses
        the keys. What it says is good for the time-out of the attempt, which begins before it is asked.
        """
        last, unknown_at, is_held = NOT_STARTED, None, False
        ends: list[str] = []
        ends_at, unreached, unreached_since = math.inf, 0, math.inf
        for number in range(1, most_attempts + 1):
            result = NOT_STARTED
            with self._slots:
                permit = self.limiter.take()
                if permit is not None:
                    with permit:
                        if number == 1:
                            ends_at = self.clock() + MAX_SECONDS
                        began = self.clock()
                        while self.closed_by is None and ends_at > began and (try_start is None or try_start(number)):
                            over_at = min(began + timeout, ends_at)
                            result = self._exchange(call, number, over_at, timeout, permit)
                            if result.outcome is not Outcome.NOT_STARTED:
                                break
                            began = self.clock()  # the process was suspended: it is asked anew
            if result.outcome is Outcome.NOT_STARTED:
                is_held = ends_at > self.clock()
                break
            last = result
            ends.append(str(result.status or result.failure))
            if result.outcome is Outcome.UNKNOWN or result.is_foreign:
                unknown_at = self.wall()
            if result.status is not None:
                self._answered_at = self.clock()
            if not result.is_unreached:
                unreached, unreached_since = 0, math.inf
            else:
                unreached, unreached_since = unreached + 1, min(unreached_since, began)
            if result.outcome not in RETRIED or number == most_attempts:
                break
            pause = choose_pause(number, self.chance(), result.retry_after)
            if pause >= ends_at - self.clock():
                break
            if self.wait(pause):
                is_held = True
                break
        return self._conclude(
            CallResult(last, tuple(ends), unknown_at, is_held),
            is_dead=most_attempts > 1
            and unreached >= min(len(ends), FEWEST_UNREACHED)
            and self._answered_at < unreached_since,
        )

    def _conclude(self, result: CallResult, is_dead: bool) -> CallResult:
        """Close the API if a call has shown that no other can succeed, and say so where that is why it failed.

        `is_dead`: its last attempts found no connection, and no other call had an answer meanwhile.
        """
        has_given_up = result.outcome in RETRIED
        if result.last.is_refusal_of_all or (has_given_up and is_dead):
            with self._lock:
                self.closed_by = self.closed_by or result
        if self.closed_by is None or not (
            result.last.is_refusal_of_all or has_given_up or result.outcome is Outcome.NOT_STARTED
        ):
            return result
        return replace(result, closed_by=self.closed_by)

    def _exchange(self, call: Call, number: int, over_at: float, timeout: float, permit: Permit) -> AttemptResult:
        """Send one request and read its answer, unless the time of the attempt is over by then."""
        steps = {REQUEST_BEGINS: permit.begin, REQUEST_ENDS: permit.end}

        def report(event: str, info: Mapping[str, Any]) -> None:
            """Report to the permit when the request itself (not a proxy's CONNECT) leaves."""
            if event in steps and info["request"].method != b"CONNECT":
                steps[event]()

        began = self.clock()
        with self._lend_client() as client:
            self.deadline.set(over_at)
            seconds = min(over_at - self.clock(), timeout)  # by rounding it could be more
            if seconds <= 0:
                return NOT_STARTED
            try:
                request = client.build_request(
                    call.method,
                    _make_url(self.base, call.path, call.params),
                    content=call.content,
                    headers=JSON if call.is_answer_needed else None,
                    timeout=seconds,
                    extensions={"trace": report},
                )
                response = client.send(request, stream=True)
            except HTTPX_FAILURES as error:
                result = sort_failure(error)
                if self.is_proxied and not permit.has_begun and result.outcome is Outcome.UNKNOWN:
                    failure = f"the proxy: {result.failure}"
                    result = replace(result, outcome=Outcome.REFUSED, failure=failure, is_by_proxy=True)
            else:
                permit.end()
                with contextlib.closing(response):
                    result = self._receive(response, call)
        if LOG.isEnabledFor(logging.DEBUG):  # without query, body and headers, which hold ids and keys
            took, end = (self.clock() - began) * 1000, result.status or result.failure
            LOG.debug("%s %s: %s in %.0f ms (attempt %d)", call.method, call.path, end, took, number)
        return result

    def _receive(self, response: httpx.Response, call: Call) -> AttemptResult:
        """Read the answer within bounds, and check that it is one of Customer.io's and the only one."""
        status, headers, outcome = response.status_code, response.headers, sort_status(response.status_code)
        is_accepted = outcome is Outcome.ACKNOWLEDGED
        stream = response.extensions.get("network_stream")
        connection = stream if isinstance(stream, Stream) else None
        if connection:
            length = headers.get("content-length", "")
            is_known = length.isdigit() and "transfer-encoding" not in headers
            connection.expect(int(length) if is_known else None)
        retry_after = parse_retry_after(headers.get("retry-after", ""), self.wall())
        most = MAX_BODY if is_accepted and not call.is_receipt_enough else MAX_ERROR_BODY
        try:
            raw = _read(response, most)
            if connection and connection.has_more():
                return AttemptResult(Outcome.UNKNOWN, status, failure="more came than one answer")
            if is_accepted and connection and connection.came_early:
                raise BodyError("it was answered before it had left whole", is_foreign=False)
            if is_accepted and call.is_receipt_enough:
                check_receipt(headers, raw)
                body = b""
            else:
                is_gzip_asked = "gzip" in response.request.headers.get("accept-encoding", "")
                body = decode_body(headers.get("content-encoding", ""), raw, most, is_gzip_asked=is_gzip_asked)
        except BodyError as error:
            if is_accepted:
                outcome = Outcome.STOPPED if error.is_foreign else Outcome.UNKNOWN
                return AttemptResult(outcome, status, b"", retry_after, str(error), is_foreign=error.is_foreign)
            body = b""  # words that were cut could end in half an id, which no mask finds
        redirects_to = _redirect_host(response) if response.has_redirect_location else ""
        page = is_page(body, headers.get("content-type", ""))
        return AttemptResult(outcome, status, body, retry_after, redirects_to=redirects_to, is_page=page)

    @contextlib.contextmanager
    def _lend_client(self) -> Iterator[httpx.Client]:
        """Lend a client to one request and its answer; the last one returned first: its connection is likely open.

        httpx can share one among threads, but then every request checks every connection of the pool, under one lock:
        measured with 32 threads, that takes as long again as the request itself.
        """
        with self._lock:
            if self._idle:
                client = self._idle.pop()
            else:
                client = self.open_client()
                self._clients.append(client)
        try:
            yield client
        finally:
            with self._lock:
                self._idle.append(client)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for client in self._clients:
                client.close()


@functools.lru_cache(maxsize=128)  # parsing a URL takes as long as writing the request
def _make_url(base: str, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
    return httpx.URL(base + path, params=dict(params) or None)


def _read(response: httpx.Response, most: int) -> bytes:
    """Read a body whole, as it is sent. Raises BodyError."""
    body = bytearray()
    try:
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > most:
                raise BodyError(f"the answer is larger than {most:,} bytes")
    except HTTPX_FAILURES as error:
        raise BodyError(sort_failure(error).failure, is_foreign=False) from None
    return bytes(body)


def _redirect_host(response: httpx.Response) -> str:
    try:
        host = response.url.join(response.headers["location"]).host
    except (httpx.InvalidURL, ValueError):
        host = ""
    return host if re.fullmatch(r"[\w.:-]{1,100}", host) else "another host"
