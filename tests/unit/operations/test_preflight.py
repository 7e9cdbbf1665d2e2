"""The check before the first write of a run."""

from collections.abc import Iterable

import pytest

from reconciler.errors import (
    DestinationError,
    PlanFileError,
    StateError,
)
from reconciler.models.run import RunStatus
from reconciler.operations.apply import Session, pass_preflight
from tests.fakes.parts import Crash
from tests.fakes.sessions import Play, exit_code


def prepared(plays: Iterable[Play]) -> list[Session]:
    sessions = [play.session for play in plays]
    for session in sessions:
        session.lock()
        session.prepare()
    return sessions


def nobody(workspace: str, environment_id: int | None) -> None:
    return None


def test_the_first_write_binds_the_workspace() -> None:
    play = Play()
    play.run()
    assert (play.ledger.bound, play.track.preflights) == (12345, 1)


def test_one_preflight_serves_all_segments() -> None:
    one, other, idle = Play(), Play(), Play(add=[], remove=[])
    pass_preflight(prepared([one, other, idle]), one.ledger, one.track.preflight, nobody)
    assert one.track.preflights == 1


def test_an_endpoint_that_does_not_exist_binds_nothing() -> None:
    play = Play()
    play.track.environment_id = None
    assert play.run().status is RunStatus.APPLIED
    assert play.ledger.bound is None


def test_another_environment_is_refused() -> None:
    play = Play()
    play.ledger.bound = 999
    result = play.run()
    assert (result.status, play.nothing_sent, exit_code(result)) == (RunStatus.FAILED, True, 1)
    assert result.error is not None
    assert result.error.code == "environment"
    assert play.ledger.bound == 999


@pytest.mark.parametrize("error", [DestinationError("wrong key"), StateError("no disk"), Crash("id000001")])
def test_where_the_preflight_fails_no_session_sends(error: Exception) -> None:
    one, other, idle = Play(), Play(), Play(add=[], remove=[])
    one.track.preflight_error = error
    sessions = prepared([one, other, idle])
    pass_preflight(sessions, one.ledger, one.track.preflight, nobody)
    for session in sessions:
        session.deliver()
    results = [play.check(session) for play, session in zip([one, other, idle], sessions, strict=True)]
    assert [result.status for result in results] == [RunStatus.FAILED, RunStatus.FAILED, RunStatus.UNCHANGED]
    assert "id000001" not in repr(results)


def test_a_plan_file_of_another_environment_is_stale() -> None:
    def refuse(workspace: str, environment_id: int | None) -> None:
        assert (workspace, environment_id) == ("production", 12345)
        raise PlanFileError("another environment")

    play = Play()
    (session,) = prepared([play])
    pass_preflight([session], play.ledger, play.track.preflight, refuse)
    session.deliver()
    assert (play.check(session).status, play.ledger.bound) == (RunStatus.STALE, None)
