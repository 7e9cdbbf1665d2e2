"""What is a query, and which column of it holds the ids."""

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.sources import check_query
from reconciler.sources.base import choose

from .conftest import segment

CASED = ("sqlite", "duckdb", "postgres", "sqlite_rows", "postgres_rows")


def test_the_only_column_needs_no_name():
    assert choose(["anything"], None) == 0


def test_a_column_is_found_in_any_case():
    assert choose(["id", "EMAIL"], "email") == 1


def test_the_exact_spelling_wins():
    assert choose(["Email", "email"], "email") == 1


@pytest.mark.parametrize(
    ("columns", "wanted", "words"),
    [
        (["id", "email"], None, r"returns 2 columns \(id, email\)"),
        (["id", "email"], "mail", "no column 'mail'; its columns are: id, email"),
        (["\ufeffid", "email"], "id", r"no column 'id'; its columns are: '\\ufeffid', email"),
        (["id\xa0", " email"], None, r"returns 2 columns \('id\\xa0', ' email'\)"),
        (["email", "id", "email"], "email", "more than one column 'email'"),
        (["Email", "EMAIL"], "email", "more than one column 'email'"),
        ([f"c{number}" for number in range(30)], None, "c19, and 10 more"),
    ],
)
def test_a_column_that_is_not_one_is_an_error_with_a_hint(columns, wanted, words):
    with pytest.raises(SourceError, match=words) as caught:
        choose(columns, wanted)

    assert caught.value.hint


def test_every_reader_picks_the_column(warehouse):
    query = "SELECT 1 AS number, 'a' AS \"E mail\", 2 AS other"

    assert warehouse.read(query, id_column="e MAIL") == [("a", True)]


def test_every_reader_refuses_several_columns_without_a_name(warehouse):
    with pytest.raises(SourceError, match="returns 2 columns"):
        warehouse.read("SELECT 1 AS a, 2 AS b")


def test_every_reader_lists_the_columns_when_one_is_missing(warehouse):
    with pytest.raises(SourceError, match="its columns are: a, b"):
        warehouse.read("SELECT 1 AS a, 2 AS b", id_column="c")


def test_every_reader_refuses_a_name_that_two_columns_have(warehouse):
    with pytest.raises(SourceError, match="more than one column"):
        warehouse.read("SELECT 1 AS a, 2 AS a", id_column="a")


def test_a_column_without_a_name_is_read(warehouse):
    assert warehouse.read("SELECT lower('A')") == [("a", True)]


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN SELECT 'a' AS id",
        "explain analyze SELECT 'a' AS id",
        "SHOW TABLES",
        "-- all\n(/* of */ Show Tables)",
        "DESCRIBE SELECT 'a' AS id",
        "DESC people",
        "SUMMARIZE SELECT 'a' AS id",
        "PRAGMA table_list",
        "CALL pragma_version()",
        "EXEC people",
    ],
)
def test_every_reader_refuses_what_is_answered_and_is_no_query(warehouse, text):
    for use in (warehouse.read, lambda query: warehouse.source.check(segment(query))):
        with pytest.raises(SourceError, match=r"^the query is no query: it begins with [A-Z]+$") as caught:
            use(text)

        assert caught.value.hint == "Write a SELECT."
    for url in (None, Secret("mssql+pyodbc://server/database"), Secret(warehouse.url)):
        with pytest.raises(SourceError, match="is no query"):
            check_query("warehouse", url, segment(text))


@pytest.mark.parametrize(
    "text",
    [
        "FROM people",
        "TABLE people",
        "VALUES ('a')",
        "PIVOT people ON id USING count(*)",
        "WITH q AS (FROM people) FROM q",
    ],
)
def test_what_is_a_query_of_duckdb_is_none_of_these(duckdb_warehouse, text):
    duckdb_warehouse.execute("CREATE TABLE people AS SELECT 'a' AS id")

    duckdb_warehouse.source.check(segment(text))
    assert len(duckdb_warehouse.read(text)) == 1
