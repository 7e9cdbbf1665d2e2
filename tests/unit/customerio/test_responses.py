"""Answers: their words reach people without ids, secrets and control characters; bodies are decoded within bounds."""

import gzip
import html
import json
import tracemalloc
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.customerio import transport
from reconciler.customerio.responses import MAX_WORDS, error_text
from reconciler.errors import DestinationError
from reconciler.escaping import MASK, mask, one_line
from tests.fakes.wire import RawServer, destination, read_request, reply
from tests.unit.customerio.conftest import Clients


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"meta":{"errors":["too long","too odd"]}}', "too long; too odd"),
        (b'{\n  "meta": {\n    "errors": [\n      "too long"\n    ]\n  }\n}\n', "too long"),
        (b'{"meta":{"error":"too long"}}', "too long"),
        (b'{"errors":[{"detail":"wrong datacenter","status":"301"}]}', "wrong datacenter"),
        (b'{"errors":[{"reason":"invalid","field":"ids","message":"bad"}]}', "invalid; bad"),
        (b'{"errors":["one"]}', "one"),
        (b'{"error":"one"}', "one"),
        (b'"one"', "one"),
        (b"plain text\n", "plain text"),
        (b"<html><body>502</body></html>", "(a web page)"),
        (b"\xff\xfe", "��"),
        (b"", ""),
        (b"{}", ""),
        (b"null", ""),
        (b"[1,2,null]", ""),
        (b'{"meta":{"errors":null},"errors":{"detail":7}}', ""),
    ],
)
def test_words_are_found_in_every_known_shape(body: bytes, words: str) -> None:
    assert error_text(body) == words


def test_nesting_without_end_is_plain_text() -> None:
    assert len(error_text(b"[" * 60_000)) == MAX_WORDS
    assert len(error_text(b"[" * 1000 + b"]" * 1000)) == MAX_WORDS


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_body_gives_one_short_line(body: bytes) -> None:
    words = error_text(body)

    assert len(words) <= MAX_WORDS
    assert words.isprintable()


@pytest.mark.parametrize("write", [str, quote, lambda x: quote(x, safe=""), html.escape, str.upper, json.dumps])
@pytest.mark.parametrize("id", ["ann+b@example.com", 'a"b&c', "cust_000001", "żółw-1"])
def test_an_id_is_masked_however_it_is_written(write: object, id: str) -> None:
    text = f"value {write(id)} is bad"  # type: ignore[operator]

    masked = mask(text, [id])

    assert MASK in masked
    assert id.casefold() not in masked.casefold()
    assert "example" not in masked


def test_a_short_id_is_masked_only_as_a_word() -> None:
    assert mask("id 5 of 1500 is bad, see 5.", ["5"]) == "id *** of 1500 is bad, see ***."


def test_an_id_that_contains_another_is_masked_whole() -> None:
    assert mask("cust_1234 and cust_12345", ["cust_1234", "cust_12345"]) == "*** and ***"


def test_an_id_at_the_cut_is_masked_before_it_is_cut() -> None:
    id = "x" * 100

    words = error_text(("a " * 140 + id).encode(), [id])

    assert "x" not in words


@settings(deadline=None)
@given(
    ids=st.lists(st.text("abcxyz019@.-_", min_size=4, max_size=40), min_size=1, max_size=20),
    around=st.text(max_size=50),
    wrap=st.booleans(),
)
def test_no_id_of_the_batch_survives(ids: list[str], around: str, wrap: bool) -> None:
    text = around.join(ids)
    body = json.dumps({"meta": {"errors": [text]}}).encode() if wrap else text.encode("utf-8", "replace")

    words = error_text(body, ids)

    clean = error_text(json.dumps({"meta": {"errors": [around]}}).encode())
    assert not any(id in words and id not in clean for id in ids)


def test_control_and_bidirectional_characters_become_spaces() -> None:
    assert one_line("a\x1b[31mb\u202ec\u2028d\te", 300) == "a [31mb c d e"


def test_numbers_and_unknown_keys_are_not_repeated() -> None:
    assert error_text(b'{"errors":[{"status":404,"ids":["5"]}]}') == ""


# --- Bodies in encodings: at most one layer is undone, within bounds

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


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("size", "is_told"), [(60_000, True), (70_000, False)])
def test_the_words_of_an_error_are_bounded_also_where_the_answer_is_needed(
    open_clients: Open, packed: bool, size: int, is_told: bool
) -> None:
    body = json.dumps({"errors": [{"detail": "not with this key"}], "more": " " * size}).encode()
    sent, headers = (gzip.compress(body), ["Content-Encoding: gzip"]) if packed else (body, [])

    with pytest.raises(DestinationError, match="403") as caught:
        ask(open_clients, reply("403 Forbidden", sent, *headers))

    assert ("not with this key" in caught.value.message) is is_told


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
