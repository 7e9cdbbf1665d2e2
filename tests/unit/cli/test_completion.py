"""What a shell is offered behind `--select`: the segments of the spec that the line means, as far as it can be read."""

import io
import os
import sys
from pathlib import Path

import pytest

from reconciler.cli import run

SPEC = """
version: 1
extends: ${NOT_SET}
defaults: {tags: [nightly]}
segments:
  vip_customers: {segment_id: 56, tags: [money, "${TAG}"], query: "SELECT ${NOT_SET}"}
  churn: {segment_id: "${CHURN_ID}", tags: [nightly]}
"""
ALL = ["vip_customers", "churn", "tag:nightly", "tag:money"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "reconcile.yaml").write_text(SPEC)
    (tmp_path / "specs" / "other.yaml").write_text(SPEC.replace("vip_customers", "newsletter"))
    return tmp_path


def complete(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Give what bash is offered for the last word of a line, which may be empty."""
    words = line.split(" ")
    monkeypatch.setenv("_RECONCILE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("TAG", "secret")
    with pytest.raises(SystemExit) as ended:
        run([])
    shown = capsys.readouterr()
    assert (ended.value.code, shown.err) == (0, "")
    return shown.out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("reconcile plan --select ", ALL),
        ("reconcile plan -s ", ALL),
        ("reconcile plan --exclude c", ["churn"]),
        ("reconcile -q apply reconcile.yaml -s churn -s v", ["vip_customers"]),
        ("reconcile apply --select t", ["tag:nightly", "tag:money"]),
        ("reconcile plan specs --select n", ["newsletter"]),
        ("reconcile status specs/other.yaml reconcile.yaml --select v", ["vip_customers"]),
        ("reconcile -C specs plan other.yaml --select n", ["newsletter"]),
        ("reconcile plan other.yaml -C specs --select n", ["newsletter"]),
        ("reconcile -C specs plan --select ", []),
        ("reconcile plan missing.yaml --select ", []),
        ("reconcile -C missing plan --select ", []),
        ("reconcile plan --bogus --select ", ALL),
    ],
)
def test_the_segments_of_the_named_or_default_spec_are_offered(
    line: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complete(line, monkeypatch, capsys) == offered


def test_the_spec_of_the_variable_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RECONCILE_SPEC", os.pathsep.join(["specs", "reconcile.yaml"]))

    assert complete("reconcile plan --select ", monkeypatch, capsys)[:2] == ["newsletter", "churn"]


@pytest.mark.parametrize(
    "text", ["", "segments: [", "segments: 7", "\0", "a: &a [*a]", "segments: {a: {tags: 7}, 7: 8}"]
)
def test_a_spec_that_cannot_be_read_offers_what_there_is(
    text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "reconcile.yaml").write_text(text)

    assert complete("reconcile plan --select ", monkeypatch, capsys) in ([], ["a"])


def test_stdin_is_left_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = io.TextIOWrapper(io.BytesIO(SPEC.encode()))
    monkeypatch.setattr(sys, "stdin", typed)

    assert complete("reconcile plan - --select ", monkeypatch, capsys) == []

    assert typed.read() == SPEC
