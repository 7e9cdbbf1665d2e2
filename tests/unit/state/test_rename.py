"""Renaming a workspace: all of it or nothing, on both databases, while nobody works under either name."""

from collections.abc import Callable

import pytest
import sqlalchemy

from reconciler.errors import LeaseLost, LockHeld, StateError, UsageError
from reconciler.models.id_status import StateCounts
from reconciler.models.plan import Head, PlanStatus, SegmentPlan
from reconciler.models.results import RunStatus, SegmentRun
from reconciler.models.spec import Target
from reconciler.state import open_records, open_snapshot
from reconciler.state import rename as renaming
from reconciler.state.admin import upgrade
from reconciler.state.database import add_row
from reconciler.state.lock import NOTHING_SENT, SegmentRef
from reconciler.state.rename import rename
from reconciler.state.runtime import Runtime
from reconciler.state.tables import METADATA
from tests.support.old_states import make_old_state
from tests.support.states import ACKNOWLEDGED, FakeMachine, StateFixture, add, unknown

NOW = 1_800_000_000.0
ELSEWHERE = FakeMachine(host="there", pid=300, running={300: "t300"})

Rows = dict[str, list[tuple]]


@pytest.fixture
def filled(state: StateFixture) -> StateFixture:
    """What schema 0002 left (see `old_states`), with a segment that a run asked Customer.io to create."""
    make_old_state(state.url, "second_schema")
    upgrade(state.settings, runtime=Runtime(state.clock, state.machine))
    note_creation(state, "production", NOW)
    return state


def note_creation(state: StateFixture, workspace: str, asked_at: float) -> None:
    with state.store() as store, store.database.write() as connection:
        values = {"run_id": "run-3", "asked_at": asked_at}
        add_row(connection, "reconcile_creations", workspace=workspace, title="New ones", **values)


def around(state: StateFixture, machine: FakeMachine | None = None) -> Runtime:
    return Runtime(state.clock, machine or state.machine)


def in_workspace(state: StateFixture, workspace: str, segment_id: int = 56) -> Target:
    made = state.target(segment_id)
    destination = made.spec.destination.model_copy(update={"workspace": workspace})
    return Target(made.spec.model_copy(update={"destination": destination}), made.segment)


def rows_of(state: StateFixture) -> Rows:
    engine = sqlalchemy.create_engine(state.url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
            for table in METADATA.sorted_tables
        }


def with_name(rows: Rows, old: str, new: str) -> Rows:
    """The rows, but for the locks, as they are to be after a renaming."""
    return {
        name: sorted((tuple(new if value == old else value for value in row) for row in found), key=repr)
        for name, found in rows.items()
        if name != "reconcile_locks"
    }


def head_of(state: StateFixture, workspace: str, segment_id: int = 56) -> Head:
    return open_snapshot(state.settings).head(workspace, segment_id)


# --- a new name ------------------------------------------------------------------------------------------------------


def test_every_row_of_the_workspace_has_the_new_name_and_no_other_row_changes(filled: StateFixture):
    before, contents = rows_of(filled), filled.look()
    held = head_of(filled, "production")

    assert rename(filled.settings, "production", "live", runtime=around(filled)) == 2

    after = rows_of(filled)
    assert with_name(after, "live", "live") == with_name(before, "production", "live")
    with open_snapshot(filled.settings).read_segment("live", 56) as stored:
        assert (stored.head, stored.count().stored) == (held, len(contents.members) - 1)  # `y` is in the journal
    assert head_of(filled, "production") == Head()
    assert [row.run_id for row in open_records(filled.settings).runs("live", 9)] == ["run-3", "run-2", "run-0"]


def test_the_next_run_goes_on_under_the_new_name(filled: StateFixture):
    rename(filled.settings, "production", "live", runtime=around(filled))

    with filled.store() as store, store.lock(in_workspace(filled, "live"), "run", "apply", None) as segment:
        (seq,) = segment.intend([add("c")])
        segment.settle([(seq, ACKNOWLEDGED)])

    with open_snapshot(filled.settings).read_segment("live", 56) as stored:
        assert stored.count() == StateCounts(5, 2, 1)  # `y` has gone, `c` and `u` are there, `d` and `v` are unsettled


def test_a_name_may_be_given_back(filled: StateFixture):
    before = rows_of(filled)
    rename(filled.settings, "production", "live", runtime=around(filled))
    rename(filled.settings, "live", "production", runtime=around(filled))
    assert with_name(rows_of(filled), "", "") == with_name(before, "", "")


# --- two names of one environment ------------------------------------------------------------------------------------


def test_two_names_of_one_environment_become_one(filled: StateFixture):
    with filled.store() as store:  # one run that worked under both names
        for workspace in ("production", "prod"):
            store.begin("run-9", workspace, "apply", [], None)
            store.end("run-9", workspace, 0, "{}", [])

    assert rename(filled.settings, "prod", "production", runtime=around(filled)) == 3

    assert [each.segment_id for each in open_snapshot(filled.settings).listings("production")] == [56, 58, 60]
    assert head_of(filled, "production", 60).environment_id == 77
    runs = [row.run_id for row in open_records(filled.settings).runs("production", 9)]
    assert sorted(runs) == ["run-0", "run-1b", "run-2", "run-3", "run-9"]
    assert "prod" not in {
        value for rows in with_name(rows_of(filled), "", "").values() for row in rows for value in row
    }


@pytest.mark.parametrize(("old", "new"), [("prod", "production"), ("production", "prod")])
def test_two_names_that_hold_one_segment_are_refused_with_the_way_out(filled: StateFixture, old: str, new: str):
    with filled.store() as store, store.lock(in_workspace(filled, "prod"), "run", "apply", None) as segment:
        segment.complete()
    before = rows_of(filled)

    with pytest.raises(StateError, match="both hold segment 56") as caught:
        rename(filled.settings, old, new, runtime=around(filled))

    assert "state forget SPEC id:56" in caught.value.hint
    assert rows_of(filled) == before


def test_of_two_notes_about_one_title_the_later_one_stays(filled: StateFixture):
    note_creation(filled, "prod", NOW + 5)
    rename(filled.settings, "prod", "production", runtime=around(filled))
    ((workspace, _, _, asked_at, _),) = rows_of(filled)["reconcile_creations"]
    assert (workspace, asked_at) == ("production", NOW + 5)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("production", "staging", StateError, "environment 78"),
        ("nowhere", "live", StateError, "knows no workspace 'nowhere'"),
        ("production", "production", UsageError, "the same"),
        ("production", "a/b", UsageError, "can't be used"),
        ("production", "", UsageError, "can't be used"),
    ],
)
def test_what_can_not_be_renamed_changes_nothing(
    filled: StateFixture, old: str, new: str, error: type[Exception], words: str
):
    before = rows_of(filled)
    with pytest.raises(error, match=words):
        rename(filled.settings, old, new, runtime=around(filled))
    assert rows_of(filled) == before


def test_a_name_that_holds_segments_of_an_environment_that_is_not_known_is_refused(filled: StateFixture):
    with filled.store() as store, store.lock(in_workspace(filled, "unbound", 70), "run", "apply", None) as segment:
        segment.complete()
    for old, new in (("production", "unbound"), ("unbound", "production")):
        with pytest.raises(StateError, match="not known"):
            rename(filled.settings, old, new, runtime=around(filled))
    assert rename(filled.settings, "unbound", "other", runtime=around(filled)) == 1


def test_once_more_is_an_error_that_says_it_may_be_done(filled: StateFixture):
    rename(filled.settings, "production", "live", runtime=around(filled))
    with pytest.raises(StateError) as caught:
        rename(filled.settings, "production", "live", runtime=around(filled))
    assert "renamed already" in caught.value.hint


def test_there_is_nothing_to_rename_without_a_state(state: StateFixture):
    with pytest.raises(StateError, match="no state"):
        rename(state.settings, "production", "live", runtime=around(state))


# --- locks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["production", "prod"])
@pytest.mark.parametrize("segment_id", [56, 99, -7])  # the last one is as of a segment that is to be created
def test_while_a_run_has_a_lock_under_either_name_nothing_is_renamed(filled: StateFixture, held: str, segment_id: int):
    with filled.store(machine=ELSEWHERE) as store:
        lock = store.take_lock(SegmentRef(held, segment_id, "vip"), "run", "apply", NOTHING_SENT)
        before = rows_of(filled)
        with pytest.raises(LockHeld, match=f"{held}/.*is locked by"):
            rename(filled.settings, "prod", "production", runtime=around(filled))
        assert rows_of(filled) == before
        lock.release()
    assert rename(filled.settings, "prod", "production", runtime=around(filled)) == 3


def test_a_run_that_has_no_lock_yet_ends_under_the_new_name(filled: StateFixture):
    workspaces = ("production", "staging")
    plans = [SegmentPlan(in_workspace(filled, workspace), PlanStatus.FAILED) for workspace in workspaces]
    with filled.store() as store:
        for workspace in workspaces:
            store.begin("a run", workspace, "apply", [], None)
        rename(filled.settings, "production", "prod", runtime=around(filled))
        for workspace in workspaces:
            store.end("a run", workspace, 1, "{}", [SegmentRun(plan, RunStatus.FAILED) for plan in plans])
    found = {each.row.workspace: each.row for each in open_records(filled.settings).run("a run")}
    assert {name: (row.exit_code, row.segments) for name, row in found.items()} == {"prod": (1, 1), "staging": (1, 1)}


def test_a_run_in_another_workspace_is_no_obstacle(filled: StateFixture):
    with filled.store(machine=ELSEWHERE) as store, store.lock(in_workspace(filled, "staging", 6), "run", "apply", None):
        assert rename(filled.settings, "production", "live", runtime=around(filled)) == 2


def test_a_lock_is_waited_for(filled: StateFixture, monkeypatch: pytest.MonkeyPatch):
    with filled.store(machine=ELSEWHERE) as store:
        lock = store.lock(in_workspace(filled, "production"), "run", "apply", None)
        lock.__enter__()
        sleep = filled.clock.sleep

        def end_then_sleep(seconds: float) -> None:
            if len(filled.clock.slept) == 2:
                lock.__exit__(None, None, None)
            sleep(seconds)

        monkeypatch.setattr(filled.clock, "sleep", end_then_sleep)
        assert rename(filled.settings, "production", "live", lock_timeout=60, runtime=around(filled)) == 2
        assert len(filled.clock.slept) == 3


def test_a_holder_that_is_suspended_writes_no_more_and_what_it_sent_counts_until_now(filled: StateFixture):
    unseen = FakeMachine(pid=300, running={300: "t300"})  # of this host, and no process as far as can be seen
    with filled.store(machine=unseen) as store:
        lock = store.lock(in_workspace(filled, "production"), "run", "apply", None)
        segment = lock.__enter__()
        (seq,) = segment.intend([add("late")])
        segment.settle([(seq, unknown(filled.clock.time))])

        rename(filled.settings, "production", "live", runtime=around(filled))

        with pytest.raises(LeaseLost):
            segment.intend([add("later")])
    with filled.store() as store, store.lock(in_workspace(filled, "live"), "run", "apply", None) as segment:
        assert segment.taken_over_at is not None
        assert segment.doubtful_at() == segment.taken_over_at


# --- all or nothing --------------------------------------------------------------------------------------------------


def fail_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let statement `number` of a renaming fail after it was executed; returns how many there were."""
    done = 0
    real = renaming.run

    def run(*arguments: object, **values: object) -> int:
        nonlocal done
        touched = real(*arguments, **values)
        done += 1
        if done == number:
            raise StateError("the connection is gone")
        return touched

    monkeypatch.setattr(renaming, "run", run)
    return lambda: done


def test_cut_short_at_any_statement_nothing_is_renamed(filled: StateFixture):
    before = rows_of(filled)
    number, is_done = 0, False
    while not is_done:
        number += 1
        with pytest.MonkeyPatch.context() as patch:
            count = fail_at(number, patch)
            try:
                rename(filled.settings, "production", "live", runtime=around(filled))
                is_done = True
            except StateError:
                assert rows_of(filled) == before
            assert number >= count()
    assert number > 8
