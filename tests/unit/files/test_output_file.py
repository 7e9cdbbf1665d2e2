"""What may be replaced, and what happens when it changes in the meantime."""

import os
import stat
from pathlib import Path

import pytest

from reconciler.errors import ReconcileError, UsageError
from reconciler.files import OutputFile


def make(path: Path) -> OutputFile:
    return OutputFile(str(path), "--out", "report", lambda head: head.startswith(b"<!-- report"))


def replace(path: Path, text: str) -> None:
    with make(path).replaced() as draft:
        draft.write_text(text)


def list_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [None, b"", b"<!-- report of yesterday"])
def test_what_is_not_there_or_empty_or_ours_is_replaced(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "report.html"
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o644)

    replace(path, "<!-- report of today")

    assert path.read_text() == "<!-- report of today"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list_files(tmp_path) == ["report.html"]


@pytest.mark.parametrize("before", [b" ", b"<!-- repor", b"\0", b"<html>"])
def test_anything_else_stays(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(before)

    with pytest.raises(UsageError, match="exists and is no report; it was left as it is"):
        replace(path, "<!-- report")
    with pytest.raises(UsageError):
        make(path).discard()

    assert path.read_bytes() == before
    assert list_files(tmp_path) == ["report.html"]


def test_what_appears_while_it_is_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "report.html"

    with pytest.raises(UsageError, match="exists"), make(path).replaced():
        path.write_text("somebody else's")

    assert path.read_text() == "somebody else's"
    assert list_files(tmp_path) == ["report.html"]


def test_a_link_that_leads_nowhere_yet_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("report.html")

    replace(tmp_path / "link", "<!-- report")

    assert (tmp_path / "report.html").read_text() == "<!-- report"
    assert (tmp_path / "link").is_symlink()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("<!-- report of yesterday")
    output = make(path)

    with pytest.raises(ReconcileError, match="No space left on device"), output.explained(), output.replaced():
        raise OSError(28, os.strerror(28))

    assert path.read_text() == "<!-- report of yesterday"
    assert list_files(tmp_path) == ["report.html"]
