"""A process that heeds the modes of files, also where the tests run as root."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from tests.support.project import Project, Result

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
"""By which root passes over modes. Source: capabilities(7)."""


def run_bound(project: Project, *words: str | Path, folder: Path | None = None, **variables: str) -> Result:
    """Run `reconcile` as a process that may read and write what the modes of files say, and no more."""
    done = subprocess.run(
        [sys.executable, "-c", "from reconciler.cli import main; main()", *map(str, words)],
        cwd=folder or project.folder,
        env={**os.environ, **project.environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        preexec_fn=heed_modes,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def heed_modes() -> None:
    """Take from root, before a program starts, the right to pass over modes. Raises OSError."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "a capability can't be dropped")
