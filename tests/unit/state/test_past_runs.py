"""What became of a segment in its last run, and what is known of a run that was killed."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy

from reconciler.models.history import HistoryRow, RunState
from reconciler.models.plan import PlanStatus, Problem, SegmentPlan
from reconciler.models.results import RefreshRow, RefreshStatus, RunStatus, SegmentRun, Tally
from reconciler.state import open_records
from reconciler.state.history import Records
from reconciler.state.locked_segment import LockedSegment
from tests.support.states import ACKNOWLEDGED, FakeMachine, StateFixture, add, remove

REBOOTED = FakeMachine(boot_id="boot-2")
NEIGHBOUR = FakeMachine(pid=200, running={200: "t200"})
"""On the same machine, where the process of the fixture does not run any more."""


def records(state: StateFixture, machine: FakeMachine | None = None) -> Records:
    return open_records(state.settings, clock=state.clock, processes=machine or state.machine)


def last(state: StateFixture, machine: FakeMachine | None = None) -> tuple[str, str | None, str] | None:
    found = records(state, machine).standing("production", [56]).outcomes.get(56)
    return None if found is None else (found.status, found.code, found.run_id)


def run(state: StateFixture, run_id: str, status: RunStatus, code: str | None = None, *, locks: bool = True) -> None:
    """A run from its beginning to its end."""
    problem = None if code is None else Problem(code, "it failed")
    state.clock.time += 60
    with state.store() as store:
        store.begin(run_id, "production", "apply", [], None)
        if locks:
            with store.lock(state.target(), run_id, "apply", None) as segment:
                segment.complete()
        state.clock.time += 60
        part = SegmentRun(SegmentPlan(state.target(), PlanStatus.CHANGES), status, Tally(added=1), error=problem)
        store.end(run_id, "production", 1 if code else 0, "{}", [part])


@contextmanager
def killed(state: StateFixture, monkeypatch: pytest.MonkeyPatch, run_id: str = "dead") -> Iterator[LockedSegment]:
    """A run whose process is gone when the block ends."""
    state.clock.time += 60
    with monkeypatch.context() as patch, state.store() as store:
        store.begin(run_id, "production", "apply", [], None)
        with store.lock(state.target(), run_id, "apply", None) as segment:
            yield segment
            for name in ("compact", "stamp"):
                patch.setattr(LockedSegment, name, lambda _self: None)
            patch.setattr("reconciler.state.lock.HeldLock.release", lambda _self: None)


def only_run(state: StateFixture, machine: FakeMachine | None = None, **which: int | None) -> HistoryRow:
    return records(state, machine).runs("production", 1, **which)[0]


def test_before_the_first_run_there_is_no_outcome(state: StateFixture) -> None:
    assert last(state) is None
    run(state, "other", RunStatus.APPLIED)
    assert records(state).standing("production", [57]).outcomes.get(57) is None
    assert records(state).standing("staging", [56]).outcomes.get(56) is None


def test_each_segment_has_its_own_outcome(sqlite_state: StateFixture) -> None:
    run(sqlite_state, "one", RunStatus.APPLIED)
    run(sqlite_state, "two", RunStatus.FAILED, "source", locks=False)

    found = records(sqlite_state).standing("production", [56]).outcomes.get(56)

    assert last(sqlite_state) == ("failed", "source", "two")
    assert found is not None
    assert found.at.timestamp() == sqlite_state.clock.time


def test_a_no_is_no_outcome(state: StateFixture) -> None:
    run(state, "one", RunStatus.APPLIED)
    run(state, "two", RunStatus.FAILED, "declined")
    assert last(state) == ("applied", None, "one")


def test_the_statuses_of_a_workspace_are_those_of_the_last_runs_that_ended(
    state: StateFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(state, "one", RunStatus.APPLIED)
    run(state, "two", RunStatus.BLOCKED)
    run(state, "three", RunStatus.FAILED, "declined")
    with killed(state, monkeypatch):
        pass
    with state.store() as store:
        assert store.statuses("production") == {56: "blocked"}
        assert store.statuses("staging") == {}


def test_a_refresh_is_a_run_like_others(state: StateFixture) -> None:
    with state.store() as store:
        store.begin("fresh", "production", "refresh", [], None)
        store.end("fresh", "production", 0, "{}", [RefreshRow(state.target(), RefreshStatus.REFRESHED, 10)])
    assert last(state) == ("refreshed", None, "fresh")


def test_what_an_earlier_version_wrote_is_read_with_the_time_of_its_run(sqlite_state: StateFixture) -> None:
    run(sqlite_state, "old", RunStatus.PARTIAL)
    ended = sqlite_state.clock.time
    with sqlite_state.store() as store, store.database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE reconcile_run_segments SET ended_at = NULL, code = NULL"))
    sqlite_state.clock.time += 60

    found = records(sqlite_state).standing("production", [56]).outcomes.get(56)

    assert last(sqlite_state) == ("partial", None, "old")
    assert found is not None
    assert found.at.timestamp() == ended


def test_a_run_that_was_killed_is_the_outcome_of_its_segment(
    sqlite_state: StateFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sqlite_state, "one", RunStatus.APPLIED)
    with killed(sqlite_state, monkeypatch) as segment:
        assert last(sqlite_state) == ("applied", None, "one"), "it goes on"
        segment.intend([add("a")])

    assert last(sqlite_state) == ("applied", None, "one"), "its process can still be seen"
    assert last(sqlite_state, NEIGHBOUR) == ("killed", None, "dead")
    sqlite_state.clock.time += 61
    assert last(sqlite_state, REBOOTED) == ("killed", None, "dead"), "its lease has ended"
    assert last(sqlite_state) == ("applied", None, "one"), "its lease has ended, and it can still be seen"

    run(sqlite_state, "three", RunStatus.FAILED, "destination", locks=False)
    assert last(sqlite_state, NEIGHBOUR) == ("failed", "destination", "three"), "it began later"


def test_a_longer_run_that_ends_later_does_not_hide_one_that_was_killed(
    state: StateFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with state.store() as store:
        store.begin("long", "production", "apply", [], None)
        with killed(state, monkeypatch):
            pass
        state.clock.time += 1
        plan = SegmentPlan(state.target(), PlanStatus.CHANGES)
        store.end("long", "production", 0, "{}", [SegmentRun(plan, RunStatus.APPLIED)])
    assert last(state, NEIGHBOUR) == ("killed", None, "dead")


def test_the_journal_tells_of_a_killed_run_whose_lock_was_broken(
    state: StateFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed(state, monkeypatch) as segment:
        segment.intend([add("a")])
        segment.complete()
    with state.store() as store, store.database.write() as connection:
        connection.execute(sqlalchemy.text("UPDATE reconcile_locks SET pid = NULL, run_id = NULL"))
    assert last(state, NEIGHBOUR) == ("killed", None, "dead")


def test_a_killed_administration_is_no_run(state: StateFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    with killed(state, monkeypatch):
        pass
    with state.store() as store, store.database.write() as connection:
        connection.execute(sqlalchemy.text("DELETE FROM reconcile_runs"))
    assert last(state, NEIGHBOUR) is None


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_while_its_process_does(state: StateFixture) -> None:
    with state.store() as store:
        store.begin("waiting", "production", "apply", [], None)
    state.clock.time += 3600
    assert only_run(state).status is RunState.RUNNING
    assert only_run(state, NEIGHBOUR).status is RunState.KILLED


@pytest.mark.parametrize("process", ['{"host": "x", "new": 1}', "[]", "later"])
def test_a_process_as_another_version_writes_it_is_judged_by_the_age_of_the_run(
    sqlite_state: StateFixture, process: str
) -> None:
    with sqlite_state.store() as store:
        store.begin("later", "production", "apply", [], None)
        with store.database.write() as connection:
            connection.execute(sqlalchemy.text("UPDATE reconcile_runs SET process = :process"), {"process": process})
    assert only_run(sqlite_state).status is RunState.RUNNING
    sqlite_state.clock.time += 61
    assert only_run(sqlite_state).status is RunState.KILLED


def test_a_run_elsewhere_goes_on_while_it_is_new_or_its_locks_last(
    sqlite_state: StateFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_state.store() as store:
        store.begin("elsewhere", "production", "apply", [], None)
    assert only_run(sqlite_state, REBOOTED).status is RunState.RUNNING
    sqlite_state.clock.time += 61
    assert only_run(sqlite_state, REBOOTED).status is RunState.KILLED

    with killed(sqlite_state, monkeypatch):
        assert only_run(sqlite_state, REBOOTED).status is RunState.RUNNING
    sqlite_state.clock.time += 61
    assert only_run(sqlite_state, REBOOTED).status is RunState.KILLED


def test_what_a_killed_run_sent_is_known_from_the_audit_log_and_the_journal(
    state: StateFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.send((add("x", "y"), ACKNOWLEDGED))
    with killed(state, monkeypatch) as segment:
        first, second = segment.intend([add("a", "b"), remove("x")])
        segment.settle([(first, ACKNOWLEDGED)])
        segment.compact()
        segment.settle([(second, ACKNOWLEDGED)])
        segment.intend([add("c")])

    def known() -> tuple[int, ...]:
        row = only_run(state, NEIGHBOUR)
        assert (row.status, row.added, row.segments) == (RunState.KILLED, None, None)
        return tuple((part.name, part.added, part.removed, part.unsettled) for part in row.parts)

    assert known() == (("vip", 2, 1, 1),)
    with state.store(machine=NEIGHBOUR) as store, store.lock(state.target(), "next", "apply", None):
        pass
    assert known() == (("vip", 2, 1, 0),), "the next run has taken over what it did not know"


def test_runs_are_chosen_by_segment_and_by_time(state: StateFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    run(state, "one", RunStatus.APPLIED)
    run(state, "two", RunStatus.APPLIED)
    with killed(state, monkeypatch):
        pass
    found = records(state).runs("production", 9, segment_id=56)
    assert [(row.run_id, [part.segment_id for part in row.parts]) for row in found] == [
        ("dead", [56]),
        ("two", [56]),
        ("one", [56]),
    ]
    assert records(state).runs("production", 9, segment_id=57) == []
    assert [row.run_id for row in records(state).runs("production", 9, since=found[1].started_at.timestamp())] == [
        "dead",
        "two",
    ]
