"""Sending one segment's batches: the intent first, then the request, then its outcome."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from typing import Protocol, assert_never

from reconciler.core.batches import Answer, Batch, Direction, Fate
from reconciler.core.events import Sending
from reconciler.core.run import Tally
from reconciler.core.spec import Target
from reconciler.engine.ports import Comparison, Gate, HeldSegment, Reporter, Track
from reconciler.engine.suspicion import Suspicion
from reconciler.errors import DestinationError, LeaseLost, ReconcileError, StateError

MOST_EXHAUSTED = 3
"""After so many batches in a row that used up their attempts, a segment stops: a dead API must not take hours."""

NOT_STARTED = Answer(Fate.NOT_STARTED)


class Stop(Protocol):
    """Set once the run is to stop; a threading.Event is one."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


@dataclass(frozen=True)
class Parcel:
    """A batch whose intent is durable. `root` numbers the batch that it was cut from."""

    seq: int
    batch: Batch
    root: int
    is_probe: bool = False
    is_doubtful: bool = False
    """An attempt that carried these ids as part of a larger batch has an unknown outcome."""


class BatchGate:
    """Lets an attempt start if the run is not stopping and the lease lasts longer than the attempt can."""

    def __init__(self, held: HeldSegment, seq: int, timeout: float, stop: Stop) -> None:
        self._held = held
        self._seq = seq
        self._timeout = timeout
        self._stop = stop

    def admit(self, attempt: int) -> bool:
        """Record the attempt and let it start. A state that can't record it lets nothing start."""
        if self._stop.is_set() or not self._held.lease.covers(self._timeout):
            return False
        if attempt > 1:
            try:
                self._held.retry(self._seq)
            except StateError:
                return False
        return not self._stop.is_set()


class Delivery:
    """The sending of one segment: at most `window` batches are on their way, and each is in the journal before."""

    def __init__(
        self,
        target: Target,
        comparison: Comparison,
        held: HeldSegment,
        track: Track,
        pool: Executor,
        stop: Stop,
        reporter: Reporter,
        *,
        total: int,
        accepted_before: bool,
    ) -> None:
        self._target = target
        self._comparison = comparison
        self._held = held
        self._track = track
        self._pool = pool
        self._stop = stop
        self._reporter = reporter
        self._total = total
        self._done = 0
        self._window = 2 * target.spec.destination.concurrency
        self._timeout = target.spec.destination.timeout
        self._suspicion = Suspicion(accepted_before)
        self._fresh: Iterator[Batch] = iter(())
        self._pushed_back: deque[Batch] = deque()
        self._parts: deque[Parcel] = deque()
        self._flying: dict[Future[Answer], Parcel] = {}
        self._roots = 0
        self._exhausted = 0
        self._last_refusal = NOT_STARTED
        self.tally = Tally()
        self.error: ReconcileError | None = None
        self.failures = 0
        """Ids whose batches used up their attempts."""

    def run(self) -> None:
        """Send the removals, then the additions. What went wrong is in `error`; the journal has every outcome."""
        try:
            for direction in (Direction.REMOVE, Direction.ADD):
                self._fresh = iter(self._comparison.batches(direction))
                self._drain()
                if self._is_halted:
                    break
        except ReconcileError as error:
            self._abandon(error)
        self._conclude()

    @property
    def rejected(self) -> list[str]:
        """Ids that were refused by themselves."""
        return [] if self._suspicion.is_about_the_request else self._suspicion.rejected

    @property
    def _is_halted(self) -> bool:
        return self.error is not None or self._stop.is_set()

    def _drain(self) -> None:
        while True:
            if not self._is_halted:
                self._launch()
            if not self._flying:
                break
            done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
            self._take_in([(self._flying[future], future.result()) for future in done])
            for future in done:
                del self._flying[future]
        self._withdraw()

    # --- out ------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        if self._suspicion.wants_probe:
            self._launch_probe()
        room = self._window - len(self._flying)
        while room > 0 and self._parts:
            self._submit(self._parts.popleft())
            room -= 1
        for parcel in self._intend(self._next_batches(room)):
            self._submit(parcel)

    def _next_batches(self, room: int) -> list[Batch]:
        if self._suspicion.holds_back:
            room = 0 if self._flying else 1
        elif room < self._window // 2:
            return []  # refilled by halves, so that intents share a commit
        batches = (self._next_batch() for _ in range(room))
        return [batch for batch in batches if batch is not None]

    def _next_batch(self) -> Batch | None:
        return self._pushed_back.popleft() if self._pushed_back else next(self._fresh, None)

    def _intend(self, batches: Sequence[Batch], *, is_probe: bool = False) -> list[Parcel]:
        if not batches:
            return []
        numbers = self._held.intend(batches)
        parcels = []
        for seq, batch in zip(numbers, batches, strict=True):
            self._roots += 1
            parcels.append(Parcel(seq, batch, self._roots, is_probe))
        return parcels

    def _launch_probe(self) -> None:
        """Send one id of another batch by itself, if there is another batch and nothing is on its way."""
        if self._flying:
            return
        self._suspicion.start_probe()
        batch = self._next_batch()
        if batch is not None:
            first, rest = batch.cut(1)
            if rest.ids:
                self._pushed_back.appendleft(rest)
            (probe,) = self._intend([first], is_probe=True)
            self._submit(probe)
            return
        failing = self._parts[0].root if self._parts else None
        other = next((parcel for parcel in self._parts if parcel.root != failing), None)
        if other is not None:
            self._parts.remove(other)
            first, rest = other.batch.cut(1)
            parts = [part for part in (first, rest) if part.ids]
            numbers = self._held.split(other.seq, NOT_STARTED, parts)
            cut = [replace(other, seq=seq, batch=part) for seq, part in zip(numbers, parts, strict=True)]
            self._parts.extendleft(reversed(cut[1:]))
            self._submit(replace(cut[0], is_probe=True))

    def _submit(self, parcel: Parcel) -> None:
        gate: Gate = BatchGate(self._held, parcel.seq, self._timeout, self._stop)
        future = self._pool.submit(self._track.send, self._target.segment, parcel.batch, gate)
        self._flying[future] = parcel

    # --- in -------------------------------------------------------------------------------------------------------

    def _take_in(self, answers: Sequence[tuple[Parcel, Answer]]) -> None:
        """Record the outcomes of some parcels, in one commit, and draw the conclusions."""
        whole = [(parcel, answer) for parcel, answer in answers if not self._must_split(parcel, answer)]
        if whole:
            self._held.settle([(parcel.seq, answer) for parcel, answer in whole])
        for parcel, answer in answers:
            self._count(parcel, answer)
            self._judge(parcel, answer)
        self._reporter.tell(Sending(self._target, self._done, self._total))

    @staticmethod
    def _must_split(parcel: Parcel, answer: Answer) -> bool:
        return answer.fate in (Fate.BAD_REQUEST, Fate.TOO_LARGE) and len(parcel.batch.ids) > 1

    def _count(self, parcel: Parcel, answer: Answer) -> None:
        tally, batch = self.tally, parcel.batch
        tally = replace(
            tally,
            requests=tally.requests + answer.attempts,
            retries=tally.retries + max(answer.attempts - 1, 0),
        )
        if answer.fate is Fate.ACKNOWLEDGED:
            tally = count_acknowledged(tally, batch)
        elif (answer.unknown_at is not None or parcel.is_doubtful) and not self._must_split(parcel, answer):
            tally = replace(tally, unsettled=tally.unsettled + len(batch.ids))
        self.tally = tally
        if not self._must_split(parcel, answer):
            self._done += len(batch.ids)

    def _judge(self, parcel: Parcel, answer: Answer) -> None:
        match answer.fate:
            case Fate.ACKNOWLEDGED:
                self._exhausted = 0
                self._suspicion.acknowledge()
            case Fate.UNKNOWN | Fate.REFUSED:
                self._exhaust(parcel, answer)
            case Fate.BAD_REQUEST | Fate.TOO_LARGE:
                self._divide(parcel, answer)
            case Fate.STOPPED:
                self._halt(DestinationError(f"{self._target.where}: {answer.message}", answer.hint, code="refused"))
            case Fate.NOT_STARTED:
                self._explain_no_start()
            case _:
                assert_never(answer.fate)

    def _exhaust(self, parcel: Parcel, answer: Answer) -> None:
        self._exhausted += 1
        self.failures += len(parcel.batch.ids)
        if self._exhausted >= MOST_EXHAUSTED:
            self._halt(
                DestinationError(
                    f"{self._target.where}: stopped after {MOST_EXHAUSTED} batches in a row failed: {answer.message}",
                    answer.hint or "run it again when Customer.io answers",
                    code="exhausted",
                )
            )

    def _divide(self, parcel: Parcel, answer: Answer) -> None:
        if len(parcel.batch.ids) == 1:
            self._suspicion.fail_id(parcel.batch.ids[0], parcel.is_probe)
        else:
            if answer.fate is Fate.BAD_REQUEST:
                self._suspicion.fail_batch()
            halves = parcel.batch.halve()
            numbers = self._held.split(parcel.seq, answer, halves)
            doubtful = parcel.is_doubtful or answer.unknown_at is not None
            cut = zip(numbers, halves, strict=True)
            self._parts.extend(Parcel(seq, half, parcel.root, is_doubtful=doubtful) for seq, half in cut)
        if self._suspicion.is_about_the_request:
            self._halt(self._about_the_request(answer))
        self._last_refusal = answer

    def _about_the_request(self, answer: Answer) -> DestinationError:
        return DestinationError(
            f"{self._target.where}: Customer.io refuses the request as a whole: {answer.message}",
            "check that the segment is a manual one, and that the workspace knows people by "
            f"{self._target.segment.id_type} (`reconcile validate --connect` looks)",
            code="refused",
        )

    def _explain_no_start(self) -> None:
        if self._stop.is_set():
            return
        self._halt(
            LeaseLost(
                f"{self._target.where}: the lock could not be renewed, so no further request was started",
                "run it again: what was sent is in the journal",
            )
        )

    # --- the end --------------------------------------------------------------------------------------------------

    def _halt(self, error: ReconcileError) -> None:
        self.error = self.error or error

    def _withdraw(self) -> None:
        """Take back the intents whose request never left."""
        if not self._parts:
            return
        self._held.settle([(parcel.seq, NOT_STARTED) for parcel in self._parts])
        doubtful = sum(len(parcel.batch.ids) for parcel in self._parts if parcel.is_doubtful)
        self.tally = replace(self.tally, unsettled=self.tally.unsettled + doubtful)
        self._parts.clear()

    def _abandon(self, error: ReconcileError) -> None:
        """The state can't be written: what is in flight ends by itself, and stays in the journal as an intent."""
        self._halt(error)
        for future in self._flying:
            future.cancel()
        wait(self._flying)
        flown = [parcel for future, parcel in self._flying.items() if not future.cancelled()]
        unknown = sum(len(parcel.batch.ids) for parcel in flown)
        self.tally = replace(self.tally, unsettled=self.tally.unsettled + unknown)
        self._flying.clear()

    def _conclude(self) -> None:
        self._suspicion.conclude()
        if self._suspicion.is_about_the_request and self.error is None:
            self._halt(self._about_the_request(self._last_refusal))
        if self.failures and self.error is None:
            self._halt(
                DestinationError(
                    f"{self._target.where}: {self.failures:,} ids could not be sent: all attempts were used up",
                    "run it again: they are sent anew",
                    code="exhausted",
                )
            )
        self.tally = replace(self.tally, rejected=len(self.rejected))


def count_acknowledged(tally: Tally, batch: Batch) -> Tally:
    """Add an acknowledged batch to a tally."""
    number = len(batch.ids)
    if batch.direction is Direction.REMOVE:
        return replace(tally, removed=tally.removed + number)
    resent = len(batch.resends)
    return replace(tally, added=tally.added + number - resent, resent=tally.resent + resent)
