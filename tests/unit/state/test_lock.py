"""Two runs never work on one segment at once. Each rule holds on both databases."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack

import pytest
import sqlalchemy

from reconciler.clock import Clock
from reconciler.errors import LeaseLost, LockHeld, StateError
from reconciler.state.admin import FoundLock, find_lock, unlock
from reconciler.state.lock import find_terms
from reconciler.state.runtime import Processes, Runtime, is_dead
from tests.support.states import ACKNOWLEDGED, FakeMachine, StateFixture, add, remove, unknown

NEIGHBOUR = FakeMachine(pid=200, running={100: "t100", 200: "t200"})
ELSEWHERE = FakeMachine(host="there", pid=300, running={300: "t300"})


def hold(
    stack: ExitStack, state: StateFixture, machine: FakeMachine | None = None, *, lock_timeout: float = 0, run="run"
):
    store = stack.enter_context(state.store(machine=machine, lock_timeout=lock_timeout))
    return stack.enter_context(store.lock(state.target(), run, "apply", None))


def end_lease(state: StateFixture) -> None:
    """As if its holder had been silent for long, by the clock of whichever database it is."""
    state.clock.time += 3600
    engine = sqlalchemy.create_engine(state.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE reconcile_locks SET expires_at = 1")


@pytest.mark.parametrize("other", [NEIGHBOUR, ELSEWHERE], ids=["same host", "other host"])
def test_a_lock_that_is_held_is_refused_and_says_by_whom(state: StateFixture, other):
    with ExitStack() as stack:
        store = stack.enter_context(state.store())
        store.begin("run-1", "production", "apply", [], None)
        stack.enter_context(store.lock(state.target(), "run-1", "apply", None))

        with pytest.raises(LockHeld) as caught, state.store(machine=other) as second:
            with second.lock(state.target(), "run-2", "apply", None):
                pass
    assert "`reconcile apply` (pid 100 on here)" in caught.value.holder
    assert caught.value.message.startswith("locked by ")
    assert caught.value.shared == "locked by `reconcile apply` (pid 100 on here)", "the same for all that it has locked"
    assert "`reconcile state unlock SPEC NAME`" in caught.value.hint, "a command that knows the spec fills it in"
    assert "--lock-timeout" in caught.value.hint


def test_a_lock_that_was_given_back_can_be_taken(state: StateFixture):
    with ExitStack() as stack:
        hold(stack, state)
    with ExitStack() as stack:
        hold(stack, state, ELSEWHERE)


def test_other_segments_are_free(state: StateFixture):
    with state.store() as store, state.store(machine=ELSEWHERE) as other:
        with store.lock(state.target(56), "run", "apply", None), other.lock(state.target(57), "run", "apply", None):
            pass


@pytest.mark.parametrize(
    "running",
    [{200: "t200"}, {100: "a later start", 200: "t200"}],
    ids=["no such process", "its pid was given to another"],
)
def test_the_lock_of_a_process_that_died_here_is_taken_over_at_once(state: StateFixture, running):
    with ExitStack() as stack, ExitStack() as dead_run:
        dead = hold(dead_run, state)
        hold(stack, state, FakeMachine(pid=200, running=running))
        with pytest.raises(LeaseLost):
            dead.intend([add("a")])
        with pytest.raises(LeaseLost):
            dead_run.close()


@pytest.mark.parametrize(
    "machine",
    [
        FakeMachine(boot_id="boot-2", pid=300, running={300: "t300"}),
        FakeMachine(pid_namespace="pid:[2]", pid=300, running={300: "t300"}),
        ELSEWHERE,
    ],
    ids=["other boot", "other pid namespace", "other host"],
)
def test_a_process_that_cannot_be_seen_keeps_its_lock_until_its_lease_ends(state: StateFixture, machine):
    with ExitStack() as stack, ExitStack() as dead_run:
        hold(dead_run, state)
        with pytest.raises(LockHeld):
            hold(stack, state, machine)
        end_lease(state)
        hold(stack, state, machine)
        with pytest.raises(LeaseLost):
            dead_run.close()


def test_a_run_that_lost_its_lock_can_write_nothing_more(state: StateFixture):
    with ExitStack() as stack, ExitStack() as dead_run:
        first = hold(dead_run, state)
        (seq,) = first.intend([add("a")])
        end_lease(state)
        hold(stack, state, ELSEWHERE)
        with pytest.raises(LeaseLost):
            first.settle([(seq, ACKNOWLEDGED)])
        assert not first.lease.covers(0)
        with pytest.raises(LeaseLost):
            dead_run.close()
    assert state.look().marks == (("a", "unsettled", "add"),)


def test_leaving_late_does_not_give_back_what_somebody_else_holds(state: StateFixture):
    with ExitStack() as outer, ExitStack() as inner:
        hold(inner, state)
        end_lease(state)
        hold(outer, state, ELSEWHERE)
        with pytest.raises(LeaseLost):
            inner.close()
        with pytest.raises(LockHeld):
            hold(outer, state)


def test_the_fence_rises_with_each_grant_and_survives_releases(state: StateFixture):
    for _ in range(3):
        with ExitStack() as stack:
            hold(stack, state)
    engine = sqlalchemy.create_engine(state.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT fence, pid FROM reconcile_locks").all() == [(3, None)]


def rename(state: StateFixture, table: str, name: str) -> None:
    engine = sqlalchemy.create_engine(state.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_time_to_wait_is_waited_and_then_the_lock_is_refused(sqlite_state: StateFixture):
    with ExitStack() as stack:
        hold(stack, sqlite_state)
        with pytest.raises(LockHeld, match="waited 3 s"):
            hold(stack, sqlite_state, NEIGHBOUR, lock_timeout=3)
    assert sum(sqlite_state.clock.slept) == pytest.approx(3)


def test_a_lock_that_becomes_free_while_waiting_is_taken(sqlite_state: StateFixture):
    with ExitStack() as stack:
        first = ExitStack()
        hold(first, sqlite_state)
        clock = sqlite_state.clock
        clock.sleep = lambda seconds: first.close()
        hold(stack, sqlite_state, NEIGHBOUR, lock_timeout=3)


# --- the lease -------------------------------------------------------------------------------------------------------


def test_a_lease_covers_what_fits_into_its_minute(sqlite_state: StateFixture):
    with ExitStack() as stack:
        lease = hold(stack, sqlite_state).lease
        assert lease.covers(60)
        assert not lease.covers(61)
        sqlite_state.clock.time += 50
        assert lease.covers(10)
        assert not lease.covers(11)


def test_a_lease_is_three_time_outs_if_that_is_longer(sqlite_state: StateFixture):
    with sqlite_state.store() as store:
        with store.lock(sqlite_state.target(timeout=100), "run", "apply", None) as segment:
            assert segment.lease.covers(300)
            assert not segment.lease.covers(301)


def test_a_heartbeat_extends_the_lease(state: StateFixture):
    with ExitStack() as stack:
        lease = hold(stack, state).lease
        state.clock.time += 50
        state.pulse.beats[0]()
        assert lease.covers(60)


def test_a_machine_that_slept_past_its_lease_has_lost_it_for_ever(state: StateFixture):
    with ExitStack() as stack:
        lease = hold(stack, state).lease
        state.clock.time += 61
        assert not lease.covers(0)
        state.pulse.beats[0]()
        assert not lease.covers(0)


def test_a_lease_ends_where_the_state_cannot_be_reached(sqlite_state: StateFixture):
    with ExitStack() as stack:
        lease = hold(stack, sqlite_state).lease
        rename(sqlite_state, "reconcile_locks", "away")
        sqlite_state.clock.time += 40
        sqlite_state.pulse.beats[0]()
        assert lease.covers(20)
        assert not lease.covers(21)
        rename(sqlite_state, "away", "reconcile_locks")


def test_a_broken_lock_is_told_and_its_holder_stops(state: StateFixture):
    with ExitStack() as stack:
        segment = hold(stack, state, run="run-1")
        around = Runtime(state.clock, state.machine)
        assert "pid 100 on here" in unlock(state.settings, "production", 56, runtime=around)
        assert unlock(state.settings, "production", 56, runtime=around) is None
        state.pulse.beats[0]()
        assert not segment.lease.covers(0)
        with pytest.raises(LeaseLost):
            segment.complete()
        with pytest.raises(LeaseLost):
            stack.close()


# --- what may be unlocked --------------------------------------------------------------------------------------------

AFTERWARDS = FakeMachine(pid=200, running={200: "t200"})
"""The same machine once the process 100 has ended."""

ANOTHER_TIME = FakeMachine(pid=200, running={100: "t999", 200: "t200"})
"""The pid 100 belongs to another process by now."""


def look_at_lock(state: StateFixture, machine: FakeMachine) -> FoundLock | None:
    return find_lock(state.settings, "production", 56, runtime=Runtime(state.clock, machine))


@pytest.mark.parametrize("is_over", [False, True], ids=["within its lease", "after its lease"])
def test_a_holder_that_runs_counts_as_alive_also_after_its_lease(state: StateFixture, is_over: bool):
    with ExitStack() as stack:
        hold(stack, state)
        if is_over:
            end_lease(state)
        found = look_at_lock(state, NEIGHBOUR)
        assert found.life == "its run is alive"
        assert found.holder.startswith("`reconcile apply` (pid 100 on here)")


def test_a_holder_that_cannot_be_seen_may_be_alive_until_its_lease_ends(state: StateFixture):
    with ExitStack() as stack:
        hold(stack, state)
        assert re.fullmatch(
            r"its run may be alive, as its lease lasts (59|60) s more", look_at_lock(state, ELSEWHERE).life
        )
        end_lease(state)
        assert look_at_lock(state, ELSEWHERE).life == ""


@pytest.mark.parametrize("machine", [AFTERWARDS, ANOTHER_TIME], ids=["no process", "another process"])
def test_a_holder_that_is_dead_for_certain_counts_as_dead(state: StateFixture, machine: FakeMachine):
    with ExitStack() as stack:
        hold(stack, state)
        assert look_at_lock(state, machine).life == ""


def test_a_lock_that_another_run_has_taken_since_is_not_broken(state: StateFixture):
    with ExitStack() as stack:
        hold(stack, state)
        found = look_at_lock(state, NEIGHBOUR)
        unlock(state.settings, "production", 56, runtime=Runtime(state.clock, NEIGHBOUR))
        with state.store(machine=NEIGHBOUR) as store, store.lock(state.target(), "run-2", "apply", None) as other:
            with pytest.raises(StateError, match="another run has taken the lock meanwhile"):
                unlock(state.settings, "production", 56, found=found, runtime=Runtime(state.clock, NEIGHBOUR))
            other.complete()
        assert look_at_lock(state, NEIGHBOUR) is None
        with pytest.raises(LeaseLost):
            stack.close()


# --- this machine ----------------------------------------------------------------------------------------------------


def test_this_process_is_alive_and_one_that_ended_is_dead():
    machine = Processes()
    assert not is_dead(machine.me(), machine)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = machine.started(child.pid)
        other = type(machine.me())(**{**vars(machine.me()), "pid": child.pid, "started": started})
        assert not is_dead(other, machine)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(other, machine), "a zombie does nothing any more"
    assert is_dead(other, machine)


def test_a_process_with_a_hidden_start_counts_as_alive():
    machine = FakeMachine(running={100: "t100", 7: ""})
    holder = type(machine.me())("here", "boot-1", "pid:[1]", 7, "t7")
    assert not is_dead(holder, machine)


def test_a_system_that_does_not_say_its_boot_knows_of_no_dead():
    machine = FakeMachine(boot_id="")
    holder = type(machine.me())("here", "", "pid:[1]", 7, "t7")
    assert not is_dead(holder, machine)


def test_the_clock_for_leases_counts_suspension():
    import time

    clock = Clock()
    assert abs(clock.boot() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 5
    assert Processes().me().pid_namespace.startswith("pid:["), "/proc is read where there is one"


# --- clocks ----------------------------------------------------------------------------------------------------------


class Jumped:
    """A clock with a wall time that was set, while the time since the boot goes on."""

    def __init__(self, real, seconds: float) -> None:
        self._real = real
        self._seconds = seconds

    def wall(self) -> float:
        return self._real.wall() + self._seconds

    def boot(self) -> float:
        return self._real.boot()

    def sleep(self, seconds: float) -> None:
        self._real.sleep(seconds)


def jump(state: StateFixture, seconds: float) -> None:
    """The state's clock is set: a file has this machine's, a server its own, so there its times move the other way."""
    if state.url.startswith("sqlite"):
        state.clock = Jumped(state.clock, seconds)
        return
    engine = sqlalchemy.create_engine(state.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE reconcile_locks SET heartbeat_at = heartbeat_at - {seconds}, expires_at = expires_at - {seconds}"
        )


def test_a_living_neighbour_keeps_its_lock_whatever_the_wall_clock_says(state: StateFixture):
    with ExitStack() as stack:
        hold(stack, state)
        jump(state, 61)
        with pytest.raises(LockHeld):
            hold(stack, state, NEIGHBOUR)


def test_a_neighbour_that_stands_still_past_its_lease_loses_its_lock(state: StateFixture):
    with ExitStack() as stack, ExitStack() as dead_run:
        hold(dead_run, state)
        state.clock.time += 61
        hold(stack, state, NEIGHBOUR)
        with pytest.raises(LeaseLost):
            dead_run.close()


def test_a_lease_that_was_granted_by_a_clock_that_ran_ahead_ends_a_lease_from_now(sqlite_state: StateFixture):
    true_clock = sqlite_state.clock
    with ExitStack() as stack, ExitStack() as dead_run:
        sqlite_state.clock = Jumped(true_clock, 3600)
        hold(dead_run, sqlite_state)
        sqlite_state.clock = true_clock
        with pytest.raises(LockHeld):
            hold(stack, sqlite_state, ELSEWHERE)
        true_clock.time += 61
        hold(stack, sqlite_state, ELSEWHERE)
        with pytest.raises(LeaseLost):
            dead_run.close()


# --- the sight of the fence ------------------------------------------------------------------------------------------


def test_the_state_is_asked_once_the_fence_was_not_seen_for_half_of_settle(sqlite_state: StateFixture):
    with ExitStack() as stack:
        lease = hold(stack, sqlite_state).lease
        rename(sqlite_state, "reconcile_locks", "away")
        sqlite_state.clock.time += 4.9
        assert lease.refresh_fence()
        sqlite_state.clock.time += 0.2
        assert not lease.refresh_fence()
        rename(sqlite_state, "away", "reconcile_locks")
        assert lease.refresh_fence()


def test_each_write_shows_the_fence(state: StateFixture):
    with ExitStack() as stack:
        segment = hold(stack, state)
        state.clock.time += 6
        segment.intend([add("a")])
        segment.lease.renew = lambda: pytest.fail("it was seen just now")
        assert segment.lease.refresh_fence()


def test_a_heartbeat_comes_twice_while_the_sight_of_the_fence_is_good():
    assert find_terms(10, settle=10).heartbeat == 2.5
    assert find_terms(10, settle=0).heartbeat == 0.5
    assert find_terms(10, settle=1000).heartbeat == 20


def test_a_broken_lock_starts_nothing_once_its_fence_is_looked_at(state: StateFixture):
    with ExitStack() as stack:
        segment = hold(stack, state)
        unlock(state.settings, "production", 56, runtime=Runtime(state.clock, state.machine))
        state.clock.time += 6
        assert not segment.lease.refresh_fence()
        with pytest.raises(LeaseLost):
            stack.close()


# --- takeovers -------------------------------------------------------------------------------------------------------


def test_after_a_broken_lock_what_is_unsettled_counts_as_attempted_then(sqlite_state: StateFixture):
    state = sqlite_state
    began = state.clock.time
    with ExitStack() as dead_run:
        segment = hold(dead_run, state)
        seqs = segment.intend([add("a"), add("b")])
        segment.settle([(seqs[0], unknown(began))])
        state.clock.time += 30
        unlock(state.settings, "production", 56, runtime=Runtime(state.clock, state.machine))
        state.clock.time += 30
        with state.store(machine=NEIGHBOUR) as store, store.lock(state.target(), "run", "apply", None) as other:
            assert other.taken_over_at == began + 30
            assert other.doubtful_at() == other.attempted_at() == began + 60
        assert state.marks() == {
            ("a", "unsettled"): ("add", began + 30),
            ("b", "unsettled"): ("add", began + 60),
        }
        with pytest.raises(LeaseLost):
            dead_run.close()


def test_a_takeover_from_a_living_holder_is_remembered_and_one_from_a_dead_is_none(sqlite_state: StateFixture):
    state = sqlite_state
    with ExitStack() as dead_run:
        hold(dead_run, state)
        state.clock.time += 61
        taken_at = state.clock.time
        with state.store(machine=NEIGHBOUR) as store, store.lock(state.target(), "run", "apply", None) as other:
            assert other.taken_over_at == taken_at
        with pytest.raises(LeaseLost):
            dead_run.close()
    with ExitStack() as dead_run:
        hold(dead_run, state)
        state.clock.time += 5
        dead = FakeMachine(pid=200, running={200: "t200"})
        with state.store(machine=dead) as store, store.lock(state.target(), "run", "apply", None) as other:
            assert other.taken_over_at == taken_at
        with pytest.raises(LeaseLost):
            dead_run.close()


def test_times_of_the_future_count_as_now(sqlite_state: StateFixture):
    state = sqlite_state
    state.clock.time += 3600
    state.send((add("a", "b"), ACKNOWLEDGED))
    state.send((remove("a"), ACKNOWLEDGED), (add("c"), unknown(state.clock.time)))
    state.clock.time -= 3600
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.doubtful_at() == segment.attempted_at() == state.clock.time
    assert state.marks() == {
        ("a", "removed"): (None, state.clock.time),
        ("c", "unsettled"): ("add", state.clock.time),
    }
