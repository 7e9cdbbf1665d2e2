"""From the answers of the two APIs to values, and to words for people. Nothing is trusted: a body may be anything."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from reconciler.errors import DestinationError, IncompleteRead
from reconciler.escaping import mask, one_line
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment, UsedBy

PROXY_HINT = (
    "check destination.track_url and destination.app_url, and whether a proxy, a firewall or a login page of the "
    "network answers in the place of Customer.io"
)
READ_AGAIN = "nothing was computed from it; run again later"

PLAIN_ENCODINGS = ("", "identity")
"""Content encodings that leave a body as it is."""

GZIP = 31
"""The window size by which zlib reads a gzip header."""

MAX_WORDS = 300
"""Longest text that is repeated, in characters."""


class BodyError(Exception):
    """A body that can't be used, in words without any of it.

    `is_foreign`: Customer.io gives no such body; else it may be whole at another try.
    """

    def __init__(self, words: str, *, is_foreign: bool = True) -> None:
        super().__init__(words)
        self.is_foreign = is_foreign


def decode_body(encoding: str, raw: bytes, most: int, *, is_gzip_asked: bool) -> bytes:
    """Undo one layer of gzip, up to `most` bytes, or none. Raises BodyError for anything else."""
    encoding = encoding.strip().lower()
    if encoding in PLAIN_ENCODINGS:
        return raw
    if encoding != "gzip" or not is_gzip_asked:
        raise BodyError("the answer has an encoding that was not asked for")
    gzip = zlib.decompressobj(GZIP)
    try:
        body = gzip.decompress(raw, most + 1)
    except zlib.error:
        raise BodyError("the answer can't be decompressed", is_foreign=False) from None
    if len(body) > most:
        raise BodyError(f"the answer is larger than {most:,} bytes")
    if not gzip.eof or gzip.unused_data:
        raise BodyError("the answer can't be decompressed", is_foreign=False)
    return body


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Return whether a body is a web page. Customer.io's APIs send none."""
    return "html" in headers.get("content-type", "").lower() or looks_like_page(body)


def looks_like_page(body: bytes) -> bool:
    """Return whether a body begins as HTML or XML does."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def check_receipt(headers: Mapping[str, str], raw: bytes) -> None:
    """Check a 2xx to a write: Customer.io sends a JSON object without errors, or nothing. Raises BodyError.

    A body in an encoding is not decoded: none was asked for, and nothing in it is needed.
    """
    if headers.get("content-encoding", "").strip().lower() not in PLAIN_ENCODINGS or not raw.strip():
        if "html" in headers.get("content-type", "").lower():
            raise BodyError("it answers with a web page")
        return
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BodyError(f"it answers with {'a web page' if looks_like_page(raw) else 'what is not JSON'}") from None
    if not isinstance(document, dict):
        raise BodyError("it answers with what is not a JSON object")
    parts = [part for part in (document, document.get("meta")) if isinstance(part, dict)]
    if any(part.get(key) for part in parts for key in ("errors", "error")):
        raise BodyError("it answers with an error in spite of its status")


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body that must be a JSON object. Raises DestinationError."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _nonsense("it is a web page" if looks_like_page(body) else "it is not JSON") from None
    if not isinstance(document, dict):
        raise _nonsense("it is not an object")
    return document


def parse_region(body: bytes) -> tuple[str, int | None]:
    """Parse `GET /api/v1/accounts/region`: the account's region and environment. Raises DestinationError."""
    document = parse_object(body)
    region, environment = document.get("region"), document.get("environment_id")
    if region not in ("us", "eu"):
        raise _nonsense("it names no region that exists")
    if environment is not None and not _is_whole(environment):
        raise _nonsense("environment_id is not a whole number")
    return region, environment


def parse_segments(body: bytes) -> dict[int, RemoteSegment]:
    """Parse `GET /v1/segments`; null is an empty list, as Customer.io writes it. Raises DestinationError."""
    items = parse_object(body).get("segments", False)
    if items is not None and not isinstance(items, list):
        raise _nonsense("segments is missing")
    segments = {}
    for item in items or []:
        if not isinstance(item, dict) or not _is_whole(item.get("id")) or not isinstance(item.get("type"), str):
            raise _nonsense("a segment without id or type")
        number, title = item["id"], item.get("name")
        title = one_line(title, MAX_WORDS) if isinstance(title, str) else ""
        segments[number] = RemoteSegment(number, title, item["type"] == "manual")
    return segments


def parse_used_by(body: bytes) -> UsedBy:
    """Parse `GET /v1/segments/{id}/used_by`; null is an empty list. Raises DestinationError."""
    document = parse_object(body).get("used_by")
    if not isinstance(document, dict):
        raise _nonsense("used_by is missing")
    uses = []
    for kind in ("campaigns", "sent_newsletters", "draft_newsletters"):
        numbers = document.get(kind)
        if numbers is not None and not (isinstance(numbers, list) and all(_is_whole(number) for number in numbers)):
            raise _nonsense("used_by is not made of numbers")
        uses.append(tuple(numbers or ()))
    return UsedBy(*uses)


def parse_count(body: bytes) -> int:
    """Parse `GET /v1/segments/{id}/customer_count`. Raises DestinationError."""
    number = parse_object(body).get("count")
    if not isinstance(number, int) or not _is_whole(number) or number < 0:
        raise _nonsense("count is not a number")
    return number


def parse_page(document: Mapping[str, Any], id_type: IdType) -> Page:
    """Return the members of a page of `GET /v1/segments/{id}/membership`, by column.

    `identifiers` is read, never `ids`, where members without an id are empty strings. Raises IncompleteRead where it
    lacks what it must have.
    """
    if "identifiers" not in document:
        raise IncompleteRead("a page of the membership has no `identifiers`", READ_AGAIN)
    items = document["identifiers"] or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise IncompleteRead("a page of the membership is not a list of people", READ_AGAIN)
    if items and not any(id_type in item for item in items):
        if id_type is IdType.EMAIL:
            raise IncompleteRead(
                "this workspace does not use email as an identifier: its members are listed without one",
                "use id_type: id or cio_id for this segment",
            )
        raise IncompleteRead(f"a page of the membership lists nobody's {id_type}", READ_AGAIN)
    cio_ids = [cio_id for cio_id in _column(items, IdType.CIO_ID) if cio_id]
    if len(cio_ids) < len(items):
        raise IncompleteRead("a member is listed without cio_id", READ_AGAIN)
    if id_type is IdType.CIO_ID:
        return Page(cio_ids, cio_ids)
    keys = _column(items, id_type)
    if id_type is IdType.EMAIL:  # A-Z, and nothing else, in lower case: what `bytes.lower` does
        keys = [email and email.encode().lower().decode() for email in keys]
    return Page(cio_ids, keys)


def _column(items: Sequence[Mapping[str, Any]], id_type: IdType) -> list[str | None]:
    """Return the members' identifiers of one type.

    Nearly always all are text: then no value is checked by itself. Numbers occur although the API says string; null
    and "" mean none.
    """
    name = id_type.value
    values = [item.get(name) for item in items]
    if set(map(type, values)) == {str} and all(values):
        return values
    if not all(value is None or isinstance(value, str) or _is_whole(value) for value in values):
        raise IncompleteRead("a member's identifier is neither text nor a whole number", READ_AGAIN)
    return [None if value is None or value == "" else str(value) for value in values]


def parse_next_token(document: Mapping[str, Any]) -> str:
    """Return the token of the next page; absent, null and "" all end the pages. Raises IncompleteRead."""
    token = document.get("next")
    if token is not None and not isinstance(token, str):
        raise IncompleteRead("the token of the next page is not text", READ_AGAIN)
    return token or ""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _nonsense(why: str) -> DestinationError:
    return DestinationError(f"the answer is not one that Customer.io gives: {why}", PROXY_HINT)


def error_text(body: bytes, hidden: Iterable[str] = ()) -> str:
    """Return what an error's body says, with every text of `hidden` masked; empty if it says nothing.

    Known shapes: meta.errors, meta.error (Track), errors[].detail (App); or plain text.
    """
    try:
        text = "; ".join(_texts(orjson.loads(body)))
    except (orjson.JSONDecodeError, RecursionError):
        text = "(a web page)" if looks_like_page(body) else body.decode("utf-8", "replace").strip()
    return one_line(mask(text, hidden), MAX_WORDS)


def _texts(document: object) -> Iterator[str]:
    """Return the texts under the known keys, at any depth."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, list):
        for item in document:
            yield from _texts(item)
    elif isinstance(document, dict):
        for key in ("meta", "errors", "error", "detail", "reason", "message"):
            yield from _texts(document.get(key))
