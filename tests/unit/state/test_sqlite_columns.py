"""Reading by column gives what reading row by row gives."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.errors import StateError
from reconciler.models.fields import Secret
from reconciler.models.plan import Head
from reconciler.models.spec import StateSettings
from reconciler.state import open_snapshot
from tests.support.states import ACKNOWLEDGED, StateFixture, add, contents_of, remove, unknown


def both_ways(state: StateFixture, segment_id: int = 56) -> tuple:
    found, wholes = [], []
    for alone in (False, True):
        snapshot = open_snapshot(state.settings, alone=alone)
        with snapshot.read_segment("production", segment_id) as stored:
            assert stored.head == snapshot.head("production", segment_id)
            found.append((stored.head, contents_of(stored)))
        few = snapshot.read_few("production", segment_id, 100_000)
        assert few is not None
        assert few.head == found[-1][0]
        wholes.append((few.head, sorted(few.members), sorted(few.overlay)))
    assert wholes[0] == wholes[1]
    assert found[0] == found[1]
    return found[1]


def test_members_marks_and_journal_are_the_same(sqlite_state: StateFixture):
    sqlite_state.send(
        (add("a", "b", "ü", "0012"), ACKNOWLEDGED),
        (add("c"), unknown(1_795_000_000.25)),
        (remove("a"), ACKNOWLEDGED),
        (remove("b"), unknown(1_795_000_001.5)),
    )
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        segment.reject(["r"])

    head, contents = both_ways(sqlite_state)

    assert not head.is_new
    assert contents.members == ("0012", "ü")
    assert {mark for _, mark, _ in contents.marks} == {"unsettled", "removed", "rejected"}


@pytest.mark.parametrize("plan_id", [None, "plan'1", "12"])
@pytest.mark.parametrize("restored_at", ["NULL", "1795000000", "1795000000.25"])
def test_each_field_of_a_head_is_the_same(sqlite_state: StateFixture, plan_id: str | None, restored_at: str):
    sqlite_state.send((add("a"), ACKNOWLEDGED), plan_id=plan_id)
    with sqlite_state.store() as store:
        store.bind("production", 77)
        with store.lock(sqlite_state.target(), "run", "apply", plan_id) as segment:
            segment.complete()
        with store.database.write() as connection:
            connection.exec_driver_sql(f"UPDATE reconcile_segments SET restored_at = {restored_at}")

    head, _ = both_ways(sqlite_state)

    assert (head.environment_id, head.completed, head.restored) == (77, True, restored_at != "NULL")
    assert head.plan_id == plan_id


def test_an_intent_without_an_outcome_is_seen(sqlite_state: StateFixture):
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        segment.intend([add("x", "y")])
        # Nothing is read here: the store is open, and only one library may have the file open.
    _, contents = both_ways(sqlite_state)
    assert contents.journal or contents.marks


def test_few_ids_are_read_through_another_library_so_not_while_the_driver_reads(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    snapshot = open_snapshot(sqlite_state.settings, alone=True)
    with snapshot.read_segment("production", 56) as stored:
        assert snapshot.read_few("production", 56, 10) is None
        assert contents_of(stored).members == ("a",)
    few = snapshot.read_few("production", 56, 10)
    assert few is not None
    assert few.members == ["a"]


def test_a_missing_state_and_a_segment_never_met_are_empty(sqlite_state: StateFixture):
    assert both_ways(sqlite_state)[0] == Head()
    with pytest.raises(StateError):
        open_snapshot(StateSettings(url=Secret(sqlite_state.url), must_exist=True), alone=True)
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    assert both_ways(sqlite_state, 57)[0] == Head()


def test_a_spent_plan_is_known(sqlite_state: StateFixture):
    with sqlite_state.store() as store:
        store.spend("plan'1")
    snapshot = open_snapshot(sqlite_state.settings, alone=True)
    assert snapshot.is_spent("plan'1")
    assert not snapshot.is_spent("plan-2")


def test_blocks_of_many_rows_lose_none(sqlite_state: StateFixture):
    ids = tuple(f"m{number:06}" for number in range(40_000))
    sqlite_state.send((add(*ids), ACKNOWLEDGED), (remove(*ids[:20_000]), ACKNOWLEDGED))
    _, contents = both_ways(sqlite_state)
    assert contents.members == ids[20_000:]
    assert len(contents.marks) == 20_000


def test_many_readers_who_open_a_state_at_once_all_get_in(sqlite_state: StateFixture):
    sqlite_state.send((add("a", "b"), ACKNOWLEDGED))
    threads = 6
    for _ in range(25):
        snapshot = open_snapshot(sqlite_state.settings, alone=True)
        together = threading.Barrier(threads)

        def read(snapshot=snapshot, together=together) -> tuple[str, ...]:
            together.wait()
            with snapshot.read_segment("production", 56) as stored:
                return contents_of(stored).members

        with ThreadPoolExecutor(threads) as pool:
            found = [pool.submit(read) for _ in range(threads)]
        assert [each.result() for each in found] == [("a", "b")] * threads
