"""`reconcile` at a terminal, where somebody types."""

import os
import pty

from tests.support.forks import Fork
from tests.support.project import Project, Result


def at_a_terminal(project: Project, *words: str, says: str) -> Result:
    """Run `reconcile` with a terminal as its stdin, on which somebody has typed something."""
    keyboard, terminal = pty.openpty()
    try:
        process = project.start(*words, stdin=terminal)
        os.write(keyboard, f"{says}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(keyboard)
    return Result(process.returncode, out, err)


def below_a_terminal(project: Project, *words: str, given: str, says: str | None) -> Result:
    """Run `reconcile` with a text as its stdin, and a terminal on which somebody has typed something.

    It is in a session of its own; `says` None: without any terminal.
    """
    keyboard, terminal = pty.openpty()
    stdin, feed = os.pipe()
    os.write(feed, given.encode())
    os.close(feed)
    try:
        environment = {**os.environ, **project.environment}
        process = Fork(list(words), project.folder, environment, stdin, stdin if says is None else terminal)
        os.write(keyboard, f"{says}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        for number in (stdin, terminal, keyboard):
            os.close(number)
    return Result(process.returncode, out, err)
