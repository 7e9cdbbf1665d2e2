"""No name of ours meets one of the query's, and what is checked is what is run."""

import sqlite3
from contextlib import closing

import pytest

from reconciler.errors import SourceError

from .conftest import segment

pytestmark = pytest.mark.slow

OURS = ["q", "p", "c0", "raw", "typed", "value", "names", "every"]


@pytest.fixture
def people(warehouse):
    """Each name is a table of two people, and there is a table of vips."""
    drop = [f"DROP TABLE IF EXISTS {name}" for name in (*OURS, "vips")]
    create = [f"CREATE TABLE {name} (id INTEGER, {name} INTEGER)" for name in (*OURS, "vips")]
    fill = [f"INSERT INTO {name} VALUES (501, 501), (502, 502)" for name in OURS]
    warehouse.execute("; ".join([*drop, *create, *fill, "INSERT INTO vips VALUES (1, 1), (2, 2), (3, 3)"]))
    yield warehouse
    if warehouse.name.startswith("postgres"):  # the others are of one test
        warehouse.execute("; ".join(drop))


def ids(warehouse, query, id_column=None, **params):
    warehouse.source.check(segment(query, id_column, **params))
    return sorted(value for value, typed in warehouse.read(query, id_column, **params) if typed)


@pytest.mark.parametrize("name", OURS)
def test_a_table_may_have_any_name(people, name):
    query = f"SELECT id FROM vips UNION SELECT {name} FROM {name}"

    assert ids(people, query) == ["1", "2", "3", "501", "502"]


@pytest.mark.parametrize("name", [*OURS, "ids", "text", "line", "incoming"])
def test_a_column_may_have_any_name(people, name):
    for written in (name, f'"{name.upper()}"', f'"{name}"'):
        assert ids(people, f"SELECT id AS {written} FROM vips") == ["1", "2", "3"]
        others = ", ".join(f"'x' AS {other}" for other in OURS if other != name)
        assert ids(people, f"SELECT {others}, id AS {written} FROM vips", name) == ["1", "2", "3"]


@pytest.mark.parametrize("name", ["q", "raw"])
def test_a_view_may_read_a_table_of_any_name(people, name):
    people.execute(f"CREATE VIEW around AS SELECT id FROM {name}")
    try:
        assert ids(people, "SELECT id FROM around") == ["501", "502"]
    finally:
        people.execute("DROP VIEW around")


@pytest.mark.parametrize(
    "query",
    [
        "(SELECT id FROM vips)",
        "((SELECT id FROM vips));",
        "-- vips\n(SELECT id FROM vips) -- all of them",
        "SELECT id FROM vips -- all of them",
        "SELECT id FROM vips /* all of them */",
        "WITH q AS (SELECT id FROM vips) SELECT id FROM q",
        "(WITH q AS (SELECT id FROM vips) SELECT id FROM q)",
        "SELECT id FROM vips WHERE id > 0 ORDER BY id DESC LIMIT 3",
        "(SELECT id FROM vips ORDER BY id LIMIT 3)",
        "SELECT 1 AS id UNION ALL SELECT 2 UNION SELECT 3",
        "VALUES (1), (2), (3)",
        "(VALUES (1), (2), (3))",
        "SELECT id FROM (SELECT id FROM vips) q",
        "SELECT q.id FROM vips q WHERE EXISTS (SELECT 1 FROM vips p WHERE p.id = q.id)",
    ],
)
def test_a_query_of_any_form_gives_what_the_database_gives(people, query):
    assert ids(people, query) == ["1", "2", "3"]


def test_columns_may_have_one_name_as_long_as_another_is_wanted(people):
    query = "SELECT id AS a, id + 100 AS a, id + 10 AS b FROM vips WHERE id > :low"

    assert ids(people, query, "b", low=1) == ["12", "13"]


@pytest.mark.parametrize("query", ["vips", "(vips)", '"vips"', "main . vips", "DELETE FROM vips"])
def test_what_is_no_query_is_refused_when_it_is_checked(people, query):
    with pytest.raises(SourceError):
        people.source.check(segment(query, "id"))


@pytest.mark.parametrize(
    "query", ["SELECT id FROM vips WHERE id > :lw AND id < :high", "SELECT :low2 FROM vips WHERE id < :high"]
)
def test_a_misspelt_name_never_takes_the_value_of_another_param(people, query):
    with pytest.raises(SourceError) as caught:
        people.read(query, low=1, high=3)

    assert "params" in caught.value.hint


def test_a_sqlite_query_is_checked_by_the_library_that_reads_it(sqlite_warehouse):
    """Python's own may have functions that the driver's lacks."""
    with closing(sqlite3.connect(":memory:")) as connection:
        if not connection.execute("SELECT 1 FROM pragma_function_list WHERE name = 'soundex'").fetchall():
            return
    query = "SELECT soundex('a')"

    with pytest.raises(SourceError, match="no such function: soundex"):
        sqlite_warehouse.source.check(segment(query))
    with pytest.raises(SourceError):
        sqlite_warehouse.read(query)


def test_a_postgres_query_reads_no_setting_of_ours(postgres_warehouse):
    query = "SELECT coalesce(current_setting('reconcile.p0', true), 'none') FROM (SELECT 1) one WHERE 1 < :number"

    assert ids(postgres_warehouse, query, number=2) == ["none"]


def test_a_macro_of_the_database_may_have_the_name_of_a_function(duckdb_warehouse):
    for name in ("trunc(x)", "split_part(x, y, z)", "decode(x)", "try(x)", "from_hex(x)"):
        duckdb_warehouse.execute(f"CREATE MACRO {name} AS 'other'")

    assert duckdb_warehouse.read("SELECT 7.00::DECIMAL(10, 2) UNION ALL SELECT 7.50") == [("7", True), ("", False)]


@pytest.mark.parametrize("name", ["query", "sql", "every", "connection", "projection", "duckdb"])
def test_duckdb_looks_for_no_table_among_our_variables(duckdb_warehouse, name):
    with pytest.raises(SourceError, match=f"{name} does not exist"):
        duckdb_warehouse.source.check(segment(f"SELECT * FROM {name}"))
