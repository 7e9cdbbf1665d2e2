"""Send one segment's batches: the intent first, then the request, then its outcome."""

import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, assert_never

from reconciler.errors import DestinationError, LeaseLost, ReconcileError, StateError, as_known
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import Counts
from reconciler.models.events import Sending
from reconciler.models.results import Tally
from reconciler.models.spec import Target
from reconciler.operations.context import Parts

if TYPE_CHECKING:
    from reconciler.diff.changes import Changes
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
    sender = Sender(target, counts, segment, parts)
    try:
        for direction in (Direction.REMOVE, Direction.ADD):
            sender.send_all(changes.batches(direction))
    except Exception as error:  # whatever it was, what is in flight must not be left alone
        sender.fail(error)
        try:
            sender.send_all(())
        except Exception as second:
            sender.fail(second)
            sender.abandon()
    return sender.conclude()


@dataclass(frozen=True, repr=False)  # it holds ids
class Pending:
    """A batch with a durable intent. `root` is the journal number of the batch that it was cut from."""

    seq: int
    batch: Batch
    root: int
    is_probe: bool = False
    is_doubtful: bool = False
    """An attempt that carried these ids as part of a larger batch has an unknown outcome."""


@dataclass(repr=False)  # it holds ids
class Sender:
    """The sending of one segment: each batch is in the journal before it leaves.

    At most `concurrency` are in flight or not recorded yet, so that none starts before the state was written since the
    answer before it. As many more have their intents ready.
    """

    target: Target
    counts: Counts
    segment: "LockedSegment"
    parts: Parts
    batches: Iterator[Batch] = field(default_factory=lambda: iter(()))
    """Those of `send_all` that have no intents yet."""
    ready: deque[Pending] = field(default_factory=deque)
    """Have their intents, and wait for a free request."""
    in_flight: dict[Future[BatchResult], Pending] = field(default_factory=dict)
    to_settle: list[tuple[Pending, BatchResult]] = field(default_factory=list)
    """Answered, and not recorded yet."""
    to_split: deque[tuple[Pending, BatchResult]] = field(default_factory=deque)
    """Answered with a refusal of the whole batch; not recorded yet."""

    error: ReconcileError | None = None
    added: int = 0
    removed: int = 0
    resent: int = 0
    unsettled: int = 0
    requests: int = 0
    retries: int = 0
    done: int = 0
    to_compact: dict[int, Batch] = field(default_factory=dict)
    """Recorded since the last compaction, by journal number."""
    # The refusals, see `is_request_refused`: batches and single ids that got a 400, and those ids.
    has_acknowledged: bool = False
    bad_requests: int = 0
    rejected: list[str] = field(default_factory=list)
    probe_failed: bool = False
    last_refusal: BatchResult = NOT_STARTED
    # Batches that used up their attempts: how many in a row, the last one, why, and how many ids they held.
    exhausted_in_a_row: int = 0
    last_exhausted: BatchResult = NOT_STARTED
    causes: Counter[str] = field(default_factory=Counter)
    ids_unknown: int = 0
    ids_unsent: int = 0

    @property
    def is_halted(self) -> bool:
        return self.error is not None or self.parts.stop.is_set()

    def halt(self, error: ReconcileError) -> None:
        """Let nothing more start, because of this. The first reason counts; gates call it from their threads."""
        self.error = self.error or error

    def fail(self, error: BaseException) -> None:
        log.debug("sending %s failed", self.target.label, exc_info=error)
        self.halt(as_known(error))

    def send_all(self, batches: Iterable[Batch]) -> None:
        """Send until nothing is left of these; once halted, only await and record what is in flight."""
        self.batches = iter(batches)
        while True:
            self.record()
            if not self.is_halted:
                self.start_requests()
            if not self.in_flight:
                break
            if not self.is_halted and len(self.to_compact) >= COMPACT_EVERY:
                # While the requests are on their way: the journal of a large fill stays short.
                self.segment.compact(self.to_compact)
                self.to_compact.clear()
            wait(self.in_flight, return_when=FIRST_COMPLETED)
            self.collect()
        if self.ready:  # their requests never left
            self.segment.settle([(pending.seq, NOT_STARTED) for pending in self.ready])
            self.count_unsettled(pending for pending in self.ready if pending.is_doubtful)
            self.ready.clear()

    def abandon(self) -> None:
        """The state can't be written: what is in flight ends by itself, and stays in the journal as an intent."""
        for future in [each for each in self.in_flight if each.cancel()]:
            self.ready.append(self.in_flight.pop(future))
        wait(self.in_flight)
        self.collect()
        self.count_unsettled(pending for pending, _ in (*self.to_settle, *self.to_split))
        self.count_unsettled(pending for pending in self.ready if pending.is_doubtful)

    # --- requests -------------------------------------------------------------------------------------------------

    def start_requests(self) -> None:
        """Keep `concurrency` requests in flight, with as many intents ready; or only the probe, where one is needed."""
        if self.bad_requests >= FAILURES_BEFORE_PROBE and not self.has_acknowledged:
            if self.in_flight:
                return  # one of these may be acknowledged
            probe = self.make_probe()
            if probe is not None:
                self.submit(probe)  # and nothing else, until its answer is here
                return
        concurrency = self.target.spec.destination.concurrency
        room = 2 * concurrency - len(self.in_flight) - len(self.ready)
        if room >= concurrency:  # refilled by halves, so that intents share a commit
            batches = list(islice(self.batches, room))
            seqs = self.segment.intend(batches) if batches else []
            self.ready += [Pending(seq, batch, root=seq) for seq, batch in zip(seqs, batches, strict=True)]
        while self.ready and len(self.in_flight) < concurrency:
            self.submit(self.ready[0])
            self.ready.popleft()

    def make_probe(self) -> Pending | None:
        """Take one id of another batch than the one that was cut last; None where there is no other batch."""
        batch = next(self.batches, None)
        if batch is not None:
            first, rest = batch.cut(1)
            if rest.ids:
                self.batches = chain([rest], self.batches)
            (seq,) = self.segment.intend([first])
            return Pending(seq, first, root=seq, is_probe=True)
        other = next((each for each in self.ready if each.root != self.ready[0].root), None)
        if other is None:
            return None
        pieces = [piece for piece in other.batch.cut(1) if piece.ids]
        probe, *rest_of_other = self.split(other, NOT_STARTED, pieces)
        self.ready.remove(other)
        self.ready.extendleft(rest_of_other)
        return replace(probe, is_probe=True)

    def split(self, pending: Pending, result: BatchResult, pieces: Sequence[Batch]) -> list[Pending]:
        """Replace a batch by pieces of it; their intents are durable then."""
        seqs = self.segment.split(pending.seq, result, pieces)
        doubtful = pending.is_doubtful or result.unknown_at is not None
        pairs = zip(seqs, pieces, strict=True)
        return [Pending(seq, piece, pending.root, is_doubtful=doubtful) for seq, piece in pairs]

    def submit(self, pending: Pending) -> None:
        gate = AttemptGate(self, pending.seq)
        future = self.parts.pool.submit(self.parts.track.send, self.target.segment, pending.batch, gate)
        self.in_flight[future] = pending

    # --- outcomes -------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Take the answers of the requests that have ended, in the order in which these were submitted."""
        for future in [each for each in self.in_flight if each.done()]:
            pending, error = self.in_flight.pop(future), future.exception()
            if error is not None:  # unforeseen: it may have been applied, so its intent stays without an outcome
                self.count_unsettled([pending])
                self.fail(error)
                continue
            result = future.result()
            is_refused = result.outcome in (Outcome.BAD_REQUEST, Outcome.TOO_LARGE)
            answered = self.to_split if is_refused and len(pending.batch.ids) > 1 else self.to_settle
            answered.append((pending, result))
            self.requests += result.attempts
            self.retries += max(result.attempts - 1, 0)

    def record(self) -> None:
        """Record the outcomes of what was answered, the whole batches in one commit, and draw the conclusions."""
        if not (self.to_settle or self.to_split):
            return
        if self.to_settle:
            self.segment.settle([(pending.seq, result) for pending, result in self.to_settle])
        settled, self.to_settle = self.to_settle, []
        for pending, result in settled:
            batch = pending.batch
            self.done += len(batch.ids)
            if result.outcome is not Outcome.ACKNOWLEDGED and (result.unknown_at is not None or pending.is_doubtful):
                self.count_unsettled([pending])
            if result.is_closed:
                self.halt(DestinationError(result.message, result.hint))  # the same for all segments
            match result.outcome:
                case Outcome.ACKNOWLEDGED:
                    self.exhausted_in_a_row = 0
                    self.has_acknowledged = True
                    if batch.direction is Direction.REMOVE:
                        self.removed += len(batch.ids)
                    else:
                        self.added += len(batch.ids) - len(batch.resends)
                        self.resent += len(batch.resends)
                case Outcome.UNKNOWN | Outcome.REFUSED:
                    if not self.is_halted:  # else its attempts were cut short
                        self.exhaust(pending, result)
                case Outcome.BAD_REQUEST | Outcome.TOO_LARGE:
                    self.bad_requests += 1
                    self.rejected.append(batch.ids[0])
                    self.probe_failed |= pending.is_probe
                    self.refuse(result)
                case Outcome.STOPPED:
                    self.halt(DestinationError(f"{self.target.where}: {result.message}", result.hint, code="refused"))
                case Outcome.NOT_STARTED:
                    pass  # its gate has said why
                case _:
                    assert_never(result.outcome)
        while self.to_split:
            pending, result = self.to_split[0]
            halves = self.split(pending, result, pending.batch.cut(len(pending.batch.ids) // 2))
            self.to_split.popleft()
            # What was cut last is sent first: few parts are open at a time, and bad ids show soon.
            self.ready.extendleft(reversed(halves))
            if result.outcome is Outcome.BAD_REQUEST:
                self.bad_requests += 1
            self.refuse(result)
        self.parts.report(Sending(self.target, self.done, self.counts.add + self.counts.remove + self.counts.resend))
        self.to_compact |= {pending.seq: pending.batch for pending, _ in settled}

    def count_unsettled(self, several: Iterable[Pending]) -> None:
        self.unsettled += sum(len(pending.batch.ids) for pending in several)

    def exhaust(self, pending: Pending, result: BatchResult) -> None:
        """A batch used up its attempts."""
        self.exhausted_in_a_row += 1
        self.causes[result.message] += 1
        self.last_exhausted = result
        if result.outcome is Outcome.UNKNOWN or pending.is_doubtful:
            self.ids_unknown += len(pending.batch.ids)
        else:
            self.ids_unsent += len(pending.batch.ids)
        if self.exhausted_in_a_row >= MAX_EXHAUSTED:
            known = "whether they arrived is unknown" if self.ids_unknown else "none of them arrived"
            self.halt_exhausted(f"stopped, as {MAX_EXHAUSTED} batches in a row failed; {known}")

    def refuse(self, result: BatchResult) -> None:
        """A batch or an id got a 400 or a 413."""
        self.exhausted_in_a_row = 0  # it answers
        self.last_refusal = result
        if self.is_request_refused():
            self.halt_refused()

    def is_request_refused(self, all_sent: bool = False) -> bool:
        """Decide whether the refusals are about the request as a whole, and not about some ids.

        A batch that gets a 400 is halved until the bad ids are alone. That must not go on for a request that can't
        succeed at all (a data-driven segment, an id type that the workspace lacks). One acknowledged request proves
        that it can; when three batches fail without one (say, a batch and both its halves), a single id of another
        batch is probed. No id is to blame, either, where all is sent and nothing was ever accepted.
        """
        was_accepted = self.has_acknowledged or self.counts.stored > 0
        is_none_accepted = all_sent and bool(self.rejected) and not was_accepted
        return self.probe_failed or len(self.rejected) >= MAX_REJECTED or is_none_accepted

    def conclude(self) -> SendResult:
        is_refused = self.is_request_refused(all_sent=True)
        if not self.is_halted and is_refused:
            self.halt_refused()
        elif not self.is_halted and self.causes:
            fates = [
                f"whether {self.ids_unknown:,} ids arrived is unknown" if self.ids_unknown else "",
                f"{self.ids_unsent:,} ids did not arrive" if self.ids_unsent else "",
            ]
            self.halt_exhausted(f"all attempts were used up; {'; '.join(filter(None, fates))}")
        rejected = () if is_refused else tuple(self.rejected)
        tally = Tally(
            added=self.added,
            removed=self.removed,
            resent=self.resent,
            rejected=len(rejected),
            unsettled=self.unsettled,
            requests=self.requests,
            retries=self.retries,
        )
        return SendResult(tally, rejected, self.error)

    def halt_refused(self) -> None:
        """Halt, as Customer.io refuses the request whatever ids it has."""
        error = DestinationError(
            f"{self.target.where}: Customer.io refuses the request as a whole: {self.last_refusal.message}",
            "check that the segment is a manual one, and that the workspace knows people by "
            f"{self.target.segment.id_type} (`reconcile validate --connect` looks)",
            code="refused",
        )
        self.halt(error)

    def halt_exhausted(self, what: str) -> None:
        """Halt, naming the most frequent causes of batches that used up their attempts."""
        causes = [
            f"{number} {'batch' if number == 1 else 'batches'}: {cause}"
            for cause, number in self.causes.most_common(MAX_CAUSES)
        ]
        hint = self.last_exhausted.hint
        error = DestinationError(
            f"{self.target.where}: {what} ({'; '.join(causes)})",
            f"{hint}; the next run sends these ids again" if hint else "run it again: these ids are sent again",
            code="exhausted",
        )
        self.halt(error)


@dataclass(frozen=True, repr=False)  # it leads to ids
class AttemptGate:
    """Lets an attempt start if its segment goes on, the lease lasts longer than the attempt can, and the state has
    shown it as ours a short while ago."""

    sender: Sender
    seq: int

    def try_start(self, attempt: int) -> bool:
        """Record the attempt and let it start. Where the state can't record it, nothing starts any more."""
        sender, lease = self.sender, self.sender.segment.lease
        if attempt > 1:
            try:
                sender.segment.retry(self.seq)
            except StateError as error:
                sender.halt(error)
                return False
        if sender.is_halted:  # after the recording, which may take long
            return False
        if lease.covers(sender.target.spec.destination.timeout) and lease.refresh_fence():
            return True
        lost = LeaseLost(
            f"{sender.target.where}: the lock could not be renewed, so no further request was started",
            "run it again: what was sent is in the journal",
        )
        sender.halt(lost)
        return False
