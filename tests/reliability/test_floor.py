"""A disk that refuses writes, a state that is damaged, foreign or too new, and a restored backup."""

import itertools
import random
import re
import resource
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.models.results import RunStatus
from reconciler.state.schema import VERSION_TABLE
from tests.reliability.worlds import Planet, finish
from tests.support.project import Project, people, segment
from tests.support.states import StateFixture

FREE = "defaults: {guards: {max_removals: 100%, max_additions: 100000, allow_empty: true}}\n"
RESTORE = Path(__file__).parents[2] / "docs" / "restore.md"


# --- each write, one after another -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stays_full", [False, True], ids=["one write", "this and all later writes"])
def test_a_disk_that_refuses_the_nth_write_for_every_n_forgets_nothing(tmp_path: Path, stays_full: bool) -> None:
    for number in itertools.count(1):
        planet = Planet(StateFixture(f"sqlite:///{tmp_path}/{number}/.reconcile/state.db"), random.Random(number))
        planet.live("abcdef")
        failing = range(number, 10_000 if stays_full else number + 1)
        life, result = planet.live("defghi", failing=failing)  # what it claims and holds is checked inside
        if life.steps.count("before a write") < number:
            break
        if result is not None and result.status in (RunStatus.PARTIAL, RunStatus.FAILED):
            assert result.error is not None
            assert "disk of the state is full" in result.error.message
        finish(planet, "bcdhx")


# --- a real disk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [60_000, 130_000])
def test_a_file_that_cannot_grow_ends_the_run_with_words_and_the_next_run_converges(
    project: Project, room: int
) -> None:
    crowd = [f"q{number:05}" for number in range(12_000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.write({"vip": segment(56, "vip")}, more=FREE, settle=0.2)
    project.want("vip", crowd)
    child = subprocess.run(
        [sys.executable, "-c", "from reconciler.cli import main; main()", "apply", "spec.yaml"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert child.returncode in (1, 6), child.stdout + child.stderr
    assert "disk of the state" in child.stdout + child.stderr
    assert not re.search(r"q\d{5}", child.stdout + child.stderr)
    assert "Traceback" not in child.stderr

    project.want("vip", crowd[6_000:7_000])
    done = project.run("apply", "spec.yaml")
    assert done.code == 0, done.err
    assert project.sandbox.members(56) == project.stored("vip") == set(crowd[6_000:7_000])


# --- a state that can't be used --------------------------------------------------------------------------------------


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def write_over(file: Path) -> None:
    file.write_text("a list of groceries, long enough to be read as a header\n" * 100)


def fill_with_other_tables(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE customers (id)")
    connection.close()


def make_newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()


BROKEN = {
    "damaged": (cut_in_half, ("damaged",)),
    "no database": (write_over, ("not a state",)),
    "of something else": (fill_with_other_tables, ("other tables",)),
    "newer": (make_newer, ("9999", "newer version")),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_with_a_state_that_cannot_be_used_nothing_is_sent_and_the_file_is_left_alone(
    project: Project, broken: str
) -> None:
    project.write({"vip": segment(56, "vip")}, more=FREE)
    project.want("vip", people(*range(500)))
    assert project.run("apply", "spec.yaml").code == 0
    damage, words = BROKEN[broken]
    damage(project.state_file)
    before = project.state_file.read_bytes()
    project.sandbox.reset_calls()
    project.want("vip", people(*range(250, 750)))

    for command in ("plan", "apply", "refresh", "status"):
        ended = project.run(command, "spec.yaml", *(["--yes"] if command in ("apply", "refresh") else []))
        assert ended.code == 1, f"{command}: {ended.out}{ended.err}"
        for word in words:
            assert word in ended.out + ended.err, command
    assert project.sandbox.writes == []
    assert project.state_file.read_bytes() == before


def test_a_state_in_a_place_that_cannot_be_written_sends_nothing(project: Project) -> None:
    """/proc is a file system where nobody, not even root, makes a file."""
    project.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:////proc/reconcile/state.db'}\n")
    project.want("vip", people(*range(5)))
    ended = project.run("apply", "spec.yaml")
    assert ended.code == 1
    assert "state" in ended.err + ended.out
    assert project.sandbox.writes == []


# --- the drill -------------------------------------------------------------------------------------------------------


def read_drill(heading: str) -> list[list[str]]:
    """The commands below a heading of docs/restore.md."""
    section = RESTORE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, heading
    return [shlex.split(line) for line in block[1].splitlines()]


def follow(project: Project, heading: str) -> None:
    """Do what the page says, word by word."""
    for command, *words in read_drill(heading):
        match command:
            case "reconcile":
                done = project.run(*words)
                assert done.code == 0, done.out + done.err
            case _:
                raise AssertionError(f"the page tells to run {command}")


def test_the_drill_of_the_restore_page_loses_nobody(project: Project) -> None:
    project.write({"vip": segment(56, "vip")}, more=FREE)
    project.want("vip", people(*range(20)))
    assert project.run("apply", "spec.yaml").code == 0
    follow(project, "Make a backup")
    project.want("vip", people(*range(10, 40)))  # what the backup does not know
    assert project.run("apply", "spec.yaml").code == 0
    write_over(project.state_file)

    follow(project, "Restore it")
    project.want("vip", people(*range(15, 30)))
    assert project.run("apply", "spec.yaml").code == 0

    assert project.sandbox.members(56) == project.stored("vip") == set(people(*range(15, 30)))
