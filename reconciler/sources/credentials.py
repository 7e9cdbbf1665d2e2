"""The secrets that a source's URL holds, in every spelling that a driver may repeat."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|auth|signature", re.IGNORECASE)
"""The names of parameters whose values are, or may be, secrets."""


def list_secrets(url: "URL") -> tuple[str, ...]:
    """Give the password, and the secrets among the parameters, as they are and as URLs write them."""
    found = [str(url.password or ""), *_list_parameters(url)]
    spellings = (each for secret in found for each in (secret, quote(secret, safe=""), quote_plus(secret)))
    return tuple(dict.fromkeys(filter(None, spellings)))


def _list_parameters(url: "URL") -> Iterator[str]:
    for name, values in url.normalized_query.items():
        for value in values:
            if name == "odbc_connect":
                yield value
                yield from (part[1].strip("{}") for part in _split_odbc(value) if _SECRET.search(part[0]))
            elif _SECRET.search(name):
                yield value


def _split_odbc(text: str) -> list[tuple[str, str]]:
    """Give each name and value of an ODBC connection string; braces keep a `;` in a value."""
    return re.findall(r"([^;=]+)=(\{[^}]*\}|[^;]*)", text)
