"""What the state keeps of a request to create a segment, under the lock of its title."""

import pytest

from reconciler.errors import LockHeld
from reconciler.models.plan import Creation
from reconciler.state import admin, open_snapshot
from tests.support.states import StateFixture


def new(state: StateFixture, title: str = "VIP"):
    return state.target().changed(segment_id=None, segment=title)


def test_a_request_is_kept_until_its_answer_and_with_it(state: StateFixture):
    with state.store() as store:
        store.begin("run", "production", "apply", (), "plan")
        with store.lock(new(state), "run", "apply", "plan") as held:
            assert held.creations.find() is None
            held.creations.begin()
        with store.lock(new(state), "other", "apply", None) as held:
            found = held.creations.find()
            assert found == Creation(pytest.approx(found.asked_at), "plan", None)
            held.creations.end(61)
            assert held.creations.find().segment_id == 61
            held.creations.begin()
            assert held.creations.find() == Creation(pytest.approx(found.asked_at), None, None)
            held.creations.end(None)
            assert held.creations.find() is None


def test_each_title_has_a_lock_of_its_own_and_writes_no_segment(state: StateFixture):
    with (
        state.store() as store,
        store.lock(new(state), "run", "apply", None) as held,
        store.lock(new(state, "Other"), "run", "apply", None) as other,
    ):
        held.creations.begin()
        assert other.creations.find() is None
        with pytest.raises(LockHeld), store.lock(new(state), "second", "apply", None):
            pass
    assert list(open_snapshot(state.settings).listings("production")) == []


def test_a_segment_that_is_forgotten_was_never_asked_for(state: StateFixture):
    with state.store() as store, store.lock(new(state), "run", "apply", None) as held:
        held.creations.begin()
        held.creations.end(61)
        made = new(state).changed(segment_id=61)
        with store.lock(made, "run", "apply", None) as segment:
            segment.complete()
    (listing,) = open_snapshot(state.settings).listings("production")
    assert (listing.segment_id, listing.title) == (61, "VIP")
    assert admin.forget(state.settings, "production", 61)
    with state.store() as store, store.lock(new(state), "run", "apply", None) as held:
        assert held.creations.find() is None
