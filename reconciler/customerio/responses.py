"""Bodies of answers: decoded within bounds, checked, and turned into values or words for people.

Nothing is trusted: a body may be anything.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import orjson

from reconciler.errors import DestinationError, IncompleteRead
from reconciler.escaping import mask, one_line
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType

PROXY_HINT = (
    "check destination.track_url and destination.app_url, and whether a proxy, a firewall or a login page of the "
    "network answers in the place of Customer.io"
)
READ_AGAIN = "nothing was computed from it; run again later"

PLAIN_ENCODINGS = ("", "identity")
"""Content encodings that leave a body as it is."""

MAX_ERROR_BODY = 64 * 1024
"""Most bytes read of an answer that is not needed, as it is sent and as it is decoded."""

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


def is_page(body: bytes, content_type: str = "") -> bool:
    """Return whether a body is a web page, or XML. Customer.io's APIs send none."""
    return "html" in content_type.lower() or body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def check_receipt(headers: Mapping[str, str], raw: bytes) -> None:
    """Check a 2xx to a write: Customer.io sends a JSON object without errors, or nothing. Raises BodyError.

    No encoding is asked for; a proxy between may add gzip all the same.
    """
    body = raw.strip() and decode_body(headers.get("content-encoding", ""), raw, MAX_ERROR_BODY, is_gzip_asked=True)
    if not body.strip():
        if "html" in headers.get("content-type", "").lower():
            raise BodyError("it answers with a web page")
        return
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BodyError(f"it answers with {'a web page' if is_page(body) else 'what is not JSON'}") from None
    if not isinstance(document, dict):
        raise BodyError("it answers with what is not a JSON object")
    if has_any(document, "errors", "error"):
        raise BodyError("it answers with an error in spite of its status")


def has_any(document: Mapping[str, Any], *keys: str) -> bool:
    """Return whether an object says anything under one of some keys, or its `meta` does."""
    parts = [part for part in (document, document.get("meta")) if isinstance(part, dict)]
    return any(part.get(key) for part in parts for key in keys)


def unexpected_answer(why: str) -> DestinationError:
    """Make the error about a 2xx with a body that is not one of Customer.io's."""
    return DestinationError(f"the answer is not one that Customer.io gives: {why}", PROXY_HINT)


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value of a JSON document is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse the body of a 2xx that must be a JSON object without errors. Raises DestinationError."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise unexpected_answer("it is a web page" if is_page(body) else "it is not JSON") from None
    if not isinstance(document, dict):
        raise unexpected_answer("it is not an object")
    if has_any(document, "errors", "error"):  # what else it says may be all that the error has left of the truth
        raise unexpected_answer("it holds an error in spite of its status")
    return document


def parse_page(document: Mapping[str, Any], id_type: IdType) -> Page:
    """Return the members of a page of a membership, by column. Raises IncompleteRead where it lacks what it must have.

    `identifiers` is read, never `ids`, where members without an id are empty strings.
    """
    if "identifiers" not in document:
        raise IncompleteRead("a page of the membership has no `identifiers`", READ_AGAIN)
    items = [] if document["identifiers"] is None else document["identifiers"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise IncompleteRead("a page of the membership is not a list of people", READ_AGAIN)
    if document.get("ids") and not items:
        raise IncompleteRead("a page of the membership has `ids` and no `identifiers`", READ_AGAIN)
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
    if not all(value is None or isinstance(value, str) or is_whole(value) for value in values):
        raise IncompleteRead("a member's identifier is neither text nor a whole number", READ_AGAIN)
    return [None if value is None or value == "" else str(value) for value in values]


def error_text(body: bytes, hidden: Iterable[str] = ()) -> str:
    """Return what an error's body says, with every text of `hidden` masked; empty if it says nothing.

    Known shapes: meta.errors, meta.error (Track), errors[].detail (App); or plain text.
    """
    try:
        text = "; ".join(_texts(orjson.loads(body)))
    except (orjson.JSONDecodeError, RecursionError):
        text = "(a web page)" if is_page(body) else body.decode("utf-8", "replace").strip()
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
