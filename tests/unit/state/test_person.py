"""What the state says of one id in each segment: by the rule of statuses, on both databases."""

from sqlalchemy import text

from reconciler.models.batches import Direction
from reconciler.models.history import Reason
from reconciler.models.id_status import IdStatus
from reconciler.models.ids import IdType
from reconciler.state import audit, person
from tests.support.states import ACKNOWLEDGED, StateFixture, add, findings, remove, unknown


def status_of(state: StateFixture, id: str) -> IdStatus:
    (found,) = person.read(state.settings, "production", id).presences
    return found.status


def test_the_status_of_an_id_is_that_of_its_segment(state: StateFixture):
    state.send(
        (add("stored", "removed", "unmatched"), ACKNOWLEDGED),
        (add("unsettled"), unknown(state.clock.time)),
        (remove("removed"), ACKNOWLEDGED),
    )
    with state.store() as store, store.lock(state.target(), "reads", "apply", None) as held:
        held.record(findings(vanished=["unmatched"]))

    assert status_of(state, "stored") == IdStatus.STORED
    assert status_of(state, "removed") == IdStatus.REMOVED
    assert status_of(state, "unmatched") == IdStatus.UNMATCHED
    assert status_of(state, "unsettled") == IdStatus.UNSETTLED_ADD
    assert status_of(state, "store") == 0


def test_what_is_in_the_journal_alone_counts(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("a", "ab"), remove("b")])])
        held.intend([add("c")])
        assert [status_of(state, id) for id in ("a", "b", "c", "ab")] == [
            IdStatus.STORED,
            IdStatus.REMOVED,
            IdStatus.UNSETTLED_ADD,
            IdStatus.STORED,
        ]


def test_what_was_acknowledged_is_an_event_before_it_is_in_the_log_and_is_one_event_after(state: StateFixture):
    state.send((add("again", "b", "never"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "reads", "apply", None) as held:
        held.record(findings(vanished=["again", "never"]))
    with state.store() as store, store.lock(state.target(), "killed", "apply", None, reason=Reason.UNDO) as held:
        seqs = held.intend([add("a", "again"), remove("b", "never"), add("c"), add("d")])
        held.settle([(seqs[0], ACKNOWLEDGED), (seqs[1], ACKNOWLEDGED), (seqs[2], unknown(state.clock.time))])
        before = {id: person.read(state.settings, "production", id).events for id in ("a", "again", "b", "never", "c")}
    after = {id: person.read(state.settings, "production", id).events for id in before}

    assert {id: (each[-1].run_id, each[-1].direction, each[-1].reason) for id, each in before.items() if each} == {
        "a": ("killed", Direction.ADD, Reason.UNDO),
        "again": ("killed", Direction.ADD, Reason.RESEND),
        "b": ("killed", Direction.REMOVE, Reason.UNDO),
        "never": ("killed", Direction.REMOVE, Reason.UNMATCHED),
    }
    assert before == after


def test_an_id_is_compared_as_its_segment_has_it(state: StateFixture):
    with state.store() as store:
        for target, id in ((state.target(), "A@x"), (state.target(57, id_type=IdType.EMAIL), "a@x")):
            with store.lock(target, "run", "apply", None) as held:
                held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add(id)])])

    found = {id: person.read(state.settings, "production", id) for id in ("A@x", "a@x")}
    assert [each.segment_id for each in found["A@x"].events] == [56, 57]
    assert [each.status for each in found["A@x"].presences] == [IdStatus.STORED, IdStatus.STORED]
    assert [each.segment_id for each in found["a@x"].events] == [57]
    assert person.read(state.settings, "staging", "a@x") == person.Person((), (), {})


def test_a_segment_that_was_forgotten_has_its_last_name(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    with state.store() as store, store.database.write() as connection:
        connection.execute(text("DELETE FROM reconcile_segments"))
        connection.execute(
            text(
                "INSERT INTO reconcile_run_segments (run_id, workspace, segment_id, name, status, added, removed, "
                "rejected, unsettled) VALUES ('run', 'production', 56, 'vip', 'applied', 1, 0, 0, 0)"
            )
        )

    found = person.read(state.settings, "production", "a")

    assert (found.presences, found.forgotten) == ((), {56: "vip"})
    assert [event.segment_id for event in found.events] == [56]


def test_the_index_leads_to_the_rows_of_one_id(sqlite_state: StateFixture):
    """Blobs of other rows are not read: a table of ten million ids has ten thousand of them."""
    statement = f"EXPLAIN QUERY PLAN {audit._IN_RANGE}"
    with sqlite_state.store() as store, store.database.read() as connection:
        values = {"workspace": "production", "segment_id": 56, "id_type": "id", "id": "a"}
        (step,) = (row.detail for row in connection.execute(text(statement), values))

    assert step == (
        "SEARCH reconcile_audit USING INDEX reconcile_audit_segment (workspace=? AND segment_id=? AND first_id<?)"
    )
