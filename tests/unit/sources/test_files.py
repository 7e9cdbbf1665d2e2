"""Files that are missing, closed, of another kind, or in a folder that can't be written to."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from reconciler.errors import SourceError
from reconciler.sources.failures import Kind
from tests.support.one_duckdb import open_cursor, open_file

from .conftest import open_url, read, segment


def fail(url: str, query: str = "SELECT 1", **params: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(open_url(url), query, **params)
    return caught.value


# --- SQLite ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def wal_file(tmp_path: Path) -> Path:
    """A database in WAL mode that nobody has open."""
    file = tmp_path / "warehouse.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE customers AS SELECT 'c1' AS id UNION SELECT 'c2'")
        connection.commit()
    assert not file.with_name("warehouse.db-wal").exists()
    return file


@pytest.fixture
def closed_folder(monkeypatch):
    """No folder can be written to; for root none is, so the system is asked in its place."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & os.W_OK)


@pytest.mark.usefixtures("closed_folder")
def test_a_wal_database_in_a_folder_that_cannot_be_written_to_is_read_as_it_lies_there(wal_file):
    source = open_url(f"sqlite:///{wal_file}")

    source.check(segment("SELECT id FROM customers"))
    rows = read(source, "SELECT id FROM customers ORDER BY id")

    assert rows == [("c1", True), ("c2", True)]
    assert [each.name for each in wal_file.parent.iterdir()] == ["warehouse.db"]


@pytest.mark.usefixtures("closed_folder")
def test_what_was_read_while_somebody_wrote_is_refused(wal_file):
    source = open_url(f"sqlite:///{wal_file}")

    with (
        pytest.raises(SourceError, match="written to while it was read") as caught,
        source.stream_values(segment("SELECT id FROM customers")),
        closing(sqlite3.connect(wal_file, isolation_level=None)) as writer,
    ):
        writer.execute("INSERT INTO customers VALUES ('c3')")

    assert "Run it again" in caught.value.hint


@pytest.mark.usefixtures("closed_folder")
def test_what_still_stands_in_a_wal_is_not_passed_over(wal_file):
    with closing(sqlite3.connect(wal_file)) as writer:
        writer.execute("INSERT INTO customers VALUES ('c3')")
        writer.commit()

        rows = read(open_url(f"sqlite:///{wal_file}"), "SELECT id FROM customers")

    assert len(rows) == 3


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
def test_a_database_that_can_be_locked_is_locked(wal_file, journal_mode):
    with closing(sqlite3.connect(wal_file)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    source = open_url(f"sqlite:///{wal_file}")

    with source.stream_values(segment("SELECT id FROM customers")), closing(sqlite3.connect(wal_file)) as writer:
        writer.execute("CREATE TABLE other (id)" if journal_mode == "WAL" else "SELECT 1")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_READONLY_CANTINIT, Kind.FOLDER),
        (sqlite3.SQLITE_READONLY_DIRECTORY, Kind.FOLDER),
        (sqlite3.SQLITE_READONLY_RECOVERY, Kind.FOLDER),
        (sqlite3.SQLITE_CANTOPEN, Kind.UNOPENED),
        (sqlite3.SQLITE_CORRUPT, Kind.DAMAGED),
        (sqlite3.SQLITE_NOTADB, Kind.NO_DATABASE),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Kind.BUSY),
        (sqlite3.SQLITE_IOERR_READ, Kind.DISK),
        (sqlite3.SQLITE_FULL, Kind.DISK),
        (sqlite3.SQLITE_PERM, Kind.FILE_DENIED),
    ],
)
def test_each_code_of_sqlite_has_its_next_step(sqlite_warehouse, monkeypatch, code, kind):
    def refuse(*_args: object, **_options: object) -> None:
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr("reconciler.sources.sqlite._connect", refuse)

    assert fail(sqlite_warehouse.url).hint == kind.value


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_a_file_that_is_no_database(tmp_path, scheme):
    file = tmp_path / "notes"
    file.write_text("jane\n" * 1000)

    error = fail(f"{scheme}:///{file}")

    assert error.hint == Kind.NO_DATABASE.value
    assert "jane" not in error.message


# --- DuckDB ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.csv").write_text("jane\njoe\n")
    (tmp_path / "broken.parquet").write_text("jane" * 100)
    with open_cursor() as connection:
        connection.execute("COPY (SELECT 'c1' AS customer_id) TO 'customers.parquet'")
    return tmp_path


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ("SELECT id FROM read_parquet('none.parquet')", Kind.NO_FILE, '"none.parquet"'),
        ("SELECT id FROM 'none/*.parquet'", Kind.NO_FILE, '"none/*.parquet"'),
        ("SELECT * FROM 'broken.parquet'", Kind.NOT_THE_FORMAT, "'broken.parquet'"),
        ("SELECT customer FROM 'customers.parquet'", Kind.MISSING, 'Candidate bindings: "customer_id"'),
        ("SELECT * FROM read_parquet('s3://b/x.parquet')", Kind.EXTENSION, '"INSTALL httpfs"'),
        ("SELECT st_area(customer_id) FROM 'customers.parquet'", Kind.EXTENSION, "INSTALL spatial"),
        ("SELECT abs(customer_id) FROM 'customers.parquet'", Kind.TYPES, "abs(VARCHAR)"),
        ("SELECT jan FROM 'names.csv'", Kind.MISSING, '"jan" not found'),
        ("FROM query_table('jane')", Kind.MISSING, "Table with name … does not exist"),
        ("SELECT error('jane')", Kind.OTHER, "Invalid Input Error: …"),
        ("SELECT 1 FROM 'customers.parquet' WHERE customer_id = \"jane\"", Kind.MISSING, 'column "…" not found'),
    ],
)
def test_what_duckdb_says_of_files_and_names(query, kind, words):
    error = fail("duckdb://", query)

    assert words in error.message
    assert error.hint == kind.value
    assert "jane" not in error.message


@pytest.mark.usefixtures("files")
def test_a_missing_file_that_a_param_names_is_told_by_the_params_name():
    error = fail("duckdb://", "SELECT id FROM read_parquet(:orders)", orders="/secret/none.parquet")

    assert '":orders"' in error.message
    assert "secret" not in error.message


def test_the_names_that_duckdb_proposes_are_its_own_and_no_values(tmp_path):
    (tmp_path / "names.csv").write_text("jane\njoe\n")
    with open_file(tmp_path / "w.duckdb") as connection:
        connection.execute("CREATE TABLE customers (customer_id TEXT)")
        connection.execute(f"CREATE VIEW people AS FROM '{tmp_path}/names.csv'")
    url = f"duckdb:///{tmp_path}/w.duckdb"

    assert 'Did you mean "customers"' in fail(url, "SELECT customer_id FROM custmers").message
    assert 'Candidate bindings: "customer_id"' in fail(url, "SELECT nope FROM customers").message
    assert "jane" not in fail(url, "SELECT jan FROM people").message


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ('IO Error: Cannot open file "/x/y.parquet": Permission denied', Kind.FILE_DENIED),
        ('IO Error: Cannot open file "/x/y.parquet": No such file or directory', Kind.NO_FILE),
        ("Out of Memory Error: could not allocate block of size 256.0 KiB (47.6 MiB/47.6 MiB used)", Kind.MEMORY),
        ("IO Error: Could not write to file: No space left on device", Kind.DISK),
        ('IO Error: Could not set lock on file "/x.duckdb": Conflicting lock is held in python (PID 1)', Kind.BUSY),
    ],
)
def test_what_duckdb_says_of_the_system(duckdb_warehouse, monkeypatch, words, kind):
    def refuse(*_args: object) -> None:
        raise duckdb.IOException(words)

    monkeypatch.setattr("reconciler.sources.duckdb.StartedRelation", refuse)

    assert fail(duckdb_warehouse.url, "SELECT id FROM nobody").hint == kind.value
