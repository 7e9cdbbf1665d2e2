"""Retiring one segment: when it is forgotten, and when emptying it is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import SegmentError
from reconciler.git import identify
from reconciler.models.comparison import Counts
from reconciler.models.plan import Head
from reconciler.models.results import RunStatus
from reconciler.models.spec import SpecIdentity, Target
from reconciler.operations.retirement import check_retirement
from tests.fakes.parts import make_target
from tests.fakes.sessions import AGREES, KNOWN, LINGERING, Play


def retire(**more: object) -> Play:
    play = Play(add=[], keys={"retired": True}, **more)  # type: ignore[arg-type]
    play.comparison.counts = Counts(stored=3, remove=3, held=3)
    return play


def test_a_segment_is_forgotten_once_nobody_is_held() -> None:
    play = retire()
    result = play.run()
    assert (result.status, result.forgotten, play.held.is_forgotten) == (RunStatus.APPLIED, True, True)
    assert not play.held.is_complete


def test_it_is_forgotten_only_once_nothing_of_it_can_still_arrive() -> None:
    play = retire(settle=10.0)
    play.held.latest_doubt = 997.0
    assert play.run().forgotten
    assert play.stop.waits == [7.0]


def test_a_stop_in_that_wait_leaves_it_to_the_next_run() -> None:
    play = retire()
    play.held.latest_doubt = 997.0
    play.stop._sets_after = 1
    result = play.run()
    assert (result.status, result.forgotten, play.held.is_forgotten) == (RunStatus.APPLIED, False, False)


@pytest.mark.parametrize(("drift", "forgotten"), [(AGREES, True), (LINGERING, False)])
def test_with_a_read_back_it_is_forgotten_if_that_agrees(drift: object, forgotten: bool) -> None:
    play = retire(confirm=True, confirm_timeout=0.0)
    play.comparison.drifts = [drift]  # type: ignore[list-item]
    assert play.run().forgotten is forgotten
    assert play.held.is_forgotten is forgotten


def test_a_read_back_that_a_stop_left_out_forgets_nothing() -> None:
    play = retire(confirm=True)
    result = play.run(play.stop.set)
    assert not result.forgotten


@pytest.mark.parametrize(("confirmed", "calls"), [(True, False), (False, True)])
def test_where_nobody_is_held_only_what_was_never_read_back_is(confirmed: bool, calls: bool) -> None:
    play = Play(add=[], remove=[], confirm=True, keys={"retired": True}, head=replace(KNOWN, confirmed=confirmed))
    play.comparison.counts = Counts()
    result = play.run()
    assert play.app is not None
    assert (result.status, result.forgotten, bool(play.app.calls)) == (RunStatus.UNCHANGED, True, calls)
    assert play.track.preflights == int(calls)


# --- refused -----------------------------------------------------------------------------------------------------


def check(target: Target, head: Head) -> list[str]:
    warnings: list[str] = []
    check_retirement(target, head, warnings.append)
    return warnings


def test_what_the_state_knows_by_this_name_from_this_spec_is_emptied() -> None:
    target = make_target(retired=True)
    assert check(target, Head()) == check(target, replace(KNOWN, name="vip")) == []
    assert check(target, replace(KNOWN, name="vip", spec=identify(target.spec.path))) == []


def test_another_name_is_refused() -> None:
    with pytest.raises(SegmentError, match="the state knows segment 56 as 'gold'"):
        check(make_target(retired=True), replace(KNOWN, name="gold"))


def test_a_spec_of_another_repository_cannot_be_read_and_is_named() -> None:
    head = replace(KNOWN, name="vip", spec=SpecIdentity("git.example.com/acme/crm", "specs/vip.yaml"))
    (warning,) = check(make_target(retired=True), head)
    assert "specs/vip.yaml of git.example.com/acme/crm" in warning


ENTRY = "version: 1\n{more}segments:\n  {name}: {{segment_id: {number}, query: SELECT 1{retired}}}\n"


@pytest.mark.parametrize(
    ("more", "name", "number", "retired", "refused"),
    [
        ("", "vip", "56", "", True),
        ("", "gold", "56", "", True),
        ("", "vip", "57", "", False),
        ("", "vip", "'${NOT_SET}'", "", True),
        ("", "gold", "'${NOT_SET}'", "", False),
        ("", "vip", "56", ", retired: true", False),
        ("destination: {workspace: production}\n", "vip", "56", "", True),
        ("destination: {workspace: staging}\n", "vip", "56", "", False),
        ("destination: {workspace: '${NOT_SET}'}\n", "vip", "56", "", True),
        ("extends: nowhere.yaml\n", "vip", "56", "", True),
    ],
)
def test_what_the_spec_that_the_state_remembers_says_decides(
    tmp_path: Path, more: str, name: str, number: str, retired: str, refused: bool
) -> None:
    path = tmp_path / "other.yaml"
    more = more or "destination: {workspace: production}\n"
    path.write_text(ENTRY.format(more=more, name=name, number=number, retired=retired))
    head = replace(KNOWN, name="vip", spec=SpecIdentity(None, str(path)))
    if refused:
        with pytest.raises(SegmentError, match=r"other\.yaml:4 still lists|can't be read"):
            check(make_target(retired=True), head)
    else:
        assert check(make_target(retired=True), head) == []
