"""What batches and their outcomes make of an id; every rule holds on SQLite and on PostgreSQL."""

import pytest

from reconciler.models.batches import BatchResult, Outcome
from tests.support.states import (
    ACKNOWLEDGED,
    NOT_STARTED,
    REFUSED,
    Bench,
    acknowledged_after_unknown,
    add,
    findings,
    remove,
    unknown,
)

NOW = 1_800_000_000.0


def test_an_acknowledged_add_makes_members(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED))
    assert bench.look().members == ("a", "b")
    assert bench.look().marks == ()
    assert bench.look().journal == ()


def test_an_acknowledged_remove_leaves_a_tombstone(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED))
    bench.send((remove("a"), ACKNOWLEDGED))
    assert bench.look().members == ("b",)
    assert bench.look().marks == (("a", "removed", None),)


def test_adding_again_ends_a_tombstone(bench: Bench):
    bench.send((add("a"), ACKNOWLEDGED))
    bench.send((remove("a"), ACKNOWLEDGED))
    bench.send((add("a"), ACKNOWLEDGED))
    assert bench.look().members == ("a",)
    assert bench.look().marks == ()


@pytest.mark.parametrize("batch", [add("a"), remove("a")])
def test_an_unknown_outcome_unsettles_and_no_unsettled_id_is_stored(bench: Bench, batch):
    bench.send((add("a"), ACKNOWLEDGED))
    bench.send((batch, unknown(NOW - 7)))
    assert bench.look().members == ()
    assert bench.look().marks == (("a", "unsettled", batch.direction.value),)


def test_an_unsettled_id_remembers_when_its_attempt_was_given_up(sqlite_bench: Bench):
    sqlite_bench.send((add("a"), unknown(NOW - 7)))
    assert sqlite_bench.marks() == {("a", "unsettled"): ("add", NOW - 7)}


@pytest.mark.parametrize("answer", [REFUSED, NOT_STARTED, BatchResult(Outcome.STOPPED, 1)])
def test_a_certain_refusal_puts_ids_back_to_where_they_were(bench: Bench, answer):
    bench.send((add("a"), ACKNOWLEDGED), (add("b"), unknown(NOW)))
    before = bench.look()
    bench.send((remove("a"), answer), (add("b"), answer), (add("c"), answer))
    assert bench.look() == before


def test_a_refusal_after_an_attempt_of_unknown_fate_unsettles(bench: Bench):
    bench.send((add("a"), BatchResult(Outcome.REFUSED, 2, NOW)))
    assert bench.look().marks == (("a", "unsettled", "add"),)


def test_an_acknowledged_retry_leaves_an_echo_of_the_attempt_before(bench: Bench):
    bench.send((add("a"), acknowledged_after_unknown(NOW - 1)))
    assert bench.look().members == ("a",)
    assert bench.look().marks == (("a", "echo", "add"),)


def test_acknowledging_what_was_unsettled_leaves_an_echo(bench: Bench):
    bench.send((add("a"), unknown(NOW - 1)))
    bench.send((add("a"), ACKNOWLEDGED))
    assert bench.look().members == ("a",)
    assert bench.look().marks == (("a", "echo", "add"),)


def test_reversing_what_was_unsettled_leaves_no_echo(bench: Bench):
    bench.send((remove("a"), unknown(NOW - 30)))
    bench.send((add("a"), ACKNOWLEDGED))
    assert bench.look().marks == ()


def test_only_a_read_back_ends_being_unmatched(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(vanished=["a"]))
    bench.send((add("a"), ACKNOWLEDGED))
    assert bench.look().members == ("b",)
    assert bench.look().marks == (("a", "unmatched", None),)

    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(appeared=["a"]))
    assert bench.look().members == ("a", "b")
    assert bench.look().marks == ()


def test_an_unmatched_id_is_forgotten_when_its_remove_is_acknowledged(bench: Bench):
    bench.send((add("a"), ACKNOWLEDGED))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(vanished=["a"]))
    bench.send((remove("a"), ACKNOWLEDGED))
    assert bench.look().members == ()
    assert bench.look().marks == ()


def test_an_unmatched_id_stays_so_when_its_resend_is_unknown(bench: Bench):
    bench.send((add("a"), ACKNOWLEDGED))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(vanished=["a"]))
    bench.send((add("a"), unknown(NOW)))
    assert bench.look().marks == (("a", "unmatched", None), ("a", "unsettled", "add"))
    bench.send((add("a"), ACKNOWLEDGED))
    assert bench.look().members == ()
    assert bench.look().marks == (("a", "echo", "add"), ("a", "unmatched", None))


def test_a_rejected_id_is_remembered_until_it_is_acknowledged(bench: Bench):
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.reject(["bad"])
    assert bench.look().marks == (("bad", "rejected", None),)
    bench.send((add("bad"), ACKNOWLEDGED))
    assert bench.look().members == ("bad",)
    assert bench.look().marks == ()


def test_a_rejected_id_is_so_no_more_when_its_remove_is_acknowledged(bench: Bench):
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.reject(["bad"])
    bench.send((remove("bad"), ACKNOWLEDGED))
    assert bench.look().marks == (("bad", "removed", None),)


def test_a_rejection_is_forgotten_when_a_later_run_completes_without_it(sqlite_bench: Bench):
    for rejected in (["bad", "worse"], ["worse"]):
        sqlite_bench.clock.time += 3600
        with sqlite_bench.store() as store, store.lock(sqlite_bench.target(), "run", None) as segment:
            segment.reject(rejected)
            segment.complete()
    assert sqlite_bench.look().marks == (("worse", "rejected", None),)


def test_a_tombstone_that_is_gone_is_forgotten_and_one_that_lingers_is_unsettled(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED))
    bench.send((remove("a", "b"), ACKNOWLEDGED))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(lingering=["a"], gone=["b"]))
    assert bench.look().marks == (("a", "unsettled", "remove"),)


def test_tombstones_end_after_thirty_days_and_echoes_after_one(sqlite_bench: Bench):
    bench = sqlite_bench
    bench.send((add("a", "b"), acknowledged_after_unknown(NOW)))
    bench.send((remove("b"), ACKNOWLEDGED))
    bench.clock.time += 25 * 3600
    bench.send((add("c"), ACKNOWLEDGED))
    assert bench.look().marks == (("b", "removed", None),)
    bench.clock.time += 30 * 24 * 3600
    bench.send((add("d"), ACKNOWLEDGED))
    assert bench.look().marks == ()


def test_ids_of_any_script_and_with_quotes_and_backslashes_come_back_as_they_were(bench: Bench):
    ids = sorted(['"', "\\", '\\"', "'", "a,b", "[x]", "ü", "日本", "😀", "%", ":name", "NULL", "0", "\\N", "\\."])
    bench.send((add(*ids), ACKNOWLEDGED))
    assert sorted(bench.look().members) == ids
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(vanished=ids))
    assert sorted(id for id, _, _ in bench.look().marks) == ids


def test_ids_are_told_apart_and_sorted_by_their_bytes(bench: Bench):
    ids = ["A", "B", "a", "b", "e\u0301", "é"]
    bench.send((add(*ids), ACKNOWLEDGED))
    assert bench.look().members == tuple(sorted(ids, key=lambda id: id.encode()))


def test_an_id_that_was_found_there_becomes_a_member_unless_it_is_unsettled(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED), (add("c"), unknown(NOW - 7)))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.record(findings(vanished=["a"]))
        segment.admit(lambda: iter([["a", "c"], ["d"]]))
    assert bench.look().members == ("a", "b", "d")
    assert bench.look().marks == (("c", "unsettled", "add"),)
