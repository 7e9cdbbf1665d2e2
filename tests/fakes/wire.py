"""Doubles for the client's tests: time that moves when told to, a gate, a raw server on loopback."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from reconciler.models.fields import Secret
from reconciler.models.spec import DestinationSettings, Segment

SITE, KEY, APP_KEY = "site-4711", "track-key-4712", "app-key-4713"


class FakeTime:
    """A clock and a wait that moves it. `stop_after` waits, the run is stopping."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.stopping = False
        self.stop_after = stop_after
        self._lock = threading.Lock()

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds

    def wait(self, seconds: float) -> bool:
        if seconds:
            self.waits.append(seconds)
            if self.stop_after is not None and len(self.waits) > self.stop_after:
                self.stopping = True
            if not self.stopping:
                self.advance(seconds)
        return self.stopping


@dataclass
class FakeGate:
    """Lets in until `last`."""

    last: int = 99
    asked: list[int] = field(default_factory=list)

    def try_start(self, attempt: int) -> bool:
        self.asked.append(attempt)
        return attempt <= self.last


class RawServer:
    """Accepts connections; `serve` gets each with its number from 0, in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket, int], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            thread = threading.Thread(target=self._run, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket, number: int) -> None:
        with connection:
            try:
                self._serve(connection, number)
            except OSError:
                return

    def __enter__(self) -> "RawServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def read_request(connection: socket.socket) -> bytes:
    """Read one request whole; empty when the other side closes."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def destination(url: str | None = None, **more: object) -> DestinationSettings:
    """Settings as they are given, right or wrong: the client has checks of its own."""
    settings: dict[str, object] = {
        "site_id": Secret(SITE),
        "api_key": Secret(KEY),
        "app_api_key": Secret(APP_KEY),
        "track_url": url,
        "app_url": url,
        **more,
    }
    return DestinationSettings.model_construct(**settings)  # type: ignore[arg-type]


SEGMENT = Segment(name="vip", segment_id=56, query="SELECT 1", source="warehouse")
