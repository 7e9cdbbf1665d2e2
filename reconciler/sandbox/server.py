"""The sandbox: both APIs and the control endpoint in one process, on loopback.

with Sandbox() as sandbox:
    sandbox.add_people([("1", "a@example.com")])
    sandbox.create_segment("vip", id=56)
    ...                                   # Track and App API at sandbox.url
    assert sandbox.members(56) == {"1"}
"""

import errno
import itertools
import os
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from pathlib import Path
from typing import Self

from reconciler.sandbox.apis import answer_app, answer_track, error_response
from reconciler.sandbox.control import answer_control
from reconciler.sandbox.faults import Fault, FaultPlan, Kind, parse_fault
from reconciler.sandbox.http import Api, Call, Request, RequestLog, Response, Server, describe, json_response
from reconciler.sandbox.settings import SandboxError, Settings, WrongRegion
from reconciler.sandbox.storage import load_state, parse_segment, read_people, save_state
from reconciler.sandbox.workspace import IdType, Workspace

HOST = "127.0.0.1"
DEFAULT_PORT = 8025

DEFAULT_SETTINGS = Settings(app_rate_limit=10)
"""What `open_sandbox` starts with: as `Settings`, and the App API's documented limit, which tests mostly do without."""

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


class Sandbox:
    """A running sandbox. Ends with `close` or the end of its `with` block, which also ends its connections.

    `workspace` is the memory, `faults` what goes wrong, `log` what was asked; the other methods are the common use of
    them. Edits by hand take effect at once, whatever the settings and faults, and are not in the log. What is given to
    `on_arrival` is called in the middle of each request before anything is done, to `on_answer` once it has taken
    effect. `sleep` must return early when the sandbox stops. Raises `SandboxError` for a port that is taken.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        faults: Iterable[Fault] = (),
        log_limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._admitted: dict[Api, deque[float]] = {Api.TRACK: deque(), Api.APP: deque()}
        self._arrival_hooks: list[Callable[[Call], None]] = []
        self._answer_hooks: list[Callable[[Call], None]] = []
        self.clock = clock
        self.credentials = credentials or Credentials()
        self.workspace = Workspace(settings or Settings(), clock, wall_clock)
        self.faults = FaultPlan(faults)
        self.log = RequestLog(log_limit)
        self.add_people = self.workspace.add_people
        self.create_segment = self.workspace.create_segment
        self.configure = self.workspace.change_settings
        self.inject = self.faults.add
        self.reset_calls = self.log.clear
        self.on_arrival = self._arrival_hooks.append
        self.on_answer = self._answer_hooks.append
        try:
            self._server = Server((HOST, port), self._answer)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise SandboxError(f"port {port} on {HOST} cannot be used ({error.strerror}); choose another") from None
        self.port: int = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}"
        # A short poll: close() waits for it, and tests open and close many sandboxes.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="sandbox", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, end all hangs and close every connection. Safe to call twice."""
        self._stopped.set()
        self._server.close()
        self._thread.join()

    def put_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Add people to a segment by hand. Raises `SandboxError` if any is unknown."""
        self.workspace.edit_members(segment_id, add=values, id_type=id_type)

    def pull_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Remove people from a segment by hand. Raises `SandboxError` if any is unknown."""
        self.workspace.edit_members(segment_id, remove=values, id_type=id_type)

    def members(self, segment_id: int, id_type: str = "id") -> set[str]:
        """Return the members' identifiers of one kind; members without one are left out (see `workspace.size`)."""
        values = (getattr(person, IdType(id_type)) for person in self.workspace.members(segment_id))
        return {value for value in values if value is not None}

    @property
    def connections(self) -> int:
        """How many connections are open: none once all that ended clients had asked for is done."""
        return self._server.connections

    @property
    def calls(self) -> list[Call]:
        """Every request that was kept, oldest first."""
        return self.log.calls()

    @property
    def writes(self) -> list[Call]:
        """The adds and removes among the calls."""
        return [call for call in self.log.calls() if call.direction is not None]

    def _answer(self, request: Request) -> Response | None:
        """Answer one request; None: close the connection without an answer."""
        if request.parts[0] == "sandbox" and not request.path.startswith(WRONG_DATACENTER):
            return answer_control(request, self.workspace, self.faults, self.log, self.url)
        call = describe(request, next(self._numbers))
        self.log.begin(call)
        try:
            for hook in self._arrival_hooks:
                hook(call)
            if self.workspace.settings.latency:
                self._sleep(self.workspace.settings.latency / 1000)
            fault = self.faults.choose(call)
            response = self._answer_with(fault, request, call) if fault else self._handle(request, call)
            call = replace(call, status=response.status if response else None, fault=fault.kind if fault else None)
            for hook in self._answer_hooks:
                hook(call)
            return response
        finally:
            self.log.end(call)

    def _answer_with(self, fault: Fault, request: Request, call: Call) -> Response | None:
        """Apply a fault, before or after the request takes effect."""
        if fault.kind is Kind.POISON:
            return error_response(Api.TRACK, 400, "ids contains an invalid value")
        if fault.kind is Kind.HANG and not fault.after_change:
            self._sleep(min(fault.seconds, threading.TIMEOUT_MAX))
        is_replaced = fault.kind in (Kind.STATUS, Kind.DROP)
        response = None if is_replaced and not fault.after_change else self._handle(request, call, fault)
        if fault.kind is Kind.HANG and fault.after_change:
            self._sleep(min(fault.seconds, threading.TIMEOUT_MAX))
        if fault.kind is not Kind.STATUS:
            return None if fault.kind is Kind.DROP else response

        status = fault.status
        if status in (204, 429) or status >= 500:
            response = Response(status)
        elif status < 300:
            response = json_response({}, status)
        elif status < 400:
            response = self._redirect(call, status)
        else:
            response = error_response(call.api, status, "unauthorized" if status == 401 else "injected")
        if fault.body is not None:
            response = replace(response, body=fault.body.encode(), content_type=fault.content_type)
        if fault.retry_after is not None:
            response = replace(response, headers={**response.headers, "Retry-After": fault.retry_after})
        return response

    def _handle(self, request: Request, call: Call, fault: Fault | None = None) -> Response:
        """Do what the request asks, if its keys, its region, its size and the rate limits allow it."""
        settings, api = self.workspace.settings, call.api
        if settings.wrong_region is WrongRegion.REDIRECT and call.path != REGION_PATH:
            return self._redirect(call, 301)
        is_unauthorized = settings.wrong_region is WrongRegion.UNAUTHORIZED and call.path != REGION_PATH
        if api is not Api.OTHER:
            is_revoked = settings.track_key_revoked if api is Api.TRACK else settings.app_key_revoked
            header = request.headers.get("authorization", "")
            is_unauthorized |= is_revoked or not self.credentials.authorize(api, header)
        if is_unauthorized:
            return error_response(api, 401, "unauthorized")
        if settings.max_body and len(request.body) > settings.max_body:
            return error_response(Api.TRACK, 413, "request entity too large")
        if api is Api.OTHER:
            return error_response(api, 404, "not found")
        if not self._admit(api, settings.track_rate_limit if api is Api.TRACK else settings.app_rate_limit):
            return Response(429)
        if api is Api.TRACK:
            return answer_track(request, call, self.workspace, self.url, fault.apply_delay if fault else None)
        return answer_app(request, self.workspace, fault.rows if fault else 0)

    def _admit(self, api: Api, per_second: int) -> bool:
        """Return whether one more request may pass now; 0 is no limit. Refused ones do not count."""
        if per_second == 0:
            return True
        with self._lock:
            now, admitted = self.clock(), self._admitted[api]
            while admitted and admitted[0] <= now - 1:
                admitted.popleft()
            if len(admitted) >= per_second:
                return False
            admitted.append(now)
            return True

    def _redirect(self, call: Call, status: int) -> Response:
        """Make the redirect that an account of the other region gets."""
        response = json_response({"errors": [{"detail": "wrong datacenter", "status": str(status)}]}, status)
        return replace(response, headers={"Location": f"{self.url}{WRONG_DATACENTER}{call.path}"})


@contextmanager
def open_sandbox(
    port: int = 0,
    *,
    people: Iterable[Path] = (),
    segments: Iterable[str] = (),
    faults: Iterable[str] = (),
    settings: Settings = DEFAULT_SETTINGS,
    credentials: Credentials | None = None,
    state: Path | None = None,
) -> Iterator[Sandbox]:
    """Run a sandbox as on a command line; segments and faults are texts, and 1,000 requests are kept.

    It starts from the state file where there is one, then come people, then those segments that the state did not
    bring. The state file is written at the end, however the block ends. Raises `SandboxError` for a text, a file or a
    port that cannot be used.
    """
    seeds, planned = [parse_segment(text) for text in segments], [parse_fault(text) for text in faults]
    with Sandbox(port, settings=settings, credentials=credentials, faults=planned, log_limit=1000) as sandbox:
        if state is not None and os.path.lexists(state):
            load_state(state, sandbox.workspace)
        for path in people:
            sandbox.add_people(read_people(path))
        for seed in seeds:
            if sandbox.workspace.segment(seed["id"]) is None:
                sandbox.create_segment(**seed)
        try:
            yield sandbox
        finally:
            sandbox.close()
            if state is not None:
                save_state(state, sandbox.workspace, sandbox.clock())
