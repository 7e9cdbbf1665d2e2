"""What batches and their outcomes make of an id; every rule holds on SQLite and on PostgreSQL."""

import pytest

from reconciler.models.batches import BatchResult, Outcome
from reconciler.models.history import Reason
from tests.support.states import (
    ACKNOWLEDGED,
    NOT_STARTED,
    REFUSED,
    StateFixture,
    acknowledged_after_unknown,
    add,
    findings,
    remove,
    unknown,
)

NOW = 1_800_000_000.0


def test_an_acknowledged_add_makes_members(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    assert state.look().members == ("a", "b")
    assert state.look().marks == ()
    assert state.look().journal == ()


def test_an_acknowledged_remove_leaves_a_tombstone(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    state.send((remove("a"), ACKNOWLEDGED))
    assert state.look().members == ("b",)
    assert state.look().marks == (("a", "removed", None),)


def test_adding_again_ends_a_tombstone(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    state.send((remove("a"), ACKNOWLEDGED))
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().members == ("a",)
    assert state.look().marks == ()


@pytest.mark.parametrize("batch", [add("a"), remove("a")])
def test_an_unknown_outcome_unsettles_and_no_unsettled_id_is_stored(state: StateFixture, batch):
    state.send((add("a"), ACKNOWLEDGED))
    state.send((batch, unknown(NOW - 7)))
    assert state.look().members == ()
    assert state.look().marks == (("a", "unsettled", batch.direction.value),)


def test_an_unsettled_id_remembers_when_its_attempt_was_given_up(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), unknown(NOW - 7)))
    assert sqlite_state.marks() == {("a", "unsettled"): ("add", NOW - 7)}


@pytest.mark.parametrize("answer", [REFUSED, NOT_STARTED, BatchResult(Outcome.STOPPED, 1)])
def test_a_certain_refusal_puts_ids_back_to_where_they_were(state: StateFixture, answer):
    state.send((add("a"), ACKNOWLEDGED), (add("b"), unknown(NOW)))
    before = state.look()
    state.send((remove("a"), answer), (add("b"), answer), (add("c"), answer))
    assert state.look() == before


def test_a_refusal_after_an_attempt_of_unknown_fate_unsettles(state: StateFixture):
    state.send((add("a"), BatchResult(Outcome.REFUSED, 2, NOW)))
    assert state.look().marks == (("a", "unsettled", "add"),)


def test_an_acknowledged_retry_leaves_an_echo_of_the_attempt_before(state: StateFixture):
    state.send((add("a"), acknowledged_after_unknown(NOW - 1)))
    assert state.look().members == ("a",)
    assert state.look().marks == (("a", "echo", "add"),)


def test_acknowledging_what_was_unsettled_leaves_an_echo(state: StateFixture):
    state.send((add("a"), unknown(NOW - 1)))
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().members == ("a",)
    assert state.look().marks == (("a", "echo", "add"),)


def test_reversing_what_was_unsettled_leaves_no_echo(state: StateFixture):
    state.send((remove("a"), unknown(NOW - 30)))
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().marks == ()


def test_only_a_read_back_ends_being_unmatched(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=["a"]))
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().members == ("b",)
    assert state.look().marks == (("a", "unmatched", None),)

    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(appeared=["a"]))
    assert state.look().members == ("a", "b")
    assert state.look().marks == ()


def test_an_unmatched_id_is_forgotten_when_its_remove_is_acknowledged_but_for_a_tombstone(state: StateFixture):
    """Its add may have shown late: a read-back that still shows it is to be told."""
    state.send((add("a"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=["a"]))
    state.send((remove("a"), ACKNOWLEDGED))
    assert state.look().members == ()
    assert state.look().marks == (("a", "removed", None),)


def test_an_unmatched_id_stays_so_when_its_resend_is_unknown(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=["a"]))
    state.send((add("a"), unknown(NOW)))
    assert state.look().marks == (("a", "unmatched", None), ("a", "unsettled", "add"))
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().members == ()
    assert state.look().marks == (("a", "echo", "add"), ("a", "unmatched", None))


def test_a_rejected_id_is_remembered_until_it_is_acknowledged(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.reject(["bad"])
    assert state.look().marks == (("bad", "rejected", None),)
    state.send((add("bad"), ACKNOWLEDGED))
    assert state.look().members == ("bad",)
    assert state.look().marks == ()


def test_a_rejected_id_is_so_no_more_when_its_remove_is_acknowledged(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.reject(["bad"])
    state.send((remove("bad"), ACKNOWLEDGED))
    assert state.look().marks == (("bad", "removed", None),)


def test_a_rejection_is_forgotten_when_a_later_run_completes_without_it(sqlite_state: StateFixture):
    for rejected in (["bad", "worse"], ["worse"]):
        sqlite_state.clock.time += 3600
        with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
            segment.reject(rejected)
            segment.complete()
    assert sqlite_state.look().marks == (("worse", "rejected", None),)


def test_a_tombstone_that_is_gone_is_forgotten_and_one_that_lingers_is_unsettled(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    state.send((remove("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(lingering=["a"], gone=["b"]))
    assert state.look().marks == (("a", "unsettled", "remove"),)


def test_tombstones_end_after_thirty_days_and_echoes_after_one(sqlite_state: StateFixture):
    state = sqlite_state
    state.send((add("a", "b"), acknowledged_after_unknown(NOW)))
    state.send((remove("b"), ACKNOWLEDGED))
    state.clock.time += 25 * 3600
    state.send((add("c"), ACKNOWLEDGED))
    assert state.look().marks == (("b", "removed", None),)
    state.clock.time += 30 * 24 * 3600
    state.send((add("d"), ACKNOWLEDGED))
    assert state.look().marks == ()


def test_ids_of_any_script_and_with_quotes_and_backslashes_come_back_as_they_were(state: StateFixture):
    ids = sorted(['"', "\\", '\\"', "'", "a,b", "[x]", "ü", "日本", "😀", "%", ":name", "NULL", "0", "\\N", "\\."])
    state.send((add(*ids), ACKNOWLEDGED))
    assert sorted(state.look().members) == ids
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=ids))
    assert sorted(id for id, _, _ in state.look().marks) == ids


def test_ids_are_told_apart_and_sorted_by_their_bytes(state: StateFixture):
    ids = ["A", "B", "a", "b", "e\u0301", "é"]
    state.send((add(*ids), ACKNOWLEDGED))
    assert state.look().members == tuple(sorted(ids, key=lambda id: id.encode()))


def test_an_id_that_was_found_there_becomes_a_member_unless_it_is_unsettled(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED), (add("c"), unknown(NOW - 7)))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=["a"]))
        segment.add_found(lambda: iter([["a", "c"], ["d"]]), Reason.ADOPTED)
    assert state.look().members == ("a", "b", "d")
    assert state.look().marks == (("c", "unsettled", "add"),)
