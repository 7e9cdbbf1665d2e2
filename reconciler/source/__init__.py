"""The warehouse side: runs a segment's query, read-only, and streams its ids as columns."""

from typing import TYPE_CHECKING

from reconciler.core.spec import SourceSettings
from reconciler.engine.ports import Source
from reconciler.errors import SourceError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from reconciler.source.failures import Scrubber


def open_source(settings: SourceSettings, *, memory_limit: str = "256MB") -> Source:
    """Choose the reader for a source by its URL. Nothing is connected yet. Raises SourceError."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from reconciler.source.failures import Scrubber, missing_driver

    try:
        url = make_url(settings.url.reveal())
    except (ArgumentError, ValueError):
        raise SourceError(
            f"source {settings.name}: its url is not a SQLAlchemy URL",
            "Write it as dialect://user:password@host:port/database; escape special characters of a password as %XX.",
        ) from None
    scrubber = Scrubber.of(settings.name, settings.url, url)
    try:
        return _reader(url, scrubber, memory_limit)
    except ImportError:
        raise missing_driver(settings.name, url) from None


def _reader(url: "URL", scrubber: "Scrubber", memory_limit: str) -> Source:
    match url.drivername:
        case "sqlite" | "sqlite+pysqlite":
            from reconciler.source.sqlite import SqliteSource

            return SqliteSource.of(url, scrubber, memory_limit)
        case "duckdb":
            from reconciler.source.duck import DuckSource

            return DuckSource.of(url, scrubber, memory_limit)
        case "postgresql" | "postgresql+psycopg" | "postgresql+psycopg2":
            from reconciler.source.postgres import PostgresSource

            return PostgresSource.of(url, scrubber, memory_limit)
        case _:
            from reconciler.source.rows import RowSource

            return RowSource(url, scrubber)
