"""Drift of one segment."""

import pytest

from reconciler.errors import DestinationError, IncompleteRead, as_known
from reconciler.models.comparison import DriftCounts
from reconciler.models.plan import Head, RemoteSegment
from reconciler.models.results import DriftStatus, SegmentDrift
from reconciler.operations.drift import compare_segment, judge_drift
from reconciler.operations.results import as_problem
from tests.fakes.parts import Crash, FakeApp, FakeComparison, make_people, make_target

KNOWN = Head("lineage", 7, "id", completed=True)
AGREES = DriftCounts(stored=5, remote=5, missing=0, foreign=0, lingering=0, unkeyed=0)
DRIFTED = DriftCounts(stored=5, remote=9, missing=1, foreign=5, lingering=2, unkeyed=1, strangers=3)


def surveyed(
    app: FakeApp | None,
    *drifts: DriftCounts,
    head: Head = KNOWN,
    ignore_foreign: bool = False,
    warnings: list[str] | None = None,
) -> SegmentDrift:
    comparison = FakeComparison(drifts=list(drifts))
    warn = [].append if warnings is None else warnings.append
    try:
        return compare_segment(make_target(), head, comparison, app, ignore_foreign, warn)
    except Exception as error:  # as the operation does
        return SegmentDrift(make_target(), DriftStatus.FAILED, error=as_problem(make_target(), as_known(error)))


@pytest.mark.parametrize(
    ("missing", "foreign", "lingering", "ignore_foreign", "status"),
    [
        (0, 0, 0, False, DriftStatus.IN_SYNC),
        (1, 0, 0, False, DriftStatus.DRIFTED),
        (0, 1, 0, False, DriftStatus.DRIFTED),
        (0, 1, 1, False, DriftStatus.DRIFTED),
        (0, 0, 0, True, DriftStatus.IN_SYNC),
        (0, 5, 0, True, DriftStatus.IN_SYNC),
        (0, 5, 1, True, DriftStatus.DRIFTED),
        (1, 5, 0, True, DriftStatus.DRIFTED),
    ],
)
def test_what_is_drift(missing: int, foreign: int, lingering: int, ignore_foreign: bool, status: DriftStatus) -> None:
    counts = DriftCounts(10, 10, missing, foreign, lingering, unkeyed=3, strangers=foreign - lingering)
    assert judge_drift(counts, ignore_foreign) is status


@pytest.mark.parametrize(("counts", "status"), [(AGREES, DriftStatus.IN_SYNC), (DRIFTED, DriftStatus.DRIFTED)])
def test_drift_is_judged_by_its_counts(counts: DriftCounts, status: DriftStatus) -> None:
    found = surveyed(FakeApp(make_people(5)), counts)
    assert (found.status, found.counts, found.title, found.error) == (status, counts, "VIP", None)


def test_foreign_members_can_be_ignored() -> None:
    foreign = DriftCounts(stored=5, remote=9, missing=0, foreign=4, lingering=0, unkeyed=0, strangers=4)
    assert surveyed(FakeApp(make_people(5)), foreign, ignore_foreign=True).status is DriftStatus.IN_SYNC


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (None, "app_api_key"),
        (FakeApp(known={}), "no_such_segment"),
        (FakeApp(known={56: RemoteSegment(56, "VIP", manual=False)}), "not_manual"),
        (FakeApp(make_people(5), counts=[4]), "incomplete_read"),
        (FakeApp(error=DestinationError("down"), broken=frozenset({"members"})), "destination"),
        (FakeApp(error=IncompleteRead("odd"), broken=frozenset({"members"})), "incomplete_read"),
        (FakeApp(error=Crash("ada"), broken=frozenset({"members"})), "internal"),
    ],
)
def test_a_survey_that_fails_knows_no_number(app: FakeApp | None, code: str) -> None:
    found = surveyed(app, AGREES)
    assert (found.status, found.counts) == (DriftStatus.FAILED, None)
    assert found.error is not None
    assert found.error.code == code
    assert "ada" not in repr(found.error)


def test_another_id_type_is_not_compared() -> None:
    found = surveyed(FakeApp(make_people(5)), AGREES, head=Head("lineage", 7, "email"))
    assert found.error is not None
    assert found.error.code == "id_type"


def test_a_name_that_is_not_known_is_a_warning() -> None:
    warnings: list[str] = []
    app = FakeApp(make_people(5), error=DestinationError("down"), broken=frozenset({"segments"}))
    found = surveyed(app, AGREES, warnings=warnings)
    assert (found.status, found.title, len(warnings)) == (DriftStatus.IN_SYNC, None, 1)
