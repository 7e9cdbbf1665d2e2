"""The intent is durable before the request, the outcome after it, and a dead run's intents count as unknown."""

import pytest

from reconciler.errors import StateError
from reconciler.models.batches import BatchResult, Outcome
from reconciler.models.ids import IdType
from reconciler.state import open_snapshot
from tests.support.states import (
    ACKNOWLEDGED,
    NOT_STARTED,
    REFUSED,
    FakeMachine,
    StateFixture,
    acknowledged_after_unknown,
    add,
    fetch,
    findings,
    remove,
    unknown,
)

NOW = 1_800_000_000.0


class Killed(BaseException):
    """As if the process had died: nothing is put away."""


def test_an_intent_is_seen_by_others_before_its_request_leaves(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        seqs = segment.intend([add("a", "b"), remove("c")])
        assert seqs == sorted(seqs)
        assert state.look().journal == (("add", None, ("a", "b")), ("remove", None, ("c",)))


def test_what_a_dead_run_left_counts_as_unknown_as_of_now(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.intend([add("a")])
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        now = segment.now()
        direction, at = state.marks()[("a", "unsettled")]
    assert direction == "add"
    assert at == pytest.approx(now, abs=60)


def test_recovering_does_not_make_a_plan_stale(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.intend([add("a")])
        serial = segment.head().serial
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.head().serial == serial


def test_intents_without_a_request_leave_no_trace(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.settle([(seq, NOT_STARTED) for seq in segment.intend([add("a"), add("b")])])
    assert state.look().journal == ()
    assert state.look().marks == ()


def test_a_retry_moves_the_time_on_from_which_to_wait(sqlite_state: StateFixture):
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        (seq,) = segment.intend([add("a")])
        sqlite_state.clock.time += 5
        segment.retry(seq)
        with open_snapshot(sqlite_state.settings).read_segment("production", 56) as stored:
            ((_, _, outcome, at, unknown_at, _),) = fetch(stored.journal())
    assert (outcome, at, unknown_at) == (None, NOW + 5, None)


# --- splitting -------------------------------------------------------------------------------------------------------


def test_a_batch_that_was_refused_is_replaced_by_its_parts(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        (seq,) = segment.intend([add("a", "b", "c")])
        parts = segment.split(seq, BatchResult(Outcome.BAD_REQUEST, 1), [add("a"), add("b", "c")])
        assert state.look().journal == (("add", None, ("a",)), ("add", None, ("b", "c")))
        segment.settle([(parts[0], REFUSED), (parts[1], ACKNOWLEDGED)])
    assert state.look().members == ("b", "c")
    assert state.look().marks == ()


def test_parts_of_a_batch_of_unknown_fate_fall_back_to_unsettled(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        (seq,) = segment.intend([add("a", "b", "c")])
        parts = segment.split(seq, BatchResult(Outcome.BAD_REQUEST, 2, NOW), [add("a"), add("b"), add("c")])
        segment.settle([(parts[0], REFUSED), (parts[1], NOT_STARTED), (parts[2], ACKNOWLEDGED)])
    assert state.look().members == ("c",)
    assert state.look().marks == (("a", "unsettled", "add"), ("b", "unsettled", "add"), ("c", "echo", "add"))


def test_parts_of_parts_remember_the_attempt_that_carried_them_all(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        (seq,) = segment.intend([add("a", "b")])
        (part,) = segment.split(seq, BatchResult(Outcome.TOO_LARGE, 2, NOW), [add("a", "b")])
        first, second = segment.split(part, BatchResult(Outcome.BAD_REQUEST, 1), [add("a"), add("b")])
        segment.settle([(first, REFUSED), (second, ACKNOWLEDGED)])
    assert state.look().marks == (("a", "unsettled", "add"), ("b", "echo", "add"))


def test_an_acknowledged_part_tells_of_the_attempt_before_it_is_compacted(sqlite_state: StateFixture):
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        (seq,) = segment.intend([add("a", "b")])
        first, _ = segment.split(seq, BatchResult(Outcome.BAD_REQUEST, 2, NOW - 3), [add("a"), add("b")])
        segment.settle([(first, ACKNOWLEDGED)])
        with open_snapshot(sqlite_state.settings).read_segment("production", 56) as stored:
            told = [(outcome, unknown_at, ids) for _, _, outcome, _, unknown_at, ids in fetch(stored.journal())]
    assert told == [("unknown", None, "a\nb"), ("acknowledged", NOW - 3, "a"), (None, None, "b")]


# --- serial, lineage, plans ------------------------------------------------------------------------------------------


def test_a_segment_that_was_never_written_to_stays_new(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.head().is_new
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.head().is_new


def test_every_change_raises_the_serial_and_draws_a_token_and_the_lineage_stays(state: StateFixture):
    serials, lineages, tokens = [], set(), set()
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:

        def note() -> None:
            serials.append(segment.head().serial)
            lineages.add(segment.head().lineage)
            tokens.add(segment.head().change_token)

        (seq,) = segment.intend([add("a", "b")])
        note()
        first, second = segment.split(seq, BatchResult(Outcome.BAD_REQUEST, 1), [add("a"), add("b")])
        note()
        segment.settle([(first, ACKNOWLEDGED), (second, unknown(NOW))])
        note()
        segment.reject(["b"])
        note()
    assert serials == sorted(set(serials))
    assert len(lineages) == 1
    assert len(tokens) == len(serials)


def test_a_first_run_that_has_nothing_to_send_makes_the_segment_known_and_completed(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.complete()
        assert segment.head().completed
        assert not segment.head().is_new


def test_a_plan_that_is_cut_short_is_not_made_stale_by_its_own_changes(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        base = segment.head().serial
        assert segment.head().plan_id is None
    for _ in range(2):
        state.send((add("b"), ACKNOWLEDGED), plan_id="plan-1")
        with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
            assert (segment.head().plan_id, segment.head().plan_base) == ("plan-1", base)


def test_another_plan_starts_a_base_of_its_own_and_a_run_without_a_plan_ends_it(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED), plan_id="plan-1")
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        serial = segment.head().serial
    state.send((add("b"), ACKNOWLEDGED), plan_id="plan-2")
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert (segment.head().plan_id, segment.head().plan_base) == ("plan-2", serial)
    state.send((add("c"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert (segment.head().plan_id, segment.head().plan_base) == (None, None)


def test_an_id_type_other_than_the_stored_one_is_refused(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    with state.store() as store:
        with store.lock(state.target(id_type=IdType.EMAIL), "run", "apply", None) as segment:
            with pytest.raises(StateError, match="by id, not email") as caught:
                segment.intend([add("a@b")])
    assert "refresh" in caught.value.hint
    assert "state forget" in caught.value.hint


# --- ends ------------------------------------------------------------------------------------------------------------


def test_a_run_that_fails_still_compacts_and_gives_its_lock_back(state: StateFixture):
    def die() -> None:
        with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
            (seq,) = segment.intend([add("a")])
            segment.settle([(seq, ACKNOWLEDGED)])
            raise Killed

    with pytest.raises(Killed):
        die()
    assert state.look().journal == ()
    other = FakeMachine(host="there", pid=300, running={300: "t300"})
    with state.store(machine=other) as store, store.lock(state.target(), "run", "apply", None):
        pass


def test_times_of_answers_are_told_by_the_clock_of_the_state(state: StateFixture):
    state.clock.time = 1_000.0  # this machine's clock is decades slow
    state.send((add("a"), unknown(990.0)))
    state.send((add("b"), acknowledged_after_unknown(990.0)))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        now = segment.now()
    assert state.marks()[("a", "unsettled")][1] == pytest.approx(now - 10, abs=60)
    assert state.marks()[("b", "echo")][1] == pytest.approx(now - 10, abs=60)


# --- what an id holds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["", "a\nb", "a\0b", "a\x1eb", "a\x1fb", "\ud800"])
def test_an_id_that_a_row_cannot_hold_is_refused_before_anything_is_written(state: StateFixture, id: str):
    state.send((add("a"), ACKNOWLEDGED))
    before = state.look()
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        with pytest.raises(StateError, match="the journal can't keep"):
            segment.intend([add("b"), add("c", id)])
    assert state.look() == before


ODD = ["a\tb", "a\rb", "\x01", "\x7f", "\x85", "a\\nb", "\\", "\\\\", 'a"b', "\\u005c", "\u2028"]


@pytest.mark.parametrize("id", ODD)
def test_any_other_id_comes_back_as_it_was_written_from_the_journal_and_compacted(state: StateFixture, id: str):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.settle([(segment.intend([add("first", id, "last")])[0], ACKNOWLEDGED)])
        assert segment.count().stored == 3
        segment.compact()
        assert sorted(state.look().members) == sorted(["first", id, "last"])
        segment.record(findings(vanished=[id]))
        assert segment.count().unmatched == 1
