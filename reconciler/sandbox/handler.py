"""The way of one request: noted, delayed, struck by a fault or not, let in or not, answered, noted again.

No sockets here: `answer` takes a request and returns a response, or None where the connection is to be dropped.
"""

import itertools
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from threading import TIMEOUT_MAX, Lock
from typing import assert_never

from reconciler.sandbox.app_api import answer_app
from reconciler.sandbox.faults import Fault, FaultPlan, Kind, Moment
from reconciler.sandbox.http import Request, Response, answer, app_error, track_error
from reconciler.sandbox.request_log import Api, Call, Journal, describe
from reconciler.sandbox.settings import OverLimit, WrongRegion
from reconciler.sandbox.track_api import answer_track
from reconciler.sandbox.workspace import Workspace

WRONG_DATACENTER = "/sandbox/wrong-datacenter"
"""Where a redirect of the wrong region leads: to ourselves, so that nobody who follows it reaches the real hosts."""
_REGION_PATH = "/api/v1/accounts/region"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys that the sandbox takes. They are no secrets, yet stay out of logs like real ones."""

    site_id: str = field(default="sandbox-site", repr=False)
    api_key: str = field(default="sandbox-key", repr=False)
    app_key: str = field(default="sandbox-app-key", repr=False)

    def admit(self, api: Api, header: str) -> bool:
        """Whether an Authorization header is the right one for that API."""
        pair = b64encode(f"{self.site_id}:{self.api_key}".encode()).decode()
        scheme, wanted = ("basic", pair) if api is Api.TRACK else ("bearer", self.app_key)
        given_scheme, _, given = header.partition(" ")
        return given_scheme.lower() == scheme and compare_digest(given.strip().encode(), wanted.encode())


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a test has called in the middle of a request: on its arrival, and once the change is made."""

    arrived: list[Callable[[Call], None]] = field(default_factory=list)
    answered: list[Callable[[Call], None]] = field(default_factory=list)


class RateLimit:
    """At most so many requests in any one second. Refused ones do not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._admitted: deque[float] = deque()

    def admit(self, per_second: int) -> bool:
        """Whether one more request may pass now; 0 is no limit."""
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


class Gateway:
    """Answers Track and App requests. Thread-safe; `sleep` must return early when the sandbox stops."""

    def __init__(
        self,
        workspace: Workspace,
        faults: FaultPlan,
        journal: Journal,
        credentials: Credentials,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self.url = ""
        self.hooks = Hooks()
        self._workspace = workspace
        self._faults = faults
        self._journal = journal
        self._credentials = credentials
        self._clock = clock
        self._sleep = sleep
        self._numbers = itertools.count(1)
        self._limits = {Api.TRACK: RateLimit(clock), Api.APP: RateLimit(clock)}

    def answer(self, request: Request) -> Response | None:
        """Answer one request; None means: close the connection without a word."""
        call = describe(request, next(self._numbers), self._clock())
        self._journal.open(call)
        try:
            for hook in self.hooks.arrived:
                hook(call)
            if self._workspace.settings.latency:
                self._sleep(self._workspace.settings.latency / 1000)
            fault = self._faults.strike(call)
            response, accepted = self._act(request, call, fault)
            status = None if response is None else response.status
            call = replace(call, status=status, accepted=accepted, fault=fault.kind.value if fault else None)
            for hook in self.hooks.answered:
                hook(call)
            return response
        finally:
            self._journal.close(call)

    def _act(self, request: Request, call: Call, fault: Fault | None) -> tuple[Response | None, bool]:
        """The response, and whether the handler took the request."""
        if fault is None:
            return self._handle(request, call)
        if fault.kind is Kind.POISON:
            return track_error(400, "ids contains an invalid value"), False
        if fault.kind is Kind.HANG and fault.moment is Moment.BEFORE:
            self._sleep(min(fault.seconds, TIMEOUT_MAX))
        if fault.kind in (Kind.STATUS, Kind.DROP) and fault.moment is Moment.BEFORE:
            return self._broken(fault, call), False
        response, accepted = self._handle(request, call, fault)
        if fault.kind is Kind.HANG and fault.moment is Moment.AFTER:
            self._sleep(min(fault.seconds, TIMEOUT_MAX))
        if fault.kind in (Kind.STATUS, Kind.DROP):
            return self._broken(fault, call), accepted
        return response, accepted

    def _broken(self, fault: Fault, call: Call) -> Response | None:
        return None if fault.kind is Kind.DROP else fault_response(fault, call, self.url)

    def _handle(self, request: Request, call: Call, fault: Fault | None = None) -> tuple[Response, bool]:
        refusal = self._refuse(request, call)
        if refusal is not None:
            return refusal, False
        settings = self._workspace.settings
        match call.api:
            case Api.TRACK:
                if not self._limits[Api.TRACK].admit(settings.track_rate_limit):
                    return (answer({}) if settings.track_over_limit is OverLimit.DROP else self._too_many()), False
                response = answer_track(request, self._workspace, self.url, fault.apply_delay if fault else None)
            case Api.APP:
                if not self._limits[Api.APP].admit(settings.app_rate_limit):
                    return self._too_many(), False
                response = answer_app(request, self._workspace, fault.rows if fault else 0)
            case Api.OTHER:
                response = track_error(404, "not found")
            case _:
                assert_never(call.api)
        return response, response.status < 300

    def _refuse(self, request: Request, call: Call) -> Response | None:
        settings = self._workspace.settings
        if settings.wrong_region is not WrongRegion.OFF and call.path != _REGION_PATH:
            if settings.wrong_region is WrongRegion.UNAUTHORIZED:
                return unauthorized(call.api)
            return wrong_datacenter(call, self.url, 301)
        revoked = {Api.TRACK: settings.track_key_revoked, Api.APP: settings.app_key_revoked, Api.OTHER: False}
        header = request.headers.get("authorization", "")
        if call.api is not Api.OTHER and (revoked[call.api] or not self._credentials.admit(call.api, header)):
            return unauthorized(call.api)
        if settings.max_body and len(request.body) > settings.max_body:
            return track_error(413, "request entity too large")
        return None

    def _too_many(self) -> Response:
        after = self._workspace.settings.retry_after
        return Response(429, headers={"Retry-After": after} if after else {})


def unauthorized(api: Api) -> Response:
    """401: the Track API's body is not documented, so it is empty."""
    return app_error(401, "unauthorized") if api is Api.APP else Response(401)


def wrong_datacenter(call: Call, url: str, status: int) -> Response:
    """The redirect that an account of the other region gets."""
    return replace(
        answer({"errors": [{"detail": "wrong datacenter", "status": str(status)}]}, status),
        headers={"Location": f"{url}{WRONG_DATACENTER}{call.path}"},
    )


def fault_response(fault: Fault, call: Call, url: str) -> Response:
    """The answer of a `status` fault, in the shape that the API would give it."""
    response = _bare_response(fault.status, call, url)
    if fault.body is not None:
        response = replace(response, body=fault.body.encode(), content_type=fault.content_type)
    if fault.retry_after is not None:
        response = replace(response, headers={**response.headers, "Retry-After": fault.retry_after})
    return response


def _bare_response(status: int, call: Call, url: str) -> Response:
    if status == 204 or status == 429 or status >= 500:
        return Response(status)
    if status < 300:
        return answer({}, status)
    if status < 400:
        return wrong_datacenter(call, url, status)
    if status == 401:
        return unauthorized(call.api)
    return app_error(status, "injected") if call.api is Api.APP else track_error(status, "injected")
