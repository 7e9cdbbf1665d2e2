"""URLs of files, read without SQLAlchemy as SQLAlchemy reads them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from reconciler.errors import StateError
from reconciler.models.spec import Secret
from reconciler.sources import split_file_url
from reconciler.state.location import SqliteAddress, parse

letters = st.text(st.sampled_from("a.%2F?&=:#é /"), max_size=12)


@given(driver=st.sampled_from(["sqlite", "sqlite+pysqlite", "duckdb"]), rest=letters)
def test_a_file_is_found_where_sqlalchemy_finds_it(driver: str, rest: str) -> None:
    url = f"{driver}:///{rest}"
    assert split_file_url(url) == (driver, make_url(url).database or "")


@pytest.mark.parametrize(
    "url", ["postgresql://h/d", "mysql://u:p@h/d", "duckdb+other:///x", "sqlite://u@h/x", "sqlite"]
)
def test_what_is_no_plain_file_is_left_to_sqlalchemy(url: str) -> None:
    assert split_file_url(url) is None


@given(rest=letters)
def test_a_state_is_found_where_sqlalchemy_finds_it(rest: str) -> None:
    url = f"sqlite:///{rest}"
    expected = make_url(url).database
    try:
        found = parse(Secret(url))
    except StateError:
        assert not expected or expected.startswith("file:")
    else:
        assert isinstance(found, SqliteAddress)
        assert str(found.path) == str(Path(expected or ""))
