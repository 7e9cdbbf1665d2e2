"""What is named to be written: only a file of ours of that kind, or an empty one, is replaced; anything else stays."""

import os
import socket
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.project import Project, people, segment

WRITERS = [
    ("plan", "spec.yaml", "--out"),
    ("state", "backup", "spec.yaml", "--to"),
]
TO_A_URL = ("state", "copy", "spec.yaml", "--to")


@pytest.fixture
def filled(project: Project) -> Project:
    """A project with a hundred people in its state; its next plan changes thirty."""
    project.want("vip", people(*range(100)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(10, 120)))
    return project


def look(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every plain file of a folder and below, with its mode and content; but what SQLite makes where it reads."""
    files = (path for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
    kept = (path for path in files if path.name.startswith("busy") or not path.name.endswith(("-wal", "-shm")))
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in kept}


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
@pytest.mark.parametrize("name", [".reconcile/state.db", "warehouse.db", "spec.yaml", "notes.txt", "query"])
def test_a_file_of_another_kind_stays_as_it_is(filled: Project, words: tuple[str, ...], name: str) -> None:
    (filled.folder / "notes.txt").write_text("keep me")
    (filled.folder / "query").write_text("SELECT 1")
    before = look(filled.folder)

    refused = filled.run(*words, name)

    assert refused.code == 64
    assert name in refused.err
    assert "it was left as it is" in refused.err
    assert look(filled.folder) == before


@pytest.mark.parametrize("wrong", [["--select", "typo"], ["--colour"], ["--format", "yaml"]], ids=" ".join)
def test_a_slip_elsewhere_on_the_command_line_costs_no_file(filled: Project, wrong: list[str]) -> None:
    before = look(filled.folder)

    for name in (".reconcile/state.db", "warehouse.db"):
        assert filled.run("plan", "spec.yaml", *wrong, "--out", name).code == 64

    assert look(filled.folder) == before


def test_a_plan_file_is_no_backup_and_a_backup_no_plan_file(filled: Project) -> None:
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    assert filled.run("state", "backup", "spec.yaml", "--to", "copy.db").code == 0
    before = look(filled.folder)

    assert filled.run("state", "backup", "spec.yaml", "--to", "sealed.plan").code == 64
    assert filled.run("state", "backup", "spec.yaml", "--to", "copy.db").code == 64
    assert filled.run("plan", "spec.yaml", "--out", "copy.db").code == 64

    assert look(filled.folder) == before


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_an_empty_file_is_replaced_by_one_that_only_its_owner_reads(filled: Project, words: tuple[str, ...]) -> None:
    path = filled.folder / "made-by-mktemp"
    path.touch(0o666)

    assert filled.run(*words, path.name).code == 0

    assert path.stat().st_size > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_database_is_replaced_by_a_backup(filled: Project) -> None:
    with closing(sqlite3.connect(filled.folder / "empty.db")) as connection:
        connection.execute("VACUUM")
    assert (filled.folder / "empty.db").stat().st_size > 0

    assert filled.run("state", "backup", "spec.yaml", "--to", "empty.db").code == 0

    with closing(sqlite3.connect(filled.folder / "empty.db")) as connection:
        assert connection.execute("SELECT count(*) FROM reconcile_members").fetchone() == (100,)


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
@pytest.mark.parametrize("name", ["busy.db", "busy.db-wal", "idle.db-journal"])
def test_an_empty_file_that_belongs_to_a_database_in_use_stays(
    filled: Project, words: tuple[str, ...], name: str
) -> None:
    (filled.folder / "busy.db").touch()
    (filled.folder / "busy.db-wal").touch()
    (filled.folder / "idle.db-journal").touch()
    before = look(filled.folder)

    assert filled.run(*words, name).code == 64

    assert look(filled.folder) == before


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_link_to_the_state_changes_neither(
    filled: Project, words: tuple[str, ...], link: Callable[[Path, Path], None]
) -> None:
    link(filled.state_file, filled.folder / "link")
    before = look(filled.folder)

    assert filled.run(*words, "link").code == 64

    assert look(filled.folder) == before
    assert (filled.folder / "link").samefile(filled.state_file)


def test_a_link_to_an_older_plan_is_followed(filled: Project) -> None:
    (filled.folder / "plans").mkdir()
    assert filled.run("plan", "spec.yaml", "--out", "plans/today").code == 0
    older = (filled.folder / "plans" / "today").read_bytes()
    (filled.folder / "latest").symlink_to("plans/today")

    assert filled.run("plan", "spec.yaml", "--out", "latest").code == 0

    assert (filled.folder / "latest").is_symlink()
    assert (filled.folder / "plans" / "today").read_bytes() != older
    assert filled.run("apply", "latest").code == 0


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def make_device(path: Path) -> None:
    """The system's own null device: making one takes root."""
    path.symlink_to("/dev/null")


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
@pytest.mark.parametrize("make", [make_folder, os.mkfifo, make_socket, make_device])
def test_what_is_no_plain_file_is_refused_at_once(
    filled: Project, words: tuple[str, ...], make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(filled.folder)  # the path of a socket is short
    make(filled.folder / "thing")
    before = (filled.folder / "thing").stat()

    refused = filled.run(*words, "thing")

    after = (filled.folder / "thing").stat()
    assert refused.code == 64
    assert "must name a plain file" in refused.err
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
@pytest.mark.parametrize("name", ["-", "", "missing/file", "spec.yaml/file", "loop", "missing/", "n" * 300])
def test_a_name_under_which_nothing_can_be_written_is_refused(
    filled: Project, words: tuple[str, ...], name: str
) -> None:
    (filled.folder / "loop").symlink_to("loop")
    before = look(filled.folder)

    refused = filled.run(*words, name)

    assert refused.code == 64
    assert "defect" not in refused.err
    assert look(filled.folder) == before


@pytest.mark.parametrize("name", [".reconcile/copy.db", "warehouse.db", "notes.txt"])
def test_a_state_is_copied_into_nothing_that_holds_something(filled: Project, name: str) -> None:
    assert filled.run("state", "backup", "spec.yaml", "--to", ".reconcile/copy.db").code == 0
    assert filled.run("apply", "spec.yaml").code == 0  # the same state would be a move that was cut short
    (filled.folder / "notes.txt").write_text("keep me")
    (filled.folder / "warehouse.db").chmod(0o644)
    before = look(filled.folder)

    refused = filled.run(*TO_A_URL, f"sqlite:///{name}")

    assert refused.code == 64
    assert look(filled.folder) == before


def test_a_state_is_not_copied_into_a_device(filled: Project) -> None:
    mode = Path("/dev/null").stat().st_mode

    refused = filled.run(*TO_A_URL, "sqlite:////dev/null")

    assert refused.code == 64
    assert "plain file" in refused.err
    assert Path("/dev/null").stat().st_mode == mode


@pytest.mark.parametrize("name", ["empty", "empty.db"])
def test_a_state_is_copied_into_an_empty_file_and_into_an_empty_database(filled: Project, name: str) -> None:
    (filled.folder / "empty").touch()
    with closing(sqlite3.connect(filled.folder / "empty.db")) as connection:
        connection.execute("VACUUM")

    assert filled.run(*TO_A_URL, f"sqlite:///{name}").code == 0

    filled.write({"vip": segment(56, "vip")}, more=f"state: {{url: 'sqlite:///{name}'}}\n", name="moved.yaml")
    assert filled.stored("vip", "moved.yaml") == set(people(*range(100)))
