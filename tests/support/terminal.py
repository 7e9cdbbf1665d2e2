"""`reconcile` at a terminal, where somebody types."""

import os
import pty
import subprocess
import sys

from tests.support.project import Project, Result


def at_a_terminal(project: Project, *words: str, says: str) -> Result:
    """Run `reconcile` with a terminal as its stdin, on which somebody has typed something."""
    keyboard, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", "from reconciler.cli import main; main()", *words],
            cwd=project.folder,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(keyboard, f"{says}\n".encode())
        out, err = process.communicate(timeout=60)
    finally:
        os.close(terminal)
        os.close(keyboard)
    return Result(process.returncode, out, err)
