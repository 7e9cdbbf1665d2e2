"""A Customer.io, a set engine and all else that the engine uses, in memory."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_threads
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from reconciler.customerio import Gate
from reconciler.models.batches import Batch, BatchResult, CreationResult, Direction, Outcome
from reconciler.models.comparison import Adoption, Counts, DriftCounts, Findings, Page, RemoteCount
from reconciler.models.events import Event
from reconciler.models.fields import Secret
from reconciler.models.freshness import DataTime
from reconciler.models.ids import IdType
from reconciler.models.plan import Head, RemoteSegment, UsedBy
from reconciler.models.spec import DestinationSettings, Ownership, Segment, Spec, StateSettings, Target
from tests.fakes.memory_state import ADD, FakeClock, FakeHeld, Step


def make_target(concurrency: int = 4, settle: float = 10.0, **segment: Any) -> Target:
    """A segment `vip` in workspace `production`; keywords are keys of the segment."""
    made = Segment(
        **{"name": "vip", "segment_id": 56, "query": "SELECT id", "source": "warehouse", "line": 7, **segment}
    )
    destination = DestinationSettings(
        workspace="production",
        site_id=Secret("site"),
        api_key=Secret("key"),
        app_api_key=Secret("app"),
        concurrency=concurrency,
        settle=settle,
    )
    return Target(
        Spec(
            path=Path("spec.yaml"),
            sources={},
            destination=destination,
            state=StateSettings(url=Secret("sqlite://")),
            segments=(made,),
        ),
        made,
    )


def name_ids(number: int, prefix: str = "id") -> list[str]:
    return [f"{prefix}{index:06}" for index in range(number)]


# --- time ---------------------------------------------------------------------------------------------------------


class FakeStop(threading.Event):
    """A stop that waits without taking time; `sets_after`: number of waits until somebody stops the run."""

    def __init__(self, clock: FakeClock | None = None, sets_after: int | None = None) -> None:
        super().__init__()
        self._clock = clock or FakeClock()
        self._sets_after = sets_after
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self.waits.append(timeout)
            self._clock.seconds += timeout
            if self._sets_after is not None and len(self.waits) >= self._sets_after:
                self.set()
        return self.is_set()


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
ENDINGS = {Reply.BAD: Outcome.BAD_REQUEST, Reply.LARGE: Outcome.TOO_LARGE, Reply.DENIED: Outcome.STOPPED}
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
    """A Customer.io that checks the order of work: it reads the journal before each attempt."""

    held: FakeHeld
    script: Script = field(default_factory=lambda: always(Reply.OK))
    environment_id: int | None = 12345
    preflight_error: Exception | None = None
    preflights: int = 0
    asked: int = 0
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
    closes_after: int | None = None
    """Attempts of all requests after which none can succeed."""

    def check_open(self) -> None:
        """It is asked by the operation's context, which this stands in for."""

    def preflight(self) -> int | None:
        self.preflights += 1
        if self.preflight_error is not None:
            raise self.preflight_error
        return self.environment_id

    def ask_environment(self) -> int | None:
        self.asked += 1
        return self.environment_id

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> BatchResult:
        unknown_at: float | None = None
        self.requests += 1
        for attempt in range(1, MOST_ATTEMPTS + 1):
            held = Outcome.NOT_STARTED if unknown_at is None else Outcome.UNKNOWN
            if self.closes_after is not None and len(self.sent) >= self.closes_after:
                return BatchResult(held, attempt - 1, unknown_at, "the API is gone", "see why", is_closed=True)
            if not gate.try_start(attempt):
                return BatchResult(held, attempt - 1, unknown_at, "held")
            reply = self._attempt(batch, attempt)
            if reply in (Reply.LOST, Reply.VANISHED):
                unknown_at = self.held.now()
            if reply is Reply.OK:
                return BatchResult(Outcome.ACKNOWLEDGED, attempt, unknown_at)
            if reply in ENDINGS:
                return BatchResult(ENDINGS[reply], attempt, unknown_at, "the API's words", "a hint")
        outcome = Outcome.REFUSED if unknown_at is None else Outcome.UNKNOWN
        return BatchResult(outcome, MOST_ATTEMPTS, unknown_at, "no answer")

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

    `wait` stands in for `concurrent.futures.wait`: as many requests are in flight as with threads, and a test
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


@dataclass(frozen=True)
class FakeChanges:
    """What a comparison found."""

    engine: str
    head: Head
    counts: Counts
    data_time: DataTime | None
    batches: Callable[[Direction], Iterator[Batch]]
    already_there: Callable[[], Iterator[list[str]]] = lambda: iter(())
    examples: Callable[[Direction, int], tuple[str, ...]] = lambda direction, number: ()
    stored_additions: Callable[[], Iterator[list[str]]] = lambda: iter(())


@dataclass
class FakeComparison:
    """Sets side by side, made from lists of ids."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    resends: frozenset[str] = frozenset()
    there: Sequence[str] = ()
    counts: Counts | None = None
    head: Head = field(default_factory=lambda: Head("lineage", 7, "id", completed=True))
    engine: str = "local"
    data_time: DataTime | None = None
    size: int = 1000
    compare_error: Exception | None = None
    batches_error: Exception | None = None
    """Raised when all additions were given."""
    drifts: list[DriftCounts] = field(default_factory=list)
    """What each look finds; the last one stays."""
    loads: list[tuple[int, int]] = field(default_factory=list)
    sealed: list[Batch] | None = None
    is_closed: bool = False

    def compare(self) -> FakeChanges:
        if self.compare_error is not None:
            raise self.compare_error
        counts = self.counts or self.count()
        rest = (self.data_time, self.batches, self.already_there, self.examples)
        return FakeChanges(self.engine, self.head, counts, *rest)

    def count(self) -> Counts:
        resend = len(self.resends)
        stored = len(self.remove)
        return Counts(
            desired=len(self.add), stored=stored, add=len(self.add) - resend, remove=len(self.remove), resend=resend
        )

    def resume(self, sealed: Iterable[Batch]) -> FakeChanges:
        self.sealed = list(sealed)
        return self.compare()

    def batches(self, direction: Direction) -> Iterator[Batch]:
        ids = self.add if direction is ADD else self.remove
        for start in range(0, len(ids), self.size):
            part = tuple(ids[start : start + self.size])
            yield Batch(direction, part, self.resends.intersection(part))
        if self.batches_error is not None and direction is ADD:
            raise self.batches_error

    def already_there(self) -> Iterator[list[str]]:
        return iter([list(self.there)] if self.there else [])

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        return tuple((self.add if direction is ADD else self.remove)[:number])

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        members = [member for page in pages for member in zip(page.cio_ids, page.keys, strict=True)]
        people = {cio_id for cio_id, _ in members}
        unkeyed = sum(key is None for _, key in members)
        self.loads.append((len(people), len(members)))
        return RemoteCount(len(people), unkeyed)

    def drift(self) -> DriftCounts:
        return self.drifts.pop(0) if len(self.drifts) > 1 else self.drifts[0]

    def examine(self) -> Findings:
        return Findings(*(lambda: iter(()) for _ in range(4)))

    def adoption(self, known_only: bool) -> Adoption:
        return Adoption(IdType.ID, *(lambda: iter(()) for _ in range(5)))


@dataclass
class FakeSets:
    """Opens one comparison."""

    comparison: FakeComparison
    error: Exception | None = None
    opened: int = 0

    @contextmanager
    def begin(self, target: Target) -> Iterator[FakeComparison]:
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

    people: Sequence[tuple[str, str | None]] = ()
    counts: list[int] = field(default_factory=list)
    known: dict[int, RemoteSegment] = field(default_factory=lambda: {56: RemoteSegment(56, "VIP", manual=True)})
    error: Exception | None = None
    broken: frozenset[str] = frozenset({"segments", "used_by", "count", "members"})
    names: dict[int, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]:
        self._call("segments")
        return self.known

    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult:
        raise NotImplementedError

    def hurried(self, seconds: float, ended: threading.Event) -> "FakeApp":
        return self

    def close(self) -> None:
        pass

    def used_by(self, segment_id: int) -> UsedBy:
        self._call("used_by")
        return UsedBy(campaigns=(3,))

    def campaigns(self) -> dict[int, str]:
        self._call("campaigns")
        return self.names

    def count(self, segment_id: int) -> int:
        self._call("count")
        if not self.counts:
            return len({cio_id for cio_id, _ in self.people})
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        self._call("members")
        return (make_page(*self.people[start : start + 2]) for start in range(0, len(self.people), 2))

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None and name in self.broken:
            raise self.error


def make_people(number: int) -> list[tuple[str, str | None]]:
    return [(f"cio{index}", f"id{index:06}") for index in range(number)]


def make_page(*people: tuple[str, str | None]) -> Page:
    """A page with these people: their cio_id and key."""
    return Page([cio_id for cio_id, _ in people], [key for _, key in people])


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
