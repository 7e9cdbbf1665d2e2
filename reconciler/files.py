"""Files on disk: only a plain file is opened, and an existing file is replaced only if `reconcile` wrote it."""

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
from reconciler.models.urls import holds_url

HEAD_BYTES = 4096
"""How much of a file is read to recognise it."""

PRIVATE = 0o600

SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps next to a database. Each of these files may be empty and in use."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotPlain(OSError):
    """A path names something else than a plain file; `kind` is its noun with the article."""

    def __init__(self, mode: int) -> None:
        self.kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        super().__init__(errno.EINVAL, f"it is {self.kind}, not a plain file")


def refuse_url(named: str, place: str, noun: str = "file") -> None:
    """Raise UsageError, which does not repeat it, for a URL where a path is wanted. `place` is what it was given to."""
    if holds_url(named):
        raise UsageError(f"{place} takes the path of a {noun}, not a URL", f"name a {noun}, without a scheme and ://")


def check_plain(path: Path) -> None:
    """Raise NotPlain unless the path leads to a plain file, and another OSError if that can't be determined."""
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise OSError(errno.EINVAL, "its path holds a NUL") from None
    if not stat.S_ISREG(mode):
        raise NotPlain(mode)


def check_readable(path: Path) -> None:
    """Like `check_plain`, and raise PermissionError unless the file may be read.

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
    """A file to write that an option of the command line names.

    An existing file is replaced only if it is empty, or if `is_ours` recognises its first bytes. Links are followed.
    `kind` is what is written, `replaced_kind` what may be replaced, where these differ.
    """

    named: str
    flag: str
    kind: str
    is_ours: Callable[[bytes], bool]
    code: str = "output"
    replaced_kind: str = ""

    @property
    def path(self) -> Path:
        """The file itself, with links followed."""
        return Path(os.path.realpath(self.named))

    def check(self) -> None:
        """Raise UsageError unless the file may be written. Changes nothing."""
        refuse_url(self.named, self.flag)
        hint = f"name another file after {self.flag}"
        if self.named == "-":
            raise UsageError(f"{self.flag} -: the {self.kind} is not written to stdout", hint)
        try:
            head = self._read_head()
        except NotPlain as error:
            raise UsageError(f"{self.flag} must name a plain file; {self.named} is {error.kind}", hint) from None
        except OSError as error:
            raise UsageError(f"{self.flag} {self.named}: {error.strerror}; nothing was changed", hint) from None
        if head is None:
            return
        path = self.path
        # An empty file may belong to a SQLite database that has its content in another file.
        side_files = (path.with_name(path.name + suffix) for suffix in SIDE_FILES)
        is_database = path.name.endswith(SIDE_FILES) or any(map(os.path.lexists, side_files))
        may_be_replaced = self.is_ours(head) if head else not is_database
        if not may_be_replaced:
            raise UsageError(
                f"{self.named} exists and is no {self.replaced_kind or self.kind}; it was left as it is", hint
            )

    def discard(self) -> None:
        """Delete the file, if it may be replaced. Raises UsageError, ReconcileError."""
        self.check()
        with self.explained():
            self.path.unlink(missing_ok=True)

    @contextmanager
    def replaced(self) -> Iterator[Path]:
        """Yield an empty file (0600) in the same folder, which replaces this one if the block ends without an error.

        Raises UsageError if the file may not be replaced, at the beginning or at the end; OSError.
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
        """Turn an OSError of writing into a ReconcileError."""
        try:
            yield
        except OSError as error:
            message = f"The {self.kind} {self.named} can't be written: {error.strerror}."
            raise ReconcileError(
                message, f"Name a file in a writable folder after {self.flag}.", code=self.code
            ) from error

    def _read_head(self) -> bytes | None:
        """Return the first bytes of the file, None if it does not exist. Raises OSError if it could not be created."""
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


def sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
