"""A SQLite state on a file system that several machines share."""

from pathlib import Path

import pytest

from reconciler.errors import StateError
from reconciler.state import location
from reconciler.state.location import SqliteAddress
from tests.support.states import ACKNOWLEDGED, StateFixture, add

TABLE = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /home rw - nfs4 server:/home rw,vers=4.2
31 30 0:31 / /home/me/local rw - ext4 /dev/vdb rw
32 22 0:32 / /mnt/with\\040blank rw - cifs //server/share rw
33 22 0:33 / /mnt/over rw - nfs server:/over rw
34 33 0:34 / /mnt/over rw - tmpfs none rw
35 22 0:35 / /mnt/ssh rw - fuse.sshfs me@server: rw
36 22 0:36 / /mnt/c rw - 9p C: rw
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that lists the mounts of this machine."""
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    monkeypatch.setattr(location, "_MOUNTS", table)
    return table


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/state.db", "ext4"),
        ("/home/me/state.db", "nfs4"),
        ("/homes/state.db", "ext4"),
        ("/home/me/local/state.db", "ext4"),
        ("/mnt/with blank/a/state.db", "cifs"),
        ("/mnt/over/state.db", "tmpfs"),
        ("/mnt/ssh/state.db", "fuse.sshfs"),
    ],
)
@pytest.mark.usefixtures("mounts")
def test_the_type_is_that_of_the_innermost_and_latest_mount(path: str, kind: str) -> None:
    if kind in ("ext4", "tmpfs"):
        location.refuse_network(SqliteAddress(Path(path)))
        return
    with pytest.raises(StateError, match=rf"network file system \({kind}\)"):
        location.refuse_network(SqliteAddress(Path(path)))


@pytest.mark.parametrize("path", ["/home/me/state.db", "/mnt/with blank/state.db", "/mnt/ssh/state.db"])
@pytest.mark.usefixtures("mounts")
def test_a_network_file_system_is_refused_with_a_way_out(path: str) -> None:
    with pytest.raises(StateError) as caught:
        location.refuse_network(SqliteAddress(Path(path)))

    assert "network file system" in caught.value.message
    assert "PostgreSQL" in caught.value.hint


@pytest.mark.parametrize("table", [TABLE, "", "a line that nobody knows\n"])
def test_another_file_system_or_one_that_is_not_known_is_let_through(table: str, mounts: Path) -> None:
    mounts.write_text(table)
    for path in ("/srv/state.db", "/mnt/c/state.db", "/mnt/over/state.db"):
        location.refuse_network(SqliteAddress(Path(path)))


def test_nothing_is_made_on_a_network_file_system(sqlite_state: StateFixture, tmp_path: Path, mounts: Path) -> None:
    mounts.write_text("22 1 0:1 / / rw - nfs server:/ rw\n")

    with pytest.raises(StateError, match="network file system"):
        sqlite_state.send((add("a"), ACKNOWLEDGED))

    assert not (tmp_path / ".reconcile").exists()
