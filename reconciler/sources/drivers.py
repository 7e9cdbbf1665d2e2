"""Drivers of SQLAlchemy: which one a URL means, what it is told next to the URL, and what pip installs for it."""

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.engine import URL

from reconciler.errors import SourceError
from reconciler.models.options import Options

_EXTRA = "'reconcile-segments[{}]'"
_INSTALLED_BY = {
    **dict.fromkeys(("postgresql", "psycopg", "psycopg_binary", "adbc_driver_postgresql"), _EXTRA.format("postgres")),
    **dict.fromkeys(("bigquery", "google"), _EXTRA.format("bigquery")),
    **dict.fromkeys(("redshift", "redshift_connector"), _EXTRA.format("redshift")),
    **dict.fromkeys(("pyhive", "hive", "TCLIService", "thrift", "thrift_sasl"), "'pyhive[hive-pure-sasl]'"),
    **dict.fromkeys(("cockroachdb", "sqlalchemy_cockroachdb"), "sqlalchemy-cockroachdb"),
    "pymysql": _EXTRA.format("mysql"),
    "snowflake": _EXTRA.format("snowflake"),
    "databricks": _EXTRA.format("databricks"),
    "MySQLdb": "mysqlclient",
    "mysql": "mysql-connector-python",
    "mariadb": "mariadb",
    "psycopg2": "psycopg2-binary",
    "trino": "'trino[sqlalchemy]'",
    **dict.fromkeys(("clickhousedb", "clickhouse_connect"), _EXTRA.format("clickhouse")),
    "clickhouse": "clickhouse-sqlalchemy",
}
"""What pip installs for a module or a dialect, where it is not called so."""


def choose_driver(url: URL) -> URL:
    """Read `mysql://` and `mariadb://` as PyMySQL, which the extra `mysql` installs, whatever else is installed."""
    if url.drivername in ("mysql", "mariadb"):
        return url.set(drivername=f"{url.drivername}+pymysql")
    return url


_OF_DIALECTS = {"bigquery": ("credentials_path", "credentials_info", "credentials_base64", "location")}
"""Options that SQLAlchemy's dialect takes, not the driver's `connect`."""

_FIXED: dict[str, dict[str, object]] = {
    "pymysql": {"charset": "utf8mb4", "use_unicode": True},
    "bigquery": {"prefer_bqstorage_client": False},
}
"""What the driver is told whatever the URL says. In another character set MySQL would give `?` for what that lacks.
BigQuery's Storage API takes a right of its own; where it is not installed, the driver warns on the terminal."""

_OF_SESSIONS: dict[str, dict[str, object]] = {"snowflake": {"ROWS_PER_RESULTSET": 0}}
"""Parameters of a session that its driver sets, whatever the options say: Snowflake cuts a longer result short."""

_FOR_MEMBERS: dict[str, dict[str, Any]] = {
    "snowflake": {"paramstyle": "qmark", "isolation_level": "AUTOCOMMIT", "connect_args": {"paramstyle": "qmark"}}
}
"""Arguments of `create_engine` for the tables of members. Params in another style Snowflake's driver writes into the
statement, which the server keeps; and its dialect begins a transaction."""

LOGIN = "connect_timeout"
"""The option of every source of a server for the seconds that a login may take."""

_LOGIN_SECONDS = 30.0
_STARTING = {"databricks": 900.0, **dict.fromkeys(("sc", "hive", "presto", "trino"), 300.0)}
"""Where a login may have to wait until an engine is started for it. Databricks' own driver waits for 900 seconds."""

_OWN_LOGINS = ("login_timeout", "connection_timeout", "timeout")
"""What drivers call the same, which ends their login themselves: Snowflake, mysqlconnector, pg8000 and others."""

_TAKE_LOGIN = frozenset(
    {"psycopg", "psycopg2", "pymysql", "mysqldb", "mysqlconnector", "mariadbconnector", "clickhousedb", "connect"}
)
"""Drivers that have an option of this name, which then bounds what they try, too."""


def read_login_seconds(dialect: str, given: Mapping[str, Any]) -> float:
    """Give the seconds that a login may take by a source's parameters. Raises ValueError for what is no such number."""
    if LOGIN in given:
        seconds = _read_seconds(given[LOGIN])
        if not 0 < seconds < inf:
            raise ValueError(f"`{LOGIN}` must be a number of seconds above 0")
        return seconds
    own = (_read_seconds(given[name]) for name in _OWN_LOGINS if name in given)
    return max(_STARTING.get(dialect, _LOGIN_SECONDS), *(seconds for seconds in own if seconds < inf), 0.0)


def _read_seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return -1.0


Opened = TypeVar("Opened")


def log_in(open_one: Callable[[], Opened], seconds: float) -> Opened:
    """Connect within a time, however silent the server is. Raises TimeoutError, or what `open_one` raises.

    It runs in a thread of its own, since few drivers bound a whole login, and some bound every later read with it. What
    opens too late is closed; what never ends is left, and keeps no process from its end.
    """
    login: Future[Opened] = Future()

    def run() -> None:
        try:
            login.set_result(open_one())
        except BaseException as error:
            login.set_exception(error)

    threading.Thread(target=run, name="reconcile-login", daemon=True).start()
    with suppress(TimeoutError):
        login.exception(seconds)
    if login.done():
        return login.result()
    login.add_done_callback(_close_late)
    raise TimeoutError(f"no login within {seconds:g} second{'' if seconds == 1 else 's'}")


def _close_late(login: Future[Any]) -> None:
    if login.exception() is None:
        with suppress(Exception):
            login.result().close()


_TAKE_ANY = {
    "snowflake": ("snowflake.connector", "snowflake.sqlalchemy"),
    "databricks": ("databricks.sql", "databricks.sqlalchemy"),
}
"""Drivers that take an option of any name, and say nothing that reaches a user of one that they do not know."""

_WRITTEN = re.compile(r"""["'](\w+)["']|^\s*(\w+)\s*[:=]""", re.MULTILINE)


def refuse_unknown(source: str, dialect: str, names: Iterable[str]) -> SourceError | None:
    """Give the error for the first parameter that its driver would pass over; None: there is none."""
    known = _list_known(dialect)
    for name in names if known else ():
        if name.lower() not in known and name not in (LOGIN, *_OF_DIALECTS.get(dialect, ())):
            close = get_close_matches(name.lower(), known, 1, 0.8)
            hint = f"Did you mean `{close[0]}`?" if close else "Leave it out, or correct its name."
            return SourceError(f"source {source}: `{name}` is no option that {dialect}'s driver knows", hint)
    return None


@cache
def _list_known(dialect: str) -> frozenset[str]:
    """List what stands in a driver's code in quotes, or as the name of a field or an argument: all that it reads does.

    Such a list is never older than the driver. Empty: the driver refuses what it does not know, or there is no code.
    """
    with suppress(ImportError, OSError):
        specs = [spec for package in _TAKE_ANY.get(dialect, ()) if (spec := find_spec(package))]
        files = (file for spec in specs if spec.origin for file in Path(spec.origin).parent.rglob("*.py"))
        found = (_WRITTEN.findall(file.read_text("utf-8", "replace")) for file in files)
        return frozenset(name.lower() for pairs in found for pair in pairs for name in pair if name)
    return frozenset()


_DATABRICKS_LOGINS = frozenset({"access_token", "credentials_provider", "auth_type", "use_kernel", "_use_cert_as_auth"})


def write_arguments(url: URL, options: Options, *, for_members: bool = False) -> dict[str, Any]:
    """Give the arguments of `create_engine` for a source. Raises ValueError for options that make no login."""
    dialect, driver, given = url.get_backend_name(), url.drivername.rpartition("+")[2], options.reveal()
    # To mysqlconnector any `%s` is a mark, also in a string; a name of ours stands nowhere else.
    arguments: dict[str, Any] = {"paramstyle": "pyformat"} if driver == "mysqlconnector" else {}
    arguments |= _FOR_MEMBERS.get(dialect, {}) if for_members else {}
    arguments |= {name: given.pop(name) for name in _OF_DIALECTS.get(dialect, ()) if name in given}
    if driver not in _TAKE_LOGIN:
        given.pop(LOGIN, None)
    if dialect == "databricks":
        if "oauth_client_secret" in given and not given.get("use_kernel"):
            given["credentials_provider"] = _log_in_databricks(url, given)
        if not url.password and not _DATABRICKS_LOGINS & set(given):  # the driver would open a browser
            raise ValueError("no login is given: a token, or oauth_client_id and oauth_client_secret")
    if driver in _OF_SESSIONS:
        ours, asked = _OF_SESSIONS[driver], given.get("session_parameters") or {}
        given["session_parameters"] = {name: asked[name] for name in asked if name.upper() not in ours} | ours
    return {**arguments, "connect_args": given | _FIXED.get(driver, {}) | arguments.get("connect_args", {})}


def _log_in_databricks(url: URL, given: dict[str, Any]) -> Callable[[], Callable[[], dict[str, str]]]:
    """Give the driver the login of a service principal (OAuth from machine to machine), which it lacks itself.

    Source: docs.databricks.com, "Authorize service principal access to Databricks with OAuth".
    """
    from databricks.sdk.oauth import ClientCredentials

    credentials = ClientCredentials(
        client_id=str(given.pop("oauth_client_id", "")),
        client_secret=given.pop("oauth_client_secret"),
        token_url=f"https://{url.host}:{given.get('_port', 443)}/oidc/v1/token",
        scopes="all-apis",
        use_header=True,
    )

    def write_headers() -> dict[str, str]:
        token = credentials.token()
        return {"Authorization": f"{token.token_type} {token.access_token}"}

    return lambda: write_headers


def missing_driver(source: str, driver: str, error: Exception) -> SourceError:
    """Give the error for a database without its driver; `driver` is the beginning of a SQLAlchemy URL.

    The package is found by the module that could not be imported; where the dialect itself is unknown, by the names in
    the URL.
    """
    module = (getattr(error, "name", None) or "").partition(".")[0]
    if module == "pyarrow":  # it comes with the extra of the dialect
        module = ""
    names = (module,) if module else tuple(driver.partition("+")[::2])
    package = module.replace("_", "-") if module else f"the SQLAlchemy dialect for {names[0]}"
    package = next((_INSTALLED_BY[name] for name in names if name in _INSTALLED_BY), package)
    return SourceError(f"source {source}: there is no driver for {driver}", f"pip install {package}")
