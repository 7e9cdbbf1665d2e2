"""One table of values through every reader; what the driver gives for a single value is the oracle."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from reconciler.models.ids import IdType, Invalid, identify, normalize, refusal, write_exactly
from reconciler.sources.sqlite_columns import ColumnReader
from tests.support.one_duckdb import open_cursor

from .conftest import open_url, read, rows_of, segment, select_from

Row = tuple[str | None, bool]

BEYOND_DOUBLE = 9007199254740993
UUID = "0b7c1a52-6c1f-4a55-9f4c-0d5b4f2f9a11"

EVERYWHERE = {
    "an integer": ("SELECT 7", [("7", True)]),
    "a negative integer": ("SELECT -7", [("-7", True)]),
    "an integer that a double can't hold": (f"SELECT {BEYOND_DOUBLE}", [(str(BEYOND_DOUBLE), True)]),
    "a text": ("SELECT 'a'", [("a", True)]),
    "an empty text": ("SELECT ''", [("", True)]),
    "a padded text": ("SELECT ' a '", [(" a ", True)]),
    "a text that looks like a number": ("SELECT '7.0'", [("7.0", True)]),
    "a text of any script": ("SELECT 'né€𝄞'", [("né€𝄞", True)]),
    "NULL alone": ("SELECT NULL", [(None, True)]),
    "no rows": ("SELECT id FROM nobody", []),
    "NULL before a text": ("SELECT NULL UNION ALL SELECT 'a'", [(None, True), ("a", True)]),
    "NULL before an integer": ("SELECT NULL UNION ALL SELECT 7", [(None, True), ("7", True)]),
}

SQLITE = {
    "integers and then a real": ("SELECT 7 UNION ALL SELECT 7.0", [("7", True), ("", False)]),
    "a text and then a real": ("SELECT 'a' UNION ALL SELECT 7.0", [("a", True), ("", False)]),
    "a real first": (f"SELECT 7.5 UNION ALL SELECT {BEYOND_DOUBLE}", [("", False), (str(BEYOND_DOUBLE), True)]),
    "everything in one column": (
        "SELECT 7 UNION ALL SELECT NULL UNION ALL SELECT x'61' UNION ALL SELECT 'a' UNION ALL SELECT 7.5",
        [("7", True), (None, True), ("", False), ("a", True), ("", False)],
    ),
    "a column of texts and then a real": (
        "SELECT id FROM texts UNION ALL SELECT 7.5 LIMIT 9",
        [("a", True), ("", False)],
    ),
    "a column of texts and then an integer": (
        "SELECT id FROM texts UNION ALL SELECT 7 LIMIT 9",
        [("a", True), ("7", True)],
    ),
    "a column of texts and then bytes": (
        "SELECT id FROM texts UNION ALL SELECT x'61' LIMIT 9",
        [("a", True), ("", False)],
    ),
    "a column of numbers and then a text": (
        "SELECT n FROM numbers UNION ALL SELECT '7.5' LIMIT 9",
        [("7", True), ("7.5", True)],
    ),
    "blanks where the order ignores them": ("SELECT ' ' COLLATE RTRIM", [(" ", True)]),
    "a text with a NUL": ("SELECT 'a' || char(0) || 'b'", [("a\0b", True)]),
    "a boolean, which is an integer": ("SELECT true", [("1", True)]),
}

DUCKDB = {
    "an integral decimal": ("SELECT 7.00::DECIMAL(10, 2)", [("7", True)]),
    "a decimal": ("SELECT 7.50::DECIMAL(10, 2)", [("", False)]),
    "decimals and NULL": (
        f"SELECT unnest([NULL, {BEYOND_DOUBLE}.000::DECIMAL(38, 3), 0.001, -0.000])",
        [(None, True), (str(BEYOND_DOUBLE), True), ("", False), ("0", True)],
    ),
    "a wide decimal": (f"SELECT {'9' * 38}::DECIMAL(38, 0)", [("9" * 38, True)]),
    "a huge integer": (f"SELECT {2**126}::HUGEINT", [(str(2**126), True)]),
    "a small integer": ("SELECT 7::UTINYINT", [("7", True)]),
    "a UUID": (f"SELECT '{UUID.upper()}'::UUID", [(UUID, True)]),
    "an enum": ("SELECT 'a'::ENUM('a', 'b')", [("a", True)]),
    "a float": ("SELECT unnest([7.0::DOUBLE, NULL])", [("", False), (None, True)]),
    "a boolean": ("SELECT true", [("", False)]),
    "a date": ("SELECT DATE '2026-01-01'", [("", False)]),
    "a timestamp": ("SELECT TIMESTAMP '2026-01-01 00:00:00'", [("", False)]),
    "bytes": ("SELECT 'a'::BLOB", [("", False)]),
    "a list": ("SELECT ['a']", [("", False)]),
    "a struct": ("SELECT {'a': 1}", [("", False)]),
    "a padded char": ("SELECT 'ab '::CHAR(5)", [("ab ", True)]),
}

POSTGRES = {
    "an integral numeric": ("SELECT 7.00::numeric(10, 2)", [("7", True)]),
    "a numeric": ("SELECT 7.5::numeric", [("", False)]),
    "numerics and NULL": (
        f"SELECT unnest(ARRAY[NULL, {BEYOND_DOUBLE}.00, 0.001, 'NaN', 'Infinity', '-Infinity', 0.0]::numeric[])",
        [(None, True), (str(BEYOND_DOUBLE), True), ("", False), ("", False), ("", False), ("", False), ("0", True)],
    ),
    "a wide numeric": (f"SELECT {'9' * 60}.000", [("9" * 60, True)]),
    "a small integer": ("SELECT 7::smallint", [("7", True)]),
    "a UUID": (f"SELECT '{UUID.upper()}'::uuid", [(UUID, True)]),
    "varchar": ("SELECT 'a '::varchar(5)", [("a ", True)]),
    "a padded char": ("SELECT 'ab'::char(5)", [("ab   ", True)]),
    "a full char": ("SELECT 'abcde'::char(5)", [("abcde", True)]),
    "a name": ("SELECT 'a'::name", [("a", True)]),
    "an enum": ("SELECT unnest(ARRAY['a', NULL]::mood[])", [("a", True), (None, True)]),
    "a domain over text": ("SELECT 'a'::label", [("a", True)]),
    "a domain over integers": ("SELECT 7::positive", [("7", True)]),
    "a float": ("SELECT unnest(ARRAY[7.0, NULL]::float8[])", [("", False), (None, True)]),
    "a boolean": ("SELECT true", [("", False)]),
    "a date": ("SELECT DATE '2026-01-01'", [("", False)]),
    "a timestamp": ("SELECT TIMESTAMPTZ '2026-01-01 00:00:00Z'", [("", False)]),
    "bytes": ("SELECT 'a'::bytea", [("", False)]),
    "JSON": ("SELECT '{}'::jsonb", [("", False)]),
    "an array": ("SELECT ARRAY['a']", [("", False)]),
}


def oracle(values: list[object]) -> list[Row]:
    written = [None if value is None else write_exactly(value) for value in values]
    return [("", False) if isinstance(text, Invalid) else (text, True) for text in written]


@pytest.mark.parametrize("case", EVERYWHERE)
def test_what_every_database_has_is_read_alike(warehouse, case):
    query, expected = EVERYWHERE[case]

    assert warehouse.read(query) == expected
    assert oracle(warehouse.raw(query)) == expected


@pytest.mark.parametrize("case", SQLITE)
@pytest.mark.parametrize("reader", ["sqlite", "sqlite_rows"])
def test_sqlite_types_count_value_by_value(request, reader, case):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    warehouse.execute("CREATE TABLE texts (id TEXT); INSERT INTO texts VALUES ('a')")
    warehouse.execute("CREATE TABLE numbers (n NUMERIC); INSERT INTO numbers VALUES (7)")
    query, expected = SQLITE[case]

    assert warehouse.read(query) == expected
    assert oracle(warehouse.raw(query)) == expected


def test_a_real_next_to_texts_is_no_text_in_an_older_sqlite_either():
    """Python's library may be older than the driver's, and give a union the affinity of one of its parts."""
    union = "SELECT id FROM texts UNION ALL SELECT 7.5 LIMIT 9"
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("CREATE TABLE texts (id TEXT); INSERT INTO texts VALUES ('a')")
        rows = connection.execute(
            f"WITH given (c0) AS ({union}) SELECT CAST(text AS BLOB) FROM (SELECT {ColumnReader.raw('c0')} FROM given)"
        ).fetchall()

    assert rows == [(b"a",), (b"\xff",)]


@pytest.mark.parametrize("case", DUCKDB)
def test_duckdb_types(duckdb_warehouse, case):
    query, expected = DUCKDB[case]

    assert duckdb_warehouse.read(query) == expected
    assert oracle(duckdb_warehouse.raw(query)) == expected


@pytest.mark.parametrize("case", POSTGRES)
@pytest.mark.parametrize("reader", ["postgres", "postgres_rows"])
def test_postgres_types(request, reader, case):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    query, expected = POSTGRES[case]

    assert warehouse.read(query) == expected
    assert oracle(warehouse.raw(query)) == expected


def test_a_null_that_comes_late_does_not_spoil_the_column(warehouse):
    query = f"SELECT CASE WHEN n <= 5000 THEN 'id' || n END FROM {warehouse.series(5001)} ORDER BY n"

    rows = warehouse.read(query)

    assert rows[:2] == [("id1", True), ("id2", True)]
    assert rows[5000:] == [(None, True)]


def test_nulls_that_come_first_do_not_decide_the_type(warehouse):
    query = f"SELECT CASE WHEN n > 70000 THEN 'id' || n END FROM {warehouse.series(70001)} ORDER BY n"

    rows = warehouse.read(query)

    assert set(rows[:70000]) == {(None, True)}
    assert rows[70000:] == [("id70001", True)]


def test_a_sqlite_text_that_is_no_utf_8_is_not_typed(either_sqlite_warehouse):
    rows = either_sqlite_warehouse.read("SELECT CAST(x'ff41' AS TEXT) UNION ALL SELECT 'a'")

    assert rows == [("", False), ("a", True)]


NO_UTF_8 = (
    *("ff", "80", "c3", "ff41", "41ff", "c341", "4180", "20ff", "22ff", "40ff", "e282", "c080", "eda080", "f4908080"),
    *("f0908d", "41" * 11 + "c3", "41" * 12 + "c3", "41" * 149 + "c3", "41" * 200 + "ff"),
)
"""Bytes, some of them short enough for DuckDB to hold a text in place, some ASCII but for one."""


@pytest.mark.parametrize("id_type", IdType)
def test_the_rules_of_ids_refuse_a_sqlite_text_that_is_no_utf_8(either_sqlite_warehouse, id_type):
    texts = [*NO_UTF_8, "41", "4140c3a9", "c3a9" * 75, "410042", "22", "7f"]
    query = " UNION ALL ".join(f"SELECT CAST(x'{text}' AS TEXT)" for text in texts)

    why = refusal("value", "typed", id_type)
    with (
        either_sqlite_warehouse.source.stream_values(segment(query)) as values,
        open_cursor() as cursor,
    ):
        judged = list(
            select_from(values, f"{why}, CASE WHEN ({why}) IS NULL THEN {normalize('value', id_type)} END", cursor)
        )

    expected = [identify(bytes.fromhex(text).decode(errors="surrogateescape"), id_type) for text in texts]
    assert judged == [(each.name, None) if isinstance(each, Invalid) else (None, each) for each in expected]
    assert {reason for reason, _ in judged[: len(NO_UTF_8)]} == {Invalid.TYPE.name}


@pytest.mark.parametrize("value", ["FE4E554C4C", "FE", "FF", "00"])
@pytest.mark.parametrize("type_", ["TEXT", "BLOB"])
def test_no_bytes_of_sqlite_are_taken_for_null(either_sqlite_warehouse, value, type_):
    """The first were those by which a NULL was told, once."""
    rows = either_sqlite_warehouse.read(
        f"SELECT CAST(x'{value}' AS {type_}) UNION ALL SELECT NULL UNION ALL SELECT 'a'"
    )

    assert [text for text, _ in rows] == ["\0" if (value, type_) == ("00", "TEXT") else "", None, "a"]


@pytest.mark.parametrize("type_", ["TEXT", "BLOB"])
def test_no_bytes_at_all_are_no_null(either_sqlite_warehouse, type_):
    assert either_sqlite_warehouse.read(f"SELECT CAST(x'' AS {type_}) AS id")[0][0] == ""


def test_a_sqlite_database_in_utf_16_is_read_alike(tmp_path):
    with closing(sqlite3.connect(tmp_path / "wide.db")) as connection, connection:
        connection.execute("PRAGMA encoding = 'UTF-16'")
        connection.execute("CREATE TABLE people (id)")
        connection.executemany("INSERT INTO people VALUES (?)", [("né€𝄞",), (7,), (7.0,), (None,), (b"a",)])
    source = open_url(f"sqlite:///{tmp_path / 'wide.db'}")

    rows = read(source, "SELECT id FROM people WHERE :all", all=True)

    assert rows == [("né€𝄞", True), ("7", True), ("", False), (None, True), ("", False)]


def test_a_postgres_row_of_nulls_is_not_null(postgres_warehouse):
    assert postgres_warehouse.read("SELECT ROW(NULL, NULL)") == [("", False)]


def test_types_without_an_id_in_them_are_told_by_the_server(postgres_warehouse):
    for value in ("'1.5'::money", "'10.0.0.1'::inet", "'1 day'::interval", "'a b'::tsvector"):
        assert postgres_warehouse.read(f"SELECT {value}") == [("", False)]


@pytest.mark.parametrize("name", ["duckdb_warehouse", "postgres_warehouse"])
@pytest.mark.parametrize(("few", "is_whole"), [(2, False), (3, True)])
def test_rows_come_as_text_where_they_are_few_and_all_the_same_where_they_are_more(request, name, few, is_whole):
    source = request.getfixturevalue(name).source
    query = "SELECT id FROM (SELECT 'a' AS id UNION ALL SELECT NULL UNION ALL SELECT 'a') t WHERE 1 < :number"
    with source.stream_values(segment(query, number=2), few) as values, open_cursor() as cursor:
        assert isinstance(values.rows, Iterator) == is_whole
        assert sorted(rows_of(values, cursor), key=str) == [("a", True), ("a", True), (None, True)]
