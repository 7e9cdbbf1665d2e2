"""Whatever happens, a run ends with a code, and says what it still can."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from reconciler.cli import LAST_RESORT, console, run

Break = Callable[[BaseException], None]


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Let every command end with an error."""

    def let(error: BaseException) -> None:
        def fail(**_: object) -> int:
            raise error

        monkeypatch.setattr("reconciler.cli.app.app", fail)

    return let


def test_what_nobody_foresaw_is_named_by_its_kind_alone_with_a_next_step(
    breaks: Break, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(RecursionError("ada@example.com"))

    assert run(["plan", "spec.yaml"]) == 1

    said = capsys.readouterr().err
    assert said.startswith(
        "error: unexpected RecursionError\n  next: this is a defect of reconcile; run again with --verb"
    )
    assert "ada" not in said


def test_where_it_came_from_is_shown_with_verbose_and_without_its_words(
    breaks: Break, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks(UnicodeEncodeError("ascii", "ada", 0, 1, "ada"))

    assert run(["plan", "spec.yaml", "--verbose"]) == 1

    said = capsys.readouterr().err
    assert "UnicodeEncodeError" in said
    assert "test_last_resort.py" in said
    assert "ada" not in said


def test_too_little_memory_is_no_defect(breaks: Break, capsys: pytest.CaptureFixture[str]) -> None:
    breaks(MemoryError())

    assert run(["plan", "spec.yaml"]) == 1

    assert capsys.readouterr().err.startswith("error: there is not enough memory\n  next: give it more memory")


def test_a_path_that_is_not_utf_8_is_no_defect(breaks: Break, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "folder\udce9".encode()
    breaks(caught.value)

    assert run(["plan", "spec.yaml"]) == 1

    assert capsys.readouterr().err == "error: the path of a file or folder is not UTF-8\n  next: rename it\n"


def test_ctrl_c_is_130(breaks: Break, capsys: pytest.CaptureFixture[str]) -> None:
    breaks(KeyboardInterrupt())

    assert run(["plan", "spec.yaml"]) == 130

    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), OSError()])
def test_an_error_that_cannot_be_explained_has_last_words(
    breaks: Break, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object) -> int:
        raise error

    breaks(ValueError())
    monkeypatch.setattr(console, "explain", fail)

    assert run(["plan", "spec.yaml"]) == 1

    assert capsys.readouterr().err == LAST_RESORT


def test_ctrl_c_while_an_error_is_told_is_130(breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    breaks(ValueError())
    monkeypatch.setattr(console, "explain", interrupt)

    assert run(["plan", "spec.yaml"]) == 130


def test_a_group_without_a_command_shows_its_help_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["state"]) == 64

    shown = capsys.readouterr().err
    assert shown.startswith("Usage: reconcile state")
    assert "\n\nCommands:\n" in shown


def test_what_fails_while_an_object_of_a_driver_goes_is_not_printed() -> None:
    program = (
        "class Lost:\n    def __del__(self): raise ValueError('ada')\n"
        "from reconciler import cli\ncli.run = lambda _: int(not Lost())\ncli.main()"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_what_else_nobody_can_catch_is_named_by_its_kind_alone() -> None:
    program = (
        "import weakref\nclass Gone: pass\n"
        "def fail(_): raise ValueError('ada')\n"
        "gone = Gone(); kept = weakref.ref(gone, fail); del gone\n"
    )
    program = (
        f"from reconciler import cli\ndef go(_):\n    exec({program!r}, {{}})\n    return 0\ncli.run = go\ncli.main()"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stderr.startswith("error: unexpected ValueError in fail\n  next: this is a defect")
    assert (done.returncode, "ada" in done.stderr) == (0, False)
