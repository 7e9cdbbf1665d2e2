"""The whole tour, for real, on a smaller warehouse."""

import os
import re
import tempfile
import threading
from contextlib import chdir
from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.cli.demo import project
from reconciler.cli.demo.tour import exported, play, variables_for
from reconciler.cli.demo.voice import Voice
from reconciler.errors import ExitCode
from reconciler.sandbox.serve import SandboxOptions, open_sandbox

CUSTOMERS = 4_000

ACTS = [
    *("A warehouse", "A Customer.io", "A spec", "Plan", "Apply", "A day later", "Run it again", "A query gone empty"),
    *("A segment edited by hand", "Who is really there", "What next"),
]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def say(text: str) -> None:
    print(text, end="", flush=True)


def test_every_act_keeps_its_promise_and_nothing_is_left_behind(
    temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (Path.cwd(), os.environ.copy(), set(threading.enumerate()))

    play(Voice(say), run, customers=CUSTOMERS)

    told = capfd.readouterr().out
    assert re.findall(r"^── \d+  (.*?) ─+$", told, re.MULTILINE) == ACTS
    assert re.findall(r"^exit code (\d+)", told, re.MULTILINE) == ["3", "2"]
    assert (Path.cwd(), os.environ.copy(), set(threading.enumerate())) == before
    assert list(temporary.iterdir()) == []


def test_a_kept_project_can_be_gone_on_with_by_hand(
    temporary: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "playground"
    play(Voice(say), run, folder, customers=CUSTOMERS)
    capfd.readouterr()

    options = SandboxOptions(port=0, state=folder / project.SANDBOX_STATE)
    with open_sandbox(options) as sandbox, exported(variables_for(sandbox.url)), chdir(folder):
        code = run(["plan", project.SPEC, "--detailed-exitcode"])

    assert code == ExitCode.DONE
    assert "3 unchanged" in capfd.readouterr().out
    assert list(temporary.iterdir()) == []


def test_everything_is_readable_at_80_columns(temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    play(Voice(say), run, customers=CUSTOMERS)

    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80 and "reconcile-demo-" not in line] == []


def test_a_folder_with_something_in_it_is_a_usage_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").write_text("x", encoding="utf-8")

    assert run(["demo", "--keep", str(tmp_path)]) == ExitCode.USAGE
    assert "is not empty" in capfd.readouterr().err
