"""What can go wrong with a state, and what people are told."""

import errno
import sqlite3
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy.exc

from reconciler.core.spec import Secret, StateSettings
from reconciler.errors import StateError
from reconciler.state import open_ledger, open_snapshot
from reconciler.state.address import SqliteAddress, parse
from reconciler.state.failures import explain, explained, to_state_error
from tests.support.states import ACKNOWLEDGED, Bench, add


def settings(url: str) -> StateSettings:
    return StateSettings(Secret(url))


def fail_at_both(url: str) -> list[StateError]:
    errors = []
    for use in (lambda: open_snapshot(settings(url)), lambda: open_ledger(settings(url)).__enter__()):
        with pytest.raises(StateError) as caught:
            use()
        assert caught.value.hint
        errors.append(caught.value)
    return errors


def test_a_file_that_is_not_a_database_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "state.db"
    file.write_text("a list of groceries, long enough to be read as a header\n" * 100)
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


def test_a_truncated_file_is_told(sqlite_bench: Bench):
    sqlite_bench.send((add(*(f"{n:06}" for n in range(1000))), ACKNOWLEDGED))
    file = Path(sqlite_bench.url.removeprefix("sqlite:///"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(StateError) as caught:
        sqlite_bench.look()
    assert "damaged" in caught.value.message
    assert "backup" in caught.value.hint


def test_a_file_cut_to_nothing_is_a_state_that_is_missing(sqlite_bench: Bench):
    sqlite_bench.send((add("a"), ACKNOWLEDGED))
    Path(sqlite_bench.url.removeprefix("sqlite:///")).write_bytes(b"")
    with pytest.raises(StateError, match="no state"):
        open_snapshot(StateSettings(Secret(sqlite_bench.url), must_exist=True))
    assert open_snapshot(sqlite_bench.settings).head("production", 56).is_new


def test_a_full_disk_is_told_and_nothing_of_the_write_stays(sqlite_bench: Bench):
    sqlite_bench.send((add("a"), ACKNOWLEDGED))
    with sqlite_bench.ledger() as ledger, ledger.hold(sqlite_bench.target(), "run", None) as held:
        with ledger._database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
        many = [add(*(f"{n:0100}" for n in range(1000)))] * 3
        with pytest.raises(StateError, match="disk of the state is full") as caught:
            held.intend(many)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert sqlite_bench.look().journal == ()


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
        ("mysql://u:hunter2@host/db", "mysql"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///file:state.db?uri=true", "plain file"),
        ("hunter2 is no url", "can't be read"),
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


def test_every_way_to_write_a_postgresql_url_is_understood(postgres_url: str):
    rest = postgres_url.partition("://")[2]
    for scheme in ("postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        bench = Bench(f"{scheme}://{rest}")
        bench.send((add(scheme), ACKNOWLEDGED))
        assert scheme in bench.look().members


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
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), "can't be written"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "busy"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), "damaged"),
        (psycopg.errors.DiskFull("words"), "full"),
        (psycopg.errors.ReadOnlySqlTransaction("words"), "can't be written"),
        (psycopg.errors.FeatureNotSupported("words"), "can't be written"),
        (psycopg.errors.QueryCanceled("words"), "took too long"),
        (psycopg.errors.InsufficientPrivilege("words"), "does not let us"),
        (psycopg.errors.InvalidPassword("words"), "login"),
        (psycopg.errors.AdminShutdown("words"), "reached"),
        (psycopg.errors.TooManyConnections("words"), "connections"),
        (psycopg.OperationalError("connection refused"), "reached"),
        (OSError(errno.ENOSPC, "words"), "full"),
        (PermissionError("words"), "can't be written"),
    ],
)
def test_each_kind_of_failure_has_its_words_and_a_next_step(error, words):
    result = to_state_error(error, SqliteAddress(Path("state.db")))
    assert words in result.message
    assert result.hint
    assert result.__cause__ is error


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


def test_a_state_that_lacks_a_table_is_named_when_it_is_read(sqlite_bench: Bench):
    sqlite_bench.send((add("a"), ACKNOWLEDGED))
    with sqlite3.connect(Path(sqlite_bench.url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DROP TABLE reconcile_workspaces")
    connection.close()
    with pytest.raises(StateError, match="lacks a table") as caught:
        sqlite_bench.look()
    assert str(parse(sqlite_bench.settings.url)) in caught.value.message
