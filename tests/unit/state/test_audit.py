"""The audit log: found by id, pruned by age, erased; and what is written into it by a run."""

import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Connection

from reconciler.errors import StateError
from reconciler.models.batches import Direction
from reconciler.models.history import AuditEvent, Reason
from reconciler.models.ids import IdType
from reconciler.state import audit, open_reader, open_records, open_snapshot, open_store
from reconciler.state.admin import forget
from reconciler.state.audit import Change
from reconciler.state.lock import SegmentRef
from reconciler.state.runtime import Runtime
from reconciler.state.tables import METADATA
from tests.support.states import (
    ACKNOWLEDGED,
    NOT_STARTED,
    StateFixture,
    acknowledged_after_unknown,
    add,
    adoption,
    findings,
    lists,
    make_target,
    remove,
    unknown,
)

VIP = SegmentRef("production", 56, "vip")


@pytest.fixture
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as connection:
        METADATA.create_all(connection)
        yield connection


class OneConnection:
    """As much of a database as is used here; its transactions are those of one connection."""

    row_lock = ""

    def __init__(self, connection: Connection) -> None:
        self.write = lambda: nullcontext(connection)


def read_run(connection: Connection, run_id: str) -> Iterator[list[str]]:
    """Read the ids that a run changed in the segment, row by row."""
    select = text(f"SELECT number, ids FROM reconcile_audit WHERE run_id = '{run_id}' ORDER BY audit_key")
    for row in connection.execute(select):
        yield audit.unpack(row.ids, row.number)


def change(*ids: str, run: str = "run", at: float = 1.0, direction: Direction = Direction.ADD) -> Change:
    return Change(run, at, direction, Reason.QUERY, ids)


def test_an_id_is_found_with_all_that_changed_it_oldest_first(connection: Connection):
    audit.write(connection, VIP, [change("a", "c", run="second", at=2.0, direction=Direction.REMOVE)])
    audit.write(connection, VIP, [change("c", "b", "a", run="first", at=1.0), change("b", run="third", at=3.0)])
    audit.write(connection, SegmentRef("staging", 56, "vip"), [change("a")])
    audit.write(connection, VIP, [change("a", "z", run="not published yet")], pending_key=7)

    assert audit.find(connection, "production", "a") == [
        AuditEvent(56, "first", 1.0, Direction.ADD, Reason.QUERY),
        AuditEvent(56, "second", 2.0, Direction.REMOVE, Reason.QUERY),
    ]
    assert audit.find(connection, "production", "bb") == []


def test_what_a_run_changed_is_read_as_it_was_written(connection: Connection):
    ids = [f"{number:05}" for number in range(2_500)]
    audit.write(connection, VIP, [change(*random.Random(1).sample(ids, len(ids))), change("x", run="other")])

    found = list(read_run(connection, "run"))

    assert [id for each in found for id in each] == ids
    assert [len(each) for each in found] == [1000, 1000, 500]


@pytest.mark.parametrize("value", ["x'00'", "x''", "'text'", "x'2d00'", "x'2d789cfb0f0001000100'"])
def test_a_damaged_row_is_an_error_that_names_the_way_out(connection: Connection, value: str):
    audit.write(connection, VIP, [change("a", "b")])
    connection.execute(text(f"UPDATE reconcile_audit SET ids = {value}"))

    reads: list[Callable[[], object]] = [
        lambda: audit.find(connection, "production", "a"),
        lambda: list(read_run(connection, "run")),
        lambda: audit.list_places(connection, "a"),
        lambda: audit.erase(OneConnection(connection), [1], "a"),  # type: ignore[arg-type]
    ]
    for read in reads:
        with pytest.raises(StateError, match="audit log in the state is damaged") as caught:
            read()
        assert "backup" in caught.value.hint


def test_old_rows_are_pruned_in_bounded_transactions(connection: Connection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "ROWS_PER_TRANSACTION", 2)
    audit.write(connection, VIP, [change(f"{at}", at=at) for at in range(7)])
    deleted: list[int] = []

    @event.listens_for(connection, "after_cursor_execute")
    def count(_connection, cursor, statement, *_rest) -> None:
        if statement.startswith("DELETE"):
            deleted.append(cursor.rowcount)

    audit.write(connection, SegmentRef("staging", 56, "vip"), [change("a", at=0.0)])

    audit.prune(OneConnection(connection).write, "production", before=5.0)

    assert deleted == [2, 2, 1]
    assert connection.execute(
        text("SELECT min(at), count(*) FROM reconcile_audit WHERE workspace = 'production'")
    ).one() == (
        5.0,
        2,
    )
    assert audit.find(connection, "staging", "a") != []


@given(
    rows=st.lists(st.sets(st.text("abc\u00e9\U0001f600", min_size=1, max_size=3), min_size=1), min_size=1),
    id=st.text("abc\u00e9\U0001f600", min_size=1, max_size=3),
)
def test_an_erased_id_is_in_no_row_and_all_others_are(rows: list[set[str]], id: str):
    with create_engine("sqlite://").connect() as connection:
        METADATA.create_all(connection)
        audit.write(connection, VIP, [change(*ids, run=f"run-{at}") for at, ids in enumerate(rows)])

        places = audit.list_places(connection, id)
        assert sum(len(keys) for *_, keys in places) == sum(id in ids for ids in rows)
        for *_, keys in places:
            audit.erase(OneConnection(connection), keys, id)

        for at, ids in enumerate(rows):
            left = [each for part in read_run(connection, f"run-{at}") for each in part]
            assert left == sorted(ids - {id})
            for each in ids - {id}:
                assert f"run-{at}" in [found.run_id for found in audit.find(connection, "production", each)]
        assert audit.find(connection, "production", id) == []


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda number: f"{10_000_000 + number}", 0.12),
        (lambda number: str(random.Random(number).randrange(10**9)), 0.40),
        (lambda number: str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4)), 0.42),  # of 1 M: 0.39
        (
            lambda number: f"anna.{random.Random(number).randrange(10**5)}@example.{'com' if number % 3 else 'co.uk'}",
            0.40,
        ),
    ],
    ids=["consecutive numbers", "random numbers", "UUIDs", "emails"],
)
def test_ids_take_at_most_some_two_fifths_of_their_length(
    connection: Connection, make: Callable[[int], str], most: float
):
    ids = sorted({make(number) for number in range(20_000)})
    audit.write(connection, VIP, [change(*ids)])

    size = connection.execute(text("SELECT sum(length(ids)) FROM reconcile_audit")).scalar_one()
    assert size <= most * sum(map(len, ids))
    assert [id for part in read_run(connection, "run") for id in part] == ids


# --- what a run writes ------------------------------------------------------------------------------------------------


def test_what_was_acknowledged_is_written_down_once_and_nothing_else(state: StateFixture):
    state.send(
        (add("a", "b"), ACKNOWLEDGED),
        (add("n"), NOT_STARTED),
        (add("u"), unknown(state.clock.time)),
        (remove("a"), ACKNOWLEDGED),
        (add("w"), acknowledged_after_unknown(state.clock.time)),
    )
    state.send((add("c"), ACKNOWLEDGED))

    assert state.trace("a") == [("run", "add", "query"), ("run", "remove", "query")]
    assert state.trace("b") == state.trace("w") == state.trace("c") == [("run", "add", "query")]
    assert state.trace("n") == state.trace("u") == []


def test_a_batch_that_a_dead_run_was_acknowledged_is_written_down_by_the_next_under_the_name_of_the_first(
    state: StateFixture,
):
    with state.store() as store, store.lock(state.target(), "first", "apply", None, reason=Reason.UNDO) as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("a")])])
        assert state.trace("a") == []  # a kill now would leave it so
        held._run_id = "another"
        held.compact()

    assert state.trace("a") == [("first", "add", "undo")]


def test_ids_that_customerio_did_not_know_are_written_as_resent_the_others_of_their_batch_are_not(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "read", "apply", None) as held:
        held.record(findings(vanished=["a"]))
    state.send((add("a", "c"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "again", "apply", None) as held:
        held.record(findings(appeared=["a"]))

    assert state.trace("a") == [
        ("run", "add", "query"),
        ("read", "remove", "unmatched"),
        ("run", "add", "resend"),
        ("again", "add", "unmatched"),
    ]
    assert state.trace("b") == state.trace("c") == [("run", "add", "query")]


def test_the_removal_of_ids_that_were_never_there_is_no_leaving(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "read", "apply", None) as held:
        held.record(findings(vanished=["a"]))
    state.send((remove("a", "b"), ACKNOWLEDGED))

    assert state.trace("a")[-1] == ("run", "remove", "unmatched")
    assert state.trace("b")[-1] == ("run", "remove", "query")


def test_an_id_is_compared_as_the_type_that_it_had_says(state: StateFixture):
    state.send((add("A@example.com"), ACKNOWLEDGED))
    taken = adoption(members=["b@example.com"], entered=["b@example.com"], left=["A@example.com"], id_type=IdType.EMAIL)
    with state.store() as store:
        with store.lock(state.target(id_type=IdType.EMAIL), "reads", "refresh", None) as held:
            held.replace_snapshot(taken)

    assert state.trace("A@example.com") == [("run", "add", "query"), ("reads", "remove", "refresh")]
    assert state.trace("a@example.com") == []
    assert state.trace("B@Example.com") == [("reads", "add", "refresh")]


def test_what_a_dead_run_was_acknowledged_is_kept_where_the_segment_is_forgotten(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "dead", "apply", None) as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("a"), add("b")])])
        held.compact = lambda: None  # type: ignore[method-assign]
    assert state.trace("a") == []

    forget(state.settings, "production", 56, runtime=Runtime(state.clock, state.machine, heartbeat=state.pulse))

    assert state.trace("a") == [("dead", "add", "query")]
    assert open_snapshot(state.settings).head("production", 56).is_new


def test_what_is_adopted_is_written_down_but_for_those_that_are_members_or_unsettled(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED), (add("u"), unknown(state.clock.time)))
    with state.store() as store, store.lock(state.target(), "adopts", "apply", None) as held:
        held.add_found(lists(["a", "b", "u"]), Reason.ADOPTED)

    assert state.trace("b") == [("adopts", "add", "adopted")]
    assert state.trace("a") == [("run", "add", "query")]
    assert state.trace("u") == []


def test_what_a_refresh_took_over_counts_once_the_snapshot_is_replaced(state: StateFixture):
    state.send((add("a", "b"), ACKNOWLEDGED))
    taken = adoption(members=["a", "s"], unmatched=["b"], entered=["s"], left=["b"])
    with state.store() as store, store.lock(state.target(), "reads", "refresh", None) as held:
        held.replace_snapshot(taken)

    assert state.trace("s") == [("reads", "add", "refresh")]
    assert state.trace("b") == [("run", "add", "query"), ("reads", "remove", "refresh")]
    assert state.trace("a") == [("run", "add", "query")]


def test_what_a_refresh_wrote_before_it_failed_does_not_count_and_is_swept(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))

    def fail() -> Iterator[list[str]]:
        yield ["s"]
        raise KeyboardInterrupt

    taken = replace(adoption(members=["a", "s"]), entered=fail)
    with pytest.raises(KeyboardInterrupt), state.store() as store:
        with store.lock(state.target(), "reads", "refresh", None) as held:
            held.replace_snapshot(taken)
    assert state.trace("s") == []

    state.send((add("b"), ACKNOWLEDGED))
    with open_reader(state.settings, state.clock).read() as connection:
        assert connection is not None
        assert connection.execute(text("SELECT count(*) FROM reconcile_audit WHERE run_id = 'reads'")).scalar() == 0


def test_without_an_audit_nothing_is_kept_and_what_there_was_goes_at_the_end_of_a_run(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    settings = state.settings.model_copy(update={"audit": None})
    with open_store(settings, runtime=Runtime(state.clock, state.machine, heartbeat=state.pulse)) as store:
        with store.lock(make_target(settings), "silent", "apply", None) as held:
            held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("b"), remove("a")])])
            held.record(findings(vanished=["b"]))
        assert state.trace("b") == []
        assert state.trace("a") == [("run", "add", "query")]
        store.prune("production", [make_target(settings)])
    assert state.trace("a") == []


def test_runs_and_changes_are_kept_for_as_long_as_the_spec_says(state: StateFixture):
    day = 24 * 3600.0
    for run_id, days in (("oldest", 401), ("older", 399), ("old", 91), ("new", 89)):
        with state.store() as store:
            store.begin(run_id, "production", "apply", [], None)
            with store.lock(state.target(), run_id, "apply", None) as held:
                held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("a")])])
            with store.database.write() as connection:
                for table, column in (("reconcile_audit", "at"), ("reconcile_runs", "started_at")):
                    statement = f"UPDATE {table} SET {column} = {column} - {days * day} WHERE run_id = '{run_id}'"
                    connection.execute(text(statement))
    with state.store() as store:
        store.prune("staging", [state.target()])
        assert len(state.trace("a")) == 4
        store.prune("production", [state.target()])

    assert state.trace("a") == [("new", "add", "query")]
    kept = [row.run_id for row in open_records(state.settings).runs("production", 9)]
    assert kept == ["new", "old", "older"]
