from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import URL, make_url

from reconciler.models.urls import (
    DatabaseUrl,
    check_api_url,
    check_source_url,
    check_state_url,
    is_loopback,
    make_absolute,
)

FOLDER = Path("/specs/team")


@pytest.mark.parametrize(
    ("url", "anchored"),
    [
        ("sqlite:///a.db", "sqlite:////specs/team/a.db"),
        ("sqlite:///data/a.db?timeout=5", "sqlite:////specs/team/data/a.db?timeout=5"),
        ("sqlite:///../a.db", "sqlite:////specs/a.db"),
        ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
        ("sqlite+pysqlite:///a.db", "sqlite+pysqlite:////specs/team/a.db"),
        ("sqlite:///file:a.db?mode=ro&uri=true", "sqlite:////specs/team/a.db?mode=ro&uri=true"),
        ("sqlite:///file:/a.db?uri=true", "sqlite:////a.db?uri=true"),
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
        ("postgresql+psycopg2://h/d", "postgresql+psycopg://h/d"),
        ("postgres+psycopg2://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+pg8000://h/d", "postgresql+pg8000://h/d"),
        ("mysql+pymysql://u:p@h/d", "mysql+pymysql://u:p@h/d"),
        ("snowflake://u:p@account/db/schema?warehouse=w", "snowflake://u:p@account/db/schema?warehouse=w"),
        ("bigquery://project/dataset", "bigquery://project/dataset"),
    ],
)
def test_a_relative_file_is_made_absolute_and_postgresql_gets_its_driver(url, anchored):
    assert make_absolute(url, FOLDER) == anchored
    assert make_absolute(anchored, Path("/elsewhere")) == anchored


@pytest.mark.parametrize("folder", ["/a b", "/100%", "/what?", "/ä/ö", "/a%20b", "/a@b:c"])
def test_sqlalchemy_finds_the_file_whatever_the_folder_is_called(folder):
    assert make_url(make_absolute("sqlite:///state.db?timeout=5", Path(folder))).database == f"{folder}/state.db"


@pytest.mark.parametrize(
    "folder", ["/new\nline", "/tab\t", "/nbsp\xa0", "/bidi\u202e", "/bytes\udcff", "/100%?", "/a b"]
)
@pytest.mark.parametrize("name", ["a.db", "a.db "])
@pytest.mark.parametrize("dialect", ["sqlite", "duckdb"])
def test_an_absolute_url_can_be_read_again_whatever_the_folder_is_called(folder, name, dialect):
    absolute = make_absolute(f"{dialect}:///{name.replace(' ', '%20')}", Path(folder))

    url = DatabaseUrl.parse(check_source_url(absolute))

    assert url.database == url.file == f"{folder}/{name}"
    assert make_absolute(absolute, FOLDER) == absolute


def test_a_relative_folder_is_that_of_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert make_absolute("sqlite:///a.db", Path("specs")) == f"sqlite:///{tmp_path}/specs/a.db"


def test_links_are_followed_as_the_system_does(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "a.db").symlink_to("b.db")

    for url in ("sqlite:///link/a.db", f"sqlite:///{tmp_path}/link/../real/a.db", "sqlite:///file:link/a.db?uri=true"):
        assert make_absolute(url, tmp_path).partition("?")[0] == f"sqlite:///{tmp_path}/real/b.db"
    assert (
        make_absolute("duckdb:///link/a.db", tmp_path) == f"duckdb:///{tmp_path}/real/a.db"
    )  # its name is the catalog's


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db", "sqlite+pysqlite:////a.db", "postgres://h/d", "postgresql://h/d", "postgresql+psycopg://h/d",
        "postgresql+psycopg2://h/d", "postgres+psycopg2://h/d",
    ],
)  # fmt: skip
def test_a_state_is_kept_in_sqlite_or_postgresql(url):
    assert check_state_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://?cache=shared", "sqlite:///file::memory:?uri=true",
        "sqlite+aiosqlite:///a.db", "duckdb:///a.duckdb", "mysql://h/d", "postgresql+asyncpg://h/d", "SQLITE:///a",
    ],
)  # fmt: skip
def test_a_state_is_kept_nowhere_else(url):
    with pytest.raises(ValueError, match=r"must be sqlite|memory|drop \+asyncpg"):
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


@pytest.mark.parametrize("url", ["sqlite:///a?b.db", "sqlite+pysqlite:////a?.db?mode=ro", "duckdb:///what?/a.duckdb"])
def test_a_question_mark_in_the_name_of_a_file_is_no_silent_end_of_it(url):
    with pytest.raises(ValueError, match=r"write a \? in the name of a file as %3F"):
        check_source_url(url)

    assert unquote(make_absolute(url.replace("?", "%3F"), FOLDER)).endswith(url.rpartition("//")[2])


@pytest.mark.parametrize(
    ("url", "host", "parameters"),
    [
        ("sc://db", "db", {}),
        ("sc://db:15002/", "db", {}),
        ("sc://[::1]:15002", "::1", {}),
        ("sc://10.0.0.1:443/;use_ssl=true;token=a%3D%3D", "10.0.0.1", {"use_ssl": "true", "token": "a=="}),
        ("sc://db/;user_id=ada%40b;x-cluster=1;", "db", {"user_id": "ada@b", "x-cluster": "1"}),
    ],
)
def test_a_url_of_spark_connect_has_its_parameters_behind_semicolons(url, host, parameters):
    parsed = DatabaseUrl.parse(check_source_url(url))

    assert (parsed.dialect, parsed.host, parsed.connect_parameters) == ("sc", host, parameters)
    assert make_absolute(url, FOLDER) == url


@pytest.mark.parametrize(
    "url",
    [
        "sc://", "sc+x://db", "sc://db:99999", "sc://db:0", "sc://ada:p@db", "sc://db/schema", "sc://db/?token=a",
        "sc://db;token=a", "sc://db/token=a", "sc://db/;token=a=", "sc://db/;token=a/b", "sc://db/;token=a@b",
        "sc://db/;token", "sc://db/;token=a%zz", "sc://db/;token=a#b", "sc://db/;token=a b",
    ],
)  # fmt: skip
def test_a_url_of_spark_connect_that_could_be_read_in_another_way_is_refused(url):
    with pytest.raises(ValueError, match="is not sc://host:port") as caught:
        check_source_url(url)

    assert "token" not in str(caught.value)


@given(rest=st.text(alphabet="ab1:/@?[]%.=&", max_size=14))
@example("u:a@b@h")
@example("u:a/b@h")
@example("u:1/b@h")
@example("u:1?b=@h")
@example("u@h:1/d?a=b@c")
def test_what_is_let_through_every_reader_reads_alike(rest):
    url = f"mysql://{rest}"
    try:
        check_source_url(url)
    except ValueError:
        return
    ours, theirs = make_url(url), urlsplit(url)
    assert ours.port is None or 0 < ours.port < 65_536
    assert (ours.port, (ours.host or "").lower()) == (theirs.port, theirs.hostname or "")
    assert ours.username == (theirs.username and unquote(theirs.username))
    assert (ours.password or "") == unquote(theirs.password or "")


words = st.text(alphabet="ab:/@?[]%.", min_size=1, max_size=8)


@given(user=words, password=words, port=st.none() | st.integers(1, 65_535), database=words)
def test_what_sqlalchemy_writes_is_let_through(user, password, port, database):
    url = URL.create("mysql", user, password, "db.example.com", port, quote(database)).render_as_string(False)
    assert check_source_url(url) == url


@pytest.mark.parametrize("sign", ["@", "/", "?", "#", ":", "[", "]", " ", "%", "%2", "%zz", "@@", "1/2@"])
@pytest.mark.parametrize(
    "url", ["{}://u:S3cret{}Tail77x@h:5432/d", "{}://u:123{}Tail77x@h/d", "{}://S3cret{}Tail77x:p@h/d"]
)
@pytest.mark.parametrize("dialect", ["postgresql", "postgres+psycopg2", "mysql+pymysql", "snowflake", "mssql+pyodbc"])
def test_a_password_that_can_be_read_in_two_ways_is_refused_and_not_repeated(dialect, url, sign):
    for check in (check_source_url, check_state_url):
        with pytest.raises(ValueError, match="as %XX") as refusal:
            check(url.format(dialect, sign))

        assert not any(part in str(refusal.value) for part in ("S3cret", "Tail77x", "123"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/d?password=S3cret@Tail77x", "postgresql://h/d?password=S3cret#Tail77x",
        "postgresql://h/d?password=S3cret%Tail77x", "postgresql://h/d?sslpassword=S3cret&Tail77x",
        "snowflake://a/d?user=u&token=S3cret&Tail77x&role=r", "postgresql://u%3AS3cret%40Tail77x/d",
        "mssql+pyodbc:///?odbc_connect=DRIVER={x};UID=u;PWD=S3cret@Tail77x",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7Bx%7D%3BPWD%3DS3cret%3BTail77x",
        "databricks://token:S3cret@Tail77x@h?http_path=/sql",
    ],
)  # fmt: skip
def test_a_secret_elsewhere_that_can_be_read_in_two_ways_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match=r"as %XX|in braces") as refusal:
        check_source_url(url)

    assert "S3cret" not in str(refusal.value)
    assert "Tail77x" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss%2Fw%3Frd%23@h/d", "postgresql://u@/d?host=/var/run/postgresql", "postgresql://[::1]:5432/d",
        "postgresql://h/d?options=-c%20statement_timeout%3D5s&password=p%40ss", "mysql://u:p+w;d'!$&*()=,~@h",
        "mssql+pyodbc://u:p@h\\SQLEXPRESS/d?driver=ODBC Driver 18 for SQL Server", "sqlite:////home/me@work/a#1.db",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+Driver%7D%3BPWD%3D%7BS3%3Bcret%7D%3B",
        "databricks://token:dapi1@h?http_path=/sql/1.0/warehouses/a&catalog=c", "bigquery://project/dataset?a=b?c",
        "snowflake://u:p@account-1.eu/db/schema?warehouse=w",
    ],
)  # fmt: skip
def test_a_url_that_can_be_read_in_one_way_is_let_through(url):
    assert check_source_url(url) == url


@given(
    dialect=st.sampled_from(["postgresql", "postgres+psycopg2", "mysql", "snowflake"]),
    between=st.lists(st.sampled_from([*"@/?#:[]%&=;+, \\", "%40", "%2F", "1"]), min_size=1, max_size=4).map("".join),
    after=st.sampled_from(["", "1", "@", "/", ":5432"]),
)
def test_both_halves_of_a_password_stay_in_the_password(dialect, between, after):
    url = f"{dialect}://u:S3cret{between}Tail77x{after}@h/d"
    try:
        check_source_url(url)
    except ValueError:
        return
    read = make_url(url)
    assert "S3cret" in str(read.password)
    assert "Tail77x" in str(read.password)
    assert (read.host, read.database) == ("h", "d")


@pytest.mark.parametrize("url", ["sqlite:///u:S3cret@h/a.db", "sqlite://u:S3cret@h/a.db", "duckdb:///:S3cret@a.db"])
def test_a_file_has_no_password(url):
    for check in (check_source_url, check_state_url):
        with pytest.raises(ValueError, match=r"names a user|needs three slashes|must be sqlite") as refusal:
            check(url)

        assert "S3cret" not in str(refusal.value)


@pytest.mark.parametrize("port", ["99999", "0", "-1", "x", "\u0665", "9" * 5000, "5432x"])
def test_a_port_is_a_number_that_a_port_can_have(port):
    with pytest.raises(ValueError, match="is not dialect"):
        check_state_url(f"postgresql://u:secret@h:{port}/d")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8025", "http://127.1.2.3", "http://localhost:1", "http://[::1]:8025", "http://localhost.:1",
        "http://[::ffff:127.0.0.1]", "http://2130706433", "http://CIO.LocalHost", "https://track.example.com",
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
        "127.0.0.1:8025", "https://h/a b", "https://h/\n", "", "https://u:p@ss@h", "https://u:443/p@h", "https://u:p#s@h",
        "https://u:p?s@h", "https://u%3Ap%40h", "https://u:p/s@h",
    ],
)  # fmt: skip
def test_an_api_is_reached_in_no_other_way(url):
    with pytest.raises(ValueError, match=r"must|names|is not"):
        check_api_url(url)


@pytest.mark.parametrize(
    ("url", "host", "database"),
    [
        ("postgresql://u:p%40ss@db.example.com:5432/crm?sslmode=require", "db.example.com", "crm"),
        ("postgres://[::1]:5432/d", "::1", "d"),
        ("postgresql://u@/d%20e?host=a:1&host=b", "a:1, b", "d e"),
        ("postgresql://", "", ""),
    ],
)
def test_a_server_is_named_without_its_password(url, host, database):
    parsed = DatabaseUrl.parse(url)

    assert (parsed.host, parsed.database) == (host, database)
    assert (make_url(url).host or host, make_url(url).database or "") == (host, database)
    assert "p%40ss" not in f"{parsed} {parsed!r}"


# --- which hosts are this machine, in every form that a URL can have ----------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "localhost.", "cio.localhost", "a.b.LOCALHOST.", "127.0.0.1", "127.0.0.2",
     "127.255.255.255", "::1", "[::1]", "0:0:0:0:0:0:0:1", "0000:0000::0001", "::ffff:127.0.0.1", "[::FFFF:7f00:2]",
     "2130706433", "0x7f000001", "0x7F.1", "127.1", "127.0.1", "0177.0.0.1", "017700000001"],
)  # fmt: skip
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", ".", "track.customer.io", "localhost.example.com", "mylocalhost", "127.0.0.1.example.com", "127.0.0.1.",
     "128.0.0.1", "1.127.0.0.1", "126.255.255.255", "0.0.0.0", "::", "::2", "::ffff:10.0.0.1", "2130706432.5",
     "3232235777", "0127.0.0.1", "127.0.0.256", "127.", "127..1", "1e3", "0x", "08", "９", "4294967296",
     "2130706433" * 40],
)  # fmt: skip
def test_another_machine(host: str) -> None:
    assert not is_loopback(host)
