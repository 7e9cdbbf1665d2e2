"""Whatever Customer.io, state, lease and user do: the promises hold, and the next run completes the rest."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import StateError
from reconciler.models.batches import Batch
from tests.fakes.deliveries import World, check_laws, deliver
from tests.fakes.memory_state import ADD, FakeHeld, FakeLease, never
from tests.fakes.parts import FakeStop, InlinePool, LazyPool, Reply, Script, name_ids

pytestmark = pytest.mark.slow

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
REPLIES = st.sampled_from(
    [*[Reply.OK] * 8, Reply.LOST, Reply.VANISHED, Reply.BUSY, Reply.BAD, Reply.BAD, Reply.LARGE, Reply.DENIED]
)
KINDLY = st.sampled_from([*[Reply.OK] * 8, Reply.LOST, Reply.VANISHED, Reply.BUSY, Reply.LARGE])
SIZES = st.integers(1, 9)
PEOPLE, LEAVERS = name_ids(30), name_ids(20, "gone")


def draw_script(data: st.DataObject, replies: st.SearchStrategy[Reply]) -> Script:
    bad = frozenset(data.draw(st.lists(st.sampled_from([*PEOPLE, *LEAVERS]), max_size=4)))

    def script(batch: Batch, attempt: int) -> Reply:
        return Reply.BAD if bad.intersection(batch.ids) else data.draw(replies)

    return script


def draw_pool(data: st.DataObject) -> InlinePool | LazyPool:
    if data.draw(st.booleans()):
        return InlinePool()
    return LazyPool(lambda number: data.draw(st.integers(0, number - 1)))


def draw_world(data: st.DataObject, replies: st.SearchStrategy[Reply], **more: object) -> World:
    return deliver(
        PEOPLE[: data.draw(st.integers(0, 30))],
        LEAVERS[: data.draw(st.integers(0, 20))],
        draw_script(data, replies),
        size=data.draw(SIZES),
        concurrency=data.draw(st.integers(1, 4)),
        pool=draw_pool(data),
        resends=frozenset(PEOPLE[: data.draw(st.integers(0, 3))]),
        accepted_before=data.draw(st.booleans()),
        **more,  # type: ignore[arg-type]
    )


@MANY
@given(st.data())
def test_whatever_customer_io_answers(data: st.DataObject) -> None:
    check_laws(draw_world(data, REPLIES))


@MANY
@given(st.data())
def test_without_refusals_every_id_is_acknowledged_unsettled_or_told_as_failed(data: st.DataObject) -> None:
    world = draw_world(data, KINDLY)
    check_laws(world)
    tally = world.delivery.tally
    done = tally.added + tally.removed + tally.resent + tally.rejected
    assert done == len(world.ids) or world.delivery.error is not None


@MANY
@given(st.data(), st.integers(1, 30))
def test_whenever_a_signal_comes(data: st.DataObject, moment: int) -> None:
    stop, attempts = FakeStop(), [0]

    def watch(batch: Batch, attempt: int) -> None:
        attempts[0] += 1
        if attempts[0] == moment:
            stop.set()
        assert attempts[0] <= moment, "an attempt started after the signal"

    check_laws(draw_world(data, REPLIES, stop=stop, prepare=lambda world: setattr(world.track, "watch", watch)))


@MANY
@given(st.data(), st.integers(0, 30))
def test_whenever_the_api_takes_no_more(data: st.DataObject, attempts: int) -> None:
    world = draw_world(data, REPLIES, prepare=lambda world: setattr(world.track, "closes_after", attempts))
    check_laws(world)
    assert len(world.track.sent) <= attempts


@MANY
@given(st.data(), st.integers(1, 40))
def test_whenever_the_lease_is_lost(data: st.DataObject, moment: int) -> None:
    lease = FakeLease(lambda asked: asked >= moment)
    world = draw_world(data, REPLIES, lease=lease)
    check_laws(world)
    assert not lease.lost or world.delivery.error is not None


@MANY
@given(st.data(), st.sampled_from(["intend", "settle", "split", "retry"]), st.integers(1, 20), st.booleans())
def test_whenever_the_state_fails(data: st.DataObject, write: str, number: int, for_good: bool) -> None:
    broken = [False]

    def fault(name: str, count: int) -> Exception | None:
        hit = name == write and count == number
        broken[0] = broken[0] or (hit and for_good)
        return StateError("the disk is full") if hit or broken[0] else None

    check_laws(draw_world(data, REPLIES, fault=fault), may_leave_intents=True)


@MANY
@given(st.data())
def test_whenever_the_client_crashes(data: st.DataObject) -> None:
    check_laws(draw_world(data, REPLIES | st.just(Reply.CRASH)), may_leave_intents=True)


# --- the next run ------------------------------------------------------------------------------------------------


def recover(held: FakeHeld) -> None:
    """What the next run finds: an intent without an outcome is unknown."""
    statuses = {member: held.status(member) for member in held.known}
    held.members = frozenset(member for member, status in statuses.items() if status.word == "stored")
    held.unsettled_before = {member: status.direction for member, status in statuses.items() if status.direction}
    held.rows.clear()


@MANY
@given(st.data(), st.sets(st.sampled_from([*PEOPLE, *LEAVERS])))
def test_after_anything_a_quiet_run_makes_the_segment_equal_to_any_query(data: st.DataObject, wanted: set[str]) -> None:
    failures = {"intend": 3, "settle": 4, "split": 2} if data.draw(st.booleans()) else {}
    fault = lambda name, count: StateError("killed") if failures.get(name, 99) <= count else None  # noqa: E731
    first = draw_world(data, REPLIES | st.just(Reply.CRASH), fault=fault)
    late = {member: way for member, way in first.track.doubtful.items() if data.draw(st.booleans())}
    present = arrive_late(first, late)

    recover(first.held)
    held = first.held.members | set(first.held.unsettled_before)
    second = deliver(
        sorted(wanted - first.held.members),
        sorted(held - wanted),
        prepare=lambda world: take_over(world, first.held, present),
    )

    check_laws(second)
    assert second.track.present == wanted


def arrive_late(world: World, late: dict[str, object]) -> set[str]:
    """What is there once requests of unknown outcome that were still on their way have come in."""
    present = set(world.track.present)
    for member, way in late.items():
        if member not in world.track.acknowledged:
            (present.add if way is ADD else present.discard)(member)
    return present


def take_over(world: World, held: FakeHeld, present: set[str]) -> None:
    world.held.members = held.members
    world.held.unsettled_before = held.unsettled_before
    world.track.present = present


# --- threads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_with_real_threads_too(seed: int) -> None:
    chance = Random(seed)
    weights = {Reply.OK: 12, Reply.LOST: 1, Reply.VANISHED: 1, Reply.BUSY: 1, Reply.BAD: 1, Reply.LARGE: 1}

    def script(batch: Batch, attempt: int) -> Reply:
        if "id000100" in batch.ids:
            return Reply.BAD
        return chance.choices(list(weights), list(weights.values()))[0]

    with ThreadPoolExecutor(8) as pool:
        world = deliver(name_ids(400), name_ids(300, "gone"), script, size=7, pool=pool, fault=never)
    check_laws(world)
