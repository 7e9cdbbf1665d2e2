"""What `status`, `history` and `state show` read from a state; reading changes nothing and makes nothing."""

import threading
from pathlib import Path

import pytest
import sqlalchemy

from reconciler.git import identify
from reconciler.models.batches import Batch, Direction
from reconciler.models.plan import PlanStatus, SegmentPlan
from reconciler.models.results import RunStatus, SegmentRun, Tally
from reconciler.state import open_records, open_snapshot
from reconciler.state import store as store_module
from reconciler.state.database import Reader, find_environments
from reconciler.state.history import Records
from tests.support.states import (
    ACKNOWLEDGED,
    FakeMachine,
    StateFixture,
    acknowledged_after_unknown,
    add,
    findings,
    remove,
    unknown,
)

NOW = 1_800_000_000.0


def records(state: StateFixture, machine: FakeMachine | None = None) -> Records:
    return open_records(state.settings, clock=state.clock, processes=machine or state.machine)


def segments_of(state: StateFixture) -> list[SegmentRun]:
    target = state.target()
    tally = Tally(added=20, removed=10, rejected=1, unsettled=2)
    return [SegmentRun(SegmentPlan(target, PlanStatus.CHANGES), RunStatus.PARTIAL, tally)]


def test_a_missing_state_has_no_records_and_stays_missing(state: StateFixture):
    found = records(state)
    assert list(open_snapshot(state.settings).listings("production")) == []
    assert found.segment("production", 56) is None
    assert found.standing("production", [56]).holders.get(56) is None
    assert found.runs("production", 10) == []
    assert found.run("run-1") == []
    assert list(found.members("production", 56)) == []
    if state.url.startswith("sqlite"):
        assert not Path(state.url.removeprefix("sqlite:///")).exists()


def test_a_segment_is_told_in_numbers(state: StateFixture):
    state.send((add("a", "b", "c", "d"), ACKNOWLEDGED), (add("u"), unknown(NOW)))
    with state.store() as store:
        store.begin("run-2", "production", "apply", [], None)
        with store.lock(state.target(), "run-2", "apply", None) as segment:
            (seq,) = segment.intend([remove("a")])
            segment.settle([(seq, ACKNOWLEDGED)])
            segment.reject(["bad"])
            segment.record(findings(vanished=["b"]))
            segment.complete()
        store.end("run-2", "production", 6, "{}", segments_of(state))

    record = records(state).segment("production", 56)

    assert record is not None
    assert (record.name, record.id_type) == ("vip", "id")
    assert (record.members, record.unsettled, record.unmatched) == (2, 1, 1)
    assert (record.rejected, record.removed) == (1, 1)
    assert record.completed_at is not None
    assert record.confirmed_at is not None
    assert record.last_run is not None
    assert (record.last_run.run_id, record.last_run.exit_code) == ("run-2", 6)
    assert record.holder is None


def test_what_is_not_compacted_yet_counts(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        added, removed, flying = segment.intend([add("c"), remove("a"), add("d")])
        segment.settle([(added, ACKNOWLEDGED), (removed, ACKNOWLEDGED)])
        record = records(state).segment("production", 56)
        assert record is not None
        assert (record.members, record.unsettled) == (2, 1)
        assert [id for ids in records(state).members("production", 56) for id in ids] == ["b", "c"]
        segment.settle([(flying, ACKNOWLEDGED)])


def test_the_ids_stream_in_byte_order(state: StateFixture):
    ids = [f"{number:05}" for number in range(12_000)]
    batches = [Batch(Direction.ADD, tuple(ids[start : start + 1000])) for start in range(0, 12_000, 1000)]
    state.send(*((batch, ACKNOWLEDGED) for batch in batches), (add("é", "Z", "z"), acknowledged_after_unknown(NOW)))
    found = list(records(state).members("production", 56))
    assert len(found) > 1
    assert [id for part in found for id in part] == [*ids, "Z", "z", "é"]


def test_the_holder_is_named_while_it_lives(state: StateFixture):
    neighbour = FakeMachine(pid=200, running={200: "t200"})
    with state.store() as store:
        store.begin("run-1", "production", "apply", [], None)
        with store.lock(state.target(), "run-1", "apply", None) as segment:
            segment.complete()
            assert "pid 100 on here" in (records(state).standing("production", [56]).holders.get(56) or "")
            record = records(state).segment("production", 56)
            assert record is not None
            assert "pid 100" in (record.holder or "")
            assert records(state, neighbour).standing("production", [56]).holders.get(56) is None, (
                "it is dead, as its neighbour can see"
            )
    assert records(state).standing("production", [56]).holders.get(56) is None


def test_several_segments_are_told_at_once_as_each_alone(state: StateFixture, monkeypatch: pytest.MonkeyPatch):
    for segment_id, ids in ((56, "ab"), (57, "")):
        state.clock.time += 60
        with state.store() as store:
            store.begin(f"run-{segment_id}", "production", "apply", [], None)
            with store.lock(state.target(segment_id), f"run-{segment_id}", "apply", None) as segment:
                if ids:
                    (seq,) = segment.intend([add(*ids)])
                    segment.settle([(seq, ACKNOWLEDGED)])
                segment.complete()
            store.end(f"run-{segment_id}", "production", 0, "{}", segments_of(state))
    began: list[bool] = []
    read = Reader.read
    monkeypatch.setattr(Reader, "read", lambda reader: began.append(True) or read(reader))

    found = records(state).standing("production", [57, 58, -1, 56])

    assert len(began) == 1, "one transaction sees one moment"
    assert {each.segment_id: each.members for each in found.segments.values()} == {56: 2, 57: 0}
    assert {number: outcome.run_id for number, outcome in found.outcomes.items()} == {56: "run-57"}
    assert found.holders == {}
    assert records(state).standing("production", []).segments == {}
    for number in (56, 57):
        assert found.segments[number] == records(state).segment("production", number)
    assert records(state).segments() == [found.segments[56], found.segments[57]]


def test_a_listing_has_the_name_and_the_spec_that_the_last_lock_gave(state: StateFixture):
    for segment_id in (57, 56):
        with state.store() as store, store.lock(state.target(segment_id), "run", "apply", None) as segment:
            segment.complete()
    found = open_snapshot(state.settings).listings("production")
    assert [(each.segment_id, each.name, each.title) for each in found] == [(56, "vip", None), (57, "vip", None)]
    assert all(each.spec == identify(state.target().spec.path) for each in found)
    assert open_snapshot(state.settings).listings("staging") == []


def test_a_listing_says_whether_something_was_sent_and_whether_a_read_back_has_shown_it(state: StateFixture):
    def listed() -> tuple[bool, bool]:
        (found,) = open_snapshot(state.settings).listings("production")
        return found.sent, found.proved

    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.complete()
        assert listed() == (False, False)
        (seq,) = segment.intend([add("a")])
        segment.settle([(seq, ACKNOWLEDGED)])
        segment.record(findings())
        assert listed() == (True, False)
        segment.record(findings(), proves=True)
        segment.record(findings())
        assert listed() == (True, True)


# --- history ---------------------------------------------------------------------------------------------------------


def test_runs_are_told_newest_first(sqlite_state: StateFixture):
    with sqlite_state.store() as store:
        for number in range(3):
            sqlite_state.clock.time += 60
            store.begin(f"run-{number}", "production", "apply", [], None)
        store.begin("elsewhere", "staging", "apply", [], None)
    assert [row.run_id for row in records(sqlite_state).runs("production", 2)] == ["run-2", "run-1"]


def test_a_run_is_told_whole(state: StateFixture):
    with state.store() as store:
        store.begin("run-1", "production", "apply", ["max_removals: vip"], "plan-1")
        (going_on,) = records(state).runs("production", 10)
        assert (going_on.ended_at, going_on.exit_code, going_on.segments) == (None, None, None)
        store.end("run-1", "production", 6, '{"kind": "run"}', segments_of(state))

    (record,) = records(state).run("run-1")

    assert (record.row.command, record.row.exit_code, record.row.segments) == ("apply", 6, 1)
    assert (record.row.added, record.row.removed, record.row.rejected, record.row.unsettled) == (20, 10, 1, 2)
    assert record.row.ended_at is not None
    assert record.allowed == ("max_removals: vip",)
    assert (record.plan_id, record.document) == ("plan-1", '{"kind": "run"}')
    assert records(state).run("run-2") == []


def test_a_run_over_two_workspaces_has_a_record_for_each(state: StateFixture):
    with state.store() as store:
        for workspace in ("production", "staging"):
            store.begin("run-1", workspace, "apply", [], None)
            store.end("run-1", workspace, 0, "{}", segments_of(state))
    assert {(record.row.workspace, record.row.segments) for record in records(state).run("run-1")} == {
        ("production", 1),
        ("staging", None),
    }


# --- workspaces ------------------------------------------------------------------------------------------------------


def test_a_workspace_is_bound_once_and_to_one_environment(state: StateFixture):
    with state.store() as store:
        assert store.environments() == {}
        assert store.bind("production", 77) == {"production": 77}
        assert store.bind("production", 77) == {"production": 77}
        assert store.bind("staging", 78) == {"production": 77, "staging": 78}
        assert store.bind("production", 79) == {"production": 77, "staging": 78}
        assert store.environments() == {"production": 77, "staging": 78}


def test_of_two_runs_that_bind_two_names_at_once_one_waits(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    state = StateFixture(postgres_url)
    engine = sqlalchemy.create_engine(postgres_url, poolclass=sqlalchemy.NullPool)
    others: list[threading.Thread] = []

    def bind_another() -> None:
        with state.store() as store:
            store.bind("staging", 77)

    def is_waiting() -> bool:
        with engine.connect() as connection:
            waiting = connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one()
        return bool(waiting)

    def find_then_let_the_other_bind(connection: sqlalchemy.Connection) -> dict[str, int]:
        found = find_environments(connection)
        if not others:
            others.append(threading.Thread(target=bind_another))
            others[0].start()
            while others[0].is_alive() and not is_waiting():
                pass
        return found

    with state.store() as store:
        monkeypatch.setattr(store_module, "find_environments", find_then_let_the_other_bind)
        store.bind("production", 77)
        others[0].join()
        assert store.environments() == {"production": 77}
