"""Clients against any base URL, with time that does not pass by itself; closed at the end of each test."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.customerio.clients import AppClient, TrackClient
from reconciler.customerio.connection import Connections
from reconciler.models.spec import DestinationSettings
from tests.fakes.wire import FakeTime

Clients = tuple[TrackClient, AppClient]
CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""A key and its certificate, for localhost and track.customer.io, in which all tests trust; made for them."""


class QuickStop(threading.Event):
    """A stop event with waits that move a fake clock instead of taking time."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__()
        self.time = time

    def wait(self, timeout: float | None = None) -> bool:
        return self.time.wait(timeout or 0) or self.is_set()


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def warnings() -> list[str]:
    """What the clients could not check."""
    return []


@pytest.fixture
def open_clients(time: FakeTime, warnings: list[str]) -> Iterator[Callable[[DestinationSettings], Clients]]:
    opened: list[Connections] = []

    def open_both(settings: DestinationSettings) -> Clients:
        connections = Connections(
            [settings],
            stop=QuickStop(time),
            warn=warnings.append,
            clock=time.clock,
            wall=time.wall,
            chance=lambda: 0.5,
        )
        opened.append(connections)
        track, app = connections.open(settings)
        assert app is not None
        return track, app

    yield open_both
    for connections in opened:
        connections.close()
