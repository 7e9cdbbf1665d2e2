"""Refresh of one segment."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.errors import DestinationError, IncompleteRead, ReconcileError, SegmentError
from reconciler.models.batches import Direction
from reconciler.models.comparison import Adoption, DriftCounts
from reconciler.models.plan import Head
from reconciler.models.results import RefreshRow, RefreshStatus
from reconciler.operations.refresh import Adopt, refresh_segment
from tests.fakes.memory_state import FakeHeld
from tests.fakes.parts import FakeApp, FakeComparison, make_people, make_target

DRIFTED = DriftCounts(stored=5, remote=9, missing=1, foreign=5, lingering=2, unkeyed=1, strangers=3)


class Adopting(FakeComparison):
    """Remembers whether strangers were to be left alone."""

    known_only: bool | None = None

    def adoption(self, known_only: bool) -> Adoption:
        self.known_only = known_only
        return super().adoption(known_only)


def take_over(
    held: FakeHeld,
    comparison: FakeComparison,
    app: FakeApp | None,
    adopt: Adopt = Adopt.ALL,
    wait: Callable[[float], bool] = lambda seconds: False,
    confirm: Callable[[DriftCounts], None] = lambda found: None,
) -> RefreshRow:
    return refresh_segment(make_target(), held, comparison, app, adopt, [].append, wait, confirm)  # type: ignore[arg-type]


@pytest.mark.parametrize(("adopt", "adopted"), [(Adopt.ALL, 3), (Adopt.KNOWN, 0)])
def test_a_refresh_takes_over_what_it_read(adopt: Adopt, adopted: int) -> None:
    held, comparison, shown = FakeHeld(["ada", "bob"]), Adopting(drifts=[DRIFTED]), []
    held.unmatched = 4

    def confirm(found: DriftCounts) -> None:
        assert held.snapshots == [], "reading changes nothing"
        shown.append(found)

    row = take_over(held, comparison, FakeApp(make_people(5)), adopt, confirm=confirm)
    assert shown == [DRIFTED]
    assert (row.status, row.stored, row.unmatched, row.title) == (RefreshStatus.REFRESHED, 2, 4, "VIP")
    assert (row.strangers, row.adopted, row.lingering, row.unkeyed) == (3, adopted, 2, 1)
    assert (len(held.snapshots), comparison.known_only) == (1, adopt is Adopt.KNOWN)


@pytest.mark.parametrize(
    ("app", "error"),
    [
        (None, DestinationError),
        (FakeApp(make_people(5), counts=[4]), IncompleteRead),
        (FakeApp(known={}), DestinationError),
    ],
)
def test_a_read_that_fails_takes_nothing_over(app: FakeApp | None, error: type[ReconcileError]) -> None:
    held = FakeHeld(["ada"])
    with pytest.raises(error):
        take_over(held, FakeComparison(drifts=[DRIFTED]), app)
    assert held.snapshots == []


def test_a_refresh_takes_over_under_another_id_type() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    row = take_over(held, FakeComparison(drifts=[replace(DRIFTED, unkeyed=0)]), FakeApp(make_people(5)))
    assert row.status is RefreshStatus.REFRESHED


def test_a_refresh_under_another_id_type_is_refused_where_members_lack_it() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    with pytest.raises(SegmentError, match="1 of the 9 members have no id, and the state holds 1 by email"):
        take_over(held, FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)))
    assert held.snapshots == []
    row = take_over(FakeHeld([], head=held.head()), FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)))
    assert row.status is RefreshStatus.REFRESHED, "it holds nobody"


def test_a_refresh_that_is_not_confirmed_changes_nothing() -> None:
    def refuse(found: DriftCounts) -> None:
        raise ReconcileError("not confirmed")

    held = FakeHeld(["ada"])
    with pytest.raises(ReconcileError, match="not confirmed"):
        take_over(held, FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)), confirm=refuse)
    assert held.snapshots == []


def test_a_refresh_under_another_id_type_is_refused_while_an_outcome_is_unknown() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    held.unsettled_before = {"bob": Direction.ADD}
    with pytest.raises(SegmentError, match="by email, and the outcome of 1 ids is unknown") as caught:
        take_over(held, FakeComparison(drifts=[DRIFTED]), FakeApp(make_people(5)))
    assert "state forget" in caught.value.hint


def test_nobody_is_known_by_another_id_type() -> None:
    held = FakeHeld(["ada"], head=Head("lineage", 7, "email"))
    with pytest.raises(SegmentError, match="--adopt known"):
        take_over(held, FakeComparison(drifts=[replace(DRIFTED, unkeyed=0)]), FakeApp(make_people(5)), Adopt.KNOWN)
    assert held.snapshots == []


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

    take_over(held, comparison, FakeApp(make_people(5)), wait=wait)
    assert waited == waits


def test_a_refresh_that_is_stopped_while_it_waits_reads_nothing() -> None:
    held, comparison = FakeHeld(["ada"]), FakeComparison(drifts=[DRIFTED])
    held.latest_attempt = 999.0
    with pytest.raises(SegmentError, match="stopped"):
        take_over(held, comparison, FakeApp(make_people(5)), wait=lambda seconds: True)
    assert comparison.loads == []
