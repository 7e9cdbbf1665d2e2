"""What a reader of a spec would not expect: an error where it changes the query, else a warning, each with its line."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import SpecError
from reconciler.spec import load
from reconciler.spec.yaml_reader import FoldedText, parse

DESTINATION = "destination: {site_id: site, api_key: key}\n"
HIDES = "has a comment that hides what follows it"


def head(url: str) -> str:
    """Three lines."""
    return f"version: 1\nsources: {{w: {{url: '{url}'}}}}\n{DESTINATION}"


def segment(*lines: str) -> str:
    """A segment with own lines that begin on line 4 of a spec with the head."""
    return "segments:\n  a:\n    segment_id: 1\n" + "".join(f"    {line}\n" for line in lines)


def problems_of(name: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load([name], {})
    return caught.value.problems


def warnings_of(name: str, environment: dict[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    (spec,) = load([name], environment or {})
    return {segment.name: tuple(map(str, segment.warnings)) for segment in spec.segments}


FOLDED = {
    "a folded block": ("query: >", "  SELECT id FROM t", "  -- the good ones", "  WHERE x > 1"),
    "a folded block without its end": ("query: >-", "  SELECT id FROM t", "  -- the good ones", "  WHERE x > 1"),
    "a plain text": ("query: SELECT id FROM t", "  -- the good ones", "  WHERE x > 1"),
    "double quotes": ('query: "SELECT id FROM t -- the good ones', '  WHERE x > 1"'),
    "double quotes with an escaped line break": ('query: "SELECT id FROM t -- good \\', '  WHERE x > 1"'),
    "single quotes": ("query: 'SELECT id FROM t -- it''s good", "  WHERE x > 1'"),
    "an anchor on a line of its own": ("query: &q", "  >", "  SELECT id FROM t", "  -- good", "  WHERE x > 1"),
    "a comment of YAML before the text": ("query: # x", "  SELECT id FROM t", "  -- good", "  WHERE x > 1"),
    "a blank line further down": ("query: >", "  SELECT id FROM t", "  -- good", "  WHERE x > 1", "", "  AND y > 1"),
}


@pytest.mark.parametrize("situation", FOLDED)
def test_a_comment_that_swallows_the_next_line_is_an_error(write, situation):
    lines = FOLDED[situation]

    assert problems_of(write(head("sqlite:///w.db") + segment(*lines))) == [
        "spec.yaml:7: `segments.a.query` has a comment that hides what follows it, since YAML has folded the line "
        "breaks away; write the query as a block that begins with |."
    ]


@pytest.mark.parametrize(
    ("url", "mark", "is_comment"),
    [
        ("mysql+pymysql://h/d", "# ", True),
        ("mysql+pymysql://h/d", "-- ", True),
        ("mysql+pymysql://h/d", "--1 ", False),
        ("mariadb+pymysql://h/d", "# ", True),
        ("bigquery://p/d", "# ", True),
        ("snowflake://a/d", "// ", True),
        ("snowflake://a/d", "# ", False),
        ("postgres://h/d", "-- ", True),
        ("postgresql+psycopg2://h/d", "# ", False),
        ("sqlite:///w.db", "// ", False),
        ("duckdb:///w.duckdb", "-- ", True),
        ("unheardof://h/d", "-- ", True),
    ],
)
def test_a_comment_is_what_the_dialect_of_the_source_calls_one(write, url, mark, is_comment):
    name = write(head(url) + segment("query: >", "  SELECT id FROM t", f"  {mark}the good ones", "  WHERE x > 1"))

    if is_comment:
        assert HIDES in problems_of(name)[0]
    else:
        assert load([name], {})


HARMLESS = {
    "a literal block": ("query: |", "  SELECT id FROM t", "  -- the good ones", "  WHERE x > 1"),
    "a comment at the end": ("query: >", "  SELECT id FROM t", "  WHERE x > 1", "  -- the good ones"),
    "two comments at the end": ("query: >", "  SELECT id FROM t", "  -- the good", "  -- ones"),
    "a block comment": ("query: >", "  SELECT id FROM t", "  /* the -- good", "  ones */", "  WHERE x > 1"),
    "a comment and a blank line": ("query: >", "  SELECT id FROM t", "  -- the good ones", "", "  WHERE x > 1"),
    "a line further in": ("query: >", "  SELECT id FROM t", "    -- the good ones", "  WHERE x > 1"),
    "dashes in a string": ("query: >", "  SELECT id FROM t WHERE x = '-- y'", "  AND z > 1"),
    "escaped line breaks": ('query: "SELECT id FROM t -- good\\n', '  WHERE x > 1"'),
    "no comment": ("query: SELECT id", "  FROM t", "  WHERE x > 1"),
    "a comment of YAML on another key": ("query: SELECT id FROM t", "nulls: skip # the good ones"),
    "a comment of YAML below": ("query: SELECT id FROM t", "  # the good ones", "nulls: skip"),
    "a hash in quotes": ("query: \"SELECT id FROM t WHERE x = ' # '\"",),
    "a hash within a word": ("query: SELECT id FROM t WHERE a#>>'{b}' = 'c'",),
    "a comment behind quotes": ('query: "SELECT id FROM t" # the good ones',),
    "a comment of YAML before the text": ("query: # -- x", "  SELECT id FROM t", "  WHERE x > 1"),
    "an anchor before a literal block": ("query: &q", "  |", "  SELECT id -- good", "  FROM t"),
    "a comment behind the bar": ("query: | # the good ones", "  SELECT id FROM t"),
}


@pytest.mark.parametrize("situation", HARMLESS)
def test_a_query_that_means_the_same_when_it_is_folded_is_read(write, situation):
    assert warnings_of(write(head("sqlite:///w.db") + segment(*HARMLESS[situation]))) == {"a": ()}


@pytest.mark.parametrize("line_end", ["\r", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("url", ["sqlite:///w.db", "duckdb:///w.duckdb", "mssql+pyodbc://h/d"])
def test_a_comment_that_only_an_editor_ends_is_an_error(write, url, line_end):
    name = write(head(url) + segment("query_file: q.sql"))
    Path("q.sql").write_text(f"SELECT id FROM t -- good{line_end}WHERE x > 1\n", encoding="utf-8", newline="")

    if line_end == "\r" and url.startswith("duckdb"):  # DuckDB ends a comment there
        assert load([name], {})
    else:
        (problem,) = problems_of(name)
        assert problem.startswith(f"spec.yaml:7: `segments.a.query_file` {HIDES}")
        assert f"U+{ord(line_end):04X}" in problem


def test_a_line_separator_in_a_block_is_read_likewise(write):
    name = write(head("sqlite:///w.db") + segment("query: |", "  SELECT id -- good\u2028      FROM t"))

    (problem,) = problems_of(name)

    assert HIDES in problem
    assert "U+2028" in problem


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id -- good\r\nFROM t\r\n",
        "SELECT id\rFROM t\r",
        "SELECT id FROM t -- good\r",
        "SELECT id FROM t /* good\rones */ WHERE x > 1",
        "SELECT id FROM t WHERE x = 'a\u2028b'",
    ],
)
def test_a_line_end_that_hides_nothing_is_read(write, query):
    name = write(head("sqlite:///w.db") + segment("query_file: q.sql"))
    Path("q.sql").write_text(query, encoding="utf-8", newline="")

    assert warnings_of(name) == {"a": ()}


JOINED = {
    "a string in a folded block": ("query: >", "  SELECT id FROM t WHERE x = 'a", "  b'"),
    "a string in a plain text": ("query: SELECT id FROM t WHERE x = 'a", "  b'"),
    "a string in double quotes": (
        "query: \"SELECT id FROM t WHERE x = 'a\\",
        "  b'\"",
    ),
    "a quoted name": ("query: >", '  SELECT "a', '  b" FROM t'),
    "a word": ('query: "SELECT id FR\\', '  OM t"'),
    "a string that holds dashes": ("query: >", "  SELECT id FROM t WHERE x = '--", "  y'", "  AND z > 1"),
}


@pytest.mark.parametrize("situation", JOINED)
def test_a_line_break_that_yaml_takes_from_a_string_is_told(write, situation):
    name = write(head("sqlite:///w.db") + segment(*JOINED[situation]))

    assert warnings_of(name) == {
        "a": (
            "spec.yaml:7: `segments.a.query` has a line break inside a string, a name or a word, and YAML folds it "
            "away; write the query as a block that begins with |.",
        )
    }


@pytest.mark.parametrize(
    "lines",
    [
        ("query: SELECT id FROM t ORDER BY e #>> '{x}' LIMIT 10",),
        ("query: SELECT id FROM t # the good ones",),
        ("query: SELECT id FROM t\t# the good ones",),
        ("query: SELECT id", "  FROM t # the good ones"),
    ],
)
@pytest.mark.parametrize("url", ["sqlite:///w.db", "postgresql://h/d", "mysql+pymysql://h/d"])
def test_a_plain_query_that_a_hash_ends_is_an_error(write, url, lines):
    assert problems_of(write(head(url) + segment(*lines))) == [
        "spec.yaml:7: `segments.a.query` ends before ` #`, where a comment of YAML begins; put it in quotes, or write "
        "the query as a block that begins with |."
    ]


def test_an_alias_has_the_layout_of_its_anchor(write):
    text = "segments:\n  a:\n    segment_id: 1\n    query: &q SELECT id # good\n  b: {segment_id: 2, query: *q}\n"

    problems = problems_of(write(head("sqlite:///w.db") + text))

    assert [problem.partition(": `")[0] for problem in problems] == ["spec.yaml:7", "spec.yaml:8"]


lines = st.lists(st.text("ab#-'\" \t:,", max_size=6), min_size=1, max_size=5)


@given(lines=lines, style=st.sampled_from(["'", '"', ">", ">-", ">+", ">2"]))
@example(lines=["-"], style=">-")
def test_a_text_with_its_line_breaks_has_the_words_of_its_lines(lines, style):
    if style in "'\"":
        text = f"a: {style}" + "\n  ".join(line.replace(style, "") for line in lines) + f"{style}\nb: c\n"
    else:
        text = f"a: {style}\n  x" + "".join(f"\n  {line}" for line in lines) + "\nb: c\n"

    document = parse(Path("spec.yaml"), text.replace("\t", " "))

    assert isinstance(document.data, dict)
    read = document.data["a"]
    written = text.replace("\t", " ").partition("a: ")[2].rpartition("\nb")[0].removeprefix(style).removesuffix(style)
    if isinstance(read, FoldedText):
        unfolded = [line.split() for line in read.unfolded().split("\n")]
        assert [words for words in unfolded if words] == [line.split() for line in written.split("\n") if line.split()]
    else:
        assert read.split() == written.split()


class TestWarnings:
    def test_a_variable_in_a_query_is_not_read(self, write):
        name = write(head("sqlite:///w.db") + segment("query: SELECT id FROM t WHERE a <> '${B}' AND c = ${D:-e}"))

        assert warnings_of(name, {"B": "x"}) == {
            "a": tuple(
                f"spec.yaml:7: `segments.a.query` holds {reference}, and variables are not read in a query; name a "
                "param (`:name`) and give it the variable in `params`."
                for reference in ("${B}", "${D:-e}")
            )
        }

    @pytest.mark.parametrize(
        ("character", "name"),
        [("\xa0", "U+00A0 (NO-BREAK SPACE)"), ("\u200b", "U+200B (ZERO WIDTH SPACE)"), ("\u202f", "U+202F (NARROW")],
    )
    def test_a_character_that_only_looks_like_a_blank(self, write, character, name):
        query = f"SELECT id FROM t{character}WHERE a = 'b'{character}"
        file = write(head("sqlite:///w.db") + segment("query: |", f"  {query}"))

        (warning,) = warnings_of(file)["a"]

        assert warning.startswith(f"spec.yaml:7: `segments.a.query` holds {name}")

    @pytest.mark.parametrize("query", ["SELECT 'a\xa0b' FROM t", "SELECT id FROM t --\xa0x", "SELECT größe FROM t"])
    def test_such_a_character_in_quotes_or_comments_is_no_surprise(self, write, query):
        assert warnings_of(write(head("sqlite:///w.db") + segment("query: |", f"  {query}"))) == {"a": ()}

    def test_a_variable_in_a_comment_or_as_an_escape_is_no_surprise(self, write):
        name = write(head("sqlite:///w.db") + segment("query: |", "  SELECT id -- ${B}", "  FROM t /* ${C} */"))

        assert warnings_of(name) == {"a": ()}

    def test_queries_in_files_are_read_likewise(self, write):
        write("SELECT id FROM t WHERE x = '${B}' AND y = ':low'", "q.sql")

        (first, second) = warnings_of(
            write(head("sqlite:///w.db") + segment("query_file: q.sql", "params:", "  low: 1"))
        )["a"]

        assert first.startswith("spec.yaml:7: `segments.a.query_file` holds ${B}")
        assert second.startswith("spec.yaml:9: `segments.a.params.low` is used nowhere but inside quotes")

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("SELECT id FROM t", "is used nowhere in the query."),
            ("SELECT id FROM t -- :low", "is used nowhere in the query."),
            ("SELECT id FROM t WHERE x = :lower", "is used nowhere in the query."),
            ("SELECT id FROM t WHERE x = y::low", "is used nowhere in the query."),
            ("SELECT id FROM t WHERE x LIKE ':low%'", "is used nowhere but inside quotes, where :low is text"),
            ("SELECT \":low\" FROM t", "is used nowhere but inside quotes, where :low is text"),
            ("SELECT id FROM t WHERE x = :low OR x = ':low'", "also stands inside quotes, where :low is text"),
        ],
    )  # fmt: skip
    def test_a_param_that_reaches_nobody(self, write, query, words):
        name = write(head("postgresql://h/d") + segment("query: |", f"  {query}", "params: {low: 1}"))

        (warning,) = warnings_of(name)["a"]

        assert warning.startswith(f"spec.yaml:9: `segments.a.params.low` {words}")

    @pytest.mark.parametrize("query", ["SELECT id FROM t WHERE x = :low", "SELECT ':lower' FROM t WHERE x > :low"])
    def test_a_param_that_is_used_is_no_surprise(self, write, query):
        assert warnings_of(write(head("sqlite:///w.db") + segment(f'query: "{query}"', "params: {low: 1}"))) == {
            "a": ()
        }

    def test_a_param_of_the_defaults_is_used_by_whom_it_is_used(self, write):
        text = "defaults:\n  params:\n    low: 1\n    high: 2\n    never: 3\nsegments:\n"
        text += "  a: {segment_id: 1, query: 'SELECT :low'}\n  b: {segment_id: 2, query: 'SELECT :high'}\n"

        warnings = warnings_of(write(head("sqlite:///w.db") + text))

        expected = ("spec.yaml:8: `defaults.params.never` is used by no query.",)
        assert warnings == {"a": expected, "b": expected}

    def test_a_param_of_the_defaults_inside_quotes_is_told_of_the_query(self, write):
        text = "defaults: {params: {low: 1}}\nsegments:\n  a: {segment_id: 1, query: \"SELECT ':low'\"}\n"

        (warning,) = warnings_of(write(head("sqlite:///w.db") + text))["a"]

        assert warning.startswith("spec.yaml:6: `segments.a.query` names :low, which is used nowhere but inside quotes")

    @pytest.mark.parametrize(("limit", "is_told"), [("120%", True), ("100.1%", True), ("100%", False), ("120", False)])
    @pytest.mark.parametrize("place", ["segment", "defaults"])
    def test_a_limit_on_removals_that_nothing_exceeds(self, write, limit, is_told, place):
        guards = f"guards: {{max_removals: {limit}}}"
        own = segment("query: SELECT 1", *([guards] if place == "segment" else []))
        name = write(head("sqlite:///w.db") + own + (f"defaults: {{{guards}}}\n" if place == "defaults" else ""))

        key = "segments.a" if place == "segment" else "defaults"
        expected = f"spec.yaml:8: `{key}.guards.max_removals` is over 100%, so that it never stops anything; "
        assert warnings_of(name)["a"] == ((expected + "write at most 100%.",) if is_told else ())

    def test_a_limit_on_additions_may_be_over_100_percent(self, write):
        name = write(head("sqlite:///w.db") + segment("query: SELECT 1", "guards: {max_additions: 300%}"))

        assert warnings_of(name) == {"a": ()}


# --- the query of `freshness` ------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["segment", "defaults"])
def test_the_query_of_freshness_is_checked_as_any_other(write, level):
    guards = "guards: {freshness: {query: \"SELECT ${X} || ':day'\", params: {day: a, week: b}, max_age: 1h}}"
    own, more = (guards, "") if level == "segment" else ("tags: []", f"defaults:\n  {guards}\n")
    name = write(head("sqlite:///w.db") + segment("query: SELECT id FROM t", own) + more)

    warnings = warnings_of(name)["a"]

    place = "segments.a" if level == "segment" else "defaults"
    assert len(warnings) == 3
    assert all(f"`{place}.guards.freshness." in warning for warning in warnings)
    assert "query` holds ${X}, and variables are not read in a query" in warnings[2]
    assert "params.day` is used nowhere but inside quotes" in warnings[0]
    assert "params.week` is used nowhere in the query" in warnings[1]


def test_the_params_of_a_segment_are_not_those_of_its_freshness(write):
    lines = (
        "query: SELECT :day",
        "params: {day: a}",
        "guards: {freshness: {query: SELECT max(at) FROM t, max_age: 1h}}",
    )

    assert warnings_of(write(head("sqlite:///w.db") + segment(*lines))) == {"a": ()}


def test_a_comment_that_hides_a_part_of_it_is_an_error(write):
    lines = (
        "query: SELECT id FROM t",
        "guards:",
        "  freshness:",
        "    max_age: 1h",
        "    query: >",
        *FOLDED["a folded block"][1:],
    )
    name = write(head("sqlite:///w.db") + segment(*lines[:5], *(f"    {line}" for line in lines[5:])))

    assert [HIDES in problem and "guards.freshness.query" in problem for problem in problems_of(name)] == [True]


def test_a_retired_segment_has_no_query_to_check(write):
    lines = ("retired: true", "guards: {freshness: {query: 'SELECT ${X}', max_age: 1h}}")

    assert warnings_of(write(head("sqlite:///w.db") + segment(*lines))) == {"a": ()}


HASH = "ends before ` #`, where YAML begins a comment: put it in quotes, or a blank behind the `#`"


@pytest.mark.parametrize("key", ["segment", "title"])
def test_a_title_that_ends_at_its_hash_is_an_error(write, key):
    """It may be the title of another segment."""
    own = f"    {key}: Wave #2\n" + ("    segment_id: 1\n" if key == "title" else "")
    spec = head("sqlite:///w.db").replace("key}", "key, app_api_key: app}")
    written = write(f"{spec}segments:\n  a:\n{own}    query: SELECT 1\n")

    assert problems_of(written) == [f"spec.yaml:6: `segments.a.{key}` {HASH}."]


def test_another_text_that_ends_at_its_hash_is_a_warning(write):
    own = segment("query: SELECT :club", "owner: crm #2", "tags: [a, Club #7", "  ]", "params:", "  club: Club #7")

    assert warnings_of(write(head("sqlite:///w.db") + own))["a"] == (
        f"spec.yaml:8: `segments.a.owner` {HASH}.",
        f"spec.yaml:9: entry 2 of `segments.a.tags` {HASH}.",
        f"spec.yaml:12: `segments.a.params.club` {HASH}.",
    )


def test_a_comment_behind_a_value_is_a_comment(write):
    own = segment("query: SELECT 1", "owner: crm # of Club 7", "title: 'Wave #2' #2", "description: a#b ## see")
    spec = head("sqlite:///w.db").replace("key}", "key, app_api_key: app}")

    assert warnings_of(write(spec + own))["a"] == ()


def test_what_is_inherited_is_said_of_each_heir(write):
    spec = head("sqlite:///w.db") + "defaults: {owner: crm #2\n}\n" + segment("query: SELECT 1")

    assert warnings_of(write(spec))["a"] == (f"spec.yaml:4: `defaults.owner` {HASH}.",)
