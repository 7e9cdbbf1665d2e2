"""The sandbox as a server on loopback: both APIs and the control endpoint in one process.

    with Sandbox() as sandbox:
        sandbox.add_people([("1", "a@example.com")])
        sandbox.create_segment("vip", id=56)
        ...                                   # Track and App API at sandbox.url
        assert sandbox.members(56) == {"1"}

One thread serves one connection; connections are kept alive and each request's body is read whole before anything is
answered, so that an error never upsets the next request on that connection.
"""

import errno
import ipaddress
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

from reconciler.sandbox.control import Control, is_loopback
from reconciler.sandbox.faults import Fault, FaultPlan
from reconciler.sandbox.handler import WRONG_DATACENTER, Credentials, Gateway
from reconciler.sandbox.http import Request, Response
from reconciler.sandbox.people import IdType
from reconciler.sandbox.request_log import Call, Journal
from reconciler.sandbox.settings import SandboxError, Settings
from reconciler.sandbox.workspace import Segment, Workspace

MAX_BODY = 1 << 30
DEFAULT_PORT = 8025


class Sandbox:
    """A running sandbox. Ends with `close` or the end of its `with` block, which also ends its connections.

    `workspace` is the memory, `faults` what goes wrong, `journal` what was asked; the methods below are the common
    uses of them. Raises `ValueError` for a host that is not loopback and `SandboxError` for a port that is taken.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        faults: Iterable[Fault] = (),
        journal: Journal | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if not is_loopback(host):
            raise SandboxError(f"the sandbox listens on loopback only, not on {host!r}; use 127.0.0.1")
        self._stopped = threading.Event()
        self.clock = clock
        self.credentials = credentials or Credentials()
        self.workspace = Workspace(settings or Settings(), clock, wall_clock)
        self.faults = FaultPlan(faults, rng)
        self.journal = Journal() if journal is None else journal
        self._gateway = Gateway(
            self.workspace, self.faults, self.journal, self.credentials, clock, sleep or self._stopped.wait
        )
        self._control = Control(self.workspace, self.faults, self.journal, clock)
        self._server = _listen(host, port, self._answer)
        self.port: int = self._server.server_address[1]
        self.url = f"http://{'[::1]' if ':' in host else host}:{self.port}"
        self._gateway.url = self._control.url = self.url
        # A short poll: close() waits for it, and tests open and close many sandboxes.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="sandbox", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, wake whatever hangs and close every connection. Safe to call twice."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    # -- seeding and hand edits (at once, past all knobs and faults, not in the journal)

    def add_people(self, rows: Iterable[tuple[str | None, str | None]]) -> int:
        """Create or update people from (id, email) pairs; returns how many people there are now."""
        return self.workspace.add_people(rows)

    def create_segment(self, name: str, *, id: int | None = None, type: str = "manual", **more: Any) -> Segment:
        """Create an empty segment; `more` are fields of `Segment`, such as `used_by=UsedBy(campaigns=(12,))`."""
        return self.workspace.create_segment(name, id=id, type=type, **more)

    def put_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Put people into a segment by hand. Raises `SandboxError` if any is unknown."""
        self.workspace.add_members(segment_id, values, id_type)

    def pull_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Take people out of a segment by hand. Raises `SandboxError` if any is unknown."""
        self.workspace.remove_members(segment_id, values, id_type)

    def members(self, segment_id: int, id_type: str = "id") -> set[str]:
        """The members' identifiers of one kind; members without one are left out (see `workspace.size`)."""
        kind = IdType(id_type)
        return {value for person in self.workspace.members(segment_id) if (value := person.value(kind)) is not None}

    # -- trouble

    def inject(self, *faults: Fault) -> None:
        """Let things go wrong, after the faults that are there already."""
        self.faults.add(*faults)

    def configure(self, **changes: Any) -> Settings:
        """Turn knobs by their names in `Settings`, from now on."""
        return self.workspace.change_settings(**changes)

    def on_arrival(self, hook: Callable[[Call], None]) -> None:
        """Call the hook in the middle of each request, before anything is done."""
        self._gateway.hooks.arrived.append(hook)

    def on_answer(self, hook: Callable[[Call], None]) -> None:
        """Call the hook once a request has taken effect, before its answer leaves."""
        self._gateway.hooks.answered.append(hook)

    # -- what happened

    @property
    def calls(self) -> list[Call]:
        """The journal: every request that was kept, oldest first."""
        return self.journal.calls()

    @property
    def writes(self) -> list[Call]:
        """The adds and removes among the calls."""
        return self.journal.calls(lambda call: call.direction is not None)

    def reset_calls(self) -> None:
        """Forget the calls so far."""
        self.journal.clear()

    def _answer(self, request: Request) -> Response | None:
        if request.parts[0] == "sandbox" and not request.path.startswith(WRONG_DATACENTER):
            return self._control.answer(request)
        return self._gateway.answer(request)


class _Server(ThreadingHTTPServer):
    """A listening socket and the connections that came out of it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], answer: Callable[[Request], Response | None]) -> None:
        self.answer = answer
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the look-up of a host name that the base class makes."""
        socket_address = self.server_address
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(socket_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients that hang up are part of the game, and whatever else fails was answered with 500."""

    def hang_up(self) -> None:
        """End every open connection."""
        with self._guard:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


def _listen(host: str, port: int, answer: Callable[[Request], Response | None]) -> _Server:
    is_v6 = host != "localhost" and ipaddress.ip_address(host).version == 6
    try:
        return (_Server6 if is_v6 else _Server)((host, port), answer)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise SandboxError(f"port {port} on {host} cannot be used ({error.strerror}); choose another") from None
        raise


class _BodyError(Exception):
    """A body that cannot be read; the connection is of no further use."""


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 on one connection: reads whole requests, writes whole responses."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = None

    def _serve(self) -> None:
        try:
            body = self._read_body()
        except _BodyError as error:
            self.close_connection = True
            self._write(Response(400, str(error).encode() + b"\n", "text/plain; charset=utf-8"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = self._answer(Request(self.command, self.path, headers, body))
        if response is None:
            self.close_connection = True
        else:
            self._write(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _answer(self, request: Request) -> Response | None:
        try:
            return cast(_Server, self.server).answer(request)
        except Exception as error:  # a bug of the sandbox, or a hook of a test that failed: say so, without any ids
            return Response(500, f"sandbox error: {type(error).__name__}\n".encode(), "text/plain; charset=utf-8")

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            raise _BodyError("Content-Length is not a number") from None
        if not 0 <= length <= MAX_BODY:
            raise _BodyError("Content-Length is out of range")
        body = self.rfile.read(length)
        if len(body) != length:
            raise _BodyError("the body ended early")
        return body

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(1024).split(b";")[0], 16)
            except ValueError:
                raise _BodyError("a chunk has no size") from None
            if size < 0 or len(body) + size > MAX_BODY:
                raise _BodyError("a chunk's size is out of range")
            body += self.rfile.read(size)
            if self.rfile.readline(1024) not in (b"\r\n", b"\n"):
                raise _BodyError("a chunk does not end where it should")
            if size == 0:
                return bytes(body)

    def _write(self, response: Response) -> None:
        """The whole response in one packet, so that no half of it waits for an acknowledgement."""
        phrase = HTTPStatus(response.status).phrase if response.status in _KNOWN else "Unknown"
        lines = [f"HTTP/1.1 {response.status} {phrase}", f"Date: {self.date_time_string()}"]
        if response.status != 204:
            lines.append(f"Content-Length: {len(response.body)}")
        if response.body:
            lines.append(f"Content-Type: {response.content_type}")
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        try:
            self.wfile.write(head if self.command == "HEAD" else head + response.body)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: paths of the customer endpoints hold member ids. The journal has the calls."""


_KNOWN = frozenset(status.value for status in HTTPStatus)
