"""The warehouse side: runs a segment's query, read-only, and streams its ids as columns."""

import sys
from importlib.util import find_spec
from pathlib import Path

from reconciler.errors import SourceError
from reconciler.files import check_readable
from reconciler.models.fields import Secret
from reconciler.models.members import MembersAtSource
from reconciler.models.options import NO_OPTIONS, Options, find_refused, find_refused_parameters
from reconciler.models.spec import Segment
from reconciler.models.sql import DIALECTS
from reconciler.models.urls import WAREHOUSES, DatabaseUrl
from reconciler.sources.base import HoldsMembers, Query, Source
from reconciler.sources.failures import Scrubber

_URL_HINT = "Write it as dialect://user:password@host:port/database; escape special characters of a password as %XX."


def open_source(name: str, url: Secret, options: Options = NO_OPTIONS) -> Source:
    """Choose the reader for the source of this name by its URL. Nothing is connected yet. Raises SourceError."""
    parsed = _parse(name, url)
    _check_options(name, parsed, options)
    if parsed.is_file and parsed.dialect == "duckdb":
        from reconciler.sources.duckdb import DuckSource

        return DuckSource(parsed.database, Scrubber.of(name, url))
    if parsed.is_file:
        from reconciler.sources.sqlite import SqliteSource

        return SqliteSource(parsed.file, Scrubber.of(name, url))

    if parsed.dialect == "sc":
        return _open_spark(name, url, options)

    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    from reconciler.sources.drivers import choose_driver, missing_driver
    from reconciler.sources.messages import list_secrets
    from reconciler.sources.rows import RowSource

    unreadable = SourceError(f"source {name}: its url is not a SQLAlchemy URL", _URL_HINT)
    try:
        server = choose_driver(make_url(url.reveal()))
    except (ArgumentError, ValueError):
        raise unreadable from None
    database = server.database or ""
    names = [server.username or "", server.host or "", database, *database.split("/")]
    scrubber = Scrubber.of(name, url, list_secrets(server, options), [*names, *options.names()])
    try:
        if server.drivername in ("postgresql", "postgresql+psycopg"):
            from reconciler.sources.postgres_members import PostgresWithMembers

            return PostgresWithMembers(server, scrubber, options)
        if server.drivername in ("clickhousedb", "clickhousedb+connect"):
            from reconciler.sources.clickhouse import ClickHouseSource

            return ClickHouseSource(server, scrubber, options)
        if server.drivername in WAREHOUSES and find_spec("pyarrow") is not None:  # else its rows alone are read
            from reconciler.sources.warehouse_members import BY_DIALECT

            return BY_DIALECT[server.drivername].of(server, scrubber, options)
        return RowSource(server, scrubber, options)
    except ImportError as error:
        raise missing_driver(name, server.drivername, error) from None
    except ArgumentError:
        raise unreadable from None


def open_members(name: str, source: Source) -> MembersAtSource:
    """Give the tables of members in the database of a source, which work while it is kept. Raises SourceError."""
    if not isinstance(source, HoldsMembers):
        raise SourceError(f"source {name}: it can't hold the members of a state", "Set `members: local`.")
    return source.open_members()


def _open_spark(name: str, url: Secret, options: Options) -> Source:
    main = sys.modules["__main__"]
    if main.__spec__ is None and not hasattr(main, "__file__") and not hasattr(sys, "ps1"):
        # `check_dependencies` of the client would take it for its own tests, and end it.
        raise SourceError(
            f"source {name}: Spark's client runs in no program from `python -c` or from stdin",
            "Run it from a file, or with the command `reconcile`.",
        )
    try:
        from reconciler.sources.spark_members import SparkWithMembers
    except ImportError:
        raise SourceError(
            f"source {name}: there is no client for Spark Connect", "pip install 'reconcile-segments[spark]'"
        ) from None
    return SparkWithMembers(name, url, options)


def _check_options(name: str, url: DatabaseUrl, options: Options) -> None:
    """Refuse an option, or a parameter of the URL, that can't be passed on, and a file that can't be read."""
    for parameter, reason in find_refused_parameters(url).items():
        raise SourceError(f"source {name}: `{parameter}` in its url {reason}", "Leave it out.")
    for option, reason in find_refused(url, options.reveal()).items():
        raise SourceError(f"source {name}: `options.{option}` {reason}", "Mend it, or leave it out.")
    for place, path in options.files():
        try:
            check_readable(Path(path))
        except OSError as error:
            option = ".".join(map(str, place))
            raise SourceError(
                f"source {name}: the file of `options.{option}` can't be read: {error.strerror}",
                "Check the path (a relative one is relative to the spec) and who may read the file.",
            ) from None


def check_query(name: str, url: Secret | None, segment: Segment) -> None:
    """Refuse what can be seen not to be one query without asking the database. Raises SourceError.

    Where the URL is not known, it is refused if it is a query in no dialect.
    """
    refusals = []
    dialects = DIALECTS if url is None else (_parse(name, url).dialect,)
    for dialect in dialects:
        try:
            Query.of(segment, dialect)
            Query.of_freshness(segment, dialect)
        except SourceError as error:
            refusals.append(error)
    if len(refusals) == len(dialects):
        raise refusals[0]


def _parse(name: str, url: Secret) -> DatabaseUrl:
    try:
        return DatabaseUrl.parse(url.reveal())
    except ValueError as error:
        raise SourceError(f"source {name}: its url {error}", _URL_HINT) from None
