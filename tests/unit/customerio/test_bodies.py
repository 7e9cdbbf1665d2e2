"""Bodies in encodings: at most one layer is undone, within bounds."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from reconciler.customerio import transport
from reconciler.errors import DestinationError
from tests.fakes.wire import RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import Clients

Open = Callable[..., Clients]
SEGMENTS = b'{"segments":[{"id":56,"name":"VIP","type":"manual"}]}'
MEGABYTE = 1 << 20


def bomb(size: int, layers: int) -> bytes:
    packed = b"\0" * size
    for _ in range(layers):
        packed = gzip.compress(packed)
    return packed


def ask(open_clients: Open, answer: bytes) -> object:
    def serve(connection: object, number: int) -> None:
        while read_request(connection):  # type: ignore[arg-type]
            connection.sendall(answer)  # type: ignore[attr-defined]

    with RawServer(serve) as server:
        return open_clients(destination(server.url))[1].segments()


@pytest.mark.parametrize("encoding", ["gzip", "GZip ", "identity", ""])
def test_one_layer_of_gzip_is_undone(open_clients: Open, encoding: str) -> None:
    body = gzip.compress(SEGMENTS) if "zip" in encoding.lower() else SEGMENTS

    found = ask(open_clients, reply("200 OK", body, *([f"Content-Encoding: {encoding}"] if encoding else [])))

    assert [*found] == [56]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(SEGMENTS)), "an encoding that was not asked for"),
        ("gzip, identity", gzip.compress(SEGMENTS), "an encoding that was not asked for"),
        ("br", SEGMENTS, "an encoding that was not asked for"),
        ("zstd", SEGMENTS, "an encoding that was not asked for"),
        ("deflate", zlib.compress(SEGMENTS), "an encoding that was not asked for"),
        ("gzip", gzip.compress(SEGMENTS)[:-9], "can't be decompressed"),
        ("gzip", gzip.compress(SEGMENTS) + gzip.compress(SEGMENTS), "can't be decompressed"),
        ("gzip", SEGMENTS, "can't be decompressed"),
        ("gzip", gzip.compress(gzip.compress(SEGMENTS)), "not JSON"),
    ],
    ids=["two layers", "a list", "br", "zstd", "deflate", "cut", "two members", "no gzip", "an untold layer"],
)
def test_any_other_encoding_is_an_error(open_clients: Open, encoding: str, body: bytes, words: str) -> None:
    with pytest.raises(DestinationError, match=words):
        ask(open_clients, reply("200 OK", body, f"Content-Encoding: {encoding}"))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "503 Busy"])
def test_what_unpacks_to_much_more_takes_little_memory(
    open_clients: Open, monkeypatch: pytest.MonkeyPatch, layers: int, status: str
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", MEGABYTE)
    answer = reply(status, bomb(64 * MEGABYTE, layers), f"Content-Encoding: {', '.join(['gzip'] * layers)}")
    tracemalloc.start()

    with pytest.raises(DestinationError):
        ask(open_clients, answer)

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 * MEGABYTE
