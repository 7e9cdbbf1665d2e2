"""The way of one request: logged, delayed, subject to a fault or not, authorized or not, answered, logged again.

No sockets here: `answer` takes a request and returns a response, or None where the connection is to be dropped.
"""

import itertools
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from threading import TIMEOUT_MAX, Lock

from reconciler.sandbox.app_api import answer_app
from reconciler.sandbox.faults import Fault, FaultPlan, Kind
from reconciler.sandbox.http import Request, Response, app_error, json_response, track_error
from reconciler.sandbox.request_log import Api, Call, RequestLog, describe
from reconciler.sandbox.settings import WrongRegion
from reconciler.sandbox.track_api import answer_track
from reconciler.sandbox.workspace import Workspace

WRONG_DATACENTER = "/sandbox/wrong-datacenter"
"""Where a redirect of the wrong region leads: to ourselves, so that nothing that follows it reaches the real hosts."""

REGION_PATH = "/api/v1/accounts/region"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys that the sandbox takes. They are no secrets, yet stay out of logs like real ones."""

    site_id: str = field(default="sandbox-site", repr=False)
    api_key: str = field(default="sandbox-key", repr=False)
    app_key: str = field(default="sandbox-app-key", repr=False)

    def authorize(self, api: Api, header: str) -> bool:
        """Return whether an Authorization header is the right one for that API."""
        pair = b64encode(f"{self.site_id}:{self.api_key}".encode()).decode()
        scheme, wanted = ("basic", pair) if api is Api.TRACK else ("bearer", self.app_key)
        given_scheme, _, given = header.partition(" ")
        return given_scheme.lower() == scheme and compare_digest(given.strip().encode(), wanted.encode())


class RateLimit:
    """A limit on the requests of any one second. Refused ones do not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._admitted: deque[float] = deque()

    def admit(self, per_second: int) -> bool:
        """Return whether one more request may pass now; 0 is no limit."""
        if per_second <= 0:
            return True
        with self._lock:
            now = self._clock()
            while self._admitted and self._admitted[0] <= now - 1:
                self._admitted.popleft()
            if len(self._admitted) >= per_second:
                return False
            self._admitted.append(now)
            return True


class Handler:
    """Answers Track and App requests. Thread-safe; `sleep` must return early when the sandbox stops.

    Each of `on_arrival` is called in the middle of a request before anything is done, each of `on_answer` once it has
    taken effect.
    """

    def __init__(
        self,
        workspace: Workspace,
        faults: FaultPlan,
        log: RequestLog,
        credentials: Credentials,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self.url = ""
        self.on_arrival: list[Callable[[Call], None]] = []
        self.on_answer: list[Callable[[Call], None]] = []
        self._workspace = workspace
        self._faults = faults
        self._log = log
        self._credentials = credentials
        self._sleep = sleep
        self._numbers = itertools.count(1)
        self._limits = {Api.TRACK: RateLimit(clock), Api.APP: RateLimit(clock)}

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None means: close the connection without an answer."""
        call = describe(request, next(self._numbers))
        self._log.begin(call)
        try:
            for hook in self.on_arrival:
                hook(call)
            if self._workspace.settings.latency:
                self._sleep(self._workspace.settings.latency / 1000)
            fault = self._faults.choose(call)
            response = self._answer_with(fault, request, call) if fault else self._handle(request, call)
            call = replace(call, status=response.status if response else None, fault=fault.kind if fault else None)
            for hook in self.on_answer:
                hook(call)
            return response
        finally:
            self._log.end(call)

    def _answer_with(self, fault: Fault, request: Request, call: Call) -> Response | None:
        """Apply a fault, before or after the request takes effect."""
        if fault.kind is Kind.POISON:
            return track_error(400, "ids contains an invalid value")
        if fault.kind is Kind.HANG and not fault.after_change:
            self._sleep(min(fault.seconds, TIMEOUT_MAX))
        is_replaced = fault.kind in (Kind.STATUS, Kind.DROP)
        response = None if is_replaced and not fault.after_change else self._handle(request, call, fault)
        if fault.kind is Kind.HANG and fault.after_change:
            self._sleep(min(fault.seconds, TIMEOUT_MAX))
        if fault.kind is Kind.STATUS:
            return fault_response(fault, call, self.url)
        return None if fault.kind is Kind.DROP else response

    def _handle(self, request: Request, call: Call, fault: Fault | None = None) -> Response:
        """Do what the request asks, if its keys, its region, its size and the rate limits allow it."""
        settings = self._workspace.settings
        if settings.wrong_region is not WrongRegion.OFF and call.path != REGION_PATH:
            if settings.wrong_region is WrongRegion.UNAUTHORIZED:
                return unauthorized(call.api)
            return wrong_datacenter(call, self.url, 301)
        if call.api is not Api.OTHER:
            is_revoked = settings.track_key_revoked if call.api is Api.TRACK else settings.app_key_revoked
            if is_revoked or not self._credentials.authorize(call.api, request.headers.get("authorization", "")):
                return unauthorized(call.api)
        if settings.max_body and len(request.body) > settings.max_body:
            return track_error(413, "request entity too large")
        if call.api is Api.OTHER:
            return track_error(404, "not found")
        per_second = settings.track_rate_limit if call.api is Api.TRACK else settings.app_rate_limit
        if not self._limits[call.api].admit(per_second):
            return Response(429)
        if call.api is Api.TRACK:
            return answer_track(request, self._workspace, self.url, fault.apply_delay if fault else None)
        return answer_app(request, self._workspace, fault.rows if fault else 0)


def unauthorized(api: Api) -> Response:
    """Make a 401: the Track API's body is not documented, so it is empty."""
    return app_error(401, "unauthorized") if api is Api.APP else Response(401)


def wrong_datacenter(call: Call, url: str, status: int) -> Response:
    """Make the redirect that an account of the other region gets."""
    response = json_response({"errors": [{"detail": "wrong datacenter", "status": str(status)}]}, status)
    return replace(response, headers={"Location": f"{url}{WRONG_DATACENTER}{call.path}"})


def fault_response(fault: Fault, call: Call, url: str) -> Response:
    """Make the answer of a `status` fault, in the shape that the API would give it."""
    status = fault.status
    if status in (204, 429) or status >= 500:
        response = Response(status)
    elif status < 300:
        response = json_response({}, status)
    elif status < 400:
        response = wrong_datacenter(call, url, status)
    elif status == 401:
        response = unauthorized(call.api)
    else:
        response = (app_error if call.api is Api.APP else track_error)(status, "injected")
    if fault.body is not None:
        response = replace(response, body=fault.body.encode(), content_type=fault.content_type)
    if fault.retry_after is not None:
        response = replace(response, headers={**response.headers, "Retry-After": fault.retry_after})
    return response
