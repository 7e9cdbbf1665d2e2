"""Compaction changes no status of an id: before and after it, the state says the same of every id."""

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.models.batches import Batch, Direction
from reconciler.models.id_status import StateCounts
from reconciler.models.ids import IdType
from reconciler.state import journal
from tests.support.states import (
    ACKNOWLEDGED,
    REFUSED,
    Contents,
    StateFixture,
    acknowledged_after_unknown,
    findings,
    unknown,
)

NOW = 1_800_000_000.0
IDS = ["a", "b", "c", "d"]

ANSWERS = [ACKNOWLEDGED, acknowledged_after_unknown(NOW - 1), unknown(NOW - 1), REFUSED]
steps = st.one_of(
    st.tuples(st.sampled_from(Direction), st.sets(st.sampled_from(IDS), min_size=1), st.sampled_from(ANSWERS)),
    st.sampled_from(["compact", "read back", "run anew"]),
)

Statuses = dict[str, str]


_GONE = ("remove", "acknowledged")


def status_of(contents: Contents, id: str) -> str:
    """The rule by which a state is read, written a second time."""
    marks = {mark: direction for owner, mark, direction in contents.marks if owner == id}
    for direction, outcome, ids in reversed(contents.journal):
        if id in ids and outcome != "acknowledged":
            return f"unsettled {direction}"
        if id in ids:
            if direction == "remove":
                return "absent"
            removed = any(id in ids for direction, outcome, ids in contents.journal if (direction, outcome) == _GONE)
            return "unmatched" if "unmatched" in marks and not removed else "member"
    if "unsettled" in marks:
        return f"unsettled {marks['unsettled']}"
    if "unmatched" in marks:
        return "unmatched"
    return "member" if id in contents.members else "absent"


def statuses_of(contents: Contents) -> Statuses:
    return {id: status_of(contents, id) for id in IDS}


def expect(statuses: Statuses, unmatched: set[str], step: tuple) -> None:
    """What one batch makes of the statuses."""
    direction, ids, answer = step
    for id in ids if answer.may_be_applied else ():
        if answer.outcome != ACKNOWLEDGED.outcome:
            statuses[id] = f"unsettled {direction}"
        elif direction is Direction.REMOVE:
            statuses[id] = "absent"
            unmatched.discard(id)
        else:
            statuses[id] = "unmatched" if id in unmatched else "member"


def census_of(statuses: Statuses) -> StateCounts:
    said = list(statuses.values())
    return StateCounts(said.count("member"), sum(s.startswith("unsettled") for s in said), said.count("unmatched"))


def check_life(state: StateFixture, segment_id: int, life: list) -> None:
    statuses, unmatched = dict.fromkeys(IDS, "absent"), set()
    target = state.target(segment_id)
    with state.store() as store:
        todo = iter(life)
        going_on = True
        while going_on:
            going_on = False
            with store.lock(target, "run", "apply", None) as segment:
                for step in todo:
                    if step == "run anew":
                        going_on = True
                        break
                    if step == "compact":
                        segment.compact()
                    elif step == "read back":
                        vanished = [id for id in IDS if statuses[id] == "member"][:1]
                        segment.record(findings(vanished=vanished))
                        unmatched.update(vanished)
                        statuses.update(dict.fromkeys(vanished, "unmatched"))
                    else:
                        (seq,) = segment.intend([Batch(step[0], tuple(sorted(step[1])))])
                        segment.settle([(seq, step[2])])
                        expect(statuses, unmatched, step)
                assert statuses_of(state.look(segment_id)) == statuses
                assert segment.count() == census_of(statuses)
            compacted = state.look(segment_id)
            assert compacted.journal == ()
            assert statuses_of(compacted) == statuses


SEGMENT_IDS = count(1)


SAME_STATE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # each life has a segment of its own


@given(life=st.lists(steps, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=SAME_STATE)
def test_whatever_happens_compaction_changes_no_status(sqlite_state: StateFixture, life):
    check_life(sqlite_state, next(SEGMENT_IDS), life)


@given(life=st.lists(steps, max_size=12))
@settings(max_examples=6, deadline=None, suppress_health_check=SAME_STATE)
def test_whatever_happens_compaction_changes_no_status_on_postgresql(postgres_url: str, life):
    check_life(StateFixture(postgres_url), next(SEGMENT_IDS), life)


def test_a_removal_in_the_journal_ends_that_an_id_is_unmatched(state: StateFixture):
    (a, *_) = IDS
    life = [(Direction.ADD, {a}, ACKNOWLEDGED), "read back", (Direction.REMOVE, {a}, ACKNOWLEDGED)]
    check_life(state, next(SEGMENT_IDS), [*life, (Direction.ADD, {a}, ACKNOWLEDGED)])


def test_many_batches_compact_in_several_transactions(state: StateFixture, monkeypatch):
    monkeypatch.setattr(journal, "IDS_PER_CHUNK", 4)
    batches = [Batch(Direction.ADD, (f"{n}-a", f"{n}-b", f"{n}-c")) for n in range(7)]
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.settle([(seq, ACKNOWLEDGED) for seq in segment.intend(batches)])
        serial = segment.head().serial
    assert len(state.look().members) == 21
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.head().serial == serial, "compaction changes nothing that a plan rests on"


def test_a_long_write_makes_way_for_the_heartbeats_of_others(sqlite_state: StateFixture, monkeypatch):
    state = sqlite_state
    monkeypatch.setattr(journal, "IDS_PER_CHUNK", 1)
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        seqs = segment.intend([Batch(Direction.ADD, (str(number),)) for number in range(8)])
        segment.settle([(seq, ACKNOWLEDGED) for seq in seqs])
        state.clock.sleep = state.clock.slept.append
        state.clock.boot = count(step=0.125).__next__  # each transaction asks twice, and takes a quarter of a second
        segment.compact()
        state.clock.boot = state.clock.wall
    assert len(state.clock.slept) == 2


def test_what_is_on_its_way_is_not_compacted_nor_what_came_after_it(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        flying, landed = segment.intend([Batch(Direction.ADD, ("a",)), Batch(Direction.REMOVE, ("a",))])
        segment.settle([(landed, ACKNOWLEDGED)])
        segment.compact()
        assert state.look().journal == (("add", None, ("a",)), ("remove", "acknowledged", ("a",)))
        segment.settle([(flying, ACKNOWLEDGED)])
    assert state.look().members == ()


def test_nothing_is_compacted_that_lies_between_two_on_their_way(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        seqs = segment.intend([Batch(Direction.ADD, (id,)) for id in IDS])
        segment.settle([(seqs[0], ACKNOWLEDGED), (seqs[2], ACKNOWLEDGED)])
        segment.compact()
        journal = [("add", None, ("b",)), ("add", "acknowledged", ("c",)), ("add", None, ("d",))]
        assert state.look() == Contents(("a",), (), tuple(journal))


def test_a_first_fill_goes_from_the_journal_to_the_members_in_one_statement(sqlite_state: StateFixture, monkeypatch):
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        monkeypatch.setattr(store.database, "pick_batches", None)
        seqs = segment.intend([Batch(Direction.ADD, ("a", "b")), Batch(Direction.ADD, ("b", "c"))])
        segment.settle([(seq, ACKNOWLEDGED) for seq in seqs])
        segment.compact()
    assert sqlite_state.look() == Contents(("a", "b", "c"), (), ())


def sizes_of_chunks(state: StateFixture, numbers: list[int]) -> list[list[int]]:
    """How the batches of a journal, with these numbers of ids, are taken together."""
    chunks = []
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        ids = map(str, count())
        seqs = segment.intend([Batch(Direction.ADD, tuple(next(ids) for _ in range(number))) for number in numbers])
        segment.settle([(seq, ACKNOWLEDGED) for seq in seqs])
        with store.database.write() as connection:
            more = True
            while more:
                more = journal.compact_chunk(store.database, connection, 1, IdType.ID)
                left = connection.exec_driver_sql("SELECT count(*) FROM reconcile_batches").scalar_one()
                chunks.append(numbers[sum(map(len, chunks)) : len(numbers) - left])
    return chunks


def test_a_chunk_is_as_many_whole_batches_as_it_may_have_ids_but_one_at_least(sqlite_state: StateFixture, monkeypatch):
    monkeypatch.setattr(journal, "IDS_PER_CHUNK", 4)
    assert sizes_of_chunks(sqlite_state, [2, 2, 1, 9, 1, 3, 1]) == [[2, 2], [1], [9], [1, 3], [1]]


def test_a_journal_of_any_length_is_compacted_to_its_end(sqlite_state: StateFixture):
    assert sum(map(len, sizes_of_chunks(sqlite_state, [1] * 1_100))) == 1_100
    assert sqlite_state.look().journal == ()
    assert len(sqlite_state.look().members) == 1_100


def test_of_two_attempts_of_unknown_fate_the_later_echoes_and_at_one_moment_the_last(sqlite_state: StateFixture):
    state, (a, b, c, _) = sqlite_state, IDS
    early, late = acknowledged_after_unknown(NOW - 9), acknowledged_after_unknown(NOW - 8)
    state.send((Batch(Direction.ADD, (a, b)), late), (Batch(Direction.ADD, (c,)), early))
    state.send((Batch(Direction.REMOVE, (a,)), late), (Batch(Direction.REMOVE, (b,)), early))
    state.send((Batch(Direction.REMOVE, (c,)), late))
    echoes = {id: mark for (id, kind), mark in state.marks().items() if kind == "echo"}
    assert echoes == {a: ("remove", NOW - 8), b: ("add", NOW - 8), c: ("remove", NOW - 8)}


def test_tombstones_and_echoes_last_to_the_second(sqlite_state: StateFixture):
    state = sqlite_state

    def kinds_after(seconds: float) -> set[str]:
        state.clock.time = NOW + seconds
        with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
            segment.compact()
        return {mark for _, mark, _ in state.look().marks}

    state.send((Batch(Direction.ADD, ("a", "b")), acknowledged_after_unknown(NOW)))
    state.send((Batch(Direction.REMOVE, ("a",)), ACKNOWLEDGED))
    assert kinds_after(24 * 3600) == {"removed", "echo"}
    assert kinds_after(24 * 3600 + 1) == {"removed"}
    assert kinds_after(30 * 24 * 3600) == {"removed"}
    assert kinds_after(30 * 24 * 3600 + 1) == set()


def test_a_mark_that_is_there_keeps_its_time_where_a_tombstone_lingers(sqlite_state: StateFixture):
    """An unsettled id stays so, as of the attempt that made it so."""
    state = sqlite_state
    state.send((Batch(Direction.ADD, ("a", "b")), unknown(NOW - 7)), (Batch(Direction.REMOVE, ("c",)), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(lingering=["a", "c"]))
        segment.record(findings(vanished=["b"]))
        state.clock.time += 60
        segment.record(findings(vanished=["b"]))
    assert state.marks() == {
        ("a", "unsettled"): ("add", NOW - 7),
        ("b", "unsettled"): ("add", NOW - 7),
        ("b", "unmatched"): (None, NOW + 60),
        ("c", "unsettled"): ("remove", NOW),
    }


def test_a_removal_leaves_a_tombstone_with_its_time_for_each_id(sqlite_state: StateFixture):
    """Also for one that was unmatched: sent again since its read-back, it may be there."""
    state, (a, b, c, d) = sqlite_state, IDS
    state.send((Batch(Direction.ADD, (a, b, c)), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=[a, b]))
    state.send((Batch(Direction.ADD, (b,)), unknown(NOW - 3)), (Batch(Direction.REMOVE, (a, b, c, d)), ACKNOWLEDGED))
    assert state.marks() == {(id, "removed"): (None, NOW) for id in (a, b, c, d)}
    state.clock.time += 60
    state.send((Batch(Direction.REMOVE, (c,)), ACKNOWLEDGED))
    assert state.marks()[c, "removed"] == (None, NOW + 60)
