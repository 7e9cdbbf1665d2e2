"""Annotations of a workflow run: one line each, in which foreign text ends nothing and begins nothing."""

import pytest

from reconciler.errors import SpecProblem
from reconciler.models.results import Finding, Validation
from reconciler.render.validation import write_annotations
from tests.fakes.samples import TWO_AM


def annotate(*problems: Finding, warnings: tuple[SpecProblem, ...] = ()) -> list[str]:
    return write_annotations(Validation(TWO_AM, problems, warnings))


@pytest.fixture(autouse=True)
def outside_of_a_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)


def test_a_problem_is_an_error_at_its_place():
    lines = annotate(Finding("specs/a.yaml", 7, "spec", "`x` is missing.", "see the docs"))

    assert lines == [
        "::error file=specs/a.yaml,line=7,title=reconcile validate::`x` is missing.",
        "1 problem; nothing was run.",
    ]


def test_the_next_step_of_other_errors_is_a_second_line():
    [line, _] = annotate(Finding(None, None, "usage", "No such spec: 'a'.", "check the path"))

    assert line == "::error title=reconcile validate::No such spec: 'a'.%0Anext: check the path"


def test_a_warning_of_a_spec_is_a_warning_at_its_place():
    [line, _] = annotate(warnings=(SpecProblem("a.yaml", 3, "`p` is unused."),))

    assert line == "::warning file=a.yaml,line=3,title=reconcile validate::`p` is unused."


def test_what_github_reads_is_escaped():
    [line, _] = annotate(Finding("a,b:c%.yaml", 1, "spec", "50%\n::stop-commands::x\r\n%0A", ""))

    assert line == ("::error file=a%2Cb%3Ac%25.yaml,line=1,title=reconcile validate::50%25 ::stop-commands::x %250A")


@pytest.mark.parametrize("by", ["relative", "absolute"])
@pytest.mark.parametrize(("top", "shown"), [("", "a.yaml"), ("repository", "specs/a.yaml")])
def test_a_file_is_named_from_the_top_of_the_checkout(tmp_path, monkeypatch, by, top, shown):
    folder = tmp_path / "repository" / "specs"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    if top:
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / top))

    [line, _] = annotate(Finding("a.yaml" if by == "relative" else str(folder / "a.yaml"), 1, "spec", "x", ""))

    assert f"file={shown}," in line
