"""Where a state database is: a URL as a value that can be shown without its secrets.

SQLAlchemy reads the URLs of servers. That of a file is read here, as the import would be a third of a small plan.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from reconciler.errors import StateError
from reconciler.models.spec import Secret

if TYPE_CHECKING:
    import sqlalchemy

_FILE = re.compile(r"sqlite(?:\+\w+)?://(?:/(?P<path>[^?]*)(?:\?.*)?)?", re.DOTALL)
_HINT = "use sqlite:///path/to/state.db, or postgresql://user@host/database"


@dataclass(frozen=True)
class SqliteAddress:
    """A state in a file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PostgresAddress:
    """A state in a PostgreSQL; `url` may hold a password, which `str()` leaves out."""

    url: Secret

    def __str__(self) -> str:
        url = _read(self.url)
        host = url.host or ", ".join(url.normalized_query.get("host", ())) or "localhost"
        return f"PostgreSQL {url.database or ''} on {host}".replace("  ", " ")

    @property
    def driver_url(self) -> "sqlalchemy.URL":
        """For SQLAlchemy."""
        return _read(self.url).set(drivername="postgresql+psycopg")


Address = SqliteAddress | PostgresAddress


def parse(url: Secret) -> Address:
    """Read a state's URL. Raises StateError."""
    file = _FILE.fullmatch(url.reveal())
    if file is not None:
        return _parse_file(unquote(file["path"] or ""))
    kind = _parse_server(url)
    if kind != "postgresql":
        raise StateError(f"a state can't be kept in {kind}", _HINT)
    return PostgresAddress(url)


def _parse_file(path: str) -> SqliteAddress:
    if not path or path == ":memory:" or path.startswith("file:"):
        raise StateError("a state in SQLite must be a plain file, as it has to outlive the run", _HINT)
    return SqliteAddress(Path(path))


def _parse_server(url: Secret) -> str:
    """The kind of database."""
    from sqlalchemy.exc import ArgumentError

    try:
        return _read(url).get_backend_name()
    except (ArgumentError, ValueError):
        raise StateError("the URL of the state can't be read", _HINT) from None


def _read(url: Secret) -> "sqlalchemy.URL":
    import sqlalchemy

    text = url.reveal()
    if text.startswith("postgres:"):
        text = "postgresql" + text.removeprefix("postgres")
    return sqlalchemy.make_url(text)
