"""One delivery over fakes, and the laws that each delivery keeps, whatever happens to it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from unittest import mock

from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts
from reconciler.models.results import Tally
from reconciler.operations.context import Parts
from reconciler.operations.send import SendResult, send_batches
from tests.fakes.memory_state import ADD, REMOVE, FakeClock, FakeHeld, FakeLease, FakeStore, Status, never
from tests.fakes.parts import (
    FakeComparison,
    FakeReporter,
    FakeSets,
    FakeStop,
    FakeTrack,
    InlinePool,
    LazyPool,
    Reply,
    Script,
    always,
    make_target,
)


@dataclass
class World:
    """A delivery that has run, and all that took part."""

    held: FakeHeld
    track: FakeTrack
    comparison: FakeComparison
    reporter: FakeReporter
    delivery: SendResult = field(default_factory=lambda: SendResult(Tally()))

    @property
    def ids(self) -> dict[str, Direction]:
        return dict.fromkeys(self.comparison.remove, REMOVE) | dict.fromkeys(self.comparison.add, ADD)

    @property
    def statuses(self) -> dict[str, Status]:
        return {member: self.held.status(member) for member in self.ids}

    def count(self, word: str, direction: Direction | None = None) -> int:
        return list(self.statuses.values()).count(Status(word, direction))

    @property
    def error_code(self) -> str | None:
        return self.delivery.error.code if self.delivery.error else None

    @property
    def verbs(self) -> list[str]:
        return [step.verb for step in self.held.steps]


@contextmanager
def patient(pool: LazyPool) -> Iterator[LazyPool]:
    """Let the delivery wait on this pool."""
    with mock.patch("reconciler.operations.send.wait", pool.wait):
        yield pool


def deliver(
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    script: Script | None = None,
    *,
    resends: frozenset[str] = frozenset(),
    size: int = 1000,
    concurrency: int = 4,
    fault: Callable[[str, int], Exception | None] = never,
    pool: Executor | None = None,
    stop: FakeStop | None = None,
    lease: FakeLease | None = None,
    reporter: FakeReporter | None = None,
    accepted_before: bool = True,
    batches_error: Exception | None = None,
    prepare: Callable[[World], None] = lambda world: None,
) -> World:
    """Deliver these ids; `script` says what each attempt meets. `prepare` may change the world before it starts."""
    held = FakeHeld(remove, fault)
    held.lease = lease or held.lease
    track = FakeTrack(held, script or always(Reply.OK), present=set(remove))
    comparison = FakeComparison(add, remove, resends, size=size, batches_error=batches_error)
    reporter = reporter or FakeReporter()
    target = make_target(concurrency)
    parts = Parts(
        FakeStore(held),
        FakeSets(comparison),
        track,
        None,
        pool or InlinePool(),
        stop or FakeStop(),
        reporter.tell,
        FakeClock(),
        [].append,
        track.ask_environment,
        track.preflight,
        lambda: (),
    )
    counts = Counts(add=len(add), remove=len(remove), stored=int(accepted_before))
    world = World(held, track, comparison, reporter)
    prepare(world)
    with patient(pool) if isinstance(pool, LazyPool) else nullcontext():
        world.delivery = send_batches(target, counts, comparison, held, parts)
    return world


def check_laws(world: World, *, may_leave_intents: bool = False) -> None:
    """Hold a delivery that has run against the promises. `may_leave_intents`: the state could not take everything."""
    assert world.track.in_flight == 0
    assert may_leave_intents or world.held.intents == []
    check_order(world)
    for member, direction in world.ids.items():
        check_fate(world, member, direction, may_leave_intents)
    check_tally(world, may_leave_intents)


def check_order(world: World) -> None:
    """No addition is intended or sent while a removal has no outcome. (That nobody goes both ways, the fake checks.)"""
    removals: set[int] = set()
    for step in world.held.steps:
        if step.batch is not None and step.batch.direction is ADD:
            assert not removals
        elif step.verb in ("intend", "part"):
            removals.add(step.number)
        elif step.verb in ("settle", "split"):
            removals.discard(step.number)


def check_fate(world: World, member: str, direction: Direction, may_leave_intents: bool) -> None:
    """Each id ends acknowledged, or refused and back where it was, or unsettled."""
    status, before = world.held.status(member), world.held.status_before(member)
    acknowledged, doubtful = member in world.track.acknowledged, member in world.track.doubtful
    settled = Status("stored" if direction is ADD else "removed")
    unsettled = Status("unsettled", direction)
    if acknowledged:
        assert status == settled or (may_leave_intents and status == unsettled)
    elif doubtful:
        assert status == unsettled, "something that was sent is forgotten"
    else:
        assert status == before or (may_leave_intents and status == unsettled), "it is not back where it was"


def check_tally(world: World, may_leave_intents: bool) -> None:
    tally, track = world.delivery.tally, world.track
    stored = {member for member in world.comparison.add if world.held.status(member) == Status("stored")}
    assert tally.added + tally.resent == len(stored)
    assert tally.resent == len(stored & world.comparison.resends)
    assert tally.removed == world.count("removed")
    touched = {*track.acknowledged, *track.doubtful}
    unsettled = {member for member in touched if world.held.status(member).word == "unsettled"}
    assert tally.unsettled == len(unsettled) or (may_leave_intents and tally.unsettled > len(unsettled))
    assert tally.requests == len(track.sent) or may_leave_intents
    rejected = world.delivery.rejected
    assert tally.rejected == len(set(rejected)) == len(rejected)
    assert not {*rejected} & {*track.acknowledged}
