"""Two runs never work on one segment at once. Each rule holds on both databases."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest
import sqlalchemy

from reconciler.errors import LeaseLost, LockHeld
from reconciler.state.admin import unlock
from reconciler.state.ledger import Surroundings
from reconciler.state.machine import Linux, SystemClock, is_dead, this_machine
from tests.support.states import ACKNOWLEDGED, Bench, FakeMachine, add

NEIGHBOUR = FakeMachine(pid=200, running={100: "t100", 200: "t200"})
ELSEWHERE = FakeMachine(host="there", pid=300, running={300: "t300"})


def hold(stack: ExitStack, bench: Bench, machine: FakeMachine | None = None, *, lock_timeout: float = 0, run="run"):
    ledger = stack.enter_context(bench.ledger(machine=machine, lock_timeout=lock_timeout))
    return stack.enter_context(ledger.hold(bench.target(), run, None))


def end_lease(bench: Bench) -> None:
    """As if its holder had been silent for long, by the clock of whichever database it is."""
    bench.clock.time += 3600
    engine = sqlalchemy.create_engine(bench.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE reconcile_locks SET expires_at = 1")


@pytest.mark.parametrize("other", [NEIGHBOUR, ELSEWHERE], ids=["same host", "other host"])
def test_a_lock_that_is_held_is_refused_and_says_by_whom(bench: Bench, other):
    with ExitStack() as stack:
        ledger = stack.enter_context(bench.ledger())
        ledger.begin("run-1", "production", "apply", [], None)
        stack.enter_context(ledger.hold(bench.target(), "run-1", None))

        with pytest.raises(LockHeld) as caught, bench.ledger(machine=other) as second:
            with second.hold(bench.target(), "run-2", None):
                pass
    assert "`reconcile apply` (pid 100 on here)" in caught.value.holder
    assert "production/vip" in caught.value.message
    assert "--lock-timeout" in caught.value.hint


def test_a_lock_that_was_given_back_can_be_taken(bench: Bench):
    with ExitStack() as stack:
        hold(stack, bench)
    with ExitStack() as stack:
        hold(stack, bench, ELSEWHERE)


def test_other_segments_are_free(bench: Bench):
    with bench.ledger() as ledger, bench.ledger(machine=ELSEWHERE) as other:
        with ledger.hold(bench.target(56), "run", None), other.hold(bench.target(57), "run", None):
            pass


@pytest.mark.parametrize(
    "running",
    [{200: "t200"}, {100: "a later start", 200: "t200"}],
    ids=["no such process", "its pid was given to another"],
)
def test_the_lock_of_a_process_that_died_here_is_taken_over_at_once(bench: Bench, running):
    with ExitStack() as stack, ExitStack() as grave:
        dead = hold(grave, bench)
        hold(stack, bench, FakeMachine(pid=200, running=running))
        with pytest.raises(LeaseLost):
            dead.intend([add("a")])
        with pytest.raises(LeaseLost):
            grave.close()


@pytest.mark.parametrize(
    "machine",
    [
        FakeMachine(boot_id="boot-2", pid=300, running={300: "t300"}),
        FakeMachine(pid_namespace="pid:[2]", pid=300, running={300: "t300"}),
        ELSEWHERE,
    ],
    ids=["other boot", "other pid namespace", "other host"],
)
def test_a_process_that_cannot_be_seen_keeps_its_lock_until_its_lease_ends(bench: Bench, machine):
    with ExitStack() as stack, ExitStack() as grave:
        hold(grave, bench)
        with pytest.raises(LockHeld):
            hold(stack, bench, machine)
        end_lease(bench)
        hold(stack, bench, machine)
        with pytest.raises(LeaseLost):
            grave.close()


def test_who_lost_the_lock_can_write_nothing_more(bench: Bench):
    with ExitStack() as stack, ExitStack() as grave:
        first = hold(grave, bench)
        (seq,) = first.intend([add("a")])
        end_lease(bench)
        hold(stack, bench, ELSEWHERE)
        with pytest.raises(LeaseLost):
            first.settle([(seq, ACKNOWLEDGED)])
        assert not first.lease.covers(0)
        with pytest.raises(LeaseLost):
            grave.close()
    assert bench.look().marks == (("a", "unsettled", "add"),)


def test_leaving_late_does_not_give_back_what_somebody_else_holds(bench: Bench):
    with ExitStack() as outer, ExitStack() as inner:
        hold(inner, bench)
        end_lease(bench)
        hold(outer, bench, ELSEWHERE)
        with pytest.raises(LeaseLost):
            inner.close()
        with pytest.raises(LockHeld):
            hold(outer, bench)


def test_the_fence_rises_with_each_grant_and_survives_releases(bench: Bench):
    for _ in range(3):
        with ExitStack() as stack:
            hold(stack, bench)
    engine = sqlalchemy.create_engine(bench.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT fence, pid FROM reconcile_locks").all() == [(3, None)]


def rename(bench: Bench, table: str, name: str) -> None:
    engine = sqlalchemy.create_engine(bench.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_time_to_wait_is_waited_and_then_the_lock_is_refused(sqlite_bench: Bench):
    with ExitStack() as stack:
        hold(stack, sqlite_bench)
        with pytest.raises(LockHeld, match="waited 3 s"):
            hold(stack, sqlite_bench, NEIGHBOUR, lock_timeout=3)
    assert sum(sqlite_bench.clock.slept) == pytest.approx(3)


def test_a_lock_that_becomes_free_while_waiting_is_taken(sqlite_bench: Bench):
    with ExitStack() as stack:
        first = ExitStack()
        hold(first, sqlite_bench)
        clock = sqlite_bench.clock
        clock.sleep = lambda seconds: first.close()
        hold(stack, sqlite_bench, NEIGHBOUR, lock_timeout=3)


# --- the lease -------------------------------------------------------------------------------------------------------


def test_a_lease_covers_what_fits_into_its_minute(sqlite_bench: Bench):
    with ExitStack() as stack:
        lease = hold(stack, sqlite_bench).lease
        assert lease.covers(60)
        assert not lease.covers(61)
        sqlite_bench.clock.time += 50
        assert lease.covers(10)
        assert not lease.covers(11)


def test_a_lease_is_three_time_outs_if_that_is_longer(sqlite_bench: Bench):
    with sqlite_bench.ledger() as ledger:
        with ledger.hold(sqlite_bench.target(timeout=100), "run", None) as held:
            assert held.lease.covers(300)
            assert not held.lease.covers(301)


def test_a_heartbeat_extends_the_lease(bench: Bench):
    with ExitStack() as stack:
        lease = hold(stack, bench).lease
        bench.clock.time += 50
        bench.pulse.beats[0]()
        assert lease.covers(60)


def test_a_machine_that_slept_past_its_lease_has_lost_it_for_ever(bench: Bench):
    with ExitStack() as stack:
        lease = hold(stack, bench).lease
        bench.clock.time += 61
        assert not lease.covers(0)
        bench.pulse.beats[0]()
        assert not lease.covers(0)


def test_a_lease_ends_where_the_state_cannot_be_reached(sqlite_bench: Bench):
    with ExitStack() as stack:
        lease = hold(stack, sqlite_bench).lease
        rename(sqlite_bench, "reconcile_locks", "away")
        sqlite_bench.clock.time += 40
        sqlite_bench.pulse.beats[0]()
        assert lease.covers(20)
        assert not lease.covers(21)
        rename(sqlite_bench, "away", "reconcile_locks")


def test_a_broken_lock_is_told_and_its_holder_stops(bench: Bench):
    with ExitStack() as stack:
        held = hold(stack, bench, run="run-1")
        around = Surroundings(bench.clock, bench.machine)
        assert "pid 100 on here" in unlock(bench.settings, "production", 56, surroundings=around)
        assert unlock(bench.settings, "production", 56, surroundings=around) is None
        bench.pulse.beats[0]()
        assert not held.lease.covers(0)
        with pytest.raises(LeaseLost):
            held.complete()
        with pytest.raises(LeaseLost):
            stack.close()


# --- this machine ----------------------------------------------------------------------------------------------------


def test_this_process_is_alive_and_one_that_ended_is_dead():
    machine = this_machine()
    assert not is_dead(machine.me(), machine)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = machine.started(child.pid)
        other = type(machine.me())(**{**vars(machine.me()), "pid": child.pid, "started": started})
        assert not is_dead(other, machine)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(other, machine), "a zombie does nothing any more"
    assert is_dead(other, machine)


def test_a_process_whose_start_is_hidden_counts_as_alive():
    machine = FakeMachine(running={100: "t100", 7: ""})
    holder = type(machine.me())("here", "boot-1", "pid:[1]", 7, "t7")
    assert not is_dead(holder, machine)


def test_a_system_that_does_not_say_its_boot_knows_of_no_dead():
    machine = FakeMachine(boot_id="")
    holder = type(machine.me())("here", "", "pid:[1]", 7, "t7")
    assert not is_dead(holder, machine)


def test_the_clock_for_leases_counts_suspension():
    import time

    clock = SystemClock()
    assert abs(clock.boot() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    assert isinstance(this_machine(), Linux)
