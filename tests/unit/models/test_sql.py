"""Only `:name` for a name in params is bound, and only where the database would read code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SourceError
from reconciler.models.sql import Kind, lexicon_of, parse, scan

DIALECTS = ["sqlite", "postgresql", "duckdb", "mysql", "mssql", "bigquery", "snowflake", "databricks", "oracle"]
DIALECTS += ["redshift", "clickhousedb", "hive", "impala", "starrocks", "trino", "ibm_db_sa", "no one knows it"]
ESCAPING = ["mysql", "mariadb", "tidb", "doris", "starrocks", "singlestoredb", "clickhousedb", "clickhouse", "redshift"]
ESCAPING += ["hive", "sparksql", "databricks", "impala", "bigquery", "snowflake"]


def bound(query: str, *params: str, dialect: str = "postgresql") -> str:
    return parse(query, params, lexicon_of(dialect)).write(lambda name: f"<{name}>")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_name_of_params_is_bound(dialect):
    assert bound("SELECT a FROM t WHERE b>:min AND c=:max_1;", "min", "max_1", dialect=dialect) == (
        "SELECT a FROM t WHERE b><min> AND c=<max_1>"
    )


@pytest.mark.parametrize(
    "code",
    [
        "a::min",
        "a::min[]",
        "x[1:n]",
        ":minimum",
        ":other",
        "'{\"a\":min}'",
        "'12:30'",
        "a := 5",
        "100 % 7",
        "b LIKE '50%'",
    ],
)
def test_other_colons_and_percents_are_left_alone(code):
    assert bound(f"SELECT {code}", "min") == f"SELECT {code}"


def test_a_slice_is_bound_where_its_end_is_a_param():
    assert bound("SELECT x[1:n]", "n") == "SELECT x[1<n>]"


def test_a_cast_of_a_param_is_a_cast():
    assert bound("SELECT :day::date", "day", "date") == "SELECT <day>::date"


@pytest.mark.parametrize(
    ("dialect", "opaque"),
    [
        ("postgresql", "'it''s :min'"),
        ("postgresql", "E'it\\'s :min'"),
        ("postgresql", "e'\\\\'"),
        ("postgresql", '"a"":min"'),
        ("postgresql", "$$ ' :min $$"),
        ("postgresql", "$tag$ $$ :min $other$ $tag$"),
        ("postgresql", "-- it's :min\n"),
        ("postgresql", "-- it's :min\r"),
        ("postgresql", "/* it's /* :min */ :min */"),
        ("duckdb", "$$ ' :min $$"),
        ("duckdb", "`it's :min`"),
        ("duckdb", "`a``b :min`"),
        ("duckdb", "`a -- b :min`"),
        ("duckdb", "`a /* $1 ? \\` || '`:min'"),
        ("sqlite", "'it''s \\'"),
        ("sqlite", "[a:min']"),
        ("sqlite", "`a:min'`"),
        ("mssql", "[a]]:min']"),
        ("mssql", "/* /* :min */ :min */"),
        ("mysql", "'it\\'s :min'"),
        ("mysql", '"it\'s :min"'),
        ("mysql", "# it's :min\n"),
        ("mysql", "-- it's :min\n"),
        ("bigquery", "'''it's :min'''"),
        ("bigquery", '"""it\'s ":min" """'),
        ("snowflake", "// it's :min\n"),
        ("databricks", "'it\\'s :min'"),
        ("databricks", "r'a\\'"),
        ("databricks", "/* /* :min */ :min */"),
        ("databricks", "-- it's \\\n :min\n"),
        ("sc", "-- it's :min\r"),
        ("sc", "r'a\\'"),
        ("sc", "$$ it's :min $$"),
        ("sc", "`it's \\`"),
        ("duckdb", "/* /* :min */ :min */"),
        ("ibmi", "/* /* :min */ :min */"),
        ("clickhousedb", "/* /* :min */ :min */"),
        ("clickhousedb", "# it's :min\n"),
        ("clickhousedb", "// it's :min\n"),
        ("clickhousedb", "‘it's :min’"),
        ("clickhousedb", "“it's :min”"),
        ("clickhousedb", "$a$ it's :min $a$"),
        ("clickhousedb", "`it\\`s :min`"),
        ("bigquery", "`it\\`s :min`"),
        ("impala", "`it\\`s :min`"),
        ("postgresql", "E'a'\n'it\\'s :min'"),
        ("postgresql", "E'a' -- it's\r\n -- and\n 'it\\'s :min'"),
        ("cockroachdb", "b'it\\'s :min'"),
        ("cockroachdb", "-- it's\r:min\n"),
        ("materialize", "-- it's\r:min\n"),
        ("materialize", "$a b$ it's :min $a b$"),
        ("risingwave", "-- it's\r:min\n"),
        ("druid", "// it's :min\n"),
        ("sqlite", "/*/*/"),
        ("mysql", "/* it's :min /*/"),
        ("snowflake", "payload:min"),
        ("snowflake", "payload['a']:min"),
        ("databricks", 'parse_json(x):min."a":min'),
        ("oracle", "q'[it's :min]'"),
        ("oracle", "nQ'!it's :min!'"),
        ("bigquery", "r'it\\'s :min'"),
        ("snowflake", "$$ it's :min $$"),
        ("hive", "'it\\'s :min'"),
        ("no one knows it", "'it\\'s :min'"),
        ("no one knows it", "`it's :min`"),
        ("no one knows it", "-- it's :min\n"),
    ],
)
def test_what_is_quoted_or_commented_is_left_alone(dialect, opaque):
    assert bound(f"SELECT {opaque}, :min", "min", dialect=dialect) == f"SELECT {opaque}, <min>"


@pytest.mark.parametrize(
    ("dialect", "code"),
    [
        ("mysql", "5--:min"),  # a comment only where a blank follows
        ("sqlite", "'\\' || :min"),  # no backslashes in its strings
        ("postgresql", "'\\' || :min"),
        ("postgresql", "x[1 + :min]"),  # brackets don't quote
        ("mysql", "/* /* */ :min"),  # its comments don't nest
        ("trino", "/* /* */ :min"),
        ("trino", "/*/*/ :min"),
        ("duckdb", "E'a'\n'\\' || :min"),
        ("snowflake", "a$$ + :min + c$$"),
        ("snowflake", "payload :min"),
        ("sqlite", "[a] :min"),
        ("trino", "'\\' || :min"),
        ("clickhousedb", "a #:min"),
        ("oracle", "q || ':' || :min"),
        ("no one knows it", "'\\' || :min"),
        ("postgresql", "a$b$ + :min + c$b$"),  # a dollar inside a name
    ],
)
def test_what_only_looks_quoted_is_code(dialect, code):
    assert bound(f"SELECT {code}", "min", dialect=dialect) == f"SELECT {code.replace(':min', '<min>')}"


@pytest.mark.parametrize("ending", [";", " ; ;\n", "; -- done; really", "; /* done; */ ;", " -- done", "/* ) */"])
def test_one_statement_may_end_in_semicolons_and_comments(ending):
    assert bound("SELECT 1" + ending).startswith("SELECT 1")
    assert ";" not in bound("SELECT 1" + ending).partition("--")[0].partition("/*")[0]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "empty"),
        (" ;; -- nothing\n", "empty"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT 1; 'a'", "more than one statement"),
        ("SELECT 1) q; DROP TABLE x; --", "more than one statement"),
        ("SELECT 1) q --", "closes a parenthesis"),
        ("SELECT 1) UNION SELECT (2", "closes a parenthesis"),
        ("SELECT (1", "never closed"),
        ("SELECT 'a", "never ends"),
        ('SELECT "a', "never ends"),
        ("SELECT 1 /* a", "never ends"),
        ("SELECT 1 /* /* a */", "never ends"),
        ("x", "not a SELECT"),
        ("(x)", "not a SELECT"),
        ("people", "not a SELECT"),
    ],
)
def test_anything_but_one_whole_query_is_refused(query, words):
    with pytest.raises(SourceError, match=words):
        bound(query)


@pytest.mark.parametrize("dialect", ESCAPING)
def test_a_backslash_escapes_a_quote_where_the_database_says_so(dialect):
    query = r"SELECT 'a\'b :low c\'d', 'it\'s' WHERE id > :low"

    assert bound(query, "low", dialect=dialect) == r"SELECT 'a\'b :low c\'d', 'it\'s' WHERE id > <low>"


@pytest.mark.parametrize(
    ("dialect", "code"),
    [
        ("ibm_db_sa", "/* /* */ :low /* */ */"),  # on some platforms of Db2, comments nest
        ("doris", "1 -- a \\\n + :low\n"),
    ],
)
def test_a_query_is_refused_where_versions_of_the_database_read_it_differently(dialect, code):
    with pytest.raises(SourceError, match="two ways"):
        bound(f"SELECT {code} WHERE id > :low", "low", dialect=dialect)


@pytest.mark.parametrize("comment", ["/*! :low */", "/*!50000 ) UNION SELECT (1 */", "/*M!100100 1 */"])
@pytest.mark.parametrize("dialect", ["mysql", "mariadb", "tidb", "starrocks", "singlestoredb", "no one knows it"])
def test_a_comment_that_mysql_runs_is_refused(dialect, comment):
    with pytest.raises(SourceError, match="a comment that the database may run: /\\*"):
        bound(f"SELECT 1 {comment}", "low", dialect=dialect)

    assert bound("SELECT '/*! :low */' /*+ a hint */", "low", dialect="mysql") == "SELECT '/*! :low */' /*+ a hint */"


@pytest.mark.parametrize(
    "code",
    [
        r"'a\'b :low c\'d'",
        "x[:low]",
        "/* /* */ :low /* */ */",
        "a # :low",
        "a // :low",
        "5--:low",
        "$$ :low $$",
        "q'!' || :low || '!'",
    ],
)
def test_a_database_that_is_not_known_gets_no_query_that_reads_in_two_ways(code):
    with pytest.raises(SourceError, match="two ways"):
        bound(f"SELECT {code} WHERE id > :low", "low", dialect="no one knows it")


@pytest.mark.parametrize("code", ["'''a' || :low || 'b'''", "1 -- a \\\n, :low"])
def test_what_spark_and_sail_read_in_two_ways_is_refused(code):
    with pytest.raises(SourceError, match="two ways"):
        bound(f"SELECT {code}", "low", dialect="sc")


def test_a_query_that_ends_in_one_reading_only_is_refused_as_well():
    with pytest.raises(SourceError, match="more than one statement"):
        bound(r"SELECT 'a\'; DROP TABLE people; --'", dialect="no one knows it")


@pytest.mark.parametrize(
    ("dialect", "mark"),
    [
        ("sqlite", ":lw"),
        ("sqlite", "?"),
        ("sqlite", "?1"),
        ("sqlite", "@low"),
        ("sqlite", "$low"),
        ("duckdb", "?"),
        ("duckdb", "$1"),
        ("duckdb", "$low"),
        ("postgresql", "$1"),
    ],
)
def test_a_mark_that_the_database_would_bind_gets_no_value_of_a_param(dialect, mark):
    with pytest.raises(SourceError, match="parameter mark") as caught:
        bound(f"SELECT {mark} WHERE id > :low", "low", dialect=dialect)

    assert mark in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("query", "inner"),
    [
        ("(SELECT (1))", "SELECT (1)"),
        ("((SELECT ':)'));", "SELECT ':)'"),
        (" -- (\n ( /* a */ (SELECT :n) ) -- )", "-- (\n   /* a */  SELECT <n>    -- )"),
        ("(SELECT 1) UNION (SELECT 2)", "(SELECT 1) UNION (SELECT 2)"),
        ("(SELECT 1) LIMIT 1", "(SELECT 1) LIMIT 1"),
        ("()", "()"),
    ],
)
def test_parentheses_around_the_whole_query_are_taken_away(query, inner):
    assert bound(query, "n").strip() == inner.strip()


def test_percents_are_doubled_where_the_driver_reads_them():
    statement = parse("SELECT 5 % :n, '%' -- 5%\n", ["n"], lexicon_of("postgresql"))

    assert statement.write(lambda _: "%s") == "SELECT 5 % %s, '%' -- 5%\n"
    assert statement.write(lambda _: "%s", list(Kind)) == "SELECT 5 %% %s, '%%' -- 5%%\n"
    assert statement.write(lambda _: "%s", [Kind.CODE]) == "SELECT 5 %% %s, '%' -- 5%\n"


INNER = st.text(alphabet="ab:%n;()[]-/* \n.", max_size=12)
QUOTED = {
    "postgresql": ["'{}'", '"{}"', "E'{}\\''", "$${}$$", "$t${}$t$", "/*{}*/", "--{}\n"],
    "sqlite": ["'{}'", '"{}"', "`{}`", "[{}]", "/*{}*/", "--{}\n"],
    "mysql": ["'{}'", '"{}\\""', "`{}`", "/*{}*/", "-- {}\n", "#{}\n"],
}
CODE = st.sampled_from(
    ["SELECT ", " a ", " + ", "(b)", " :n ", ",:n,", "::n ", " :nn ", " 5 % 3 ", "\n", " x[1] ", ":n::n "]
)


def harmless(inner: str, template: str) -> str:
    """What can't end the quotes it stands in."""
    for mark in ("*/", "/*", "\n", "]"):
        inner = inner.replace(mark, " ")
    return inner.rstrip("*/") if "*" in template else inner


@st.composite
def texts(draw: st.DrawFn, dialect: str) -> list[tuple[bool, str]]:
    """Pieces of a query; for each, whether it is code."""
    pieces = []
    for _ in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            pieces.append((True, draw(CODE.filter(lambda code: dialect != "sqlite" or ":nn" not in code))))
        else:
            template = draw(st.sampled_from(QUOTED[dialect]))
            pieces.append((False, " " + template.replace("{}", harmless(draw(INNER), template)) + " "))
    return pieces


@pytest.mark.parametrize("dialect", QUOTED)
@given(data=st.data())
def test_code_is_bound_and_the_rest_is_never_touched(dialect, data):
    pieces = data.draw(texts(dialect))
    query = "SELECT 1" + "".join(text for _, text in pieces)

    written = bound(query, "n", dialect=dialect)

    expected = [
        text.replace("::n", "\0").replace(":nn", "\1").replace(":n", "<n>") if code else text for code, text in pieces
    ]
    assert written == "SELECT 1" + "".join(expected).replace("\0", "::n").replace("\1", ":nn")


@pytest.mark.parametrize("dialect", DIALECTS)
@given(query=st.text(alphabet="aE:n'\"`[]$-/*#\\%();\n\r "))
def test_the_pieces_of_any_text_are_that_text_or_it_is_refused(dialect, query):
    try:
        pieces = list(scan(query, ["n"], lexicon_of(dialect)))
    except SourceError:
        return

    assert "".join(":" * (piece.kind is Kind.PARAM) + piece.text for piece in pieces) == query
