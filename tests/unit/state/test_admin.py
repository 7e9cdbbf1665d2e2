"""Repairing a state: forgetting, backups, moving to another database."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Connection

from reconciler.errors import LeaseLost, LockHeld, StateError, UsageError
from reconciler.git import identify
from reconciler.models.fields import Secret
from reconciler.models.plan import Head, PlanStatus, SegmentPlan
from reconciler.models.results import RunStatus, SegmentRun, Tally
from reconciler.state import admin, open_snapshot, store_plan
from reconciler.state.admin import backup, copy_tables, copy_to, forget, is_empty
from reconciler.state.database import Database, add_row
from reconciler.state.lock import SegmentRef, mark_forgotten
from reconciler.state.runtime import Runtime
from reconciler.state.tables import METADATA
from tests.support.states import (
    ACKNOWLEDGED,
    FakeMachine,
    StateFixture,
    acknowledged_after_unknown,
    add,
    findings,
    remove,
    unknown,
)

NOW = 1_800_000_000.0
ELSEWHERE = FakeMachine(host="there", pid=300, running={300: "t300"})


def fill(state: StateFixture) -> None:
    """Something in every table."""
    with state.store() as store:
        store.bind("production", 77)
        store.begin("run", "production", "apply", ["max_removals: vip"], None)
        store.spend("plan-0")
    state.send((add("a", "b", "ü\\n", "x"), ACKNOWLEDGED), plan_id="plan-1")
    state.send((remove("x"), ACKNOWLEDGED), (add("u"), unknown(NOW)), (add("e"), acknowledged_after_unknown(NOW)))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=["a"]))
        segment.complete()
        segment.keep_listing(Head(), "VIP customers")
        segment.intend([add("late")])
        result = SegmentRun(SegmentPlan(state.target(), PlanStatus.CHANGES), RunStatus.APPLIED, Tally(added=4))
        store.end("run", "production", 0, "{}", [result])
        with store.database.write() as connection:
            values = {"run_id": "run", "asked_at": NOW, "segment_id": 56}
            add_row(connection, "reconcile_creations", workspace="production", title="VIP customers", **values)
            mark_forgotten(connection, SegmentRef("production", 9, "old"))
    store_plan(state.settings, "plan-2", datetime.now(UTC), [b"a plan", b"of two lines"])


def around(state: StateFixture, machine: FakeMachine | None = None) -> Runtime:
    return Runtime(state.clock, machine or state.machine)


def rows_of(url: str) -> dict[str, list]:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
            for table in METADATA.sorted_tables
            if table.name != "reconcile_locks"
        }


# --- forget ----------------------------------------------------------------------------------------------------------


def test_forgetting_drops_all_of_one_segment_and_nothing_else(state: StateFixture):
    fill(state)
    with state.store() as store, store.lock(state.target(57), "run", "apply", None) as segment:
        segment.complete()

    assert forget(state.settings, "production", 56, runtime=around(state))

    snapshot = open_snapshot(state.settings)
    assert snapshot.head("production", 56).is_new
    assert not snapshot.head("production", 57).is_new
    left = rows_of(state.url)
    assert (left["reconcile_members"], left["reconcile_marks"], left["reconcile_batches"]) == ([], [], [])
    assert left["reconcile_creations"] == []
    assert len(left["reconcile_keys"]) == 1


def test_forgetting_what_is_not_known_says_so(state: StateFixture):
    fill(state)
    assert not forget(state.settings, "production", 99, runtime=around(state))


def test_a_note_of_a_creation_is_listed_until_there_is_a_row_and_can_be_forgotten(state: StateFixture):
    fill(state)
    with state.store() as store, store.database.write() as connection:
        values = {"run_id": "run", "asked_at": NOW, "segment_id": 61}
        add_row(connection, "reconcile_creations", workspace="production", title="Brand new", **values)

    for alone in (False, True):
        known = open_snapshot(state.settings, alone=alone).listings("production")
        assert [(each.segment_id, each.title) for each in known if each.is_note] == [(61, "Brand new")]
        assert [each.segment_id for each in known].count(56) == 1
    assert forget(state.settings, "production", 61, runtime=around(state))
    assert not forget(state.settings, "production", 61, runtime=around(state))


def test_forgetting_takes_the_lock(state: StateFixture):
    fill(state)
    with state.store() as store, store.lock(state.target(), "run", "apply", None):
        with pytest.raises(LockHeld):
            forget(state.settings, "production", 56, runtime=around(state, ELSEWHERE))
    assert not open_snapshot(state.settings).head("production", 56).is_new


def test_a_forgotten_segment_that_comes_back_has_a_new_lineage(state: StateFixture):
    fill(state)
    before = open_snapshot(state.settings).head("production", 56).lineage
    forget(state.settings, "production", 56, runtime=around(state))
    state.send((add("a"), ACKNOWLEDGED))
    assert open_snapshot(state.settings).head("production", 56).lineage != before
    assert state.look().members == ("a",)


# --- backup ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_a_state_of_its_own_that_only_its_owner_can_read(state: StateFixture, tmp_path):
    fill(state)
    path = tmp_path / "copy.db"
    backup(state.settings, str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert rows_of(f"sqlite:///{path}") == rows_of(state.url)


def test_a_backup_can_be_made_while_somebody_works(state: StateFixture, tmp_path):
    fill(state)
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.intend([add("on its way")])
        backup(state.settings, str(tmp_path / "copy.db"))
    copy = StateFixture(f"sqlite:///{tmp_path}/copy.db")
    assert ("add", None, ("on its way",)) in copy.look().journal


def test_a_run_goes_on_while_a_backup_copies(state: StateFixture, tmp_path, monkeypatch: pytest.MonkeyPatch):
    def copy_meanwhile(source: Connection, target: Database, writing: Connection) -> None:
        assert not is_empty(source)
        state.send((add("meanwhile"), ACKNOWLEDGED))
        copy_tables(source, target, writing)

    fill(state)
    monkeypatch.setattr(admin, "copy_tables", copy_meanwhile)

    backup(state.settings, str(tmp_path / "copy.db"))

    assert "meanwhile" not in StateFixture(f"sqlite:///{tmp_path}/copy.db").look().members


def test_a_backup_writes_over_nothing(state: StateFixture, tmp_path):
    fill(state)
    path = tmp_path / "copy.db"
    path.write_text("precious")
    with pytest.raises(UsageError, match="left as it is"):
        backup(state.settings, str(path))
    assert path.read_text() == "precious"


def test_there_is_no_backup_of_a_state_that_is_missing(state: StateFixture, tmp_path):
    with pytest.raises(StateError, match="no state"):
        backup(state.settings, str(tmp_path / "copy.db"))
    assert list(tmp_path.iterdir()) == []


# --- copy ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_url(url: str, postgres_url: str, tmp_path) -> str:
    """A place in the other kind of database than the state is in."""
    return postgres_url if url.startswith("sqlite") else f"sqlite:///{tmp_path}/moved/state.db"


def test_a_state_moves_between_databases_whole(state: StateFixture, other_url: str):
    fill(state)
    before = state.look(), open_snapshot(state.settings).head("production", 56)

    copy_to(state.settings, Secret(other_url), runtime=around(state))

    moved = StateFixture(other_url, state.clock)
    assert [table for table, rows in rows_of(state.url).items() if not rows] == ["reconcile_dropped"]
    assert rows_of(other_url) == rows_of(state.url)
    (listed,) = open_snapshot(moved.settings).listings("production")
    assert (listed.title, listed.spec) == ("VIP customers", identify(state.target().spec.path))
    assert (moved.look(), open_snapshot(moved.settings).head("production", 56)) == before


def test_who_opened_the_old_place_before_it_was_closed_gets_no_lock_in_it(state: StateFixture, other_url: str):
    fill(state)
    with state.store() as store:
        copy_to(state.settings, Secret(other_url), runtime=around(state))

        with pytest.raises(StateError, match="has moved"), store.lock(state.target(), "run", "apply", None):
            pass


def test_a_holder_whose_lock_was_gone_when_the_state_moved_writes_no_more(state: StateFixture, other_url: str):
    unseen = FakeMachine(pid=300, running={300: "t300"})  # of this host, and no process as far as can be seen
    fill(state)

    def move_and_write() -> None:
        with state.store(machine=unseen) as store, store.lock(state.target(), "run", "apply", None) as segment:
            copy_to(state.settings, Secret(other_url), runtime=around(state))
            segment.intend([add("late")])

    with pytest.raises(LeaseLost):
        move_and_write()


def test_a_copy_that_differs_is_not_kept(state: StateFixture, other_url: str, monkeypatch: pytest.MonkeyPatch):
    def lose_one(source: Connection, target: Database, writing: Connection) -> None:
        copy_tables(source, target, writing)
        writing.exec_driver_sql("DELETE FROM reconcile_members WHERE id = 'b'")

    fill(state)
    monkeypatch.setattr(admin, "copy_tables", lose_one)

    with pytest.raises(StateError, match="differs"):
        copy_to(state.settings, Secret(other_url), runtime=around(state))

    assert "b" in state.look().members
    assert StateFixture(other_url).look().members == ()


def test_a_state_that_moved_goes_on(state: StateFixture, other_url: str):
    fill(state)
    copy_to(state.settings, Secret(other_url), runtime=around(state))
    moved = StateFixture(other_url, state.clock)
    moved.send((add("new"), ACKNOWLEDGED))
    with moved.store() as store, store.lock(moved.target(57), "run", "apply", None) as segment:
        segment.complete()
    assert "new" in moved.look().members


def test_a_state_is_not_copied_over_another(state: StateFixture, other_url: str):
    fill(state)
    other = StateFixture(other_url, state.clock)
    other.send((add("precious"), ACKNOWLEDGED))
    with pytest.raises(UsageError, match="a state already"):
        copy_to(state.settings, Secret(other_url), runtime=around(state))
    assert other.look().members == ("precious",)


def test_a_state_is_not_copied_while_somebody_works(state: StateFixture, other_url: str):
    fill(state)
    with state.store() as store, store.lock(state.target(), "run", "apply", None):
        with pytest.raises(LockHeld, match="in use"):
            copy_to(state.settings, Secret(other_url), runtime=around(state, ELSEWHERE))


def test_a_state_is_not_copied_onto_itself(state: StateFixture):
    fill(state)
    with pytest.raises(UsageError, match="already is"):
        copy_to(state.settings, Secret(state.url), runtime=around(state))


def test_locks_are_not_copied(state: StateFixture, other_url: str):
    fill(state)
    copy_to(state.settings, Secret(other_url), runtime=around(state))
    engine = sqlalchemy.create_engine(other_url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM reconcile_locks").scalar_one() == 0


def test_a_copy_into_sqlite_is_its_owners_alone(state: StateFixture, tmp_path):
    fill(state)
    copy_to(state.settings, Secret(f"sqlite:///{tmp_path}/second.db"), runtime=around(state))
    assert Path(tmp_path / "second.db").stat().st_mode & 0o777 == 0o600
