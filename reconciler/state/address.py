"""Where a state database is: a URL as a value that can be shown without its secrets."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import ArgumentError

from reconciler.core.spec import Secret
from reconciler.errors import StateError

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
        host = url.host or url.query.get("host") or "localhost"
        return f"PostgreSQL {url.database or ''} on {host}".replace("  ", " ")

    @property
    def driver_url(self) -> sqlalchemy.URL:
        """For SQLAlchemy."""
        return _read(self.url).set(drivername="postgresql+psycopg")

    @property
    def uri(self) -> str:
        """For libpq, which else takes texts as the database has them, in UTF-8 or not."""
        url = _read(self.url).set(drivername="postgresql").update_query_dict({"client_encoding": "utf8"})
        return url.render_as_string(hide_password=False)


Address = SqliteAddress | PostgresAddress


def _read(url: Secret) -> sqlalchemy.URL:
    text = url.reveal()
    if text.startswith("postgres:"):
        text = "postgresql" + text.removeprefix("postgres")
    return sqlalchemy.make_url(text)


def parse(url: Secret) -> Address:
    """Read a state's URL. Raises StateError."""
    try:
        parsed = _read(url)
    except (ArgumentError, ValueError):
        raise StateError("the URL of the state can't be read", _HINT) from None
    kind = parsed.drivername.partition("+")[0]
    if kind == "postgresql":
        return PostgresAddress(url)
    if kind != "sqlite":
        raise StateError(f"a state can't be kept in {kind}", _HINT)
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise StateError("a state in SQLite must be a plain file, as it has to outlive the run", _HINT)
    return SqliteAddress(Path(parsed.database))
