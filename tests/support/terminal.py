"""`reconcile` at a terminal, where somebody types."""

import fcntl
import os
import pty
import subprocess
import sys
import termios

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
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", "from reconciler.cli import main; main()", *words],
            cwd=project.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=[terminal],
            preexec_fn=None if says is None else lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0),
        )
        os.write(keyboard, f"{says}\n".encode())
        out, err = process.communicate(given, timeout=60)
    finally:
        os.close(terminal)
        os.close(keyboard)
    return Result(process.returncode, out, err)
