"""A database that loses what was written to it while a run works: it failed over to a standby that was behind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import Connection, text

from reconciler.errors import StateError, StateSetBack
from reconciler.state import open_database, open_snapshot
from reconciler.state.locked_segment import LockedSegment
from reconciler.state.sqlite import SqliteDatabase
from tests.support.states import ACKNOWLEDGED, StateFixture, add

TABLES = ("reconcile_segments", "reconcile_batches", "reconcile_members", "reconcile_marks")


def read_all(connection: Connection) -> dict[str, Sequence[dict[str, object]]]:
    return {
        table: [dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()] for table in TABLES
    }


def put_back(connection: Connection, moment: dict[str, Sequence[dict[str, object]]]) -> None:
    """Make the tables say what they said at an earlier moment."""
    for table, rows in moment.items():
        connection.execute(text(f"DELETE FROM {table}"))
        for row in rows:
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def send(segment: LockedSegment, *ids: str) -> None:
    (seq,) = segment.intend([add(*ids)])
    segment.settle([(seq, ACKNOWLEDGED)])


@pytest.mark.parametrize("act", ["intend", "settle", "compact", "complete", "stamp"])
def test_each_write_after_a_loss_is_refused_and_nothing_starts_any_more(state: StateFixture, act: str) -> None:
    with (
        state.store() as store,
        open_database(state.settings, state.clock) as database,
        suppress(StateSetBack),
        store.lock(state.target(), "run", "apply", None) as segment,
    ):
        (first,) = segment.intend([add("a")])
        with database.read() as connection:
            moment = read_all(connection)
        send(segment, "b")
        with database.write() as connection:
            put_back(connection, moment)
        acts: dict[str, Callable[[], object]] = {
            "intend": lambda: segment.intend([add("c")]),
            "settle": lambda: segment.settle([(first, ACKNOWLEDGED)]),
            "compact": segment.compact,
            "complete": segment.complete,
            "stamp": segment.stamp,
        }

        with pytest.raises(StateSetBack) as caught:
            acts[act]()

        assert "refresh" in caught.value.hint
        assert not segment.lease.covers(0)
    assert open_snapshot(state.settings).head("production", 56).restored


def test_a_lock_that_the_state_has_lost_is_told_as_a_loss_and_not_as_a_takeover(state: StateFixture) -> None:
    state.send((add("a"), ACKNOWLEDGED))

    with (
        state.store() as store,
        open_database(state.settings, state.clock) as database,
        suppress(StateSetBack),
        store.lock(state.target(), "run", "apply", None) as segment,
    ):
        with database.write() as connection:
            connection.execute(text("UPDATE reconcile_locks SET fence = fence - 1"))

        with pytest.raises(StateSetBack):
            segment.intend([add("b")])


@pytest.mark.parametrize("committed", [True, False])
def test_a_write_with_its_commit_in_doubt_is_no_loss(
    sqlite_state: StateFixture, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    write = SqliteDatabase.write

    @contextmanager
    def fail(database: SqliteDatabase) -> Iterator[Connection]:
        with write(database) as connection:
            yield connection
            if not committed:
                raise StateError("the connection was lost")
        raise StateError("the connection was lost")

    with sqlite_state.store() as store, store.lock(sqlite_state.target(), "run", "apply", None) as segment:
        send(segment, "a")
        monkeypatch.setattr(SqliteDatabase, "write", fail)
        with pytest.raises(StateError, match="connection was lost"):
            segment.reject(["c"])
        monkeypatch.setattr(SqliteDatabase, "write", write)

        send(segment, "b")

    assert set(sqlite_state.look().members) == {"a", "b"}
