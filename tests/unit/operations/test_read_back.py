"""Reading a segment back: whole, or not at all."""

from collections.abc import Generator
from dataclasses import replace

import pytest

from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.comparison import DriftCounts, Page
from reconciler.models.ids import IdType
from reconciler.models.plan import Head
from reconciler.operations.read_back import (
    Confirmation,
    find_unmatched,
    read_back,
    shows_what_was_sent,
    wait_for_agreement,
)
from tests.fakes.memory_state import FakeClock
from tests.fakes.parts import FakeApp, FakeComparison, FakeStop, make_people, make_target

AGREES = DriftCounts(stored=5, remote=5, missing=0, foreign=0, lingering=0, unkeyed=0)
MISSING = DriftCounts(stored=5, remote=4, missing=1, foreign=0, lingering=0, unkeyed=0)
LINGERING = DriftCounts(stored=5, remote=6, missing=0, foreign=1, lingering=1, unkeyed=0)
FOREIGN = DriftCounts(stored=5, remote=9, missing=0, foreign=4, lingering=0, unkeyed=2)
TARGET = make_target()


class SlowApp(FakeApp):
    """Each read of the pages takes some seconds; `breaks`: number of first reads that make no sense."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0, breaks: int = 0) -> None:
        super().__init__(make_people(5))
        self._clock = clock
        self._seconds = seconds
        self._breaks = breaks

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        self._clock.seconds += self._seconds
        if self._breaks:
            self._breaks -= 1
            raise IncompleteRead("the pages make no sense")
        return super().members(segment_id, id_type)


# --- one read ----------------------------------------------------------------------------------------------------


def test_a_read_that_both_counts_agree_with_is_whole() -> None:
    comparison, app = FakeComparison(), FakeApp(make_people(5))
    assert read_back(TARGET, comparison, app).people == 5
    assert app.calls == ["count", "members", "count"]


@pytest.mark.parametrize("counts", [[4, 5, 5], [5, 6, 5], [4, 4, 5], [6, 5, 5]])
def test_a_count_that_disagrees_once_is_read_again(counts: list[int]) -> None:
    comparison, app = FakeComparison(), FakeApp(make_people(5), counts=counts)
    assert read_back(TARGET, comparison, app).people == 5
    assert len(comparison.loads) == 2


@pytest.mark.parametrize("counts", [[4], [6], [4, 5, 5, 6], [5, 4, 4, 5], [0]])
def test_a_count_that_disagrees_twice_is_refused(counts: list[int]) -> None:
    comparison, app = FakeComparison(), FakeApp(make_people(5), counts=counts)
    with pytest.raises(IncompleteRead) as caught:
        read_back(TARGET, comparison, app)
    assert len(comparison.loads) == 2
    assert "5 people in the pages" in caught.value.message
    assert caught.value.hint


def test_rows_that_are_repeated_are_one_person() -> None:
    people = make_people(5)
    app = FakeApp([*people, *people[:2]], counts=[5])
    found = read_back(TARGET, FakeComparison(), app)
    assert found.people == 5


def test_people_without_a_key_are_counted() -> None:
    found = read_back(TARGET, FakeComparison(), FakeApp([*make_people(3), ("cio9", None)]))
    assert (found.people, found.unkeyed) == (4, 1)


def test_an_empty_segment_is_read() -> None:
    assert read_back(TARGET, FakeComparison(), FakeApp()).people == 0


# --- until it agrees ---------------------------------------------------------------------------------------------


def look(comparison: FakeComparison, app: FakeApp, clock: FakeClock, stop: FakeStop, timeout: float) -> Confirmation:
    return wait_for_agreement(TARGET, comparison, app, timeout, clock, stop.wait)


@pytest.mark.parametrize("drift", [AGREES, FOREIGN])
def test_agreement_at_once_waits_for_nothing(drift: DriftCounts) -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    confirmation = look(FakeComparison(drifts=[drift]), SlowApp(clock), clock, stop, 60)
    assert (confirmation.agrees, stop.waits) == (True, [])


UNKNOWN = DriftCounts(stored=5, remote=5, missing=0, foreign=0, lingering=0, unkeyed=0, unmatched=11, held=16)


def test_ids_that_were_sent_again_and_show_late_are_waited_for() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    shown = replace(UNKNOWN, appeared=11)
    confirmation = look(FakeComparison(drifts=[UNKNOWN, shown]), SlowApp(clock), clock, stop, 20)
    assert (confirmation.drift, confirmation.agrees, stop.waits) == (shown, True, [0.5])


def test_ids_that_never_show_are_waited_for_until_the_time_is_over() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    confirmation = look(FakeComparison(drifts=[UNKNOWN]), SlowApp(clock), clock, stop, 3)
    assert (confirmation.drift, confirmation.agrees, stop.waits) == (UNKNOWN, True, [0.5, 1, 1.5])


@pytest.mark.parametrize(("unmatched", "held", "breached"), [(12, 24, False), (12, 23, True), (10, 10, False)])
def test_more_unmatched_ids_than_half_of_all_that_are_held_are_a_breach(
    unmatched: int, held: int, breached: bool
) -> None:
    error = find_unmatched(TARGET, unmatched, held)
    assert (error is not None) == breached
    assert find_unmatched(make_target(retired=True), unmatched, held) is None


def test_pauses_double_up_to_five_seconds_and_end_with_the_time() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    confirmation = look(FakeComparison(drifts=[MISSING]), SlowApp(clock), clock, stop, 20)
    assert (confirmation.drift, confirmation.agrees, confirmation.error) == (MISSING, False, None)
    assert stop.waits == [0.5, 1, 2, 4, 5, 5, 2.5]


def test_a_look_at_the_very_end_counts() -> None:
    clock = FakeClock()
    comparison = FakeComparison(drifts=[MISSING, LINGERING, AGREES])
    assert look(comparison, SlowApp(clock), clock, FakeStop(clock), 1.5).agrees


def test_the_time_begins_when_the_first_read_has_ended() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    look(FakeComparison(drifts=[MISSING]), SlowApp(clock, seconds=100), clock, stop, 60)
    assert stop.waits == [0.5], "the second read ends after the time is over"


def test_the_time_begins_anew_with_the_first_read_that_is_whole() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    comparison = FakeComparison(drifts=[MISSING, AGREES])
    assert look(comparison, SlowApp(clock, seconds=70, breaks=1), clock, stop, 60).agrees


def test_a_timeout_of_zero_looks_once() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    comparison = FakeComparison(drifts=[MISSING])
    look(comparison, SlowApp(clock), clock, stop, 0)
    assert (len(comparison.loads), stop.waits) == (1, [])


def test_a_signal_ends_the_waiting_and_what_did_not_agree_says_nothing() -> None:
    clock = FakeClock()
    stop = FakeStop(clock, sets_after=2)
    comparison = FakeComparison(drifts=[MISSING])
    assert look(comparison, SlowApp(clock), clock, stop, 60).drift is None
    assert len(comparison.loads) == 2


def test_reads_that_are_never_whole_end_with_the_time() -> None:
    clock = FakeClock()
    confirmation = look(FakeComparison(), SlowApp(clock, breaks=99), clock, FakeStop(clock), 60)
    assert (confirmation.drift, confirmation.agrees) == (None, False)
    assert isinstance(confirmation.error, IncompleteRead)


def test_a_read_that_is_not_whole_is_made_again() -> None:
    clock = FakeClock()
    confirmation = look(FakeComparison(drifts=[AGREES]), SlowApp(clock, breaks=2), clock, FakeStop(clock), 60)
    assert (confirmation.agrees, confirmation.error) == (True, None)


def test_an_app_api_that_fails_ends_it() -> None:
    clock = FakeClock()
    app = FakeApp(error=DestinationError("down"))
    with pytest.raises(DestinationError, match="down"):
        look(FakeComparison(), app, clock, FakeStop(clock), 60)


# --- what it proves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "missing", "adopted", "read_back", "proved"),
    [
        (5, 4, 0, True, True),  # one of the added is there
        (5, 5, 0, True, False),  # those who are there may have come with a refresh
        (0, 3, 0, True, False),
        (0, 3, 0, False, True),  # all that is stored was sent
        (0, 5, 0, False, False),
        (0, 3, 2, False, False),
        (0, 0, 0, True, False),
    ],
)
def test_a_read_back_proves_something_where_it_surely_shows_an_id_that_was_sent(
    added: int, missing: int, adopted: int, read_back: bool, proved: bool
) -> None:
    found = replace(AGREES, missing=missing)
    assert shows_what_was_sent(found, added, adopted, Head(read_back=read_back)) == proved


def test_an_id_that_shows_late_proves_it_too() -> None:
    assert shows_what_was_sent(replace(AGREES, unmatched=2, appeared=1), 0, 0, Head(read_back=True))
