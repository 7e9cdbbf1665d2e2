"""Numbers that are asked for only because a person reads them."""

import threading
from contextlib import closing
from dataclasses import replace

import pytest

from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.comparison import Counts
from reconciler.models.plan import Head, PlanStatus, RemoteFacts, SegmentPlan, UsedBy
from reconciler.operations.lookups import Lookups
from tests.fakes.parts import FakeApp, make_people, make_target

CHANGED = SegmentPlan(
    make_target(), PlanStatus.CHANGES, Head("a lineage", 1), Counts(desired=1, add=1), remote=RemoteFacts(title="VIP")
)
FIRST = replace(CHANGED, head=Head())


def fill(plan: SegmentPlan, app: FakeApp, warnings: list[str], seconds: float = 60) -> SegmentPlan:
    with closing(Lookups(seconds)) as lookups:
        lookups.ask(plan, app)
        (filled,) = lookups.fill([plan], warnings.append, threading.Event())
        return filled


def test_what_changes_is_told_its_uses_and_a_first_fill_its_members() -> None:
    warnings: list[str] = []
    assert fill(CHANGED, FakeApp(), warnings).remote == RemoteFacts(title="VIP", used_by=UsedBy(campaigns=(3,)))
    assert fill(FIRST, FakeApp(make_people(7)), warnings).remote.members == 7
    assert warnings == []


@pytest.mark.parametrize("plan", [replace(FIRST, remote=RemoteFacts()), replace(CHANGED, counts=Counts(desired=1))])
def test_nothing_is_asked_of_what_could_not_be_listed_or_does_not_change(plan: SegmentPlan) -> None:
    app = FakeApp()
    assert fill(plan, app, []) == plan
    assert app.calls == []


@pytest.mark.parametrize(
    "error", [DestinationError("down"), IncompleteRead("odd"), KeyError("nobody foresaw it"), TimeoutError()]
)
@pytest.mark.parametrize("broken", ["used_by", "count"])
def test_what_is_not_answered_is_a_warning(broken: str, error: Exception) -> None:
    warnings: list[str] = []
    filled = fill(FIRST, FakeApp(error=error, broken=frozenset({broken})), warnings)
    assert (filled.status, filled.remote.title) == (PlanStatus.CHANGES, "VIP")
    assert len(warnings) == 1
    assert "--lookup-timeout" not in warnings[0]
    assert (filled.remote.members if broken == "count" else filled.remote.used_by) is None


def test_campaigns_are_named_where_customer_io_names_them_and_a_list_that_fails_harms_nothing() -> None:
    warnings: list[str] = []
    named = fill(CHANGED, FakeApp(names={3: "Welcome", 4: "of another"}), warnings)
    unnamed = fill(CHANGED, FakeApp(error=DestinationError("down"), broken=frozenset({"campaigns"})), warnings)

    assert named.remote.used_by == UsedBy(campaigns=(3,), names=((3, "Welcome"),))
    assert unnamed.remote.used_by == UsedBy(campaigns=(3,))
    assert warnings == []


def test_campaigns_are_asked_for_once_however_many_segments_they_use() -> None:
    app = FakeApp(names={3: "Welcome"})
    plans = [replace(CHANGED, target=make_target(segment_id=number)) for number in range(50, 60)]
    with closing(Lookups(60)) as lookups:
        for plan in plans:
            lookups.ask(plan, app)
        filled = lookups.fill(plans, [].append, threading.Event())

    assert app.calls.count("campaigns") == 1
    assert [each.remote.used_by.names for each in filled] == [((3, "Welcome"),)] * 10


def test_one_unforeseen_answer_does_not_keep_the_other_from_being_told() -> None:
    filled = fill(FIRST, FakeApp(make_people(7), error=KeyError(), broken=frozenset({"used_by"})), [])
    assert filled.remote == RemoteFacts(title="VIP", members=7)


def test_without_time_nothing_is_asked() -> None:
    app, warnings = FakeApp(), list[str]()
    assert fill(FIRST, app, warnings, seconds=0) == FIRST
    assert (app.calls, len(warnings)) == ([], 1)
