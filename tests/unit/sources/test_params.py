"""Params are bound, never pasted, and mean what they mean in the database's own driver."""

from types import SimpleNamespace

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.sources.base import Query
from reconciler.sources.failures import Kind, Scrubber
from reconciler.sources.rows import write_query

from .conftest import segment

TRICKY = 'it\'s "a" %s %(p1)s :n $1 ?1 \\ ; DROP TABLE people; --'


@pytest.mark.parametrize("text", [TRICKY, "", "né€𝄞", "a\nb"])
def test_a_text_arrives_as_it_is(warehouse, text):
    assert warehouse.read("SELECT CAST(:text AS TEXT)", text=text) == [(text, True)]


def test_a_number_is_a_number(warehouse):
    query = f"SELECT n FROM {warehouse.series(3)} WHERE n >= :least AND n * 10 < :most ORDER BY n"

    assert warehouse.read(query, least=2, most=25.5) == [("2", True)]


def test_a_big_integer_keeps_its_last_digit(warehouse):
    query = f"SELECT 'yes' FROM {warehouse.series(1)} WHERE :big = 9007199254740993 AND :big <> 9007199254740992"

    assert warehouse.read(query, big=9007199254740993) == [("yes", True)]


def test_params_do_not_limit_how_many_rows_come(warehouse):
    query = f"SELECT 'id' || n FROM {warehouse.series(150_000)} WHERE n > :least"

    assert len(warehouse.read(query, least=0)) == 150_000


def test_null_is_null(warehouse):
    assert warehouse.read("SELECT 'yes' WHERE CAST(:nothing AS TEXT) IS NULL", nothing=None) == [("yes", True)]


def test_a_boolean_is_a_boolean(warehouse):
    assert warehouse.read("SELECT 'yes' WHERE :flag", flag=True) == [("yes", True)]
    assert warehouse.read("SELECT 'yes' WHERE :flag", flag=False) == []


def test_a_param_may_stand_many_times_and_others_not_at_all(warehouse):
    """A default of the spec gives params to segments that have no use for them."""
    query = "SELECT 'yes' WHERE :b = 2 AND :a = 1 AND :b + :a = 3"

    assert warehouse.read(query, a=1, b=2, unused="x") == [("yes", True)]


CORNERS = {
    "sqlite": [
        ("/*/*/ 'a' || :text", "abc"),
        ("/* it's /* :text */ 'a' || :text", "abc"),
        ("x'41' || :text", "Abc"),
        ("'\\' || :text", "\\bc"),
    ],
    "duckdb": [
        ("/* /* :text */ it's :text */ 'a' || :text", "abc"),
        ("'a' -- it's\r || :text", "abc"),
        ("E'it\\'s' || :text", "it'sbc"),
        ("$$it's :text$$ || :text", "it's :textbc"),
    ],
    "postgres": [
        ("/* /* :text */ it's :text */ 'a' || :text", "abc"),
        ("'a' -- it's\r || :text", "abc"),
        ("E'a'\n'\\'s :text' || :text", "a's :textbc"),
        ("E'a' -- it's\r\n -- and\n '\\'s :text' || :text", "a's :textbc"),
        ("$tag$it's $$ :text$tag$ || :text", "it's $$ :textbc"),
        ("U&'\\0061' || :text", "abc"),
    ],
}


def test_a_param_is_found_where_the_database_reads_code(warehouse):
    for code, value in CORNERS[warehouse.name.partition("-")[0]]:
        assert warehouse.read(f"SELECT {code}", text="bc") == [(value, True)], code


def test_percents_and_colons_survive_params(warehouse):
    query = "SELECT '100% {\"a\":1} 12:30 %s' /* 5% :text */ WHERE :text LIKE '%b%' AND 7 % 4 = 3 -- %"

    assert warehouse.read(query, text="abc") == [('100% {"a":1} 12:30 %s', True)]


def test_percents_survive_without_params(warehouse):
    assert warehouse.read("SELECT '100%% %s' WHERE 7 % 4 = 3") == [("100%% %s", True)]


def test_a_date_given_as_text_is_compared_as_a_date(warehouse):
    if warehouse.name.startswith("sqlite"):
        query = "SELECT 'yes' WHERE date('2026-01-02') > :day"
    else:
        query = "SELECT 'yes' WHERE DATE '2026-01-02' > :day"

    assert warehouse.read(query, day="2026-01-01") == [("yes", True)]
    assert warehouse.read(query, day="2026-01-03") == []


def test_a_param_may_stand_in_a_limit(warehouse):
    query = f"SELECT n FROM {warehouse.series(5)} ORDER BY n LIMIT :most"

    assert warehouse.read(query, most=2) == [("1", True), ("2", True)]


@pytest.mark.parametrize(
    ("value", "expression"),
    [(70_000, "DATE '2026-01-01' + :n"), (2**40, "1 + :n"), (2**70, "1 + :n"), (1.5, "interval '1 day' * :n")],
)
def test_postgres_takes_a_number_as_its_own_driver_would_tell_it(postgres_warehouse, value, expression):
    assert postgres_warehouse.read(f"SELECT 'yes' WHERE ({expression}) IS NOT NULL", n=value) == [("yes", True)]


def test_a_postgres_char_param_is_not_cut(postgres_warehouse):
    assert postgres_warehouse.read("SELECT 'yes' WHERE 'abc'::char(3) = :text", text="abc") == [("yes", True)]


@pytest.mark.parametrize("name", ["score:low", "it's", "a``:low", "a--b", "/* a", "$1 ?", "$$"])
def test_duckdb_may_have_names_in_backticks(duckdb_warehouse, name):
    column = name.replace("``", "`")
    duckdb_warehouse.execute(f'CREATE TABLE scores AS SELECT i AS "{column}" FROM range(4) AS r (i)')
    query = f"SELECT `{name}` FROM scores WHERE `{name}` > :low AND ':low' <> '`' AND \"{column}\" < 9"

    assert sorted(duckdb_warehouse.read(query, low=1)) == [("2", True), ("3", True)]


def test_a_name_that_is_not_in_params_is_an_error_not_null(warehouse):
    with pytest.raises(SourceError) as caught:
        warehouse.read("SELECT 'yes' WHERE 1 = :misspelt OR 1 = 1", misspelled=1)

    assert caught.value.hint == f"`params` has no misspelt. {Kind.PARAMS.value}"


@pytest.mark.parametrize(
    ("dialect", "words"),
    [
        ("sc", "Placeholder ':reconcile_0123456789ab_0' was not provided a value for execution."),
        ("sc", "invalid argument: literal expression: Placeholder(Variable { span: TokenSpan { start: 0, end: 9 } })"),
        ("oracle", 'DPY-4008: no bind placeholder named ":low" was found in the SQL text'),
    ],
)
def test_a_place_where_the_database_binds_no_param_is_told_as_such(dialect, words):
    scrubber = Scrubber.of("warehouse", Secret(f"{dialect}://db"))
    query = Query.of(segment("SELECT id FROM range(:low, :high)", low=1, high=5), dialect)

    hint = scrubber.explain(RuntimeError(words), query).hint

    assert hint == "The database binds no param in one of these places (:low, :high): write the value itself there."


@pytest.mark.parametrize("mark", ["?", "?1", "$1", "@a"])
def test_marks_of_drivers_are_not_bound(sqlite_warehouse, mark):
    with pytest.raises(SourceError) as caught:
        sqlite_warehouse.read(f"SELECT 'yes' WHERE 1 = {mark} OR 1 = 1")

    assert caught.value.hint == Kind.PARAMS.value


STYLES = {
    "qmark": ("SELECT 5 % 3, '%', ?, ?, ?", (1, 2, 1)),
    "format": ("SELECT 5 %% 3, '%%', %s, %s, %s", (1, 2, 1)),
    "pyformat": ("SELECT 5 %% 3, '%%', %(NAME_1)s, %(NAME_2)s, %(NAME_1)s", {"NAME_1": 1, "NAME_2": 2}),
    "named": ("SELECT 5 % 3, '%', :NAME_1, :NAME_2, :NAME_1", {"NAME_1": 1, "NAME_2": 2}),
    "numeric": ("SELECT 5 % 3, '%', :1, :2, :1", (1, 2)),
    "numeric_dollar": ("SELECT 5 % 3, '%', $1, $2, $1", (1, 2)),
}


def write(query, driver, style):
    """What a driver gets, with NAME for the name that is ours."""
    name, _, driver = driver.partition("+")
    sql, values = write_query(query, SimpleNamespace(name=name, driver=driver or name, paramstyle=style))
    if isinstance(values, dict):
        values = {key.replace(query.name, "NAME"): value for key, value in values.items()}
    return sql.replace(query.name, "NAME"), values


@pytest.mark.parametrize("paramstyle", STYLES)
def test_each_style_of_driver_gets_its_own_marks(paramstyle):
    query = Query.of(segment("SELECT 5 % 3, '%', :b, :a, :b", a=2, b=1), "oracle")

    assert write(query, "oracle", paramstyle) == STYLES[paramstyle]


def test_a_name_of_ours_is_none_that_the_query_may_have():
    query = Query.of(segment("SELECT :p1 FROM dual WHERE id > :low", low=1), "oracle")

    sql, values = write_query(query, SimpleNamespace(name="oracle", driver="oracledb", paramstyle="named"))

    assert ":p1 " in sql
    assert "p1" not in values


@pytest.mark.parametrize("code", ["'%(x)s'", "`%(x)s`", "7 %(x)s", "'a' || '%(low)s'"])
def test_what_databricks_would_make_a_param_of_is_refused_beside_one(code):
    query = Query.of(segment(f"SELECT {code} FROM t WHERE id > :low", low=1), "databricks")
    alone = Query.of(segment(f"SELECT {code} FROM t"), "databricks")

    with pytest.raises(SourceError, match=r"would change %\(\w+\)s"):
        write(query, "databricks", "named")
    assert write(alone, "databricks", "named") == (f"SELECT {code} FROM t", {})


@pytest.mark.parametrize("code", ["'%' || '(x)s'", "'%(x) s'", "'100%'", "7 % (x)", "1 /* %(x)s */"])
def test_databricks_gets_what_it_leaves_alone(code):
    query = Query.of(segment(f"SELECT {code} FROM t WHERE id > :low", low=1), "databricks")

    assert write(query, "databricks", "named") == (f"SELECT {code} FROM t WHERE id > :NAME_1", {"NAME_1": 1})


@pytest.mark.parametrize(
    ("driver", "alone", "beside_a_param"),
    [
        ("mysql+pymysql", "5 % 3, '50%% off'", "5 %% 3, '50%%%% off'"),
        ("redshift+psycopg2", "5 % 3, '50%% off'", "5 %% 3, '50%%%% off'"),
        ("bigquery", "5 %% 3, '50%%%% off'", "5 %% 3, '50%%%% off'"),
        ("clickhousedb+connect", "5 %% 3, '50%%%% off'", "5 %% 3, '50%%%% off'"),
        ("pinot", "5 %% 3, '50%%%% off'", "5 %% 3, '50%%%% off'"),
        ("clickhouse+native", "5 % 3, '50%% off'", "5 %% 3, '50%%%% off'"),
        ("redshift+redshift_connector", "5 % 3, '50%% off'", "5 %% 3, '50%% off'"),
        ("postgresql+pg8000", "5 % 3, '50%% off'", "5 %% 3, '50%% off'"),
        ("mysql+mysqlconnector", "5 % 3, '50%% off'", "5 % 3, '50%% off'"),
        ("mssql+pymssql", "5 % 3, '50%% off'", "5 % 3, '50%% off'"),
    ],
)
def test_percents_are_doubled_where_the_driver_reads_them(driver, alone, beside_a_param):
    dialect = driver.partition("+")[0]
    without = Query.of(segment("SELECT 5 % 3, '50%% off'"), dialect)
    with_one = Query.of(segment("SELECT 5 % 3, '50%% off' WHERE :a", a=1), dialect)

    assert write(without, driver, "pyformat")[0] == f"SELECT {alone}"
    assert write(with_one, driver, "pyformat")[0] == f"SELECT {beside_a_param} WHERE %(NAME_1)s"


def test_bigquery_gets_null_as_text_since_its_driver_finds_no_type_for_it():
    query = Query.of(segment("SELECT :a, :b, '%'", a=None, b=1), "bigquery")
    nothing = Query.of(segment("SELECT :a", a=None), "bigquery")

    assert write(query, "bigquery", "pyformat") == ("SELECT NULL, %(NAME_2)s, '%%'", {"NAME_2": 1})
    assert write(nothing, "bigquery", "pyformat") == ("SELECT NULL", {})


@pytest.mark.parametrize("driver", ["redshift+redshift_connector", "postgresql+pg8000"])
def test_a_driver_that_scans_for_marks_gets_nothing_that_it_misreads(driver):
    commented = Query.of(segment("SELECT 'it''s' /* it's 5% */, $$a$$, E'\\'%' -- 'x\nWHERE :a", a=1), "postgresql")
    misread = [r"E'\\'", "$$ 5% $$", "$x$ it's $x$", r"e'it\'s'"]

    assert write(commented, driver, "format")[0] == "SELECT 'it''s'  , $$a$$, E'\\'%'  \nWHERE %s"
    for text in misread:
        with pytest.raises(SourceError, match="can't read a string"):
            write(Query.of(segment(f"SELECT {text} WHERE :a", a=1), "postgresql"), driver, "format")
        write(Query.of(segment(f"SELECT {text}"), "postgresql"), driver, "format")
