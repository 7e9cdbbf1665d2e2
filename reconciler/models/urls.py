"""URLs of databases and of Customer.io's APIs: what each part means, and what is refused.

The only reader of these URLs: `spec`, `sources` and `state` ask here. SQLAlchemy is not used, as importing it takes
longer than reading a spec. A function that refuses a URL raises ValueError; its message continues the name of the key
and never repeats the URL, which may hold a password.
"""

import ipaddress
import os.path
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

UNKNOWN_URL = "unset://"
"""What stands for the URL of a source while it is not known."""

WAREHOUSES = frozenset({"databricks", "snowflake", "bigquery"})
"""Dialects of which a driver of SQLAlchemy reaches tables of members, in the schema that `members_schema` names."""

_HOLDS_MEMBERS = frozenset({("sc", ""), ("postgresql", "psycopg"), *((name, "") for name in WAREHOUSES)})
"""Dialects and drivers of the sources that can hold the members of a state."""

_URL = re.compile(r"(?P<dialect>[A-Za-z]\w*)(?:\+(?P<driver>\w+))?://(?P<rest>.*)", re.DOTALL)
_ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)
_SERVER = re.compile(
    r"(?:[^\s:/?#@\[\]]*(?::[^\s:/?#@\[\]]*)?@)?"
    r"(?P<host>\[[^\s/?#@\[\]]+\]|[^\s:/?#@\[\]%]*)(?::(?P<port>[0-9]{0,5}))?"
    r"(?:/(?P<database>[^?#@]*))?(?:\?(?P<query>[^#@]*))?",
    re.DOTALL,
)
"""User, password, host, port, database, query, as SQLAlchemy, libpq and `urllib` read them.

Where one of `@ / ? # : [ ]` stands elsewhere, readers differ in what is the password and what is the host.
"""

_NOT_A_SERVER = (
    "is not dialect://user:password@host:port/database?name=value; in a user, a password or a value, write special "
    "characters as %XX (@ as %40, / as %2F, ? as %3F, # as %23, : as %3A, % as %25)"
)

_CONNECT = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?(?:/(?:;[\w.-]+=(?:[^\s;=/?#@%]|%[0-9A-Fa-f]{2})*)*;?)?"
)
"""Host, port and parameters of Spark Connect. Source: client-connection-string.md of Spark."""

_NOT_CONNECT = (
    "is not sc://host:port/;name=value;name=value; in a value, write special characters as %XX (= as %3D, ; as %3B, "
    "/ as %2F, @ as %40, % as %25)"
)

_FILE_DIALECTS = ("sqlite", "duckdb")
_NOT_FILES = ("md:", "motherduck:")
"""What DuckDB reads as a service, not as a file."""


@dataclass(frozen=True)
class DatabaseUrl:
    """A database's URL in parts. Neither `str` nor `repr` shows what may hold a secret; `reveal` does."""

    dialect: str
    """The name of the SQLAlchemy dialect: `postgresql`, also for `postgres`. `sc` is Spark Connect, which is none."""

    driver: str
    """Empty where the URL names none."""

    rest: str = field(repr=False)
    """All that follows `://`."""

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Read a URL. Raises ValueError for one that is malformed, or that readers of URLs take in different ways."""
        if not text:
            raise ValueError("must not be empty")
        if text != text.strip() or not text.isprintable():
            raise ValueError("holds white space at an end or a control character")
        match = _URL.fullmatch(text)
        if match is None:
            raise ValueError(
                "must be a SQLAlchemy URL, such as postgresql://user:password@host/database or sqlite:///file"
            )
        dialect, driver, rest = match["dialect"], match["driver"] or "", match["rest"]
        if dialect in _FILE_DIALECTS:
            _check_file(dialect, rest)
        elif dialect == "sc":
            connect = _CONNECT.fullmatch(rest)
            if driver or connect is None or not 0 < int(connect["port"] or 15002) < 65_536:
                raise ValueError(_NOT_CONNECT)
        else:
            _check_server(rest)
        if dialect in ("postgres", "postgresql"):  # whichever psycopg the URL names, psycopg 3 connects
            return cls("postgresql", "psycopg" if driver in ("", "psycopg", "psycopg2") else driver, rest)
        return cls(dialect, driver, rest)

    def reveal(self) -> str:
        """Give the whole URL, with its secrets."""
        return f"{self.scheme}://{self.rest}"

    def __str__(self) -> str:
        return f"{self.dialect}://***"

    @property
    def holds_members(self) -> bool:
        """Tell whether a source of this URL can hold the members of a state."""
        return (self.dialect, self.driver) in _HOLDS_MEMBERS

    @property
    def scheme(self) -> str:
        """The dialect, and the driver where one is named."""
        return f"{self.dialect}+{self.driver}" if self.driver else self.dialect

    @property
    def database(self) -> str:
        """The name of the database, decoded; for SQLite and DuckDB the file."""
        return unquote(self._written_database, errors="surrogateescape")

    @property
    def _written_database(self) -> str:
        return self.rest.partition("?")[0].partition("/")[2]

    @property
    def connect_parameters(self) -> dict[str, str]:
        """The parameters of a URL of Spark Connect, decoded."""
        pairs = (part.partition("=")[::2] for part in self._written_database.split(";") if part)
        return {name: unquote(value) for name, value in pairs}

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of the URL of a server, decoded."""
        return parse_qsl(self.rest.partition("?")[2], keep_blank_values=True)

    @property
    def host(self) -> str:
        """The host of a server, also where it is a parameter; several are separated by commas. Empty: none is named."""
        host = self.rest.partition("?")[0].partition("/")[0].rpartition("@")[2]
        named = re.sub(r":\d*$", "", host).strip("[]")
        return named or ", ".join(value for name, value in self.parameters if name == "host" and value)

    @property
    def is_file(self) -> bool:
        """Tell whether this is SQLite or DuckDB, through the driver that is built in."""
        return (self.dialect, self.driver) in {("sqlite", ""), ("sqlite", "pysqlite"), ("duckdb", "")}

    @property
    def is_memory(self) -> bool:
        """Tell whether a SQLite or DuckDB URL names a database that is nowhere but in memory."""
        name = self._written_database.removeprefix("file:")
        return not name or name.startswith(":memory:") or "mode=memory" in self.rest.partition("?")[2]

    @property
    def file(self) -> str | None:
        """The path of a SQLite or DuckDB file, as the URL has it; None: the URL names no file."""
        if self.dialect not in _FILE_DIALECTS or self.is_memory or self._written_database.startswith(_NOT_FILES):
            return None
        name = self.database
        return unquote(urlsplit(name).path) if name.startswith("file:") else name

    def find_file(self, folder: Path) -> Path | None:
        """Give the SQLite or DuckDB file, links not followed; a relative one is relative to `folder`."""
        return None if self.file is None else resolve_path(self.file, folder)


def check_source_url(text: str) -> str:
    """Check that a text is the URL of a database."""
    DatabaseUrl.parse(text)
    return text


def check_state_url(text: str) -> str:
    """Check that a text is the URL of a database that can keep a state: a SQLite file or PostgreSQL."""
    url = DatabaseUrl.parse(text)
    if url.dialect == "postgresql":
        if url.driver != "psycopg":
            raise ValueError(
                f"names a driver that no state is kept through; drop +{url.driver} and write "
                "postgresql://user:password@host/database"
            )
        return text
    if url.dialect != "sqlite" or not url.is_file:
        raise ValueError("must be sqlite:///file or postgresql://…; no other database keeps a state")
    if url.is_memory:
        raise ValueError("names a database in memory, and nothing would be kept; write sqlite:///file")
    if url.database.startswith("file:"):
        raise ValueError("must name a plain file: sqlite:///file")
    return text


def make_absolute(text: str, folder: Path) -> str:
    """Give a URL with a SQLite or DuckDB file as its one path, and with PostgreSQL's driver named.

    A relative file is relative to `folder`, `~` is the home folder, and links are followed as the system does: one file
    has one URL, by whatever path it is reached.
    """
    url = DatabaseUrl.parse(text)
    path = url.find_file(folder)
    if path is None:
        return url.reveal()
    # DuckDB calls its catalog by the name of the file: only the folders on the way to it are followed.
    path = Path(os.path.realpath(path.parent), path.name) if url.dialect == "duckdb" else Path(os.path.realpath(path))
    # What would be decoded, would end the path, or stands in no URL; a path that is not UTF-8 keeps its bytes.
    escaped = "".join(
        each if each.isprintable() and each not in "%?" else quote(each, safe="", errors="surrogateescape")
        for each in str(path)
    )
    bare = escaped.rstrip(" ")
    escaped = bare + "%20" * (len(escaped) - len(bare))
    _, question_mark, query = url.rest.partition("?")
    return DatabaseUrl(url.dialect, url.driver, f"/{escaped}{question_mark}{query}").reveal()


def holds_url(path: str) -> bool:
    """Tell whether what should be the path of a file is a URL: it may hold a password, and must not be shown."""
    return "://" in path


def resolve_path(name: str, folder: Path) -> Path:
    """Give the path of a file that a spec names: relative to `folder`, with `~` as the home folder.

    Raises ValueError where there is no such home folder.
    """
    expanded = os.path.expanduser(name)  # noqa: PTH111 (Path.expanduser raises RuntimeError)
    if re.match(r"~[^/]*/", expanded):
        raise ValueError("begins with ~, and there is no such home folder; write the whole path")
    return Path(folder, expanded)


def _check_file(dialect: str, rest: str) -> None:
    if rest and not rest.startswith(("/", "?")):
        raise ValueError(f"needs three slashes before the file: {dialect}:///file")
    path, _, query = rest.partition("?")
    name = path.removeprefix("/").removeprefix("file:")
    if re.match(r"[^/]*:[^/]*@", name):
        raise ValueError(f"names a user and a host, and a file has none; write {dialect}:///file")
    if "?" in query or not _is_query(query):
        raise ValueError("holds a ? that no name=value follows; write a ? in the name of a file as %3F")
    if "%00" in name:
        raise ValueError("holds a character that no path has")
    resolve_path(name, Path())


def _check_server(rest: str) -> None:
    match = _SERVER.fullmatch(rest)
    is_port = match is not None and (match["port"] is None or 0 < int(match["port"] or 0) < 65_536)
    if match is None or not is_port or not _ENCODED.fullmatch(rest) or not _is_query(match["query"] or ""):
        raise ValueError(_NOT_A_SERVER)
    for name, value in parse_qsl(match["query"] or ""):
        parts = re.sub(r"\{[^}]*\}", "", value).split(";")  # a lone part is the end of a value that holds a `;`
        if name == "odbc_connect" and not all("=" in part for part in parts if part.strip()):
            raise ValueError("has an odbc_connect that is not NAME=value;NAME=value; put a value with a ; in braces")


def _is_query(text: str) -> bool:
    """Tell whether each part is `name=value`: a lone one is the end of a value that holds an `&`."""
    return all("=" in part for part in text.split("&") if part)


def check_api_url(text: str) -> str:
    """Check that keys can be sent to an API's address safely; give it without a slash at its end."""
    if not text.isprintable() or " " in text or not text.startswith(("http://", "https://")):
        raise ValueError("must be an http:// or https:// URL")
    if "@" in text:
        raise ValueError("must not hold a user or a password; the keys have their own places")
    host = _find_host(text)
    if "?" in text or "#" in text:
        raise ValueError("must end with the host or a path, without ? and #")
    if text.startswith("http:") and not is_loopback(host):
        raise ValueError("must be https://: the keys would travel in clear text (http:// is for this machine only)")
    return text.rstrip("/")


def check_webhook_url(text: str) -> str:
    """Check that a text is the address of a webhook, which is a secret as a whole."""
    if not text.isascii() or not text.isprintable() or re.search(r"[ \\#]", text):
        raise ValueError("holds white space, a # or another character that no address of a webhook has")
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be an http:// or https:// URL")
    host = _find_host(text)
    if "@" in urlsplit(text).netloc:
        raise ValueError("must not hold a user or a password")
    if text.startswith("http:") and not is_loopback(host):
        raise ValueError("must be https://: the address is a secret (http:// is for this machine only)")
    return text


def _find_host(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL: its host or port is wrong") from None
    if not host:
        raise ValueError("names no host")
    if not re.fullmatch(r"[\w.:-]+", host):
        raise ValueError("is not a URL: its host holds a character that no host has")
    return host


def is_loopback(host: str) -> bool:
    """Tell whether a host of a URL is this machine: localhost and every name below it, 127.0.0.0/8 and ::1.

    An address may be written in any form that systems take: 2130706433, 0x7f.1, [::ffff:127.0.0.1].
    """
    host = host.lower().removeprefix("[").removesuffix("]")
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        short = _read_short_address(host)
        return short is not None and short.is_loopback
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


_NUMBER = re.compile(r"0x(?P<hexadecimal>[0-9a-f]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)")


def _read_short_address(host: str) -> ipaddress.IPv4Address | None:
    """Read the forms that `inet_aton` takes: up to four numbers of any base, the last one filling up the rest."""
    numbers = []
    for part in host.split("."):
        match = _NUMBER.fullmatch(part) if len(part) < 20 else None
        if match is None:
            return None
        numbers.append(
            int(match["hexadecimal"], 16) if match["hexadecimal"] else int(part, 8 if match["octal"] else 10)
        )
    *heads, last = numbers
    if len(numbers) > 4 or any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        return None
    return ipaddress.IPv4Address(sum(head << (24 - 8 * place) for place, head in enumerate(heads)) + last)
