"""Foreign text can't command a terminal, nor a Markdown reader."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.render.clean import clean, clean_lines, escape_markdown, shorten


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
    assert shorten("abcdef", 4) == "abc…"
    assert len(escape_markdown("a" * 1000, 50)) == 50
