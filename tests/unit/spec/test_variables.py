import pytest

from reconciler.models.fields import Reference, Resolved
from reconciler.spec.draft import resolve


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("a${A}b", "a1b"),
        ("${A}${B}", "12"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${UNSET:-x}", "x"),
        ("${UNSET:-}", ""),
        ("${A:-x}", "1"),
        ("${UNSET:-a:b-c/d e}", "a:b-c/d e"),
        ("$A", "$A"),
        ("$$", "$$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$${A}-${A}", "${A}-1"),
        ("${NESTED}", "${A}"),
        ("{A}", "{A}"),
        ("cost: 5$", "cost: 5$"),
        ("}", "}"),
    ],
)
def test_references_are_followed_once_and_escapes_are_undone(text, made):
    assert resolve(text, {"A": "1", "B": "2", "EMPTY": "", "NESTED": "${A}"}) == made


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("plain", str),
        ("$${A}", str),
        ("${A}", Reference),
        ("${A:-x}", Reference),
        ("a${A}", Resolved),
        ("${A}${A}", Resolved),
    ],
)
def test_what_came_from_the_environment_is_marked(text, kind):
    assert type(resolve(text, {"A": "1"})) is kind


def test_all_missing_variables_are_named():
    with pytest.raises(ValueError, match="needs B and C, which are not set"):
        resolve("${A}${B}${C}${B}", {"A": "1"})
