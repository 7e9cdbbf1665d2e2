"""Where a state is, and whether it may be opened: its URL, its file, the file system that the file is on."""

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from reconciler.errors import StateError
from reconciler.files import check_plain
from reconciler.models.spec import Secret

if TYPE_CHECKING:
    import sqlalchemy

_FILE = re.compile(r"sqlite(?:\+\w+)?://(?:/(?P<path>[^?]*)(?:\?.*)?)?", re.DOTALL)
_HINT = "use sqlite:///path/to/state.db, or postgresql://user@host/database"


@dataclass(frozen=True)
class SqliteAddress:
    """A state in a file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PostgresAddress:
    """A state in a PostgreSQL; `url` may hold a password, which `str()` leaves out."""

    url: Secret

    def __str__(self) -> str:
        url = _read(self.url)
        host = url.host or ", ".join(url.normalized_query.get("host", ())) or "localhost"
        return f"PostgreSQL {url.database or ''} on {host}".replace("  ", " ")

    @property
    def driver_url(self) -> "sqlalchemy.URL":
        """For SQLAlchemy."""
        return _read(self.url).set(drivername="postgresql+psycopg")


Address = SqliteAddress | PostgresAddress


def parse(url: Secret) -> Address:
    """Read a state's URL. Raises StateError."""
    file = _FILE.fullmatch(url.reveal())
    if file is not None:
        return _parse_file(unquote(file["path"] or ""))
    kind = _parse_server(url)
    if kind != "postgresql":
        raise StateError(f"a state can't be kept in {kind}", _HINT)
    return PostgresAddress(url)


def _parse_file(path: str) -> SqliteAddress:
    if not path or path == ":memory:" or path.startswith("file:"):
        raise StateError("a state in SQLite must be a plain file, as it has to outlive the run", _HINT)
    return SqliteAddress(Path(path))


def _parse_server(url: Secret) -> str:
    """The kind of database."""
    from sqlalchemy.exc import ArgumentError

    try:
        return _read(url).get_backend_name()
    except (ArgumentError, ValueError):
        raise StateError("the URL of the state can't be read", _HINT) from None


def _read(url: Secret) -> "sqlalchemy.URL":
    import sqlalchemy

    text = url.reveal()
    if text.startswith("postgres:"):
        text = "postgresql" + text.removeprefix("postgres")
    return sqlalchemy.make_url(text)


# --- the file of a SQLite state ----------------------------------------------------------------------------------

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


# --- the file system ---------------------------------------------------------------------------------------------

_MOUNTS = Path("/proc/self/mountinfo")

_KERNEL = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "ocfs2",
    "gfs2",
    "glusterfs",
)
_FUSE = ("sshfs", "glusterfs", "ceph", "s3fs", "gcsfuse", "rclone", "davfs")
_NETWORK = frozenset((*_KERNEL, *(f"fuse.{name}" for name in _FUSE)))
"""Types that several machines may have mounted. Not 9p and virtiofs: a virtual machine shares its host's disk so.

Source: https://sqlite.org/wal.html, "All processes using a database must be on the same host computer".
"""


def refuse_network(address: SqliteAddress, mounts: str | None = None) -> None:
    """Raise StateError for a file on a network file system. `mounts`: as in /proc/self/mountinfo."""
    kind = find_type(Path(os.path.realpath(address.path)), _read_mounts() if mounts is None else mounts)
    if kind in _NETWORK:
        raise StateError(
            f"the state is on a network file system ({kind}), where SQLite can't keep two machines apart ({address})",
            "put it on a local disk, or keep the state in a PostgreSQL: from a local disk `reconcile state copy SPEC "
            "--to URL` moves it",
        )


def _read_mounts() -> str:
    """Empty where the system does not tell."""
    try:
        return _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""


def find_type(path: Path, mounts: str) -> str:
    """The type of the file system that a real path is on; empty: not known. The last mount on a point hides others.

    Source: proc_pid_mountinfo(5).
    """
    found, depth = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.partition(" ")[0]
        if len(fields) < 5:
            continue
        point = Path(_unescape(fields[4]))
        if len(point.parts) >= depth and path.is_relative_to(point):
            found, depth = kind, len(point.parts)
    return found


def _unescape(text: str) -> str:
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text
