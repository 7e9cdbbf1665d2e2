"""A state, a Customer.io and a set engine in memory, which write down every step."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_threads
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any

from reconciler.core.batches import Answer, Batch, Direction, Fate
from reconciler.core.counts import Counts
from reconciler.core.drift import DriftCounts
from reconciler.core.events import Event
from reconciler.core.ids import IdType
from reconciler.core.plan import Head, UsedBy
from reconciler.core.run import Run
from reconciler.core.spec import DestinationSettings, Ownership, Secret, Segment, Spec, StateSettings, Target
from reconciler.engine.ports import (
    Adoption,
    Census,
    Findings,
    Gate,
    HeldSegment,
    Lease,
    Member,
    RemoteCount,
    RemoteSegment,
)
from reconciler.errors import StateError

ADD, REMOVE = Direction.ADD, Direction.REMOVE


def make_target(concurrency: int = 4, settle: float = 10.0, **segment: Any) -> Target:
    """A segment `vip` in workspace `production`; keywords are keys of the segment."""
    made = Segment(
        **{"name": "vip", "segment_id": 56, "query": "SELECT id", "source": "warehouse", "line": 7, **segment}
    )
    destination = DestinationSettings(
        workspace="production", concurrency=concurrency, settle=settle, app_api_key=Secret("app")
    )
    return Target(Spec(Path("spec.yaml"), {}, destination, StateSettings(Secret("sqlite://")), (made,)), made)


def name_ids(number: int, prefix: str = "id") -> list[str]:
    return [f"{prefix}{index:06}" for index in range(number)]


def never(_name: str, _number: int) -> Exception | None:
    return None


# --- time ---------------------------------------------------------------------------------------------------------


class FakeClock:
    """Seconds that pass only when somebody waits."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.seconds = now

    def __call__(self) -> float:
        return self.seconds


class FakeStop:
    """A stop whose waiting takes no time; `sets_after`: so many waits until somebody stops the run."""

    def __init__(self, clock: FakeClock | None = None, sets_after: int | None = None) -> None:
        self._clock = clock or FakeClock()
        self._event = threading.Event()
        self._sets_after = sets_after
        self.waits: list[float] = []

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self._event.is_set():
            self.waits.append(timeout)
            self._clock.seconds += timeout
            if self._sets_after is not None and len(self.waits) >= self._sets_after:
                self._event.set()
        return self._event.is_set()


# --- the state ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One journal row: an intent, until `outcome` says more. The ids of the last row that has them decide."""

    seq: int
    batch: Batch
    attempts: int = 1
    outcome: str | None = None
    unknown_at: float | None = None


@dataclass(frozen=True)
class Step:
    """Something that happened: a write to the journal, or a request. `number`: of a row."""

    verb: str
    number: int = 0
    batch: Batch | None = None
    detail: str = ""


@dataclass(frozen=True)
class Status:
    """What the journal says of one id: `absent`, `stored`, `removed`, or `unsettled` with a direction."""

    word: str
    direction: Direction | None = None


class FakeLease:
    """Lasts until `ends` says that it does not: it is told how often it was asked."""

    def __init__(self, ends: Callable[[int], bool] = lambda asked: False) -> None:
        self._ends = ends
        self._asked = 0
        self.lost = False
        self.asked_for: set[float] = set()

    def covers(self, seconds: float) -> bool:
        self._asked += 1
        self.asked_for.add(seconds)
        self.lost = self.lost or self._ends(self._asked)
        return not self.lost


class FakeHeld:
    """A segment's state in memory. `fault` is asked before each write, by its name and how often it was called."""

    def __init__(
        self,
        members: Iterable[str] = (),
        fault: Callable[[str, int], Exception | None] = never,
        *,
        head: Head | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.members = frozenset(members)
        self.unsettled_before: dict[str, Direction] = {}
        self.rows: dict[int, Row] = {}
        self._rows_of: dict[str, list[int]] = {}
        self.steps: list[Step] = []
        self.rejected: list[str] = []
        self.is_complete = False
        self.recorded: list[object] = []
        self.adopted: list[Adoption] = []
        self.unmatched = 0
        self.lease: Lease = FakeLease()
        self.mutex = threading.RLock()
        self._head = head or Head("lineage", 7, "id", completed=True)
        self._clock = clock or FakeClock()
        self._fault = fault
        self._calls: dict[str, int] = {}
        self._last = 0

    # --- what a HeldSegment does

    def head(self) -> Head:
        self._write("head")
        return self._head

    def now(self) -> float:
        return self._clock()

    def intend(self, batches: Sequence[Batch]) -> list[int]:
        with self.mutex:
            self._write("intend")
            return [self._insert("intend", batch, None) for batch in batches]

    def retry(self, seq: int) -> None:
        with self.mutex:
            self._write("retry")
            row = self.rows[seq]
            assert row.outcome is None
            self.rows[seq] = replace(row, attempts=row.attempts + 1)
            self.steps.append(Step("retry", seq))

    def settle(self, answers: Sequence[tuple[int, Answer]]) -> None:
        with self.mutex:
            self._write("settle")
            for seq, answer in answers:
                self._settle_one(seq, answer)
                self.steps.append(Step("settle", seq, detail=answer.fate))

    def split(self, seq: int, answer: Answer, parts: Sequence[Batch]) -> list[int]:
        with self.mutex:
            self._write("split")
            row = self.rows[seq]
            assert sorted(member for part in parts for member in part.ids) == sorted(row.batch.ids)
            doubt = row.unknown_at if answer.unknown_at is None else answer.unknown_at
            self._settle_one(seq, answer)
            self.steps.append(Step("split", seq, detail=answer.fate))
            return [self._insert("part", part, doubt) for part in parts]

    def reject(self, ids: Sequence[str]) -> None:
        self._write("reject")
        self.rejected += ids
        self.steps.append(Step("reject"))

    def fold(self) -> None:
        self._write("fold")
        self.steps.append(Step("fold"))

    def record(self, findings: Any) -> None:
        self._write("record")
        self.recorded.append(findings)
        self.steps.append(Step("record"))

    def adopt(self, adoption: Adoption) -> None:
        self._write("adopt")
        self.adopted.append(adoption)

    def census(self) -> Census:
        self._write("census")
        words = [self.status(member).word for member in self.known]
        return Census(words.count("stored"), words.count("unsettled"), self.unmatched)

    def complete(self) -> None:
        self._write("complete")
        self.is_complete = True
        self.steps.append(Step("complete"))

    # --- what a test asks

    @property
    def known(self) -> set[str]:
        sent = {member for row in self.rows.values() for member in row.batch.ids}
        return sent | self.members | set(self.unsettled_before)

    @property
    def intents(self) -> list[Row]:
        """Rows without an outcome."""
        return [row for row in self.rows.values() if row.outcome is None]

    def status(self, member: str) -> Status:
        """As the next run would see it: an intent without an outcome counts as unknown."""
        row = next((self.rows[seq] for seq in reversed(self._rows_of.get(member, ())) if seq in self.rows), None)
        if row is None:
            return self.status_before(member)
        if row.outcome != "acknowledged":
            return Status("unsettled", row.batch.direction)
        return Status("stored" if row.batch.direction is ADD else "removed")

    def status_before(self, member: str) -> Status:
        if member in self.unsettled_before:
            return Status("unsettled", self.unsettled_before[member])
        return Status("stored" if member in self.members else "absent")

    def change_from_outside(self) -> None:
        self._head = replace(self._head, serial=self._head.serial + 1)

    # --- how

    def _write(self, name: str) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        error = self._fault(name, self._calls[name])
        if error is not None:
            raise error

    def _insert(self, verb: str, batch: Batch, doubt: float | None) -> int:
        self._last += 1
        self.rows[self._last] = Row(self._last, batch, unknown_at=doubt)
        for member in batch.ids:
            self._rows_of.setdefault(member, []).append(self._last)
        self.steps.append(Step(verb, self._last, batch))
        return self._last

    def _settle_one(self, seq: int, answer: Answer) -> None:
        row = self.rows[seq]
        assert row.outcome is None, "settled twice"
        if answer.fate is Fate.ACKNOWLEDGED:
            doubt = row.unknown_at if answer.unknown_at is None else answer.unknown_at
            self.rows[seq] = replace(row, outcome="acknowledged", unknown_at=doubt)
        elif answer.unknown_at is not None:
            self.rows[seq] = replace(row, outcome="unknown", unknown_at=answer.unknown_at)
        else:
            del self.rows[seq]


@dataclass
class FakeLedger:
    """Gives one held segment. `refusal`: hold raises it; `farewell`: leaving raises it."""

    held: FakeHeld
    refusal: Exception | None = None
    farewell: Exception | None = None
    bound: int | None = None
    is_held: bool = False
    holds: int = 0

    @contextmanager
    def hold(self, target: Target, run_id: str, plan_id: str | None) -> Iterator[HeldSegment]:
        if self.refusal is not None:
            raise self.refusal
        self.holds += 1
        self.is_held = True
        try:
            yield self.held
        finally:
            self.is_held = False
        if self.farewell is not None:
            raise self.farewell

    def environment(self, workspace: str) -> int | None:
        return self.bound

    def bind(self, workspace: str, environment_id: int) -> None:
        assert self.bound in (None, environment_id)
        self.bound = environment_id

    def begin(self, run_id: str, workspace: str, command: str, allowed: Sequence[str], plan_id: str | None) -> None:
        raise NotImplementedError

    def end(self, run_id: str, workspace: str, exit_code: int, document: str, segments: Run) -> None:
        raise NotImplementedError

    def spend(self, plan_id: str) -> None:
        raise NotImplementedError


# --- the Track API ------------------------------------------------------------------------------------------------


class Reply(Enum):
    """What one attempt meets."""

    OK = auto()
    LOST = auto()
    """Applied, and the answer is lost."""
    VANISHED = auto()
    """Not applied, and the answer is lost."""
    BUSY = auto()
    """429."""
    BAD = auto()
    """400."""
    LARGE = auto()
    """413."""
    DENIED = auto()
    """401."""
    CRASH = auto()
    """A defect in the client; what left has been applied."""


Script = Callable[[Batch, int], Reply]
"""From a batch and the number of the attempt, from 1, to what it meets."""

RETRIED = (Reply.LOST, Reply.VANISHED, Reply.BUSY)
ENDINGS = {Reply.BAD: Fate.BAD_REQUEST, Reply.LARGE: Fate.TOO_LARGE, Reply.DENIED: Fate.STOPPED}
MOST_ATTEMPTS = 5


def always(reply: Reply) -> Script:
    return lambda batch, attempt: reply


def in_turn(*replies: Reply) -> Script:
    """The first attempt of all meets the first reply, and so on; OK from then on."""
    left = list(replies)
    return lambda batch, attempt: left.pop(0) if left else Reply.OK


def by_batch(*replies: Reply) -> Script:
    """Each request meets its own reply at all attempts; OK from then on."""
    left = list(replies)
    now = [Reply.OK]

    def script(batch: Batch, attempt: int) -> Reply:
        if attempt == 1:
            now[0] = left.pop(0) if left else Reply.OK
        return now[0]

    return script


def poisoned(*ids: str) -> Script:
    """A batch with one of these ids gets a 400."""
    bad = frozenset(ids)
    return lambda batch, attempt: Reply.BAD if bad.intersection(batch.ids) else Reply.OK


class Crash(Exception):
    """Nobody foresaw it. Its words may hold an id."""


@dataclass
class FakeTrack:
    """A Customer.io that keeps the order of the house: it looks into the journal before each attempt."""

    held: FakeHeld
    script: Script = field(default_factory=lambda: always(Reply.OK))
    environment_id: int | None = 12345
    preflight_error: Exception | None = None
    preflights: int = 0
    watch: Callable[[Batch, int], None] = lambda batch, attempt: None
    """Called when an attempt has left, before its answer."""
    present: set[str] = field(default_factory=set)
    acknowledged: dict[str, Direction] = field(default_factory=dict)
    doubtful: dict[str, Direction] = field(default_factory=dict)
    """Ids of attempts of unknown outcome."""
    sent: list[Batch] = field(default_factory=list)
    """One for each attempt."""
    requests: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    directions: dict[str, Direction] = field(default_factory=dict)

    def preflight(self) -> int | None:
        self.preflights += 1
        if self.preflight_error is not None:
            raise self.preflight_error
        return self.environment_id

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> Answer:
        unknown_at: float | None = None
        self.requests += 1
        for attempt in range(1, MOST_ATTEMPTS + 1):
            if not gate.admit(attempt):
                held = Fate.NOT_STARTED if unknown_at is None else Fate.UNKNOWN
                return Answer(held, attempt - 1, unknown_at, "held")
            reply = self._attempt(batch, attempt)
            if reply in (Reply.LOST, Reply.VANISHED):
                unknown_at = self.held.now()
            if reply is Reply.OK:
                return Answer(Fate.ACKNOWLEDGED, attempt, unknown_at)
            if reply in ENDINGS:
                return Answer(ENDINGS[reply], attempt, unknown_at, "the API's words", "a hint")
        fate = Fate.REFUSED if unknown_at is None else Fate.UNKNOWN
        return Answer(fate, MOST_ATTEMPTS, unknown_at, "no answer")

    def _attempt(self, batch: Batch, attempt: int) -> Reply:
        with self.held.mutex:
            self._depart(batch, attempt)
        try:
            self.watch(batch, attempt)
            with self.held.mutex:
                reply = self.script(batch, attempt)
                self._arrive(batch, reply)
        finally:
            with self.held.mutex:
                self.in_flight -= 1
        if reply is Reply.CRASH:
            raise Crash(f"no such luck for {batch.ids[0]}")
        return reply

    def _depart(self, batch: Batch, attempt: int) -> None:
        """No byte leaves before the journal knows of this attempt."""
        assert 0 < len(batch.ids) <= 1000
        assert any(row.batch.ids == batch.ids and row.attempts == attempt for row in self.held.intents)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.sent.append(batch)
        self.held.steps.append(Step("send", batch=batch))
        for member in batch.ids:
            assert self.directions.setdefault(member, batch.direction) is batch.direction, "sent both ways"

    def _arrive(self, batch: Batch, reply: Reply) -> None:
        if reply in (Reply.OK, Reply.LOST, Reply.CRASH):
            change = self.present.update if batch.direction is ADD else self.present.difference_update
            change(batch.ids)
        if reply is Reply.OK:
            self.acknowledged.update(dict.fromkeys(batch.ids, batch.direction))
        elif reply in (Reply.LOST, Reply.VANISHED, Reply.CRASH):
            self.doubtful.update(dict.fromkeys(batch.ids, batch.direction))


# --- pools --------------------------------------------------------------------------------------------------------


class InlinePool(Executor):
    """Runs everything at submit."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LazyPool(Executor):
    """Runs what was submitted while somebody waits, one at a time, in an order that `choose` gives.

    `wait` stands in for `concurrent.futures.wait`: so many requests are in flight as would be with threads, and a test
    can be repeated. `choose(n)` gives a number below n.
    """

    def __init__(self, choose: Callable[[int], int] = lambda number: 0) -> None:
        self._choose = choose
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.most_waiting = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        self.most_waiting = max(self.most_waiting, len(self._waiting))
        return future

    def wait(self, futures: Iterable[Future[Any]], return_when: str = "ALL_COMPLETED") -> Any:
        futures = list(futures)
        number = 1 + self._choose(len(self._waiting)) if return_when == "FIRST_COMPLETED" and self._waiting else 0
        for _ in range(number or len(self._waiting)):
            self._run(*self._waiting.pop(self._choose(len(self._waiting))))
        return wait_for_threads(futures, timeout=0, return_when=return_when)

    @staticmethod
    def _run(future: Future[Any], call: Callable[[], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)


# --- sets ---------------------------------------------------------------------------------------------------------


@dataclass
class FakeComparison:
    """Sets side by side, made from lists of ids."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    resends: frozenset[str] = frozenset()
    counts: Counts | None = None
    head: Head = field(default_factory=lambda: Head("lineage", 7, "id", completed=True))
    engine: str = "local"
    size: int = 1000
    compare_error: Exception | None = None
    batches_error: Exception | None = None
    """Raised when all additions were given."""
    drifts: list[DriftCounts] = field(default_factory=list)
    """What each look finds; the last one stays."""
    loads: list[tuple[int, int]] = field(default_factory=list)
    sealed: list[Batch] | None = None
    is_closed: bool = False

    def compare(self) -> Counts:
        if self.compare_error is not None:
            raise self.compare_error
        return self.counts or self.count()

    def count(self) -> Counts:
        resend = len(self.resends)
        stored = len(self.remove)
        return Counts(
            desired=len(self.add), stored=stored, add=len(self.add) - resend, remove=len(self.remove), resend=resend
        )

    def resume(self, sealed: Iterable[Batch]) -> Counts:
        self.sealed = list(sealed)
        return self.compare()

    def batches(self, direction: Direction) -> Iterator[Batch]:
        ids = self.add if direction is ADD else self.remove
        for start in range(0, len(ids), self.size):
            part = tuple(ids[start : start + self.size])
            yield Batch(direction, part, self.resends.intersection(part))
        if self.batches_error is not None and direction is ADD:
            raise self.batches_error

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        return tuple((self.add if direction is ADD else self.remove)[:number])

    def load_remote(self, pages: Iterable[Sequence[Member]]) -> RemoteCount:
        members = [member for page in pages for member in page]
        people = {member.cio_id for member in members}
        unkeyed = sum(member.key is None for member in members)
        self.loads.append((len(people), len(members)))
        return RemoteCount(len(people), unkeyed, len(members) - len(people))

    def drift(self) -> DriftCounts:
        return self.drifts.pop(0) if len(self.drifts) > 1 else self.drifts[0]

    def examine(self) -> Findings:
        return Findings(*(lambda: iter(()) for _ in range(4)))

    def adoption(self, known_only: bool) -> Adoption:
        return Adoption(IdType.ID, *(lambda: iter(()) for _ in range(3)))


@dataclass
class FakeSets:
    """Opens one comparison."""

    comparison: FakeComparison
    error: Exception | None = None
    opened: int = 0

    @contextmanager
    def open(self, target: Target) -> Iterator[FakeComparison]:
        if self.error is not None:
            raise self.error
        self.opened += 1
        try:
            yield self.comparison
        finally:
            self.comparison.is_closed = True


# --- the App API --------------------------------------------------------------------------------------------------


@dataclass
class FakeApp:
    """Reads. `counts` are given one after another, the last one stays; `error` is raised by `broken` methods."""

    people: Sequence[Member] = ()
    counts: list[int] = field(default_factory=list)
    known: dict[int, RemoteSegment] = field(default_factory=lambda: {56: RemoteSegment(56, "VIP", manual=True)})
    error: Exception | None = None
    broken: frozenset[str] = frozenset({"segments", "used_by", "count", "members"})
    calls: list[str] = field(default_factory=list)

    def segments(self) -> dict[int, RemoteSegment]:
        self._call("segments")
        return self.known

    def used_by(self, segment_id: int) -> UsedBy:
        self._call("used_by")
        return UsedBy(campaigns=(3,))

    def count(self, segment_id: int) -> int:
        self._call("count")
        if not self.counts:
            return len({person.cio_id for person in self.people})
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]

    def members(self, segment_id: int, id_type: IdType) -> Iterator[list[Member]]:
        self._call("members")
        return (list(self.people[start : start + 2]) for start in range(0, len(self.people), 2))

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None and name in self.broken:
            raise self.error


def make_people(number: int) -> list[Member]:
    return [Member(f"cio{index}", f"id{index:06}") for index in range(number)]


def own(exclusive: bool) -> Ownership:
    return Ownership.EXCLUSIVE if exclusive else Ownership.TRACKED


# --- the rest -----------------------------------------------------------------------------------------------------


class FakeReporter:
    """Keeps what it is told. `hook` is called with each event first."""

    def __init__(self, hook: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[Event] = []
        self._hook = hook

    def tell(self, event: Event) -> None:
        self.events.append(event)
        self._hook(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def failing(name: str, *numbers: int, error: Exception | None = None) -> Callable[[str, int], Exception | None]:
    """A fault: these calls of one method fail (all of them, if none is named)."""
    raised = error or StateError("the state can't be written", "look at the disk")
    return lambda called, number: raised if called == name and (not numbers or number in numbers) else None


def failing_from(name: str, number: int, error: Exception | None = None) -> Callable[[str, int], Exception | None]:
    """A fault: from this call of one method on, every write fails."""
    raised = error or StateError("the state can't be written", "look at the disk")
    broken = [False]

    def fault(called: str, count: int) -> Exception | None:
        broken[0] = broken[0] or (called == name and count >= number)
        return raised if broken[0] and called != "head" else None

    return fault
