"""A request and a response as values, so that everything but `server` can be read and tested without a socket."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from reconciler.sandbox.settings import SandboxError

JSON = "application/json; charset=utf-8"


class Request:
    """One HTTP request, its body read whole. Header names are lower case."""

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method = method
        self.path, _, self._query = target.partition("?")
        self.headers = headers
        self.body = body
        self.parts = tuple(unquote(part) for part in self.path.strip("/").split("/"))
        """The steps of the path, percent-decoded."""

    @cached_property
    def query(self) -> dict[str, str]:
        """The query parameters; the last one wins where a name repeats."""
        return dict(parse_qsl(self._query, keep_blank_values=True))

    @cached_property
    def payload(self) -> Any:
        """The body as JSON; raises `SandboxError` when it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise SandboxError("malformed JSON body") from None

    @cached_property
    def ids(self) -> tuple[str, ...] | None:
        """The `ids` in the body, where they are a list of strings."""
        try:
            ids = self.payload["ids"]
        except (SandboxError, KeyError, TypeError):
            return None
        return tuple(ids) if isinstance(ids, list) and set(map(type, ids)) <= {str} else None


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def parse_number(text: str) -> int | None:
    """Return a whole number of up to ten digits (the API's are of 32 bits); None for any other text."""
    return int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else None


def json_response(document: Any, status: int = 200) -> Response:
    """Make a JSON answer, with a newline at its end as the real ones have."""
    return Response(status, json.dumps(document, separators=(",", ":")).encode() + b"\n")


def track_error(status: int, text: str) -> Response:
    """Make an error in the shape of the Track API."""
    return json_response({"meta": {"errors": [text]}}, status)


def app_error(status: int, detail: str) -> Response:
    """Make an error in the shape of the App API; its `status` is a string there."""
    return json_response({"errors": [{"detail": detail, "status": str(status)}]}, status)
