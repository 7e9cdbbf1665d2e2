"""HTTP on loopback: requests and responses as values, the log of requests, and a server that knows no API.

One thread serves one connection; connections are kept alive and each request's body is read whole before anything is
answered, so that an error never upsets the next request on that connection.
"""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from reconciler.sandbox.settings import SandboxError
from reconciler.sandbox.workspace import Direction

JSON = "application/json; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
MAX_BODY = 1 << 30
DIRECTIONS = {"add_customers": Direction.ADD, "remove_customers": Direction.REMOVE}


class Request:
    """One HTTP request, its body read whole. Header names are lower case."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.path, _, query = target.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        """The query parameters; the last one wins where a name repeats."""
        self.headers = headers
        self.body = body
        self.parts = tuple(unquote(part) for part in self.path.strip("/").split("/"))
        """The steps of the path, percent-decoded."""

    @cached_property
    def payload(self) -> Any:
        """The body as JSON; raises `SandboxError` when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise SandboxError("malformed JSON body") from None


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def parse_number(text: str) -> int | None:
    """Return a whole number of up to ten digits (the API's are of 32 bits); None for any other text."""
    return int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None


def json_response(document: Any, status: int = 200) -> Response:
    """Make a JSON answer, with a newline at its end as the real ones have."""
    return Response(status, json.dumps(document, separators=(",", ":")).encode() + b"\n")


class Api(StrEnum):
    """Which of the two surfaces a path belongs to; `other` is neither."""

    TRACK = "track"
    APP = "app"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the log and the faults see it, and how it ended.

    `query` has the parameters of the URL. `ids` is what an add or a remove sent (None where the body had no list of
    strings) and `id_count` their number. `status` is None while the request is being answered, and for good when the
    connection was dropped. `fault` names the kind of the fault that applied.
    """

    number: int
    api: Api
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    segment_id: int | None = None
    direction: Direction | None = None
    id_type: str | None = None
    ids: tuple[str, ...] | None = field(default=None, repr=False)
    id_count: int = 0
    status: int | None = None
    fault: str | None = None


def describe(request: Request, number: int) -> Call:
    """Describe a request that has arrived."""
    api = {"api": Api.TRACK, "v1": Api.APP}.get(request.parts[0], Api.OTHER)
    segment_id = direction = id_type = ids = None
    match request.parts[2:] if api is Api.TRACK else request.parts[1:]:
        case ("segments", segment, *rest):
            segment_id = parse_number(segment)
            if api is Api.TRACK and len(rest) == 1:
                direction = DIRECTIONS.get(rest[0])
    if direction is not None:
        id_type = "id"
        with suppress(SandboxError, KeyError, TypeError):
            sent = request.payload["ids"]
            ids = tuple(sent) if isinstance(sent, list) and set(map(type, sent)) <= {str} else None
    id_type = request.query.get("id_type", id_type)
    return Call(
        number, api, request.method, request.path, request.query, segment_id, direction, id_type, ids, len(ids or ())
    )


@dataclass(eq=False, repr=False)
class RequestLog:
    """The latest calls; `limit` is how many are kept. Thread-safe."""

    limit: int
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _calls: dict[int, Call] = field(default_factory=dict, init=False)

    def begin(self, call: Call) -> None:
        """Keep a request that has arrived."""
        with self._lock:
            self._calls[call.number] = call
            while len(self._calls) > self.limit:
                del self._calls[next(iter(self._calls))]

    def end(self, call: Call) -> None:
        """Keep how a request ends: it is about to be answered, or its connection to be dropped."""
        with self._lock:
            if call.number in self._calls:
                self._calls[call.number] = call

    def calls(self) -> list[Call]:
        """Return the kept calls by their numbers: two that arrive at once may be kept the other way round."""
        with self._lock:
            return sorted(self._calls.values(), key=lambda call: call.number)

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()


class Server(ThreadingHTTPServer):
    """A listening socket and the connections that came out of it. An answer of None ends the connection without one."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], answer: Callable[[Request], Response | None]) -> None:
        self.answer = answer
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Connection)

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

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._guard:
            return len(self._connections)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients may hang up, and whatever else fails was answered with 500."""

    def close(self) -> None:
        """Stop listening and end every open connection."""
        self.shutdown()
        self.server_close()
        with self._guard:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """HTTP/1.1 on one connection: reads whole requests, writes whole responses."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = None

    def _serve(self) -> None:
        body, problem = b"", ""
        length = self.headers.get("Content-Length") or "0"
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            problem = "a body needs a Content-Length, a number"
        elif len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
            problem = "Content-Length is out of range"
        else:
            body = self.rfile.read(int(length))
            if len(body) != int(length):
                problem = "the body ended early"
        if problem:
            self.close_connection = True
            self._write(Response(400, f"{problem}\n".encode(), TEXT))
            return

        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            response = cast(Server, self.server).answer(Request(self.command, self.path, headers, body))
        except Exception as error:  # a bug of the sandbox, or a hook of a test that failed: say so, without any ids
            response = Response(500, f"sandbox error: {type(error).__name__}\n".encode(), TEXT)
        if response is None:
            self.close_connection = True
        else:
            self._write(response)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

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
