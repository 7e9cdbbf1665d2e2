"""A program that runs a command in its own process keeps its logging."""

import logging
import warnings
from pathlib import Path

import pytest

from reconciler.cli import run
from reconciler.cli.console import Console


@pytest.mark.parametrize(
    "words", [["init", "project"], ["init", "project", "--verbose"], ["plan", "no.yaml", "--verbose"]]
)
def test_a_command_leaves_the_logging_of_its_process_as_it_was(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("reconciler")
    before = list(log.handlers), log.level, log.propagate
    root = list(logging.getLogger().handlers)
    shown = warnings.showwarning

    run(words)

    assert warnings.showwarning is shown
    assert (log.handlers, log.level, log.propagate) == before
    assert logging.getLogger().handlers == root


@pytest.mark.parametrize("verbose", [False, True])
def test_what_other_libraries_log_is_not_printed(
    verbose: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A driver may log a message of its database, and a row with it."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    with Console(verbose=verbose).log_records():
        logging.getLogger("a.driver").error("Error closing cursor: invalid input: p0001")

    assert capsys.readouterr().err == ""


def test_what_other_libraries_warn_of_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with Console().log_records():
            warnings.warn("Unknown parameter 'p0001'", FutureWarning, stacklevel=1)

    assert capsys.readouterr().err == ""
