"""URLs of databases and of Customer.io: what is refused, and how a relative file finds its place.

SQLAlchemy is not asked: importing it costs more than reading a spec. What the checks say never repeats a URL, since it
may hold a password. A check raises ValueError with words that continue the name of the key.
"""

import ipaddress
import os.path
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_SCHEME = re.compile(r"(?P<dialect>[A-Za-z]\w*)(?P<driver>\+\w+)?://(?P<rest>.*)", re.DOTALL)
_SERVER = re.compile(
    r"(?:[^:/]*(?::[^@]*)?@)?(?:(?:\[[^/?]+\]|[^/:?]+)?(?::(?P<port>[^/?]*))?)?(?:/[^?]*)?(?:\?.*)?", re.DOTALL
)
"""What SQLAlchemy takes behind `dialect://`: user, password, host, port, database, query."""

_POSTGRESQL_DRIVER = "+psycopg"
_FILE_DIALECTS = ("sqlite", "duckdb")
_NOT_FILES = (":memory:", "md:", "motherduck:")
"""DuckDB's names for what is no file."""


@dataclass(frozen=True)
class _Url:
    dialect: str
    driver: str
    rest: str

    def __str__(self) -> str:
        return f"{self.dialect}{self.driver}://{self.rest}"

    @property
    def database(self) -> str:
        return self.rest.partition("?")[0].removeprefix("/")

    @property
    def is_memory(self) -> bool:
        name = self.database.removeprefix("file:")
        return not name or name.startswith(":memory:") or "mode=memory" in self.rest


def check_source_url(text: str) -> str:
    """Hold the URL of a warehouse against the form of a SQLAlchemy URL."""
    _split(text)
    return text


def check_state_url(text: str) -> str:
    """Hold the URL of a state database against what can keep one: a SQLite file or PostgreSQL."""
    url = _split(text)
    if url.dialect == "postgresql" and url.driver == _POSTGRESQL_DRIVER:
        return text
    if url.dialect != "sqlite" or url.driver not in ("", "+pysqlite"):
        raise ValueError("must be sqlite:///file or postgresql://…; no other database keeps a state")
    if url.is_memory:
        raise ValueError("names a database in memory, and nothing would be kept; write sqlite:///file")
    if url.database.startswith("file:"):
        raise ValueError("must name a plain file: sqlite:///file")
    return text


def anchor(text: str, folder: Path) -> str:
    """Give the URL with a relative SQLite or DuckDB file made absolute from `folder`, and PostgreSQL's driver named."""
    url = _split(text)
    if url.dialect not in _FILE_DIALECTS or url.is_memory:
        return str(url)
    head, sep, tail = url.rest[1:].partition("?")
    prefix = "file:" if head.startswith("file:") else ""
    name = head.removeprefix(prefix)
    if name.startswith(("/", *_NOT_FILES)):
        return str(url)
    path = os.path.normpath(f"{_escape(str(folder.absolute()))}/{name}")
    return f"{url.dialect}{url.driver}:///{prefix}{path}{sep}{tail}"


def _escape(path: str) -> str:
    """Write what would end a URL's path, or be decoded in it, as SQLAlchemy does."""
    return path.replace("%", "%25").replace("?", "%3F")


def _split(text: str) -> _Url:
    if not text:
        raise ValueError("must not be empty")
    if text != text.strip() or not text.isprintable():
        raise ValueError("holds white space at an end or a control character")
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise ValueError("must be a SQLAlchemy URL, such as postgresql://user:password@host/database or sqlite:///file")
    url = _Url(match["dialect"], match["driver"] or "", match["rest"])
    if url.dialect in _FILE_DIALECTS and url.rest and not url.rest.startswith(("/", "?")):
        raise ValueError(f"needs three slashes before the file: {url.dialect}:///file")
    if url.dialect not in _FILE_DIALECTS:
        _check_server(url.rest)
    if url.dialect in ("postgres", "postgresql"):
        return _Url("postgresql", url.driver or _POSTGRESQL_DRIVER, url.rest)
    return url


def _check_server(rest: str) -> None:
    match = _SERVER.fullmatch(rest)
    if match is None or not (match["port"] is None or _is_port(match["port"])):
        raise ValueError(
            "is not dialect://user:password@host:port/database; in a password, write special characters as %XX"
        )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536


def check_api_url(text: str) -> str:
    """Hold an address of an API against what is safe to send keys to; a trailing slash goes."""
    if not text.isprintable() or " " in text or not text.startswith(("http://", "https://")):
        raise ValueError("must be an http:// or https:// URL")
    parts = _split_web(text)
    if "@" in parts[0]:
        raise ValueError("must not hold a user or a password; the keys have their own places")
    scheme, host = parts[1], parts[2]
    if scheme == "http" and not _is_loopback(host):
        raise ValueError("must be https://: the keys would travel in clear text (http:// is for this machine only)")
    return text.rstrip("/")


def _split_web(text: str) -> tuple[str, str, str]:
    """Give network location, scheme and host."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port is wrong") from None
    if not host:
        raise ValueError("names no host")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("must end with the host or a path, without ? and #")
    return parts.netloc, parts.scheme, host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
