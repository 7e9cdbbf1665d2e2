"""Our lexicons against sqlglot's tokenizers: each dialect that both know, character by character.

Where sqlglot reads other than the database, EXCEPTIONS says so, with the source of the fact.
"""

import re
from functools import cache
from itertools import product

import pytest
import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType

from reconciler.errors import SourceError
from reconciler.models.sql import Kind, Lexicon, lexicon_of, parse, scan

PAIRS = {
    "awsathena": "athena",
    "bigquery": "bigquery",
    "clickhousedb": "clickhouse",
    "databricks": "databricks",
    "doris": "doris",
    "druid": "druid",
    "duckdb": "duckdb",
    "hive": "hive",
    "materialize": "materialize",
    "mssql": "tsql",
    "mysql": "mysql",
    "oracle": "oracle",
    "postgresql": "postgres",
    "presto": "presto",
    "redshift": "redshift",
    "risingwave": "risingwave",
    "singlestoredb": "singlestore",
    "snowflake": "snowflake",
    "sparksql": "spark",
    "sqlite": "sqlite",
    "starrocks": "starrocks",
    "teradatasql": "teradata",
    "trino": "trino",
}
"""Our name of a dialect, which is SQLAlchemy's, and sqlglot's."""

STRINGS = {kind for kind in TokenType if kind.name.endswith("STRING")}

CODE, QUOTED, COMMENT = "c", "q", "-"


def mark(text: str, spans: list[tuple[int, int, str]]) -> str:
    """Write one letter for each character: what it belongs to. White space and the letters before a quote are left out:
    no param is in them."""
    marks = [COMMENT] * len(text)
    for start, end, kind in spans:
        marks[start:end] = kind * (end - start)
        if kind == QUOTED:
            prefix = re.match(r"[\w&]*", text[start:end])[0]
            marks[start : start + len(prefix)] = CODE * len(prefix)
    return "".join(" " if character.isspace() else kind for character, kind in zip(text, marks, strict=True))


@cache
def dialect_of(name: str) -> Dialect:
    return Dialect.get_or_raise(name)


def read_by_sqlglot(text: str, dialect: str) -> tuple[str, list[int]] | None:
    """Give the marks, and where params are; None where the text can't be cut."""
    try:
        tokens = dialect_of(dialect).tokenize(text)
    except SqlglotError:
        return None
    spans = []
    for token in tokens:
        is_name = token.token_type is TokenType.IDENTIFIER and text[token.start] in '"`['
        spans.append((token.start, token.end + 1, QUOTED if is_name or token.token_type in STRINGS else CODE))
    colons = {token.start for token in tokens if text[token.start : token.end + 1] == ":"}
    return mark(text, spans), [found.start() for found in re.finditer(r":low\b", text) if found.start() in colons]


def read_by_us(text: str, lexicon: Lexicon) -> tuple[str, list[int]] | None:
    try:
        pieces = list(scan(text, ["low"], lexicon))
    except SourceError:
        return None
    spans, params, at = [], [], 0
    for piece in pieces:
        if piece.kind is Kind.PARAM:
            params.append(at)
        end = at + len(piece.text) + (piece.kind is Kind.PARAM)
        if piece.kind is not Kind.COMMENT:
            spans.append((at, end, QUOTED if piece.kind is Kind.QUOTED else CODE))
        at = end
    return mark(text, spans), params


NESTING = tuple(
    name for name in PAIRS if any(each.nested for each in (lexicon_of(name), *lexicon_of(name).alternatives))
)
EXCEPTIONS = (
    # An operator ends where a comment begins: PostgreSQL's manual, 4.1.3 "Operators". `#-`, `|/` and `-|-` are some of
    # its operators, and sqlglot has the last in every dialect.
    (tuple(PAIRS), r"#--|\|/\*|-\|--"),
    (("duckdb",), "`"),  # it begins a quoted name: DuckDB since 2.0; sqlglot has it for an operator
    (("duckdb",), r"//\*"),  # a division and a comment: base_tokenizer.cpp of DuckDB
    # A comment right behind the beginning of another is one, too: PostgreSQL's manual, 4.1.5 "Comments"; the lexers of
    # DuckDB, ClickHouse and Spark. sqlglot looks from the second character on.
    (NESTING, r"/\*/\*"),
    # `# ` and `#!` begin a comment and `#` does not, `//` does, and a name may hold a dollar: Lexer.cpp of ClickHouse.
    (("clickhousedb",), r"#(?![ !])|//|[\w$]\$"),
    (("clickhousedb",), r"\.:"),  # a subcolumn, `a.:Int64`: ClickHouse's manual, "JSON"; a param is not called so
    # A backslash at the end of its line lets a comment go on: SIMPLE_COMMENT in SqlBaseLexer.g4 of Spark, and Spark.
    (("databricks", "sparksql"), r"--.*\\\n"),
    (("druid",), r"//|/\*[\s\S]*/\*"),  # `//` begins a comment, and none nests: Parser.jj of Calcite, Druid's parser
    (("sqlite",), r"\]\]"),  # the first ] ends a name: tokenize.c of SQLite, and SQLite
    # A backslash outside of quotes is an error, so it does not matter what the quote before it ends.
    (("bigquery", "clickhousedb"), r"[\"`]\\"),
    # A string right behind a number or another string is an error, so it does not matter where it ends.
    (("duckdb", "materialize", "postgresql", "redshift", "risingwave", "snowflake"), r"\d\$|\$\w*\$\$"),
    # The tag of a dollar quote is a name: PostgreSQL's manual, 4.1.2.4 "Dollar-Quoted String Constants".
    (("duckdb", "postgresql", "redshift", "risingwave"), r"\$[^\w$]"),
    (("redshift",), r"#\w*\$"),  # a name that begins with # holds letters, digits and _: Redshift's manual, "Names"
)
"""Where sqlglot reads other than the database: for which dialects of ours, which texts, and how it is known."""

ATOMS = [
    "'",
    '"',
    "`",
    "[",
    "]",
    "\\",
    "''",
    '""',
    "'''",
    '"""',
    "$",
    "$$",
    "$a$",
    "$1",
    "q'[",
    "]'",
    "U&",
    "&",
    "|",
    "%",
]
ATOMS += ["--", "#", "//", "/*", "*/", "-", "*", "/", ".", "!", ";", "?", "@", "(", ")", ",", "=", " ", "\n"]
ATOMS += ["a", "b", "E", "n", "r", "x", "1", ":low", "::low"]
TEXTS = st.lists(st.sampled_from(ATOMS), max_size=9).map("".join)
TEMPLATES = [
    "'{}'",
    '"{}"',
    "`{}`",
    "[{}]",
    "E'{}'",
    "r'{}'",
    "n'{}'",
    "b'{}'",
    "'''{}'''",
    '"""{}"""',
    "q'[{}]'",
    "$${}$$",
]
TEMPLATES += ["$a${}$a$", "/*{}*/", "/* /*{}*/ */", "-- {}\n", "--{}\n", "# {}\n", "#{}\n", "// {}\n", "({})", "a{}"]
INSIDE = [
    "",
    ":low",
    " :low ",
    "it's :low",
    'a" :low',
    "a` :low",
    "a] :low",
    "\\' :low",
    "'' :low",
    '"" :low',
    "`` :low",
]
INSIDE += [
    "]] :low",
    "\\",
    "\\\\",
    "-- :low",
    "/* :low",
    "*/ :low",
    "$$ :low",
    "$b$ :low",
    "# :low",
    "// :low",
    "\n:low",
]


def is_exception(name: str, text: str) -> bool:
    return any(name in names and re.search(pattern, text) for names, pattern in EXCEPTIONS)


def expect_agreement(name: str, text: str) -> None:
    """Fail unless sqlglot's reading is ours; where we have several, it must be one of them."""
    theirs = read_by_sqlglot(text, PAIRS[name])
    if theirs is None or is_exception(name, text):
        return
    lexicon = lexicon_of(name)
    readings = [read_by_us(text, each) for each in (lexicon, *lexicon.alternatives)]
    if lexicon.paths:
        theirs = (theirs[0], [at for at in theirs[1] if not re.search(r"[\w)\]\"`]\Z", text[:at])])
    assert theirs in readings, text


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_quoted_or_commented_is_so_for_both(name):
    for template, inside in product(TEMPLATES, INSIDE):
        piece = template.replace("{}", inside)
        expect_agreement(name, f"SELECT a{piece} , {piece} + :low , 'b'")
        expect_agreement(name, f"SELECT {piece} + :low -- the end")


@pytest.mark.parametrize("name", PAIRS)
def test_any_two_pieces_of_sql_are_read_by_both_alike(name):
    for pair in product(ATOMS, ATOMS):
        expect_agreement(name, "".join(pair))


@pytest.mark.parametrize("name", PAIRS)
@given(text=TEXTS)
@example(text="/*/*/ + :low /* */")
@example(text="a$$ :low a$$")
@example(text="`\\`:low`")
def test_any_text_is_read_by_both_alike(name, text):
    expect_agreement(name, text)


@given(text=TEXTS)
@example(text="`$a$:low$a$")
@example(text="--//")
@example(text="'''::low'#'''")
def test_a_query_in_an_unknown_dialect_has_the_params_that_it_has_in_every_known_one_or_is_refused(text):
    query = f"SELECT {text} , :low"
    try:
        statement = parse(query, ["low"], lexicon_of("no one knows it"))
    except SourceError:
        return
    found, at = [], 0
    for piece in statement.pieces:
        found += [at] * (piece.kind is Kind.PARAM)
        at += len(piece.text) + (piece.kind is Kind.PARAM)
    for name, dialect in PAIRS.items():
        theirs = read_by_sqlglot(query, dialect)
        assert theirs is None or is_exception(name, query) or theirs[1] == found, (name, query)


@pytest.mark.parametrize("name", ["snowflake", "databricks"])
def test_a_colon_right_behind_a_name_is_a_path_for_both(name):
    query = "SELECT payload:low FROM t WHERE low > :low"

    tree = sqlglot.parse_one(query, dialect=PAIRS[name])

    assert [each.name for each in tree.find_all(sqlglot.exp.Placeholder)] == ["low"]
    assert len(list(tree.find_all(sqlglot.exp.JSONExtract))) == 1
    assert parse(query, ["low"], lexicon_of(name)).write("<{}>".format) == query.replace(" :low", " <low>")
