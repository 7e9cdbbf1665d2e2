"""The folder that sets spill into: private, and gone with the run, even if the run dies."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "reconcile-spill-"


@contextmanager
def open_spill_folder(parent: Path) -> Iterator[Path]:
    """Make a folder (0700) of our own below `parent`, having deleted what dead runs left there. Raises OSError.

    A living run holds a lock on its folder; the kernel drops it when the process ends, however it ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder, lock = _make_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock  # else a sweeper was quicker than we


def sweep(parent: Path) -> None:
    """Delete the folders of dead runs: ours by owner, and locked by nobody."""
    for folder in parent.glob(f"{PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder of ours; None if it is another's, in use, or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same(folder, os.fstat(descriptor)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _is_same(folder: Path, opened: os.stat_result) -> bool:
    now = folder.stat(follow_symlinks=False)
    return stat.S_ISDIR(now.st_mode) and now.st_ino == opened.st_ino and now.st_uid == os.getuid()
