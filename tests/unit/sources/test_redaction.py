"""What of a database's message is shown: names of the query's code, words of databases, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.sql import lexicon_of, parse
from reconciler.sources.messages import find_names, find_paths, redact


def names(query: str, dialect: str = "postgresql", *params: str) -> frozenset[str]:
    return find_names(parse(query, params, lexicon_of(dialect)), dialect)


# --- which names a query has -----------------------------------------------------------------------------------------


def test_code_and_quoted_identifiers_are_names_and_literals_comments_and_numbers_are_not():
    query = "SELECT \"Customer Id\", o.total FROM app.orders o -- of jane\nWHERE id <> 'joe' AND n > 4711 /* roe */"

    found = names(query)

    assert {"customer", "id", "o", "total", "app", "orders", "n"} <= found
    assert not {"jane", "joe", "roe", "4711"} & found


def test_a_param_is_known_by_its_name():
    assert "low" in names("SELECT id FROM t WHERE n > :low", "sqlite", "low")


@pytest.mark.parametrize(
    ("query", "dialect"),
    [
        ('SELECT id FROM t WHERE id = "jane"', "mysql"),
        ('SELECT concat("jane") FROM t', "tidb"),
        ('SELECT concat("jane") FROM t', "sparksql"),
        ('SELECT concat("jane") FROM t', "spanner"),
        ('SELECT concat("jane") FROM t', "impala4"),
        ('SELECT id FROM t WHERE id = "jane"', "bigquery"),
        ('SELECT id FROM t WHERE id = "jane"', "postgresql"),
        ('SELECT id FROM t WHERE id IN ("joe", "jane")', "duckdb"),
        ('SELECT id FROM t WHERE id LIKE "jane"', "sqlite"),
        ('SELECT "jane@example.com" FROM t', "postgresql"),
        ("SELECT id FROM t WHERE id = $$jane$$", "postgresql"),
        ("SELECT id FROM t WHERE id = E'it\\'s jane'", "postgresql"),
        ("SELECT id FROM t WHERE id = 'it\\'s jane'", "mysql"),
    ],
)
def test_a_text_is_no_name_also_where_it_was_quoted_like_one(query, dialect):
    assert "jane" not in names(query, dialect)


@pytest.mark.parametrize(
    ("query", "dialect"),
    [
        ('SELECT "jane" FROM t', "snowflake"),
        ("SELECT `jane` FROM t", "mysql"),
        ("SELECT [jane] FROM t", "mssql"),
        ('SELECT o."jane" FROM t', "duckdb"),
    ],
)
def test_a_quoted_identifier_is_a_name(query, dialect):
    assert "jane" in names(query, dialect)


def test_a_path_is_a_literal_that_can_be_nothing_else():
    query = "SELECT id FROM read_parquet('data/*.parquet') WHERE id NOT IN ('jane', 'jane@x.com/y', 'c17', 'a.com')"

    assert find_paths(parse(query, (), lexicon_of("duckdb"))) == {"data/*.parquet"}


# --- what is shown ---------------------------------------------------------------------------------------------------

QUOTES = ["{}", "'{}'", '"{}"', "`{}`", "[{}]", "({})", "<{}>", "«{}»", "\\'{}\\'", "={}", "'x{}'", "{}:", "{}."]
TEMPLATES = [
    "Cannot parse string {} as Decimal: syntax error",
    "invalid input syntax for type integer: {}",
    "Numeric value {} is not recognized",
    "Bad double value: {}",
    "duplicate key value violates unique constraint, Key (id)=({}) already exists",
    "permission denied for customer {}",
    "Referenced column {} not found in FROM clause",
    "relation {} does not exist",
    "value {} is out of range at line 7",
    "{}",
]
PARTS = st.one_of(
    st.from_regex(r"[a-z]{1,3}\d{1,9}", fullmatch=True),
    st.integers(1, 10**12).map(str),
    st.from_regex(r"[a-z]{2,8}\.[a-z]{2,8}@example\.com", fullmatch=True),
    st.uuids().map(str),
    st.sampled_from(
        ["jane", "O'Brien", "müller", "東京", "🎉7", "a b7", "line7", "x-7", "not found 7", "jane\tdoe", "\x1b[1m7"]
    ),
)


@given(st.sampled_from(TEMPLATES), st.sampled_from(QUOTES), PARTS)
def test_no_id_is_shown_however_it_is_quoted(template, quotes, id):
    message = template.replace("{}", quotes.replace("{}", id))

    shown = redact(message, names("SELECT customer_id FROM customers WHERE customer_id <> 'jane'"))

    assert id not in shown or id in template, shown
    assert "@" not in shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Could not convert string 'c0' to INT32", "Could not convert string '…' to INT32"),
        ("Table 'shop.orders' doesn't exist", "Table '….orders' doesn't exist"),
        ("Unknown column 'total' in 'field list'", "Unknown column 'total' in 'field list'"),
        (
            "near 'frmm orders where id in ('jane', \"joe\")' at line 1",
            "near '… orders where id in ('…', \"…\")' at line 1",
        ),
        ("line 1:15: mismatched input 'jane'", "line 1:15: mismatched input '…'"),
        ("Unrecognized name: total at [1:8]", "Unrecognized name: total at [1:8]"),
        ("value 1001 is out of range at line 10012", "value … is out of range at line …"),
        ("no orders for jane roe joe", "no orders for …"),
        ("ORA-00942: table or view does not exist", "ORA-00942: table or view does not exist"),
        ("[TABLE_OR_VIEW_NOT_FOUND] The table", "[TABLE_OR_VIEW_NOT_FOUND] The table"),
        ("the escape \x1b[31m", "the escape …[…"),
    ],
)
def test_what_is_known_stays_readable(message, shown):
    assert redact(message, frozenset({"orders", "total", "id"})) == shown


def test_a_text_that_is_known_whole_is_shown_whole():
    assert redact("no files match 'data/a b.parquet'", (), {"data/a b.parquet"}).endswith("'data/a b.parquet'")
