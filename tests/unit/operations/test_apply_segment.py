"""One segment of an apply, from its lock to its release: every way it can end."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.diff.changes import Changes
from reconciler.diff.comparison import Comparison
from reconciler.errors import (
    LeaseLost,
    LockHeld,
    PlanFileError,
    ReconcileError,
    SourceError,
    StateError,
)
from reconciler.models.batches import Batch
from reconciler.models.comparison import Counts
from reconciler.models.events import Finished, Planned, Reading, Sending, Waiting
from reconciler.models.guards import Guard
from reconciler.models.plan import PlanStatus
from reconciler.models.results import RunStatus, SegmentRun
from reconciler.operations.apply_segment import Phase
from tests.fakes.memory_state import ADD, FakeLease, failing
from tests.fakes.parts import Crash, FakeStop, Reply, always, by_batch, in_turn, name_ids, poisoned
from tests.fakes.sessions import KNOWN, Play, exit_code

# --- all goes well -----------------------------------------------------------------------------------------------


def test_changes_are_applied_and_the_run_is_complete() -> None:
    play = Play()
    result = play.run()
    assert (result.status, result.error, exit_code(result)) == (RunStatus.APPLIED, None, 0)
    assert (result.tally.added, result.tally.removed, result.tally.unsettled) == (5, 3, 0)
    assert play.held.is_complete
    assert [type(event) for event in play.reporter.events if not isinstance(event, Sending)] == [
        Reading,
        Planned,
        Finished,
    ]


def test_what_was_sent_is_folded_before_the_run_completes() -> None:
    play = Play()
    play.run()
    verbs = [step.verb for step in play.held.steps]
    assert verbs.index("compact") < verbs.index("complete")


@pytest.mark.parametrize("completed", [True, False])
def test_nothing_to_do_asks_nothing_of_customer_io(completed: bool) -> None:
    play = Play(add=[], remove=[], head=replace(KNOWN, completed=completed))
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.UNCHANGED, 0)
    assert (play.track.preflights, play.track.sent) == (0, [])
    assert play.app is not None
    assert play.app.calls == []
    assert play.held.is_complete is not completed, "the state is written only where that says something new"


def test_resends_alone_are_sent_and_applied() -> None:
    play = Play(add=["ada"], remove=[])
    play.comparison.resends = frozenset({"ada"})
    play.comparison.counts = Counts(desired=1, resend=1, held=1)
    result = play.run()
    assert (result.plan.status, result.status) == (PlanStatus.UNCHANGED, RunStatus.APPLIED)
    assert (result.tally.added, result.tally.resent) == (0, 1)


def test_seconds_are_those_of_the_whole_segment_but_for_the_time_of_answering() -> None:
    play = Play()
    applying = play.start()
    applying.lock()
    play.clock.seconds += 42
    applying.go_to(Phase.PLANNED)

    play.clock.seconds += 1000  # somebody is asked
    applying.go_to(Phase.ENDED)

    assert play.check(applying).tally.seconds == 42


def test_the_time_of_a_no_does_not_count_either() -> None:
    play = Play()
    applying = play.start()
    applying.lock()
    applying.go_to(Phase.PLANNED)

    play.clock.seconds += 1000
    applying.end(ReconcileError("no"))

    assert play.check(applying).tally.seconds == 0


# --- nothing is sent ---------------------------------------------------------------------------------------------


def test_a_guard_blocks() -> None:
    play = Play()
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, remove=99)
    result = play.run()
    assert (result.status, result.error, exit_code(result)) == (RunStatus.BLOCKED, None, 3)
    assert play.nothing_sent
    assert play.track.preflights == 0
    assert not play.held.is_complete


def test_an_allowed_guard_lets_it_pass() -> None:
    play = Play(remove=name_ids(60, "gone"), guards_allowed=frozenset({Guard.MAX_REMOVALS}))
    assert play.run().status is RunStatus.APPLIED


def test_a_lock_that_another_run_holds() -> None:
    play = Play()
    play.store.refusal = LockHeld("locked by somebody", "wait", holder="somebody")
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.LOCKED, 5)
    assert result.error is not None
    assert result.error.code == "locked"
    assert result.unmatched is None, "what is not known is not 0"
    assert play.nothing_sent


@pytest.mark.parametrize("error", [StateError("no such file"), Crash("id000001")])
def test_a_lock_that_cannot_be_taken(error: Exception) -> None:
    play = Play()
    play.store.refusal = error
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.FAILED, 1)
    assert "id000001" not in repr(result.error)


@pytest.mark.parametrize("error", [ReconcileError("no room to spill"), Crash("id000001")])
def test_a_comparison_that_cannot_be_opened_gives_the_lock_back(error: Exception) -> None:
    play = Play()
    play.sets.error = error
    result = play.run()
    assert (result.status, exit_code(result), play.store.holds) == (RunStatus.FAILED, 1, 1)
    assert "id000001" not in repr(result.error)


@pytest.mark.parametrize("error", [SourceError("the query failed", "look"), Crash("id000001")])
def test_a_query_that_fails(error: Exception) -> None:
    play = Play()
    play.comparison.compare_error = error
    result = play.run()
    assert (result.status, result.plan.status, exit_code(result)) == (RunStatus.FAILED, PlanStatus.FAILED, 1)
    assert result.error == result.plan.error
    assert "id000001" not in repr(result.error)
    assert play.nothing_sent


def test_a_state_that_changed_while_somebody_was_asked_is_stale() -> None:
    play = Play()
    result = play.run(lambda: play.held.change_from_outside())
    assert (result.status, exit_code(result)) == (RunStatus.STALE, 4)
    assert result.error is not None
    assert result.error.code == "stale"
    assert play.nothing_sent


def test_a_state_that_cannot_be_read_before_sending() -> None:
    play = Play()
    play.held._fault = failing("head", 2)
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.FAILED, 1)
    assert play.nothing_sent


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ReconcileError("not confirmed", code="declined"), RunStatus.FAILED),
        (PlanFileError("another segment can't be applied", code="declined"), RunStatus.STALE),
        (LockHeld("another segment is locked"), RunStatus.LOCKED),
    ],
)
def test_a_segment_that_is_ended_after_its_plan_sends_nothing_and_ends_once(
    error: ReconcileError, status: RunStatus
) -> None:
    play = Play()
    segment = play.start()
    segment.lock()
    segment.go_to(Phase.PLANNED)
    segment.end(error)
    segment.end(ReconcileError("once more"))
    segment.go_to(Phase.ENDED)
    result = play.check(segment)
    assert (result.status, play.nothing_sent) == (status, True)
    assert result.error is not None
    assert result.error.message == error.message


# --- a sealed plan -----------------------------------------------------------------------------------------------


def resume_with(play: Play, resume: Callable[[Comparison], Changes]) -> SegmentRun:
    return play.run(compare=resume)


def test_a_sealed_plan_is_taken_instead_of_the_query() -> None:
    play = Play()
    sealed = [Batch(ADD, tuple(play.add))]
    result = resume_with(play, lambda comparison: comparison.resume(sealed))
    assert (result.status, play.comparison.sealed) == (RunStatus.APPLIED, sealed)


def test_a_sealed_plan_is_judged_again() -> None:
    play = Play()

    def remove_many(comparison: Comparison) -> Changes:
        changes = comparison.resume([])
        return replace(changes, counts=replace(changes.counts, remove=99))

    result = resume_with(play, remove_many)
    assert (result.status, play.nothing_sent) == (RunStatus.BLOCKED, True)


def test_a_sealed_plan_that_is_stale_under_the_lock() -> None:
    def refuse(comparison: Comparison) -> Changes:
        raise PlanFileError("the file was changed", "plan anew")

    play = Play()
    result = resume_with(play, refuse)
    assert (result.status, exit_code(result), play.nothing_sent) == (RunStatus.STALE, 4, True)


def test_a_sealed_plan_that_cannot_be_compared_fails() -> None:
    play = Play()
    play.comparison.compare_error = StateError("no room")
    result = resume_with(play, lambda comparison: comparison.resume([]))
    assert (result.status, exit_code(result)) == (RunStatus.FAILED, 1)


# --- settle ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reversed_at", "waits"),
    [(None, []), (900.0, []), (990.0, []), (990.5, [0.5]), (1000.0, [10.0]), (1003.0, [10.0])],
)
def test_an_id_is_reversed_no_sooner_than_settle_allows(reversed_at: float | None, waits: list[float]) -> None:
    play = Play()
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, reversed_at=reversed_at)
    departures: list[float] = []
    play.track.watch = lambda batch, attempt: departures.append(play.clock())
    result = play.run()
    assert result.status is RunStatus.APPLIED
    assert play.stop.waits == waits
    assert [event.seconds for event in play.reporter.of(Waiting)] == waits
    assert departures[0] >= min(reversed_at or 0, 1000.0) + play.settle, (
        "never longer than settle, whatever a clock said"
    )


@pytest.mark.parametrize(
    ("settle", "taken_over_at", "waits"),
    [(0.2, 1000.0, [2.0]), (0.2, 999.0, [1.0]), (0.2, 990.0, []), (10.0, 995.0, [5.0]), (10.0, 2000.0, [10.0])],
)
def test_after_a_takeover_from_a_living_holder_a_reversal_waits_two_seconds_at_least(
    settle: float, taken_over_at: float, waits: list[float]
) -> None:
    play = Play(settle=settle)
    play.held.taken_over_at = taken_over_at
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, reversed_at=900.0)
    assert play.run().status is RunStatus.APPLIED
    assert play.stop.waits == waits


def test_a_signal_ends_the_wait_and_nothing_is_sent() -> None:
    play = Play()
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, reversed_at=1000.0)
    play.stop = FakeStop(play.clock, sets_after=1)
    result = play.run()
    assert (result.status, play.nothing_sent, play.held.is_complete) == (RunStatus.FAILED, True, False)


# --- sending goes wrong ------------------------------------------------------------------------------------------


def test_rejected_ids_make_it_partial_and_the_run_is_complete_all_the_same() -> None:
    play = Play()
    play.track.script = poisoned("id000002")
    result = play.run()
    assert (result.status, result.error, exit_code(result)) == (RunStatus.PARTIAL, None, 6)
    assert (result.tally.rejected, result.tally.added, play.held.rejected) == (1, 4, ["id000002"])
    assert play.held.is_complete, "nothing is unsettled"


@pytest.mark.parametrize(("stored", "rejected"), [(0, 0), (1, 1)])
def test_a_single_id_is_blamed_only_where_the_segment_has_members(stored: int, rejected: int) -> None:
    play = Play(add=["ada"], remove=[])
    play.track.script = always(Reply.BAD)
    play.comparison.counts = Counts(desired=1, add=1, stored=stored, held=stored)
    result = play.run()
    assert (result.status, result.tally.rejected) == (RunStatus.FAILED, rejected)


def test_where_all_are_rejected_nothing_was_changed() -> None:
    play = Play(add=["ada"], remove=[])
    play.track.script = always(Reply.BAD)
    result = play.run()
    assert (result.status, result.tally.rejected, exit_code(result)) == (RunStatus.FAILED, 1, 1)


def test_a_request_refused_as_a_whole_marks_nobody() -> None:
    play = Play()
    play.track.script = always(Reply.BAD)
    result = play.run()
    assert (result.status, result.tally.rejected, play.held.rejected, exit_code(result)) == (RunStatus.FAILED, 0, [], 1)
    assert result.error is not None
    assert result.error.code == "refused"
    assert not play.held.is_complete


def test_unsettled_ids_make_it_partial_and_not_complete() -> None:
    play = Play()
    play.track.script = by_batch(Reply.VANISHED)
    result = play.run()
    assert (result.status, result.tally.unsettled, exit_code(result)) == (RunStatus.PARTIAL, 2, 6)
    assert not play.held.is_complete


def test_unsettled_ids_alone_may_have_changed_something() -> None:
    play = Play(add=["ada"], remove=[])
    play.track.script = always(Reply.VANISHED)
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.PARTIAL, 6)


def test_a_dead_api_that_certainly_took_nothing_is_a_failure() -> None:
    play = Play()
    play.track.script = always(Reply.BUSY)
    result = play.run()
    assert (result.status, exit_code(result), result.tally.touched) == (RunStatus.FAILED, 1, False)


@pytest.mark.parametrize(("sent", "status", "code"), [(0, RunStatus.FAILED, 1), (2, RunStatus.PARTIAL, 6)])
def test_a_denial_after_some_batches(sent: int, status: RunStatus, code: int) -> None:
    play = Play()
    play.track.script = in_turn(*[Reply.OK] * sent, *[Reply.DENIED] * 2)
    result = play.run()
    assert (result.status, exit_code(result), play.held.is_complete) == (status, code, False)


def test_a_lease_that_ends_while_sending() -> None:
    play = Play()
    play.held.lease = FakeLease(lambda asked: asked > 2)
    result = play.run()
    assert (result.status, exit_code(result)) == (RunStatus.PARTIAL, 6)
    assert result.error is not None
    assert result.error.code == "lease_lost"


def test_a_signal_while_sending() -> None:
    play = Play()
    play.track.watch = lambda batch, attempt: play.stop.set()
    result = play.run()
    assert (result.status, result.error, play.held.is_complete) == (RunStatus.PARTIAL, None, False)
    assert result.tally.removed == 2


def test_a_signal_when_all_is_sent_changes_nothing() -> None:
    play = Play()
    departures: list[Batch] = []

    def watch(batch: Batch, attempt: int) -> None:
        departures.append(batch)
        if len(departures) == 5:
            play.stop.set()

    play.track.watch = watch
    result = play.run()
    assert (result.status, result.tally.added, play.held.is_complete) == (RunStatus.APPLIED, 5, True)


def test_a_signal_before_sending() -> None:
    play = Play()
    result = play.run(lambda: play.stop.set())
    assert (result.status, play.nothing_sent) == (RunStatus.FAILED, True)


def test_a_comparison_that_gives_fewer_than_it_counted_is_not_applied() -> None:
    play = Play()
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, add=6)
    result = play.run()
    assert (result.status, exit_code(result), play.held.is_complete) == (RunStatus.PARTIAL, 6, False)


# --- the state goes wrong after sending --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StateError("the disk is full"), LeaseLost("taken over"), Crash("id000001")])
@pytest.mark.parametrize("write", ["reject", "compact", "complete", "settle", "intend"])
def test_whatever_the_state_refuses_what_was_sent_is_told(write: str, error: Exception) -> None:
    play = Play()
    play.track.script = poisoned("id000002")
    number = 2 if write == "intend" else 1
    play.held._fault = failing(write, number, error=error)
    result = play.run()
    assert result.tally.touched
    assert result.tally.requests == len(play.track.sent)
    assert (result.status, exit_code(result)) == (RunStatus.PARTIAL, 6)
    assert result.error is not None
    assert "id000001" not in repr(result.error)
    assert not play.held.is_complete


@pytest.mark.parametrize("error", [StateError("the disk is full"), Crash("id000001")])
def test_a_census_that_fails_is_a_number_not_known(error: Exception) -> None:
    play = Play()
    play.held._fault = failing("count", error=error)
    result = play.run()
    assert (result.status, result.unmatched) == (RunStatus.APPLIED, None)


@pytest.mark.parametrize("error", [SourceError("the warehouse is gone"), Crash("id000001")], ids=repr)
def test_a_warehouse_that_takes_no_members_is_a_warning_and_nothing_is_lost(error: Exception) -> None:
    play = Play()
    play.held._fault = failing("flush", error=error)
    result = play.run()
    assert (result.status, result.unmatched, exit_code(result)) == (RunStatus.APPLIED, 0, 0)
    assert ["not yet at the source" in warning and "id000001" not in warning for warning in play.warnings] == [True]


@pytest.mark.parametrize("error", [StateError("the disk is full"), Crash("id000001")])
@pytest.mark.parametrize(("add", "status", "code"), [(5, RunStatus.PARTIAL, 6), (0, RunStatus.FAILED, 1)])
def test_a_lock_that_cannot_be_given_back(add: int, status: RunStatus, code: int, error: Exception) -> None:
    play = Play(add=name_ids(add), remove=[])
    play.store.farewell = error
    result = play.run()
    assert (result.status, exit_code(result)) == (status, code)
    assert result.error is not None
    assert "id000001" not in repr(result.error)


# --- members that are there already -------------------------------------------------------------------------------


def knowing_two(**more: list[str]) -> Play:
    """Two ids are wanted and there, and the state does not know them."""
    play = Play(**more)  # type: ignore[arg-type]
    play.comparison.there = name_ids(2, "there")
    assert play.comparison.counts is not None
    play.comparison.counts = replace(play.comparison.counts, adopt=2)
    return play


def test_who_is_wanted_and_there_is_adopted_before_anything_is_sent() -> None:
    play = knowing_two()
    assert play.run().status is RunStatus.APPLIED
    verbs = [step.verb for step in play.held.steps]
    assert play.held.found == name_ids(2, "there")
    assert verbs.index("add_found") < verbs.index("intend")


def test_to_adopt_nothing_is_sent_but_the_environment_is_checked_and_bound() -> None:
    play = knowing_two(add=[], remove=[])
    result = play.run()
    assert (result.status, exit_code(result), play.nothing_sent) == (RunStatus.UNCHANGED, 0, True)
    assert (play.held.found, play.store.bound) == (name_ids(2, "there"), 12345)


def test_nobody_is_adopted_from_another_environment() -> None:
    play = knowing_two(add=[], remove=[])
    play.store.bound = 999
    result = play.run()
    assert (result.status, play.held.found) == (RunStatus.FAILED, [])


def test_nobody_is_adopted_into_a_state_that_changed_meanwhile() -> None:
    play = knowing_two(add=[], remove=[])
    result = play.run(between=lambda: play.held.change_from_outside())
    assert (result.status, play.held.found) == (RunStatus.STALE, [])


def test_a_state_that_takes_nobody_in_sends_nothing() -> None:
    play = knowing_two()
    play.held._fault = failing("add_found")
    result = play.run()
    assert (result.status, play.nothing_sent) == (RunStatus.FAILED, True)
