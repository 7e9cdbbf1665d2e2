"""One segment's state under its lock: the only place that changes what the state says of a segment."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Connection, insert, text

from reconciler.clock import Clock
from reconciler.errors import StateError, StateSetBack
from reconciler.models.batches import Batch, BatchResult, Direction, Mark, Outcome
from reconciler.models.counts import StateCounts
from reconciler.models.drift import Adoption, Findings
from reconciler.models.ids import IdType
from reconciler.models.plan import Head
from reconciler.state import compaction
from reconciler.state.backends.base import Database, run, skew
from reconciler.state.base import Row
from reconciler.state.blocks import ID_END, check_ids
from reconciler.state.compaction import copy_generation, new_key, sweep
from reconciler.state.lock import HeldLock, write_under
from reconciler.state.reader import count_ids, find_segment, read_head
from reconciler.state.tables import BATCHES

_SEGMENT = "workspace = :workspace AND segment_id = :segment_id"

SECONDS_PER_TURN = 1.0
"""After so many seconds of writing others get their turn: their heartbeats wait behind us."""


@dataclass(frozen=True)
class Work:
    """What a run does with a segment: which one, for which run, and from which plan file, if any."""

    id_type: IdType
    run_id: str
    plan_id: str | None


class LockedSegment:
    """One segment's state under its lock. Methods may be called from several threads.

    Every write compares the fence and raises LeaseLost when it has moved. Taking the lock has already recovered what a
    dead run left: its intents count as unknown, as of now.
    """

    def __init__(self, database: Database, clock: Clock, lock: HeldLock, work: Work, draw: Callable[[], uuid.UUID]):
        self._database = database
        self._clock = clock
        self._lock = lock
        self._work = work
        self._draw = draw
        self._mutex = threading.RLock()
        self._since = 0.0
        self._busy = 0.0
        self._drawn: list[str] = []
        self._tokens: tuple[str | None, ...] = ()
        self.lease = lock
        self.taken_over_at = lock.taken_over_at
        """When the lock was last taken from a holder that may live, by the state's clock; None: never."""

    # --- reading --------------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """As it is now."""
        with self._database.read() as connection:
            return read_head(connection, self._lock.place.workspace, self._lock.place.segment_id)

    def count(self) -> StateCounts:
        """Count what the state holds of this segment now."""
        with self._database.read() as connection:
            row = self._find(connection)
            return count_ids(self._database, connection, row.segment_key if row else None)

    def now(self) -> float:
        """Unix seconds by the state's clock."""
        with self._database.read() as connection:
            return self._database.now(connection)

    def doubtful_at(self) -> float | None:
        """When the latest attempt of unknown outcome was given up, also one that an acknowledged one followed."""
        with self._database.read() as connection:
            row = self._find(connection)
            return compaction.find_latest_doubt(connection, row.segment_key) if row else None

    def attempted_at(self) -> float | None:
        """When the latest attempt ended that was or may have been accepted."""
        statement = f"SELECT attempted_at FROM reconcile_segments WHERE {_SEGMENT}"
        with self._database.read() as connection:
            attempted_at: float | None = connection.execute(text(statement), self._lock.place.values()).scalar()
            return attempted_at

    # --- the journal ----------------------------------------------------------------------------------------------

    def intend(self, batches: Sequence[Batch]) -> list[int]:
        """Make the intent to send durable; gives a journal number per batch."""
        with self._write() as connection:
            key = self._ensure(connection)
            now = self._database.now(connection)
            seqs = self._insert(connection, key, batches, now, None)
            self._touch(connection)
        return seqs

    def retry(self, seq: int) -> None:
        """Record, durably, that one more attempt of this batch is about to start."""
        with self._write() as connection:
            run(
                connection,
                "UPDATE reconcile_batches SET attempts = attempts + 1, at = :now WHERE seq = :seq",
                now=self._database.now(connection),
                seq=seq,
            )

    def settle(self, answers: Sequence[tuple[int, BatchResult]]) -> None:
        """Record outcomes. A batch that certainly was not applied puts its ids back to where they were."""
        with self._write() as connection:
            ahead = skew(self._database, connection, self._clock)
            now = self._database.now(connection)
            plain = [
                seq for seq, answer in answers if answer.outcome is Outcome.ACKNOWLEDGED and answer.unknown_at is None
            ]
            self._acknowledge(connection, plain, now)
            for seq, answer in answers:
                if seq not in plain:
                    self._settle_one(connection, seq, answer, now, ahead)
            if any(answer.may_be_applied for _, answer in answers):
                self._update(connection, "attempted_at = :now", now=now)
            self._touch(connection)

    def withdraw(self, seqs: Sequence[int]) -> None:
        """Take back intents whose request never left."""
        self.settle([(seq, BatchResult(Outcome.NOT_STARTED)) for seq in seqs])

    def split(self, seq: int, answer: BatchResult, parts: Sequence[Batch]) -> list[int]:
        """Replace one batch by parts of it, whose intents are then durable."""
        with self._write() as connection:
            now, ahead = self._database.now(connection), skew(self._database, connection, self._clock)
            row = connection.execute(
                text("SELECT segment_key, unknown_at FROM reconcile_batches WHERE seq = :seq"), {"seq": seq}
            ).one()
            earlier = row.unknown_at if answer.unknown_at is None else min(answer.unknown_at + ahead, now)
            self._settle_one(connection, seq, answer, now, ahead)
            seqs = self._insert(connection, row.segment_key, parts, now, earlier)
            if answer.may_be_applied:
                self._update(connection, "attempted_at = :now", now=now)
            self._touch(connection)
        return seqs

    def _insert(
        self, connection: Connection, key: int, batches: Sequence[Batch], now: float, earlier: float | None
    ) -> list[int]:
        """`earlier`: when an attempt of unknown outcome that carried the same ids was given up.

        Raises StateError for an id that a row of the journal can't hold, before anything is sent.
        """
        for batch in batches:
            check_ids(batch.ids)
        rows = [
            {
                "segment_key": key,
                "run_id": self._work.run_id,
                "direction": batch.direction.value,
                "attempts": 1,
                "created_at": now,
                "at": now,
                "unknown_at": earlier,
                "number": len(batch.ids),
                "ids": ID_END.join(batch.ids),
            }
            for batch in batches
        ]
        statement = insert(BATCHES).returning(BATCHES.c.seq, sort_by_parameter_order=True)
        return list(connection.execute(statement, rows).scalars())

    def _acknowledge(self, connection: Connection, seqs: Sequence[int], now: float) -> None:
        """All in one statement: after each, this thread waits for its turn among those that send."""
        if seqs:
            numbers = ", ".join(map(str, seqs))
            run(
                connection,
                f"UPDATE reconcile_batches SET outcome = 'acknowledged', at = :now WHERE seq IN ({numbers})",
                now=now,
            )

    def _settle_one(self, connection: Connection, seq: int, answer: BatchResult, now: float, ahead: float) -> None:
        """`ahead`: seconds that the state's clock is ahead of the one by which the answer tells its time."""
        unknown_at = None if answer.unknown_at is None else min(answer.unknown_at + ahead, now)
        if answer.outcome is Outcome.ACKNOWLEDGED:
            run(
                connection,
                "UPDATE reconcile_batches SET outcome = 'acknowledged', at = :now, "
                "unknown_at = coalesce(:unknown_at, unknown_at) WHERE seq = :seq",
                now=now,
                unknown_at=unknown_at,
                seq=seq,
            )
        elif unknown_at is not None:
            run(
                connection,
                "UPDATE reconcile_batches SET outcome = 'unknown', at = :at, unknown_at = :at WHERE seq = :seq",
                at=unknown_at,
                seq=seq,
            )
        else:
            run(connection, "DELETE FROM reconcile_batches WHERE seq = :seq", seq=seq)

    # --- folding --------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """What a dead run left without an outcome may have been applied: it is unknown, as of now.

        Times in the future come from a clock that was wrong, and count as now. What is unsettled counts as attempted
        when the lock was last taken from a holder that may live: it may have sent it until then.
        """
        with self._write() as connection:
            now = self._since = self._database.now(connection)
            row = self._find(connection)
            if row is None:
                return
            left = compaction.recover_intents(connection, row.segment_key, now)
            compaction.clamp_times(connection, row.segment_key, now)
            compaction.drop_unreadable(connection, row.segment_key)
            self._update(
                connection,
                "attempted_at = CASE WHEN :left OR attempted_at > :now THEN :now ELSE attempted_at END",
                left=left,
                now=now,
            )
            if self.taken_over_at is not None:
                compaction.renew_doubts(connection, row.segment_key, min(self.taken_over_at, now))
        sweep(self._write, self._lock.place)

    def compact(self) -> None:
        """Fold settled batches into the members, in chunks."""
        while self._compact_chunk():
            pass

    def _compact_chunk(self) -> bool:
        with self._write() as connection:
            row = self._find(connection)
            if row is None:
                return False
            entries = compaction.next_chunk(connection, row.segment_key)
            compaction.compact(self._database, connection, row.segment_key, entries)
            if compaction.next_chunk(connection, row.segment_key):
                return True
            compaction.prune(connection, row.segment_key, self._database.now(connection))
        return False

    # --- what was found out ---------------------------------------------------------------------------------------

    def reject(self, ids: Sequence[str]) -> None:
        """Remember ids that were refused by themselves."""
        with self._write() as connection:
            key = self._ensure(connection)
            self._database.pick(connection, ids)
            compaction.mark_picked(connection, key, Mark.REJECTED, self._database.now(connection))
            self._touch(connection)

    def admit(self, find: Callable[[], Iterator[list[str]]]) -> None:
        """Make members of wanted ids that a read-back showed (`exclusive`), a list of `find` in each transaction."""
        self.compact()
        self._take_over(find, self._appear)

    def record(self, findings: Findings) -> None:
        """Take over what a read-back showed."""
        self.compact()
        self._take_over(findings.appeared, self._appear)
        self._take_over(findings.vanished, self._vanish)
        self._take_over(findings.lingering, self._linger)
        self._take_over(findings.gone, self._go)
        with self._write() as connection:
            self._update(connection, "confirmed_at = :now", now=self._database.now(connection))

    def _take_over(
        self, find: Callable[[], Iterator[list[str]]], change: Callable[[Connection, int, float], None]
    ) -> None:
        for ids in find():
            with self._write() as connection:
                key = self._ensure(connection)
                self._database.pick(connection, ids)
                change(connection, key, self._database.now(connection))
                self._touch(connection)

    def _appear(self, connection: Connection, key: int, _now: float) -> None:
        compaction.drop_mark(connection, key, Mark.UNMATCHED)
        compaction.drop_mark(connection, key, Mark.REMOVED)
        compaction.admit_settled(connection, key)

    def _vanish(self, connection: Connection, key: int, now: float) -> None:
        compaction.drop_members(connection, key)
        compaction.mark_picked(connection, key, Mark.UNMATCHED, now)

    def _linger(self, connection: Connection, key: int, now: float) -> None:
        compaction.drop_mark(connection, key, Mark.REMOVED)
        compaction.drop_members(connection, key)
        compaction.mark_picked(connection, key, Mark.UNSETTLED, now, Direction.REMOVE, overwrite=False)

    def _go(self, connection: Connection, key: int, _now: float) -> None:
        compaction.drop_mark(connection, key, Mark.REMOVED)

    def adopt(self, adoption: Adoption) -> None:
        """Make the snapshot equal to what is there (`refresh`), in one transaction. Unsettled marks become echoes."""
        self.recover()
        self.compact()
        with self._write() as connection:
            old = self._find(connection)
            self._ensure(connection, adoption.id_type)
        keeps_marks = old is not None and old.id_type == adoption.id_type
        old_key = old.segment_key if old is not None and keeps_marks else None
        new = copy_generation(self._database, self._write, self._lock.place, old_key, adoption)
        with self._write() as connection:
            self._update(
                connection,
                "segment_key = :new, id_type = :id_type, confirmed_at = :now, restored_at = NULL",
                new=new,
                id_type=adoption.id_type.value,
                now=self._database.now(connection),
            )
            self._touch(connection)
        sweep(self._write, self._lock.place)

    def complete(self) -> None:
        """A run of this segment came to its end with nothing unsettled by it."""
        with self._write() as connection:
            key = self._ensure(connection)
            compaction.forget_rejections(connection, key, before=self._since)
            self._update(connection, "completed_at = :now", now=self._database.now(connection))

    def stamp(self) -> None:
        """Remember this run as the segment's last."""
        with self._write() as connection:
            now = self._database.now(connection)
            self._update(connection, "last_run_id = :run_id, last_run_at = :now", run_id=self._work.run_id, now=now)

    # --- the row of the segment -----------------------------------------------------------------------------------

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that begins by making sure that the lock is still ours, and that nothing we wrote is lost."""
        with self._mutex:
            if self._busy >= SECONDS_PER_TURN:
                self._database.make_way()
                self._busy = 0.0
            began = self._clock.boot()
            try:
                with self._remembering(), write_under(self._database, self._lock) as connection:
                    self._compare_token(connection)
                    yield connection
            except StateSetBack:
                with suppress(StateError):
                    self._mark_set_back()
                raise
            self._busy += self._clock.boot() - began

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Remember the tokens that a transaction has drawn; one that failed may be committed nevertheless."""
        self._drawn.clear()
        try:
            yield
        except BaseException:
            self._tokens = (*self._tokens, *self._drawn)
            raise
        self._tokens = tuple(self._drawn[-1:]) or self._tokens

    def _compare_token(self, connection: Connection) -> None:
        """Nobody else changes the segment while the lock is ours. Raises StateSetBack."""
        row = self._find(connection)
        token = None if row is None else row.change_token
        if not self._tokens:
            self._tokens = (token,)
        elif token not in self._tokens:
            self._lock.give_up()
            raise StateSetBack

    def _mark_set_back(self) -> None:
        """Have the next commands warn until a `refresh`, as of a restored state: it does not know all that was sent."""
        with self._database.write() as connection:
            self._update(connection, "restored_at = :now", now=self._database.now(connection))

    def _draw_token(self) -> str:
        token = self._draw().hex
        self._drawn.append(token)
        return token

    def _find(self, connection: Connection) -> Row | None:
        return find_segment(connection, self._lock.place.workspace, self._lock.place.segment_id)

    def _ensure(self, connection: Connection, id_type: IdType | None = None) -> int:
        """Give the key of the segment; the first write makes its row. `id_type` is given where it may change."""
        row = self._find(connection)
        if row is None:
            return self._found(connection, id_type or self._work.id_type)
        if id_type is None and row.id_type != self._work.id_type:
            raise StateError(
                f"the state knows its members by {row.id_type}, not {self._work.id_type}",
                "set `id_type` back, run `reconcile refresh SPEC --select NAME`, or drop what is stored with "
                "`reconcile state forget SPEC NAME`",
            )
        return row.segment_key

    def _found(self, connection: Connection, id_type: IdType) -> int:
        key = new_key(connection, self._lock.place)
        run(
            connection,
            "INSERT INTO reconcile_segments "
            "(workspace, segment_id, segment_key, name, id_type, lineage, serial, change_token, plan_id, plan_base) "
            "VALUES (:workspace, :segment_id, :key, :name, :id_type, :lineage, 0, :token, :plan_id, :plan_base)",
            key=key,
            name=self._lock.place.name,
            id_type=id_type.value,
            lineage=self._draw().hex,
            token=self._draw_token(),
            plan_id=self._work.plan_id,
            plan_base=None if self._work.plan_id is None else 0,
            **self._lock.place.values(),
        )
        return key

    def _touch(self, connection: Connection) -> None:
        """Raise the serial, draw a token, and remember since when all changes come from one plan file."""
        self._update(
            connection,
            "plan_base = CASE WHEN CAST(:plan_id AS TEXT) IS NULL THEN NULL "
            "WHEN plan_id = :plan_id THEN plan_base ELSE serial END, "
            "plan_id = :plan_id, serial = serial + 1, change_token = :token, name = :name",
            plan_id=self._work.plan_id,
            token=self._draw_token(),
            name=self._lock.place.name,
        )

    def _update(self, connection: Connection, assignments: str, **values: object) -> None:
        run(
            connection,
            f"UPDATE reconcile_segments SET {assignments} WHERE {_SEGMENT}",
            **values,
            **self._lock.place.values(),
        )
