"""URLs of databases and of Customer.io: what is refused, and how a relative file finds its place.

SQLAlchemy is not asked: importing it costs more than reading a spec. What the checks say never repeats a URL, since it
may hold a password. A check raises ValueError with words that continue the name of the key.
"""

import os.path
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from reconciler.models.loopback import is_loopback

_SCHEME = re.compile(r"(?P<dialect>[A-Za-z]\w*)(?P<driver>\+\w+)?://(?P<rest>.*)", re.DOTALL)
_ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)
_SERVER = re.compile(
    r"(?:[^\s:/?#@\[\]]*(?::[^\s:/?#@\[\]]*)?@)?"
    r"(?:\[[^\s/?#@\[\]]+\]|[^\s:/?#@\[\]%]*)(?::(?P<port>[0-9]{0,5}))?"
    r"(?:/[^?#@]*)?(?:\?(?P<query>[^#@]*))?",
    re.DOTALL,
)
"""User, password, host, port, database, query: what every reader of URLs takes them for, SQLAlchemy and libpq alike.

Where one of `@ / ? # : [ ]` stands elsewhere, readers differ in what is the password and what is the host.
"""

_NOT_A_SERVER = (
    "is not dialect://user:password@host:port/database?name=value; in a user, a password or a value, write special "
    "characters as %XX (@ as %40, / as %2F, ? as %3F, # as %23, : as %3A, % as %25)"
)

_PSYCOPG = ("", "+psycopg", "+psycopg2")
"""The drivers that stand for psycopg: whatever a URL names of these, psycopg 3 connects."""

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


def read_dialect(text: str) -> str | None:
    """Give the dialect of a database's URL; None where it is no such URL."""
    try:
        return _split(text).dialect
    except ValueError:
        return None


def check_source_url(text: str) -> str:
    """Hold the URL of a warehouse against the form of a SQLAlchemy URL."""
    _split(text)
    return text


def check_state_url(text: str) -> str:
    """Hold the URL of a state database against what can keep one: a SQLite file or PostgreSQL."""
    url = _split(text)
    if url.dialect == "postgresql":
        if url.driver != "+psycopg":
            raise ValueError(
                f"names a driver that no state is kept through; drop {url.driver} and write postgresql://user:password@host/database"
            )
        return text
    if url.dialect != "sqlite" or url.driver not in ("", "+pysqlite"):
        raise ValueError("must be sqlite:///file or postgresql://…; no other database keeps a state")
    if url.is_memory:
        raise ValueError("names a database in memory, and nothing would be kept; write sqlite:///file")
    if url.database.startswith("file:"):
        raise ValueError("must name a plain file: sqlite:///file")
    return text


def anchor(text: str, folder: Path) -> str:
    """Give the URL with a SQLite or DuckDB file as its one path, and PostgreSQL's driver named.

    A relative file is relative to `folder`, `~` is the home folder, and links are followed as the system does: one file
    has one URL, by whatever path it is reached.
    """
    url = _split(text)
    path = find_file(text, folder)
    if path is None:
        return str(url)
    _, sep, tail = url.rest[1:].partition("?")
    # DuckDB calls its catalog by the name of the file: only the folders on the way to it are followed.
    path = Path(os.path.realpath(path.parent), path.name) if url.dialect == "duckdb" else Path(os.path.realpath(path))
    return f"{url.dialect}{url.driver}:///{_escape(str(path))}{sep}{tail}"


def find_file(text: str, folder: Path) -> Path | None:
    """Give the file that a SQLite or DuckDB URL names, links not followed; None: it names no file."""
    url = _split(text)
    if url.dialect not in _FILE_DIALECTS or url.is_memory or url.database.startswith(_NOT_FILES):
        return None
    name = unquote(url.rest[1:].partition("?")[0])
    return locate(unquote(urlsplit(name).path) if name.startswith("file:") else name, folder)


def locate(name: str, folder: Path) -> Path:
    """Give the path of a file that a spec names: relative to `folder`, with `~` as the home folder.

    Raises ValueError where there is no such home folder.
    """
    expanded = os.path.expanduser(name)  # noqa: PTH111 (Path.expanduser raises RuntimeError)
    if re.match(r"~[^/]*/", expanded):
        raise ValueError("begins with ~, and there is no such home folder; write the whole path")
    return Path(folder, expanded)


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
    if url.dialect in _FILE_DIALECTS:
        _check_file(url)
    else:
        _check_server(url.rest)
    if url.dialect in ("postgres", "postgresql"):
        return _Url("postgresql", "+psycopg" if url.driver in _PSYCOPG else url.driver, url.rest)
    return url


def _check_file(url: _Url) -> None:
    if url.rest and not url.rest.startswith(("/", "?")):
        raise ValueError(f"needs three slashes before the file: {url.dialect}:///file")
    name = url.database.removeprefix("file:")
    if re.match(r"[^/]*:[^/]*@", name):
        raise ValueError(f"names a user and a host, and a file has none; write {url.dialect}:///file")
    query = url.rest.partition("?")[2]
    if "?" in query or not _is_query(query):
        raise ValueError("holds a ? that no name=value follows; write a ? in the name of a file as %3F")
    if "%00" in name:
        raise ValueError("holds a character that no path has")
    locate(name, Path())


def _check_server(rest: str) -> None:
    match = _SERVER.fullmatch(rest)
    if match is None or not _ENCODED.fullmatch(rest) or not _is_port(match["port"]) or not _is_query(match["query"]):
        raise ValueError(_NOT_A_SERVER)
    for name, value in parse_qsl(match["query"] or ""):
        if name == "odbc_connect" and not _is_odbc(value):
            raise ValueError("has an odbc_connect that is not NAME=value;NAME=value; put a value with a ; in braces")


def _is_port(text: str | None) -> bool:
    return text is None or 0 < int(text or 0) < 65_536


def _is_query(text: str | None) -> bool:
    """Tell whether each part is `name=value`: a lone one is the end of a value that holds an `&`."""
    return all("=" in part for part in (text or "").split("&") if part)


def _is_odbc(text: str) -> bool:
    """Tell whether each part is `NAME=value`: a lone one is the end of a value that holds a `;`."""
    return all("=" in part for part in re.sub(r"\{[^}]*\}", "", text).split(";") if part.strip())


def check_api_url(text: str) -> str:
    """Hold an address of an API against what is safe to send keys to; a trailing slash goes."""
    if not text.isprintable() or " " in text or not text.startswith(("http://", "https://")):
        raise ValueError("must be an http:// or https:// URL")
    if "@" in text:
        raise ValueError("must not hold a user or a password; the keys have their own places")
    scheme, host = _split_web(text)
    if scheme == "http" and not is_loopback(host):
        raise ValueError("must be https://: the keys would travel in clear text (http:// is for this machine only)")
    return text.rstrip("/")


def _split_web(text: str) -> tuple[str, str]:
    """Give scheme and host."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port is wrong") from None
    if not host:
        raise ValueError("names no host")
    if not re.fullmatch(r"[\w.:-]+", host):
        raise ValueError("is not a URL: its host holds a character that no host has")
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError("must end with the host or a path, without ? and #")
    return parts.scheme, host
