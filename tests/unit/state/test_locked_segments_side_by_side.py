"""Segments of one state: whatever happens to one of them does not affect the others."""

from collections.abc import Iterator

from reconciler.models.batches import Batch, BatchResult
from reconciler.models.history import Reason
from reconciler.state.locked_segment import LockedSegment
from tests.support.states import (
    ACKNOWLEDGED,
    Contents,
    StateFixture,
    acknowledged_after_unknown,
    add,
    findings,
    remove,
    unknown,
)

NOW = 1_800_000_000.0
MONTH = 31 * 24 * 3600.0
IDS = tuple("abcdefgh")


def settle(segment: LockedSegment, *pairs: tuple[Batch, BatchResult]) -> None:
    segment.settle([(segment.intend([batch])[0], answer) for batch, answer in pairs])


def mark_in_every_way(segment: LockedSegment) -> None:
    """One id each: unmatched, removed, rejected, unsettled, with an echo; the others are members."""
    settle(segment, (add(*IDS), ACKNOWLEDGED), (remove("b"), ACKNOWLEDGED), (add("d"), unknown(NOW - 5)))
    settle(segment, (remove("e"), unknown(NOW - 4)), (add("f"), acknowledged_after_unknown(NOW - 3)))
    segment.record(findings(vanished=["a"]))
    segment.reject(["c"])


def live(segment: LockedSegment, state: StateFixture) -> Iterator[Contents]:
    """What the state says of segment 56 after each of its steps, with every id in every situation."""
    for batch, answer in [
        (add(*IDS), ACKNOWLEDGED),
        (remove(*IDS), ACKNOWLEDGED),
        (add(*IDS), unknown(NOW - 2)),
        (add(*IDS[:4]), ACKNOWLEDGED),
        (remove(*IDS[2:6]), acknowledged_after_unknown(NOW - 1)),
    ]:
        settle(segment, (batch, answer))
        segment.compact()
        yield state.look()
    segment.record(findings(vanished=["a"], appeared=["b"], lingering=["c"], gone=["d"]))
    segment.add_found(lambda: iter([["e", "g"]]), Reason.ADOPTED)
    yield state.look()
    mark_in_every_way(segment)
    segment.record(findings(vanished=["g"]))
    settle(segment, (remove(*IDS), ACKNOWLEDGED))
    segment.compact()
    yield state.look()
    mark_in_every_way(segment)
    settle(segment, (add(*IDS), ACKNOWLEDGED))
    segment.compact()
    yield state.look()
    state.clock.time += MONTH
    segment.complete()
    segment.compact()
    yield state.look()


def test_a_segment_lives_as_if_it_were_alone(sqlite_state: StateFixture, tmp_path):
    alone = StateFixture(f"sqlite:///{tmp_path}/alone/state.db")
    with alone.store() as store, store.lock(alone.target(), "run", "apply", None) as segment:
        expected = list(live(segment, alone))

    state = sqlite_state
    with state.store() as store, store.lock(state.target(57), "run", "apply", None) as other:
        mark_in_every_way(other)
        other.compact()
        flying = other.intend([add("a", "b"), remove("c", "g")])
        other.settle([(flying[0], ACKNOWLEDGED)])
        before = state.look(57)
        with store.lock(state.target(), "run", "apply", None) as segment:
            found = list(live(segment, state))
        assert state.look(57) == before

    assert found == expected
    assert {mark for _, mark, _ in before.marks} == {"unmatched", "removed", "rejected", "unsettled", "echo"}
    assert len(before.journal) == 2


def test_batches_of_two_segments_that_send_at_once_compact_each_into_their_own(state: StateFixture):
    with (
        state.store() as store,
        store.lock(state.target(56), "run", "apply", None) as one,
        store.lock(state.target(57), "run", "apply", None) as other,
    ):
        for number in range(3):
            settle(one, (add(f"one-{number}"), ACKNOWLEDGED))
            settle(other, (add(f"other-{number}"), ACKNOWLEDGED))
        one.compact()
        assert state.look(56).members == ("one-0", "one-1", "one-2")
        assert [ids for _, _, ids in state.look(57).journal] == [("other-0",), ("other-1",), ("other-2",)]
    assert state.look(57).members == ("other-0", "other-1", "other-2")
