"""What cannot be taken back asks on a terminal, and needs --yes without one."""

import re
import signal

import pytest

from tests.e2e.test_locks import held
from tests.support.project import Project, people, segment
from tests.support.terminal import at_a_terminal

FINAL = {
    "forget": ("state", "forget", "SPEC", "vip"),
    "unlock": ("state", "unlock", "SPEC", "vip"),
    "unlock --force": ("state", "unlock", "SPEC", "vip", "--force"),
    "restore": ("state", "restore", "SPEC", "backup.db"),
    "refresh": ("refresh", "SPEC"),
}


@pytest.fixture
def filled(project: Project) -> Project:
    """Five people, applied, read back and backed up; two that the state does not know."""
    project.want("vip", people(*range(5)))
    project.write({"vip": segment(56, "vip")}, settle=0.2)
    assert project.run("apply", "spec.yaml").code == 0
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    assert project.run("state", "backup", "spec.yaml", "--to", "backup.db").code == 0
    project.sandbox.put_members(56, people(*range(7)))
    return project


def fill_in(name: str, spec: str = "spec.yaml") -> tuple[str, ...]:
    return tuple(spec if word == "SPEC" else word for word in FINAL[name])


# --- without a terminal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["spec.yaml", "nowhere.yaml"])
@pytest.mark.parametrize("name", FINAL)
def test_without_a_terminal_it_needs_yes_and_looks_at_nothing(filled: Project, name: str, spec: str) -> None:
    filled.sandbox.reset_calls()

    for typed in ("", "yes\n"):
        done = filled.run(*fill_in(name, spec), stdin=typed)

        assert done.code == 64
        assert "give --yes" in done.err
        assert spec not in done.err
    assert filled.sandbox.calls == []
    assert filled.stored("vip") == set(people(*range(5)))


@pytest.mark.parametrize("name", ["forget", "restore", "refresh"])
def test_without_a_terminal_yes_is_enough(filled: Project, name: str) -> None:
    done = filled.run(*fill_in(name), "--yes")

    assert done.code == 0, done.err
    assert "yes/no" not in done.err


# --- on a terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["forget", "restore", "refresh"])
@pytest.mark.parametrize("answer", ["no", "", "nope"])
def test_no_is_1_and_nothing_is_changed(filled: Project, name: str, answer: str) -> None:
    before = filled.state_file.read_bytes()

    done = at_a_terminal(filled, *fill_in(name), says=answer)

    assert done.code == 1
    assert "not confirmed" in done.out + done.err
    assert filled.stored("vip") == set(people(*range(5)))
    if name != "refresh":  # its run stands in the history
        assert filled.state_file.read_bytes() == before


@pytest.mark.parametrize(("name", "members"), [("forget", 5), ("restore", 5), ("refresh", 7)])
def test_the_question_names_the_segment_its_title_and_how_many_members_it_has(
    filled: Project, name: str, members: int
) -> None:
    done = at_a_terminal(filled, *fill_in(name), "--quiet", says="no")

    assert done.code == 1
    assert f'default/vip (segment 56, "VIP", {members} members)' in done.err
    assert done.err.count("[yes/no]") == 1


def test_yes_forgets(filled: Project) -> None:
    done = at_a_terminal(filled, *fill_in("forget"), says="yes")

    assert done.code == 0, done.err
    assert filled.json("status").segments["vip"]["members"] is None
    assert filled.sandbox.members(56) == set(people(*range(7)))


def test_yes_restores(filled: Project) -> None:
    filled.want("vip", people(*range(6)))
    assert filled.run("apply", "spec.yaml").code == 0

    done = at_a_terminal(filled, *fill_in("restore"), says="yes")

    assert done.code == 0, done.err
    assert 'default/vip (segment 56, "VIP", 6 members)' in done.err
    assert "The backup backup.db holds 1 segment, 5 members." in done.err
    assert filled.stored("vip") == set(people(*range(5)))


def test_a_restore_over_nothing_or_over_an_unreadable_state_asks_too(filled: Project) -> None:
    filled.state_file.write_text("no database, but long enough for one to read a header from it " * 100)
    damaged = at_a_terminal(filled, *fill_in("restore"), says="no")
    filled.state_file.unlink()
    missing = at_a_terminal(filled, *fill_in("restore"), says="no")

    assert (damaged.code, missing.code) == (1, 1)
    assert damaged.err.count("[yes/no]") <= 1
    assert missing.err.count("[yes/no]") == 1
    assert not filled.state_file.exists()


def test_a_segment_that_is_not_known_is_not_asked_about(filled: Project) -> None:
    done = at_a_terminal(filled, "state", "forget", "spec.yaml", "id:99", says="yes")

    assert done.code == 1
    assert "knows no segment 99" in done.err
    assert "yes/no" not in done.err


# --- unlock ----------------------------------------------------------------------------------------------------------


def test_the_lock_of_a_living_run_is_broken_by_force_alone(filled: Project) -> None:
    filled.want("vip", people(*range(10)))
    filled.write({"vip": segment(56, "vip")}, settle=0.2, timeout=30)
    with held(filled) as (process, _):
        piped = filled.run(*fill_in("unlock"), stdin="yes\n")
        refused = filled.run(*fill_in("unlock"), "--yes")
        asked = at_a_terminal(filled, *fill_in("unlock"), says="yes")
        declined = at_a_terminal(filled, *fill_in("unlock --force"), says="no")
        kept = filled.json("status").segments["vip"]["lock_holder"]
        broken = filled.run(*fill_in("unlock --force"), "--yes")
        freed = filled.json("status").segments["vip"]["lock_holder"]

    assert (piped.code, refused.code, asked.code, declined.code, broken.code) == (64, 1, 1, 1, 0)
    for each in (refused, asked):
        assert f"stays locked: its run is alive: `reconcile apply` (pid {process.pid} on " in each.err
        assert "yes/no" not in each.err
    assert re.search(
        r'default/vip \(segment 56, "VIP", 5 members.*\)\? It is held by .*pid.*; its run is alive', declined.err
    )
    assert str(process.pid) in kept
    assert freed is None


def test_the_lock_of_a_dead_run_is_broken_after_a_yes(filled: Project) -> None:
    filled.want("vip", people(*range(10)))
    filled.write({"vip": segment(56, "vip")}, settle=0.2, timeout=30)
    with held(filled) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        declined = at_a_terminal(filled, *fill_in("unlock"), says="no")
        done = filled.run(*fill_in("unlock"), "--yes")

    assert (declined.code, done.code) == (1, 0)
    assert declined.err.count("[yes/no]") == 1
    assert f"pid {process.pid}" in done.out


def test_a_lock_that_nobody_holds_is_no_question(filled: Project) -> None:
    done = at_a_terminal(filled, *fill_in("unlock"), says="no")

    assert done.code == 0
    assert "Nobody holds the lock" in done.out
    assert "yes/no" not in done.err
