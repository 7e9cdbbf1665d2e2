"""What a segment of an apply makes of the read-back."""

import pytest

from reconciler.errors import DestinationError
from reconciler.models.events import Waiting
from reconciler.models.results import RunStatus
from tests.fakes.memory_state import failing
from tests.fakes.parts import Crash, FakeApp, FakeStop, Reply, in_turn, make_people, name_ids, poisoned
from tests.fakes.sessions import AGREES, LINGERING, MISSING, Play, exit_code


def test_a_read_back_that_agrees() -> None:
    play = Play(confirm=True)
    result = play.run()
    assert (result.status, result.confirmed, exit_code(result)) == (RunStatus.APPLIED, True, 0)
    assert (len(play.held.recorded), play.held.is_complete, play.stop.waits) == (1, True, [])


def test_a_read_back_happens_also_when_there_was_nothing_to_send() -> None:
    play = Play(add=[], remove=[], confirm=True)
    result = play.run()
    assert (result.status, result.confirmed, len(play.comparison.loads)) == (RunStatus.UNCHANGED, True, 1)
    assert (len(play.held.recorded), play.held.is_complete) == (1, True)


def test_a_read_back_that_agrees_after_a_while_is_recorded_once() -> None:
    play = Play(confirm=True)
    play.comparison.drifts = [MISSING, LINGERING, AGREES]
    result = play.run()
    assert (result.confirmed, len(play.comparison.loads), len(play.held.recorded)) == (True, 3, 1)
    assert play.stop.waits == [0.5, 1.0]


def test_who_is_missing_when_time_is_over_is_no_error() -> None:
    play = Play(confirm=True, confirm_timeout=3.0)
    play.comparison.drifts = [MISSING]
    play.held.unmatched = 2
    result = play.run()
    assert (result.status, result.confirmed, result.unmatched, exit_code(result)) == (RunStatus.APPLIED, False, 2, 0)
    assert play.stop.waits == [0.5, 1.0, 1.5]
    assert play.held.is_complete


@pytest.mark.parametrize("add", [5, 0])
def test_who_lingers_when_time_is_over_is_unsettled(add: int) -> None:
    play = Play(add=name_ids(add), remove=[], confirm=True, confirm_timeout=3.0)
    play.comparison.drifts = [LINGERING]
    play.held.lingering = 3
    result = play.run()
    assert (result.status, result.confirmed, exit_code(result)) == (RunStatus.PARTIAL, False, 6)
    assert (result.tally.unsettled, len(play.held.recorded), play.held.is_complete) == (3, 1, False)


def test_a_read_back_that_never_comes_whole_records_nothing() -> None:
    play = Play(confirm=True, confirm_timeout=3.0)
    play.app = FakeApp(make_people(5), counts=[4])
    result = play.run()
    assert (result.status, result.confirmed, exit_code(result)) == (RunStatus.PARTIAL, None, 6)
    assert result.error is not None
    assert result.error.code == "incomplete_read"
    assert (play.held.recorded, play.held.is_complete) == ([], False)


def test_a_read_back_that_never_comes_whole_after_nothing_was_sent_is_a_failure() -> None:
    play = Play(add=[], remove=[], confirm=True, confirm_timeout=3.0)
    play.app = FakeApp(make_people(5), counts=[4])
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.FAILED, 1)


@pytest.mark.parametrize("error", [DestinationError("the App API is down"), Crash("id000001")])
def test_a_read_back_that_fails_leaves_what_was_sent(error: Exception) -> None:
    play = Play(confirm=True)
    play.app = FakeApp(make_people(5), error=error, broken=frozenset({"members"}))
    result = play.run()
    assert (result.status, result.tally.added, exit_code(result)) == (RunStatus.PARTIAL, 5, 6)
    assert result.error is not None
    assert "id000001" not in repr(result.error)
    assert not play.held.is_complete


def test_a_read_back_without_an_app_key() -> None:
    play = Play(confirm=True)
    play.app = None
    result = play.run()
    assert (result.status, result.confirmed) == (RunStatus.PARTIAL, None)
    assert result.error is not None
    assert result.error.code == "app_api_key"


def test_findings_that_cannot_be_recorded() -> None:
    play = Play(confirm=True)
    play.held._fault = failing("record")
    result = play.run()
    assert (result.status, result.confirmed, play.held.is_complete) == (RunStatus.PARTIAL, None, False)


def test_no_read_back_after_a_failure_or_a_signal() -> None:
    failed, stopped = Play(confirm=True), Play(confirm=True)
    failed.track.script = in_turn(Reply.OK, Reply.DENIED)
    stopped.track.watch = lambda batch, attempt: stopped.stop.set()
    assert [failed.run().confirmed, stopped.run().confirmed] == [None, None]
    assert failed.comparison.loads == stopped.comparison.loads == []


def test_a_signal_while_waiting_for_agreement_leaves_nothing_recorded() -> None:
    """Ids that only show late would count as unmatched, and no guard judges the removal of those."""
    play = Play(confirm=True)
    play.comparison.drifts = [MISSING]
    play.stop = FakeStop(play.clock, sets_after=1)
    result = play.run()
    assert (result.status, result.confirmed, play.held.recorded) == (RunStatus.APPLIED, None, [])


def test_rejected_ids_do_not_keep_from_reading_back() -> None:
    play = Play(confirm=True)
    play.track.script = poisoned("id000002")
    result = play.run()
    assert (result.status, result.confirmed, result.tally.rejected) == (RunStatus.PARTIAL, True, 1)


def test_a_read_back_begins_no_sooner_than_settle_after_the_last_attempt_in_doubt() -> None:
    play = Play(confirm=True)
    play.held.latest_doubt = 997.0
    began: list[float] = []
    load = play.comparison.load_remote
    play.comparison.load_remote = lambda pages: began.append(play.clock()) or load(pages)  # type: ignore[method-assign]
    result = play.run()
    assert (result.status, result.confirmed, play.stop.waits) == (RunStatus.APPLIED, True, [7.0])
    assert began == [1007.0]


def test_a_signal_that_cuts_that_wait_short_leaves_nothing_recorded() -> None:
    play = Play(confirm=True, hook=lambda event: play.stop.set() if isinstance(event, Waiting) else None)
    play.held.latest_doubt = 997.0
    result = play.run()
    assert (play.held.recorded, result.confirmed, play.comparison.loads) == ([], None, [])
