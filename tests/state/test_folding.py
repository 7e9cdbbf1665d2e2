"""Folding changes no id's status: before and after it, the state says the same of everybody."""

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.batches import Batch, Direction
from reconciler.engine.ports import Census
from reconciler.state import folding
from tests.support.states import ACKNOWLEDGED, REFUSED, Bench, Contents, acknowledged_after_unknown, findings, unknown

NOW = 1_800_000_000.0
IDS = ["a", "b", "c", "d"]

ANSWERS = [ACKNOWLEDGED, acknowledged_after_unknown(NOW - 1), unknown(NOW - 1), REFUSED]
steps = st.one_of(
    st.tuples(st.sampled_from(Direction), st.sets(st.sampled_from(IDS), min_size=1), st.sampled_from(ANSWERS)),
    st.sampled_from(["fold", "read back", "run anew"]),
)

Statuses = dict[str, str]


_GONE = ("remove", "acknowledged")


def status_of(contents: Contents, id: str) -> str:
    """The rule that everybody who reads a state goes by."""
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
        if answer.fate != ACKNOWLEDGED.fate:
            statuses[id] = f"unsettled {direction}"
        elif direction is Direction.REMOVE:
            statuses[id] = "absent"
            unmatched.discard(id)
        else:
            statuses[id] = "unmatched" if id in unmatched else "member"


def census_of(statuses: Statuses) -> Census:
    said = list(statuses.values())
    return Census(said.count("member"), sum(s.startswith("unsettled") for s in said), said.count("unmatched"))


def check_life(bench: Bench, segment_id: int, life: list) -> None:
    statuses, unmatched = dict.fromkeys(IDS, "absent"), set()
    target = bench.target(segment_id)
    with bench.ledger() as ledger:
        todo = iter(life)
        going_on = True
        while going_on:
            going_on = False
            with ledger.hold(target, "run", None) as held:
                for step in todo:
                    if step == "run anew":
                        going_on = True
                        break
                    if step == "fold":
                        held.fold()
                    elif step == "read back":
                        vanished = [id for id in IDS if statuses[id] == "member"][:1]
                        held.record(findings(vanished=vanished))
                        unmatched.update(vanished)
                        statuses.update(dict.fromkeys(vanished, "unmatched"))
                    else:
                        (seq,) = held.intend([Batch(step[0], tuple(sorted(step[1])))])
                        held.settle([(seq, step[2])])
                        expect(statuses, unmatched, step)
                assert statuses_of(bench.look(segment_id)) == statuses
                assert held.census() == census_of(statuses)
            folded = bench.look(segment_id)
            assert folded.journal == ()
            assert statuses_of(folded) == statuses


SEGMENT_IDS = count(1)


SAME_STATE = [HealthCheck.function_scoped_fixture]  # each life has a segment of its own


@given(life=st.lists(steps, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=SAME_STATE)
def test_whatever_happens_folding_changes_no_status(sqlite_bench: Bench, life):
    check_life(sqlite_bench, next(SEGMENT_IDS), life)


@given(life=st.lists(steps, max_size=12))
@settings(max_examples=6, deadline=None, suppress_health_check=SAME_STATE)
def test_whatever_happens_folding_changes_no_status_on_postgresql(postgres_url: str, life):
    check_life(Bench(postgres_url), next(SEGMENT_IDS), life)


def test_a_removal_in_the_journal_ends_that_an_id_is_unmatched(bench: Bench):
    (a, *_) = IDS
    life = [(Direction.ADD, {a}, ACKNOWLEDGED), "read back", (Direction.REMOVE, {a}, ACKNOWLEDGED)]
    check_life(bench, next(SEGMENT_IDS), [*life, (Direction.ADD, {a}, ACKNOWLEDGED)])


def test_many_batches_fold_in_several_transactions(bench: Bench, monkeypatch):
    monkeypatch.setattr(folding, "IDS_PER_CHUNK", 4)
    batches = [Batch(Direction.ADD, (f"{n}-a", f"{n}-b", f"{n}-c")) for n in range(7)]
    with bench.ledger() as ledger, ledger.hold(bench.target(), "run", None) as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend(batches)])
        serial = held.head().serial
    assert len(bench.look().members) == 21
    with bench.ledger() as ledger, ledger.hold(bench.target(), "run", None) as held:
        assert held.head().serial == serial, "folding changes nothing that a plan rests on"


def test_who_writes_for_long_makes_way_for_the_heartbeats_of_others(sqlite_bench: Bench, monkeypatch):
    bench = sqlite_bench
    monkeypatch.setattr(folding, "IDS_PER_CHUNK", 1)
    with bench.ledger() as ledger, ledger.hold(bench.target(), "run", None) as held:
        seqs = held.intend([Batch(Direction.ADD, (str(number),)) for number in range(8)])
        held.settle([(seq, ACKNOWLEDGED) for seq in seqs])
        bench.clock.sleep = bench.clock.slept.append
        bench.clock.boot = count(step=0.25).__next__  # each transaction takes a quarter of a second
        held.fold()
        bench.clock.boot = bench.clock.wall
    assert len(bench.clock.slept) == 2


def test_what_is_on_its_way_is_folded_by_nobody_nor_what_came_after_it(bench: Bench):
    with bench.ledger() as ledger, ledger.hold(bench.target(), "run", None) as held:
        flying, landed = held.intend([Batch(Direction.ADD, ("a",)), Batch(Direction.REMOVE, ("a",))])
        held.settle([(landed, ACKNOWLEDGED)])
        held.fold()
        assert bench.look().journal == (("add", None, ("a",)), ("remove", "acknowledged", ("a",)))
        held.settle([(flying, ACKNOWLEDGED)])
    assert bench.look().members == ()
