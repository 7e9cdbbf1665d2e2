"""A segment that holds nobody is forgotten under its lock; and what it is listed as is remembered."""

import pytest
from sqlalchemy import text

from reconciler.errors import StateError
from reconciler.git import identify
from reconciler.models.plan import Head
from reconciler.state import open_snapshot
from reconciler.state.database import add_row
from tests.support.states import ACKNOWLEDGED, StateFixture, add, findings, remove, unknown

NOW = 1_800_000_000.0
TABLES = ("segments", "keys", "members", "marks", "batches", "creations")


def count_rows(state: StateFixture) -> dict[str, int]:
    with state.store() as store, store.database.read() as connection:
        return {name: connection.execute(text(f"SELECT count(*) FROM reconcile_{name}")).scalar() for name in TABLES}


def forget(state: StateFixture) -> bool:
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        return segment.forget()


def test_all_goes_but_the_history_and_the_lock(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    state.send((remove("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        store.begin("run", "production", "apply", (), None)
        segment.reject(["bad"])
        with store.database.write() as connection:
            values = {"run_id": "run", "asked_at": NOW, "segment_id": 56}
            add_row(connection, "reconcile_creations", workspace="production", title="VIP", **values)

    assert forget(state)

    assert set(count_rows(state).values()) == {0}
    assert open_snapshot(state.settings).head("production", 56).is_new
    with state.store() as store, store.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM reconcile_runs")).scalar() == 1
        assert connection.execute(text("SELECT fence FROM reconcile_locks")).scalar() == 4


def test_a_segment_that_holds_somebody_in_any_way_is_not_forgotten(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    assert not forget(state)
    state.send((remove("a"), ACKNOWLEDGED), (add("b"), unknown(NOW)))
    assert not forget(state)
    state.send((remove("b"), ACKNOWLEDGED), (add("c"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=["c"]))
        assert (segment.count().unmatched, segment.count().held) == (1, 1)
        assert not segment.forget()
    state.send((remove("c"), ACKNOWLEDGED))
    assert forget(state)
    assert not forget(state), "the state does not know it"


def test_a_segment_can_be_written_anew_under_the_lock_that_forgot_it(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    state.send((remove("a"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        lineage = segment.head().lineage
        assert segment.forget()
        segment.complete()
        assert segment.head().lineage not in (None, lineage)


def forget_and_get_back(state: StateFixture) -> None:
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        with store.database.read() as connection:
            row = connection.execute(text("SELECT * FROM reconcile_segments")).mappings().one()
        assert segment.forget()
        with store.database.write() as connection:
            add_row(connection, "reconcile_segments", **row)
        segment.complete()


def test_a_row_that_comes_back_after_it_was_forgotten_is_of_an_earlier_time(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    state.send((remove("a"), ACKNOWLEDGED))
    with pytest.raises(StateError, match="lost"):
        forget_and_get_back(state)


def test_name_spec_and_title_are_written_where_they_differ_and_raise_no_serial(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    before = open_snapshot(state.settings).head("production", 56)
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.keep_listing(before, "VIP customers")
    after = open_snapshot(state.settings).head("production", 56)
    assert (after.name, after.title) == ("vip", "VIP customers")
    assert after.spec == identify(state.target().spec.path)
    assert after.version == before.version
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.keep_listing(after, None)
    assert open_snapshot(state.settings).head("production", 56).title == "VIP customers", "not asked is not gone"


def test_whether_the_last_attempt_was_read_back_is_known(state: StateFixture):
    assert not Head().confirmed
    state.send((add("a"), ACKNOWLEDGED))
    assert not open_snapshot(state.settings).head("production", 56).confirmed
    state.clock.time += 1
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings())
    assert open_snapshot(state.settings).head("production", 56).confirmed
    state.clock.time += 1
    state.send((remove("a"), ACKNOWLEDGED))
    assert not open_snapshot(state.settings).head("production", 56).confirmed
