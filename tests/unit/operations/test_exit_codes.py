"""From a result to its exit code, row by row of the contract's table."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.errors import PRECEDENCE
from reconciler.models.fields import Secret
from reconciler.models.plan import PlanStatus, SegmentPlan
from reconciler.models.results import DriftStatus, RefreshRow, RefreshStatus, RunStatus, SegmentDrift, SegmentRun, Tally
from reconciler.models.spec import DestinationSettings, Segment, Spec, StateSettings, Target
from reconciler.operations.results import DriftResult, PlanResult, RefreshResult, RunResult

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SEGMENT = Segment(name="vip", segment_id=56, query="SELECT 1", source="warehouse")
SPEC = Spec(
    path=Path("a.yaml"),
    sources={},
    destination=DestinationSettings(site_id=Secret("site"), api_key=Secret("key")),
    state=StateSettings(url=Secret("sqlite://")),
    segments=(SEGMENT,),
)
TARGET = Target(SPEC, SEGMENT)
PLANNED = SegmentPlan(TARGET, PlanStatus.CHANGES)


def code_of_plan(*statuses: PlanStatus, detailed: bool) -> int:
    segments = tuple(SegmentPlan(TARGET, status) for status in statuses)
    return PlanResult(NOW, segments, detailed_exitcode=detailed).exit_code


def code_of_run(*segments: tuple[RunStatus, Tally], stopped_by: int | None = None) -> int:
    found = tuple(SegmentRun(PLANNED, status, tally) for status, tally in segments)
    return RunResult("run-1", NOW, found, stopped_by=stopped_by).exit_code


@pytest.mark.parametrize("status", [*PlanStatus, *RunStatus, *DriftStatus, *RefreshStatus])
def test_each_status_has_a_code(status):
    results = {
        PlanStatus: lambda: PlanResult(NOW, (SegmentPlan(TARGET, status),), detailed_exitcode=True),
        RunStatus: lambda: RunResult("run-1", NOW, (SegmentRun(PLANNED, status, Tally()),)),
        DriftStatus: lambda: DriftResult(NOW, (SegmentDrift(TARGET, status),)),
        RefreshStatus: lambda: RefreshResult("run-1", NOW, (RefreshRow(TARGET, status),)),
    }

    assert results[type(status)]().exit_code in PRECEDENCE


NONE = Tally(requests=3, retries=2)
ADDED, REMOVED, RESENT = Tally(added=1), Tally(removed=1), Tally(resent=1)
UNSETTLED, REJECTED = Tally(unsettled=1), Tally(rejected=1)

CHANGES, UNCHANGED = PlanStatus.CHANGES, PlanStatus.UNCHANGED
BLOCKED, FAILED = PlanStatus.BLOCKED, PlanStatus.FAILED


def test_the_order_is_that_of_the_contract() -> None:
    assert [int(code) for code in PRECEDENCE] == [64, 6, 1, 3, 4, 5, 2, 0]


@pytest.mark.parametrize(
    ("statuses", "plain", "detailed"),
    [
        ((), 0, 0),
        ((UNCHANGED,), 0, 0),
        ((CHANGES,), 0, 2),
        ((CHANGES, UNCHANGED), 0, 2),
        ((BLOCKED,), 3, 3),
        ((BLOCKED, CHANGES), 3, 3),
        ((FAILED,), 1, 1),
        ((CHANGES, BLOCKED, FAILED), 1, 1),
    ],
)
def test_a_plan(statuses: tuple[PlanStatus, ...], plain: int, detailed: int) -> None:
    assert code_of_plan(*statuses, detailed=False) == plain
    assert code_of_plan(*statuses, detailed=True) == detailed


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ([], 0),
        ([(RunStatus.UNCHANGED, NONE)], 0),
        ([(RunStatus.APPLIED, ADDED)], 0),
        ([(RunStatus.APPLIED, ADDED), (RunStatus.UNCHANGED, NONE)], 0),
        ([(RunStatus.BLOCKED, NONE)], 3),
        ([(RunStatus.BLOCKED, NONE), (RunStatus.APPLIED, ADDED)], 3),
        ([(RunStatus.STALE, NONE)], 4),
        ([(RunStatus.LOCKED, NONE)], 5),
        ([(RunStatus.LOCKED, NONE), (RunStatus.STALE, NONE)], 4),
        ([(RunStatus.LOCKED, NONE), (RunStatus.STALE, NONE), (RunStatus.BLOCKED, NONE)], 3),
        ([(RunStatus.LOCKED, NONE), (RunStatus.APPLIED, ADDED)], 5),
        ([(RunStatus.FAILED, NONE)], 1),
        ([(RunStatus.FAILED, NONE), (RunStatus.UNCHANGED, NONE)], 1),
        ([(RunStatus.FAILED, NONE), (RunStatus.BLOCKED, NONE), (RunStatus.LOCKED, NONE)], 1),
        ([(RunStatus.FAILED, REJECTED)], 1),
    ],
)
def test_a_run_that_changed_nothing_or_all_of_it(segments: list[tuple[RunStatus, Tally]], code: int) -> None:
    assert code_of_run(*segments) == code
    assert code_of_run(*reversed(segments)) == code


@pytest.mark.parametrize("touching", [ADDED, REMOVED, RESENT])
def test_a_failure_beside_a_change_of_another_segment_is_partly_done(touching: Tally) -> None:
    assert code_of_run((RunStatus.APPLIED, touching), (RunStatus.FAILED, NONE)) == 6
    assert code_of_run((RunStatus.FAILED, NONE), (RunStatus.APPLIED, touching)) == 6


@pytest.mark.parametrize(
    "segments",
    [
        [(RunStatus.PARTIAL, ADDED)],
        [(RunStatus.PARTIAL, NONE)],
        [(RunStatus.PARTIAL, ADDED), (RunStatus.BLOCKED, NONE), (RunStatus.LOCKED, NONE)],
        [(RunStatus.PARTIAL, UNSETTLED), (RunStatus.FAILED, NONE)],
        [(RunStatus.APPLIED, Tally(added=5, unsettled=1))],
        [(RunStatus.APPLIED, Tally(added=5, rejected=1))],
        [(RunStatus.FAILED, UNSETTLED)],
        [(RunStatus.FAILED, REJECTED), (RunStatus.APPLIED, ADDED)],
    ],
)
def test_what_is_or_may_be_changed_and_not_whole_is_partly_done(segments: list[tuple[RunStatus, Tally]]) -> None:
    assert code_of_run(*segments) == 6


@pytest.mark.parametrize(("signal", "code"), [(2, 130), (15, 143)])
@pytest.mark.parametrize("status", list(RunStatus))
def test_a_signal_outweighs_all(signal: int, code: int, status: RunStatus) -> None:
    assert code_of_run((status, ADDED), stopped_by=signal) == code


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        ([DriftStatus.IN_SYNC], 0),
        ([DriftStatus.IN_SYNC, DriftStatus.DRIFTED], 2),
        ([DriftStatus.FAILED, DriftStatus.DRIFTED], 1),
    ],
)
def test_drift(statuses: list[DriftStatus], code: int) -> None:
    assert DriftResult(NOW, tuple(SegmentDrift(TARGET, status) for status in statuses)).exit_code == code


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([RefreshStatus.REFRESHED], 0),
        ([RefreshStatus.REFRESHED, RefreshStatus.LOCKED], 5),
        ([RefreshStatus.LOCKED, RefreshStatus.FAILED, RefreshStatus.REFRESHED], 1),
    ],
)
def test_a_refresh(statuses: list[RefreshStatus], code: int) -> None:
    assert RefreshResult("run-1", NOW, tuple(RefreshRow(TARGET, each) for each in statuses)).exit_code == code


@pytest.mark.parametrize(("unsettled", "code"), [(None, 0), (0, 0), (1, 6)])
def test_a_refresh_that_leaves_ids_unsettled_is_partly_done(unsettled: int | None, code: int) -> None:
    row = RefreshRow(TARGET, RefreshStatus.REFRESHED, unsettled=unsettled)
    assert RefreshResult("run-1", NOW, (row,)).exit_code == code
