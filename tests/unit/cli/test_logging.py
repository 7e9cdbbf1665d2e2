"""A program that runs a command in its own process keeps its logging."""

import logging
from pathlib import Path

import pytest

from reconciler.cli import run


@pytest.mark.parametrize(
    "words", [["init", "project"], ["init", "project", "--verbose"], ["plan", "no.yaml", "--verbose"]]
)
def test_a_command_leaves_the_logging_of_its_process_as_it_was(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("reconciler")
    before = list(log.handlers), log.level, log.propagate

    run(words)

    assert (log.handlers, log.level, log.propagate) == before
