"""The check of credentials and workspace before the first write of a segment."""

from dataclasses import replace

import pytest

from reconciler.errors import DestinationError, PlanFileError, StateError
from reconciler.models.results import RunStatus
from reconciler.operations.apply_segment import Phase
from tests.fakes.parts import Crash
from tests.fakes.sessions import Play, exit_code


def test_the_first_write_binds_the_workspace() -> None:
    play = Play()
    play.run()
    assert (play.store.bound, play.track.preflights) == (12345, 1)


def test_a_segment_with_nothing_to_do_asks_for_no_preflight() -> None:
    play = Play(add=[], remove=[])
    play.track.preflight_error = DestinationError("wrong key")
    assert play.run().status is RunStatus.UNCHANGED


def test_an_endpoint_that_does_not_exist_binds_nothing() -> None:
    play = Play()
    play.track.environment_id = None
    assert play.run().status is RunStatus.APPLIED
    assert play.store.bound is None


def test_another_environment_is_refused() -> None:
    play = Play()
    play.store.bound = 999
    result = play.run()
    assert (result.status, play.nothing_sent, exit_code(result)) == (RunStatus.FAILED, True, 1)
    assert result.error is not None
    assert result.error.code == "environment"
    assert play.store.bound == 999


@pytest.mark.parametrize("error", [DestinationError("wrong key"), StateError("no disk"), Crash("id000001")])
def test_where_the_preflight_fails_nothing_is_sent(error: Exception) -> None:
    play = Play()
    play.track.preflight_error = error
    result = play.run()
    assert (result.status, play.nothing_sent) == (RunStatus.FAILED, True)
    assert "id000001" not in repr(result)


def test_a_plan_file_of_another_environment_is_stale() -> None:
    def refuse(environment_id: int | None) -> None:
        assert environment_id == 12345
        raise PlanFileError("another environment")

    play = Play()
    segment = play.start(check_environment=refuse)
    segment.lock()
    segment.go_to(Phase.ENDED)
    assert (play.check(segment).status, play.store.bound) == (RunStatus.STALE, None)


def test_a_stop_before_the_check_that_is_cleared_after_it_sends_nothing() -> None:
    play = Play(confirm=True)
    segment = play.start()
    segment.lock()
    segment.go_to(Phase.PLANNED)
    play.stop.set()
    segment.go_to(Phase.CHECKED)
    play.stop.clear()
    segment.go_to(Phase.ENDED)
    assert (play.check(segment).status, play.nothing_sent, play.held.recorded) == (RunStatus.FAILED, True, [])


def test_a_stop_before_the_check_binds_nothing_and_adopts_nobody() -> None:
    play = Play()
    play.comparison.there = ["ada"]
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, adopt=1)
    result = play.run(between=play.stop.set)
    assert (result.status, play.nothing_sent) == (RunStatus.FAILED, True)
    assert (play.track.preflights, play.store.bound, play.held.found) == (0, None, [])
