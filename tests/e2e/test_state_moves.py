"""A state that is put back from a backup, and one that moves to another database."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.project import Project, people, segment


@pytest.fixture
def filled(project: Project) -> Project:
    """Twenty people, applied."""
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    return project


@pytest.fixture
def backed_up(filled: Project) -> Project:
    """A backup of twenty; since then ten more."""
    assert filled.run("state", "backup", "spec.yaml", "--to", "backup.db").code == 0
    filled.want("vip", people(*range(30)))
    assert filled.run("apply", "spec.yaml").code == 0
    return filled


def side_files(project: Project) -> list[str]:
    return sorted(path.name for path in project.state_file.parent.iterdir() if path.name != "state.db")


@pytest.mark.parametrize("verb", ["copy", "backup"])
def test_a_file_of_one_byte_is_not_replaced(filled: Project, verb: str) -> None:
    other = filled.folder / "other"
    other.write_text("x")

    to = "sqlite:///other" if verb == "copy" else "other"
    assert filled.run("state", verb, "spec.yaml", "--to", to).code == 64
    assert other.read_text() == "x"


# --- restore ---------------------------------------------------------------------------------------------------------


def test_a_backup_says_how_it_is_restored(filled: Project) -> None:
    done = filled.run("state", "backup", "spec.yaml", "--to", "backup.db")

    assert "reconcile state restore spec.yaml backup.db" in done.out


def test_a_backup_takes_the_place_of_the_state_and_the_wal_is_gone(backed_up: Project) -> None:
    done = backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes")

    assert done.code == 0, done.err
    assert "reconcile refresh spec.yaml" in done.out
    assert side_files(backed_up) in ([], [".gitignore"])
    assert backed_up.state_file.stat().st_mode & 0o777 == 0o600
    assert backed_up.stored("vip") == set(people(*range(20)))


def test_what_a_killed_run_left_beside_the_state_is_not_mixed_in(backed_up: Project) -> None:
    backed_up.want("vip", people(*range(40)))
    backed_up.hit("apply", "spec.yaml", "--yes", at=lambda call: call.method == "POST", applied=True)
    assert "state.db-wal" in side_files(backed_up)

    assert backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0

    assert "state.db-wal" not in side_files(backed_up)
    assert backed_up.stored("vip") == set(people(*range(20)))
    with closing(sqlite3.connect(backed_up.state_file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_until_a_refresh_plan_apply_and_status_warn(backed_up: Project) -> None:
    assert backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0

    for command in ("plan", "apply", "status"):
        warnings = backed_up.json(command).document["warnings"]
        assert any("default/vip" in text and "restored" in text and "refresh" in text for text in warnings), command
    assert backed_up.run("refresh", "spec.yaml", "--yes").code == 0
    for command in ("plan", "apply", "status"):
        assert not any("restored" in text for text in backed_up.json(command).document["warnings"]), command


def test_a_restored_segment_is_warned_of_whatever_else_is_wrong_with_it(filled: Project) -> None:
    filled.want("vip", people(*range(22)))
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    assert filled.run("state", "backup", "spec.yaml", "--to", "backup.db").code == 0
    assert filled.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0

    sealed = filled.run("apply", "sealed.plan")
    filled.write({"vip": segment(56, "vip", "paused: true")})
    paused = filled.run("apply", "spec.yaml")
    filled.write({"vip": segment(56, "nothing_of_this_name")})
    planned, applied = filled.run("plan", "spec.yaml"), filled.run("apply", "spec.yaml")

    assert (sealed.code, paused.code, planned.code, applied.code) == (4, 0, 1, 1)
    for each in (sealed, paused, planned, applied):
        assert "default/vip: its state was restored from a backup" in each.err


def test_after_a_restore_and_a_refresh_the_segment_is_equal_to_the_query(backed_up: Project) -> None:
    backed_up.want("vip", people(*range(5, 25)))

    assert backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0
    assert backed_up.run("refresh", "spec.yaml", "--yes").code == 0
    assert backed_up.run("apply", "spec.yaml", "--allow-removals", "vip").code == 0

    assert backed_up.sandbox.members(56) == set(people(*range(5, 25)))


@pytest.mark.parametrize("sealed", ["before the backup", "after it"])
def test_plan_files_from_before_are_stale(filled: Project, sealed: str) -> None:
    filled.want("vip", people(*range(22)))
    if sealed == "before the backup":
        assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    assert filled.run("state", "backup", "spec.yaml", "--to", "backup.db").code == 0
    if sealed == "after it":
        assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    assert filled.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0
    sent = len(filled.sandbox.writes)

    assert filled.run("apply", "sealed.plan").code == 4

    assert len(filled.sandbox.writes) == sent


def test_without_a_terminal_it_needs_yes_and_looks_at_nothing(backed_up: Project) -> None:
    done = backed_up.run("state", "restore", "nowhere.yaml", "nothing.db")

    assert done.code == 64
    assert "--yes" in done.err


@pytest.mark.parametrize("file", ["nothing.db", ".", ".reconcile/state.db"])
def test_what_can_be_no_backup_is_a_usage_error(backed_up: Project, file: str) -> None:
    done = backed_up.run("state", "restore", "spec.yaml", file, "--yes")

    assert done.code == 64, done.err
    assert backed_up.stored("vip") == set(people(*range(30)))


def spoil_text(path: Path) -> None:
    path.write_text("no database")


def spoil_tables(path: Path) -> None:
    shutil.copy(path.parent / "warehouse.db", path)


def spoil_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE reconcile_version SET version_num = '9999'")


def spoil_pages(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * 4096 + whole[8192:])


@pytest.mark.parametrize("spoil", [spoil_text, spoil_tables, spoil_version, spoil_pages])
def test_what_is_no_state_that_we_know_replaces_none(backed_up: Project, spoil) -> None:
    spoil(backed_up.folder / "backup.db")

    done = backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes")

    assert done.code == 1
    assert "Traceback" not in done.err
    assert backed_up.stored("vip") == set(people(*range(30)))
    assert [name for name in side_files(backed_up) if name.startswith(".state.db")] == []


def test_a_state_that_is_damaged_is_replaced_and_set_aside(backed_up: Project) -> None:
    spoil_text(backed_up.state_file)

    done = backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes")

    assert done.code == 0, done.err
    assert "state.db.damaged-" in done.err
    assert backed_up.stored("vip") == set(people(*range(20)))
    aside = next(backed_up.state_file.parent.glob("state.db.damaged-*"))
    assert aside.read_text() == "no database"


def test_a_database_of_something_else_is_not_replaced(backed_up: Project) -> None:
    backed_up.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///warehouse.db'}\n")
    before = (backed_up.folder / "warehouse.db").read_bytes()

    done = backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes")

    assert done.code == 1
    assert (backed_up.folder / "warehouse.db").read_bytes() == before


def test_a_state_that_is_missing_is_restored(backed_up: Project) -> None:
    """With a -wal of a state that somebody has deleted."""
    shutil.rmtree(backed_up.state_file.parent)
    backed_up.state_file.parent.mkdir()
    backed_up.state_file.with_name("state.db-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(4096))

    assert backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0

    assert backed_up.stored("vip") == set(people(*range(20)))


def test_while_a_run_is_alive_nothing_is_restored(backed_up: Project) -> None:
    codes = []

    def restore(call) -> None:
        if call.method == "POST" and not codes:
            codes.append(backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes").code)

    backed_up.want("vip", people(*range(35)))
    backed_up.sandbox.on_arrival(restore)
    process = backed_up.start("apply", "spec.yaml")
    process.communicate(timeout=120)

    assert codes == [5]
    assert process.returncode == 0
    assert backed_up.stored("vip") == set(people(*range(35)))


def test_while_another_program_has_the_state_open_nothing_is_restored(backed_up: Project) -> None:
    with closing(sqlite3.connect(backed_up.state_file)) as connection:
        connection.execute("SELECT count(*) FROM reconcile_segments").fetchone()
        done = backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes")

    assert done.code == 1
    assert backed_up.stored("vip") == set(people(*range(30)))


def test_a_state_in_postgresql_is_restored_with_its_own_tools(backed_up: Project, postgres_url: str) -> None:
    backed_up.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")

    done = backed_up.run("state", "restore", "spec.yaml", "backup.db", "--yes")

    assert done.code == 64
    assert "pg_restore" in done.err


KILLED = """
import os, signal, sys
from pathlib import Path
from reconciler.cli import main
from reconciler.state import {module} as module
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
real = {owner}.{name}
def call(*arguments, **more):
    if {before}:
        die()
    done = real(*arguments, **more)
    die()
{owner}.{name} = call
main()
"""


def run_to_death(project: Project, module: str, owner: str, name: str, before: bool, *words: str) -> None:
    script = KILLED.format(module=module, owner=owner, name=name, before=before)
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=project.folder, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("owner", "name", "before", "members"),
    [
        ("module", "_prepare", True, 30),
        ("module", "_prepare", False, 30),
        ("module", "refuse_live_locks", False, 30),
        ("module.Path", "replace", True, 30),
        ("module.Path", "replace", False, 20),
        ("module", "sync_folder", True, 20),
    ],
)
def test_killed_at_any_moment_the_old_state_or_the_new_one_is_there(
    backed_up: Project, owner: str, name: str, before: bool, members: int
) -> None:
    words = ("state", "restore", "spec.yaml", "backup.db", "--yes")

    run_to_death(backed_up, "restore", owner, name, before, *words)

    assert backed_up.stored("vip") == set(people(*range(members)))
    assert backed_up.run(*words).code == 0
    assert backed_up.stored("vip") == set(people(*range(20)))


# --- a state that moved ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/team/state.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.mark.parametrize("folder", ["new", "new #1: ${HOME} 100%"])
def test_a_copy_to_a_relative_file_says_the_url_that_a_spec_elsewhere_finds_it_by(
    project: Project, folder: str
) -> None:
    project.want("vip", people(*range(20)))
    vip, warehouse = segment(56, "vip"), f"sqlite:///{project.folder}/warehouse.db"
    spec = project.write({"vip": vip}, name="specs/a.yaml")
    spec.write_text(spec.read_text().replace("sqlite:///warehouse.db", warehouse))
    assert project.run("apply", "specs/a.yaml").code == 0

    to = folder.replace("%", "%25")
    copied = project.run("state", "copy", "specs/a.yaml", "--to", f"sqlite:///{to}/copy.db")
    said = next(line.strip() for line in copied.out.splitlines() if line.startswith("  sqlite:"))
    spec.write_text(spec.read_text() + f"state:\n  url: {said}\n")
    planned = project.run("plan", "specs/a.yaml", "--format", "json")

    assert said.startswith(f"sqlite:///{project.folder}/new")
    assert (planned.code, planned.segments["vip"]["stored"]) == (0, 20), planned.err


def test_a_backup_of_a_server_says_how_it_is_put_back(filled: Project, postgres_url: str) -> None:
    filled.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")
    assert filled.run("apply", "spec.yaml").code == 0

    done = filled.run("state", "backup", "spec.yaml", "--to", "50% 1.db")

    url = f"sqlite:///{filled.folder.resolve()}/50%25%201.db"
    assert f"set `state.url` to {url} for this command:\n  reconcile state copy spec.yaml --to URL\n" in done.out
    assert "state restore" not in done.out
    filled.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{url}'}}\n")
    assert filled.stored("vip") == set(people(*range(20)))


def test_a_copy_to_a_server_repeats_no_url(filled: Project, postgres_url: str) -> None:
    copied = filled.run("state", "copy", "spec.yaml", "--to", postgres_url)

    assert "the URL that you gave to `--to`" in copied.out
    assert "://" not in copied.out


def test_a_place_to_copy_to_that_nobody_reaches_is_told_as_that_of_the_flag(filled: Project) -> None:
    refused = filled.run("state", "copy", "spec.yaml", "--to", "postgresql://u:secret@127.0.0.1:1/x")

    assert refused.code == 1
    assert "error: --to: " in refused.err
    assert "check `--to`" in refused.err
    assert "state.url" not in refused.err


def test_a_place_to_copy_to_that_may_not_be_written_is_told_as_that_of_the_flag(
    filled: Project, postgres_url: str
) -> None:
    refused = filled.run(
        "state", "copy", "spec.yaml", "--to", f"{postgres_url}&options=-csearch_path%3Dnone_of_this_name"
    )

    assert refused.code == 1
    assert "error: --to: " in refused.err
    assert "state.url" not in refused.err


@pytest.mark.parametrize("there", ["sqlite", "postgresql"], indirect=True)
def test_a_state_that_has_moved_is_told_as_that_of_the_spec(filled: Project, there: str) -> None:
    assert filled.run("state", "copy", "spec.yaml", "--to", there).code == 0

    for to in (there, "sqlite:///third.db"):
        again = filled.run("state", "copy", "spec.yaml", "--to", to)

        assert again.code == 1
        assert "the state has moved to" in again.err
        assert "set `state.url` to where it is now" in again.err
        assert "--to" not in again.err
    assert not (filled.folder / "third.db").exists()


@pytest.mark.parametrize("there", ["sqlite", "postgresql"], indirect=True)
def test_the_old_place_says_where_the_state_is_now(filled: Project, there: str) -> None:
    assert filled.run("state", "copy", "spec.yaml", "--to", there).code == 0
    sent = len(filled.sandbox.writes)
    filled.want("vip", people(*range(40)))

    for words in (
        ["plan"], ["apply"], ["status"], ["drift"], ["history"], ["refresh", "--yes"],
    ):  # fmt: skip
        done = filled.run(words[0], "spec.yaml", *words[1:])
        assert done.code == 1, words
        assert "has moved to" in done.out + done.err, words
    for verb in (["show", "vip"], ["forget", "vip", "--yes"], ["backup", "--to", "b.db"], ["copy", "--to", there]):
        done = filled.run("state", verb[0], "spec.yaml", *verb[1:])
        assert done.code in (1, 64), verb
        assert "has moved to" in done.err, verb
    assert len(filled.sandbox.writes) == sent
    assert "password" not in done.err


def test_a_state_that_leaves_postgresql_closes_it(filled: Project, postgres_url: str) -> None:
    assert filled.run("state", "copy", "spec.yaml", "--to", postgres_url).code == 0
    filled.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")
    back = f"sqlite:///{filled.folder / 'back.db'}"

    assert filled.run("state", "copy", "spec.yaml", "--to", back).code == 0

    done = filled.run("plan", "spec.yaml")
    assert done.code == 1
    assert f"has moved to {filled.folder / 'back.db'}" in done.out + done.err


@pytest.mark.parametrize("there", ["sqlite", "postgresql"], indirect=True)
def test_a_move_that_was_killed_before_the_old_place_was_closed_is_finished_by_the_next(
    filled: Project, there: str
) -> None:
    run_to_death(filled, "admin", "module", "break_locks", True, "state", "copy", "spec.yaml", "--to", there)
    assert filled.stored("vip") == set(people(*range(20)))

    assert filled.run("state", "copy", "spec.yaml", "--to", there).code == 0

    assert "has moved to" in filled.run("plan", "spec.yaml").err
    filled.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{there}'}}\n")
    assert filled.json("plan").segments["vip"]["status"] == "unchanged"


def test_a_move_that_was_killed_and_overtaken_is_refused(filled: Project) -> None:
    there = f"sqlite:///{filled.folder / 'team.db'}"
    run_to_death(filled, "admin", "module", "break_locks", True, "state", "copy", "spec.yaml", "--to", there)
    filled.want("vip", people(*range(21)))
    assert filled.run("apply", "spec.yaml").code == 0

    assert filled.run("state", "copy", "spec.yaml", "--to", there).code == 64

    assert filled.stored("vip") == set(people(*range(21)))


# --- a forget that was cut short -------------------------------------------------------------------------------------


def test_what_a_killed_forget_has_left_is_swept_by_the_next_command_that_writes(filled: Project) -> None:
    filled.want("churn", people(50, 51))
    filled.write({"vip": segment(56, "vip"), "churn": segment(57, "churn")})
    run_to_death(filled, "admin", "module", "sweep", True, "state", "forget", "spec.yaml", "vip", "--yes")
    assert count_members(filled) == 20

    assert filled.run("apply", "spec.yaml", "--select", "churn").code == 0

    assert count_members(filled) == 2


def count_members(project: Project) -> int:
    with closing(sqlite3.connect(project.state_file)) as connection:
        number: int = connection.execute("SELECT count(*) FROM reconcile_members").fetchone()[0]
        return number


# --- what git sees ---------------------------------------------------------------------------------------------------


def seen_by_git(folder: Path) -> set[str]:
    """The files of a work tree that `git add .` would take."""
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    listed = ["git", "ls-files", "--others", "--exclude-standard"]
    return set(subprocess.run(listed, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines())


MINE = {"spec.yaml", "warehouse.db"}


def test_a_backup_lies_next_to_the_state_where_git_does_not_see_it(filled: Project) -> None:
    done = filled.run("state", "backup", "spec.yaml")

    assert done.code == 0, done.err
    (copy,) = filled.state_file.parent.glob("reconcile-state-*.db")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert f"reconcile state restore spec.yaml .reconcile/{copy.name}" in done.out
    assert seen_by_git(filled.folder) == MINE


def test_a_backup_of_no_state_makes_nothing(project: Project) -> None:
    project.write({"vip": segment(56, "vip")})

    done = project.run("state", "backup", "spec.yaml")

    assert done.code == 1
    assert "there is no state" in done.err
    assert not project.state_file.parent.exists()


def test_a_backup_of_a_postgres_state_needs_a_place(project: Project, postgres_url: str) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")
    assert project.run("apply", "spec.yaml").code == 0

    refused = project.run("state", "backup", "spec.yaml")
    done = project.run("state", "backup", "spec.yaml", "--to", "backup.db")

    assert refused.code == 64
    assert "--to" in refused.err
    assert "pg_dump" in refused.err
    assert done.code == 0, done.err
    assert seen_by_git(project.folder) == {*MINE, "backup.db"}


@pytest.mark.parametrize("words", [("apply", "spec.yaml"), ("refresh", "spec.yaml", "--yes")], ids=" ".join)
def test_git_sees_nothing_of_a_folder_that_a_run_makes_for_the_state(project: Project, words: tuple[str, ...]) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///made/for/it/state.db'}\n")

    assert project.run(*words).code == 0

    assert (project.folder / "made/for/it/state.db").exists()
    assert seen_by_git(project.folder) == MINE


def test_git_sees_nothing_of_a_folder_that_a_copy_or_a_restore_makes(filled: Project) -> None:
    assert filled.run("state", "backup", "spec.yaml").code == 0
    (copy,) = filled.state_file.parent.glob("reconcile-state-*.db")
    filled.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///made/state.db'}\n", name="other.yaml")

    assert filled.run("state", "restore", "other.yaml", copy, "--yes").code == 0
    assert filled.run("state", "copy", "spec.yaml", "--to", "sqlite:///moved/state.db").code == 0

    assert (filled.folder / "made" / "state.db").exists()
    assert (filled.folder / "moved" / "state.db").exists()
    assert seen_by_git(filled.folder) == {*MINE, "other.yaml"}


def test_the_default_folder_is_hidden_from_git_also_if_it_was_there_before(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})
    project.state_file.parent.mkdir()

    assert project.run("apply", "spec.yaml").code == 0

    assert seen_by_git(project.folder) == MINE


def test_a_gitignore_of_the_users_own_is_kept(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})
    project.state_file.parent.mkdir()
    (project.state_file.parent / ".gitignore").write_text("# mine\n*.db\n")

    assert project.run("apply", "spec.yaml").code == 0

    assert (project.state_file.parent / ".gitignore").read_text() == "# mine\n*.db\n"


def test_any_other_folder_that_was_there_before_is_left_as_it_is(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///data/state.db'}\n")
    (project.folder / "data").mkdir(mode=0o755)

    assert project.run("apply", "spec.yaml").code == 0
    assert project.run("state", "backup", "spec.yaml").code == 0

    assert (project.folder / "data").stat().st_mode & 0o777 == 0o755
    assert not (project.folder / "data" / ".gitignore").exists()


def test_reading_commands_make_no_folder(project: Project) -> None:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})

    for command in ("validate", "plan", "status", "history"):
        assert project.run(command, "spec.yaml").code == 0

    assert not project.state_file.parent.exists()
