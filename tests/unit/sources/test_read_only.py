"""A query can't change the warehouse."""

import pytest
from sqlalchemy import StaticPool, create_engine, event
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.sources import check_query
from reconciler.sources.failures import Kind, Scrubber
from reconciler.sources.rows import RowSource

from .conftest import open_url, segment

WRITES = {
    "an insert": "INSERT INTO people VALUES ('b')",
    "an insert that returns": "INSERT INTO people VALUES ('b') RETURNING id",
    "an update": "UPDATE people SET id = 'b' RETURNING id",
    "a delete": "DELETE FROM people RETURNING id",
    "a drop": "DROP TABLE people",
    "a new table": "CREATE TABLE more (id TEXT)",
    "a statement behind the query": "SELECT id FROM people; DROP TABLE people",
    "a statement behind a closed parenthesis": "SELECT id FROM people) q; DROP TABLE people; --",
    "a write in a WITH": "WITH gone AS (DELETE FROM people RETURNING id) SELECT id FROM gone",
    "a setting": "PRAGMA user_version = 7",
    "a setting of the session": "SET search_path = pg_catalog",
    "the end of the transaction": "COMMIT",
}


@pytest.fixture
def people(warehouse):
    warehouse.execute("DROP TABLE IF EXISTS people")
    warehouse.execute("CREATE TABLE people (id TEXT)")
    warehouse.execute("INSERT INTO people VALUES ('a')")
    return warehouse


@pytest.mark.parametrize("write", WRITES)
def test_anything_that_is_no_query_is_refused(people, write):
    with pytest.raises(SourceError) as caught:
        people.read(WRITES[write])

    assert caught.value.hint
    assert people.raw("SELECT id FROM people") == ["a"]


@pytest.mark.parametrize("write", WRITES)
def test_checking_refuses_it_too(people, write):
    with pytest.raises(SourceError):
        people.source.check(segment(WRITES[write]))

    assert people.raw("SELECT id FROM people") == ["a"]


@pytest.mark.parametrize("reader", ["postgres", "postgres_rows"])
def test_a_postgres_function_that_writes_is_stopped_by_the_transaction(request, reader):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")
    warehouse.execute("DROP TABLE IF EXISTS seen")
    warehouse.execute("CREATE TABLE seen (id TEXT)")
    warehouse.execute(
        "CREATE OR REPLACE FUNCTION see() RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO seen VALUES ('b'); RETURN 'b'; END $$"
    )

    with pytest.raises(SourceError, match="read-only transaction") as caught:
        warehouse.read("SELECT see()")

    assert caught.value.hint == Kind.READ_ONLY.value
    assert warehouse.raw("SELECT id FROM seen") == []


def test_a_query_cannot_make_the_postgres_transaction_writable(postgres_warehouse):
    with pytest.raises(SourceError):
        postgres_warehouse.read("SELECT set_config('transaction_read_only', 'off', true)")


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_a_missing_file_is_an_error_and_is_not_made(tmp_path, scheme):
    file = tmp_path / "nowhere.db"
    source = open_url(f"{scheme}:///{file}")

    for use in (source.check, lambda wanted: source.stream_values(wanted).__enter__()):
        with pytest.raises(SourceError, match=r"there is no file nowhere\.db"):
            use(segment("SELECT 1"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_a_file_that_is_no_database_is_an_error(tmp_path, scheme):
    file = tmp_path / "notes.txt"
    file.write_text("not a database\n" * 500)

    with pytest.raises(SourceError, match="not a"):
        open_url(f"{scheme}:///{file}").check(segment("SELECT 1"))


@pytest.mark.parametrize("name", ["with space.db", "50%.db", "what?.db", "a#b.db", "it's.db", "memory.db"])
@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_file_may_have_any_name(request, tmp_path, kind, name):
    warehouse = request.getfixturevalue(f"{kind}_warehouse")
    file = tmp_path / name
    file.write_bytes((tmp_path / make_url(warehouse.url).database.rpartition("/")[2]).read_bytes())
    url = make_url(warehouse.url).set(database=str(file)).render_as_string()

    open_url(url).check(segment("SELECT id FROM nobody"))


@pytest.mark.parametrize("query", ["DELETE FROM people", "EXEC clean", "/* SELECT */ DROP TABLE people", "(DELETE)"])
def test_sql_server_must_at_least_be_given_a_select(query):
    """It allows no WITH in a derived table, so the query runs as it is, and is rolled back."""
    url = make_url("mssql+pyodbc://server/database")
    source = RowSource(url, Scrubber.of("warehouse", Secret(str(url))))

    with pytest.raises(SourceError, match=r"not a SELECT|is no query"):
        source.check(segment(query))


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELECT id FROM people DELETE FROM people COMMIT", "DELETE"),
        ("SELECT id FROM people\nDROP TABLE people", "DROP"),
        ("SELECT id INTO copy_of FROM people", "INTO"),
        ("SELECT id FROM people SELECT id FROM others", "SELECT"),
        ("(SELECT id FROM people) SELECT id FROM others", "SELECT"),
        ("WITH x AS (SELECT 1 AS id) SELECT id FROM x SELECT id FROM others", "SELECT"),
        ("SELECT 1SELECT 2", "SELECT"),
        ("WITH x AS (SELECT id FROM people) DELETE FROM x OUTPUT deleted.id", "DELETE"),
        ("WITH x AS (SELECT id FROM people) UPDATE x SET id = 'b' OUTPUT inserted.id", "UPDATE"),
        ("SELECT id FROM (DELETE FROM people OUTPUT deleted.id) q", "DELETE"),
        ("SELECT id FROM people/**/exec clean", "EXEC"),
        ("SELECT 'a'Execute('clean')", "EXECUTE"),
        ("SELECT id FROM people WHERE id = 1COMMIT", "COMMIT"),
        ("SELECT 1.TRUNCATE TABLE people", "TRUNCATE"),
        ("SELECT $DROP TABLE people", "DROP"),
        ("SELECT 0xFFMERGE INTO people USING more ON 1 = 1", "MERGE"),
        ("SELECT [id]INSERT people SELECT id FROM people", "INSERT"),
        ("SELECT id FROM people USE master", "USE"),
        ("SELECT id FROM people IF 1 = 1 SHUTDOWN", "IF"),
        ("SELECT id FROM people WHERE id = :low SET ROWCOUNT 5", "SET"),
    ],
)
def test_sql_server_is_given_no_other_statement_behind_a_select(query, word):
    """It needs no semicolon between statements."""
    url = make_url("mssql+pyodbc://server/database")
    source = RowSource(url, Scrubber.of("warehouse", Secret(str(url))))
    asking = segment(query, low=1)

    for use in (source.check, lambda asking: check_query("warehouse", Secret(str(url)), asking)):
        with pytest.raises(SourceError, match=f"the query holds {word}, which begins another statement") as caught:
            use(asking)

        assert f"[{word.lower()}]" in caught.value.hint


@pytest.mark.parametrize(
    "query",
    [
        "SELECT [delete], \"set\", 'DROP TABLE' AS id -- COMMIT\nFROM people /* INTO */",
        "SELECT @@rowcount AS inserted, x.updated, #into.id_set, DATEADD(day, 1, created) FROM people x",
        "SELECT a.id FROM people a INNER MERGE JOIN more b ON a.id = b.id OPTION (MERGE UNION)",
        "SELECT id FROM people OPTION (USE HINT ('x'), use plan N'<ShowPlanXML/>')",
        "SELECT id FROM people GROUP BY GROUPING SETS ((id), ()) ORDER BY id OFFSET 5 ROWS FETCH NEXT 5 ROWS ONLY",
        "SELECT id FROM OPENROWSET(BULK 'https://lake/*.parquet', FORMAT = 'PARQUET') AS r WHERE id = 10 AND n = 1e5",
        "SELECT id FROM a UNION ALL SELECT id FROM b EXCEPT SELECT id FROM c WHERE id IN (SELECT id FROM d)",
        "(SELECT id FROM a) UNION (SELECT id FROM b)",
        "WITH x AS (SELECT 1 AS id), y AS (SELECT id FROM x) SELECT id FROM y INTERSECT SELECT id FROM x",
        "WITH x AS (SELECT CASE WHEN n > 1 THEN id END AS id FROM people) SELECT id FROM x WHERE id > 0x1F",
    ],
)
def test_what_sql_server_reads_is_no_other_statement(query):
    check_query("warehouse", Secret("mssql+pyodbc://server/database"), segment(query))


def test_sql_server_gets_a_select_as_it_is(monkeypatch):
    anywhere = {"check_same_thread": False}  # a login has a thread of its own
    engine, statements = create_engine("sqlite://", poolclass=StaticPool, connect_args=anywhere), []
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    monkeypatch.setattr("reconciler.sources.rows.create_engine", lambda *_, **__: engine)
    url = make_url("mssql+pyodbc://server/database")

    RowSource(url, Scrubber.of("warehouse", Secret(str(url)))).check(segment("-- a\nSelect 1"))

    assert statements == ["-- a\nSelect 1"]
