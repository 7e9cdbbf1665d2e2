"""Files on disk: only a plain file is opened, and what exists is replaced only if it is ours. The one place of both."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reconciler.errors import ReconcileError, UsageError

HEAD_BYTES = 4096
"""How much of a file is read to tell what it is."""

PRIVATE = 0o600

_SIDE_FILES = ("-wal", "-shm", "-journal")
"""How the files that SQLite keeps next to a database end. Any of them, and the database, may be empty and in use."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotPlain(OSError):
    """A path names something else than a plain file; `kind` says what, with its article."""

    def __init__(self, mode: int) -> None:
        self.kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        super().__init__(errno.EINVAL, f"it is {self.kind}, not a plain file")


def check_plain(path: Path) -> None:
    """Raise NotPlain unless the path leads to a plain file, and another OSError where that can't be told."""
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise OSError(errno.EINVAL, "its path holds a NUL") from None
    if not stat.S_ISREG(mode):
        raise NotPlain(mode)


def check_readable(path: Path) -> None:
    """As `check_plain`, and raise PermissionError unless the file may be read.

    It is not opened: closing a file drops the locks that SQLite holds on it in this process.
    """
    check_plain(path)
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def open_plain(path: Path) -> IO[bytes]:
    """Open a plain file for reading; never waits for a FIFO, and opens no device. Raises OSError."""
    check_plain(path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not stat.S_ISREG(mode := os.fstat(handle).st_mode):  # replaced since it was checked
        os.close(handle)
        raise NotPlain(mode)
    return os.fdopen(handle, "rb")


@dataclass(frozen=True)
class OutputFile:
    """A file that a flag of the command line names to be written.

    What exists there is replaced only if it is empty, or if `is_ours` recognises its first bytes. A link is followed.
    """

    named: str
    flag: str
    kind: str
    is_ours: Callable[[bytes], bool]
    code: str = "output"

    @property
    def path(self) -> Path:
        """The file itself, links followed."""
        return Path(os.path.realpath(self.named))

    def check(self) -> None:
        """Raise UsageError unless the file may be written. Changes nothing."""
        if self.named == "-":
            raise UsageError(f"{self.flag} -: the {self.kind} is not written to stdout", self._hint)
        try:
            head = self._read_head()
        except NotPlain as error:
            raise UsageError(f"{self.flag} must name a plain file; {self.named} is {error.kind}", self._hint) from None
        except OSError as error:
            raise UsageError(f"{self.flag} {self.named}: {error.strerror}; nothing was changed", self._hint) from None
        if head is not None and not self._may_go(head):
            raise UsageError(f"{self.named} exists and is no {self.kind}; it was left as it is", self._hint)

    def discard(self) -> None:
        """Delete the file, if it may be replaced. Raises UsageError, ReconcileError."""
        self.check()
        with self.explained():
            self.path.unlink(missing_ok=True)

    @contextmanager
    def replaced(self) -> Iterator[Path]:
        """Give an empty file (0600) in the same folder, which takes the place of this one if the block ends well.

        Raises UsageError where the file may not be replaced, at the beginning or at the end; OSError.
        """
        self.check()
        path = self.path
        # 61 characters of four bytes, two dots, the eight letters that mkstemp adds: a file name may have 255 bytes.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:61]}.")
        draft = Path(name)
        try:
            os.fchmod(handle, PRIVATE)
            yield draft
            os.fsync(handle)
            self.check()
            draft.rename(path)
        finally:
            os.close(handle)
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the system says about writing into ReconcileError."""
        try:
            yield
        except OSError as error:
            message = f"The {self.kind} {self.named} can't be written: {error.strerror}."
            raise ReconcileError(
                message, f"Name a file in a writable folder after {self.flag}.", code=self.code
            ) from error

    @property
    def _hint(self) -> str:
        return f"name another file after {self.flag}"

    def _may_go(self, head: bytes) -> bool:
        return self.is_ours(head) if head else not _is_of_a_database(self.path)

    def _read_head(self) -> bytes | None:
        """Give the first bytes of what exists, or None where nothing does. Raises OSError where nothing can be made."""
        try:
            with open_plain(Path(self.named)) as file:
                head: bytes | None = file.read(HEAD_BYTES)
        except FileNotFoundError:
            head = None
        folder = self.path.parent
        if self.named.endswith(os.sep) or not folder.is_dir():
            raise OSError(errno.ENOTDIR, f"there is no folder {folder}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, f"the folder {folder} can't be written to")
        return head


def _is_of_a_database(empty: Path) -> bool:
    """Tell whether an empty file belongs to a SQLite database whose content stands in another file."""
    beside = (empty.with_name(empty.name + suffix) for suffix in _SIDE_FILES)
    return empty.name.endswith(_SIDE_FILES) or any(map(os.path.lexists, beside))


def sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
