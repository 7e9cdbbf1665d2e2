"""What a run sent and what later runs sent, for `undo`: from audit log and journal, whatever was compacted when."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.history import Reason
from reconciler.models.ids import IdType
from reconciler.state import open_reader
from reconciler.state.past_run import PastRun, find_past_run, reading_sent
from tests.support.states import ACKNOWLEDGED, NOT_STARTED, StateFixture, add, adoption, findings, remove, unknown


@dataclass(frozen=True)
class Sent:
    """What was read, by id: what the run did, and whether another one came after it."""

    own: dict[str, str] = field(default_factory=dict)
    since: frozenset[str] = frozenset()


def read_sent(state: StateFixture, run: str) -> Sent:
    own: dict[str, str] = {}
    since: set[str] = set()
    with reading_sent(open_reader(state.settings, state.clock), "production", 56, run) as sent:
        for line in (line for block in sent.rows for line in block.split(chr(ROW_END))):
            _, is_own, adds, _, ids = line.split(chr(FIELD_END))
            if is_own == "true":
                own |= dict.fromkeys(ids.split("\n"), "add" if adds == "true" else "remove")
            else:
                since.update(ids.split("\n"))
    return Sent(own, frozenset(since))


def find(state: StateFixture, run: str) -> PastRun:
    found = find_past_run(open_reader(state.settings, state.clock), "production", run)
    assert found is not None
    return found


def send(state: StateFixture, run: str, *pairs, reason: Reason | None = None, compacts: bool = True) -> None:
    """One run; None as an answer leaves an intent without an outcome, as of a kill."""
    with state.store() as store:
        store.begin(run, "production", "apply", [], None)
        with store.lock(state.target(), run, "apply", None, reason=reason) as held:
            seqs = held.intend([batch for batch, _ in pairs])
            held.settle([(seq, answer) for seq, (_, answer) in zip(seqs, pairs, strict=True) if answer is not None])
            if not compacts:
                held.compact = lambda: None


def test_what_came_before_does_not_count_and_what_came_after_does(state: StateFixture):
    send(state, "before", (add("a", "b"), ACKNOWLEDGED))
    send(state, "run", (remove("a"), ACKNOWLEDGED), (add("c", "d"), ACKNOWLEDGED))
    send(state, "after", (remove("c"), ACKNOWLEDGED), (add("e"), ACKNOWLEDGED))

    assert read_sent(state, "run") == Sent({"a": "remove", "c": "add", "d": "add"}, frozenset("ce"))
    assert read_sent(state, "after") == Sent({"c": "remove", "e": "add"})
    assert read_sent(state, "nobody") == Sent()


def test_an_outcome_that_is_not_known_counts_before_and_after_it_is_compacted(state: StateFixture):
    send(state, "run", (add("a"), unknown(state.clock.time)), (add("n"), NOT_STARTED), (add("b"), None))
    first = read_sent(state, "run")
    send(state, "after", (remove("b"), unknown(state.clock.time)))

    assert first == Sent({"a": "add", "b": "add"})
    assert read_sent(state, "run") == Sent({"a": "add", "b": "add"}, frozenset("b"))
    assert find(state, "run").kept == {56: 0}
    assert state.trace("a") == state.trace("b") == []


def test_what_a_read_back_showed_was_not_sent(state: StateFixture):
    send(state, "run", (add("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as held:
        held.record(findings(vanished=["a"]))
    with state.store() as store, store.lock(state.target(), "later", "refresh", None) as held:
        held.replace_snapshot(adoption(members=["b", "s"], entered=["s"], left=["a"]))

    assert read_sent(state, "run") == Sent({"a": "add", "b": "add"}, frozenset("as"))
    assert read_sent(state, "later") == Sent()


def test_what_was_only_sent_again_is_nothing_to_undo_but_counts_as_sent(state: StateFixture):
    send(state, "run", (add("a"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", None) as held:
        held.record(findings(vanished=["a"]))
    send(state, "again", (add("a", "b"), ACKNOWLEDGED))

    assert read_sent(state, "again") == Sent({"b": "add"})
    assert read_sent(state, "run") == Sent({"a": "add"}, frozenset("ab"))
    assert find(state, "again").kept == {56: 1}


@pytest.mark.parametrize(
    ("answer", "compacts"),
    [(unknown(1_800_000_000.0), True), (ACKNOWLEDGED, True), (ACKNOWLEDGED, False), (None, False)],
)
@pytest.mark.parametrize("batch", [add("a", "b"), remove("a", "b")])
def test_an_id_that_was_unmatched_before_is_nothing_to_undo(state: StateFixture, batch: Batch, answer, compacts: bool):
    send(state, "before", (add("a"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "before", "apply", None) as held:
        held.record(findings(vanished=["a"]))
    send(state, "run", (batch, answer), compacts=compacts)

    assert read_sent(state, "run") == Sent({"b": batch.direction.value})


def test_what_a_later_run_saw_refused_counts_as_sent(state: StateFixture):
    with state.store() as store, store.lock(state.target(), "before", "apply", None) as held:
        held.reject(["b"])
    state.clock.time += 1
    send(state, "run", (remove("a", "b"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "after", "apply", None) as held:
        held.reject(["a"])

    assert read_sent(state, "run") == Sent({"a": "remove", "b": "remove"}, frozenset("a"))


def test_what_was_removed_as_retired_is_nothing_to_undo_but_counts_as_sent(state: StateFixture):
    send(state, "run", (add("a"), ACKNOWLEDGED))
    send(state, "ends", (remove("a"), ACKNOWLEDGED), reason=Reason.RETIRED)

    assert read_sent(state, "ends") == Sent()
    assert read_sent(state, "run") == Sent({"a": "add"}, frozenset("a"))


def test_a_segment_that_was_forgotten_still_has_its_log(state: StateFixture):
    send(state, "run", (add("a"), ACKNOWLEDGED), (add("b"), ACKNOWLEDGED))
    send(state, "undoes", (remove("a", "b"), ACKNOWLEDGED), reason=Reason.UNDO)
    with state.store() as store, store.lock(state.target(), "ends", "apply", None) as held:
        assert held.forget()

    with reading_sent(open_reader(state.settings, state.clock), "production", 56, "run") as sent:
        assert sent.head.is_new
    assert read_sent(state, "undoes") == Sent({"a": "remove", "b": "remove"})


def test_a_state_that_is_missing_knows_no_run(sqlite_state: StateFixture):
    reader = open_reader(sqlite_state.settings, sqlite_state.clock)
    assert find_past_run(reader, "production", "run") is None
    with reading_sent(reader, "production", 56, "run") as sent:
        assert (sent.head.is_new, list(sent.rows)) == (True, [])


def test_an_email_is_read_as_it_was_sent(state: StateFixture):
    target = state.target(id_type=IdType.EMAIL)
    with state.store() as store, store.lock(target, "run", "apply", None) as held:
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("ä@b.c", "x y@b.c")])])
    assert read_sent(state, "run") == Sent(dict.fromkeys(("ä@b.c", "x y@b.c"), "add"))


# --- any history -----------------------------------------------------------------------------------------------------

IDS = "abcdefgh"
FATES = ("acknowledged", "unknown", "not started", "killed")


@st.composite
def runs(draw: st.DrawFn) -> list[tuple[Batch, str]]:
    """The batches of a run, each with its fate: no id is in two of them."""
    left = draw(st.lists(st.sampled_from(IDS), unique=True, min_size=1))
    batches = []
    while left:
        number = draw(st.integers(1, len(left)))
        ids, left = left[:number], left[number:]
        batches.append((Batch(draw(st.sampled_from(Direction)), tuple(ids)), draw(st.sampled_from(FATES))))
    return batches


@settings(max_examples=40, deadline=None)
@given(history=st.lists(st.tuples(runs(), st.booleans()), min_size=1, max_size=5), data=st.data())
def test_any_run_of_any_history_is_read_as_a_model_says(
    history: Sequence[tuple[list[tuple[Batch, str]], bool]], data: st.DataObject
):
    with tempfile.TemporaryDirectory() as folder:
        state = StateFixture(f"sqlite:///{folder}/state.db")
        answers = {
            "acknowledged": ACKNOWLEDGED,
            "unknown": unknown(state.clock.time),
            "not started": NOT_STARTED,
            "killed": None,
        }
        for number, (batches, compacts) in enumerate(history):
            send(state, f"run-{number}", *((batch, answers[fate]) for batch, fate in batches), compacts=compacts)
        chosen = data.draw(st.integers(0, len(history) - 1))

        def list_sent(number: int) -> dict[str, str]:
            batches, _ = history[number]
            return {id: batch.direction.value for batch, fate in batches if fate != "not started" for id in batch.ids}

        own = list_sent(chosen)
        later = frozenset(id for number in range(chosen + 1, len(history)) for id in list_sent(number))
        assert read_sent(state, f"run-{chosen}") == Sent(own, later if own else frozenset())


# --- what is kept of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compacts", [True, False])
def test_what_is_kept_is_counted_in_log_and_journal(state: StateFixture, compacts: bool):
    send(
        state,
        "run",
        (add("a", "b", "c"), ACKNOWLEDGED),
        (remove("d"), ACKNOWLEDGED),
        (add("u"), unknown(state.clock.time)),
        compacts=compacts,
    )
    found = find(state, "run")
    assert (found.kept, found.reported) == ({56: 4}, {})
    assert found.id_types == ({56: {IdType.ID.value}} if compacts else {})


def test_the_id_types_are_those_of_the_run_and_of_later_ones(state: StateFixture):
    send(state, "run", (add("a"), ACKNOWLEDGED))
    state.clock.time += 1
    with state.store() as store, store.lock(state.target(id_type=IdType.EMAIL), "later", "refresh", None) as held:
        store.begin("later", "production", "refresh", [], None)
        held.replace_snapshot(adoption(members=["m"], id_type=IdType.EMAIL, entered=["m"]))
    state.clock.time += 1
    target = state.target(id_type=IdType.EMAIL)
    with state.store() as store, store.lock(target, "last", "apply", None) as held:
        store.begin("last", "production", "apply", [], None)
        held.settle([(seq, ACKNOWLEDGED) for seq in held.intend([add("n")])])

    assert find(state, "run").id_types == {56: {"id", "email"}}
    assert find(state, "last").id_types == {56: {"email"}}
