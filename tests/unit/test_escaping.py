"""Foreign text can't command a terminal, nor a Markdown reader."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.escaping import (
    clean,
    clean_block,
    clean_lines,
    escape_data,
    escape_lacking,
    escape_markdown,
    sanitize,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vip_customers", "vip_customers"),
        ("größer – 日本 👩‍👩‍👧", "größer – 日本 👩‍👩‍👧"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bcreset", "reset"),
        ("a\nb\r\nc\td\u2028e", "a b c d e"),
        ("back\x08space\x00null\x7f", "backspacenull"),
        ("\u202egnp.exe\u202c", "gnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("half\ud800", "half"),
        ("  padded  ", "padded"),
    ],
)
def test_what_a_terminal_obeys_is_taken_out(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(alphabet=st.characters()))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    for character in clean(text):
        assert character in "\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def test_lines_are_kept_apart_where_they_may_be() -> None:
    assert clean_lines("one\n\n\x1b[1mtwo\r\nthree\n") == ["one", "two", "three"]


def test_how_far_lines_are_indented_stays() -> None:
    assert clean_block(["  a\x1b[1m", "    b\nc "]) == "  a\n    b c"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain\n  text\n", "plain\n  text\n"),
        ("\x1b[31mred\x1b[0m\x1b[2J\r\x07", "red[2J"),
        ("a::b\n::error::c\n  ::d", "a::b\n: :error::c\n  : :d"),
        ("\u200d:\u200b:error::", "\u200d: \u200b:error::"),
        ("\r\u202e::error::", ": :error::"),
        ("x ##[error]y ##vso[task]z ##teamcity[a]", "x # #[error]y # #vso[task]z # #teamcity[a]"),
        ("## a heading\n::1 is loopback", "## a heading\n: :1 is loopback"),
    ],
)
def test_what_a_ci_system_would_take_for_a_command_is_none(text: str, written: str) -> None:
    assert sanitize(text) == written


def test_a_line_that_has_begun_goes_on_with_any_sign() -> None:
    assert sanitize("::a\n::b", in_line=True) == "::a\n: :b"


def test_our_own_colours_stay_and_nothing_else() -> None:
    assert sanitize("\x1b[1;31mred\x1b[0m\x1b[2J\x1b]0;t\x07", colors=True) == "\x1b[1;31mred\x1b[0m[2J]0;t"


@given(st.text(alphabet=st.characters() | st.sampled_from(":#[a \n\x1b\u200d")))
def test_nothing_that_is_written_is_obeyed(text: str) -> None:
    for colors in (False, True):
        for line in sanitize(text, colors=colors).split("\n"):
            assert not line.lstrip("\u200b\u200c\u200d").strip().startswith("::")
            assert "##[" not in line
            assert "\r" not in line


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from(":#[a \x1b\u202e")))
def test_data_stays_exact_whatever_is_escaped(text: str) -> None:
    written = escape_lacking(escape_data(json.dumps(text, ensure_ascii=False)), "iso8859-1")
    assert json.loads(written) == text
    written.encode("iso8859-1")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("vip_customers", "vip_customers"),
        ("_emphasis_", "\\_emphasis\\_"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y&gt;"),
        ("a|b", "a\\|b"),
        ("`code`", "\\`code\\`"),
        ("[text](url)", "\\[text\\](url)"),
        ("&lt;", "&amp;lt;"),
        ("@team", "@\u200bteam"),
        ("fixes #12", "fixes \\#\u200b12"),
        ("https://evil.example", "https:&#47;/evil.example"),
        ("www.evil.example", "www&#46;evil.example"),
        ("$x$", "&#36;x&#36;"),
        ("a\n\n# b", "a \\#\u200b b"),
        ("back\\slash\\|", "back\\\\slash\\\\\\|"),
    ],
)
def test_what_markdown_reads_is_escaped(text: str, written: str) -> None:
    assert escape_markdown(text) == written


def test_long_texts_are_cut() -> None:
    assert escape_markdown("abcdef", 4) == "abc…"
    assert len(escape_markdown("a" * 1000, 50)) == 50
