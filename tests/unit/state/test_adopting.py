"""`refresh`: the snapshot becomes what is there, all at once."""

import pytest

from reconciler.models.drift import Adoption
from reconciler.models.ids import IdType
from tests.support.states import ACKNOWLEDGED, Bench, add, adoption, lists, remove, unknown

NOW = 1_800_000_000.0


def adopt(bench: Bench, found: Adoption) -> None:
    target = bench.target(id_type=found.id_type)
    with bench.store() as store, store.lock(target, "run", None) as segment:
        segment.adopt(found)


def test_a_segment_that_the_state_never_met_is_bootstrapped(bench: Bench):
    adopt(bench, adoption(members=["a", "b", "c"]))
    assert bench.look().members == ("a", "b", "c")
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        assert not segment.head().is_new
        assert not segment.head().completed


def test_what_was_stored_is_replaced_and_the_lineage_stays(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        before = segment.head()
    adopt(bench, adoption(members=["b", "c"], unmatched=["a"]))
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        assert segment.head().lineage == before.lineage
        assert segment.head().serial > before.serial
    assert bench.look().members == ("b", "c")
    assert bench.look().marks == (("a", "unmatched", None),)


def test_tombstones_that_linger_become_unsettled_removes_and_others_are_forgotten(bench: Bench):
    bench.send((add("a", "b"), ACKNOWLEDGED))
    bench.send((remove("a", "b"), ACKNOWLEDGED))
    adopt(bench, adoption(lingering=["a"]))
    assert bench.look().members == ()
    assert bench.look().marks == (("a", "unsettled", "remove"),)


def test_unsettled_ids_become_members_or_unmatched_with_an_echo(bench: Bench):
    bench.send((add("there", "not there"), unknown(NOW)))
    adopt(bench, adoption(members=["there"], unmatched=["not there"]))
    assert bench.look().members == ("there",)
    assert bench.look().marks == (
        ("not there", "echo", "add"),
        ("not there", "unmatched", None),
        ("there", "echo", "add"),
    )


def test_rejections_of_ids_that_are_not_there_are_kept(bench: Bench):
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        segment.reject(["bad", "good by now"])
    adopt(bench, adoption(members=["good by now"]))
    assert bench.look().marks == (("bad", "rejected", None),)


def test_another_id_type_leaves_nothing_of_the_old_ids(bench: Bench):
    bench.send((add("1", "2"), ACKNOWLEDGED), (remove("3"), unknown(NOW)))
    adopt(bench, adoption(members=["a@b"], id_type=IdType.EMAIL))
    assert bench.look().members == ("a@b",)
    assert bench.look().marks == ()
    with bench.store() as store, store.lock(bench.target(), "run", None) as segment:
        assert segment.head().id_type == "email"


def test_a_refresh_that_breaks_off_changes_nothing_and_the_next_run_sweeps_up(bench: Bench):
    bench.send((add("a"), ACKNOWLEDGED))
    before = bench.look()

    def broken():
        yield ["x", "y"]
        raise RuntimeError("the page did not come")

    with pytest.raises(RuntimeError):
        adopt(bench, Adoption(IdType.ID, broken, lists([]), lists([])))
    assert bench.look() == before

    with bench.store() as store, store.lock(bench.target(), "run", None):
        pass
    with bench.store() as store, store._database.read() as connection:
        from sqlalchemy import text

        assert connection.execute(text("SELECT count(*) FROM reconcile_members")).scalar_one() == 1
        assert connection.execute(text("SELECT count(*) FROM reconcile_keys")).scalar_one() == 1


def test_a_reader_meanwhile_sees_the_old_or_the_new_never_a_part(bench: Bench):
    bench.send((add("a", "b", "c"), ACKNOWLEDGED))
    seen = []

    def watched():
        for ids in (["b"], ["c"], ["d"]):
            seen.append(bench.look().members)
            yield ids

    adopt(bench, Adoption(IdType.ID, watched, lists(["a"]), lists([])))
    assert set(seen) == {("a", "b", "c")}
    assert bench.look().members == ("b", "c", "d")
