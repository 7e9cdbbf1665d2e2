"""How many connections a source may have at a time, and the wait for one that the server still counts."""

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
    """Gives leave for a connection, or has the caller wait. A thread asks for one at a time, so the wait ends."""

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._pause = pause
        self._has_closed = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Give leave for one connection at a time while the block runs."""
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


# --- Which driver serves a URL, and which package has one that is missing.

_EXTRAS = {
    "postgresql": "postgres",
    "psycopg": "postgres",
    "psycopg_binary": "postgres",
    "adbc_driver_postgresql": "postgres",
    "pymysql": "mysql",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "google": "bigquery",
    "redshift": "redshift",
    "redshift_connector": "redshift",
    "databricks": "databricks",
}
"""The extra that installs a module or a dialect."""

_PACKAGES = {
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
    "mariadb": "mariadb",
    "psycopg2": "psycopg2-binary",
    "pyhive": "'pyhive[hive_pure_sasl]'",
    "hive": "'pyhive[hive_pure_sasl]'",
    "TCLIService": "'pyhive[hive_pure_sasl]'",
    "thrift": "'pyhive[hive_pure_sasl]'",
    "thrift_sasl": "'pyhive[hive_pure_sasl]'",
    "trino": "'trino[sqlalchemy]'",
    "clickhousedb": "clickhouse-connect",
    "clickhouse": "clickhouse-sqlalchemy",
    "cockroachdb": "sqlalchemy-cockroachdb",
    "sqlalchemy_cockroachdb": "sqlalchemy-cockroachdb",
}
"""Packages that are not called as their module or dialect is."""


def choose_driver(url: URL) -> URL:
    """Read `mysql://` and `mariadb://` as PyMySQL, which the extra `mysql` installs, unless mysqlclient is there."""
    if url.drivername in ("mysql", "mariadb") and find_spec("MySQLdb") is None:
        return url.set(drivername=f"{url.drivername}+pymysql")
    return url


def missing_driver(source: str, driver: str, error: Exception) -> SourceError:
    """The error for a database whose driver is not installed; `driver` as a URL of SQLAlchemy begins."""
    module = (getattr(error, "name", None) or "").partition(".")[0]
    dialect, _, dbapi = driver.partition("+")
    return SourceError(
        f"source {source}: there is no driver for {driver}", f"pip install {_find_package(module, dialect, dbapi)}"
    )


def _find_package(module: str, dialect: str, dbapi: str) -> str:
    """By the module that could not be imported; where the dialect itself is unknown, by the names in the URL."""
    for name in (module,) if module else (dialect, dbapi):
        if extra := _EXTRAS.get(name):
            return f"'reconcile-segments[{extra}]'"
        if package := _PACKAGES.get(name):
            return package
    return module.replace("_", "-") if module else f"the SQLAlchemy dialect for {dialect}"
