"""Drift and refresh of one segment."""

import pytest

from reconciler.errors import DestinationError, IncompleteRead, LockHeld, ReconcileError, SegmentError, StateError
from reconciler.models.batches import Direction
from reconciler.models.drift import Adoption, DriftCounts, DriftStatus, SegmentDrift
from reconciler.models.ids import IdType
from reconciler.models.plan import Head
from reconciler.models.remote import RemoteSegment
from reconciler.models.results import RefreshStatus
from reconciler.operations.drift import Takeover, fail_refresh, survey
from tests.fakes.memory_state import FakeHeld
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
    return survey(make_target(), head, comparison, app, ignore_foreign, warn)


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


# --- refresh -----------------------------------------------------------------------------------------------------


class Adopting(FakeComparison):
    """Remembers whether strangers were to be left alone."""

    known_only: bool | None = None

    def adoption(self, known_only: bool) -> Adoption:
        self.known_only = known_only
        return super().adoption(known_only)


def take_over(held: FakeHeld, comparison: FakeComparison, app: FakeApp | None) -> Takeover:
    return Takeover(make_target(), held, comparison, app)


@pytest.mark.parametrize(("known_only", "adopted"), [(False, 3), (True, 0)])
def test_a_refresh_takes_over_what_it_saw(known_only: bool, adopted: int) -> None:
    held, comparison = FakeHeld(["ada", "bob"]), Adopting(drifts=[DRIFTED])
    held.unmatched = 4
    takeover = take_over(held, comparison, FakeApp(make_people(5)))
    assert takeover.look([].append, lambda seconds: False) == DRIFTED
    assert held.adopted == [], "looking changes nothing"
    row = takeover.take(known_only)
    assert (row.status, row.stored, row.unmatched, row.title) == (RefreshStatus.REFRESHED, 2, 4, "VIP")
    assert (row.strangers, row.adopted, row.lingering, row.unkeyed) == (3, adopted, 2, 1)
    assert (len(held.adopted), comparison.known_only) == (1, known_only)


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (None, DestinationError),
        (FakeApp(make_people(5), counts=[4]), IncompleteRead),
        (FakeApp(known={}), DestinationError),
    ],
)
def test_a_look_that_fails_takes_nothing_over(app: FakeApp | None, error: type[ReconcileError]) -> None:
    held = FakeHeld(["ada"])
    with pytest.raises(error):
        take_over(held, FakeComparison(drifts=[DRIFTED]), app).look([].append, lambda seconds: False)
    assert held.adopted == []


def test_a_refresh_takes_over_under_another_id_type() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    takeover = take_over(held, FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)))
    takeover.look([].append, lambda seconds: False)
    assert takeover.take(known_only=False).status is RefreshStatus.REFRESHED


def test_a_refresh_under_another_id_type_is_refused_while_an_outcome_is_unknown() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    held.unsettled_before = {"bob": Direction.ADD}
    takeover = take_over(held, FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)))
    with pytest.raises(SegmentError, match="by email, and the outcome of 1 ids is unknown") as caught:
        takeover.look([].append, lambda seconds: False)
    assert "state forget" in caught.value.hint


def test_nobody_is_known_by_another_id_type() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    takeover = take_over(held, FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)))
    takeover.look([].append, lambda seconds: False)
    with pytest.raises(SegmentError, match="--adopt known"):
        takeover.take(known_only=True)
    assert held.adopted == []


@pytest.mark.parametrize(("attempted_at", "waits"), [(None, []), (990.0, []), (996.0, [6.0]), (5000.0, [10.0])])
def test_a_refresh_reads_no_sooner_than_settle_after_the_last_attempt(
    attempted_at: float | None, waits: list[float]
) -> None:
    held, waited, comparison = FakeHeld(["ada"]), [], FakeComparison(drifts=[DRIFTED])
    held.latest_attempt = attempted_at

    def wait(seconds: float) -> bool:
        assert comparison.loads == []
        waited.append(seconds)
        return False

    take_over(held, comparison, FakeApp(make_people(5))).look([].append, wait)
    assert waited == waits


def test_a_refresh_that_is_stopped_while_it_waits_reads_nothing() -> None:
    held, comparison = FakeHeld(["ada"]), FakeComparison(drifts=[DRIFTED])
    held.latest_attempt = 999.0
    with pytest.raises(SegmentError, match="stopped"):
        take_over(held, comparison, FakeApp(make_people(5))).look([].append, lambda seconds: True)
    assert comparison.loads == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(StateError("no disk"), RefreshStatus.FAILED), (LockHeld("locked"), RefreshStatus.LOCKED)],
)
def test_a_refresh_that_fails_is_a_row_without_numbers(error: ReconcileError, status: RefreshStatus) -> None:
    row = fail_refresh(make_target(id_type=IdType.EMAIL), error, status)
    assert (row.status, row.stored, row.strangers, row.adopted) == (status, None, None, None)
    assert row.error is not None
    assert row.error.message == error.message
