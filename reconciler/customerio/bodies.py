"""Bodies of answers: decoded within bounds, and told apart from what Customer.io does not send."""

import zlib
from collections.abc import Mapping

import orjson

from reconciler.customerio.outcomes import Kind

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
