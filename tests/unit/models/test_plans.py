"""Small values: batches, counts, plans, tallies."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import Counts
from reconciler.models.fields import Secret
from reconciler.models.id_status import Mark
from reconciler.models.plan import Examples, Head, Plan, PlanStatus, Problem, RemoteFacts, SegmentPlan, UsedBy
from reconciler.models.results import Tally
from reconciler.models.spec import DestinationSettings, Segment, Spec, StateSettings, Target

SEGMENT = Segment(name="vip", segment_id=56, query="SELECT 1", source="warehouse")
TARGET = Target(
    Spec(
        path=Path("spec.yaml"),
        sources={},
        destination=DestinationSettings(site_id=Secret("site"), api_key=Secret("key")),
        state=StateSettings(url=Secret("")),
        segments=(SEGMENT,),
    ),
    SEGMENT,
)
IDS = st.lists(st.text("abc", min_size=1), unique=True, max_size=30).map(tuple)


# --- batches -----------------------------------------------------------------------------------------------------


@given(IDS, st.data())
def test_a_cut_loses_no_id_and_keeps_resends_with_their_ids(ids: tuple[str, ...], data: st.DataObject) -> None:
    resends = frozenset(data.draw(st.lists(st.sampled_from(ids)))) if ids else frozenset[str]()
    first, rest = Batch(Direction.ADD, ids, resends).cut(data.draw(st.integers(0, len(ids))))
    assert first.ids + rest.ids == ids
    assert first.resends == resends & set(first.ids)
    assert rest.resends == resends & set(rest.ids)
    assert first.direction is rest.direction is Direction.ADD


def test_a_batch_does_not_show_its_ids() -> None:
    assert repr(Batch(Direction.ADD, ("ada", "bob"), frozenset({"ada"}))) == "Batch(add, 2 ids)"


def test_the_words_that_states_and_plan_files_hold_stay_what_they_are() -> None:
    assert list(Direction) == ["add", "remove"]
    assert list(Mark) == ["unsettled", "unmatched", "rejected", "removed", "echo"]
    assert list(PlanStatus) == ["changes", "unchanged", "blocked", "paused", "failed"]


def test_a_result_with_only_an_outcome_has_no_attempt() -> None:
    assert BatchResult(Outcome.NOT_STARTED) == BatchResult(Outcome.NOT_STARTED, 0, None, "", "")


@pytest.mark.parametrize("outcome", Outcome)
def test_an_unknown_attempt_may_be_applied_whatever_came_last(outcome: Outcome) -> None:
    assert BatchResult(outcome, 2, unknown_at=1.0).may_be_applied
    assert BatchResult(outcome, 1).may_be_applied is (outcome is Outcome.ACKNOWLEDGED)


# --- counts and plans --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "changed"),
    [(Counts(add=1), True), (Counts(remove=1), True), (Counts(resend=9), False), (Counts(), False)],
)
def test_resends_alone_do_not_make_a_change(counts: Counts, changed: bool) -> None:
    assert counts.is_changed is changed


def test_what_was_not_compared_is_counted_as_nothing_and_as_unknown_where_it_may_be_anything() -> None:
    counts = vars(Counts())
    unknown = {name for name, number in counts.items() if number is None}
    assert unknown == {"unkeyed", "reversed_at", "sent_since"}
    assert {number for name, number in counts.items() if name not in unknown} == {0}


def test_a_segment_that_the_state_has_never_met_knows_nothing() -> None:
    assert Head() == Head(None, 0, None, False, None, None, None)
    assert Head().is_new
    assert not Head(lineage="a lineage").is_new


def test_a_plan_that_failed_at_once_shows_nothing() -> None:
    plan = SegmentPlan(TARGET, PlanStatus.FAILED)

    assert (plan.head, plan.counts, plan.verdicts, plan.error, plan.allowed) == (Head(), None, (), None, frozenset())
    assert (plan.remote, plan.examples) == (RemoteFacts(None, None, None), Examples((), ()))
    assert (UsedBy(), Problem("a", "b")) == (UsedBy((), (), ()), Problem("a", "b", ""))
    assert plan.engine == "local"
    assert plan.first_fill


def test_the_segments_of_one_status_are_found_in_their_order() -> None:
    first, failed, last = (SegmentPlan(TARGET, PlanStatus(status)) for status in ("changes", "failed", "changes"))
    plan = Plan(datetime(2026, 11, 21, tzinfo=UTC), (first, failed, last))

    assert plan.of_status(PlanStatus.CHANGES) == (first, last)
    assert plan.warnings == ()


@pytest.mark.parametrize(
    ("remove", "add", "resend", "requests"),
    [(0, 0, 0, 0), (1, 0, 0, 1), (1000, 0, 0, 1), (1001, 0, 0, 2), (1, 1, 0, 2), (0, 999, 1, 1), (0, 1000, 1, 2)],
)
def test_a_plan_counts_its_requests(remove: int, add: int, resend: int, requests: int) -> None:
    counts = Counts(remove=remove, add=add, resend=resend)
    assert SegmentPlan(TARGET, PlanStatus.CHANGES, counts=counts).requests == requests


@pytest.mark.parametrize(
    ("status", "has_work"),
    [
        (PlanStatus.CHANGES, True),
        (PlanStatus.UNCHANGED, True),
        (PlanStatus.BLOCKED, False),
        (PlanStatus.FAILED, False),
    ],
)
def test_a_plan_that_is_blocked_has_no_work(status: PlanStatus, has_work: bool) -> None:
    assert SegmentPlan(TARGET, status, counts=Counts(resend=1)).has_work is has_work


def test_a_plan_without_counts_has_no_work() -> None:
    assert not SegmentPlan(TARGET, PlanStatus.CHANGES).has_work


@pytest.mark.parametrize("name", ["added", "removed", "resent", "unsettled"])
def test_a_tally_is_touched_by_what_was_or_may_have_been_changed(name: str) -> None:
    assert Tally(**{name: 1}).touched


def test_a_tally_is_not_touched_by_what_was_refused() -> None:
    assert not Tally(rejected=5, requests=9, retries=4).touched
