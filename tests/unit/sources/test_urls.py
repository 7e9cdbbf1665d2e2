"""URLs of files, read without SQLAlchemy as SQLAlchemy reads them."""

import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from reconciler.models.urls import DatabaseUrl

letters = st.text(st.sampled_from("a.%2F?&=:#é /"), max_size=12)


@given(driver=st.sampled_from(["sqlite", "sqlite+pysqlite", "duckdb"]), rest=letters)
def test_a_file_is_found_where_sqlalchemy_finds_it(driver: str, rest: str) -> None:
    text = f"{driver}:///{rest}"
    try:
        url = DatabaseUrl.parse(text)
    except ValueError:
        assume(False)
    assert url.is_file
    name = os.fsencode(url.database).decode(errors="replace")  # ours may be no UTF-8, as a file's may
    assert name == (make_url(text).database or "")


@pytest.mark.parametrize("url", ["postgresql://h/d", "mysql://u:p@h/d", "duckdb+other:///x", "sqlite+other:///x"])
def test_what_is_no_plain_file_is_left_to_sqlalchemy(url: str) -> None:
    assert not DatabaseUrl.parse(url).is_file
