"""A state in memory, which writes down every step."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.errors import StateError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import Adoption
from reconciler.models.history import Reason
from reconciler.models.id_status import StateCounts
from reconciler.models.plan import Creation, Head
from reconciler.models.results import Run
from reconciler.models.spec import Target
from reconciler.state.locked_segment import LockedSegment

ADD, REMOVE = Direction.ADD, Direction.REMOVE


def never(_name: str, _number: int) -> Exception | None:
    return None


class FakeClock:
    """Seconds that pass only when somebody waits."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.seconds = now

    def __call__(self) -> float:
        return self.seconds


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


class NoCreations:
    """Of a segment that nobody asked Customer.io to create."""

    def find(self) -> Creation | None:
        return None


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

    def refresh_fence(self) -> bool:
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
        self.is_forgotten = False
        self.title: str | None = None
        self.recorded: list[object] = []
        self.found: list[str] = []
        self.snapshots: list[Adoption] = []
        self.unmatched = 0
        self.lingering = 0
        self.lease = FakeLease()
        self.taken_over_at: float | None = None
        self.latest_doubt: float | None = None
        self.latest_attempt: float | None = None
        self.mutex = threading.RLock()
        self.creations = NoCreations()
        self._head = head or Head("lineage", 7, "id", completed=True)
        self._clock = clock or FakeClock()
        self._fault = fault
        self._calls: dict[str, int] = {}
        self._last = 0

    # --- what a LockedSegment does

    def head(self) -> Head:
        self._write("head")
        return self._head

    def now(self) -> float:
        return self._clock()

    def doubtful_at(self) -> float | None:
        return self.latest_doubt

    def attempted_at(self) -> float | None:
        return self.latest_attempt

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

    def settle(self, answers: Sequence[tuple[int, BatchResult]]) -> None:
        with self.mutex:
            self._write("settle")
            for seq, answer in answers:
                self._settle_one(seq, answer)
                self.steps.append(Step("settle", seq, detail=answer.outcome))

    def split(self, seq: int, answer: BatchResult, parts: Sequence[Batch]) -> list[int]:
        with self.mutex:
            self._write("split")
            row = self.rows[seq]
            assert sorted(member for part in parts for member in part.ids) == sorted(row.batch.ids)
            doubt = row.unknown_at if answer.unknown_at is None else answer.unknown_at
            self._settle_one(seq, answer)
            self.steps.append(Step("split", seq, detail=answer.outcome))
            return [self._insert("part", part, doubt) for part in parts]

    def reject(self, ids: Sequence[str]) -> None:
        self._write("reject")
        self.rejected += ids
        self.steps.append(Step("reject"))

    def compact(self, known: Mapping[int, Batch] | None = None) -> None:
        self._write("compact")
        self.steps.append(Step("compact"))

    def bring_here(self, find: Callable[[], Iterator[list[str]]]) -> None:
        """It has all members."""

    def add_found(self, find: Callable[[], Iterator[list[str]]], reason: Reason) -> None:
        self._write("add_found")
        self.found += [member for ids in find() for member in ids]
        self.steps.append(Step("add_found"))

    def record(self, findings: Any, *, proves: bool = False) -> None:
        self._write("record")
        self.recorded.append(findings)
        self.steps.append(Step("record"))

    def replace_snapshot(self, adoption: Adoption) -> None:
        self._write("replace_snapshot")
        self.snapshots.append(adoption)

    def flush(self) -> None:
        self._write("flush")

    def count(self) -> StateCounts:
        self._write("count")
        words = [self.status(member).word for member in self.known]
        lingering = self.lingering if self.recorded else 0
        return StateCounts(words.count("stored"), words.count("unsettled") + lingering, self.unmatched)

    def complete(self) -> None:
        self._write("complete")
        self.is_complete = True
        self.steps.append(Step("complete"))

    def keep_listing(self, known: Head, title: str | None) -> None:
        self.title = title

    def forget(self) -> bool:
        self._write("forget")
        if self.count().held:
            return False
        self.is_forgotten = True
        self.steps.append(Step("forget"))
        return True

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

    def _settle_one(self, seq: int, answer: BatchResult) -> None:
        row = self.rows[seq]
        assert row.outcome is None, "settled twice"
        if answer.outcome is Outcome.ACKNOWLEDGED:
            doubt = row.unknown_at if answer.unknown_at is None else answer.unknown_at
            self.rows[seq] = replace(row, outcome="acknowledged", unknown_at=doubt)
        elif answer.unknown_at is not None:
            self.rows[seq] = replace(row, outcome="unknown", unknown_at=answer.unknown_at)
        else:
            del self.rows[seq]


@dataclass
class FakeStore:
    """Gives one held segment. `refusal`: hold raises it; `farewell`: leaving raises it."""

    held: FakeHeld
    refusal: Exception | None = None
    farewell: Exception | None = None
    bound: int | None = None
    is_held: bool = False
    holds: int = 0
    waits: list[bool] = field(default_factory=list)

    @contextmanager
    def lock(
        self,
        target: Target,
        run_id: str,
        command: str,
        plan_id: str | None,
        *,
        waits: bool = True,
        reason: Reason | None = None,
    ) -> Iterator[LockedSegment]:
        self.waits.append(waits)
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

    def environments(self) -> dict[str, int]:
        return {} if self.bound is None else {"production": self.bound}

    def bind(self, workspace: str, environment_id: int) -> dict[str, int]:
        assert (workspace, self.bound) == ("production", None)
        self.bound = environment_id
        return self.environments()

    def begin(self, run_id: str, workspace: str, command: str, allowed: Sequence[str], plan_id: str | None) -> None:
        raise NotImplementedError

    def end(self, run_id: str, workspace: str, exit_code: int, document: str, segments: Run) -> None:
        raise NotImplementedError

    def spend(self, plan_id: str) -> None:
        raise NotImplementedError


def failing(name: str, *numbers: int, error: Exception | None = None) -> Callable[[str, int], Exception | None]:
    """A fault: these calls of one method fail (all of them, if none is named)."""
    raised = error or StateError("the state can't be written", "look at the disk")
    return lambda called, number: raised if called == name and (not numbers or number in numbers) else None
