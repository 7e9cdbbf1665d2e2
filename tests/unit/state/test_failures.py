"""What can go wrong with a state, and what users read then."""

import errno
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import adbc_driver_manager
import psycopg
import pytest
import sqlalchemy.exc

from reconciler.errors import StateError
from reconciler.models.fields import Secret
from reconciler.models.spec import StateSettings
from reconciler.state import open_snapshot, open_store
from reconciler.state.failures import explain, explained
from reconciler.state.location import SqliteAddress, parse
from tests.support.states import ACKNOWLEDGED, StateFixture, add


def settings(url: str) -> StateSettings:
    return StateSettings(url=Secret(url))


def fail_at_both(url: str) -> list[StateError]:
    errors = []
    for use in (lambda: open_snapshot(settings(url)), lambda: open_store(settings(url)).__enter__()):
        with pytest.raises(StateError) as caught:
            use()
        assert caught.value.hint
        errors.append(caught.value)
    return errors


@pytest.mark.parametrize("size", [1, 2, 99, 100, 5_000])
def test_a_file_that_is_not_a_database_is_refused_and_left_alone(tmp_path, size):
    file = tmp_path / "state.db"
    file.write_text(("a list of groceries, long enough to be read as a header\n" * 100)[:size])
    file.chmod(0o644)
    before = file.read_bytes()
    for error in fail_at_both(f"sqlite:///{file}"):
        assert "not a state" in error.message
    assert file.read_bytes() == before
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "warehouse.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE customers (id)")
    connection.close()
    before = file.read_bytes()
    for error in fail_at_both(f"sqlite:///{file}"):
        assert "other tables" in error.message
    assert file.read_bytes() == before


def test_a_truncated_file_is_told(sqlite_state: StateFixture):
    sqlite_state.send((add(*(f"{n:06}" for n in range(1000))), ACKNOWLEDGED))
    file = Path(sqlite_state.url.removeprefix("sqlite:///"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StateError) as caught:
        sqlite_state.look()
    assert "damaged" in caught.value.message
    assert "backup" in caught.value.hint


def test_a_file_cut_to_nothing_is_a_state_that_is_missing(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    Path(sqlite_state.url.removeprefix("sqlite:///")).write_bytes(b"")
    with pytest.raises(StateError, match="no state"):
        open_snapshot(StateSettings(url=Secret(sqlite_state.url), must_exist=True))
    assert open_snapshot(sqlite_state.settings).head("production", 56).is_new


def test_a_full_disk_is_told_and_nothing_of_the_write_stays(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        with store.database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
        many = [add(*(f"{n:0100}" for n in range(1000)))] * 3
        with pytest.raises(StateError, match="disk of the state is full") as caught:
            segment.intend(many)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert sqlite_state.look().journal == ()


def test_a_path_through_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for error in fail_at_both(f"sqlite:///{tmp_path}/file/state.db"):
        assert "state" in error.message


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    (tmp_path / "state.db").mkdir()
    fail_at_both(f"sqlite:///{tmp_path}/state.db")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:hunter2@host/db", "no other database"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:state.db?uri=true", "plain file"),
        ("hunter2 is no url", "SQLAlchemy URL"),
    ],
)
def test_a_url_that_cannot_hold_a_state_is_refused(url, words):
    with pytest.raises(StateError, match=words) as caught:
        open_snapshot(settings(url))
    assert "hunter2" not in str(caught.value)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_a_server_that_cannot_be_reached_is_told_without_the_password(tmp_path):
    for error in fail_at_both(f"postgresql://me:hunter2@/db?host={tmp_path}"):
        assert "can't be reached" in error.message
        assert "hunter2" not in f"{error} {error.hint} {error.__cause__!r}"


def test_a_database_that_does_not_exist_is_told(postgres_server):
    for error in fail_at_both(postgres_server.url("no_such_database")):
        assert "does not exist" in error.message or "can't be reached" in error.message


@pytest.fixture
def barred(postgres_server, postgres_url: str) -> Iterator[str]:
    """The URL of a state for a role that may not create anything, and of another one that may not connect."""
    postgres_server.execute("CREATE ROLE barred_from_state LOGIN")
    yield postgres_url.replace("postgres@", "barred_from_state@")
    postgres_server.execute("DROP ROLE barred_from_state")


def test_a_role_that_may_not_create_tables_is_told_so_when_it_writes(barred):
    assert open_snapshot(settings(barred)).head("production", 56).is_new

    with pytest.raises(StateError, match="may not use the schema") as caught:
        open_store(settings(barred)).__enter__()

    assert "GRANT USAGE, CREATE ON SCHEMA" in caught.value.hint


def test_a_role_whose_connections_are_used_up_is_told_so(postgres_server, barred):
    postgres_server.execute("ALTER ROLE barred_from_state CONNECTION LIMIT 0")

    for error in fail_at_both(barred):
        assert "no connection left" in error.message


def test_every_way_to_write_a_postgresql_url_is_understood(postgres_url: str):
    rest = postgres_url.partition("://")[2]
    for scheme in ("postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        state = StateFixture(f"{scheme}://{rest}")
        state.send((add(scheme), ACKNOWLEDGED))
        assert scheme in state.look().members


def test_an_address_shows_no_password():
    address = parse(Secret("postgresql://me:hunter2@db.example/state"))
    assert str(address) == "PostgreSQL state on db.example"
    assert "hunter2" not in f"{address!r} {address}"


def test_a_driver_that_is_not_installed_is_told_with_the_command_to_run(monkeypatch, postgres_url: str):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StateError, match="not installed") as caught:
        open_snapshot(settings(postgres_url))
    assert "reconcile-segments[postgres]" in caught.value.hint


# --- the table -------------------------------------------------------------------------------------------------------


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), "full"),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), "disk of the state fails"),
        (sqlite_error(sqlite3.SQLITE_IOERR_SHMSIZE), "disk of the state is full"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), "disk of the state takes no more"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), "can't be written"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "busy"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), "damaged"),
        (psycopg.errors.DiskFull("words"), "full"),
        (psycopg.errors.ReadOnlySqlTransaction("words"), "can't be written"),
        (psycopg.errors.FeatureNotSupported("words"), "can't be written"),
        (psycopg.errors.QueryCanceled("words"), "took too long"),
        (psycopg.errors.InsufficientPrivilege("words"), "does not let us"),
        (psycopg.errors.InvalidPassword("words"), "login"),
        (psycopg.errors.AdminShutdown("words"), "stopped"),
        (psycopg.errors.TooManyConnections("words"), "no connection left"),
        (psycopg.OperationalError("connection refused"), "reached"),
        (OSError(errno.ENOSPC, "words"), "full"),
        (PermissionError("words"), "for lack of permission"),
    ],
)
def test_each_kind_of_failure_has_its_words_and_a_next_step(error, words):
    with pytest.raises(StateError) as caught, explained(SqliteAddress(Path("state.db"))):
        raise error
    result = caught.value
    assert words in result.message
    assert result.hint
    assert result.__cause__ is error


NEEDS_TLS = 'no pg_hba.conf entry for host "10.0.0.1", user "u", database "d", no encryption'


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (sqlite_error(sqlite3.SQLITE_READONLY_CANTINIT), "-shm", "write to the folder"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DIRECTORY), "-shm", "write to the folder"),
        (psycopg.errors.QueryCanceled("canceling statement due to statement timeout"), "too long", "busy"),
        (psycopg.errors.QueryCanceled("canceling statement due to user request"), "cancelled", "run it again"),
        (psycopg.errors.SerializationFailure("could not serialize access"), "busy", "run it again"),
        (
            psycopg.errors.SerializationFailure("canceling statement due to conflict with recovery"),
            "standby",
            "hot_standby_feedback",
        ),
        (psycopg.errors.IdleInTransactionSessionTimeout("words"), "for its age", "idle_in_transaction_session_timeout"),
        (psycopg.errors.TransactionTimeout("words"), "for its age", "transaction_timeout"),
        (psycopg.errors.CannotConnectNow("words"), "starting", "when it is up"),
        (psycopg.errors.InsufficientPrivilege("permission denied for schema app"), "schema", "GRANT USAGE, CREATE"),
        (psycopg.errors.InsufficientPrivilege("permission denied for table t"), "does not let us", "grant"),
        (psycopg.errors.InvalidSchemaName("no schema has been selected to create in"), "no schema", "search_path"),
        (psycopg.OperationalError('FATAL: too many connections for role "u"'), "no connection left", "raise the limit"),
        (psycopg.OperationalError("FATAL: sorry, too many clients already"), "no connection left", "raise the limit"),
        (psycopg.OperationalError("the database system is starting up"), "starting", "when it is up"),
        (psycopg.OperationalError('database "d" does not exist'), "does not exist", "create it"),
        (psycopg.OperationalError('role "u" does not exist'), "login", "user and password"),
        (psycopg.OperationalError("SSL error: certificate verify failed"), "certificate", "sslrootcert"),
        (
            psycopg.OperationalError('server certificate for "a" does not match host name "b"'),
            "another host",
            "as the certificate names it",
        ),
        (psycopg.OperationalError("server does not support SSL, but SSL was required"), "no TLS", "sslmode"),
        (psycopg.OperationalError(NEEDS_TLS), "TLS", "sslmode=require"),
        (adbc_driver_manager.OperationalError("too many connections", status_code=10), "no connection", "limit"),
    ],
)
def test_what_has_a_next_step_of_its_own_is_told_with_it(error, words, hint):
    with pytest.raises(StateError) as caught, explained(SqliteAddress(Path("state.db"))):
        raise error
    result = caught.value

    assert words in result.message
    assert hint in result.hint


@pytest.mark.parametrize(
    "more",
    ['CONTEXT:  COPY picked, line 3: "secret-id"', "DETAIL:  Key (id)=(secret-id)", "LINE 1: SELECT 'secret-id'"],
)
def test_what_postgresql_adds_to_its_words_may_be_an_id_and_is_not_chained(more):
    error = psycopg.errors.QueryCanceled(f"canceling statement due to statement timeout\n{more}")

    with pytest.raises(StateError) as caught, explained(SqliteAddress(Path("state.db"))):
        raise error
    result = caught.value

    assert "too long" in result.message
    assert result.__cause__ is None


def test_an_error_that_may_quote_an_id_is_not_chained():
    error = psycopg.errors.UniqueViolation("Key (id)=(secret-id) already exists")
    assert not explain(error).quotable
    with pytest.raises(StateError) as caught, explained(SqliteAddress(Path("state.db"))):
        raise sqlalchemy.exc.IntegrityError("INSERT", {"id": "secret-id"}, error)
    assert caught.value.__cause__ is None
    assert "secret-id" not in str(caught.value)


def test_errors_of_ours_pass_as_they_are():
    with pytest.raises(ZeroDivisionError), explained(SqliteAddress(Path("state.db"))):
        raise ZeroDivisionError


def test_a_state_that_lacks_a_table_is_named_when_it_is_read(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    with sqlite3.connect(Path(sqlite_state.url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DROP TABLE reconcile_workspaces")
    connection.close()
    with pytest.raises(StateError, match="lacks a table") as caught:
        sqlite_state.look()
    assert str(parse(sqlite_state.settings.url)) in caught.value.message
