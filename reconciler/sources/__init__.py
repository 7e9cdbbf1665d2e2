"""The warehouse side: runs a segment's query, read-only, and streams its ids as columns."""

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.spec import Segment
from reconciler.models.urls import DatabaseUrl
from reconciler.sources.base import Source
from reconciler.sources.failures import Scrubber
from reconciler.sources.query import Query

_NO_QUERIES = (
    *("insert", "update", "delete", "merge", "replace", "upsert", "create", "drop", "alter", "truncate", "rename"),
    *("grant", "revoke", "pragma", "attach", "detach", "use", "begin", "start", "commit", "rollback", "savepoint"),
    *("set", "copy", "load", "vacuum", "analyze", "call", "exec", "execute", "do", "lock"),
)
"""How a statement begins that is no query in any database."""

_URL_HINT = "Write it as dialect://user:password@host:port/database; escape special characters of a password as %XX."


def open_source(name: str, url: Secret, *, memory_limit: str = "256MB") -> Source:
    """Choose the reader for the source of this name by its URL. Nothing is connected yet. Raises SourceError."""
    parsed = _parse(name, url)
    scrubber = Scrubber.of(name, url)
    if parsed.is_file and parsed.dialect == "duckdb":
        from reconciler.sources.duckdb import DuckSource

        return DuckSource.of(parsed.database, scrubber, memory_limit)
    if parsed.is_file:
        from reconciler.sources.sqlite import SqliteSource

        return SqliteSource.of(parsed.file, scrubber, memory_limit)
    return _open_server(name, url, memory_limit)


def check_query(name: str, url: Secret, segment: Segment) -> None:
    """Refuse what can be seen not to be one query without asking the database. Raises SourceError."""
    word = Query.of(segment, _parse(name, url).dialect).statement.first_word()
    if word in _NO_QUERIES:
        raise SourceError(f"the query is no query: it begins with {word.upper()}", "Write a SELECT.")


def _parse(name: str, url: Secret) -> DatabaseUrl:
    try:
        return DatabaseUrl.parse(url.reveal())
    except ValueError as error:
        raise SourceError(f"source {name}: its url {error}", _URL_HINT) from None


def _open_server(name: str, text: Secret, memory_limit: str) -> Source:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from reconciler.sources.connections import choose_driver, missing_driver
    from reconciler.sources.messages import list_secrets
    from reconciler.sources.rows import RowSource

    unreadable = SourceError(f"source {name}: its url is not a SQLAlchemy URL", _URL_HINT)
    try:
        url = choose_driver(make_url(text.reveal()))
    except (ArgumentError, ValueError):
        raise unreadable from None
    database = url.database or ""
    names = [url.username or "", url.host or "", database, *database.split("/")]
    scrubber = Scrubber.of(name, text, list_secrets(url), names)
    try:
        if url.drivername in ("postgresql", "postgresql+psycopg"):
            from reconciler.sources.postgres import PostgresSource

            return PostgresSource.of(url, scrubber, memory_limit)
        return RowSource(url, scrubber)
    except ImportError as error:
        raise missing_driver(name, url.drivername, error) from None
    except ArgumentError:
        raise unreadable from None
