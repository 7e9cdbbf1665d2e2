"""Which file system a SQLite state is on: over a network SQLite's locks and its shared memory can't be relied upon."""

import os
from pathlib import Path

from reconciler.errors import StateError
from reconciler.state.address import SqliteAddress

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
