"""Every driver's errors in one table (driver_errors.tsv): the kind that each is, and what of it is shown.

The words are those of the databases: from their sources, their manuals and threads about them, and, of SQLite, DuckDB,
PostgreSQL, MariaDB and ClickHouse, from themselves. `grant` is the value of a row there: a word that databases use.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.spec import FreshnessSettings, GuardSettings
from reconciler.sources.base import Query
from reconciler.sources.failures import Kind, Scrubber, classify
from reconciler.sources.messages import DatabaseMessage

from .conftest import segment

QUERY = "SELECT nope, customer_id FROM nowhere WHERE customer_id NOT IN ('jane.roe@example.com')"
VALUE = "grant"


class DriverError(Exception):
    """An error with whatever attributes a driver gives its own."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args)
        for name, value in attributes.items():
            setattr(self, name, value)


class OfMariadb(DriverError):
    __module__ = "mariadb"


def mysql_connector(code: str, words: str) -> Exception:
    number, state = code.split("/")
    return DriverError(int(number), f"{number} ({state}): {words}", state, msg=words, errno=int(number), sqlstate=state)


def mariadb(code: str, words: str) -> Exception:
    number, state = code.split("/")
    return OfMariadb(words, errno=int(number), sqlstate=state)


def snowflake(code: str, words: str) -> Exception:
    number, state = code.split("/")
    return DriverError(f"{int(number):06} ({state}): {words}", errno=int(number), sqlstate=state, raw_msg=words)


def clickhouse(code: str, words: str) -> Exception:
    number, name = code.split("/")
    server = f"server response: Code: {number}. DB::Exception: {words}. ({name}) (for url http://db:8123)"
    return DriverError(f"Received ClickHouse exception, code: {number}, {server}")


def bigquery(code: str, words: str) -> Exception:
    text = f"{words}; reason: invalidQuery, location: query, message: {words}\n\nLocation: US\nJob ID: x"
    return DriverError(DriverError(f"{code} {text}", message=text))


def trino(code: str, words: str) -> Exception:
    return DriverError({"message": words, "errorName": code, "errorType": "USER_ERROR", "failureInfo": {}}, "q1")


def hive(code: str, words: str) -> Exception:
    trace = words + "\n" + "\tat org.apache.spark.X.y(Password.scala:1)\n" * 50
    return DriverError(SimpleNamespace(status=SimpleNamespace(errorMessage=trace, sqlState=code or None)))


def databricks(code: str, words: str) -> Exception:
    return DriverError(words, message=words, context={"diagnostic-info": f"org.apache.X: {VALUE}\n\tat a.b(C.scala:1)"})


def pyodbc(code: str, words: str) -> Exception:
    state, number = code.split("/")
    driver = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
    return DriverError(state, f"[{state}] {driver}{words} ({number}) (SQLExecDirectW)")


def pymssql(code: str, words: str) -> Exception:
    return DriverError(
        int(code), f"{words}DB-Lib error message {code}, severity 16:\nGeneral SQL error: Check".encode()
    )


def oracledb(code: str, words: str) -> Exception:
    number = int(code.removeprefix("ORA-")) if code.startswith("ORA-") else 0
    help_page = f"\nHelp: https://docs.oracle.com/error-help/db/{code.lower()}/" if number else ""
    return DriverError(SimpleNamespace(message=f"{code}: {words}{help_page}", code=number, full_code=code))


DRIVERS: dict[str, tuple[str, Callable[[str, str], Exception]]] = {
    "pymysql": ("mysql", lambda code, words: DriverError(int(code), words)),
    "mysql-connector": ("mysql", mysql_connector),
    "mariadb": ("mariadb", mariadb),
    "psycopg": (
        "postgresql",
        lambda code, words: DriverError(words, sqlstate=code, diag=SimpleNamespace(message_primary=words)),
    ),
    "redshift_connector": ("redshift", lambda code, words: DriverError({"S": "ERROR", "C": code, "M": words})),
    "snowflake": ("snowflake", snowflake),
    "clickhouse-connect": ("clickhousedb", clickhouse),
    "bigquery": ("bigquery", bigquery),
    "trino": ("trino", trino),
    "pyathena": ("awsathena", lambda code, words: DriverError(words)),
    "pyhive": ("hive", hive),
    "pyhive, Spark": ("sparksql", hive),
    "databricks": ("databricks", databricks),
    "pyodbc": ("mssql", pyodbc),
    "pymssql": ("mssql", pymssql),
    "oracledb": ("oracle", oracledb),
    "ibm_db": ("ibm_db_sa", lambda code, words: DriverError(words)),
    "teradatasql": ("teradatasql", lambda code, words: DriverError(words)),
    "vertica": ("vertica", lambda code, words: DriverError(words)),
    "sqlite": ("nosuch", lambda code, words: DriverError(words)),
    "duckdb": ("nosuch", lambda code, words: DriverError(words)),
}
"""How each driver makes an error: the dialect of its URL, and an exception of a code and the words of the database.
A driver's own errors, which have no code, are made of their text."""


def read_table() -> list[list[str]]:
    with Path(__file__).with_name("driver_errors.tsv").open(encoding="utf-8") as lines:
        return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def make(driver: str, code: str, words: str) -> tuple[str, Exception]:
    dialect, of = DRIVERS[driver]
    text = words.replace("\\n", "\n").replace("\\t", "\t")
    return dialect, DriverError(text, message=text) if code == "-" else of(code, text)


@pytest.mark.parametrize(("driver", "code", "kind", "words", "shown"), read_table())
def test_an_error_is_sorted_and_shown_without_the_value_of_a_row(driver, code, kind, words, shown):
    dialect, error = make(driver, code, words)
    scrubber = Scrubber.of("w", Secret(f"{dialect}://reader@db/app"), (), ("reader", "db", "app"))

    explained = scrubber.explain(error, Query.of(segment(QUERY), dialect))

    assert classify(DatabaseMessage.of(error)).name == kind, explained.message
    assert explained.message == f"source w: {shown}"
    assert explained.hint == Kind[kind].value
    assert not re.search(rf"\b{VALUE}\b(?! SELECT)|org\.apache|Errno|\bat \w+\.", shown)


def test_what_plpgsql_raises_is_not_shown_whatever_sqlstate_it_gives():
    fields = {"S": "ERROR", "C": "22000", "M": f"{VALUE} is no member", "R": "exec_stmt_raise"}
    diagnosis = SimpleNamespace(message_primary=fields["M"], source_function="exec_stmt_raise")
    adbc = [("PG_DIAG_MESSAGE_PRIMARY", fields["M"].encode()), ("PG_DIAG_SOURCE_FUNCTION", b"exec_stmt_raise")]

    for error in (
        DriverError(fields),
        DriverError(fields["M"], sqlstate="22000", diag=diagnosis),
        DriverError(fields["M"], sqlstate="22000", details=adbc),
    ):
        assert classify(DatabaseMessage.of(error)) is Kind.RAISED


def refusal(use: Callable[[], object]) -> SourceError | None:
    try:
        use()
    except SourceError as error:
        return error
    return None


def test_the_same_holds_while_rows_are_streamed_for_freshness_and_when_a_query_is_checked(warehouse):
    warehouse.execute("DROP TABLE IF EXISTS words")
    warehouse.execute("CREATE TABLE words (id varchar(20))")
    warehouse.execute(f"INSERT INTO words VALUES ('{VALUE}')")
    of_sqlite = warehouse.name.startswith("sqlite")
    number, day = ("json({})", "json({})") if of_sqlite else ("CAST({} AS INT)", "CAST({} AS DATE)")
    settings = {"query": f"SELECT {day.format('id')} FROM words", "max_age": "26h"}
    guards = GuardSettings(freshness=FreshnessSettings.model_validate(settings))
    asking = segment("SELECT id FROM words").model_copy(update={"guards": guards})

    def ask() -> None:
        with warehouse.source.stream_values(asking):
            pass

    streamed = refusal(lambda: warehouse.read(f"SELECT {number.format('id')} AS id FROM words"))
    asked = refusal(ask)
    checked = refusal(lambda: warehouse.source.check(segment(f"SELECT {number.format(repr(VALUE))} AS id")))

    assert streamed is not None
    assert asked is not None
    for error in filter(None, (streamed, asked, checked)):  # a query need not fail when it is only checked
        assert error.hint == Kind.DATA.value
        assert VALUE not in f"{error.message} {error.hint}"
