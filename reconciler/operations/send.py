"""Sending one segment's batches: the intent first, then the request, then its outcome."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from reconciler.customerio import Gate, Track
from reconciler.diff.base import Comparison
from reconciler.errors import DestinationError, LeaseLost, ReconcileError, StateError, as_known
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.events import Event, Sending
from reconciler.models.run import Tally
from reconciler.models.spec import Target
from reconciler.operations.context import Stop

if TYPE_CHECKING:
    from reconciler.state.locked_segment import LockedSegment

log = logging.getLogger(__name__)

MOST_EXHAUSTED = 3
"""After so many batches in a row that used up their attempts, a segment stops: a dead API must not take hours."""

MOST_CAUSES = 3
"""So many different causes of failed batches are named, the most frequent first."""

COMPACT_EVERY = 64
"""Batches between two folds: some 100 ms of work, while those in flight go on."""

NOT_STARTED = BatchResult(Outcome.NOT_STARTED)


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
    """Lets an attempt start if its segment goes on, the lease lasts longer than the attempt can, and the state has
    shown it as ours a short while ago.

    `halt` is told why the segment can't go on.
    """

    def __init__(
        self,
        held: "LockedSegment",
        parcel: Parcel,
        target: Target,
        is_halted: Callable[[], bool],
        halt: Callable[[ReconcileError], None],
    ) -> None:
        self._held = held
        self._parcel = parcel
        self._target = target
        self._is_halted = is_halted
        self._halt = halt

    def admit(self, attempt: int) -> bool:
        """Record the attempt and let it start. A state that can't record it lets nothing start."""
        return (attempt == 1 or self._is_recorded()) and self._may_start()  # in this order: recording may take long

    def _may_start(self) -> bool:
        if self._is_halted():
            return False
        if self._held.lease.covers(self._target.spec.destination.timeout) and self._held.lease.has_fresh_fence():
            return True
        self._halt(
            LeaseLost(
                f"{self._target.where}: the lock could not be renewed, so no further request was started",
                "run it again: what was sent is in the journal",
            )
        )
        return False

    def _is_recorded(self) -> bool:
        try:
            self._held.retry(self._parcel.seq)
        except StateError as error:
            self._halt(error)
            return False
        return True


class Delivery:
    """The sending of one segment: each batch is in the journal before it leaves.

    At most `concurrency` are on their way or not recorded yet, so that none starts before the state was written since
    the answer before it. As many more have their intents ready.
    """

    def __init__(
        self,
        target: Target,
        comparison: Comparison,
        held: "LockedSegment",
        track: Track,
        pool: Executor,
        stop: Stop,
        report: Callable[[Event], None],
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
        self._report = report
        self._total = total
        self._done = 0
        self._at_once = target.spec.destination.concurrency
        self._window = 2 * self._at_once
        self._suspicion = Suspicion(accepted_before)
        self._fresh: Iterator[Batch] = iter(())
        self._pushed_back: deque[Batch] = deque()
        self._ready: deque[Parcel] = deque()
        """Wait for room."""
        self._flying: dict[Future[BatchResult], Parcel] = {}
        self._landed: deque[tuple[Parcel, BatchResult]] = deque()
        """Answered, and not recorded yet."""
        self._roots = 0
        self._exhausted = 0
        self._last_exhausted = NOT_STARTED
        self._last_refusal = NOT_STARTED
        self._uncompacted = 0
        self.tally = Tally()
        self.error: ReconcileError | None = None
        self._unknown = 0
        """Ids of which nobody knows whether they arrived, as their batches used up their attempts."""
        self._unsent = 0
        """Ids that certainly did not arrive, as their batches used up their attempts."""
        self._causes: Counter[str] = Counter()
        """Why batches used up their attempts, and how many."""

    def run(self) -> None:
        """Send the removals, then the additions. What went wrong is in `error`; the journal has every outcome."""
        try:
            self._send()
        except Exception as error:  # whatever it was, what is in flight must not be left alone
            self._fail(error)
            self._land()
        self._conclude()

    @property
    def rejected(self) -> list[str]:
        """Ids that were refused by themselves."""
        return [] if self._suspicion.is_about_the_request else self._suspicion.rejected

    def _send(self) -> None:
        for direction in (Direction.REMOVE, Direction.ADD):
            self._fresh = iter(self._comparison.batches(direction))
            self._drain()

    def _is_halted(self) -> bool:
        return self.error is not None or self._stop.is_set()

    def _drain(self) -> None:
        """Send until nothing is left; once halted, only bring home what is in flight."""
        while True:
            self._record()
            if not self._is_halted():
                self._launch()
            if not self._flying:
                break
            if not self._is_halted():
                self._fold_some()  # while the requests are on their way
            done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
            self._collect(done)
        self._withdraw()

    # --- out ------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        if self._suspicion.wants_probe:
            if self._flying:
                return  # what is on its way may clear it up
            probe = self._make_probe()
            if probe is not None:
                self._submit(probe)  # and nothing else, until its answer is here
                return
        self._fill_window()

    def _fill_window(self) -> None:
        room = self._window - len(self._flying) - len(self._ready)
        self._ready.extend(self._intend(self._next_batches(room)))
        while self._ready and len(self._flying) < self._at_once:
            self._submit(self._ready[0])
            self._ready.popleft()

    def _next_batches(self, room: int) -> list[Batch]:
        if room < self._window // 2:
            return []  # refilled by halves, so that intents share a commit
        batches = (self._next_batch() for _ in range(room))
        return [batch for batch in batches if batch is not None]

    def _next_batch(self) -> Batch | None:
        return self._pushed_back.popleft() if self._pushed_back else next(self._fresh, None)

    def _intend(self, batches: Sequence[Batch]) -> list[Parcel]:
        if not batches:
            return []
        numbers = self._held.intend(batches)
        parcels = []
        for seq, batch in zip(numbers, batches, strict=True):
            self._roots += 1
            parcels.append(Parcel(seq, batch, self._roots))
        return parcels

    def _make_probe(self) -> Parcel | None:
        """One id of another batch by itself; None where there is no other batch."""
        batch = self._next_batch()
        if batch is None:
            return self._cut_probe()
        first, rest = batch.cut(1)
        if rest.ids:
            self._pushed_back.appendleft(rest)
        (parcel,) = self._intend([first])
        return replace(parcel, is_probe=True)

    def _cut_probe(self) -> Parcel | None:
        """A probe from a part of another batch than the one that was cut last."""
        other = next((parcel for parcel in self._ready if parcel.root != self._ready[0].root), None)
        if other is None:
            return None
        parts = [part for part in other.batch.cut(1) if part.ids]
        probe, *rest = self._cut(other, NOT_STARTED, parts)
        self._ready.remove(other)
        self._ready.extendleft(rest)
        return replace(probe, is_probe=True)

    def _cut(self, parcel: Parcel, answer: BatchResult, parts: Sequence[Batch]) -> list[Parcel]:
        """Replace a batch by parts of it, whose intents are durable then."""
        numbers = self._held.split(parcel.seq, answer, parts)
        doubtful = parcel.is_doubtful or answer.unknown_at is not None
        pairs = zip(numbers, parts, strict=True)
        return [Parcel(seq, part, parcel.root, is_doubtful=doubtful) for seq, part in pairs]

    def _submit(self, parcel: Parcel) -> None:
        gate: Gate = BatchGate(self._held, parcel, self._target, self._is_halted, self._halt)
        future = self._pool.submit(self._track.send, self._target.segment, parcel.batch, gate)
        self._flying[future] = parcel

    # --- in -------------------------------------------------------------------------------------------------------

    def _collect(self, done: Set[Future[BatchResult]]) -> None:
        """Take the answers of the requests that have ended, in the order in which these were submitted."""
        for future in [each for each in self._flying if each in done]:
            parcel, error = self._flying.pop(future), future.exception()
            if error is not None:
                self._lose(parcel, error)
                continue
            answer = future.result()
            self._landed.append((parcel, answer))
            requests, retries = self.tally.requests + answer.attempts, max(answer.attempts - 1, 0)
            self.tally = replace(self.tally, requests=requests, retries=self.tally.retries + retries)

    def _lose(self, parcel: Parcel, error: BaseException) -> None:
        """Nobody foresaw it. The intent stays in the journal without an outcome: it may have been applied."""
        self._count_unsettled([parcel])
        self._fail(error)

    def _record(self) -> None:
        """Record the outcomes of what has landed, the whole ones in one commit, and draw the conclusions."""
        if not self._landed:
            return
        whole = [(parcel, answer) for parcel, answer in self._landed if not must_split(parcel, answer)]
        if whole:
            self._held.settle([(parcel.seq, answer) for parcel, answer in whole])
        self._landed = deque(pair for pair in self._landed if must_split(*pair))
        for parcel, answer in whole:
            self._count(parcel, answer)
            self._judge(parcel, answer)
        while self._landed:
            self._halve(*self._landed[0])
            self._landed.popleft()
        self._report(Sending(self._target, self._done, self._total))
        self._uncompacted += len(whole)

    def _fold_some(self) -> None:
        """Fold now and then, so that the journal of a large fill stays short."""
        if self._uncompacted >= COMPACT_EVERY:
            self._held.compact()
            self._uncompacted = 0

    def _count(self, parcel: Parcel, answer: BatchResult) -> None:
        self._done += len(parcel.batch.ids)
        if answer.outcome is Outcome.ACKNOWLEDGED:
            self.tally = count_acknowledged(self.tally, parcel.batch)
        elif answer.unknown_at is not None or parcel.is_doubtful:
            self._count_unsettled([parcel])

    def _count_unsettled(self, parcels: Sequence[Parcel]) -> None:
        number = sum(len(parcel.batch.ids) for parcel in parcels)
        self.tally = replace(self.tally, unsettled=self.tally.unsettled + number)

    def _judge(self, parcel: Parcel, answer: BatchResult) -> None:
        match answer.outcome:
            case Outcome.ACKNOWLEDGED:
                self._exhausted = 0
                self._suspicion.acknowledge()
            case Outcome.UNKNOWN | Outcome.REFUSED:
                self._exhaust(parcel, answer)
            case Outcome.BAD_REQUEST | Outcome.TOO_LARGE:
                self._suspicion.fail_id(parcel.batch.ids[0], parcel.is_probe)
                self._refuse(answer)
            case Outcome.STOPPED:
                self._halt(DestinationError(f"{self._target.where}: {answer.message}", answer.hint, code="refused"))
            case Outcome.NOT_STARTED:
                pass  # whoever held it back has said why
            case _:
                assert_never(answer.outcome)

    def _exhaust(self, parcel: Parcel, answer: BatchResult) -> None:
        if self._is_halted():
            return  # its attempts were cut short
        self._exhausted += 1
        self._causes[answer.message] += 1
        self._last_exhausted = answer
        if answer.outcome is Outcome.UNKNOWN or parcel.is_doubtful:
            self._unknown += len(parcel.batch.ids)
        else:
            self._unsent += len(parcel.batch.ids)
        if self._exhausted >= MOST_EXHAUSTED:
            known = "whether they arrived is unknown" if self._unknown else "none of them arrived"
            self._halt(self._out_of_attempts(f"stopped, as {MOST_EXHAUSTED} batches in a row failed; {known}"))

    def _halve(self, parcel: Parcel, answer: BatchResult) -> None:
        """Cut a batch in two. What was cut last is sent first: few parts are open at a time, and bad ids show soon."""
        halves = self._cut(parcel, answer, parcel.batch.halve())
        self._ready.extendleft(reversed(halves))
        if answer.outcome is Outcome.BAD_REQUEST:
            self._suspicion.fail_batch()
        self._refuse(answer)

    def _refuse(self, answer: BatchResult) -> None:
        self._exhausted = 0  # it answers
        self._last_refusal = answer
        if self._suspicion.is_about_the_request:
            self._halt(self._about_the_request(answer))

    def _about_the_request(self, answer: BatchResult) -> DestinationError:
        return DestinationError(
            f"{self._target.where}: Customer.io refuses the request as a whole: {answer.message}",
            "check that the segment is a manual one, and that the workspace knows people by "
            f"{self._target.segment.id_type} (`reconcile validate --connect` looks)",
            code="refused",
        )

    # --- the end --------------------------------------------------------------------------------------------------

    def _halt(self, error: ReconcileError) -> None:
        """Let nothing more start, because of this. The first reason counts; gates call it from their threads."""
        self.error = self.error or error

    def _fail(self, error: BaseException) -> None:
        log.debug("sending %s failed", self._target.label, exc_info=error)
        self._halt(as_known(error))

    def _land(self) -> None:
        """Bring home what is in flight, and record it as far as the state can take it."""
        try:
            self._drain()
        except Exception as error:
            self._fail(error)
            self._abandon()

    def _withdraw(self) -> None:
        """Take back the intents whose request never left."""
        if not self._ready:
            return
        self._held.settle([(parcel.seq, NOT_STARTED) for parcel in self._ready])
        self._count_unsettled([parcel for parcel in self._ready if parcel.is_doubtful])
        self._ready.clear()

    def _abandon(self) -> None:
        """The state can't be written: what is in flight ends by itself, and stays in the journal as an intent."""
        for future in [each for each in self._flying if each.cancel()]:
            self._ready.append(self._flying.pop(future))
        wait(self._flying)
        self._collect(set(self._flying))
        self._count_unsettled([parcel for parcel, _ in self._landed])
        self._count_unsettled([parcel for parcel in self._ready if parcel.is_doubtful])
        self._landed.clear()
        self._ready.clear()

    def _conclude(self) -> None:
        self._suspicion.conclude()
        self.tally = replace(self.tally, rejected=len(self.rejected))
        if self._is_halted():
            return
        if self._suspicion.is_about_the_request:
            self._halt(self._about_the_request(self._last_refusal))
        elif self._causes:
            outcomes = [
                f"whether {self._unknown:,} ids arrived is unknown" if self._unknown else "",
                f"{self._unsent:,} ids did not arrive" if self._unsent else "",
            ]
            self._halt(self._out_of_attempts(f"all attempts were used up; {'; '.join(filter(None, outcomes))}"))

    def _out_of_attempts(self, what: str) -> DestinationError:
        """Name the most frequent causes of batches that used up their attempts."""
        causes = [
            f"{number} {'batch' if number == 1 else 'batches'}: {cause}"
            for cause, number in self._causes.most_common(MOST_CAUSES)
        ]
        hint = self._last_exhausted.hint
        return DestinationError(
            f"{self._target.where}: {what} ({'; '.join(causes)})",
            f"{hint}; the next run sends these ids again" if hint else "run it again: these ids are sent again",
            code="exhausted",
        )


def must_split(parcel: Parcel, answer: BatchResult) -> bool:
    """Tell whether a batch has to be cut in two, to find what is wrong with it."""
    return answer.outcome in (Outcome.BAD_REQUEST, Outcome.TOO_LARGE) and len(parcel.batch.ids) > 1


def count_acknowledged(tally: Tally, batch: Batch) -> Tally:
    """Add an acknowledged batch to a tally."""
    number = len(batch.ids)
    if batch.direction is Direction.REMOVE:
        return replace(tally, removed=tally.removed + number)
    resent = len(batch.resends)
    return replace(tally, added=tally.added + number - resent, resent=tally.resent + resent)


# --- How long to wait until a request that was given up, or only accepted, has surely taken effect.

LEAST_AFTER_TAKEOVER = 2.0
"""Seconds: a holder that lost its lock may start requests for a second, and they need as long to arrive."""


def seconds_left(attempted_at: float | None, held: "LockedSegment", settle: float) -> float:
    """Give the seconds until `settle` has passed since an attempt, and since the lock was taken from a living holder.

    Never more than `settle` (two seconds at least after such a takeover), whatever a clock said.
    """
    now, left = held.now(), 0.0
    if attempted_at is not None:
        left = min(attempted_at + settle - now, settle)
    if held.taken_over_at is not None:
        least = max(settle, LEAST_AFTER_TAKEOVER)
        left = max(left, min(held.taken_over_at + least - now, least))
    return max(left, 0.0)


# --- Telling whether a 400 is about some ids or about the request as a whole.

MOST_REJECTED = 100
"""From so many rejected ids on, the 400 is about the request."""


class Suspicion:
    """Keeps what the answers of one segment have shown so far.

    A batch that gets a 400 is halved until the bad ids are alone. That must not go on for a request that can't succeed
    at all (a data-driven segment, an id type that the workspace lacks). One acknowledged request clears the suspicion;
    when three batches fail without one (say, a batch and both its halves), a single id of another batch is probed.
    """

    def __init__(self, accepted_before: bool) -> None:
        self._accepted_before = accepted_before
        self._acknowledged = False
        self._failed = 0
        self.rejected: list[str] = []
        self.is_about_the_request = False

    @property
    def wants_probe(self) -> bool:
        """Three batches failed, and nothing was acknowledged."""
        return self._failed >= 3 and not self._acknowledged

    def acknowledge(self) -> None:
        self._acknowledged = True

    def fail_batch(self) -> None:
        """A batch of several ids got a 400."""
        self._failed += 1

    def fail_id(self, member: str, is_probe: bool) -> None:
        """A single id got a 400."""
        self._failed += 1
        self.rejected.append(member)
        if is_probe or len(self.rejected) >= MOST_REJECTED:
            self.is_about_the_request = True

    def conclude(self) -> None:
        """All is sent: if nothing was ever accepted, the 400s were about the request."""
        if self.rejected and not self._acknowledged and not self._accepted_before:
            self.is_about_the_request = True
