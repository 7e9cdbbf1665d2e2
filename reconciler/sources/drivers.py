"""Which driver serves a URL, and which package has one that is missing."""

from importlib.util import find_spec

from sqlalchemy.engine import URL

from reconciler.errors import SourceError

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
