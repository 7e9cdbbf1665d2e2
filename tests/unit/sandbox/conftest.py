"""A sandbox with three people and one segment, a clock that does not advance, and a plain client for both APIs."""

import http.client
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from reconciler.sandbox.server import Sandbox


class Clock:
    """A clock that moves only when told to; sleeping moves it, too, after a look around."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.before_sleep: Callable[[float], object] = lambda _: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.before_sleep(seconds)
        self.now += seconds


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, kept alive; raw `http.client` underneath, so that nothing is followed or retried."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=10)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        self.connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        response = self.connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def track(self, method: str, path: str, document: Any = None) -> Reply:
        key = b64encode(b"sandbox-site:sandbox-key").decode()
        body = None if document is None else json.dumps(document).encode()
        return self.send(method, f"/api/v1/{path}", body, Authorization=f"Basic {key}")

    def app(self, method: str, path: str, document: Any = None) -> Reply:
        body = None if document is None else json.dumps(document).encode()
        return self.send(method, f"/v1/{path}", body, Authorization="Bearer sandbox-app-key")

    def control(self, method: str, path: str = "", document: Any = None) -> Reply:
        body = None if document is None else json.dumps(document).encode()
        return self.send(method, f"/sandbox{path}", body)

    def add(self, ids: Any, segment: object = 56, id_type: str = "id") -> Reply:
        return self.track("POST", f"segments/{segment}/add_customers?id_type={id_type}", {"ids": ids})

    def remove(self, ids: Any, segment: object = 56, id_type: str = "id") -> Reply:
        return self.track("POST", f"segments/{segment}/remove_customers?id_type={id_type}", {"ids": ids})

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock, wall_clock=lambda: 1_700_000_000, sleep=clock.sleep) as sandbox:
        sandbox.add_people([("1", "Ann@example.com"), ("2", None), (None, "cy@example.com")])
        sandbox.create_segment("vip", id=56)
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    client = Client(sandbox)
    yield client
    client.close()


@pytest.fixture
def connect(sandbox: Sandbox) -> Iterator[Any]:
    """A further connection each time it is called."""
    clients: list[Client] = []

    def open_connection(to: Sandbox = sandbox) -> Client:
        clients.append(Client(to))
        return clients[-1]

    yield open_connection
    for client in clients:
        client.close()
