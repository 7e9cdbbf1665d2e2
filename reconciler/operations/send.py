"""Send one segment's batches: the intent first, then the request, then its outcome."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from reconciler.errors import DestinationError, LeaseLost, ReconcileError, StateError, as_known
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import Counts
from reconciler.models.events import Sending
from reconciler.models.results import Tally
from reconciler.models.spec import Target
from reconciler.operations.context import Parts

if TYPE_CHECKING:
    from reconciler.diff.comparison import Changes
    from reconciler.state.locked_segment import LockedSegment

log = logging.getLogger(__name__)

MAX_EXHAUSTED = 3
"""Batches in a row that used up their attempts, after which a segment stops: a dead API must not take hours."""

MAX_CAUSES = 3
"""Different causes of failed batches that are named, the most frequent first."""

MAX_REJECTED = 100
"""Rejected ids from which on a 400 is about the request as a whole."""

FAILURES_BEFORE_PROBE = 3
"""Batches or ids that got a 400 before a single id of another batch is sent by itself."""

COMPACT_EVERY = 64
"""Batches between two compactions: some 100 ms of work, while those in flight go on."""

LEAST_AFTER_TAKEOVER = 2.0
"""Seconds: a holder that lost its lock may start requests for a second, and they need as long to arrive."""

NOT_STARTED = BatchResult(Outcome.NOT_STARTED)


@dataclass(frozen=True)
class SendResult:
    """What sending came to. The state's journal has every outcome, or the intent where it could not be written."""

    tally: Tally
    rejected: tuple[str, ...] = ()
    """Ids that were refused by themselves."""
    error: ReconcileError | None = None


def send_batches(
    target: Target, counts: Counts, changes: "Changes", segment: "LockedSegment", parts: Parts
) -> SendResult:
    """Send the removals, then the additions, of `changes`. Raises nothing: what goes wrong is in the result."""
    return Sender(target, counts, changes, segment, parts).run()


def seconds_left(attempted_at: float | None, segment: "LockedSegment", settle: float) -> float:
    """Give the seconds until `settle` has passed since an attempt, and since the lock was taken from a living holder.

    Never more than `settle` (two seconds at least after such a takeover), whatever a clock said.
    """
    now, left = segment.now(), 0.0
    if attempted_at is not None:
        left = min(attempted_at + settle - now, settle)
    if segment.taken_over_at is not None:
        least = max(settle, LEAST_AFTER_TAKEOVER)
        left = max(left, min(segment.taken_over_at + least - now, least))
    return max(left, 0.0)


@dataclass(frozen=True)
class Pending:
    """A batch with a durable intent. `root` numbers the batch that it was cut from."""

    seq: int
    batch: Batch
    root: int
    is_probe: bool = False
    is_doubtful: bool = False
    """An attempt that carried these ids as part of a larger batch has an unknown outcome."""


class AttemptGate:
    """Lets an attempt start if its segment goes on, the lease lasts longer than the attempt can, and the state has
    shown it as ours a short while ago.

    `halt` is called with the reason why the segment can't go on.
    """

    def __init__(
        self,
        segment: "LockedSegment",
        seq: int,
        target: Target,
        is_halted: Callable[[], bool],
        halt: Callable[[ReconcileError], None],
    ) -> None:
        self._segment = segment
        self._seq = seq
        self._target = target
        self._is_halted = is_halted
        self._halt = halt

    def admit(self, attempt: int) -> bool:
        """Record the attempt and let it start. A state that can't record it lets nothing start."""
        if attempt > 1:
            try:
                self._segment.retry(self._seq)
            except StateError as error:
                self._halt(error)
                return False
        if self._is_halted():  # after the recording, which may take long
            return False
        lease = self._segment.lease
        if lease.covers(self._target.spec.destination.timeout) and lease.has_fresh_fence():
            return True
        self._halt(
            LeaseLost(
                f"{self._target.where}: the lock could not be renewed, so no further request was started",
                "run it again: what was sent is in the journal",
            )
        )
        return False


class BadRequests:
    """Decides whether the 400s of one segment are about some ids or about the request as a whole.

    A batch that gets a 400 is halved until the bad ids are alone. That must not go on for a request that can't succeed
    at all (a data-driven segment, an id type that the workspace lacks). One acknowledged request proves that it can;
    when three batches fail without one (say, a batch and both its halves), a single id of another batch is probed.
    """

    def __init__(self, accepted_before: bool) -> None:
        self._accepted_before = accepted_before
        self._acknowledged = False
        self._failed = 0
        self._rejected: list[str] = []
        self.are_about_the_request = False

    @property
    def need_probe(self) -> bool:
        """Three batches failed, and none was acknowledged."""
        return self._failed >= FAILURES_BEFORE_PROBE and not self._acknowledged

    @property
    def rejected(self) -> tuple[str, ...]:
        """Ids that are bad by themselves."""
        return () if self.are_about_the_request else tuple(self._rejected)

    def acknowledge(self) -> None:
        self._acknowledged = True

    def fail_batch(self) -> None:
        """A batch of several ids got a 400."""
        self._failed += 1

    def fail_id(self, member: str, is_probe: bool) -> None:
        """A single id got a 400."""
        self._failed += 1
        self._rejected.append(member)
        if is_probe or len(self._rejected) >= MAX_REJECTED:
            self.are_about_the_request = True

    def conclude(self) -> None:
        """All is sent: where nothing was ever accepted, the 400s were about the request."""
        if self._rejected and not self._acknowledged and not self._accepted_before:
            self.are_about_the_request = True


class Sender:
    """The sending of one segment: each batch is in the journal before it leaves.

    At most `concurrency` are in flight or not recorded yet, so that none starts before the state was written since the
    answer before it. As many more have their intents ready.
    """

    def __init__(
        self, target: Target, counts: Counts, changes: "Changes", segment: "LockedSegment", parts: Parts
    ) -> None:
        self._target = target
        self._changes = changes
        self._segment = segment
        self._parts = parts
        self._total = counts.add + counts.remove + counts.resend
        self._done = 0
        self._concurrency = target.spec.destination.concurrency
        self._window = 2 * self._concurrency
        self._bad_requests = BadRequests(accepted_before=counts.stored > 0)
        self._fresh: Iterator[Batch] = iter(())
        self._pushed_back: deque[Batch] = deque()
        self._ready: deque[Pending] = deque()
        """Have their intents, and wait for a free request."""
        self._in_flight: dict[Future[BatchResult], Pending] = {}
        self._answered: deque[tuple[Pending, BatchResult]] = deque()
        """Not recorded yet."""
        self._roots = 0
        self._uncompacted = 0
        self._tally = Tally()
        self._error: ReconcileError | None = None
        self._last_refusal = NOT_STARTED
        # Batches that used up their attempts: how many in a row, the last one, why, and how many ids they held.
        self._exhausted_in_a_row = 0
        self._last_exhausted = NOT_STARTED
        self._causes: Counter[str] = Counter()
        self._ids_unknown = 0
        self._ids_unsent = 0

    def run(self) -> SendResult:
        """Send the removals, then the additions, and record every outcome as far as the state can take it."""
        try:
            for direction in (Direction.REMOVE, Direction.ADD):
                self._fresh = iter(self._changes.batches(direction))
                self._send_all()
        except Exception as error:  # whatever it was, what is in flight must not be left alone
            self._fail(error)
            try:
                self._send_all()
            except Exception as second:
                self._fail(second)
                self._abandon()
        self._conclude()
        rejected = self._bad_requests.rejected
        return SendResult(replace(self._tally, rejected=len(rejected)), rejected, self._error)

    def _is_halted(self) -> bool:
        return self._error is not None or self._parts.stop.is_set()

    def _halt(self, error: ReconcileError) -> None:
        """Let nothing more start, because of this. The first reason counts; gates call it from their threads."""
        self._error = self._error or error

    def _fail(self, error: BaseException) -> None:
        log.debug("sending %s failed", self._target.label, exc_info=error)
        self._halt(as_known(error))

    def _send_all(self) -> None:
        """Send until nothing is left; once halted, only await and record what is in flight."""
        while True:
            self._record()
            if not self._is_halted():
                self._start_requests()
            if not self._in_flight:
                break
            if not self._is_halted() and self._uncompacted >= COMPACT_EVERY:
                self._segment.compact()  # while the requests are on their way: the journal of a large fill stays short
                self._uncompacted = 0
            done, _ = wait(self._in_flight, return_when=FIRST_COMPLETED)
            self._collect(done)
        if self._ready:  # their requests never left
            self._segment.settle([(pending.seq, NOT_STARTED) for pending in self._ready])
            self._count_unsettled(pending for pending in self._ready if pending.is_doubtful)
            self._ready.clear()

    def _abandon(self) -> None:
        """The state can't be written: what is in flight ends by itself, and stays in the journal as an intent."""
        for future in [each for each in self._in_flight if each.cancel()]:
            self._ready.append(self._in_flight.pop(future))
        wait(self._in_flight)
        self._collect(set(self._in_flight))
        self._count_unsettled(pending for pending, _ in self._answered)
        self._count_unsettled(pending for pending in self._ready if pending.is_doubtful)
        self._answered.clear()
        self._ready.clear()

    # --- requests -------------------------------------------------------------------------------------------------

    def _start_requests(self) -> None:
        """Keep `concurrency` requests in flight, with as many intents ready; or only the probe, where one is needed."""
        if self._bad_requests.need_probe:
            if self._in_flight:
                return  # one of these may be acknowledged
            probe = self._make_probe()
            if probe is not None:
                self._submit(probe)  # and nothing else, until its answer is here
                return
        room = self._window - len(self._in_flight) - len(self._ready)
        self._ready.extend(self._intend(self._next_batches(room)))
        while self._ready and len(self._in_flight) < self._concurrency:
            self._submit(self._ready[0])
            self._ready.popleft()

    def _next_batches(self, room: int) -> list[Batch]:
        if room < self._window // 2:
            return []  # refilled by halves, so that intents share a commit
        batches = (self._next_batch() for _ in range(room))
        return [batch for batch in batches if batch is not None]

    def _next_batch(self) -> Batch | None:
        return self._pushed_back.popleft() if self._pushed_back else next(self._fresh, None)

    def _intend(self, batches: Sequence[Batch]) -> list[Pending]:
        if not batches:
            return []
        pending = []
        for seq, batch in zip(self._segment.intend(batches), batches, strict=True):
            self._roots += 1
            pending.append(Pending(seq, batch, self._roots))
        return pending

    def _make_probe(self) -> Pending | None:
        """Take one id of another batch than the one that was cut last; None where there is no other batch."""
        batch = self._next_batch()
        if batch is not None:
            first, rest = batch.cut(1)
            if rest.ids:
                self._pushed_back.appendleft(rest)
            (probe,) = self._intend([first])
            return replace(probe, is_probe=True)
        other = next((each for each in self._ready if each.root != self._ready[0].root), None)
        if other is None:
            return None
        parts = [part for part in other.batch.cut(1) if part.ids]
        probe, *rest_of_other = self._cut(other, NOT_STARTED, parts)
        self._ready.remove(other)
        self._ready.extendleft(rest_of_other)
        return replace(probe, is_probe=True)

    def _cut(self, pending: Pending, result: BatchResult, parts: Sequence[Batch]) -> list[Pending]:
        """Replace a batch by parts of it; their intents are durable then."""
        numbers = self._segment.split(pending.seq, result, parts)
        doubtful = pending.is_doubtful or result.unknown_at is not None
        pairs = zip(numbers, parts, strict=True)
        return [Pending(seq, part, pending.root, is_doubtful=doubtful) for seq, part in pairs]

    def _submit(self, pending: Pending) -> None:
        gate = AttemptGate(self._segment, pending.seq, self._target, self._is_halted, self._halt)
        future = self._parts.pool.submit(self._parts.track.send, self._target.segment, pending.batch, gate)
        self._in_flight[future] = pending

    # --- outcomes -------------------------------------------------------------------------------------------------

    def _collect(self, done: Set[Future[BatchResult]]) -> None:
        """Take the answers of the requests that have ended, in the order in which these were submitted."""
        for future in [each for each in self._in_flight if each in done]:
            pending, error = self._in_flight.pop(future), future.exception()
            if error is not None:  # unforeseen: it may have been applied, so its intent stays without an outcome
                self._count_unsettled([pending])
                self._fail(error)
                continue
            result = future.result()
            self._answered.append((pending, result))
            tally, retries = self._tally, max(result.attempts - 1, 0)
            self._tally = replace(tally, requests=tally.requests + result.attempts, retries=tally.retries + retries)

    def _record(self) -> None:
        """Record the outcomes of what was answered, the whole batches in one commit, and draw the conclusions."""
        if not self._answered:
            return
        whole = [(pending, result) for pending, result in self._answered if not must_split(pending, result)]
        if whole:
            self._segment.settle([(pending.seq, result) for pending, result in whole])
        self._answered = deque(pair for pair in self._answered if must_split(*pair))
        for pending, result in whole:
            self._done += len(pending.batch.ids)
            if result.outcome is Outcome.ACKNOWLEDGED:
                self._tally = count_acknowledged(self._tally, pending.batch)
            elif result.unknown_at is not None or pending.is_doubtful:
                self._count_unsettled([pending])
            self._judge(pending, result)
        while self._answered:
            self._halve(*self._answered[0])
            self._answered.popleft()
        self._parts.report(Sending(self._target, self._done, self._total))
        self._uncompacted += len(whole)

    def _count_unsettled(self, several: Iterable[Pending]) -> None:
        number = sum(len(pending.batch.ids) for pending in several)
        self._tally = replace(self._tally, unsettled=self._tally.unsettled + number)

    def _judge(self, pending: Pending, result: BatchResult) -> None:
        match result.outcome:
            case Outcome.ACKNOWLEDGED:
                self._exhausted_in_a_row = 0
                self._bad_requests.acknowledge()
            case Outcome.UNKNOWN | Outcome.REFUSED:
                if not self._is_halted():  # else its attempts were cut short
                    self._exhaust(pending, result)
            case Outcome.BAD_REQUEST | Outcome.TOO_LARGE:
                self._bad_requests.fail_id(pending.batch.ids[0], pending.is_probe)
                self._refuse(result)
            case Outcome.STOPPED:
                self._halt(DestinationError(f"{self._target.where}: {result.message}", result.hint, code="refused"))
            case Outcome.NOT_STARTED:
                pass  # its gate has said why
            case _:
                assert_never(result.outcome)

    def _exhaust(self, pending: Pending, result: BatchResult) -> None:
        """A batch used up its attempts."""
        self._exhausted_in_a_row += 1
        self._causes[result.message] += 1
        self._last_exhausted = result
        if result.outcome is Outcome.UNKNOWN or pending.is_doubtful:
            self._ids_unknown += len(pending.batch.ids)
        else:
            self._ids_unsent += len(pending.batch.ids)
        if self._exhausted_in_a_row >= MAX_EXHAUSTED:
            known = "whether they arrived is unknown" if self._ids_unknown else "none of them arrived"
            self._halt(self._out_of_attempts(f"stopped, as {MAX_EXHAUSTED} batches in a row failed; {known}"))

    def _halve(self, pending: Pending, result: BatchResult) -> None:
        """Cut a batch in two. What was cut last is sent first: few parts are open at a time, and bad ids show soon."""
        halves = self._cut(pending, result, pending.batch.cut(len(pending.batch.ids) // 2))
        self._ready.extendleft(reversed(halves))
        if result.outcome is Outcome.BAD_REQUEST:
            self._bad_requests.fail_batch()
        self._refuse(result)

    def _refuse(self, result: BatchResult) -> None:
        self._exhausted_in_a_row = 0  # it answers
        self._last_refusal = result
        if self._bad_requests.are_about_the_request:
            self._halt(self._about_the_request())

    def _conclude(self) -> None:
        self._bad_requests.conclude()
        if self._is_halted():
            return
        if self._bad_requests.are_about_the_request:
            self._halt(self._about_the_request())
        elif self._causes:
            fates = [
                f"whether {self._ids_unknown:,} ids arrived is unknown" if self._ids_unknown else "",
                f"{self._ids_unsent:,} ids did not arrive" if self._ids_unsent else "",
            ]
            self._halt(self._out_of_attempts(f"all attempts were used up; {'; '.join(filter(None, fates))}"))

    def _about_the_request(self) -> DestinationError:
        return DestinationError(
            f"{self._target.where}: Customer.io refuses the request as a whole: {self._last_refusal.message}",
            "check that the segment is a manual one, and that the workspace knows people by "
            f"{self._target.segment.id_type} (`reconcile validate --connect` looks)",
            code="refused",
        )

    def _out_of_attempts(self, what: str) -> DestinationError:
        """Name the most frequent causes of batches that used up their attempts."""
        causes = [
            f"{number} {'batch' if number == 1 else 'batches'}: {cause}"
            for cause, number in self._causes.most_common(MAX_CAUSES)
        ]
        hint = self._last_exhausted.hint
        return DestinationError(
            f"{self._target.where}: {what} ({'; '.join(causes)})",
            f"{hint}; the next run sends these ids again" if hint else "run it again: these ids are sent again",
            code="exhausted",
        )


def must_split(pending: Pending, result: BatchResult) -> bool:
    """Return whether a batch has to be cut in two, to find what is wrong with it."""
    return result.outcome in (Outcome.BAD_REQUEST, Outcome.TOO_LARGE) and len(pending.batch.ids) > 1


def count_acknowledged(tally: Tally, batch: Batch) -> Tally:
    """Add an acknowledged batch to a tally."""
    number = len(batch.ids)
    if batch.direction is Direction.REMOVE:
        return replace(tally, removed=tally.removed + number)
    resent = len(batch.resends)
    return replace(tally, added=tally.added + number - resent, resent=tally.resent + resent)
