"""What databases say, sorted and scrubbed."""

import sqlite3
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import ModuleType

import pytest
from sqlalchemy.engine import make_url

from reconciler.embedded_duckdb import SPILL_PREFIX, sweep
from reconciler.errors import SourceError
from reconciler.escaping import mask
from reconciler.models.fields import Scalar, Secret
from reconciler.sources.base import Query
from reconciler.sources.drivers import choose_driver
from reconciler.sources.failures import Kind, Scrubber, classify
from reconciler.sources.messages import DatabaseMessage, list_secrets, redact
from reconciler.sources.rows import RowSource
from tests.support.one_duckdb import open_cursor

from .conftest import open_url, rows_of, segment

PASSWORD = "s3cret/p@ss"
MEMBER = "ada@example.com"


def everything(error: BaseException) -> str:
    """All that a user may ever see of an error."""
    hint = getattr(error, "hint", "")
    return f"{error!r} {error} {hint} {''.join(traceback.format_exception(error))}"


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ("SELECT nope FROM nobody", Kind.MISSING, "nope"),
        ("SELECT id FROM nowhere", Kind.MISSING, "nowhere"),
        ("SELECT id FROMM nobody x", Kind.SYNTAX, "nobody|FROMM|x"),
        ("this is no SQL", Kind.SYNTAX, "this|is"),
    ],
)
def test_a_wrong_query_is_told_in_the_words_of_the_database(warehouse, query, kind, words):
    for use in (warehouse.read, lambda query: warehouse.source.check(segment(query))):
        with pytest.raises(SourceError, match=words) as caught:
            use(query)

        assert str(caught.value).startswith("source warehouse: ")
        assert "\n" not in str(caught.value)
        assert caught.value.hint == kind.value


def test_a_right_query_passes_the_check_and_is_not_read(warehouse):
    warehouse.source.check(segment("SELECT id FROM nobody WHERE id = :id -- the end", id="a"))
    warehouse.source.check(segment(f"SELECT n FROM {warehouse.series(10**12)}"))


BAD_ROW = {
    "sqlite": "SELECT CASE n WHEN 70000 THEN abs(-9223372036854775807 - 1) ELSE 'id' END FROM {}",
    "duckdb": "SELECT CASE n WHEN 70000 THEN CAST('ada@example.com' || n AS INT) ELSE n END FROM {}",
    "postgres": "SELECT CASE n WHEN 70000 THEN CAST('ada@example.com' || n AS INT) ELSE n END FROM {}",
}


def test_an_error_in_a_late_row_is_a_source_error_without_the_row(warehouse):
    query = BAD_ROW[warehouse.name.partition("-")[0]].format(warehouse.series(70000))

    with pytest.raises(SourceError) as caught:
        warehouse.read(query)

    assert caught.value.hint in {Kind.DATA.value, Kind.OTHER.value}
    assert "ada" not in everything(caught.value)


def test_a_param_is_not_shown(warehouse):
    with pytest.raises(SourceError) as caught:
        warehouse.read("SELECT nope FROM nobody WHERE id = :member AND CAST(:member AS INT) = 1", member=MEMBER)

    assert "ada" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("reader", ["postgres", "postgres_rows"])
def test_what_a_function_raises_may_be_a_row_and_is_not_shown(request, reader):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    warehouse.execute(
        "CREATE OR REPLACE FUNCTION fail(id text) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no such member: %', id USING DETAIL = id; END $$"
    )

    with pytest.raises(SourceError, match="may hold a row") as caught:
        warehouse.read(f"SELECT fail('{MEMBER}') FROM {warehouse.series(2)}")

    assert "ada" not in str(caught.value)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_a_server_that_is_not_there(tmp_path, driver):
    url = make_url(f"{driver}://ada@/app").set(password=PASSWORD).update_query_dict({"host": str(tmp_path)})
    text = url.render_as_string(hide_password=False)
    native, rows = (
        open_url(text),
        RowSource(url, Scrubber.of("warehouse", Secret(text), list_secrets(url))),
    )

    for source in (native, rows):
        with pytest.raises(SourceError, match="connection") as caught:
            source.check(segment("SELECT 1"))

        assert caught.value.hint == Kind.CONNECT.value
        for spelling in (PASSWORD, "s3cret", text):
            assert spelling not in everything(caught.value)
            assert spelling not in repr(source)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss%2Fword@h/d",
        "postgresql://u@h/d?sslpassword=p%40ss%2Fword",
        "snowflake://u@h/d?token=p%40ss%2Fword",
        "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D%7Bp%40ss%2Fword%7D%3BServer%3Dh",
    ],
)
@pytest.mark.parametrize("spelling", ["p@ss/word", "p%40ss%2Fword"])
def test_a_secret_of_the_url_is_masked_in_every_spelling(url, spelling):
    scrubber = Scrubber.of("warehouse", Secret(url), list_secrets(make_url(url)))

    error = scrubber.explain(ValueError(f"connection refused with {spelling} for u"))

    assert error.message == "source warehouse: connection refused with *** for u"


def test_a_user_that_is_not_known(postgres_warehouse):
    url = make_url(postgres_warehouse.url).set(username="nobody_at_all")

    with pytest.raises(SourceError, match="nobody_at_all") as caught:
        open_url(url.render_as_string()).check(segment("SELECT 1"))

    assert caught.value.hint == Kind.AUTH.value


def test_a_database_that_is_not_there(postgres_warehouse):
    url = make_url(postgres_warehouse.url).set(database="nowhere_at_all")

    with pytest.raises(SourceError, match="nowhere_at_all") as caught:
        open_url(url.render_as_string()).check(segment("SELECT 1"))

    assert caught.value.hint == Kind.CONNECT.value


def test_a_table_that_may_not_be_read(postgres_warehouse):
    postgres_warehouse.execute("DROP TABLE IF EXISTS closed")
    postgres_warehouse.execute("CREATE TABLE closed (id text)")
    postgres_warehouse.execute("DROP ROLE IF EXISTS reader")
    postgres_warehouse.execute("CREATE ROLE reader LOGIN")
    url = make_url(postgres_warehouse.url).set(username="reader").render_as_string()

    with (
        pytest.raises(SourceError, match="permission denied") as caught,
        open_url(url).stream_values(segment("SELECT id FROM closed")),
    ):
        pass

    assert caught.value.hint == Kind.DENIED.value


def read_some_and_break(warehouse, query):
    with warehouse.source.stream_values(segment(query)) as values, open_cursor() as reading:
        rows = rows_of(values, reading)
        next(rows)
        warehouse.raw(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        for _ in rows:
            pass


@pytest.mark.parametrize("reader", ["postgres", "postgres_rows"])
def test_a_connection_that_breaks_midway(request, reader):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")

    with pytest.raises(SourceError) as caught:
        read_some_and_break(warehouse, "SELECT generate_series(1, 100000000)")

    assert caught.value.hint in {Kind.LOST.value, Kind.SHUTDOWN.value}  # the server's reason may not arrive


def test_a_sqlite_database_that_somebody_has_locked(sqlite_warehouse, monkeypatch):
    monkeypatch.setattr("reconciler.sources.sqlite.BUSY_SECONDS", 0.001)
    writer = sqlite3.connect(make_url(sqlite_warehouse.url).database, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")

    with pytest.raises(SourceError, match="locked") as caught:
        sqlite_warehouse.read("SELECT id FROM nobody")

    assert caught.value.hint == Kind.BUSY.value
    writer.close()


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("postgresql+psycopg://h/d", "adbc_driver_postgresql", "'reconcile-segments[postgres]'"),
        ("mysql+pymysql://h/d", "pymysql", "'reconcile-segments[mysql]'"),
        ("mysql://h/d", "pymysql", "'reconcile-segments[mysql]'"),
        ("mariadb://h/d", "pymysql", "'reconcile-segments[mysql]'"),
        ("mysql+mysqldb://h/d", "MySQLdb", "mysqlclient"),
        ("mysql+mysqlconnector://h/d", "mysql", "mysql-connector-python"),
        ("postgresql+psycopg2://h/d", "psycopg2", "psycopg2-binary"),
        ("mssql+pyodbc://h/d", "pyodbc", "pyodbc"),
        ("oracle+oracledb://h/d", "oracledb", "oracledb"),
        ("snowflake://h/d", "snowflake", "'reconcile-segments[snowflake]'"),
        ("redshift+redshift_connector://h/d", "redshift_connector", "'reconcile-segments[redshift]'"),
        ("clickhousedb://h/d", "clickhouse_connect", "'reconcile-segments[clickhouse]'"),
        ("trino://h/d", "trino", "'trino[sqlalchemy]'"),
        ("nosuch://h/d", "nosuch", "the SQLAlchemy dialect for nosuch"),
    ],
)
def test_a_driver_that_is_not_installed_is_named_with_its_package(monkeypatch, url, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    for module_of_ours in ("postgres", "postgres_members"):
        monkeypatch.delitem(sys.modules, f"reconciler.sources.{module_of_ours}", raising=False)

    with pytest.raises(SourceError, match="there is no driver") as caught:
        open_url(url).check(segment("SELECT 1"))

    assert caught.value.hint == f"pip install {package}"


def test_a_client_of_spark_connect_that_is_not_installed_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)  # a worker of the tests is a program from `python -c`
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "reconciler.sources.spark", raising=False)

    with pytest.raises(SourceError, match="source warehouse: there is no client for Spark Connect") as caught:
        open_url("sc://h/;token=secret")

    assert caught.value.hint == "pip install 'reconcile-segments[spark]'"


def test_a_program_that_the_client_of_spark_connect_would_end_is_refused(monkeypatch):
    monkeypatch.delattr(sys, "ps1", raising=False)
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # as below `python -c`

    with pytest.raises(SourceError, match="python -c") as caught:
        open_url("sc://h")

    assert "reconcile" in caught.value.hint


def test_a_module_that_is_missed_only_when_it_connects_is_named_with_its_package(sqlite_rows_warehouse, monkeypatch):
    def connect(*_args: object, **_options: object) -> None:
        raise ModuleNotFoundError("No module named 'thrift_sasl'", name="thrift_sasl")

    monkeypatch.setattr("sqlalchemy.engine.Engine.connect", connect)

    with pytest.raises(SourceError, match="there is no driver") as caught:
        sqlite_rows_warehouse.source.check(segment("SELECT 1"))

    assert caught.value.hint == "pip install 'pyhive[hive-pure-sasl]'"


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
def test_mysql_means_pymysql_whatever_is_installed(scheme):
    url = make_url(f"{scheme}://u@h/d")

    assert choose_driver(url).drivername == f"{scheme}+pymysql"
    assert choose_driver(url.set(drivername="mysql+mysqldb")).drivername == "mysql+mysqldb"


@pytest.mark.parametrize("url", ["", "not a url", "postgresql://u:p@host:port/db", "//x"])
def test_a_url_that_is_none_is_not_shown(url):
    with pytest.raises(SourceError, match="source warehouse: its url ") as caught:
        open_url(url)

    assert not url or url not in everything(caught.value).replace("test_a_url", "")


def test_a_url_with_an_option_that_libpq_does_not_know():
    with pytest.raises(SourceError, match="colour"):
        open_url("postgresql://u@h/d?colour=red")


def test_an_error_of_the_reader_passes_as_it_is(warehouse):
    with pytest.raises(ZeroDivisionError), warehouse.source.stream_values(segment("SELECT 1")):
        raise ZeroDivisionError


# --- pure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sqlstate", "kind"),
    [
        ("anything", "28P01", Kind.AUTH),
        ("anything", "42P01", Kind.MISSING),
        ("anything", "22P02", Kind.DATA),
        ("anything", "57P01", Kind.SHUTDOWN),
        ("Access denied for user 'a'@'b'", None, Kind.AUTH),
        ("Can't connect to MySQL server on 'db'", None, Kind.CONNECT),
        ("Lost connection to MySQL server during query", None, Kind.LOST),
        ("You have an error in your SQL syntax", None, Kind.SYNTAX),
        ("Table 'app.people' doesn't exist", None, Kind.MISSING),
        ("Cannot execute statement in a READ ONLY transaction.", None, Kind.READ_ONLY),
        ("Conversion Error: Could not convert string 'syntax error' to INT32", None, Kind.DATA),
        ("something new", None, Kind.OTHER),
    ],
)
def test_messages_are_classified_by_sqlstate_and_then_by_words(words, sqlstate, kind):
    assert classify(DatabaseMessage(words, sqlstate)) is kind


@pytest.mark.parametrize(
    "words",
    [
        "Could not convert string 'ada@example.com' to INT32",
        'invalid input syntax for type integer: "ada@example.com"',
        "could not read 'ada's id: ada@example.com'",
        "Bad int64 value: ada@example.com",
        "value ada is out of range",
        "no ada@example.com here",
    ],
)
def test_values_are_taken_out_of_words(words):
    assert "ada" not in redact(words)


def query(text: str = "SELECT id FROM members", **params: Scalar) -> Query:
    return Query.of(segment(text, **params), "postgresql")


def test_unknown_words_are_not_shown_once_a_query_was_sent():
    error = Scrubber("warehouse", ()).explain(ValueError("no such member: ada"), query())

    assert "ada" not in str(error)


def test_a_detail_is_dropped():
    scrubber = Scrubber("warehouse", ())
    words = 'ERROR:  duplicate key\nDETAIL:  Key (id)=(ada) already exists.\nCONTEXT:  "ada"'
    error = ValueError(words)

    assert "ada" not in str(scrubber.explain(error, query()))
    assert "duplicate key" in str(scrubber.explain(error, query()))


def test_a_secret_is_masked_where_it_stands_alone():
    assert mask("at db: password 'db' of adb, db.", ["db"], as_words=True) == "at ***: password '***' of adb, ***."


# --- the life of a stream ----------------------------------------------------------------------------------------

ENDLESS = {
    "sqlite": "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT n FROM s",
    "duckdb": "SELECT range FROM range(1000000000000)",
    "postgres": "SELECT generate_series(1, 1000000000000)",
}


@pytest.mark.parametrize("reader", [*ENDLESS, "postgres_rows"])
def test_rows_come_before_the_query_has_ended_and_the_rest_may_be_left(request, reader):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    query = ENDLESS[reader.partition("_")[0]]

    with warehouse.source.stream_values(segment(query)) as values, open_cursor() as reading:
        rows = list(islice(rows_of(values, reading), 3))

    assert len(rows) == 3


def count(values):
    with open_cursor() as reading:
        return sum(value is not None for value, _ in rows_of(values, reading))


def test_a_stream_may_be_read_in_another_thread(warehouse):
    with (
        warehouse.source.stream_values(segment(f"SELECT n FROM {warehouse.series(120_000)}")) as values,
        ThreadPoolExecutor(max_workers=1) as threads,
    ):
        assert threads.submit(count, values).result() == 120_000


def test_a_stream_need_not_be_read(warehouse):
    with warehouse.source.stream_values(segment("SELECT 1")) as values:
        assert values is not None


@pytest.mark.parametrize("reader", ["postgres", "postgres_rows"])
def test_no_connection_is_left_behind(request, reader):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")

    with pytest.raises(ZeroDivisionError), warehouse.source.stream_values(segment(ENDLESS["postgres"])):
        raise ZeroDivisionError

    others = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    for _ in range(1000):  # the server notices a closed connection a moment later
        if warehouse.raw(others) == [0]:
            return
    assert warehouse.raw(others) == [0]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_no_folder_is_left_behind(duckdb_warehouse, temporary):
    duckdb_warehouse.read("SELECT 1")

    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_dead_run_is_deleted_by_the_next_and_that_of_a_living_one_is_not(duckdb_warehouse, temporary):
    dead = temporary / f"{SPILL_PREFIX}1-dead"
    dead.mkdir()

    with duckdb_warehouse.source.stream_values(segment("SELECT 1")):
        (living,) = temporary.iterdir()
        sweep(temporary)
        (still,) = temporary.iterdir()

    assert living == still != dead
    assert living.name.startswith(SPILL_PREFIX)


def test_a_failure_leaves_nothing_on_stderr_when_the_process_ends(sqlite_warehouse):
    """DuckDB's binding complains at exit about connections that a kept error still holds."""
    script = f"""
import duckdb
from reconciler.models.spec import Secret, Segment, SourceSettings
from reconciler.errors import SourceError
from reconciler.sources import open_source
kept = []
source = open_source("w", Secret({sqlite_warehouse.url!r}))
try:
    segment = Segment(name="s", segment_id=1, query="SELECT abs(-9223372036854775807 - 1)", source="w")
    with source.stream_values(segment) as values, duckdb.connect() as reading:
        reading.register("incoming", values.rows)
        reading.execute("SELECT * FROM incoming").fetchall()
except SourceError as error:
    kept.append(error)
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("refused\n", "")
