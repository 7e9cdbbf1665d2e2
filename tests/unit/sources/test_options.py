"""Options on their way to the driver: what arrives, what is refused, and that no error shows a secret."""

import socket
from contextlib import closing
from typing import Any

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Reference, Secret
from reconciler.models.options import Options, find_refused_parameters, read_options
from reconciler.models.urls import DatabaseUrl
from reconciler.sources import open_source
from reconciler.sources.base import Source
from reconciler.sources.failures import Kind, Scrubber
from reconciler.sources.messages import DatabaseMessage
from tests.unit.sources.conftest import Warehouse, read, segment

PASSWORD = "s3cret/w ord"
PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(letter * 64 for letter in "abcdef") + "\n-----END PRIVATE KEY-----"


def open_with(url: str, **options: object) -> Source:
    return open_source("warehouse", Secret(url), read_options(options))


def refuse(url: str, **options: object) -> SourceError:
    with pytest.raises(SourceError) as caught:
        open_with(url, **options).check(segment("SELECT 1"))
    return caught.value


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What SQLAlchemy was told to connect with; it then connects to nothing."""
    given: dict[str, Any] = {}

    def create_engine(url: object, **arguments: Any) -> None:
        given.update(arguments)
        raise ValueError("no engine")

    monkeypatch.setattr("reconciler.sources.rows.create_engine", create_engine)
    return given


# --- the reader of rows ----------------------------------------------------------------------------------------------


def test_options_go_to_the_driver(told):
    refuse("redshift+redshift_connector://etl@host/db", ssl=True, timeout=20, hosts=["a"])

    assert told["connect_args"] == {"ssl": True, "timeout": 20, "hosts": ["a"]}


@pytest.mark.parametrize("given", [{}, {"A": 1}, {"A": 1, "ROWS_PER_RESULTSET": 5}, {"rows_per_resultset": 5}])
def test_snowflake_gives_all_rows_whatever_the_user_or_the_options_say(told, given):
    refuse("snowflake://etl@account/db", role="ANALYST", session_parameters=given)

    others = {"A": 1} if "A" in given else {}
    assert told["connect_args"] == {"role": "ANALYST", "session_parameters": {**others, "ROWS_PER_RESULTSET": 0}}


def test_what_sqlalchemys_dialect_takes_goes_to_it(told):
    refuse("bigquery://project/dataset", credentials_info={"type": "service_account"}, location="EU", other=1)

    assert (told["credentials_info"], told["location"]) == ({"type": "service_account"}, "EU")
    assert told["connect_args"] == {"other": 1, "prefer_bqstorage_client": False}


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql"])
def test_mysql_is_read_in_a_character_set_that_holds_every_id(told, scheme):
    refuse(f"{scheme}://etl@host/db?charset=latin1", ssl_verify_cert=True)

    assert told["connect_args"] == {"ssl_verify_cert": True, "charset": "utf8mb4", "use_unicode": True}


@pytest.mark.parametrize(
    ("url", "arrives"),
    [
        ("mysql://etl@host/db", True),
        ("mysql+mysqldb://etl@host/db", True),
        ("postgresql+pg8000://etl@host/db", False),
        ("redshift+redshift_connector://etl@host/db", False),
        ("snowflake://etl@account/db", False),
        ("hive://etl@host/db", False),
    ],
)
def test_the_time_for_a_login_is_told_to_no_driver_that_would_end_a_query_by_it(told, url, arrives):
    refuse(url, connect_timeout=5)

    assert told["connect_args"].get("connect_timeout") == (5 if arrives else None)
    assert "timeout" not in told["connect_args"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mssql+pyodbc://etl@host/db?driver=x&autocommit=true", "autocommit"),
        ("mssql+pyodbc://etl@host/db?driver=x&AutoCommit=", "AutoCommit"),
        ("snowflake://etl@account/db?autocommit=False", "autocommit"),
        ("mysql://etl@host/db?autocommit=1", "autocommit"),
        ("mysql+mysqldb://etl@host/db?charset=latin1", "charset"),
        ("mysql+mysqldb://etl@host/db?charset=utf8mb4&use_unicode=0", "use_unicode"),
        ("oracle+oracledb://etl@host/db?encoding=WE8ISO8859P1", "encoding"),
        ("databricks://token:t@host?use_inline_params=true", "use_inline_params"),
    ],
)
def test_what_no_option_may_say_no_url_may_say_either(url, name):
    with pytest.raises(SourceError, match=rf"`{name}` in its url can't be set: what is read depends on it"):
        open_with(url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql+mysqldb://etl@host/db?charset=utf8mb4&use_unicode=1",
        "mysql://etl@host/db?charset=latin1",
        "mssql+pymssql://etl@host/db?charset=UTF-8",
        "postgresql://etl@host/db?client_encoding=latin1",
    ],
)
def test_a_url_may_say_that_texts_are_utf_8_and_what_is_overridden(url):
    found = find_refused_parameters(DatabaseUrl.parse(url))

    assert found == {}


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_options_are_parameters_of_libpq_for_both_drivers(postgres_warehouse: Warehouse):
    source = open_with(
        postgres_warehouse.url, application_name="of-options", keepalives=True, options="-c search_path=pg_catalog"
    )
    query = segment("SELECT concat_ws(' ', current_setting('application_name'), current_setting('search_path')) AS id")

    source.check(query)
    assert read(source, query.query) == [("of-options pg_catalog", True)]


def test_an_option_wins_over_the_url(postgres_warehouse):
    source = open_with(f"{postgres_warehouse.url}&application_name=of-url", application_name="of-options")

    assert read(source, "SELECT current_setting('application_name')") == [("of-options", True)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prepare_threshold": 5}, "`options.prepare_threshold` is no parameter of libpq"),
        ({"row_factory": "dict_row"}, "`options.row_factory` is no parameter of libpq"),
        ({"sslmode": ["a"]}, "`options.sslmode` must be a text, a number, true or false"),
        ({"sslmode": {"a": 1}}, "`options.sslmode` must be a text, a number, true or false"),
        ({"client_encoding": "latin1"}, "`options.client_encoding` can't be set: what is read depends on it"),
    ],
)
def test_what_libpq_does_not_take_is_named(options, problem):
    assert refuse("postgresql://u@h/d", **options).message == f"source warehouse: {problem}"


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite:///a.db", "duckdb://", "duckdb:///a.duckdb"])
def test_a_file_takes_no_options(url):
    message = "source warehouse: `options.timeout` is not taken: SQLite and DuckDB have no options"

    assert refuse(url, timeout=5).message == message


@pytest.mark.parametrize(
    ("url", "options", "place"),
    [
        ("postgresql://u@h/d", {"sslrootcert": "{}"}, "sslrootcert"),
        ("postgresql://u@h/d", {"passfile": "{}"}, "passfile"),
        ("snowflake://u@h/d", {"private_key_file": "{}"}, "private_key_file"),
        ("bigquery://p", {"credentials_path": "{}"}, "credentials_path"),
        ("mysql://u@h/d", {"ssl": {"key": "{}"}}, "ssl.key"),
    ],
)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "it is a folder, not a plain file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_by_its_option_before_anything_is_tried(
    tmp_path, url, options, place, make, reason
):
    path = tmp_path / "s3cret"
    make(path)
    given: Any = fill(options, str(path))

    error = refuse(url, **given)

    assert error.message == f"source warehouse: the file of `options.{place}` can't be read: {reason}"
    assert "s3cret" not in f"{error.message}{error.hint}"


def fill(value: object, text: str) -> object:
    return {key: fill(child, text) for key, child in value.items()} if isinstance(value, dict) else text


# --- secrets ---------------------------------------------------------------------------------------------------------


def options_with_secrets() -> Options:
    return read_options({"user": Reference("ada-l"), "password": PASSWORD, "private_key": PEM, "role": "ANALYST"})


@pytest.mark.parametrize(
    "spelling",
    ["s3cret/w ord", "s3cret%2Fw%20ord", "s3cret%2Fw+ord", "ada-l", PEM, repr(PEM), PEM.replace("\n", " "), "c" * 64],
)
def test_no_secret_of_the_options_is_in_an_error(monkeypatch, spelling):
    def create_engine(*_: object, **__: object) -> None:
        raise ValueError(f"role ANALYST can't log in with {spelling}")

    monkeypatch.setattr("reconciler.sources.rows.create_engine", create_engine)
    source = open_source("warehouse", Secret("snowflake://account"), options_with_secrets())

    with pytest.raises(SourceError) as caught:
        source.check(segment("SELECT 1"))

    everything = f"{caught.value.message}{caught.value.hint}{source!r}"
    for secret in (PASSWORD, "s3cret", "ada-l", "a" * 64, "c" * 64):
        assert secret not in everything
    assert "role ANALYST" in caught.value.message
    assert caught.value.__cause__ is None


def test_a_secret_is_masked_before_a_long_message_is_cut():
    secret = "x" * 400

    assert DatabaseMessage.of(ValueError(f"bad token {secret} here"), [secret]).text == "bad token *** here"


def test_a_server_that_is_not_there_shows_no_option(tmp_path):
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    error = refuse("postgresql://u@127.0.0.1/d", port=port, password=PASSWORD, sslrootcert="system", sslmode="disable")

    assert "connection" in error.message
    assert "s3cret" not in f"{error.message}{error.hint}"


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "snowflake://account"])
def test_a_source_that_is_printed_shows_no_option(url):
    assert "s3cret" not in repr(open_with(url, password=PASSWORD))


# --- logins of drivers that need more than a value -------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"oauth_client_id": "id"}, {"session_configuration": {"a": "b"}}])
def test_databricks_without_a_login_is_refused_and_opens_no_browser(told, options):
    error = refuse("databricks://host?http_path=/sql/1", **options)

    assert "no login is given" in error.message
    assert error.hint == Kind.AUTH.value
    assert told == {}


@pytest.mark.parametrize("options", [{"access_token": "t"}, {"auth_type": "azure-sp-m2m", "azure_client_id": "a"}])
def test_databricks_with_a_login_of_its_driver_is_left_to_it(told, options):
    refuse("databricks://host?http_path=/sql/1", **options)

    assert told["connect_args"] == options


def test_what_a_dialect_raises_while_it_makes_an_engine_is_explained(monkeypatch):
    def create_engine(*_: object, **__: object) -> None:
        raise LookupError(f"no credentials with {PASSWORD}")  # as Google's own errors, of no common class

    monkeypatch.setattr("reconciler.sources.rows.create_engine", create_engine)

    error = refuse("bigquery://project", credentials_base64=PASSWORD)

    assert (error.message, error.hint) == ("source warehouse: no credentials with ***", Kind.AUTH.value)


@pytest.mark.parametrize("text", ["File x.json was not found", "something"])
def test_before_a_query_runs_the_next_step_is_not_about_a_query(text):
    error = Scrubber("warehouse", ()).explain(ValueError(text))

    assert error.hint == Kind.OPTIONS.value
