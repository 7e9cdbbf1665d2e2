"""The warehouse side: runs a segment's query, read-only, and streams its ids as columns."""

from typing import TYPE_CHECKING

from reconciler.errors import SourceError
from reconciler.models.spec import Secret, Segment, SourceSettings
from reconciler.models.urls import DatabaseUrl
from reconciler.sources.base import Source

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from reconciler.sources.failures import Scrubber

_NO_QUERIES = (
    *("insert", "update", "delete", "merge", "replace", "upsert", "create", "drop", "alter", "truncate", "rename"),
    *("grant", "revoke", "pragma", "attach", "detach", "use", "begin", "start", "commit", "rollback", "savepoint"),
    *("set", "copy", "load", "vacuum", "analyze", "call", "exec", "execute", "do", "lock"),
)
"""How a statement begins that is no query in any database."""

_URL_HINT = "Write it as dialect://user:password@host:port/database; escape special characters of a password as %XX."


def open_source(settings: SourceSettings, *, memory_limit: str = "256MB") -> Source:
    """Choose the reader for a source by its URL. Nothing is connected yet. Raises SourceError."""
    try:
        url = DatabaseUrl.parse(settings.url.reveal())
    except ValueError as error:
        raise SourceError(f"source {settings.name}: its url {error}", _URL_HINT) from None
    return _open_file(url, settings, memory_limit) if url.is_file else _open_server(settings, memory_limit)


def check_query(settings: SourceSettings, segment: Segment) -> None:
    """Refuse what can be seen not to be one query without asking the database. Raises SourceError."""
    from reconciler.sources.query import Query

    dialect = settings.url.reveal().partition(":")[0].partition("+")[0]
    word = Query.of(segment, dialect).statement.first_word()
    if word in _NO_QUERIES:
        raise SourceError(f"the query is no query: it begins with {word.upper()}", "Write a SELECT.")


def _open_file(url: DatabaseUrl, settings: SourceSettings, memory_limit: str) -> Source:
    from reconciler.sources.failures import Scrubber

    scrubber = Scrubber.of(settings.name, settings.url)
    if url.dialect == "duckdb":
        from reconciler.sources.duckdb import DuckSource

        return DuckSource.of(url.database, scrubber, memory_limit)
    from reconciler.sources.sqlite import SqliteSource

    return SqliteSource.of(url.file, scrubber, memory_limit)


def _open_server(settings: SourceSettings, memory_limit: str) -> Source:
    from sqlalchemy.exc import ArgumentError

    from reconciler.sources.connections import choose_driver, missing_driver
    from reconciler.sources.failures import Scrubber
    from reconciler.sources.messages import list_secrets

    url = choose_driver(_read(settings.name, settings.url))
    scrubber = Scrubber.of(settings.name, settings.url, list_secrets(url), _names_of(url))
    try:
        return _choose(url, scrubber, memory_limit)
    except ImportError as error:
        raise missing_driver(settings.name, url.drivername, error) from None
    except ArgumentError:
        raise _unreadable(settings.name) from None


def _names_of(url: "URL") -> list[str]:
    """What a database may call by name that stands in its url."""
    database = url.database or ""
    return [url.username or "", url.host or "", database, *database.split("/")]


def _read(name: str, text: Secret) -> "URL":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text.reveal())
    except (ArgumentError, ValueError):
        raise _unreadable(name) from None


def _unreadable(name: str) -> SourceError:
    return SourceError(
        f"source {name}: its url is not a SQLAlchemy URL, or has a port that is none",
        _URL_HINT,
    )


def _choose(url: "URL", scrubber: "Scrubber", memory_limit: str) -> Source:
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        from reconciler.sources.postgres import PostgresSource

        return PostgresSource.of(url, scrubber, memory_limit)
    from reconciler.sources.rows import RowSource

    return RowSource(url, scrubber)
