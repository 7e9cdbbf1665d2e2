"""The API's own words: found in its answers, with ids and secrets masked, fit for a terminal."""

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import orjson

from reconciler.customerio.bodies import looks_like_page

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
