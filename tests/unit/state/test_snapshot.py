"""The reading side: it changes nothing, waits for no writer, and sees one moment."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reconciler.errors import StateError
from reconciler.models.fields import Secret
from reconciler.models.plan import Head
from reconciler.models.spec import StateSettings
from reconciler.state import open_snapshot
from tests.support.states import (
    ACKNOWLEDGED,
    Contents,
    StateFixture,
    acknowledged_after_unknown,
    add,
    contents_of,
    fetch,
    findings,
    remove,
    unknown,
)

NOTHING = Contents((), (), ())


def test_a_state_that_is_missing_is_empty_and_stays_missing(state: StateFixture):
    snapshot = open_snapshot(state.settings)
    assert snapshot.head("production", 56) == Head()
    assert not snapshot.is_spent("plan-1")
    with snapshot.read_segment("production", 56) as stored:
        assert stored.head.is_new
        assert contents_of(stored) == NOTHING
    with pytest.raises(StateError, match="no state"):
        open_snapshot(StateSettings(url=Secret(state.url), must_exist=True))


def test_a_segment_that_was_never_met_has_nothing_but_the_environment(state: StateFixture):
    with state.store() as store:
        store.bind("production", 77)
    with open_snapshot(state.settings).read_segment("production", 56) as stored:
        assert stored.head == Head(environment_id=77)
        assert contents_of(stored) == NOTHING


def test_the_head_tells_of_the_segment_as_a_whole(state: StateFixture):
    with state.store() as store:
        store.bind("production", 77)
        with store.lock(state.target(), "run", "apply", "plan-1") as segment:
            segment.intend([add("a")])
            segment.complete()
            head = segment.head()
        store.spend("plan-1")
    snapshot = open_snapshot(state.settings)
    with snapshot.read_segment("production", 56) as stored:
        assert stored.head == snapshot.head("production", 56) == head
    assert not head.is_new
    assert (head.id_type, head.completed, head.environment_id) == ("id", True, 77)
    assert (head.plan_id, head.plan_base, head.serial) == ("plan-1", 0, 1)
    assert snapshot.is_spent("plan-1")
    assert not snapshot.is_spent("plan-2")


def test_workspaces_and_segments_are_kept_apart(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look(57) == NOTHING
    with open_snapshot(state.settings).read_segment("pro'duction", 56) as stored:
        assert contents_of(stored) == NOTHING


@pytest.mark.parametrize(("most", "fits"), [(1, False), (2, True)])
@pytest.mark.parametrize(
    "sent",
    [
        [(add("a", "b"), ACKNOWLEDGED)],
        [(add("a", "b"), unknown(1.0))],
        [(add("a", "b"), ACKNOWLEDGED), (remove("c", "d", "e"), ACKNOWLEDGED)],
    ],
    ids=["members", "unsettled", "tombstones are not counted"],
)
def test_a_segment_with_more_ids_than_asked_for_is_not_read_whole(state: StateFixture, sent, most: int, fits: bool):
    state.send(*sent)
    assert (open_snapshot(state.settings).read_few("production", 56, most) is not None) == fits


def test_a_segment_with_a_long_journal_is_not_read_whole(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.intend([add("a", "b"), remove("c")])
        snapshot = open_snapshot(state.settings)
        assert snapshot.read_few("production", 56, 2) is None
        assert snapshot.read_few("production", 56, 3) is not None


def test_every_stream_shows_the_moment_at_which_it_was_opened(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED), (add("u"), unknown(1.0)))
    snapshot = open_snapshot(state.settings)
    with snapshot.read_segment("production", 56) as stored:
        state.send((remove("a"), ACKNOWLEDGED), (add("c"), ACKNOWLEDGED), (add("u"), ACKNOWLEDGED))
        assert contents_of(stored) == Contents(("a", "b"), (("u", "unsettled", "add"),), ())
    assert state.look().members == ("b", "c", "u")


def test_reading_waits_for_no_writer(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    with state.store() as store, store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM reconcile_members")
        assert state.look().members == ("a",)
        connection.rollback()


def test_more_rows_than_a_block_holds_come_whole_and_in_order(state: StateFixture):
    ids = [f"{number:06}" for number in range(40_000)]
    batches = [add(*ids[start : start + 1000]) for start in range(0, 40_000, 1000)]
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        seqs = segment.intend(batches)
        assert [ids for _, _, ids in state.look().journal] == [batch.ids for batch in batches]
        segment.settle([(seq, ACKNOWLEDGED) for seq in seqs])
    assert list(state.look().members) == ids
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        segment.record(findings(vanished=ids[:20_000]))
    contents = state.look()
    assert [id for id, _, _ in contents.marks] == ids[:20_000]
    assert list(contents.members) == ids[20_000:]


def test_the_journal_tells_of_the_unknown_attempt_before_an_acknowledged_one_and_of_no_other(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as segment:
        doubtful, plain, lost, _ = segment.intend([add("a"), add("b"), remove("c"), add("d")])
        segment.settle([(doubtful, acknowledged_after_unknown(5.0)), (plain, ACKNOWLEDGED), (lost, unknown(7.0))])
        with open_snapshot(state.settings).read_segment("production", 56) as stored:
            rows = fetch(stored.journal())
    assert [(direction, outcome, unknown_at is None) for _, direction, outcome, _, unknown_at, _ in rows] == [
        ("add", "acknowledged", False),
        ("add", "acknowledged", True),
        ("remove", "unknown", True),
        ("add", None, True),
    ]


def test_several_streams_of_one_moment_can_be_read_from_several_threads(state: StateFixture):
    state.send((add(*(f"{n:05}" for n in range(1000))), ACKNOWLEDGED))
    looks: list[Contents] = []
    threads = [threading.Thread(target=lambda: looks.append(state.look())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(contents.members) for contents in looks] == [1000] * 4


# --- files -----------------------------------------------------------------------------------------------------------


def state_file(state: StateFixture) -> Path:
    return Path(state.url.removeprefix("sqlite:///"))


def test_a_plan_before_the_first_apply_makes_no_folder(sqlite_state: StateFixture):
    sqlite_state.look()
    assert not state_file(sqlite_state).parent.exists()


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_file_is_its_owners_alone_whatever_the_umask(sqlite_state: StateFixture, umask):
    before = os.umask(umask)
    try:
        with sqlite_state.store() as store:
            store.bind("production", 77)
            modes = {path.name: path.stat().st_mode & 0o777 for path in state_file(sqlite_state).parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) >= {"state.db", "state.db-wal"}
    assert set(modes.values()) == {0o600}
    assert state_file(sqlite_state).parent.stat().st_mode & 0o777 == 0o700


def test_what_was_open_to_others_is_closed(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    file = state_file(sqlite_state)
    file.chmod(0o644)
    file.parent.chmod(0o755)
    sqlite_state.send((add("b"), ACKNOWLEDGED))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_share_keeps_its_mode(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    state = StateFixture(f"sqlite:///{folder}/state.db")
    state.send((add("a"), ACKNOWLEDGED))
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "state.db").stat().st_mode & 0o777 == 0o600


def test_names_with_characters_that_mean_something_in_a_uri_are_just_names(tmp_path):
    state = StateFixture(f"sqlite:///{tmp_path}/50% off#é&mode=ro/a b.db")
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().members == ("a",)
    assert (tmp_path / "50% off#é&mode=ro" / "a b.db").exists()


def test_a_writer_leaves_one_file_behind(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    assert {path.name for path in state_file(sqlite_state).parent.iterdir()} == {".gitignore", "state.db"}


def test_a_state_in_a_folder_that_cannot_be_written_is_read_as_it_lies(sqlite_state: StateFixture, monkeypatch):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert sqlite_state.look().members == ("a",)
    assert {path.name for path in state_file(sqlite_state).parent.iterdir()} == {".gitignore", "state.db"}


def test_reading_beside_a_writer_leaves_the_writer_its_locks(sqlite_state: StateFixture):
    """Two SQLite libraries in one process that open one file drop each other's locks when they close it."""
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    with sqlite_state.store() as store, store.database.write():
        sqlite_state.look()
        code = (
            "import sqlite3, sys\n"
            "connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
            "connection.execute('BEGIN IMMEDIATE')\n"
        )
        other = subprocess.run([sys.executable, "-c", code, state_file(sqlite_state)], capture_output=True, text=True)
    assert "database is locked" in other.stderr


def test_a_state_that_holds_a_write_ahead_log_of_a_killed_run_is_read_with_it(sqlite_state: StateFixture, tmp_path):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    file = state_file(sqlite_state)
    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        segment.intend([add("b")])
        for source in file.parent.iterdir():
            (tmp_path / source.name).write_bytes(source.read_bytes())
    copy = StateFixture(f"sqlite:///{tmp_path}/state.db")
    (tmp_path / "state.db-shm").unlink()
    assert copy.look().journal == (("add", None, ("b",)),)


def test_reading_does_not_write_into_the_file(sqlite_state: StateFixture):
    sqlite_state.send((add("a"), ACKNOWLEDGED))
    before = state_file(sqlite_state).read_bytes()
    sqlite_state.look()
    assert state_file(sqlite_state).read_bytes() == before
    with sqlite3.connect(state_file(sqlite_state)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
