"""From the bodies of the two APIs to values. Nothing is believed: a body may be anything."""

import html
import json
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from reconciler.customerio.outcomes import Kind
from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.ids import IdType
from reconciler.models.plan import UsedBy
from reconciler.models.remote import Page, RemoteSegment

PROXY_HINT = (
    "check destination.track_url and destination.app_url, and whether a proxy, a firewall or a login page of the "
    "network answers in the place of Customer.io"
)
READ_AGAIN = "nothing was computed from it; run again later"


def parse(body: bytes) -> dict[str, Any]:
    """Parse a body that must be a JSON object. Raises DestinationError."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _nonsense("it is a web page" if looks_like_page(body) else "it is not JSON") from None
    if not isinstance(said, dict):
        raise _nonsense("it is not an object")
    return said


def region(body: bytes) -> tuple[str, int | None]:
    """Decode `GET /api/v1/accounts/region`: the account's region and environment. Raises DestinationError."""
    said = parse(body)
    name, environment = said.get("region"), said.get("environment_id")
    if name not in ("us", "eu"):
        raise _nonsense("it names no region that exists")
    if environment is not None and not _is_whole(environment):
        raise _nonsense("environment_id is not a whole number")
    return name, environment


def segments(body: bytes) -> dict[int, RemoteSegment]:
    """Decode `GET /v1/segments`. Raises DestinationError."""
    found = [_segment(item) for item in _list(parse(body), "segments")]
    return {segment.segment_id: segment for segment in found}


def _segment(item: object) -> RemoteSegment:
    if not isinstance(item, dict) or not _is_whole(item.get("id")) or not isinstance(item.get("type"), str):
        raise _nonsense("a segment without id or type")
    title = item.get("name")
    return RemoteSegment(item["id"], tidy(title) if isinstance(title, str) else "", item["type"] == "manual")


def used_by(body: bytes) -> UsedBy:
    """Decode `GET /v1/segments/{id}/used_by`. Raises DestinationError."""
    said = parse(body).get("used_by")
    if not isinstance(said, dict):
        raise _nonsense("used_by is missing")
    kinds = ("campaigns", "sent_newsletters", "draft_newsletters")
    return UsedBy(*(_numbers(said.get(kind)) for kind in kinds))


def count(body: bytes) -> int:
    """Decode `GET /v1/segments/{id}/customer_count`. Raises DestinationError."""
    number = parse(body).get("count")
    if not isinstance(number, int) or not _is_whole(number) or number < 0:
        raise _nonsense("count is not a number")
    return number


def page(said: Mapping[str, Any], id_type: IdType) -> Page:
    """Give the members of a page of `GET /v1/segments/{id}/membership`, by column.

    `identifiers` is read, never `ids`, where members without an id are empty strings. Raises IncompleteRead where it
    lacks what it must have.
    """
    if "identifiers" not in said:
        raise IncompleteRead("a page of the membership has no `identifiers`", READ_AGAIN)
    items = said["identifiers"] or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise IncompleteRead("a page of the membership is not a list of people", READ_AGAIN)
    if items and not any(id_type in item for item in items):
        raise _without_key(id_type)
    cio_ids = [cio_id for cio_id in _column(items, IdType.CIO_ID) if cio_id]
    if len(cio_ids) < len(items):
        raise IncompleteRead("a member is listed without cio_id", READ_AGAIN)
    if id_type is IdType.CIO_ID:
        return Page(cio_ids, cio_ids)
    keys = _column(items, id_type)
    return Page(cio_ids, _fold(keys) if id_type is IdType.EMAIL else keys)


def _without_key(id_type: IdType) -> IncompleteRead:
    if id_type is IdType.EMAIL:
        return IncompleteRead(
            "this workspace does not use email as an identifier: its members are listed without one",
            "use id_type: id or cio_id for this segment",
        )
    return IncompleteRead(f"a page of the membership lists nobody's {id_type}", READ_AGAIN)


def _column(items: Sequence[Mapping[str, Any]], id_type: IdType) -> list[str | None]:
    """Give everybody's identifier of one type. Nearly always all are text: then no value is looked at by itself."""
    name = id_type.value
    values = [item.get(name) for item in items]
    return values if set(map(type, values)) == {str} and all(values) else [_text(value) for value in values]


def _text(value: object) -> str | None:
    """Give an identifier as text: numbers are met although the API says string; null and "" mean none."""
    if isinstance(value, str):
        return value or None
    if value is None:
        return None
    if _is_whole(value):
        return str(value)
    raise IncompleteRead("a member's identifier is neither text nor a whole number", READ_AGAIN)


def _fold(emails: Sequence[str | None]) -> list[str | None]:
    """Put A-Z, and nothing else, in lower case: what `bytes.lower` does."""
    return [email and email.encode().lower().decode() for email in emails]


def token(said: Mapping[str, Any]) -> str:
    """Give the token of the next page; absent, null and "" all end the pages. Raises IncompleteRead."""
    value = said.get("next")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise IncompleteRead("the token of the next page is not text", READ_AGAIN)
    return value


def _numbers(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(_is_whole(item) for item in value):
        raise _nonsense("used_by is not made of numbers")
    return tuple(value)


def _list(said: dict[str, Any], key: str) -> Iterable[object]:
    """Give a list; null is an empty one, as Customer.io writes it."""
    value = said.get(key, False)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _nonsense(f"{key} is missing")
    return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _nonsense(why: str) -> DestinationError:
    return DestinationError(f"the answer is not one that Customer.io gives: {why}", PROXY_HINT)


PLAIN = ("", "identity")
"""Content encodings that leave a body as it is."""

GZIP = 31
"""The window size by which zlib reads a gzip header."""


class BodyError(Exception):
    """A body that is not worth anything, in words without any of it. `kind`: what that makes of a 2xx."""

    def __init__(self, words: str, kind: Kind = Kind.FOREIGN) -> None:
        super().__init__(words)
        self.kind = kind


def decode_body(encoding: str, raw: bytes, most: int, *, gzip_asked: bool) -> bytes:
    """Undo one layer of gzip, up to `most` bytes, or none. Raises BodyError for anything else."""
    encoding = encoding.strip().lower()
    if encoding in PLAIN:
        return raw
    if encoding != "gzip" or not gzip_asked:
        raise BodyError("the answer has an encoding that was not asked for")
    gzip = zlib.decompressobj(GZIP)
    try:
        body = gzip.decompress(raw, most + 1)
    except zlib.error:
        raise BodyError("the answer can't be decompressed", Kind.UNKNOWN) from None
    if len(body) > most:
        raise BodyError(f"the answer is larger than {most:,} bytes")
    if not gzip.eof or gzip.unused_data:
        raise BodyError("the answer can't be decompressed", Kind.UNKNOWN)
    return body


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Tell whether a body is a web page. Customer.io's APIs send none."""
    return "html" in headers.get("content-type", "").lower() or looks_like_page(body)


def looks_like_page(body: bytes) -> bool:
    """Tell whether a body begins as HTML or XML does."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def check_receipt(headers: Mapping[str, str], raw: bytes) -> None:
    """Hold a 2xx to a write against what Customer.io sends: a JSON object without errors, or nothing. Raises BodyError.

    A body in an encoding is not looked into: none was asked for, and nothing in it is needed.
    """
    if headers.get("content-encoding", "").strip().lower() not in PLAIN or not raw.strip():
        if "html" in headers.get("content-type", "").lower():
            raise BodyError("it answers with a web page")
        return
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise BodyError(f"it answers with {'a web page' if looks_like_page(raw) else 'what is not JSON'}") from None
    if not isinstance(said, dict):
        raise BodyError("it answers with what is not a JSON object")
    meta = said.get("meta")
    if any(part.get(key) for part in (said, meta) if isinstance(part, dict) for key in ("errors", "error")):
        raise BodyError("it answers with an error in spite of its status")


MAX_WORDS = 300
"""Longest text that is repeated, in characters."""

MASK = "***"

SHORT = 3
"""Longest text that is masked only where it is a word of its own."""


def repeat(body: bytes, hidden: Iterable[str] = ()) -> str:
    """Give what an error's body says, with every text of `hidden` masked; empty if it says nothing."""
    return tidy(mask(find(body), hidden))


def find(body: bytes) -> str:
    """Find the words. Known shapes: meta.errors, meta.error (Track), errors[].detail (App); or plain text."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "(a web page)" if looks_like_page(body) else body.decode("utf-8", "replace").strip()
    return "; ".join(_texts(said))


def _texts(said: object) -> Iterator[str]:
    """Give the texts under the known keys, wherever they stand."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):
        for item in said:
            yield from _texts(item)
    elif isinstance(said, dict):
        for key in ("meta", "errors", "error", "detail", "reason", "message"):
            yield from _texts(said.get(key))


def mask(text: str, hidden: Iterable[str]) -> str:
    """Put *** wherever a hidden text stands, also where it is written as in JSON, HTML or a URL, in any case."""
    forms = [form for secret in sorted(hidden, key=len, reverse=True) for form in _forms(secret)]
    for form in forms:
        if len(form) > SHORT:
            text = text.replace(form, MASK)
    folded = text.casefold()
    for form in forms:
        if form.casefold() in folded:
            text = re.sub(_pattern(form), MASK, text, flags=re.IGNORECASE)
    return text


def _forms(secret: str) -> set[str]:
    plain = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return (plain | {quote(secret, safe=""), quote(secret), html.escape(secret)}) - {""}


def _pattern(form: str) -> str:
    """Match a short form only as a word of its own, else "5" would hide every digit 5."""
    return re.escape(form) if len(form) > SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"


def tidy(text: str) -> str:
    """Make one line of at most 300 characters, without control characters, from any text."""
    visible = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    line = " ".join(visible.split())
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"
