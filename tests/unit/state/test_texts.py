"""Small streams of texts, read without a database between."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.arrow import read_texts

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@contextmanager
def streaming(statement: str) -> Iterator[Any]:
    with closing(adbc.connect()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(statement)
        yield cursor.fetch_arrow()


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=20))
def test_every_row_comes_as_it_is(rows: list[tuple[str, ...]]) -> None:
    values = ", ".join(f"({', '.join(map(quote, row))})" for row in rows)
    with streaming(f"VALUES {values}") as stream:
        assert read_texts(stream) == rows


def test_no_row_is_no_row() -> None:
    with streaming("SELECT 'a' WHERE false") as stream:
        assert read_texts(stream) == []


def test_more_rows_than_a_batch_holds_all_come() -> None:
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
    with streaming(f"{numbers} SELECT cast(i AS text) FROM n") as stream:
        assert read_texts(stream) == [(str(number),) for number in range(1, 5001)]


@pytest.mark.parametrize("column", ["7", "NULL", "CASE WHEN i = 1 THEN 'a' END"])
def test_what_is_no_text_is_refused(column: str) -> None:
    with (
        streaming(f"SELECT {column} FROM (SELECT 1 AS i UNION ALL SELECT 2)") as stream,
        pytest.raises(ValueError, match="no text"),
    ):
        read_texts(stream)


def test_a_stream_that_breaks_says_why() -> None:
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
    with (
        streaming(f"{numbers} SELECT CASE WHEN i < 4000 THEN 'a' ELSE json('{{') END FROM n") as stream,
        pytest.raises(OSError, match="malformed JSON"),
    ):
        read_texts(stream)
