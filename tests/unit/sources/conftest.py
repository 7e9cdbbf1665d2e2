"""Databases to read, each with its reader and with what its own driver gives for a query."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest
from sqlalchemy.engine import make_url

from reconciler.models.fields import Scalar, Secret
from reconciler.models.spec import Segment
from reconciler.sources import open_source
from reconciler.sources.base import SELECT_LINES, Source, ValueStream
from reconciler.sources.failures import Scrubber
from reconciler.sources.messages import list_secrets
from reconciler.sources.rows import RowSource
from tests.support.one_duckdb import open_cursor, open_file

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

Row = tuple[str | None, bool]


def segment(query: str, id_column: str | None = None, **params: Scalar) -> Segment:
    return Segment(name="vip", segment_id=56, query=query, source="warehouse", params=params, id_column=id_column)


def open_url(url: str) -> Source:
    return open_source("warehouse", Secret(url))


def read(source: Source, query: str, id_column: str | None = None, **params: Scalar) -> list[Row]:
    """Every (value, typed) that a query gives, in order."""
    with source.stream_values(segment(query, id_column, **params)) as values, open_cursor() as cursor:
        return list(rows_of(values, cursor))


def rows_of(values: ValueStream, reading: duckdb.DuckDBPyConnection) -> Iterator[Row]:
    """Every (value, typed), one after the other. What is no UTF-8 counts as not typed, as by the rules of ids."""
    is_text = "(value IS NULL OR try(decode(encode(value))) IS NOT NULL)"
    yield from select_from(values, f"if({is_text}, value, ''), typed AND {is_text}", reading)


def select_from(values: ValueStream, what: str, reading: duckdb.DuckDBPyConnection) -> Iterator[Any]:
    """What SQL makes of each `value` and `typed`, one after the other."""
    select = f"SELECT {what} FROM ({values.select})"
    if isinstance(values.rows, Iterator):
        lines = "SELECT unnest(string_split(block, chr(30))) AS line FROM (VALUES ($1)) AS blocks (block)"
        for block in values.rows:
            yield from reading.execute(f"WITH incoming AS ({lines}) {select}", [block]).fetchall()
        return
    reading.register("incoming", values.rows)
    result = reading.execute(select)
    while rows := result.fetchmany(100_000):
        yield from rows


def values_of(block: str) -> list[Row]:
    """Every (value, typed) of a block of text."""
    with open_cursor() as cursor:
        return list(rows_of(ValueStream(iter([block]), SELECT_LINES), cursor))


@dataclass(frozen=True)
class Warehouse:
    """A database under test. `raw` runs a query through its plain driver, for the oracle."""

    name: str
    url: str
    source: Source
    raw: Callable[[str], list[object]]
    execute: Callable[[str], None]

    def read(self, query: str, id_column: str | None = None, **params: Scalar) -> list[Row]:
        return read(self.source, query, id_column, **params)

    def series(self, length: int) -> str:
        """A relation `series` of the numbers `n` from 1."""
        if self.name.startswith("sqlite"):
            return (
                "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s "
                f"WHERE n < {length}) SELECT n FROM s) series"
            )
        return f"(SELECT n FROM generate_series(1, {length}) g(n)) series"


@pytest.fixture
def sqlite_warehouse(sqlite_small_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A SQLite file that is read by the driver, as a large one is."""
    monkeypatch.setattr("reconciler.sources.sqlite._SMALL_BYTES", 0)
    return sqlite_small_warehouse


@pytest.fixture
def sqlite_small_warehouse(tmp_path: Path) -> Warehouse:
    """A SQLite file that is read through Python's library."""
    file = tmp_path / "warehouse.db"

    def run(sql: str) -> list[object]:
        with closing(sqlite3.connect(file)) as connection, connection:
            return [row[0] for row in connection.execute(sql).fetchall()]

    def execute(sql: str) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(f"BEGIN; {sql}; COMMIT")

    execute("CREATE TABLE IF NOT EXISTS nobody (id TEXT)")
    url = f"sqlite:///{file}"
    return Warehouse("sqlite", url, open_url(url), run, execute)


@pytest.fixture
def duckdb_warehouse(tmp_path: Path) -> Warehouse:
    file = tmp_path / "warehouse.duckdb"

    def run(sql: str) -> list[object]:
        with open_file(file) as connection:
            return [row[0] for row in connection.execute(sql).fetchall()]

    run("CREATE TABLE nobody (id TEXT)")
    url = f"duckdb:///{file}"
    return Warehouse("duckdb", url, open_url(url), run, lambda sql: run(sql) and None)


class FewSource:
    """Asks for few rows always."""

    def __init__(self, source: Source) -> None:
        self.keep, self.check = source.keep, source.check
        self.stream_values = lambda segment: source.stream_values(segment, 100_000)


@pytest.fixture
def duckdb_few_warehouse(duckdb_warehouse: Warehouse) -> Warehouse:
    return replace(duckdb_warehouse, name="duckdb-few", source=FewSource(duckdb_warehouse.source))


@pytest.fixture
def postgres_few_warehouse(postgres_warehouse: Warehouse) -> Warehouse:
    return replace(postgres_warehouse, name="postgres-few", source=FewSource(postgres_warehouse.source))


@pytest.fixture(scope="session")
def postgres_warehouse(postgres_server: "Postgres") -> Iterator[Warehouse]:
    """One database for all tests of this package: making one takes longer than most tests."""
    name = postgres_server.make_database()
    url = postgres_server.url(name)
    with closing(psycopg.connect(host=str(postgres_server.folder), user="postgres", dbname=name)) as connection:
        connection.autocommit = True

        def run(sql: str) -> list[object]:
            return [row[0] for row in connection.execute(sql.encode()).fetchall()]

        def execute(sql: str) -> None:
            connection.execute(sql.encode())

        execute("CREATE TABLE nobody (id TEXT)")
        execute("CREATE TYPE mood AS ENUM ('a', 'b')")
        execute("CREATE DOMAIN label AS text")
        execute("CREATE DOMAIN positive AS int")
        yield Warehouse("postgres", url, open_url(url), run, execute)
    postgres_server.drop_database(name)


@pytest.fixture
def postgres_rows_warehouse(postgres_warehouse: Warehouse) -> Warehouse:
    """The same PostgreSQL through the reader of rows."""
    return through_rows(postgres_warehouse)


@pytest.fixture
def sqlite_rows_warehouse(sqlite_warehouse: Warehouse) -> Warehouse:
    """The same SQLite through the reader of rows."""
    return through_rows(sqlite_warehouse)


@pytest.fixture(params=["sqlite_warehouse", "sqlite_small_warehouse"])
def either_sqlite_warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """SQLite, by either library."""
    found: Warehouse = request.getfixturevalue(request.param)
    return found


def through_rows(warehouse: Warehouse) -> Warehouse:
    url = make_url(warehouse.url)
    source = RowSource(url, Scrubber.of("warehouse", Secret(warehouse.url), list_secrets(url)))
    return Warehouse(f"{warehouse.name}-rows", warehouse.url, source, warehouse.raw, warehouse.execute)


@pytest.fixture(
    params=[
        "sqlite",
        "sqlite_small",
        "duckdb",
        "duckdb_few",
        "postgres",
        "postgres_few",
        "sqlite_rows",
        "postgres_rows",
    ]
)
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    """Each database through each of its readers."""
    found: Warehouse = request.getfixturevalue(f"{request.param}_warehouse")
    return found
