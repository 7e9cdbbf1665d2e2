"""Finding the addresses of a name: the system's own call takes no time-out."""

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import pytest

from reconciler.customerio.network import Resolver
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from tests.fakes.wire import SEGMENT, FakeGate, RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]
Answer = Callable[[str, int], list[str]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[str]]:
    """Let the system answer so, each time that it is asked for a name; gives the names that it was asked for."""

    def become(find: Answer) -> list[str]:
        asked, real = list[str](), socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
            if host.replace(".", "").isdigit():
                return real(host, port, *rest, **more)
            asked.append(host)
            return [found for address in find(host, port) for found in real(address, port, *rest, **more)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return become


@pytest.fixture
def hanging() -> Iterator[Callable[[str, int], list[str]]]:
    """An answer that does not come before the test has ended."""
    is_over = threading.Event()

    def wait(host: str, port: int) -> list[str]:
        is_over.wait(60)
        return ["127.0.0.1"]

    yield wait
    is_over.set()


def send(clients: Clients) -> BatchResult:
    return clients[0].send(SEGMENT, Batch(Direction.ADD, ("cust_000001",)), FakeGate())


def test_a_name_that_is_not_found_in_time_ends_the_attempt(
    open_clients: Open, answer: Callable[[Answer], list[str]], hanging: Answer
) -> None:
    answer(hanging)

    result = send(open_clients(destination("http://track.example", timeout=0.05)))

    assert result.outcome is Outcome.REFUSED
    assert "no connection in time (the address of its name was not found in time)" in result.message


def test_a_call_that_hangs_is_not_made_again(answer: Callable[[Answer], list[str]], hanging: Answer) -> None:
    asked, resolver = answer(hanging), Resolver()

    for _ in range(5):
        with pytest.raises(httpcore.ConnectTimeout):
            resolver.find("track.example", 443, 0.01)

    assert asked == ["track.example"]


def test_an_answer_is_asked_for_each_time(answer: Callable[[Answer], list[str]]) -> None:
    asked, resolver = answer(lambda host, port: ["127.0.0.1", "127.0.0.2", "127.0.0.1"]), Resolver()

    assert [resolver.find("track.example", 443, 60) for _ in range(2)] == [["127.0.0.1", "127.0.0.2"]] * 2
    assert len(asked) == 2


def test_a_name_that_nobody_knows_is_said(open_clients: Open, answer: Callable[[Answer], list[str]]) -> None:
    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer(fail)

    assert "no connection (Name or service not known)" in send(open_clients(destination("http://x.example"))).message


def test_each_address_is_tried_until_one_connects(open_clients: Open, answer: Callable[[Answer], list[str]]) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(reply("200 OK", b"{}\n"))

    with RawServer(serve) as server:
        answer(lambda host, port: ["127.0.0.9", "127.0.0.1"])
        clients = open_clients(destination(server.url.replace("127.0.0.1", "track.example")))

        assert send(clients).outcome is Outcome.ACKNOWLEDGED
