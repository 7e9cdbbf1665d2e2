"""A peer that breaks the rules of HTTP: what counts as applied is never more than what it applied."""

import json
import socket
import threading
from collections.abc import Callable

import h11
import httpcore
import pytest

from reconciler.customerio.network import IDLE_SECONDS, Deadline, Stream
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from tests.fakes.wire import SEGMENT, FakeGate, FakeTime, RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]
OK = reply("200 OK", b"{}\n")
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n"


class Peer:
    """Applies the first batch that it gets and answers `first`; takes every other one, and answers none."""

    def __init__(self, first: bytes) -> None:
        self.first = first
        self.applied: set[str] = set()

    def serve(self, connection: socket.socket, number: int) -> None:
        request = read_request(connection)
        if number == 0:
            self.applied.update(json.loads(request.partition(b"\r\n\r\n")[2])["ids"])
            connection.sendall(self.first)
            read_request(connection)


def send(clients: Clients, *ids: str) -> BatchResult:
    return clients[0].send(SEGMENT, Batch(Direction.ADD, ids), FakeGate())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (OK, Outcome.ACKNOWLEDGED),
        (OK + OK, Outcome.UNKNOWN),
        (OK * 3, Outcome.UNKNOWN),
        (OK + b"\r\n", Outcome.UNKNOWN),
        (OK + b"HTTP/1.1 200 OK\r\nContent-Le", Outcome.UNKNOWN),
        (HEAD + b"Content-Length: 2\r\n\r\n{}\n", Outcome.UNKNOWN),
        (HEAD + b"Content-Length: 0\r\n\r\n" + OK, Outcome.UNKNOWN),
        (reply("204 No Content") + b"{}\n", Outcome.UNKNOWN),
        (reply("204 No Content") + OK, Outcome.UNKNOWN),
        (reply("400 Bad Request") + OK, Outcome.UNKNOWN),
        (reply("401 Unauthorized") + OK, Outcome.UNKNOWN),
        (reply("429 Too Many Requests") + OK, Outcome.UNKNOWN),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Outcome.ACKNOWLEDGED),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + OK, Outcome.ACKNOWLEDGED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + OK, Outcome.UNKNOWN),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n" + OK, Outcome.UNKNOWN),
        (CHUNKS + b"\r\n", Outcome.ACKNOWLEDGED),
        (CHUNKS + b"Trailer: x\r\nOther: y\r\n\r\n", Outcome.ACKNOWLEDGED),
        (CHUNKS + b"\r\n" + OK, Outcome.UNKNOWN),
        (CHUNKS + b"Trailer: x\r\n\r\n" + OK, Outcome.UNKNOWN),
        (CHUNKS + b"\r\n\r\n", Outcome.UNKNOWN),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n{}\n", Outcome.ACKNOWLEDGED),
        (HEAD + b"Content-Length: 3, 3\r\n\r\n{}\n", Outcome.ACKNOWLEDGED),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 0\r\n\r\n{}\n", Outcome.UNKNOWN),
        (HEAD + b"Content-Length: -3\r\n\r\n{}\n", Outcome.UNKNOWN),
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{}\n", Outcome.UNKNOWN),
        (HEAD + b"Content-Length: 300\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + OK, Outcome.UNKNOWN),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Outcome.UNKNOWN),
        (HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\n{}\n" + OK, Outcome.UNKNOWN),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{}\n" + OK, Outcome.UNKNOWN),
        (b"HTTP/1.1 200 OK\nContent-Length: 3\n\n{}\n" + OK, Outcome.UNKNOWN),
    ],
)
def test_a_second_batch_is_never_acknowledged_by_what_came_with_the_first_answer(
    open_clients: Open, answer: bytes, outcome: Outcome
) -> None:
    peer = Peer(answer)
    with RawServer(peer.serve) as server:
        clients = open_clients(destination(server.url))

        first, second = send(clients, "one"), send(clients, "two")

    assert first.outcome is outcome
    assert second.outcome is Outcome.UNKNOWN
    assert peer.applied == {"one"}


@pytest.mark.parametrize("late", [OK, reply("400 Bad Request"), b"x"], ids=["a receipt", "a refusal", "a byte"])
def test_what_comes_between_two_requests_answers_neither(open_clients: Open, late: bytes) -> None:
    go_on, came, requests = threading.Event(), threading.Event(), []

    def serve(connection: socket.socket, number: int) -> None:
        requests.append((number, read_request(connection)))
        connection.sendall(OK)
        if number == 0:
            go_on.wait(30)
            connection.sendall(late)
            came.set()
        read_request(connection)

    with RawServer(serve) as server:
        clients = open_clients(destination(server.url))
        first = send(clients, "one")
        go_on.set()
        came.wait(30)

        second = send(clients, "two")

    assert (first.outcome, second.outcome) == (Outcome.ACKNOWLEDGED, Outcome.ACKNOWLEDGED)
    assert [number for number, _ in requests] == [0, 1]


# --- one connection ----------------------------------------------------------------------------------------------


class Inner(httpcore.NetworkStream):
    """A network that hands on bytes when a test says so."""

    def __init__(self) -> None:
        self.coming = b""
        self.later = b""
        """Comes once `coming` was read."""
        self.sent = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self.coming:
            raise httpcore.ReadError
        data, self.coming, self.later = self.coming, self.later, b""
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.sent += buffer

    def get_extra_info(self, info: str) -> object:
        return bool(self.coming) if info == "is_readable" else None


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def stream(inner: Inner, time: FakeTime) -> Stream:
    return Stream(inner, Deadline(time.clock))


@pytest.mark.parametrize("cut", range(1, len(CHUNKS) + 2))
@pytest.mark.parametrize("end", [b"\r\n", b"Trailer: x\r\n\r\n"], ids=["plain", "trailer"])
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_wherever_the_network_cuts_an_answer_nothing_beyond_its_end_is_handed_on(
    inner: Inner, stream: Stream, cut: int, end: bytes, line_end: bytes
) -> None:
    head, _, chunks = (CHUNKS + end).partition(b"\r\n\r\n")
    answer = head.replace(b"\r\n", line_end) + line_end * 2 + chunks
    stream.write(b"request")
    inner.coming, inner.later = answer[:cut], answer[cut:] + OK
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    reader.send(h11.EndOfMessage())

    while type(event := reader.next_event()) is not h11.EndOfMessage:
        if event is h11.NEED_DATA:
            reader.receive_data(stream.read(65536))

    assert reader.trailing_data == (b"", False)
    assert stream.has_more()


def test_an_answer_that_begins_before_the_request_has_left_whole_is_noticed(inner: Inner, stream: Stream) -> None:
    stream.write(b"head")
    inner.coming = OK

    stream.write(b"body")

    assert (stream.came_early, inner.sent) == (True, b"headbody")
    assert stream.read(1000) == OK[:-3]
    assert stream.get_extra_info("is_readable")


@pytest.mark.parametrize(
    ("early", "is_early"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 103 Hints\r\n", False),
        (b"HTTP/1.1 10", False),
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + OK, True),
        (b"HTTP/1.1 100 Continue\n\n" + OK, True),
        (b"H", True),
    ],
)
def test_an_interim_answer_may_come_before_the_request_has_left_whole(
    inner: Inner, stream: Stream, early: bytes, is_early: bool
) -> None:
    stream.write(b"head")
    inner.coming = early

    stream.write(b"body")

    assert stream.came_early is is_early


def test_an_answer_after_the_request_is_not_early(inner: Inner, stream: Stream) -> None:
    stream.write(b"head")
    stream.write(b"body")
    inner.coming = OK
    stream.read(1000)
    stream.expect(3)
    stream.read(1000)

    assert (stream.came_early, stream.has_more(), stream.get_extra_info("is_readable")) == (False, False, False)


def test_nothing_is_sent_where_something_has_come_already(inner: Inner, stream: Stream) -> None:
    inner.coming = OK

    with pytest.raises(httpcore.ConnectError):
        stream.write(b"head")

    assert inner.sent == b""


def test_a_connection_that_was_idle_too_long_is_not_used_again(stream: Stream, time: FakeTime) -> None:
    """By the clock that counts suspension: httpcore's own does not."""
    assert not stream.get_extra_info("is_readable")

    time.advance(IDLE_SECONDS + 1)

    assert stream.get_extra_info("is_readable")


def test_a_request_does_not_leave_after_its_deadline(inner: Inner, time: FakeTime) -> None:
    """A machine may be suspended between the decision to send and the sending."""
    deadline = Deadline(time.clock)
    stream = Stream(inner, deadline)
    deadline.set(time.clock() + 10)
    time.advance(11)

    with pytest.raises(httpcore.WriteTimeout):
        stream.write(b"head")

    assert inner.sent == b""
