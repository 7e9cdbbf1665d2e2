"""What a server can do to a connection, over real sockets."""

import gzip
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import httpx
import pytest

from reconciler.customerio.connection import open_client
from reconciler.customerio.network import IDLE_SECONDS, Deadline, Resolver
from reconciler.customerio.outcomes import CallResult
from reconciler.customerio.proxy import find_proxy
from reconciler.customerio.retry import parse_retry_after
from reconciler.customerio.transport import Call, Transport
from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from tests.fakes.wire import (
    APP_KEY,
    KEY,
    SEGMENT,
    SITE,
    FakeGate,
    FakeTime,
    RawServer,
    destination,
    read_request,
    reply,
)
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]
IDS = ("cust_000001", "cust_000002")
BATCH = Batch(Direction.ADD, IDS)
OK = reply("200 OK", b"{}\n")
CLOSES = "Connection: close"
"""Else the client may meet the end of the connection as it sends again."""


def always(answer: bytes) -> Callable[[socket.socket, int], None]:
    """Answer every request of a connection so."""

    def serve(connection: socket.socket, number: int) -> None:
        while read_request(connection):
            connection.sendall(answer)

    return serve


def in_turn(*answers: bytes | None) -> Callable[[socket.socket, int], None]:
    """Answer each connection's one request so, and close; None: close without an answer."""

    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answers[number] or b"")

    return serve


def send(clients: Clients, gate: FakeGate | None = None) -> BatchResult:
    return clients[0].send(SEGMENT, BATCH, gate or FakeGate())


def test_one_connection_serves_many_requests(open_clients: Open) -> None:
    with RawServer(always(OK)) as server:
        clients = open_clients(destination(server.url))

        for _ in range(5):
            assert send(clients).outcome is Outcome.ACKNOWLEDGED

        assert server.connections == 1


def test_a_connection_lost_after_sending_is_unknown_and_the_retry_is_acknowledged(open_clients: Open) -> None:
    with RawServer(in_turn(None, OK)) as server:
        answer = send(open_clients(destination(server.url)))

    assert (answer.outcome, answer.attempts) == (Outcome.ACKNOWLEDGED, 2)
    assert answer.unknown_at is not None


def test_a_connection_lost_each_time_is_unknown(open_clients: Open) -> None:
    with RawServer(in_turn(*[None] * 5)) as server:
        answer = send(open_clients(destination(server.url)))

    assert (answer.outcome, answer.attempts) == (Outcome.UNKNOWN, 5)
    assert "closed without a whole answer" in answer.message


@pytest.mark.parametrize(
    "garbage",
    [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n", b"\x00" * 100, b"x" * 300_000],
    ids=["other protocol", "cut status line", "broken header", "zeros", "endless"],
)
def test_what_is_not_an_answer_is_unknown_and_never_shown(open_clients: Open, garbage: bytes) -> None:
    with RawServer(in_turn(*[garbage] * 5)) as server:
        answer = send(open_clients(destination(server.url)))

    assert (answer.outcome, answer.attempts) == (Outcome.UNKNOWN, 5)
    assert "SSH" not in answer.message


def test_nobody_listens_is_refused_and_nothing_is_unknown(open_clients: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    answer = send(open_clients(destination(f"http://127.0.0.1:{port}")))

    assert (answer.outcome, answer.attempts, answer.unknown_at) == (Outcome.REFUSED, 5, None)
    assert "Connection refused" in answer.message
    assert "5 attempts" in answer.message


def test_a_connection_that_was_never_made_costs_no_permit(open_clients: Open, time: FakeTime) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    send(open_clients(destination(f"http://127.0.0.1:{port}", rate_limit=0.01)))

    assert sum(time.waits) < 10


class Recorder:
    """A limiter and its only permit, which notes when a request leaves."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @property
    def has_begun(self) -> bool:
        return "begin" in self.events

    def take(self) -> "Recorder":
        return self

    def begin(self) -> None:
        self.events.append("begin")

    def end(self) -> None:
        self.events.append("end")

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: object) -> None:
        pass


def attempt_once(base: str, time: FakeTime) -> tuple[CallResult, list[str]]:
    """Make one attempt over a real connection."""
    recorder, deadline, tls, proxy = Recorder(), Deadline(time.clock), httpx.create_ssl_context(), find_proxy(base)
    transport = Transport(
        base,
        lambda: open_client({}, tls, deadline, proxy, Resolver()),
        recorder,  # type: ignore[arg-type]
        deadline,
        concurrency=1,
        wait=lambda seconds: True,
        clock=time.clock,
        wall=time.wall,
        chance=lambda: 0.5,
        is_proxied=proxy is not None,
    )
    with closing(transport):
        return transport.call(Call("POST", "/x", content=b"{}"), timeout=10), recorder.events


def test_a_request_is_told_when_it_begins_to_leave_when_it_has_left_and_when_it_is_answered(time: FakeTime) -> None:
    with RawServer(in_turn(OK)) as server:
        assert attempt_once(server.url, time)[1] == ["begin", "end", "end"]


def test_a_request_that_is_never_answered_has_left_all_the_same(time: FakeTime) -> None:
    with RawServer(in_turn(None)) as server:
        assert attempt_once(server.url, time)[1] == ["begin", "end"]


def test_what_a_proxy_refuses_has_not_left(time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(in_turn(reply("403 Forbidden"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        result, events = attempt_once("https://track.customer.io", time)

    assert (result.outcome, result.last.failure) == (Outcome.STOPPED, "the proxy refuses to connect (403)")
    assert events == []


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        reply("204 No Content"),
        reply("200 OK", b""),
        reply("200 OK", b" \r\n"),
        reply("200 OK", b'{"a field of tomorrow": 1}', "Content-Type: application/json"),
        reply("200 OK", b'{"meta": {"errors": []}, "error": null}'),
        reply("200 OK", b"{}", "Content-Type: text/html"),
        reply("200 OK", gzip.compress(b"{}\n"), "Content-Encoding: gzip"),
        reply("200 OK", gzip.compress(b""), "Content-Encoding: GZip "),
        reply("200 OK", b"", "Content-Encoding: br, zstd", "Content-Type: application/json"),
    ],
    ids=[
        "json",
        "no content",
        "empty",
        "blank",
        "more json",
        "no errors",
        "mislabelled",
        "gzip",
        "packed nothing",
        "other encodings of nothing",
    ],
)
def test_a_receipt_of_customerio_is_an_object_or_nothing(open_clients: Open, answer: bytes) -> None:
    with RawServer(in_turn(answer)) as server:
        got = send(open_clients(destination(server.url)))

    assert got == BatchResult(Outcome.ACKNOWLEDGED, 1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply("200 OK", b"<!DOCTYPE html><title>Sign in"), "a web page"),
        (reply("200 OK", b"\xef\xbb\xbf \n<html>"), "a web page"),
        (reply("200 OK", b"", "Content-Type: text/html; charset=utf-8"), "a web page"),
        (reply("200 OK", gzip.compress(b""), "Content-Type: TEXT/HTML", "Content-Encoding: gzip"), "a web page"),
        (reply("200 OK", gzip.compress(b"<html>Sign in"), "Content-Encoding: gzip"), "a web page"),
        (reply("200 OK", gzip.compress(b'{"meta":{"errors":["not manual"]}}'), "Content-Encoding: gzip"), "an error"),
        (reply("200 OK", gzip.compress(b"{" + b" " * 99_999 + b"}"), "Content-Encoding: gzip"), "larger than"),
        (reply("200 OK", b"nobody unpacks it", "Content-Encoding: br, zstd"), "an encoding that was not asked for"),
        (reply("200 OK", b"OK"), "not JSON"),
        (reply("200 OK", b'{"error": "sign in first"}'), "an error"),
        (reply("200 OK", b'{"meta": {"errors": ["no such segment"]}}'), "an error"),
        (reply("200 OK", b"[]"), "not a JSON object"),
        (reply("200 OK", b"{" + b" " * 1_000_000 + b"}"), "larger than"),
    ],
    ids=[
        "page",
        "page after a mark",
        "empty page",
        "empty packed page",
        "packed page",
        "packed error",
        "packed bomb",
        "other encodings",
        "text",
        "error",
        "errors",
        "list",
        "large",
    ],
)
def test_a_200_that_customerio_does_not_give_is_unknown_and_ends_the_segment(
    open_clients: Open, answer: bytes, words: str
) -> None:
    with RawServer(in_turn(answer)) as server:
        got = send(open_clients(destination(server.url)))

    assert (got.outcome, got.attempts) == (Outcome.STOPPED, 1)
    assert got.unknown_at is not None
    assert "is not the Track API" in got.message
    assert words in got.message
    assert "destination.track_url" in got.hint


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n",
        reply("200 OK", gzip.compress(b"{}\n")[:-9], "Content-Encoding: gzip", CLOSES),
        reply("200 OK", b"{}\n", "Content-Encoding: gzip", CLOSES),
    ],
    ids=["cut", "broken chunk", "cut chunks", "cut gzip", "no gzip"],
)
def test_a_200_that_does_not_come_whole_is_unknown_and_tried_again(open_clients: Open, answer: bytes) -> None:
    with RawServer(in_turn(answer, OK)) as server:
        got = send(open_clients(destination(server.url)))

    assert (got.outcome, got.attempts) == (Outcome.ACKNOWLEDGED, 2)
    assert got.unknown_at is not None


def test_an_error_whose_body_is_cut_is_that_error_and_shows_no_half_of_an_id(open_clients: Open) -> None:
    cut = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nodd: cust_0000"
    with RawServer(in_turn(cut)) as server:
        answer = send(open_clients(destination(server.url)))

    assert answer.outcome is Outcome.BAD_REQUEST
    assert "cust" not in answer.message


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nX: "], ids=["silent", "head"])
def test_a_server_that_trickles_its_head_is_given_up_at_the_deadline(
    open_clients: Open, time: FakeTime, head: bytes
) -> None:
    """The clock passes the deadline while the head trickles; only then would a patient client get the rest."""

    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        time.advance(11)
        connection.sendall(head or b"H")
        connection.settimeout(5)
        try:
            gone = connection.recv(1) == b""
        except TimeoutError:
            gone = False
        if not gone:
            connection.sendall((head and b"\r\n\r\n") or b"TTP/1.1 200 OK\r\n\r\n")

    with RawServer(serve) as server:
        answer = send(open_clients(destination(server.url)))

    assert answer.outcome is Outcome.UNKNOWN
    assert "no answer in time" in answer.message


def test_a_page_that_trickles_its_body_is_given_up_at_the_deadline(open_clients: Open, time: FakeTime) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        time.advance(11)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"segments"')
        connection.settimeout(5)
        try:
            connection.recv(1)
        except TimeoutError:
            connection.sendall(b":null}       ")

    with RawServer(serve) as server:
        _, app = open_clients(destination(server.url))
        with pytest.raises(DestinationError, match="time"):
            app.segments()


def test_an_attempt_has_the_whole_time_again(open_clients: Open, time: FakeTime) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        if number == 0:
            time.advance(11)
        else:
            connection.sendall(OK)

    with RawServer(serve) as server:
        answer = send(open_clients(destination(server.url)))

    assert (answer.outcome, answer.attempts) == (Outcome.ACKNOWLEDGED, 2)


def test_a_proxy_that_trickles_is_given_up_at_the_deadline(
    open_clients: Open, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        time.advance(11)
        connection.sendall(b"HTTP/1.1 100 Go on\r\n\r\n")
        connection.settimeout(5)
        connection.recv(1)

    with RawServer(serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        answer = send(open_clients(destination(None)))

    assert (answer.outcome, answer.unknown_at) == (Outcome.REFUSED, None)
    assert "the proxy: no answer in time" in answer.message


def test_endless_interim_answers_are_given_up_at_the_deadline(open_clients: Open, time: FakeTime) -> None:
    """There is always something to read: no read ever times out."""

    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        time.advance(11)
        connection.sendall(b"HTTP/1.1 100 Go on\r\n\r\n" * 10_000 + OK)
        connection.settimeout(5)
        connection.recv(1)

    with RawServer(serve) as server:
        answer = send(open_clients(destination(server.url)))

    assert answer.outcome is Outcome.UNKNOWN
    assert "no answer in time" in answer.message


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with RawServer(always(OK)) as server:
        assert send(open_clients(destination(server.url))).outcome is Outcome.ACKNOWLEDGED


def test_a_page_whose_body_is_cut_is_asked_for_again(open_clients: Open) -> None:
    cut = b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"segments"'
    with RawServer(in_turn(cut, reply("200 OK", b'{"segments":null}'))) as server:
        _, app = open_clients(destination(server.url))

        assert app.segments() == {}


def test_no_more_requests_are_under_way_than_allowed_and_the_others_have_not_been_let_in(open_clients: Open) -> None:
    admitted, answered, most = [0], [0], [0]
    lock, together = threading.Lock(), threading.Barrier(2, timeout=30)

    class Counting(FakeGate):
        def try_start(self, attempt: int) -> bool:
            with lock:
                admitted[0] += 1
                most[0] = max(most[0], admitted[0] - answered[0])
            return True

    def serve(connection: socket.socket, number: int) -> None:
        while read_request(connection):
            together.wait()
            with lock:
                answered[0] += 1
            connection.sendall(OK)

    with RawServer(serve) as server:
        clients = open_clients(destination(server.url, concurrency=2))
        threads = [threading.Thread(target=send, args=(clients, Counting())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert (admitted[0], most[0]) == (8, 2)


def test_the_log_has_method_path_status_and_attempt_and_nothing_else(
    open_clients: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RawServer(in_turn(None, reply("400 Bad Request", b'{"meta":{"errors":["cust_000001 is odd"]}}'))) as server:
        clients = open_clients(destination(server.url))
        send(clients)

    lines = [record.getMessage() for record in caplog.records if record.name == "reconciler.customerio"]
    assert [line.partition(" in ")[0] for line in lines] == [
        "POST /api/v1/segments/56/add_customers: the connection was closed without a whole answer",
        "POST /api/v1/segments/56/add_customers: 400",
    ]
    assert lines[1].endswith("(attempt 2)")
    everything = caplog.text + repr(clients)
    assert not any(text in everything for text in (*IDS, SITE, KEY, APP_KEY))


def test_an_idle_connection_is_kept_less_long_than_servers_do() -> None:
    assert IDLE_SECONDS <= 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2026 07:28:00", 60.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 40, None),
        ("٣", None),
        ("Wed, 99 Xxx 2026 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_or_nothing(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, now=1792567620.0) == seconds
