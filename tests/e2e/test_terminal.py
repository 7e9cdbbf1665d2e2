"""On a terminal a run asks before it changes anything; elsewhere it goes ahead."""

import os
import pty
import signal
from typing import IO

import pytest

from tests.support.project import Project, people, segment
from tests.support.terminal import at_a_terminal


@pytest.fixture
def filled(project: Project) -> Project:
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")})
    return project


@pytest.mark.parametrize("answer", ["no", ""])
def test_no_at_the_prompt_is_1_and_nothing_is_sent(filled: Project, answer: str) -> None:
    done = at_a_terminal(filled, "apply", "spec.yaml", says=answer)
    assert done.code == 1
    assert filled.sandbox.writes == []
    assert "Traceback" not in done.err
    assert filled.json("plan").segments["vip"]["add"] == 5


def test_yes_at_the_prompt_or_as_a_flag_applies(filled: Project) -> None:
    assert at_a_terminal(filled, "apply", "spec.yaml", says="yes").code == 0
    assert filled.sandbox.members(56) == set(people(*range(5)))
    filled.want("vip", people(*range(6)))
    assert at_a_terminal(filled, "apply", "spec.yaml", "--yes", says="no").code == 0
    assert filled.sandbox.members(56) == set(people(*range(6)))


def test_refresh_asks_too(filled: Project) -> None:
    filled.sandbox.put_members(56, people(*range(9)))
    assert at_a_terminal(filled, "refresh", "spec.yaml", says="no").code == 1
    assert not filled.state_file.exists() or filled.stored("vip") == set()
    assert at_a_terminal(filled, "refresh", "spec.yaml", says="yes").code == 0
    assert filled.stored("vip") == set(people(*range(9)))


def test_the_document_on_stdout_is_whole_where_a_question_was_asked(filled: Project) -> None:
    done = at_a_terminal(filled, "apply", "spec.yaml", "--format", "json", says="yes")
    assert done.document["kind"] == "run"
    assert "yes/no" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["apply", "refresh"])
def test_a_signal_at_the_prompt_ends_the_run(filled: Project, command: str, number: signal.Signals) -> None:
    filled.sandbox.put_members(57, people(7))
    filled.write({"churn": segment(57, "vip"), "vip": segment(56, "vip")})
    keyboard, terminal = pty.openpty()
    process = filled.start(command, "spec.yaml", stdin=terminal)
    assert process.stderr is not None
    asked = read_until(process.stderr, "[yes/no] ")

    process.send_signal(number)

    _, rest = process.communicate(timeout=60)
    os.close(terminal)
    os.close(keyboard)
    assert process.returncode == 128 + number
    assert asked.count("[yes/no]") + rest.count("[yes/no]") == 1
    assert filled.sandbox.writes == []
    assert filled.stored("churn") == filled.stored("vip") == set()


def read_until(stream: IO[str], end: str) -> str:
    """Read what a process says up to these words."""
    text = ""
    while not text.endswith(end) and (character := stream.read(1)):
        text += character
    return text
