"""Sending: what is in the journal when, and what becomes of each id."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.errors import StateError
from reconciler.models.batches import Batch
from reconciler.models.events import Sending
from tests.fakes.deliveries import World, check_laws, deliver
from tests.fakes.memory_state import ADD, REMOVE, FakeLease, never
from tests.fakes.parts import (
    FakeReporter,
    FakeStop,
    LazyPool,
    Reply,
    always,
    by_batch,
    in_turn,
    make_target,
    name_ids,
    poisoned,
)

pytestmark = pytest.mark.slow

PEOPLE = name_ids(5000)
LEAVERS = name_ids(2500, "gone")


def send_numbers(world: World) -> list[int]:
    return [len(batch.ids) for batch in world.track.sent]


# --- all goes well -----------------------------------------------------------------------------------------------


def test_nothing_to_send_is_nothing_sent() -> None:
    world = deliver()
    assert (world.track.requests, world.held.steps, world.delivery.error) == (0, [], None)


def test_everything_is_acknowledged() -> None:
    world = deliver(PEOPLE, LEAVERS)
    check_laws(world)
    tally = world.delivery.tally
    assert (tally.added, tally.removed, tally.unsettled, tally.rejected) == (5000, 2500, 0, 0)
    assert (tally.requests, tally.retries, world.delivery.error) == (8, 0, None)


def test_resends_are_counted_by_themselves() -> None:
    world = deliver(PEOPLE, resends=frozenset(PEOPLE[::2]))
    check_laws(world)
    assert (world.delivery.tally.added, world.delivery.tally.resent) == (2500, 2500)


def test_an_intent_is_durable_before_its_request_leaves() -> None:
    world = deliver(name_ids(3), size=1)
    assert world.verbs[:3] == ["intend"] * 3
    assert world.verbs.count("send") == 3  # the fake looks into the journal before each attempt


def test_removals_are_settled_before_the_first_addition() -> None:
    world = deliver(PEOPLE, LEAVERS, pool=LazyPool(), concurrency=16)
    check_laws(world)
    assert [batch.direction for batch in world.track.sent] == [REMOVE] * 3 + [ADD] * 5


def test_none_starts_before_the_answer_before_it_is_recorded() -> None:
    pool, open_ones = LazyPool(), []

    def count(world: World, batch: Batch) -> None:
        started = len(world.track.sent)
        recorded = sum(step.verb == "settle" for step in world.held.steps)
        open_ones.append(started - recorded)

    def prepare(world: World) -> None:
        world.track.watch = lambda batch, attempt: count(world, batch)

    world = deliver(name_ids(100), size=1, concurrency=3, pool=pool, prepare=prepare)
    check_laws(world)
    assert pool.most_waiting == 3
    assert max(open_ones) <= 3


def test_intents_share_a_commit() -> None:
    commits: list[int] = []
    fault = lambda name, number: commits.append(number) if name == "intend" else None  # noqa: E731
    deliver(name_ids(64), size=1, concurrency=4, fault=fault, pool=LazyPool())
    assert len(commits) <= 1 + (64 - 8) // 4


def test_each_answer_moves_the_progress_up_to_its_end() -> None:
    world = deliver(PEOPLE, LEAVERS, pool=LazyPool())
    events = world.reporter.of(Sending)
    done = [event.done for event in events]
    assert done == sorted(done)
    assert (done[-1], events[-1].total) == (7500, 7500)


def test_real_threads_keep_the_laws() -> None:
    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        world = deliver(
            name_ids(8),
            size=1,
            pool=pool,
            prepare=lambda world: setattr(world.track, "watch", lambda batch, attempt: together.wait(30)),
        )
    check_laws(world)
    assert world.track.most_in_flight == 4


# --- a 400 is about some ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 999, 1000, 2500, 4999])
@pytest.mark.parametrize("lazy", [False, True])
def test_one_poison_id_among_5000_is_rejected_alone(at: int, lazy: bool) -> None:
    world = deliver(PEOPLE, script=poisoned(PEOPLE[at]), pool=LazyPool() if lazy else None)
    check_laws(world)
    assert [*world.delivery.rejected] == [PEOPLE[at]]
    assert (world.delivery.tally.added, world.delivery.tally.rejected, world.delivery.error) == (4999, 1, None)
    assert world.track.requests <= 5 + 2 * 10


def test_a_good_id_of_a_poisoned_batch_is_acknowledged_once() -> None:
    world = deliver(PEOPLE, script=poisoned(PEOPLE[1234]))
    taken = [step.number for step in world.held.steps if step.verb == "settle" and step.detail == "acknowledged"]
    ids = [member for seq in taken for member in world.held.rows[seq].batch.ids]
    assert len(ids) == len(set(ids)) == 4999


@pytest.mark.parametrize("pair", [(0, 999), (0, 1), (499, 500), (10, 4000), (2000, 2999)])
@pytest.mark.parametrize("number", [1000, 5000])
@pytest.mark.parametrize("accepted_before", [False, True])
def test_two_poison_ids_in_both_halves_are_rejected(pair: tuple[int, int], number: int, accepted_before: bool) -> None:
    bad = {PEOPLE[at] for at in pair if at < number}
    world = deliver(PEOPLE[:number], script=poisoned(*bad), accepted_before=accepted_before, pool=LazyPool())
    check_laws(world)
    assert {*world.delivery.rejected} == bad
    assert world.delivery.error is None


def test_a_poison_id_in_every_batch_is_rejected() -> None:
    bad = PEOPLE[500::1000]
    world = deliver(PEOPLE, script=poisoned(*bad), pool=LazyPool())
    check_laws(world)
    assert ({*world.delivery.rejected}, world.delivery.error) == (set(bad), None)


def test_a_poisoned_removal_keeps_its_member() -> None:
    world = deliver(remove=LEAVERS, script=poisoned(LEAVERS[7]))
    check_laws(world)
    assert world.held.status(LEAVERS[7]).word == "stored"
    assert world.delivery.tally.removed == 2499


def test_99_rejected_ids_are_rejected() -> None:
    world = deliver(PEOPLE[:1000], script=poisoned(*PEOPLE[:99]))
    check_laws(world)
    assert (len([*world.delivery.rejected]), world.delivery.error) == (99, None)


def test_a_single_id_is_rejected_where_something_was_accepted_before() -> None:
    world = deliver(["ada"], script=always(Reply.BAD), accepted_before=True)
    check_laws(world)
    assert ([*world.delivery.rejected], world.delivery.error) == (["ada"], None)


# --- a 400 is about the request ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2000, 5000, 50_000])
@pytest.mark.parametrize("pool", [None, LazyPool(), LazyPool(lambda number: number - 1)])
def test_where_every_request_is_bad_the_segment_fails_soon(number: int, pool: LazyPool | None) -> None:
    world = deliver(name_ids(number), script=always(Reply.BAD), pool=pool, concurrency=8)
    check_laws(world)
    assert (world.error_code, [*world.delivery.rejected]) == ("refused", [])
    assert "the API's words" in str(world.delivery.error)
    assert world.track.requests <= 2 * 8 + 2 * 8 + 1


def test_where_every_request_of_one_batch_is_bad_the_segment_fails_before_all_are_tried() -> None:
    world = deliver(PEOPLE[:1000], script=always(Reply.BAD), pool=LazyPool(), concurrency=8)
    check_laws(world)
    assert (world.error_code, [*world.delivery.rejected]) == ("refused", [])
    assert world.track.requests < 300


def test_a_single_id_of_a_new_segment_is_not_blamed() -> None:
    world = deliver(["ada"], script=always(Reply.BAD), accepted_before=False)
    check_laws(world)
    assert (world.error_code, [*world.delivery.rejected]) == ("refused", [])


def test_a_hundred_rejected_ids_are_not_blamed() -> None:
    world = deliver(PEOPLE[:1000], script=poisoned(*PEOPLE[:100]))
    check_laws(world)
    assert (world.error_code, [*world.delivery.rejected]) == ("refused", [])


def test_a_probe_that_is_lost_is_made_again() -> None:
    probes: list[tuple[str, ...]] = []

    def script(batch: Batch, attempt: int) -> Reply:
        if len(batch.ids) == 1 and batch.ids not in probes:
            probes.append(batch.ids)
        return Reply.BUSY if batch.ids in probes[:1] else Reply.BAD

    world = deliver(name_ids(30_000), script=script)
    check_laws(world)
    assert world.error_code == "refused"
    assert world.track.requests < 40


# --- 413 ---------------------------------------------------------------------------------------------------------


def test_a_413_halves_the_batch() -> None:
    world = deliver(PEOPLE, script=lambda batch, attempt: Reply.LARGE if len(batch.ids) > 300 else Reply.OK)
    check_laws(world)
    assert (world.delivery.tally.added, world.delivery.error) == (5000, None)
    assert set(send_numbers(world)) == {1000, 500, 250}


def test_a_413_says_nothing_of_the_ids() -> None:
    world = deliver(PEOPLE, script=lambda batch, attempt: Reply.LARGE if len(batch.ids) > 1 else Reply.OK, size=10)
    check_laws(world)
    assert ([*world.delivery.rejected], world.delivery.error) == ([], None)


# --- unknown and exhausted ---------------------------------------------------------------------------------------


def test_a_lost_answer_is_tried_again_and_recorded_each_time() -> None:
    world = deliver(["ada"], script=in_turn(Reply.LOST, Reply.VANISHED, Reply.BUSY))
    check_laws(world)
    assert world.verbs == ["intend", "send", "retry", "send", "retry", "send", "retry", "send", "settle"]
    assert (world.delivery.tally.added, world.delivery.tally.requests, world.delivery.tally.retries) == (1, 4, 3)
    assert world.held.rows[1].unknown_at is not None, "the first attempt may still arrive"


def test_a_batch_whose_attempts_are_used_up_is_unsettled() -> None:
    world = deliver(PEOPLE, script=by_batch(Reply.VANISHED))
    check_laws(world)
    assert (world.delivery.tally.unsettled, world.delivery.tally.added) == (1000, 4000)
    assert world.error_code == "exhausted"
    assert "all attempts were used up; whether 1,000 ids arrived is unknown (1 batch: no answer)" in str(
        world.delivery.error
    )


def test_a_batch_that_was_certainly_refused_is_back_where_it_was() -> None:
    world = deliver(PEOPLE, script=by_batch(Reply.BUSY))
    check_laws(world)
    assert (world.delivery.tally.unsettled, world.error_code) == (0, "exhausted")
    assert "1,000 ids did not arrive" in str(world.delivery.error)
    assert "unknown" not in str(world.delivery.error)


@pytest.mark.parametrize("reply", [Reply.BUSY, Reply.VANISHED, Reply.LOST])
@pytest.mark.parametrize("pool", [None, LazyPool()])
def test_three_exhausted_batches_in_a_row_stop_the_segment(reply: Reply, pool: LazyPool | None) -> None:
    world = deliver(name_ids(100), size=1, script=always(reply), concurrency=1, pool=pool)
    check_laws(world)
    assert (world.track.requests <= 4, world.error_code) == (True, "exhausted")
    said = "none of them arrived" if reply is Reply.BUSY else "whether they arrived is unknown"
    assert f"3 batches in a row failed; {said} (3 batches: no answer)" in str(world.delivery.error)


def test_a_success_in_between_begins_the_count_anew() -> None:
    bad, good = Reply.BUSY, Reply.OK
    script = by_batch(bad, bad, good, bad, bad, good)
    world = deliver(name_ids(20), size=1, script=script, concurrency=1)
    check_laws(world)
    assert world.delivery.tally.added == 16
    assert "all attempts were used up; 4 ids did not arrive (4 batches: no answer)" in str(world.delivery.error)


def test_an_answer_of_any_kind_begins_the_count_anew() -> None:
    bad = Reply.BUSY
    world = deliver(name_ids(20), size=1, script=by_batch(Reply.OK, bad, bad, Reply.BAD, bad), concurrency=1)
    check_laws(world)
    assert (world.delivery.tally.added, len([*world.delivery.rejected])) == (16, 1)


@pytest.mark.parametrize("last", [Reply.BAD, Reply.LARGE])
def test_parts_of_a_batch_that_may_have_arrived_are_unsettled_until_acknowledged(last: Reply) -> None:
    def script(batch: Batch, attempt: int) -> Reply:
        if len(batch.ids) == 4:
            return Reply.LOST if attempt == 1 else last
        return Reply.BUSY if "id000003" in batch.ids else Reply.OK

    world = deliver(name_ids(4), script=script)
    check_laws(world)
    assert (world.delivery.tally.added, world.delivery.tally.unsettled) == (2, 2)
    assert all(row.unknown_at is not None for row in world.held.rows.values()), "what was acknowledged leaves an echo"


def test_a_poison_id_that_may_have_arrived_is_rejected_and_unsettled() -> None:
    def script(batch: Batch, attempt: int) -> Reply:
        if len(batch.ids) == 4 and attempt == 1:
            return Reply.VANISHED
        return Reply.BAD if "id000003" in batch.ids else Reply.OK

    world = deliver(name_ids(4), script=script)
    check_laws(world)
    assert (world.delivery.tally.added, world.delivery.tally.unsettled, [*world.delivery.rejected]) == (
        3,
        1,
        ["id000003"],
    )


# --- stopping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("doubtful", [False, True])
def test_a_denial_stops_at_once(doubtful: bool) -> None:
    script = in_turn(Reply.VANISHED, Reply.DENIED) if doubtful else in_turn(Reply.DENIED)
    pool = LazyPool()
    world = deliver(name_ids(20), size=1, script=script, pool=pool)
    check_laws(world)
    assert world.error_code == "refused"
    assert pool.most_waiting > 1
    assert len(world.track.sent) == 1 + doubtful, "what was queued before must not leave after it"
    assert world.delivery.tally.unsettled == doubtful


def test_a_denied_removal_lets_no_addition_start() -> None:
    world = deliver(PEOPLE, LEAVERS, script=always(Reply.DENIED))
    check_laws(world)
    assert {batch.direction for batch in world.track.sent} == {REMOVE}


def test_a_stopped_run_starts_nothing() -> None:
    stop = FakeStop()
    stop.set()
    world = deliver(PEOPLE, LEAVERS, stop=stop)
    assert (world.held.steps, world.delivery.error) == ([], None)


@pytest.mark.parametrize("reply", [Reply.OK, Reply.LOST, Reply.BUSY, Reply.BAD])
def test_after_a_signal_what_is_in_flight_is_recorded_and_the_rest_withdrawn(reply: Reply) -> None:
    stop = FakeStop()

    def script(batch: Batch, attempt: int) -> Reply:
        stop.set()
        return reply

    world = deliver(name_ids(20_000), script=script, stop=stop, pool=LazyPool())
    check_laws(world)
    assert len(world.track.sent) == 1
    assert (world.delivery.tally.added == 1000, world.delivery.tally.unsettled == 1000) == (
        reply is Reply.OK,
        reply is Reply.LOST,
    )
    assert world.delivery.error is None, "a signal is no failure of Customer.io"


def test_after_a_signal_attempts_that_were_cut_short_are_no_dead_api() -> None:
    stop, together = FakeStop(), threading.Barrier(4)

    def wait_and_stop(batch: Batch, attempt: int) -> None:
        together.wait(30)
        stop.set()

    with ThreadPoolExecutor(4) as pool:
        world = deliver(
            name_ids(8),
            size=1,
            script=always(Reply.LOST),
            pool=pool,
            stop=stop,
            prepare=lambda world: setattr(world.track, "watch", wait_and_stop),
        )
    check_laws(world)
    assert (world.delivery.tally.unsettled, world.delivery.error) == (4, None)


def test_after_a_signal_nobody_is_blamed_for_a_400() -> None:
    stop = FakeStop()

    def script(batch: Batch, attempt: int) -> Reply:
        if len(batch.ids) == 1:
            stop.set()
        return Reply.BAD

    world = deliver(name_ids(8), script=script, stop=stop, concurrency=1, accepted_before=False)
    check_laws(world)
    assert ([*world.delivery.rejected], world.delivery.error) == ([], None)


def test_a_lost_lease_starts_nothing_more() -> None:
    world = deliver(name_ids(20), size=1, lease=FakeLease(lambda asked: asked > 3))
    check_laws(world)
    assert (world.error_code, world.delivery.tally.added) == ("lease_lost", 3)


def test_the_lease_must_last_as_long_as_an_attempt() -> None:
    lease = FakeLease()
    deliver(["ada"], lease=lease)
    assert lease.asked_for == {make_target().spec.destination.timeout}


def test_the_lease_is_looked_at_again_after_a_retry_is_recorded() -> None:
    lease = FakeLease()

    def fault(name: str, number: int) -> None:
        if name == "retry":  # the lease ended while it waited for the database
            lease.lost = True

    world = deliver(["ada"], script=always(Reply.VANISHED), lease=lease, fault=fault)
    assert len(world.track.sent) == 1


# --- the state fails ---------------------------------------------------------------------------------------------

WRITES = ["intend", "settle", "split", "retry"]


def rough(batch: Batch, attempt: int) -> Reply:
    """Two poison ids, some lost answers, and some batches too large."""
    if {"id000003", "gone000011"} & {*batch.ids}:
        return Reply.VANISHED if attempt == 1 and len(batch.ids) > 3 else Reply.BAD
    if batch.ids[0].endswith("5") and attempt == 1:
        return Reply.LOST
    return Reply.LARGE if len(batch.ids) > 5 else Reply.OK


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("number", range(1, 12))
@pytest.mark.parametrize("for_good", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_where_the_state_fails_nothing_is_lost(write: str, number: int, for_good: bool, lazy: bool) -> None:
    broken = [False]
    happened = [False]

    def fault(name: str, count: int) -> Exception | None:
        hit = name == write and count == number
        broken[0] = broken[0] or (hit and for_good)
        happened[0] = happened[0] or hit
        return StateError("the disk is full", "make room") if hit or broken[0] else None

    world = deliver(
        name_ids(40), name_ids(24, "gone"), rough, size=8, concurrency=2, fault=fault, pool=LazyPool() if lazy else None
    )
    check_laws(world, may_leave_intents=happened[0])
    assert (world.error_code == "state") is happened[0]


def test_where_the_state_fails_once_what_is_in_flight_is_recorded_all_the_same() -> None:
    fault = lambda name, count: StateError("busy") if (name, count) == ("intend", 2) else None  # noqa: E731
    world = deliver(name_ids(40), size=1, fault=fault, pool=LazyPool())
    check_laws(world)
    assert world.delivery.tally.added == len(world.track.sent) > 0


def test_where_folding_fails_what_is_in_flight_is_recorded_all_the_same() -> None:
    fault = lambda name, count: StateError("the disk is full") if name == "compact" else None  # noqa: E731
    world = deliver(name_ids(200), size=1, fault=fault, pool=LazyPool())
    check_laws(world)
    assert world.error_code == "state"
    assert world.delivery.tally.added == len(world.track.sent) > 0


def test_a_comparison_that_fails_leaves_no_intent() -> None:
    world = deliver(name_ids(40), size=1, pool=LazyPool(), batches_error=StateError("the spill folder is full"))
    check_laws(world)
    assert world.delivery.tally.added > 0


def test_a_split_that_fails_counts_nothing_twice() -> None:
    fault = lambda name, count: StateError("the disk is full") if name == "split" else None  # noqa: E731
    world = deliver(name_ids(40), size=10, fault=fault, script=poisoned("id000015"))
    check_laws(world, may_leave_intents=True)
    assert (world.delivery.tally.added, world.delivery.tally.unsettled) == (30, 10)


# --- a defect ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [None, LazyPool()])
def test_a_client_that_crashes_ends_its_segment_in_good_order(pool: LazyPool | None) -> None:
    world = deliver(name_ids(40), size=1, script=in_turn(Reply.OK, Reply.CRASH), pool=pool)
    check_laws(world, may_leave_intents=True)
    assert world.error_code == "internal"
    assert [row.batch.ids for row in world.held.intents] == [("id000001",)]
    assert world.delivery.tally.unsettled == 1
    assert "id000001" not in str(world.delivery.error)


@pytest.mark.parametrize("write", WRITES)
def test_a_state_that_crashes_ends_its_segment_in_good_order(write: str) -> None:
    def fault(name: str, count: int) -> Exception | None:
        return ValueError("id000003") if name == write else None

    world = deliver(name_ids(40), size=8, script=rough, fault=fault, pool=LazyPool())
    check_laws(world, may_leave_intents=True)
    assert world.error_code == "internal"
    assert "id000003" not in str(world.delivery.error)


def test_a_reporter_that_fails_loses_nothing() -> None:
    def fail(event: object) -> None:
        raise BrokenPipeError

    world = deliver(name_ids(40), size=8, reporter=FakeReporter(fail), fault=never)
    check_laws(world, may_leave_intents=True)
    assert world.error_code == "internal"


# --- an API that takes no more in this run ------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [None, LazyPool()])
@pytest.mark.parametrize("closes_after", [0, 2])
def test_what_was_not_begun_before_the_api_was_gone_is_put_back(closes_after: int, pool: LazyPool | None) -> None:
    def close(world: World) -> None:
        world.track.closes_after = closes_after

    world = deliver(PEOPLE, LEAVERS, pool=pool, prepare=close)
    check_laws(world)
    tally = world.delivery.tally
    assert (tally.added, tally.removed, tally.unsettled) == (0, 1000 * closes_after, 0)
    error = world.delivery.error
    assert error is not None
    assert (error.code, error.message, error.hint) == ("destination", "the API is gone", "see why")


def test_what_may_have_arrived_before_the_api_was_gone_stays_unsettled() -> None:
    def close(world: World) -> None:
        world.track.closes_after = 1

    world = deliver(PEOPLE, script=always(Reply.LOST), prepare=close)
    check_laws(world)
    assert (world.delivery.tally.unsettled, len(world.track.sent)) == (1000, 1)
    assert str(world.delivery.error) == "the API is gone"
