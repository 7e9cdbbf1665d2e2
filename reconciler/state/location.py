"""Where a state is, and whether it may be opened: its URL, its file, the file system that the file is on."""

import fcntl
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from reconciler.errors import StateError
from reconciler.files import PRIVATE, SIDE_FILES, check_plain
from reconciler.models.fields import Secret
from reconciler.models.urls import DatabaseUrl, check_state_url


@dataclass(frozen=True)
class SqliteAddress:
    """A state in a file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PostgresAddress:
    """A state in a PostgreSQL; `str()` shows no password."""

    url: DatabaseUrl

    def __str__(self) -> str:
        return f"PostgreSQL {self.url.database} on {self.url.host or 'localhost'}".replace("  ", " ")


Address = SqliteAddress | PostgresAddress


def parse(url: Secret) -> Address:
    """Read a state's URL. Raises StateError."""
    try:
        found = DatabaseUrl.parse(check_state_url(url.reveal()))
    except ValueError as error:
        message = f"the URL of the state {error}"
        raise StateError(message, "use sqlite:///path/to/state.db, or postgresql://user@host/database") from None
    return SqliteAddress(Path(found.database)) if found.is_file else PostgresAddress(found)


# --- the file of a SQLite state ----------------------------------------------------------------------------------

BUSY_SECONDS = 60.0
"""How long to wait for another writer: longer than any transaction of reconcile."""

PRIVATE_FOLDER = ".reconcile"
"""The name of the folder that reconcile makes: only its owner may read it, and git ignores all that is in it."""


def is_empty_database(head: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a SQLite database without tables.

    At 100 begins the page of the schema: its type, and three bytes further how many tables and indexes there are.
    Source: https://sqlite.org/fileformat.html
    """
    return head.startswith(b"SQLite format 3\0") and (head[100:101], head[103:105]) == (b"\x0d", b"\0\0")


def reading_uri(path: Path) -> str:
    """Give the URI of a file for reading. Where no -shm can be made, a file without a -wal is read as immutable."""
    immutable = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
    return make_uri(path, "mode=ro&immutable=1" if immutable else "mode=ro")


def make_uri(path: Path, options: str) -> str:
    """Give the URI of a file for SQLite, with options such as `mode=ro`."""
    return f"file:{quote(os.fsencode(path.absolute()))}?{options}"


def is_missing(path: Path) -> bool:
    """Tell whether there is no state: no file, or one that was just made and holds nothing yet.

    Raises NotPlain for a device, a FIFO or a folder, and another OSError where that can't be found out.
    """
    try:
        _check_state(path)
        return path.stat().st_size == 0 and not Path(f"{path}-wal").exists()
    except FileNotFoundError:
        return True


def _check_state(path: Path) -> None:
    """Like `check_plain`, and raise sqlite3.DatabaseError for a file of one byte.

    SQLite takes it for an empty one, and would write over it. Source: `unixFileSize` in its os_unix.c.
    """
    check_plain(path)
    if path.stat().st_size == 1:
        error = sqlite3.DatabaseError("file is not a database")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error


def make_private(path: Path) -> None:
    """Make the file and its folder if they are missing, readable by their owner alone before SQLite opens the file."""
    with suppress(FileNotFoundError):
        _check_state(path)
    make_folder(path)
    with suppress(FileExistsError):
        make_file(path)
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(FileNotFoundError):
            check_plain(file)
            if stat.S_IMODE(file.stat().st_mode) != 0o600:
                file.chmod(0o600)


def make_folder(path: Path) -> None:
    """Make the folder of a state if it is missing: its owner's alone, and ignored by git.

    The default folder is made so also if it was there before; any other is left as it is.
    """
    folder = path.parent
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if made or folder.name == PRIVATE_FOLDER:
        folder.chmod(0o700)
        ignored = folder / ".gitignore"
        with suppress(FileExistsError):
            make_file(ignored)
            ignored.chmod(PRIVATE)
            ignored.write_bytes(b"*\n")


def side_files(path: Path) -> list[Path]:
    """List the files that SQLite may keep with a database."""
    return [path.with_name(path.name + suffix) for suffix in SIDE_FILES]


def make_file(path: Path) -> None:
    """Make an empty file that is its owner's alone, whatever the umask."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


@contextmanager
def folder_lock(path: Path) -> Iterator[None]:
    """Let one process at a time make, upgrade or replace a state in a folder; no file of the lock is left."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no such lock; SQLite's own must do
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- the file system ---------------------------------------------------------------------------------------------

_MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "glusterfs"]
    + ["fuse." + name for name in ("sshfs", "glusterfs", "ceph", "s3fs", "gcsfuse", "rclone", "davfs")]
)
"""Types that several machines may have mounted. Not 9p and virtiofs: a virtual machine shares its host's disk so.

SQLite's locks and its shared memory can't be relied upon there. Source: https://sqlite.org/wal.html, "All processes
using a database must be on the same host computer".
"""


def refuse_network(address: SqliteAddress) -> None:
    """Raise StateError for a file on a network file system. Source: proc_pid_mountinfo(5)."""
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:  # a system that has none
        return
    path, kind, depth = Path(os.path.realpath(address.path)), "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5:
            continue
        point = Path(re.sub(r"\\(040|011|012|134)", lambda match: chr(int(match[1], 8)), fields[4]))
        if len(point.parts) >= depth and path.is_relative_to(point):  # the last mount on a point hides others
            kind, depth = after.partition(" ")[0], len(point.parts)
    if kind in _NETWORK:
        raise StateError(
            f"the state is on a network file system ({kind}), where SQLite can't keep two machines apart ({address})",
            "put it on a local disk, or keep the state in a PostgreSQL: from a local disk `reconcile state copy SPEC "
            "--to URL` moves it",
        )
