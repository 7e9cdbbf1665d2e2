"""The same rules inside TLS, which sends messages of its own."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from tests.fakes.wire import SEGMENT, FakeGate, RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import CERTIFICATE, Clients

Open = Callable[..., Clients]
Serve = Callable[[socket.socket, int], None]
OK = reply("200 OK", b"{}\n")


def over_tls(serve: Serve) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def wrapped(connection: socket.socket, number: int) -> None:
        with context.wrap_socket(connection, server_side=True) as inside:
            serve(inside, number)

    return wrapped


def always(answer: bytes) -> Serve:
    def serve(connection: socket.socket, number: int) -> None:
        while read_request(connection):
            connection.sendall(answer)

    return serve


def tunnel_to(port: int) -> Serve:
    """A proxy that leads every CONNECT to one port of this machine."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # either side may close first
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        with socket.create_connection(("127.0.0.1", port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
            back.start()
            pump(connection, onward)
            back.join()

    return serve


def send(clients: Clients, *ids: str) -> BatchResult:
    return clients[0].send(SEGMENT, Batch(Direction.ADD, ids), FakeGate())


def test_a_connection_is_kept_although_tls_talks_between_the_requests(open_clients: Open) -> None:
    """TLS 1.3 sends tickets after the handshake: the socket can be read, and nothing of an answer is in it."""
    with RawServer(over_tls(always(OK))) as server:
        clients = open_clients(destination(f"https://localhost:{server.port}"))

        answers = [send(clients, *("x" * 140 + str(number) for number in range(size))) for size in (1, 1000, 1)]

    assert [(answer.outcome, answer.attempts) for answer in answers] == [(Outcome.ACKNOWLEDGED, 1)] * 3
    assert server.connections == 1


def test_an_answer_given_twice_is_unknown(open_clients: Open) -> None:
    with RawServer(over_tls(always(OK + OK))) as server:
        answer = send(open_clients(destination(f"https://localhost:{server.port}")), "one")

    assert (answer.outcome, server.connections) == (Outcome.UNKNOWN, 5)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_tunnel_through_a_proxy_is_kept_too(open_clients: Open, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with RawServer(over_tls(always(OK))) as server:
        tunnel = tunnel_to(server.port)
        with RawServer(over_tls(tunnel) if scheme == "https" else tunnel) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://localhost:{proxy.port}")
            clients = open_clients(destination())

            answers = [send(clients, "one") for _ in range(3)]
            made = (proxy.connections, server.connections)
            clients[0].transport.close()

    assert [(answer.outcome, answer.attempts) for answer in answers] == [(Outcome.ACKNOWLEDGED, 1)] * 3
    assert made == (1, 1)


def test_a_certificate_that_is_not_trusted_ends_it_and_nothing_was_sent(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with RawServer(over_tls(always(OK))) as server:
        answer = send(open_clients(destination(f"https://localhost:{server.port}")), "one")

    assert (answer.outcome, answer.attempts, answer.unknown_at) == (Outcome.STOPPED, 1, None)
    assert "SSL_CERT_FILE" in answer.hint
