"""Proxies of the environment: which hosts they serve, and what is said of one that can't be used."""

import socket
from collections.abc import Callable

import pytest

from reconciler.customerio.proxy import find_proxy, is_excepted
from reconciler.errors import DestinationError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from tests.fakes.wire import SEGMENT, FakeGate, RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import Clients

pytestmark = pytest.mark.slow

Open = Callable[..., Clients]
TRACK = "https://track.customer.io"
NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def send(clients: Clients) -> BatchResult:
    return clients[0].send(SEGMENT, Batch(Direction.ADD, ("cust_000001",)), FakeGate())


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_is_found_under_each_name(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://us%40er:p%3Ass@proxy.example:3128/")

    proxy = find_proxy(TRACK)

    assert proxy is not None
    assert (proxy.variable, proxy.host, proxy.port) == (variable, "proxy.example", 3128)
    assert proxy.auth == (b"us@er", b"p:ss")
    assert "ss" not in repr(proxy).replace("https", "")


@pytest.mark.parametrize(
    ("named", "used"),
    [
        ({"HTTPS_PROXY": "http://a", "ALL_PROXY": "http://b"}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://a", "https_proxy": "http://b"}, "https_proxy"),
        ({"HTTP_PROXY": "http://a"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://b"}, "ALL_PROXY"),
        ({"HTTPS_PROXY": "bare.host"}, "HTTPS_PROXY"),
    ],
)
def test_which_variable_counts(monkeypatch: pytest.MonkeyPatch, named: dict[str, str], used: str | None) -> None:
    for name, value in named.items():
        monkeypatch.setenv(name, value)

    proxy = find_proxy(TRACK)

    assert (proxy and proxy.variable) == used


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "x.localhost", "127.0.0.1", "127.0.0.2", "[::1]", "[0:0:0:0:0:0:0:1]",
     "[::ffff:127.0.0.1]", "2130706433"],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str, host: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "not even : a URL")

    assert find_proxy(f"{scheme}://{host}:8025/cio") is None


@pytest.mark.parametrize(
    "text",
    ["*", "track.customer.io", "customer.io", ".customer.io", "*.customer.io", "CUSTOMER.IO", "track.customer.io:443",
     " a.b , customer.io ,", "a.b customer.io", "https://track.customer.io", "x,,*"],
)  # fmt: skip
def test_no_proxy_excepts_a_host(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    monkeypatch.setenv("NO_PROXY", text)

    assert find_proxy(TRACK) is None


@pytest.mark.parametrize(
    "text",
    ["", ",", " ", "*x", "omer.io", "api.customer.io", "track.customer.io:80", "::1", "[::1]:80", "[", "]", "[::1",
     "10.0.0.0/8", "10.0.0.0/99", "/", "//", "://", "http://", "żółw", "\udcff", "\u2028", "%", "?", "#", "@", ":",
     "a:b:c", "user:pass@host", "...", "*.", "**", "999.999.999.999", "-", "\\", "ａ", "x" * 5000],
)  # fmt: skip
def test_an_odd_entry_of_no_proxy_excepts_nobody_and_stops_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    monkeypatch.setenv("NO_PROXY", text)

    proxy = find_proxy(TRACK)

    assert proxy is not None
    assert proxy.host == "proxy.example"


@pytest.mark.parametrize(
    ("host", "text", "expected"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("fd00::7", "fd00::/8", True),
        ("fd00::7", "[fd00::]/8", True),
        ("fd00::7", "[fe80::]/10", False),
        ("fd00::7", "[fd00::7]", True),
        ("fd00::7", "[fd00::7]:443", True),
        ("fd00::7", "[fd00::7]:80", False),
        ("fd00::7", "fd00:0::7", True),
        ("fd00::7", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_knows_addresses_and_networks(host: str, text: str, expected: bool) -> None:
    assert is_excepted(host, None, text) is expected


@pytest.mark.parametrize(
    "value",
    ["http://user:hun@ter2@proxy", "http://user:hun/ter2@proxy", "http://user:hun?ter2@proxy", "http://user:hun#ter2@proxy",
     "ftp://user:hunter2@proxy", "foo://user:hunter2@host", "http://user:hunter2@", "http://", "://", "http://host:port",
     "http://host:99999", "http://[::1", "http://user:hunter2@a..b", "http://ho st", "http://host/hunter2",
     "socks5://user:hunter2@host"],
)  # fmt: skip
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_variable_that_can_not_be_used_is_named_and_nothing_of_it_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(DestinationError) as caught:
        find_proxy(TRACK)

    said = caught.value.message + caught.value.hint
    assert variable in caught.value.message
    assert "ter2" not in said
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# --- what a proxy does ---------------------------------------------------------------------------------------------


def always(answer: bytes) -> Callable[[socket.socket, int], None]:
    def serve(connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(answer)

    return serve


PAGE = reply("502 Bad Gateway", b"<html>hunter2", "Content-Type: text/html")


@pytest.mark.parametrize(
    ("answer", "outcome", "attempts", "words"),
    [
        (reply("407 Proxy Authentication Required"), Outcome.STOPPED, 1, "the proxy asks for other credentials (407)"),
        (reply("403 Forbidden", b"<html>hunter2"), Outcome.STOPPED, 1, "the proxy refuses to connect (403)"),
        (reply("404 Not Found"), Outcome.STOPPED, 1, "the proxy refuses to connect (404)"),
        (reply("429 Too Many Requests"), Outcome.REFUSED, 5, "the proxy refuses to connect (429)"),
        (PAGE, Outcome.REFUSED, 5, "the proxy refuses to connect (502)"),
        (reply("302 Found", b"", "Location: https://login/?t=hunter2"), Outcome.REFUSED, 5, "refuses to connect (302)"),
    ],
)
def test_what_a_proxy_refuses_is_told_as_the_proxys_and_was_not_applied(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch, answer: bytes, outcome: Outcome, attempts: int, words: str
) -> None:
    with RawServer(always(answer)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        got = send(open_clients(destination()))

    assert (got.outcome, got.attempts, got.unknown_at) == (outcome, attempts, None)
    assert words in got.message
    assert "HTTPS_PROXY" in got.hint
    assert "NO_PROXY" in got.hint
    assert "hunter2" not in got.message + got.hint


def test_a_proxy_where_nobody_listens_is_told_as_the_proxys(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")

    got = send(open_clients(destination()))

    assert (got.outcome, got.unknown_at) == (Outcome.REFUSED, None)
    assert "the proxy does not connect (Connection refused)" in got.message
    assert "https_proxy" in got.hint


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2"], ids=["closed", "other protocol", "cut"]
)
def test_a_proxy_that_never_opens_a_tunnel_leaves_no_doubt(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """No byte of the request has left, so nothing was applied."""
    with RawServer(always(answer)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        got = send(open_clients(destination()))

    assert (got.outcome, got.unknown_at) == (Outcome.REFUSED, None)
    assert "the proxy: the connection was closed without a whole answer" in got.message
    assert "HTTPS_PROXY" in got.hint


def test_a_proxy_is_asked_for_a_tunnel_and_never_gets_the_keys(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def serve(connection: socket.socket, number: int) -> None:
        asked.append(read_request(connection))
        connection.sendall(reply("200 OK") + b"leftovers")
        asked.append(connection.recv(65536))

    with RawServer(serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        got = send(open_clients(destination()))

    assert (got.outcome, got.attempts, proxy.connections) == (Outcome.REFUSED, 5, 5)
    assert "no connection was free" not in got.message
    assert asked[0].startswith(b"CONNECT track.customer.io:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic" in asked[0]
    assert not any(b"\r\nAuthorization" in text or b"cust_" in text for text in asked)
