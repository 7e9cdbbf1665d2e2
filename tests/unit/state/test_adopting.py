"""`refresh`: the snapshot becomes what is there, all at once."""

from dataclasses import replace

import pytest

from reconciler.models.comparison import Adoption
from reconciler.models.ids import IdType
from tests.support.states import ACKNOWLEDGED, StateFixture, add, adoption, remove, unknown

NOW = 1_800_000_000.0


def adopt(state: StateFixture, found: Adoption) -> None:
    target = state.target(id_type=found.id_type)
    with state.store() as store, store.lock(target, "run", "apply", None) as segment:
        segment.replace_snapshot(found)


def test_a_segment_that_the_state_never_met_is_bootstrapped(state: StateFixture):
    adopt(state, adoption(members=["a", "b", "c"]))
    assert state.look().members == ("a", "b", "c")
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert not segment.head().is_new
        assert not segment.head().completed


def test_what_was_stored_is_replaced_and_the_lineage_stays(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        before = segment.head()
    adopt(state, adoption(members=["b", "c"], unmatched=["a"]))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.head().lineage == before.lineage
        assert segment.head().serial > before.serial
    assert state.look().members == ("b", "c")
    assert state.look().marks == (("a", "unmatched", None),)


def test_tombstones_that_linger_become_unsettled_removes_and_others_are_forgotten(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    state.send((remove("a", "b"), ACKNOWLEDGED))
    adopt(state, adoption(lingering=["a"]))
    assert state.look().members == ()
    assert state.look().marks == (("a", "unsettled", "remove"),)


def test_unsettled_ids_become_members_or_unmatched_with_an_echo(state: StateFixture):
    state.send((add("there", "not there"), unknown(NOW)))
    adopt(state, adoption(members=["there"], unmatched=["not there"]))
    assert state.look().members == ("there",)
    assert state.look().marks == (
        ("not there", "echo", "add"),
        ("not there", "unmatched", None),
        ("there", "echo", "add"),
    )


def test_rejections_of_ids_that_are_not_there_are_kept(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.reject(["bad", "good by now"])
    adopt(state, adoption(members=["good by now"]))
    assert state.look().marks == (("bad", "rejected", None),)


def test_another_id_type_leaves_nothing_of_the_old_ids(state: StateFixture):
    state.send((add("1", "2"), ACKNOWLEDGED), (remove("3"), unknown(NOW)))
    adopt(state, adoption(members=["a@b"], id_type=IdType.EMAIL))
    assert state.look().members == ("a@b",)
    assert state.look().marks == ()
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        assert segment.head().id_type == "email"


def test_a_refresh_that_breaks_off_changes_nothing_and_the_next_run_sweeps_up(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    before = state.look()

    def broken():
        yield ["x", "y"]
        raise RuntimeError("the page did not come")

    with pytest.raises(RuntimeError):
        adopt(state, replace(adoption(), members=broken))
    assert state.look() == before

    with state.store() as store, store.lock(state.target(), "run", "apply", None):
        pass
    with state.store() as store, store.database.read() as connection:
        from sqlalchemy import text

        assert connection.execute(text("SELECT count(*) FROM reconcile_members")).scalar_one() == 1
        assert connection.execute(text("SELECT count(*) FROM reconcile_keys")).scalar_one() == 1


def test_a_reader_meanwhile_sees_the_old_or_the_new_never_a_part(state: StateFixture):
    state.send((add("a", "b", "c"), ACKNOWLEDGED))
    seen = []

    def watched():
        for ids in (["b"], ["c"], ["d"]):
            seen.append(state.look().members)
            yield ids

    adopt(state, replace(adoption(unmatched=["a"]), members=watched))
    assert set(seen) == {("a", "b", "c")}
    assert state.look().members == ("b", "c", "d")
