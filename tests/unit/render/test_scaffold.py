"""Scaffolded entries can be pasted whatever the titles are, and do nothing until somebody has written their queries."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import SpecError
from reconciler.escaping import one_line, sanitize
from reconciler.models.results import Management, Segments, WorkspaceSegment
from reconciler.render.yaml_entries import write_scaffold
from reconciler.spec import load
from tests.fakes import samples

HEAD = """version: 1
sources: {warehouse: {url: "sqlite:///warehouse.db"}}
destination: {site_id: site, api_key: key, app_api_key: key}
segments:
  vip:
    segment_id: 1
    query: SELECT 1
"""
QUERY = "    query:\n"

ODD = [
    *("VIP", "", " ", "tag:nightly", "- list", "# comment", "a: b", "{a}", "[a]", "*a", "&a", "!a", "%a", "@a", "`a`"),
    *("'", '"', "\\", "${HOME}", "$${HOME}", "${", "$", "{{ x }}", "null", "No", "yes", "~", "007", "1e3", "<<", "vip"),
    *("line\nbreak", "tab\tin", "bell\x07", "\x1b[31mred", "next\x85line", "\u2028", "\ufeff", "\ud800", "\u202eright"),
    *(
        "x" * 400,
        "ünï",
        "ВИП клиенты",
        "顧客",
        "😀 👩‍💻",
        "::error::x",
        "##[group]x",
        "<b>&amp;</b>",
        "| a |",
        "\U0001f600",
    ),
]


def scaffold(*titles: str) -> str:
    rows = (WorkspaceSegment("default", 100 + at, title, True, at) for at, title in enumerate(titles))
    return write_scaffold(Segments(samples.TWO_AM, tuple(rows), ("default",), ("spec.yaml",), frozenset(["vip"])))


def check(folder: Path, *titles: str) -> None:
    """Paste the entries of these titles: refused as they are, and once they have queries each is of its segment."""
    text = scaffold(*titles)
    spec = folder / "spec.yaml"
    spec.write_text(HEAD + sanitize(text), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load([str(spec)], {})
    assert len(caught.value.problems) == len(titles)
    assert all(
        problem.endswith("has no value; give it one, or leave the key out.") for problem in caught.value.problems
    )

    assert text.count(QUERY) == len(titles)
    spec.write_text(HEAD + sanitize(text.replace(QUERY, "    query: SELECT 1\n")), encoding="utf-8")
    ((_, *segments),) = (loaded.segments for loaded in load([str(spec)], {}))
    assert [segment.segment_id for segment in segments] == [100 + at for at in range(len(titles))]
    for segment, title in zip(segments, titles, strict=True):
        pinned = title if title.isprintable() and title.strip() else None
        assert segment.title == pinned


def test_each_odd_title_is_pinned_or_left_out(tmp_path: Path) -> None:
    check(tmp_path, *ODD)


def test_titles_as_the_app_api_gives_them_are_all_pinned(tmp_path: Path) -> None:
    check(tmp_path, *(title for title in (one_line(each, 300) for each in ODD) if title))


@given(st.lists(st.text() | st.sampled_from(ODD), min_size=1, max_size=4))
@example(["VIP", "vip", "V.I.P.", "vip 101"])
@example(["vip 101", "vip", "101", "segment 102"])
def test_any_titles_can_be_pasted(tmp_path_factory: pytest.TempPathFactory, titles: list[str]) -> None:
    check(tmp_path_factory.mktemp("spec"), *titles)


def test_only_manual_segments_that_no_spec_manages_have_an_entry() -> None:
    rows = (
        WorkspaceSegment("default", 1, "Managed", True, 7, Management.MANAGED, "managed", "spec.yaml"),
        WorkspaceSegment("default", 2, "Data-driven", False, 7),
        WorkspaceSegment("default", 3, "Orphan", True, 1, Management.ORPHAN, "old", "spec.yaml"),
        WorkspaceSegment("default", 4, "Free", True),
    )

    text = write_scaffold(Segments(samples.TWO_AM, rows, ("default",), ("spec.yaml",), frozenset()))

    assert [line for line in text.splitlines() if "title" in line] == ['    title: "Orphan"', '    title: "Free"']
    assert "# 1 person; left spec.yaml, where it was old" in text


def test_where_there_is_nothing_to_manage_it_says_so() -> None:
    assert scaffold() == "# Every manual segment is managed by a spec.\n"


def test_the_entries_of_several_workspaces_stand_below_their_names() -> None:
    rows = tuple(WorkspaceSegment(name, 7, "VIP", True) for name in ("production", "staging"))

    text = write_scaffold(Segments(samples.TWO_AM, rows, ("production", "staging"), ("a", "b"), frozenset()))

    keys = [line for line in text.splitlines() if line.startswith(("# Workspace", "  vip"))]
    assert keys == ["# Workspace production", "  vip:", "# Workspace staging", "  vip_7:"]
