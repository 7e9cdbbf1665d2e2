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
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self, cast

from reconciler.sandbox.control import Control
from reconciler.sandbox.faults import Fault, FaultPlan
from reconciler.sandbox.handler import WRONG_DATACENTER, Credentials, Handler
from reconciler.sandbox.http import Request, Response
from reconciler.sandbox.people import IdType
from reconciler.sandbox.request_log import Call, RequestLog
from reconciler.sandbox.settings import SandboxError, Settings
from reconciler.sandbox.workspace import Workspace

MAX_BODY = 1 << 30
HOST = "127.0.0.1"
DEFAULT_PORT = 8025


class Sandbox:
    """A running sandbox. Ends with `close` or the end of its `with` block, which also ends its connections.

    `workspace` is the memory, `faults` what goes wrong, `log` what was asked; what stands below is the common use of
    them. Edits by hand take effect at once, whatever the settings and faults, and are not in the log. It listens on
    loopback only. Raises `SandboxError` for a port that is taken.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        faults: Iterable[Fault] = (),
        log: RequestLog | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._stopped = threading.Event()
        self.clock = clock
        self.credentials = credentials or Credentials()
        self.workspace = Workspace(settings or Settings(), clock, wall_clock)
        self.faults = FaultPlan(faults, rng)
        self.log = RequestLog() if log is None else log
        self._handler = Handler(
            self.workspace, self.faults, self.log, self.credentials, clock, sleep or self._stopped.wait
        )
        self._control = Control(self.workspace, self.faults, self.log)
        self.add_people = self.workspace.add_people
        self.create_segment = self.workspace.create_segment
        self.configure = self.workspace.change_settings
        self.inject = self.faults.add
        self.reset_calls = self.log.clear
        self.on_arrival = self._handler.on_arrival.append
        self.on_answer = self._handler.on_answer.append
        try:
            self._server = _Server((HOST, port), self._answer)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise SandboxError(f"port {port} on {HOST} cannot be used ({error.strerror}); choose another") from None
        self.port: int = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}"
        self._handler.url = self._control.url = self.url
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
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    def put_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Add people to a segment by hand. Raises `SandboxError` if any is unknown."""
        self.workspace.edit_members(segment_id, add=values, id_type=id_type)

    def pull_members(self, segment_id: int, values: Iterable[str], id_type: str = "id") -> None:
        """Remove people from a segment by hand. Raises `SandboxError` if any is unknown."""
        self.workspace.edit_members(segment_id, remove=values, id_type=id_type)

    def members(self, segment_id: int, id_type: str = "id") -> set[str]:
        """Return the members' identifiers of one kind; members without one are left out (see `workspace.size`)."""
        kind = IdType(id_type)
        return {value for person in self.workspace.members(segment_id) if (value := person.value(kind)) is not None}

    @property
    def calls(self) -> list[Call]:
        """Every request that was kept, oldest first."""
        return self.log.calls()

    @property
    def writes(self) -> list[Call]:
        """The adds and removes among the calls."""
        return [call for call in self.log.calls() if call.direction is not None]

    def _answer(self, request: Request) -> Response | None:
        if request.parts[0] == "sandbox" and not request.path.startswith(WRONG_DATACENTER):
            return self._control.answer(request)
        return self._handler.answer(request)


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
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients may hang up, and whatever else fails was answered with 500."""

    def hang_up(self) -> None:
        """End every open connection."""
        with self._guard:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


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
        try:
            response = cast(_Server, self.server).answer(Request(self.command, self.path, headers, body))
        except Exception as error:  # a bug of the sandbox, or a hook of a test that failed: say so, without any ids
            text = f"sandbox error: {type(error).__name__}\n"
            response = Response(500, text.encode(), "text/plain; charset=utf-8")
        if response is None:
            self.close_connection = True
        else:
            self._write(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length") or "0"
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise _BodyError("a body needs a Content-Length, a number")
        if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
            raise _BodyError("Content-Length is out of range")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            raise _BodyError("the body ended early")
        return body

    def _write(self, response: Response) -> None:
        """Write the whole response in one packet, so that no half of it waits for an acknowledgement."""
        phrase = http.client.responses.get(response.status, "Unknown")
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
        """Stay silent: `RequestLog` has the calls."""
