"""Connections of a source: how many at a time, and which driver serves a URL."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TypeVar

from sqlalchemy.engine import URL

from reconciler.errors import SourceError
from reconciler.sources.failures import Kind, classify
from reconciler.sources.messages import DatabaseMessage

MOST_CONNECTIONS = 2
"""Of one source at a time, however many segments are worked on; docs/databases.md promises it."""

_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts: a server counts a connection until its process there has ended."""

Connection = TypeVar("Connection")


class Connections:
    """Limits the connections of a source. A thread asks for one at a time, so that a wait for one ends."""

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._pause = pause
        self._has_closed = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Reserve one connection while the block runs."""
        with self._free:
            yield

    def connect(self, open_one: Callable[[], Connection]) -> Connection:
        """Connect; wait a moment where the server still counts one that was closed. Raises what `open_one` raises."""
        for seconds in _PAUSES if self._has_closed else ():
            try:
                return open_one()
            except Exception as error:
                if classify(DatabaseMessage.of(error)) is not Kind.CONNECTIONS:
                    raise
            self._pause(seconds)
        connection = open_one()
        self._has_closed = True  # by the time that another one is asked for, or soon
        return connection


# --- drivers -----------------------------------------------------------------------------------------------------

_EXTRA = "'reconcile-segments[{}]'"
_INSTALLED_BY = {
    **dict.fromkeys(("postgresql", "psycopg", "psycopg_binary", "adbc_driver_postgresql"), _EXTRA.format("postgres")),
    **dict.fromkeys(("bigquery", "google"), _EXTRA.format("bigquery")),
    **dict.fromkeys(("redshift", "redshift_connector"), _EXTRA.format("redshift")),
    **dict.fromkeys(("pyhive", "hive", "TCLIService", "thrift", "thrift_sasl"), "'pyhive[hive_pure_sasl]'"),
    **dict.fromkeys(("cockroachdb", "sqlalchemy_cockroachdb"), "sqlalchemy-cockroachdb"),
    "pymysql": _EXTRA.format("mysql"),
    "snowflake": _EXTRA.format("snowflake"),
    "databricks": _EXTRA.format("databricks"),
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
    "mariadb": "mariadb",
    "psycopg2": "psycopg2-binary",
    "trino": "'trino[sqlalchemy]'",
    "clickhousedb": "clickhouse-connect",
    "clickhouse": "clickhouse-sqlalchemy",
}
"""What pip installs for a module or a dialect, where it is not called so."""


def choose_driver(url: URL) -> URL:
    """Read `mysql://` and `mariadb://` as PyMySQL, which the extra `mysql` installs, unless mysqlclient is there."""
    if url.drivername in ("mysql", "mariadb") and find_spec("MySQLdb") is None:
        return url.set(drivername=f"{url.drivername}+pymysql")
    return url


def missing_driver(source: str, driver: str, error: Exception) -> SourceError:
    """Give the error for a database without its driver; `driver` is the beginning of a SQLAlchemy URL.

    The package is found by the module that could not be imported; where the dialect itself is unknown, by the names in
    the URL.
    """
    module = (getattr(error, "name", None) or "").partition(".")[0]
    names = (module,) if module else tuple(driver.partition("+")[::2])
    package = module.replace("_", "-") if module else f"the SQLAlchemy dialect for {names[0]}"
    package = next((_INSTALLED_BY[name] for name in names if name in _INSTALLED_BY), package)
    return SourceError(f"source {source}: there is no driver for {driver}", f"pip install {package}")
