from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, make_url

from reconciler.specfile.urls import anchor, check_api_url, check_source_url, check_state_url

FOLDER = Path("/specs/team")


@pytest.mark.parametrize(
    ("url", "anchored"),
    [
        ("sqlite:///a.db", "sqlite:////specs/team/a.db"),
        ("sqlite:///data/a.db?timeout=5", "sqlite:////specs/team/data/a.db?timeout=5"),
        ("sqlite:///../a.db", "sqlite:////specs/a.db"),
        ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
        ("sqlite+pysqlite:///a.db", "sqlite+pysqlite:////specs/team/a.db"),
        ("sqlite:///file:a.db?mode=ro&uri=true", "sqlite:///file:/specs/team/a.db?mode=ro&uri=true"),
        ("sqlite:///file:/a.db?uri=true", "sqlite:///file:/a.db?uri=true"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("duckdb:///a.duckdb", "duckdb:////specs/team/a.duckdb"),
        ("duckdb:////abs/a.duckdb", "duckdb:////abs/a.duckdb"),
        ("duckdb:///:memory:", "duckdb:///:memory:"),
        ("duckdb:///:memory:named", "duckdb:///:memory:named"),
        ("duckdb://", "duckdb://"),
        ("duckdb:///md:warehouse", "duckdb:///md:warehouse"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql://u:p@h:5432/d?sslmode=require", "postgresql+psycopg://u:p@h:5432/d?sslmode=require"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
        ("mysql+pymysql://u:p@h/d", "mysql+pymysql://u:p@h/d"),
        ("snowflake://u:p@account/db/schema?warehouse=w", "snowflake://u:p@account/db/schema?warehouse=w"),
        ("bigquery://project/dataset", "bigquery://project/dataset"),
    ],
)
def test_a_relative_file_is_made_absolute_and_postgresql_gets_its_driver(url, anchored):
    assert anchor(url, FOLDER) == anchored
    assert anchor(anchored, Path("/elsewhere")) == anchored


@pytest.mark.parametrize("folder", ["/a b", "/100%", "/what?", "/ä/ö", "/a%20b", "/a@b:c"])
def test_sqlalchemy_finds_the_file_whatever_the_folder_is_called(folder):
    assert make_url(anchor("sqlite:///state.db?timeout=5", Path(folder))).database == f"{folder}/state.db"


def test_a_relative_folder_is_that_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert anchor("sqlite:///a.db", Path("specs")) == f"sqlite:///{tmp_path}/specs/a.db"


@pytest.mark.parametrize(
    "url",
    ["sqlite:///a.db", "sqlite+pysqlite:////a.db", "postgres://h/d", "postgresql://h/d", "postgresql+psycopg://h/d"],
)
def test_a_state_is_kept_in_sqlite_or_postgresql(url):
    assert check_state_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://?cache=shared", "sqlite:///file::memory:?uri=true",
        "sqlite+aiosqlite:///a.db", "duckdb:///a.duckdb", "mysql://h/d", "postgresql+psycopg2://h/d", "SQLITE:///a",
    ],
)  # fmt: skip
def test_a_state_is_kept_nowhere_else(url):
    with pytest.raises(ValueError, match=r"must be sqlite|memory"):
        check_state_url(url)


@pytest.mark.parametrize("url", ["duckdb://", "sqlite://", "redshift+redshift_connector://u:p@h:5439/d", "x://"])
def test_a_source_may_be_anything_that_looks_like_a_url(url):
    assert check_source_url(url) == url


@pytest.mark.parametrize(
    "url", ["", " sqlite:///a", "sqlite:///a\n", "sqlite:/a", "a.db", "sqlite://a.db", "po stgres://h"]
)
def test_a_source_may_not_be_anything_else(url):
    with pytest.raises(ValueError, match=r"must|needs|holds"):
        check_source_url(url)


@given(rest=st.text(alphabet="ab1:/@?[]%.=&", max_size=14))
def test_what_is_let_through_sqlalchemy_reads(rest):
    try:
        check_source_url(f"mysql://{rest}")
    except ValueError:
        return
    port = make_url(f"mysql://{rest}").port
    assert port is None or 0 < port < 65_536


words = st.text(alphabet="ab:/@?[]%. ", min_size=1, max_size=8)


@given(user=words, password=words, port=st.none() | st.integers(1, 65_535), database=words)
def test_what_sqlalchemy_writes_is_let_through(user, password, port, database):
    url = URL.create("mysql", user, password, "db.example.com", port, quote(database)).render_as_string(False)
    assert check_source_url(url) == url


@pytest.mark.parametrize("port", ["99999", "0", "-1", "x", "\u0665", "9" * 5000, "5432x"])
def test_a_port_is_a_number_that_a_port_can_have(port):
    with pytest.raises(ValueError, match="is not dialect"):
        check_state_url(f"postgresql://u:secret@h:{port}/d")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8025", "http://127.1.2.3", "http://localhost:1", "http://[::1]:8025", "https://track.example.com",
        "https://proxy.example.com/customerio",
    ],
)  # fmt: skip
def test_an_api_is_reached_over_https_or_on_this_machine(url):
    assert check_api_url(url) == url
    assert check_api_url(f"{url}/") == url


@pytest.mark.parametrize(
    "url",
    [
        "http://track.example.com", "http://10.0.0.1", "http://localhost.example.com", "http://0.0.0.0:8025",
        "http://user@localhost", "https://:p@h", "https://h?x", "https://h#", "https://h:99999", "https://", "ftp://h",
        "127.0.0.1:8025", "https://h/a b", "https://h/\n", "",
    ],
)  # fmt: skip
def test_an_api_is_reached_in_no_other_way(url):
    with pytest.raises(ValueError, match=r"must|names|is not"):
        check_api_url(url)
