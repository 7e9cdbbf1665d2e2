"""On a terminal a run asks before it changes anything; elsewhere it goes ahead."""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import pytest

from reconciler.sandbox.http import Call
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


@contextmanager
def controlled(
    project: Project, *words: str, stdin: str | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `reconcile` as a shell does: a terminal controls it. stdout and stderr go into files; `stdin` is from one.

    Gives the process, and the keyboard and screen of the terminal.
    """
    keyboard, terminal = pty.openpty()
    with ExitStack() as files:
        files.callback(os.close, keyboard)
        out, err = (files.enter_context((project.folder / name).open("wb")) for name in ("out", "err"))
        fed: IO[bytes] | int = terminal
        if stdin is not None:
            (project.folder / "in").write_text(stdin)
            fed = files.enter_context((project.folder / "in").open("rb"))
        program = (
            "import fcntl, sys, termios\n"
            f"fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0)\n"
            "from reconciler.cli import main; main()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            cwd=project.folder,
            env={**os.environ, **project.environment},
            stdin=fed,
            stdout=out,
            stderr=err,
            pass_fds=[terminal],
            start_new_session=True,
        )
        os.close(terminal)
        try:
            yield process, keyboard
            process.wait(60)
        finally:
            process.kill()
            process.wait()


def see(keyboard: int, end: str) -> str:
    """Read what a terminal shows up to these words."""
    text = b""
    while not text.endswith(end.encode()):
        assert select.select([keyboard], [], [], 60)[0], text
        text += os.read(keyboard, 1)
    return text.decode()


def test_a_question_is_seen_where_it_is_answered_also_if_both_streams_are_redirected(filled: Project) -> None:
    with controlled(filled, "apply", "spec.yaml") as (process, keyboard):
        seen = see(keyboard, "[yes/no] ")
        os.write(keyboard, b"yes\n")

    assert process.returncode == 0
    assert "vip" in seen
    assert "Send these changes to Customer.io (workspace default)?" in seen
    assert "yes/no" not in (filled.folder / "err").read_text()
    assert filled.sandbox.members(56) == set(people(*range(5)))


def test_what_a_refresh_would_take_over_is_seen_with_its_question(filled: Project) -> None:
    filled.sandbox.put_members(56, people(*range(9)))

    with controlled(filled, "refresh", "spec.yaml") as (process, keyboard):
        seen = see(keyboard, "[yes/no] ")
        os.write(keyboard, b"no\n")

    assert process.returncode == 1
    assert "9 members are there, the state has 0" in seen


@pytest.mark.parametrize(("answer", "code", "sent"), [("yes", 0, 5), ("no", 1, 0)])
def test_a_spec_on_stdin_is_asked_about_on_the_terminal(filled: Project, answer: str, code: int, sent: int) -> None:
    with controlled(filled, "apply", "-", stdin=filled.spec.read_text()) as (process, keyboard):
        see(keyboard, "[yes/no] ")
        os.write(keyboard, f"{answer}\n".encode())

    assert process.returncode == code
    assert len(filled.sandbox.members(56)) == sent


def test_nobody_is_asked_where_stdin_is_no_terminal_although_there_is_one(filled: Project) -> None:
    with controlled(filled, "apply", "spec.yaml", stdin="") as (process, _keyboard):
        pass

    assert process.returncode == 0
    assert len(filled.sandbox.members(56)) == 5


# --- the terminal goes away ------------------------------------------------------------------------------------------


def test_a_hangup_stops_a_run_in_good_order(filled: Project) -> None:
    ended = filled.hit("apply", "spec.yaml", at=lambda call: call.direction is not None, by=signal.SIGHUP)

    assert ended.code == 143
    assert filled.json("history").document["runs"][0]["exit_code"] == 143
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.members(56) == set(people(*range(5)))


def test_a_hangup_while_nothing_is_handled_ends_with_143(filled: Project) -> None:
    program = "import os, signal, reconciler.cli as c\nc.run = lambda _: os.kill(os.getpid(), signal.SIGHUP)\nc.main()"

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 143


def test_a_run_below_nohup_outlives_its_terminal(filled: Project) -> None:
    started: list[subprocess.Popen[bytes]] = []
    ready = threading.Event()

    def hang_up(_call: Call) -> None:
        if ready.wait(60):
            started[0].send_signal(signal.SIGHUP)

    filled.sandbox.on_arrival(hang_up)
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom reconciler.cli import main; main()"
    started.append(subprocess.Popen([sys.executable, "-c", program, "apply", "spec.yaml"], cwd=filled.folder))
    ready.set()

    assert started[0].wait(60) == 0
    assert filled.sandbox.members(56) == set(people(*range(5)))


def read_until(stream: IO[str], end: str) -> str:
    """Read what a process says up to these words."""
    text = ""
    while not text.endswith(end) and (character := stream.read(1)):
        text += character
    return text
