"""Planning one segment: what it asks, what it refuses, and how it fails."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import DestinationError, IncompleteRead, PlanFileError, SourceError, StateError, as_known
from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts
from reconciler.models.freshness import DataTime
from reconciler.models.guards import ALLOW_FLAGS, Guard
from reconciler.models.ids import IdType
from reconciler.models.plan import Head, PlanStatus, RemoteFacts, RemoteSegment, SegmentPlan
from reconciler.models.spec import FreshnessSettings, GuardSettings, Target
from reconciler.operations.plan import PlanOptions, plan_segment
from reconciler.operations.results import as_failed_plan
from tests.fakes.parts import Crash, FakeApp, FakeChanges, FakeComparison, make_people, make_target, name_ids, own

KNOWN = Head("lineage", 7, "id", completed=True, environment_id=12345)
CHANGES = Counts(desired=105, stored=103, held=103, add=5, remove=3, unchanged=100)
IDLE = Counts(desired=100, stored=100, held=100, unchanged=100)


def plan(
    target: Target | None = None,
    counts: Counts = CHANGES,
    app: FakeApp | None = None,
    *,
    head: Head = KNOWN,
    comparison: FakeComparison | None = None,
    options: PlanOptions | None = None,
    warnings: list[str] | None = None,
) -> SegmentPlan:
    comparison = comparison or FakeComparison(name_ids(5), name_ids(3, "gone"), counts=counts, head=head)
    warn = [].append if warnings is None else warnings.append
    chosen = target or make_target()
    try:
        return plan_segment(chosen, head, comparison, app, options or PlanOptions(), warn)[0]
    except PlanFileError:
        raise
    except Exception as error:  # as an operation does
        return as_failed_plan(chosen, as_known(error))


def pin(workspace_id: int) -> Target:
    target = make_target()
    destination = target.spec.destination.model_copy(update={"workspace_id": workspace_id})
    return replace(target, spec=target.spec.model_copy(update={"destination": destination}))


def code_of(planned: SegmentPlan) -> str | None:
    return planned.error.code if planned.error else None


# --- what a plan says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("counts", "status"), [(CHANGES, PlanStatus.CHANGES), (IDLE, PlanStatus.UNCHANGED)])
def test_a_plan_says_whether_there_are_changes(counts: Counts, status: PlanStatus) -> None:
    planned = plan(counts=counts)
    assert (planned.status, planned.counts, planned.head, planned.error) == (status, counts, KNOWN, None)
    assert [verdict.name for verdict in planned.verdicts] == [each for each in Guard if each is not Guard.FRESHNESS]


# --- freshness ---------------------------------------------------------------------------------------------------

FRESHNESS = FreshnessSettings.model_validate({"query": "SELECT max(loaded_at) FROM t", "max_age": "26h"})
GUARDS = GuardSettings(freshness=FRESHNESS)


def plan_data_of(hours: float | None, **segment: Any) -> SegmentPlan:
    at = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
    comparison = FakeComparison(name_ids(5), name_ids(3, "gone"), counts=CHANGES, head=KNOWN, data_time=DataTime(at))
    return plan(make_target(guards=GUARDS, **segment), comparison=comparison)


AGES = [(25, PlanStatus.CHANGES), (27, PlanStatus.BLOCKED), (None, PlanStatus.BLOCKED)]


@pytest.mark.parametrize(("hours", "status"), AGES)
def test_data_that_is_not_known_to_be_fresh_blocks(hours: float | None, status: PlanStatus) -> None:
    planned = plan_data_of(hours)
    assert planned.status is status
    verdict = planned.verdicts[-1]
    assert (verdict.name, verdict.limit, verdict.blocks) == (Guard.FRESHNESS, "26h", status is PlanStatus.BLOCKED)


def test_no_flag_lets_old_data_past() -> None:
    assert Guard.FRESHNESS not in ALLOW_FLAGS


def test_a_paused_segment_shows_its_breach_and_a_retired_one_is_not_judged() -> None:
    assert plan_data_of(27, paused=True).status is PlanStatus.PAUSED
    assert plan_data_of(27, paused=True).verdicts[-1].blocks
    retired = plan(make_target(guards=GUARDS, retired=True))
    assert (retired.status, retired.verdicts) == (PlanStatus.CHANGES, ())


def test_what_was_not_asked_is_never_taken_for_fresh() -> None:
    assert code_of(plan(make_target(guards=GUARDS))) == "internal"


def test_a_plan_file_was_judged_when_it_was_made() -> None:
    comparison = FakeComparison(name_ids(5), counts=CHANGES, head=KNOWN)
    target = make_target(guards=GUARDS)
    made, _ = plan_segment(target, KNOWN, comparison, None, PlanOptions(), [].append, FakeComparison.compare)
    assert made.status is PlanStatus.CHANGES
    assert Guard.FRESHNESS not in {verdict.name for verdict in made.verdicts}


# --- what it keeps -----------------------------------------------------------------------------------------------


def test_a_plan_that_is_blocked_keeps_its_numbers() -> None:
    planned = plan(counts=replace(CHANGES, remove=99))
    assert (planned.status, planned.error) == (PlanStatus.BLOCKED, None)
    assert planned.counts is not None
    assert [verdict.name for verdict in planned.verdicts if verdict.blocks] == [Guard.MAX_REMOVALS]


@pytest.mark.parametrize(("name", "status"), [("production/vip", PlanStatus.CHANGES), ("vip", PlanStatus.BLOCKED)])
def test_an_allowance_is_for_one_segment_of_one_workspace(name: str, status: PlanStatus) -> None:
    options = PlanOptions({name: frozenset({Guard.MAX_REMOVALS})})
    assert plan(counts=replace(CHANGES, remove=99), options=options).status is status


def test_no_example_ids_unless_they_are_asked_for() -> None:
    assert plan().examples.add == plan().examples.remove == ()
    shown = plan(options=PlanOptions(show_ids=2)).examples
    assert (shown.add, shown.remove) == (("id000000", "id000001"), ("gone000000", "gone000001"))


def test_a_first_fill_of_any_size_passes() -> None:
    counts = Counts(desired=9000, add=9000)
    planned = plan(counts=counts, head=Head())
    assert (planned.status, planned.first_fill) == (PlanStatus.CHANGES, True)


# --- what it refuses ---------------------------------------------------------------------------------------------


def test_another_id_type_is_refused_with_the_way_out() -> None:
    app = FakeApp()
    planned = plan(make_target(id_type=IdType.EMAIL), app=app)
    assert (planned.status, code_of(planned), app.calls) == (PlanStatus.FAILED, "id_type", [])
    assert planned.error is not None
    assert "reconcile refresh" in planned.error.hint
    assert "state forget" in planned.error.hint


def test_an_id_type_that_changed_while_the_query_ran_is_refused() -> None:
    comparison = FakeComparison(counts=CHANGES, head=replace(KNOWN, id_type="email"))
    assert code_of(plan(comparison=comparison)) == "id_type"


def test_a_pin_that_is_not_the_bound_environment_is_refused() -> None:
    planned = plan(pin(999))
    assert (planned.status, code_of(planned)) == (PlanStatus.FAILED, "environment")
    assert planned.error is not None
    assert "12345" in planned.error.message
    assert "999" in planned.error.message


@pytest.mark.parametrize(("pinned", "bound"), [(12345, 12345), (999, None)])
def test_a_pin_that_agrees_or_is_not_bound_yet_passes(pinned: int, bound: int | None) -> None:
    assert plan(pin(pinned), head=replace(KNOWN, environment_id=bound)).status is PlanStatus.CHANGES


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    ("known", "code"),
    [({}, "no_such_segment"), ({56: RemoteSegment(56, "VIP", manual=False)}, "not_manual")],
)
def test_a_segment_that_is_missing_or_data_driven_is_refused(
    known: dict[int, RemoteSegment], code: str, exclusive: bool
) -> None:
    planned = plan(make_target(ownership=own(exclusive)), app=FakeApp(make_people(3), known=known))
    assert (planned.status, code_of(planned)) == (PlanStatus.FAILED, code)


@pytest.mark.parametrize("head", [Head(), KNOWN])
def test_a_data_driven_segment_is_refused_even_where_it_cannot_be_counted(head: Head) -> None:
    known = {56: RemoteSegment(56, "VIP", manual=False)}
    app = FakeApp(known=known, error=DestinationError("down"), broken=frozenset({"count"}))
    assert code_of(plan(app=app, head=head)) == "not_manual"


def test_exclusive_needs_an_app_key() -> None:
    planned = plan(make_target(ownership=own(True)))
    assert (planned.status, code_of(planned)) == (PlanStatus.FAILED, "app_api_key")


# --- what it asks of the App API ---------------------------------------------------------------------------------


def test_without_an_app_key_nothing_is_known() -> None:
    assert plan().remote == RemoteFacts()


def test_a_segment_with_changes_is_looked_up() -> None:
    app = FakeApp()
    planned = plan(app=app)
    assert (planned.remote.title, planned.remote.members, app.calls) == ("VIP", None, ["segments"])


def test_nothing_to_send_asks_nothing() -> None:
    app = FakeApp()
    assert plan(counts=IDLE, app=app).remote == RemoteFacts()
    assert app.calls == []


def test_resends_are_looked_up_but_change_nothing() -> None:
    app = FakeApp()
    plan(counts=replace(IDLE, desired=101, resend=1), app=app)
    assert app.calls == ["segments"]


@pytest.mark.parametrize("error", [DestinationError("down"), IncompleteRead("odd")])
def test_an_app_api_that_is_down_is_a_warning_for_a_tracked_segment(error: Exception) -> None:
    warnings: list[str] = []
    planned = plan(app=FakeApp(error=error), head=Head(), warnings=warnings)
    assert (planned.status, planned.remote.title) == (PlanStatus.CHANGES, None)
    assert len(warnings) == 1


@pytest.mark.parametrize("error", [DestinationError("down"), IncompleteRead("odd")])
@pytest.mark.parametrize("broken", ["segments", "count", "members"])
def test_an_app_api_that_is_down_fails_an_exclusive_segment(broken: str, error: Exception) -> None:
    warnings: list[str] = []
    app = FakeApp(make_people(3), error=error, broken=frozenset({broken}))
    planned = plan(make_target(ownership=own(True)), app=app, warnings=warnings)
    assert (planned.status, warnings) == (PlanStatus.FAILED, [])


def test_exclusive_reads_the_whole_membership_before_it_compares() -> None:
    class Order(FakeComparison):
        def compare(self) -> FakeChanges:
            assert self.loads == [(3, 3)]
            return super().compare()

    comparison = Order(counts=CHANGES, head=KNOWN)
    planned = plan(make_target(ownership=own(True)), app=FakeApp(make_people(3)), comparison=comparison)
    assert planned.status is PlanStatus.CHANGES


def test_tracked_reads_no_membership() -> None:
    comparison = FakeComparison(counts=CHANGES, head=KNOWN)
    plan(app=FakeApp(make_people(3)), comparison=comparison)
    assert comparison.loads == []


def test_a_read_that_disagrees_twice_computes_no_removal() -> None:
    comparison = FakeComparison(counts=CHANGES, head=KNOWN, compare_error=AssertionError("must not be compared"))
    app = FakeApp(make_people(3), counts=[2])
    planned = plan(make_target(ownership=own(True)), app=app, comparison=comparison)
    assert code_of(planned) == "incomplete_read"


# --- how it fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [(SourceError("the query failed"), "source"), (StateError("no"), "state"), (Crash("ada"), "internal")],
)
def test_what_fails_is_a_value(error: Exception, code: str) -> None:
    planned = plan(comparison=FakeComparison(compare_error=error))
    assert (planned.status, code_of(planned), planned.counts) == (PlanStatus.FAILED, code, None)
    assert "ada" not in repr(planned.error)


def test_examples_that_cannot_be_read_fail_the_segment() -> None:
    class Broken(FakeComparison):
        def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
            raise StateError("gone")

    planned = plan(comparison=Broken(counts=CHANGES, head=KNOWN), options=PlanOptions(show_ids=1))
    assert (planned.status, code_of(planned)) == (PlanStatus.FAILED, "state")


def test_a_plan_file_that_is_refused_is_for_the_caller() -> None:
    with pytest.raises(PlanFileError):
        plan(comparison=FakeComparison(compare_error=PlanFileError("changed")))


def test_errors_say_where() -> None:
    planned = plan(make_target(id_type=IdType.EMAIL))
    assert planned.error is not None
    assert planned.error.message.startswith(f"{Path('spec.yaml')}:7: ")
