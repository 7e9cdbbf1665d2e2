"""Taking one id out of what the state keeps of the past: what goes, what stays, when it refuses, and when it is cut."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from reconciler.errors import LeaseLost, LockHeld, StateError
from reconciler.models.batches import Batch, Direction
from reconciler.models.ids import IdType, fold
from reconciler.state import audit, open_reader, person
from reconciler.state.database import Database
from reconciler.state.locked_segment import LockedSegment
from reconciler.state.person import Kept
from reconciler.state.runtime import Runtime
from tests.support.states import (
    ACKNOWLEDGED,
    FakeMachine,
    StateFixture,
    acknowledged_after_unknown,
    add,
    adoption,
    findings,
    remove,
    unknown,
)

HOUR = 3600.0


def erase(state: StateFixture, id: str, machine: FakeMachine | None = None) -> Kept:
    return person.erase(state.settings, id, runtime=Runtime(state.clock, machine or state.machine, state.pulse))


def age(state: StateFixture, seconds: float) -> None:
    """Let time go by, also where the server has a clock of its own."""
    with state.store() as store, store.database.write() as connection:
        for column in ("at", "unknown_at"):
            connection.execute(text(f'UPDATE reconcile_batches SET "{column}" = "{column}" - {seconds}'))
        connection.execute(text(f'UPDATE reconcile_marks SET "at" = "at" - {seconds}'))


def dump(state: StateFixture, id: str) -> list[object]:
    """Every row that has the id, in the columns that are compared as bytes."""
    with open_reader(state.settings, state.clock).read() as connection:
        assert connection is not None
        members = connection.execute(text("SELECT * FROM reconcile_members WHERE id = :id"), {"id": id}).all()
        marks = connection.execute(text("SELECT * FROM reconcile_marks WHERE id = :id"), {"id": id}).all()
        batches = connection.execute(text("SELECT ids FROM reconcile_batches")).scalars().all()
        log = audit.list_places(connection, id)
    return [*members, *marks, *(ids for ids in batches if id in ids.split("\n")), *log]


@contextmanager
def uncompacted() -> Iterator[None]:
    """Runs in this block leave their batches in the journal, as those that are killed do."""
    with mock.patch.object(LockedSegment, "compact"):
        yield


def fill(state: StateFixture, *ids: str) -> None:
    """The ids entered and left, more than an hour ago; `z` stays."""
    state.send((add(*ids, "z"), ACKNOWLEDGED), (remove(*ids), ACKNOWLEDGED))
    age(state, HOUR + 1)


# --- what goes and what stays -------------------------------------------------------------------------------------


def test_an_id_that_left_an_hour_ago_is_taken_out_and_nothing_else_is(state: StateFixture):
    fill(state, "a", "b")
    assert dump(state, "a") != []

    assert erase(state, "a") == Kept(changes=2, marks=1, segments=1)

    assert (dump(state, "a"), state.trace("a")) == ([], [])
    assert state.trace("b") == [("run", "add", "query"), ("run", "remove", "query")]
    assert state.look().marks == (("b", "removed", None),)
    assert state.look().members == ("z",)
    assert erase(state, "a") == Kept(0, 0, 0)


def test_a_mark_of_a_refusal_and_an_old_echo_go_too(state: StateFixture):
    state.send((add("a"), unknown(state.clock.time)))
    state.send((remove("a"), acknowledged_after_unknown(state.clock.time)))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as held:
        held.reject(["a", "b"])
    age(state, HOUR + 1)
    assert {mark for _, mark, _ in state.look().marks} == {"removed", "echo", "rejected"}

    erase(state, "a")

    assert state.look().marks == (("b", "rejected", None),)


def test_it_is_taken_out_of_a_journal_that_a_killed_run_left_and_out_of_the_members_before_it(state: StateFixture):
    state.send((add("a", "b", "ab"), ACKNOWLEDGED))
    with uncompacted():
        state.send((remove("a", "b"), ACKNOWLEDGED), (remove("a"), ACKNOWLEDGED))
    age(state, HOUR + 1)

    assert erase(state, "a").marks == 1

    assert dump(state, "a") == []
    assert state.look().journal == (("remove", "acknowledged", ("b",)),)
    state.send((add("ab"), ACKNOWLEDGED))  # compacts
    assert (state.trace("a"), state.look().members) == ([], ("ab",))
    assert ("run", "remove", "query") in state.trace("b")


def test_an_email_goes_in_any_case_and_an_id_as_it_is_written_in_every_workspace(state: StateFixture):
    with state.store() as store:
        for target, ids in (
            (state.target(), ["A@x", "a@x"]),
            (state.target(57, id_type=IdType.EMAIL), ["a@x"]),
        ):
            with store.lock(target, "run", "apply", None) as held:
                held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add(*ids), remove(*ids)])])
        with store.database.write() as connection:
            connection.execute(text("UPDATE reconcile_segments SET workspace = 'staging' WHERE segment_id = 57"))
            connection.execute(text("UPDATE reconcile_keys SET workspace = 'staging' WHERE segment_id = 57"))
            connection.execute(text("UPDATE reconcile_audit SET workspace = 'staging' WHERE segment_id = 57"))
    age(state, HOUR + 1)

    erase(state, "A@x")

    assert state.look().marks == (("a@x", "removed", None),)  # of segment 56, where it is another person's id
    assert dump(state, "A@x") == []
    assert [workspace for _, workspace, *_ in dump(state, "a@x")[1:]] == ["production"]
    assert not any(each.status for each in person.read(state.settings, "staging", "A@x").presences)


def test_what_a_refresh_that_was_cut_short_left_goes_too(state: StateFixture):
    fill(state, "a")

    class Cut(Exception):
        pass

    with state.store() as store, pytest.raises(Cut), store.lock(state.target(), "reads", "refresh", None) as held:
        with mock.patch.object(audit, "publish", side_effect=Cut):
            held.replace_snapshot(adoption(members=["a", "z"], entered=["a"]))
    assert len(dump(state, "a")) > 2

    erase(state, "a")

    assert dump(state, "a") == []


# --- when it refuses ----------------------------------------------------------------------------------------------


def refuse(state: StateFixture, id: str) -> str:
    before = dump(state, id)
    with pytest.raises(StateError) as caught:
        erase(state, id)
    assert dump(state, id) == before
    assert caught.value.code == "held"
    return caught.value.message


@pytest.mark.parametrize("cut", [False, True])
def test_an_id_that_the_state_holds_stays_however_old_it_is(state: StateFixture, cut: bool):
    pairs = [(add("a", "u"), ACKNOWLEDGED), (add("b"), unknown(state.clock.time)), (remove("c"), unknown(1.0))]
    with uncompacted() if cut else nullcontext():
        state.send(*pairs)
    if not cut:
        with state.store() as store, store.lock(state.target(), "reads", "apply", None) as held:
            held.record(findings(vanished=["u"]))
    age(state, 100 * HOUR)

    for id in ("a", "b", "c", "u"):
        assert refuse(state, id) == "the state still holds this id, in production/vip (56); nothing was erased"


@pytest.mark.parametrize("cut", [False, True])
def test_an_id_that_was_sent_less_than_an_hour_ago_stays(state: StateFixture, cut: bool):
    state.send((add("a", "b"), ACKNOWLEDGED))
    with uncompacted() if cut else nullcontext():
        state.send((remove("a"), ACKNOWLEDGED))
        state.send((remove("b"), acknowledged_after_unknown(state.clock.time)))
    age(state, HOUR - 100)

    for id in ("a", "b"):
        assert "less than an hour ago" in refuse(state, id)

    age(state, 101)
    erase(state, "a")
    erase(state, "b")
    assert dump(state, "a") + dump(state, "b") == []


def test_an_echo_is_a_doubt_also_where_the_removal_was_seen(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    state.send((remove("a"), acknowledged_after_unknown(state.clock.time)))
    with state.store() as store, store.lock(state.target(), "reads", "apply", None) as held:
        held.record(findings(gone=["a"]))
    assert state.look().marks == (("a", "echo", "remove"),)

    assert "less than an hour ago" in refuse(state, "a")


def test_it_refuses_while_a_run_works_with_a_segment_of_the_id(state: StateFixture):
    fill(state, "a")
    with state.store() as store, store.lock(state.target(), "run", "apply", None):
        with pytest.raises(LockHeld, match=r"production/vip is locked by `reconcile apply`"):
            erase(state, "a")
    assert dump(state, "a") != []

    erase(state, "a")
    assert dump(state, "a") == []


def test_a_run_of_another_segment_is_in_the_way_only_of_a_file_which_is_written_anew(state: StateFixture):
    fill(state, "a")
    with state.store() as store, store.lock(state.target(57), "run", "apply", None) as held:
        if state.url.startswith("sqlite"):
            with pytest.raises(LockHeld):
                erase(state, "a")
        else:
            assert erase(state, "a").changes == 2
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("b")])])


def test_a_run_whose_lease_ended_finds_its_lock_gone_when_it_goes_on(sqlite_state: StateFixture):
    fill(sqlite_state, "a")
    elsewhere = FakeMachine(host="there", boot_id="boot-2")

    def sleep_and_send() -> None:
        with sqlite_state.store(machine=elsewhere) as store:
            with store.lock(sqlite_state.target(), "run", "apply", None) as held:
                sqlite_state.clock.time += 100
                erase(sqlite_state, "a")
                held.intend([add("a")])

    with pytest.raises(LeaseLost):
        sleep_and_send()
    assert dump(sqlite_state, "a") == []


# --- when it is cut short -----------------------------------------------------------------------------------------


def test_cut_short_anywhere_it_is_ended_by_the_next(state: StateFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "ROWS_PER_TRANSACTION", 1)
    fill(state, "a", "b")
    begin, cut_at = Database.write, 0

    for cut_at in range(3):
        left = cut_at

        @contextmanager
        def write(self: Database) -> Iterator[Connection]:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            with begin(self) as connection:
                yield connection

        with monkeypatch.context() as cut:
            cut.setattr(Database, "write", write)
            with pytest.raises(KeyboardInterrupt):
                erase(state, "a")
        assert dump(state, "a") != []
        assert state.trace("b") == [("run", "add", "query"), ("run", "remove", "query")]

    erase(state, "a")
    assert dump(state, "a") == []


def test_where_the_file_cannot_be_written_anew_it_says_so_and_the_next_does_it(sqlite_state: StateFixture):
    fill(sqlite_state, "aaaaaaaa")
    path = Path(sqlite_state.url.removeprefix("sqlite:///"))
    with mock.patch("reconciler.state.location.BUSY_SECONDS", 0), mock.patch("reconciler.state.sqlite.BUSY_SECONDS", 0):
        with open_reader(sqlite_state.settings, sqlite_state.clock).read() as reading:
            assert reading is not None
            reading.execute(text("SELECT count(*) FROM reconcile_members")).scalar_one()
            with pytest.raises(StateError, match="the id is erased, but free space of the file may still show it"):
                erase(sqlite_state, "aaaaaaaa")

    assert erase(sqlite_state, "aaaaaaaa") == Kept(0, 0, 0)
    assert not any(b"aaaaaaaa" in each.read_bytes() for each in path.parent.iterdir())


CHILD = """
import sys
from reconciler.models.fields import Secret
from reconciler.models.spec import StateSettings
from reconciler.state import audit, person
from reconciler.state.sqlite import SqliteDatabase

audit.ROWS_PER_TRANSACTION = 1

def stop_before(method):
    def wait(self, *given):
        print(method.__name__, flush=True)
        sys.stdin.readline()
        return method(self, *given)
    return wait

SqliteDatabase.write = stop_before(SqliteDatabase.write)
SqliteDatabase.scrub = stop_before(SqliteDatabase.scrub)
person.erase(StateSettings(url=Secret(sys.argv[1])), "aaaaaaaa")
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_killed_at_any_moment_it_is_ended_by_the_next(sqlite_state: StateFixture, steps: int):
    sqlite_state.clock.time -= 1_000_000_000  # the child has a real clock
    fill(sqlite_state, "aaaaaaaa", "bbbbbbbb")
    path = Path(sqlite_state.url.removeprefix("sqlite:///"))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, sqlite_state.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert child.stdout is not None
    assert child.stdin is not None
    said = []
    for _ in range(steps):
        said.append(child.stdout.readline().strip())
        if len(said) < steps:
            child.stdin.write("\n")
            child.stdin.flush()
    child.kill()
    child.communicate()
    assert said == ["write", "write", "write", "scrub"][:steps]

    erase(sqlite_state, "aaaaaaaa")

    files = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert b"aaaaaaaa" not in files
    assert b"bbbbbbbb" in files
    assert sqlite_state.trace("bbbbbbbb") == [("run", "add", "query"), ("run", "remove", "query")]


# --- against a model ----------------------------------------------------------------------------------------------

IDS = ("b", "a@x", "A@x")
TYPES = {56: IdType.ID, 57: IdType.EMAIL}


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([56, 57]),
            st.sampled_from(Direction),
            st.sets(st.sampled_from(IDS), min_size=1),
            st.sampled_from(["acknowledged", "unknown", "after unknown"]),
            st.sampled_from([0.0, HOUR / 2, HOUR + 1]),
            st.booleans(),
        ),
        max_size=6,
    ),
    id=st.sampled_from(IDS),
)
def test_it_does_what_a_simple_model_does(steps, id: str):
    """The model: the changes of each id, whether it is held, and when it was last removed or in doubt."""
    changes: dict[tuple[int, str], list[Direction]] = {}
    held: set[tuple[int, str]] = set()
    sent_at: dict[tuple[int, str], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        state = StateFixture(f"sqlite:///{folder}/state.db")
        with state.store():
            pass
        for segment_id, direction, ids, answer, seconds, cut in steps:
            now = state.clock.time
            batch = Batch(direction, tuple(sorted({fold(each, TYPES[segment_id]) for each in ids})))
            result = {"acknowledged": ACKNOWLEDGED, "unknown": unknown(now)}.get(
                answer, acknowledged_after_unknown(now)
            )
            with uncompacted() if cut else nullcontext(), state.store() as store:
                target = state.target(segment_id, id_type=TYPES[segment_id])
                with store.lock(target, "run", "apply", None) as locked:
                    locked.settle([(seq, result) for seq in locked.intend([batch])])
            for each in ((segment_id, form) for form in batch.ids):
                if answer != "unknown":
                    changes.setdefault(each, []).append(direction)
                is_gone = direction is Direction.REMOVE and answer != "unknown"
                held.discard(each) if is_gone else held.add(each)
                if is_gone or answer != "acknowledged":
                    sent_at[each] = now
            state.clock.time += seconds

        forms = {(56, id), (57, fold(id, IdType.EMAIL))}
        is_late = any(state.clock.time - sent_at.get(each, 0.0) <= HOUR for each in forms)
        if is_late or forms & held:
            with pytest.raises(StateError) as caught:
                erase(state, id)
            assert caught.value.code == "held"
        else:
            erase(state, id)
            for each in forms:
                changes.pop(each, None)
        with state.store() as store:
            for segment_id, id_type in TYPES.items():
                with store.lock(state.target(segment_id, id_type=id_type), "next", "apply", None):
                    pass  # compacts what was cut
        for each in IDS:
            found = person.read(state.settings, "production", each)
            wanted = {(56, each), (57, fold(each, IdType.EMAIL))}
            events = [(event.segment_id, event.direction) for event in found.events]
            assert sorted(events) == sorted((place[0], d) for place in wanted for d in changes.get(place, []))
            there = {presence.segment_id for presence in found.presences if presence.status & person._HELD}
            assert there == {segment_id for segment_id, form in wanted if (segment_id, form) in held}
