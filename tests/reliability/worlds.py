"""Runs that die at a chosen step, over the real engine and the real state, and a Customer.io that keeps count."""

import itertools
import random
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from reconciler.customerio import Gate
from reconciler.errors import StateError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import Adoption, DriftCounts, Findings, Page, RemoteCount
from reconciler.models.plan import Head
from reconciler.models.results import RunStatus, SegmentRun
from reconciler.models.spec import GuardSettings, Segment, Target
from reconciler.operations.apply import compare_with_file
from reconciler.operations.apply_segment import ApplyOptions, Phase, SegmentApply
from reconciler.operations.context import Parts
from reconciler.operations.plan import PlanOptions, plan_segment
from reconciler.operations.plan_checks import bind_new
from reconciler.operations.refresh import Adopt, refresh_segment
from reconciler.state import open_database
from reconciler.state.base import Snapshot
from reconciler.state.database import Database
from reconciler.state.runtime import Runtime
from reconciler.state.store import StateStore
from tests.fakes import set_model
from tests.fakes.deliveries import patient
from tests.fakes.parts import FakeChanges, FakeReporter, FakeStop, InlinePool, LazyPool
from tests.reliability.orders import FREE, Order, Sealed, Window, check_whole, seal_plan, spend
from tests.support.states import FakeClock, FakeMachine, StateFixture, adoption, fetch, findings

ADD, REMOVE = Direction.ADD, Direction.REMOVE
SETTLE = 10.0
"""Seconds, as in the spec; the slowest request of these worlds arrives a little earlier."""
MOST_ATTEMPTS = 3


class Death(BaseException):
    """The process is no more: nothing catches it, and what runs on its way out does nothing."""


@dataclass
class Life:
    """The steps of one process; at step `end` it dies.

    Its clean-up, which a killed process would not run, is barred. `watch` is told the number and name of each step.
    """

    end: int | None = None
    steps: list[str] = field(default_factory=list)
    is_over: bool = False
    watch: Callable[[int, str], None] = lambda number, name: None

    def step(self, name: str) -> None:
        if self.is_over:
            raise Death
        self.steps.append(name)
        self.watch(len(self.steps), name)
        if len(self.steps) == self.end:
            self.is_over = True
            raise Death


class MortalDatabase:
    """A state's database; its process may die around each commit. `failing`: numbers of writes that a disk refuses."""

    def __init__(self, database: Database, life: Life, failing: Container[int] = frozenset()) -> None:
        self._database = database
        self._life = life
        self._failing = failing
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self._life.step("before a write")
        self.writes += 1
        with self._database.write() as connection:
            yield connection
            if self.writes in self._failing:
                raise StateError("the disk of the state is full", "make room")
            self._life.step("before a commit")
        self._life.step("after a commit")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self._life.is_over:
            raise Death
        with self._database.read() as connection:
            yield connection

    def checkpoint(self) -> None:
        if self._life.is_over:
            raise Death


@dataclass(frozen=True)
class Late:
    """A change on its way."""

    at: float
    batch: Batch


@dataclass
class CustomerIo:
    """One segment: its members, what is still on its way, and what was acknowledged last of each id."""

    clock: FakeClock
    present: set[str] = field(default_factory=set)
    pending: list[Late] = field(default_factory=list)
    acknowledged: dict[str, Direction] = field(default_factory=dict)
    """The direction of the last attempt of an id, while that was acknowledged; an attempt without an answer ends it."""
    last: dict[str, int] = field(default_factory=dict)
    """The number of the last attempt of an id."""
    attempts: int = 0

    def leave(self, batch: Batch) -> int:
        """An attempt has left its process; gives its number."""
        self.arrive_due()
        self.attempts += 1
        for member in batch.ids:
            self.last[member] = self.attempts
            self.acknowledged.pop(member, None)
        return self.attempts

    def apply(self, batch: Batch) -> None:
        change = self.present.update if batch.direction is ADD else self.present.difference_update
        change(batch.ids)

    def apply_late(self, batch: Batch, seconds: float) -> None:
        self.pending.append(Late(self.clock.time + seconds, batch))

    def acknowledge(self, batch: Batch, number: int) -> None:
        """Attempt `number` has its answer; of an id that another process has sent since, it says nothing."""
        mine = [member for member in batch.ids if self.last[member] == number]
        self.acknowledged.update(dict.fromkeys(mine, batch.direction))

    def arrive_due(self) -> None:
        """Apply what has arrived by now, in the order of its arrival."""
        for late in sorted(self.pending, key=lambda late: late.at):
            if late.at <= self.clock.time:
                self.apply(late.batch)
                self.pending.remove(late)


@dataclass
class MortalTrack:
    """The sending of a process that may die around each attempt, over a network that loses and delays."""

    remote: CustomerIo
    life: Life
    chance: random.Random
    trouble: float = 0.0
    """How likely an attempt goes wrong."""
    directions: dict[str, Direction] = field(default_factory=dict)
    sealed: Mapping[str, Direction] | None = None
    """What the plan file says, if one is applied: nothing else may be sent."""
    latest: float = SETTLE * 0.9
    """Seconds after which a late change has surely arrived."""

    def check_open(self) -> None:
        """It takes requests for ever."""

    def preflight(self) -> int | None:
        self.life.step("preflight")
        return 12345

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> BatchResult:
        unknown_at: float | None = None
        for attempt in range(1, MOST_ATTEMPTS + 1):
            if not gate.try_start(attempt):
                outcome = Outcome.NOT_STARTED if unknown_at is None else Outcome.UNKNOWN
                return BatchResult(outcome, attempt - 1, unknown_at, "held")
            reply = self._attempt(batch)
            if reply == "ok":
                return BatchResult(Outcome.ACKNOWLEDGED, attempt, unknown_at)
            if reply == "lost":
                unknown_at = self.remote.clock.time
        outcome = Outcome.REFUSED if unknown_at is None else Outcome.UNKNOWN
        return BatchResult(outcome, MOST_ATTEMPTS, unknown_at, "no answer")

    def _attempt(self, batch: Batch) -> str:
        for member in batch.ids:
            assert self.directions.setdefault(member, batch.direction) is batch.direction, "sent both ways in one run"
            if self.sealed is not None:
                assert self.sealed.get(member) is batch.direction, "sent what the plan file does not say"
        self.life.step("before an attempt leaves")
        event = self._draw_event()
        if event == "busy":  # a definite refusal: nothing of it can ever arrive
            return event
        number = self.remote.leave(batch)
        if self.trouble:
            self.remote.clock.time += self.chance.uniform(0, 4)
        if event == "lost before":
            return "lost"
        if event == "lost, and applied late":
            self.remote.apply_late(batch, self.chance.uniform(0, self.latest))
            self.life.step("after an attempt left")
            return "lost"
        self.life.step("after an attempt left")
        self.remote.apply(batch)
        self.life.step("after it took effect")
        if event == "lost after":
            return "lost"
        self.remote.acknowledge(batch, number)
        self.life.step("after its answer")
        return "ok"

    def _draw_event(self) -> str:
        if self.chance.random() >= self.trouble:
            return "ok"
        return self.chance.choice(["lost before", "lost after", "lost, and applied late", "busy"])


class ModelComparison:
    """The set engine's model (see tests/fakes/set_model.py) at work: fast, and obviously right."""

    def __init__(
        self, snapshot: Snapshot, target: Target, desired: Iterable[str], size: int, now: Callable[[], float]
    ) -> None:
        self._now = now
        self._snapshot = snapshot
        self._target = target
        self._desired = tuple(desired)
        self._size = size
        self._people: tuple[set_model.Person, ...] = ()

    def compare(self) -> FakeChanges:
        world, head = self._read()
        values = tuple(set_model.Value(each) for each in self._desired)
        return self._give(head, set_model.compare(replace(world, values=values)))

    def resume(self, sealed: Iterable[Batch]) -> FakeChanges:
        ids: dict[Direction, set[str]] = {ADD: set(), REMOVE: set()}
        for batch in sealed:
            ids[batch.direction].update(batch.ids)
        world, head = self._read()
        return self._give(head, set_model.resume(world, ids[ADD], ids[REMOVE]))

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        rows = (row for page in pages for row in zip(page.cio_ids, page.keys, strict=True))
        self._people = tuple(set_model.Person(*row) for row in rows)
        return RemoteCount(len(self._people), 0)

    def drift(self) -> DriftCounts:
        return self._read_back().drift

    def examine(self) -> Findings:
        found = self._read_back()
        return findings(found.appeared, found.vanished, found.lingering, found.gone)

    def adoption(self, known_only: bool) -> Adoption:
        world = self._read()[0]
        found, stored = (
            set_model.adopt(replace(world, people=self._people), known_only),
            set_model.read_state(world).stored,
        )
        entered, left = set(found.members) - stored, stored.intersection(found.unmatched)
        return adoption(found.members, found.unmatched, found.lingering, entered=sorted(entered), left=sorted(left))

    def _read(self) -> tuple[set_model.World, Head]:
        return read_world(self._snapshot, self._target, self._now())

    def _read_back(self) -> set_model.Reading:
        return set_model.read_back(replace(self._read()[0], people=self._people))

    def _give(self, head: Head, outcome: set_model.Outcome) -> FakeChanges:
        def batches(direction: Direction) -> Iterator[Batch]:
            ids = outcome.add if direction is ADD else outcome.remove
            for start in range(0, len(ids), self._size):
                yield Batch(direction, tuple(ids[start : start + self._size]))

        return FakeChanges("model", head, outcome.counts, None, batches)

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


def read_world(snapshot: Snapshot, target: Target, now: float) -> tuple[set_model.World, Head]:
    """What a state says of a segment, as the model takes it."""
    with snapshot.read_segment(target.workspace, target.segment_id) as stored:
        members = frozenset(row[0] for row in fetch(stored.members()))
        marks = tuple(set_model.MarkRow(*row) for row in fetch(stored.marks()))
        journal = tuple(set_model.JournalRow(*row[:5], tuple(row[5].split("\n"))) for row in fetch(stored.journal()))
    return set_model.World(members=members, marks=marks, journal=journal, now=now, settle=SETTLE), stored.head


@dataclass
class ModelSets:
    """Opens comparisons of one query result with the state."""

    snapshot: Snapshot
    desired: Sequence[str]
    size: int
    now: Callable[[], float]

    @contextmanager
    def begin(self, target: Target) -> Iterator[ModelComparison]:
        yield ModelComparison(self.snapshot, target, self.desired, self.size, self.now)


@dataclass
class Planet:
    """One state and one Customer.io that outlive the processes that work on them.

    `size`: ids in a batch. `trouble`: how likely an attempt goes wrong. `shuffles`: several requests are on their way
    at once, and answered in any order.
    """

    state: StateFixture
    chance: random.Random
    size: int = 2
    trouble: float = 0.0
    shuffles: bool = False
    pids: Iterator[int] = field(default_factory=lambda: itertools.count(100))
    runs: Iterator[int] = field(default_factory=itertools.count)
    alive: set[int] = field(default_factory=set)
    """The processes at work now; all others are dead."""
    latest: float = SETTLE * 0.9
    """Seconds after which a late change has surely arrived; the contract holds as long as that is within `settle`."""
    deaths: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self.remote = CustomerIo(self.state.clock)

    @property
    def target(self) -> Target:
        return self.aim(FREE)

    def aim(self, guards: GuardSettings, **keys: bool) -> Target:
        target = self.state.target()
        segment = target.segment.model_copy(update={"guards": guards, **keys})
        destination = target.spec.destination.model_copy(update={"settle": SETTLE, "concurrency": 2})
        return Target(target.spec.model_copy(update={"destination": destination, "segments": (segment,)}), segment)

    def live(
        self, desired: Iterable[str], life: Life | int | None = None, failing: Container[int] = frozenset()
    ) -> tuple[Life, SegmentRun | None]:
        """One process applies a query result; no result if it died, at the step that `life` gives."""
        return self.obey(Order(sorted(desired)), life, failing)

    def obey(
        self, order: Order, life: Life | int | None = None, failing: Container[int] = frozenset()
    ) -> tuple[Life, SegmentRun | None]:
        """One process does what it is told."""
        life, result = life if isinstance(life, Life) else Life(life), None
        try:
            result = self._run(life, order, failing)
        except Death:
            assert life.is_over
        except StateError:  # nothing was begun, or the lock could not be given back
            assert failing
        self.deaths += life.is_over
        self.steps += len(life.steps)
        self.check_claims()
        return life, result

    def _run(self, life: Life, order: Order, failing: Container[int]) -> SegmentRun:
        target = self.aim(order.guards, retired=order.retires, paused=order.pauses)
        snapshot, run_id = self.state.snapshot, f"run-{next(self.runs)}"
        plan_id = order.sealed.file.plan.plan_id if order.sealed else None
        options = ApplyOptions(run_id, PlanOptions({target.label: order.allowed}), plan_id, order.confirms)
        with self._open_store(life, failing, order.lock_timeout) as store:
            parts = self._gather(
                store, ModelSets(snapshot, order.desired, self.size, self.state.clock.wall), life, order
            )
            store.begin(run_id, target.workspace, "apply", (), plan_id)
            compare = compare_with_file(order.sealed.file, 0) if order.sealed else None
            segment = SegmentApply(target, parts, options, compare)
            segment.lock()
            check_whole(segment, order, snapshot)
            with patient(parts.pool) if isinstance(parts.pool, LazyPool) else nullcontext():
                segment.go_to(Phase.ENDED)
            spend(segment.result, order, store)
            return segment.result

    def _gather(self, store: StateStore, sets: ModelSets, life: Life, order: Order) -> Parts:
        changes = order.sealed.changes if order.sealed else None
        track = MortalTrack(self.remote, life, self.chance, self.trouble, sealed=changes, latest=self.latest)
        app = self._window() if order.confirms else None
        stop, clock = FakeStop(_Hand(self.state.clock)), self.state.clock.wall  # type: ignore[arg-type]
        nobody = lambda: None  # noqa: E731
        report, warn = FakeReporter().tell, lambda words: None
        return Parts(
            store,
            sets,  # type: ignore[arg-type]
            track,  # type: ignore[arg-type]
            app,  # type: ignore[arg-type]
            self._pool(),
            stop,
            report,
            clock,
            warn,
            nobody,
            track.preflight,
            list,
        )

    def _window(self) -> Window:
        return Window(self.remote.present, self.remote.arrive_due)

    def refresh(self, life: Life | int | None = None) -> None:
        """One process takes over what is there, or dies, at the step that `life` gives."""
        life = life if isinstance(life, Life) else Life(life)
        with suppress(Death), self._open_store(life, frozenset(), 0.0) as store:
            self._take_over(life, store)
        assert life.is_over or not self.remote.pending, "what was read is older than what was sent"
        for member in self.look().stored & self.remote.present:
            self.remote.acknowledged[member] = ADD  # a read-back shows it as surely
        self.check_claims()

    def _take_over(self, life: Life, store: StateStore) -> None:
        target, snapshot, run_id = self.target, self.state.snapshot, f"run-{next(self.runs)}"
        store.begin(run_id, target.workspace, "refresh", (), None)
        stack = ExitStack()
        try:
            held = stack.enter_context(store.lock(target, run_id, "refresh", None))
            comparison: Any = ModelComparison(snapshot, target, (), self.size, self.state.clock.wall)
            window: Any = self._window()
            refresh_segment(
                target,
                held,
                comparison,
                window,
                Adopt.ALL,
                lambda words: None,
                self._wait,
                lambda found: life.step("after a look"),
            )
        finally:
            stack.close()

    def _wait(self, seconds: float) -> bool:
        self.state.clock.time += seconds
        return False

    def seal(self, desired: Iterable[str], path: Path, age: timedelta = timedelta(0)) -> Sealed:
        """`plan --out`: takes no lock, and sends nothing."""
        snapshot, options = self.state.snapshot, PlanOptions()
        comparison = ModelComparison(snapshot, self.target, sorted(desired), self.size, self.state.clock.wall)
        head = snapshot.head(self.target.workspace, self.target.segment.segment_id)
        plan, changes = plan_segment(self.target, head, comparison, None, options, lambda words: None)  # type: ignore[arg-type]
        plan = replace(plan, head=bind_new(plan.head, self.target, snapshot))
        batches = [*changes.batches(REMOVE), *changes.batches(ADD)]
        return seal_plan(path, plan, batches, sorted(desired), age)

    def _pool(self) -> Executor:
        return LazyPool(self.chance.randrange) if self.shuffles else InlinePool()

    @contextmanager
    def _open_store(self, life: Life, failing: Container[int], lock_timeout: float) -> Iterator[StateStore]:
        pid = next(self.pids)
        self.alive.add(pid)
        machine = FakeMachine(pid=pid, running={each: f"t{each}" for each in self.alive})
        with open_database(self.state.settings, self.state.clock) as database:
            raw: Any = database
            with raw._engine.connect() as connection:  # a dead process is not a dead machine: the disk need not spin
                connection.connection.dbapi_connection.execute("PRAGMA synchronous=OFF")
            around = Runtime(self.state.clock, machine, heartbeat=self.state.pulse)
            try:
                yield StateStore(MortalDatabase(database, life, failing), around, lock_timeout)  # type: ignore[arg-type]
            finally:
                self.alive.discard(pid)

    # --- the judge ------------------------------------------------------------------------------------------------

    def look(self) -> set_model.StateModel:
        """What the state says of each id."""
        snapshot, now = self.state.snapshot, self.state.clock.time
        return set_model.read_state(read_world(snapshot, self.target, now)[0])

    def is_known(self) -> bool:
        """Whether the state knows the segment."""
        return not self.state.snapshot.head("production", 56).is_new

    def check_claims(self) -> None:
        """The snapshot claims no id with a last attempt other than an acknowledged add, and forgets none."""
        state = self.look()
        for member in state.stored:
            assert self.remote.acknowledged.get(member) is ADD, "the snapshot claims more than was acknowledged"
        maybe_there = self.remote.present | {member for late in self.remote.pending for member in late.batch.ids}
        gone = {member for member, last in self.remote.acknowledged.items() if last is REMOVE}
        assert maybe_there - gone <= state.held, "somebody is there that the state has forgotten"

    def check_end(self, desired: Iterable[str]) -> None:
        """Whatever is still on its way arrives; then the segment and the snapshot are what the query says."""
        self.state.clock.time += SETTLE
        self.remote.arrive_due()
        assert not self.remote.pending
        assert self.remote.present == set(desired)
        state = self.look()
        assert state.stored == set(desired)
        assert not state.unsettled
        self.check_log(state)

    def check_log(self, state: set_model.StateModel) -> None:
        """The audit log says of all who are stored that they entered last, of others that they left, or nothing."""
        latest = self.state.latest_changes()
        assert {member for member in state.stored if latest.get(member) is not ADD} == set()
        assert {member for member, last in latest.items() if last is ADD and member not in state.held} == set()


class _Hand:
    """The hand of a clock, for a stop that moves it by waiting."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock

    @property
    def seconds(self) -> float:
        return self._clock.time

    @seconds.setter
    def seconds(self, now: float) -> None:
        self._clock.time = now


def live_at_random(folder: Path, number: int, lives: int = 4, crowd: int = 40) -> Planet:
    """Random queries, troubles and deaths over a state of its own, then one clean run; everything is judged."""
    chance = random.Random(number)
    everybody = [f"p{index:03}" for index in range(crowd)]
    state = StateFixture(f"sqlite:///{folder}/.reconcile/state.db")
    planet = Planet(state, chance, size=chance.choice([1, 2, 5, 20]), shuffles=chance.random() < 0.5)
    for _ in range(lives):
        planet.trouble = chance.choice([0.0, 0.2, 0.7])
        end = chance.choice([None, chance.randrange(1, 30), chance.randrange(1, 150)])
        failing = frozenset(chance.sample(range(2, 60), 2)) if chance.random() < 0.2 else frozenset()
        planet.live(chance.sample(everybody, chance.choice([0, crowd // 3, crowd])), end, failing)
        state.clock.time += chance.choice([0.0, 1.0, 70.0])
    finish(planet, chance.sample(everybody, chance.choice([0, crowd // 2, crowd])))
    return planet


def finish(planet: Planet, desired: Iterable[str], *, confirms: bool = False) -> None:
    """A run that nothing happens to. `confirms`: what a read-back did not show is unmatched until the next shows it."""
    planet.trouble = 0.0
    _, result = planet.obey(Order(sorted(desired), confirms=confirms))
    assert result is not None
    assert result.status in (RunStatus.APPLIED, RunStatus.UNCHANGED), result.error
    planet.check_end(desired)
