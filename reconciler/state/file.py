"""The file of a SQLite state: whether it is there, who may look into it, how it is opened."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from reconciler.files import check_plain

BUSY_SECONDS = 60.0
"""How long to wait for another writer: longer than any transaction of ours."""

PRIVATE_FOLDER = ".reconcile"
"""A folder of this name is ours: nobody else may look into it."""

_MAGIC = b"SQLite format 3\0"
"""How a SQLite database begins. Source: https://sqlite.org/fileformat.html"""

_SCHEMA_PAGE = 100
"""Where the page of the schema begins: its type, and from its fourth byte how many tables and indexes there are."""


def is_empty_database(head: bytes) -> bool:
    """Tell a SQLite database without tables by its first bytes."""
    page = head[_SCHEMA_PAGE : _SCHEMA_PAGE + 5]
    return head.startswith(_MAGIC) and (page[:1], page[3:]) == (b"\x0d", b"\0\0")


def reading_uri(path: Path) -> str:
    """A read-only URI. In a folder where no -shm can be made, a file without a -wal is read as it lies there."""
    lies_still = not os.access(path.parent, os.W_OK) and not _beside(path, "-wal").exists()
    return make_uri(path, "mode=ro&immutable=1" if lies_still else "mode=ro")


def make_uri(path: Path, options: str) -> str:
    """The file as a URI of SQLite's, with options such as `mode=ro`."""
    return f"file:{quote(os.fsencode(path.absolute()))}?{options}"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def is_missing(path: Path) -> bool:
    """Tell whether there is no state: no file, or one that was just made and holds nothing yet.

    Raises NotPlain for a device, a FIFO or a folder, and another OSError where nothing can be told.
    """
    try:
        check_plain(path)
        return path.stat().st_size == 0 and not _beside(path, "-wal").exists()
    except FileNotFoundError:
        return True


def make_private(path: Path) -> None:
    """Make the file if it is missing, readable by its owner alone before SQLite opens it, and its folder so, too."""
    with suppress(FileNotFoundError):
        check_plain(path)
    make_folder(path)
    with suppress(FileExistsError):
        make_file(path)
    for file in (path, _beside(path, "-wal"), _beside(path, "-shm")):
        _close_to_others(file)


def make_folder(path: Path) -> None:
    """Make the folder of a state if it is missing; one that is ours is its owner's alone."""
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if made or path.parent.name == PRIVATE_FOLDER:
        path.parent.chmod(0o700)


def side_files(path: Path) -> list[Path]:
    """The files that SQLite may keep beside a database."""
    return [_beside(path, suffix) for suffix in ("-wal", "-shm", "-journal")]


def make_file(path: Path) -> None:
    """Make an empty file that is its owner's alone, whatever the umask."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _close_to_others(path: Path) -> None:
    with suppress(FileNotFoundError):
        check_plain(path)
        if stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """One process at a time makes or upgrades a state in a folder; it leaves no file behind."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems know no such lock; SQLite's own then has to do
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
