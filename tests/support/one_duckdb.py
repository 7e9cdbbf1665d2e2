"""One DuckDB for all tests of a process: to make one takes 27 ms of CPU time, and to open a file in it takes two."""

import atexit
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import duckdb


@contextmanager
def open_cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own to the one DuckDB, which has no tables."""
    with closing(_connect().cursor()) as cursor:
        yield cursor


@contextmanager
def open_file(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a file; it is made where there is none. Nothing holds the file afterwards."""
    with open_cursor() as cursor:
        cursor.execute(f"ATTACH '{file}' AS {file.stem}; USE {file.stem}")
        try:
            yield cursor
        finally:
            cursor.execute(f"USE memory; DETACH {file.stem}")


def empty_tables() -> duckdb.DuckDBPyConnection:
    """A DuckDB for one test at a time, without tables."""
    database = _connect_for_tables()
    for (name,) in database.execute("SELECT table_name FROM duckdb_tables()").fetchall():
        database.execute(f'DROP TABLE "{name}"')
    return database


@cache
def _connect() -> duckdb.DuckDBPyConnection:
    return _make()


@cache
def _connect_for_tables() -> duckdb.DuckDBPyConnection:
    return _make()


def _make() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    atexit.register(connection.close)
    return connection
