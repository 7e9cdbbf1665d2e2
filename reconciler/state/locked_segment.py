"""One segment's state under its lock: the only place that changes what the state says of a segment."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType

from sqlalchemy import Connection, insert

from reconciler.errors import ReconcileError, StateError, StateSetBack
from reconciler.models.batches import Batch, BatchResult, Direction
from reconciler.models.comparison import Adoption, Findings
from reconciler.models.history import Reason
from reconciler.models.id_status import Mark, StateCounts
from reconciler.models.ids import IdType
from reconciler.models.members import MembersAtSource, other_place
from reconciler.models.plan import Head
from reconciler.models.spec import SpecIdentity
from reconciler.state import at_source, audit, journal, members
from reconciler.state.base import SegmentRow
from reconciler.state.creations import Creations
from reconciler.state.database import find_segment, read_head
from reconciler.state.lock import ChangeTokens, HeldLock, delete_segment, update_segment
from reconciler.state.tables import SEGMENTS

SECONDS_PER_TURN = 1.0
"""After this time of writing, other segments write: their heartbeats wait behind ours."""


class LockedSegment:
    """Reads and writes one segment's state under its lock. Methods may be called from several threads.

    Every write compares the fence and raises LeaseLost when it has moved.
    """

    def __init__(
        self,
        lock: HeldLock,
        id_type: IdType,
        run_id: str,
        plan_id: str | None,
        spec: SpecIdentity | None = None,
        title: str | None = None,
        *,
        reason: Reason = Reason.QUERY,
        audits: bool = True,
        source: MembersAtSource | None = None,
    ) -> None:
        """`title`: the one by which the spec names the segment. `reason`: why it is sent what is sent.

        `audits`: what changes is written into the audit log. `source`: where the spec has the members; None: here.
        """
        self.lease = lock
        self.taken_over_at = lock.taken_over_at
        """When the lock was last taken from a holder that may live, by the state's clock; None: never."""
        self._database = lock.database
        self._segment = lock.segment
        self._id_type = id_type
        self._run_id = run_id
        self._plan_id = plan_id
        self._spec = spec
        self._title = title
        self.creations = Creations(lock, self._write, title, run_id)
        self._reason = reason
        self._at_source = None if source is None else at_source.MembersWriter(source, lock, self._write)
        self._audited = lock.segment if audits else None
        self._mutex = threading.RLock()
        self._seconds_written = 0.0
        self._has_brought = False
        """Batches that are not settled yet may have members that the state has brought here."""
        self._tokens = ChangeTokens()

    # --- reading --------------------------------------------------------------------------------------------------

    def head(self) -> Head:
        with self._database.read() as connection:
            return read_head(connection, self._segment.workspace, self._find(connection))

    def count(self) -> StateCounts:
        """Count what the state holds of this segment now."""
        with self._database.read() as connection:
            row = self._find(connection)
            if row is None:
                return StateCounts(0, 0, 0)
            return members.count_ids(self._database.pieces, connection, row.segment_key)

    def now(self) -> float:
        """Return Unix seconds by the state's clock."""
        with self._database.read() as connection:
            return self._database.now(connection)

    def doubtful_at(self) -> float | None:
        """Return when the latest attempt of unknown outcome was given up, even if an acknowledged one followed."""
        with self._database.read() as connection:
            row = self._find(connection)
            return None if row is None else journal.find_doubtful_at(connection, row.segment_key)

    def attempted_at(self) -> float | None:
        """Return when the latest attempt ended that was or may have been accepted."""
        with self._database.read() as connection:
            row = self._find(connection)
            return None if row is None else row.attempted_at

    # --- the journal ----------------------------------------------------------------------------------------------

    def intend(self, batches: Sequence[Batch]) -> list[int]:
        """Make the intent to send durable; return a journal number per batch."""
        with self._write() as connection:
            key = self._ensure_row(connection)
            self._raise_serial(connection)
            now = self._database.now(connection)
            return journal.write_intents(connection, key, self._run_id, batches, self._reason, now)

    def retry(self, seq: int) -> None:
        """Record, durably, that one more attempt of this batch is about to start."""
        with self._write() as connection:
            journal.write_retry(connection, seq, self._database.now(connection))

    def settle(self, results: Sequence[tuple[int, BatchResult]]) -> None:
        """Record outcomes. A batch that certainly was not applied puts its ids back to where they were."""
        with self._write() as connection:
            self._settle(connection, results)

    def split(self, seq: int, result: BatchResult, parts: Sequence[Batch]) -> list[int]:
        """Replace one batch by parts of it, the intents of which are then durable; return their journal numbers."""
        with self._write() as connection:
            key, unknown_at = journal.find_batch(connection, seq)
            now, skew = self._settle(connection, [(seq, result)])
            if result.unknown_at is not None:
                unknown_at = min(result.unknown_at + skew, now)
            return journal.write_intents(connection, key, self._run_id, parts, self._reason, now, unknown_at)

    def _settle(self, connection: Connection, results: Sequence[tuple[int, BatchResult]]) -> tuple[float, float]:
        """Record outcomes; return the time, and the seconds that the state's clock is ahead of this machine's."""
        now = self._database.now(connection)
        skew = now - self.lease.clock.wall()
        journal.write_outcomes(connection, results, now, skew)
        if any(result.may_be_applied for _, result in results):
            self._update(connection, "attempted_at = :now", now=now)
        self._raise_serial(connection)
        return now, skew

    def recover(self) -> None:
        """Make unknown, as of now, what a dead run left without an outcome (see `journal.recover`)."""
        with self._write() as connection:
            now = self._database.now(connection)
            row = self._find(connection)
            if row is None:
                return
            recovered = journal.recover(connection, row.segment_key, now, self.taken_over_at)
            changes = "attempted_at = CASE WHEN :recovered OR attempted_at > :now THEN :now ELSE attempted_at END"
            self._update(connection, changes, recovered=recovered, now=now)
        members.sweep(self._write, self._segment)

    def bring_here(self, find: Callable[[], Iterator[list[str]]]) -> None:
        """Let the state itself have members that stand at the source and are about to be added, until the next flush.

        What becomes of an id is counted from the batches alone, and an id that is added was no member at the source.
        """
        if self._at_source is None:
            return
        self.compact()
        for ids in find():
            with self._change(ids) as (connection, key):
                members.bring_here(connection, key)
            self._has_brought = True

    def compact(self, known: Mapping[int, Batch] = MappingProxyType({})) -> None:
        """Move settled batches into the members, in chunks. `known`: batches at hand, by their journal number."""
        while True:
            with self._write() as connection:
                row = self._find(connection)
                if row is None:
                    return
                key, id_type = row.segment_key, IdType(row.id_type)
                if not journal.compact_chunk(self._database, connection, key, id_type, self._audited, known):
                    members.prune(connection, key, self._database.now(connection))
                    break
        if self._at_source is not None and not self._has_brought and self._at_source.is_flush_due(row):
            with suppress(ReconcileError), self._mutex:  # the state keeps them, and the end of the run tries again
                self._at_source.flush()

    # --- what was found out ---------------------------------------------------------------------------------------

    def reject(self, ids: Sequence[str]) -> None:
        """Remember ids that were refused by themselves."""
        with self._change(ids) as (connection, key):
            members.add_marks(connection, key, Mark.REJECTED, self._database.now(connection))

    def add_found(self, find: Callable[[], Iterator[list[str]]], reason: Reason) -> None:
        """Make members of ids that a read-back showed, a list of `find` in each transaction; unsettled ones stay so.

        `reason`: what the audit log says of it.
        """
        self.compact()
        for ids in find():
            with self._change(ids) as (connection, key):
                self._audit(connection, Direction.ADD, reason, members.list_new(connection, key))
                members.drop_marks(connection, key, Mark.UNMATCHED, Mark.REMOVED)
                members.add_members(connection, key, unless=Mark.UNSETTLED)

    def record(self, findings: Findings, *, proves: bool = False) -> None:
        """Write down what a read-back showed. `proves`: also an id that was sent (see `Listing.proved`)."""
        self.add_found(findings.appeared, Reason.UNMATCHED)
        for ids in findings.vanished():
            with self._change(ids) as (connection, key):
                self._audit(connection, Direction.REMOVE, Reason.UNMATCHED, ids)
                members.drop_members(connection, key)
                members.add_marks(connection, key, Mark.UNMATCHED, self._database.now(connection))
        for ids in findings.lingering():
            with self._change(ids) as (connection, key):
                members.drop_marks(connection, key, Mark.REMOVED)
                members.drop_members(connection, key, were_stored=False)
                now = self._database.now(connection)
                members.add_marks(connection, key, Mark.UNSETTLED, now, Direction.REMOVE, overwrite=False)
        for ids in findings.gone():
            with self._change(ids) as (connection, key):
                members.drop_marks(connection, key, Mark.REMOVED)
        with self._write() as connection:
            changes = "confirmed_at = :now, proved_at = CASE WHEN :proves THEN :now ELSE proved_at END"
            self._update(connection, changes, now=self._database.now(connection), proves=proves)

    def replace_snapshot(self, adoption: Adoption) -> None:
        """Replace the snapshot by what a `refresh` read, in one transaction. Unsettled marks become echoes.

        It is written under a new key, in chunks, and the key is put in the place of the old one at once: what the audit
        log says of it counts from then on, too.
        """
        self.recover()
        self.compact()
        with self._write() as connection:
            old = self._find(connection)
            self._ensure_row(connection, adoption.id_type)
        with self._write() as connection:
            key = members.new_key(connection, self._segment)
        there, seen = None, list[str]()
        if self._at_source is not None:
            there, seen = self._at_source.write_adopted(adoption.members())
        for ids in adoption.members() if there is None else ():
            with self._write() as connection:
                self._database.pick(connection, ids)
                members.add_members(connection, key)
        for ids in adoption.unmatched():
            with self._write() as connection:
                self._database.pick(connection, ids)
                members.add_marks(connection, key, Mark.UNMATCHED, self._database.now(connection))
        for ids in adoption.lingering():
            with self._write() as connection:
                self._database.pick(connection, ids)
                members.drop_members(connection, key)
                members.add_marks(connection, key, Mark.UNSETTLED, self._database.now(connection), Direction.REMOVE)
        old_type = adoption.id_type if old is None else IdType(old.id_type)
        for direction, find, id_type in (
            (Direction.REMOVE, adoption.left, old_type),
            (Direction.ADD, adoption.entered, adoption.id_type),
        ):
            for ids in find() if self._audited else ():
                with self._write() as connection:
                    self._audit(connection, direction, Reason.REFRESH, ids, id_type=id_type, pending_key=key)
        if old is not None and old.id_type == adoption.id_type:
            with self._write() as connection:
                members.keep_marks(connection, old.segment_key, key)
                if seen:
                    self._database.pick(connection, seen)
                    members.drop_marks(connection, key, Mark.REJECTED)
        with self._write() as connection:
            now = self._database.now(connection)
            changes = "segment_key = :key, id_type = :id_type, confirmed_at = :now, restored_at = NULL"
            self._update(connection, changes, key=key, id_type=adoption.id_type.value, now=now)
            if there is not None:
                at_source.record(connection, self._segment, there)
            audit.publish(connection, key, now)
            self._raise_serial(connection)
        members.sweep(self._write, self._segment)
        if self._at_source is not None and there is not None:
            self._at_source.drop_generations(there.generation)

    # --- members at the source ------------------------------------------------------------------------------------

    def check_place(self) -> None:
        """Raise StateError where the state has the members in another place than the spec."""
        with self._database.read() as connection:
            row = self._find(connection)
        if row is not None and (row.members_generation is not None) != (self._at_source is not None):
            raise other_place(is_at_source=self._at_source is None)

    def flush(self) -> None:
        """Bring to the source what has changed in the members, and record the head that they have there then.

        Nothing at the source counts before it is recorded. Cut short anywhere, the next flush appends the same changes
        again, under a higher number. Raises SourceError, StateError.
        """
        if self._at_source is not None:
            self.compact()
            with self._mutex:  # the changes stay as they are meanwhile
                self._at_source.flush()

    def complete(self) -> None:
        """Record that a run of this segment came to its end with nothing unsettled by it."""
        with self._write() as connection:
            key = self._ensure_row(connection)
            # Ids that an earlier run saw refused are forgotten: what is still wanted was tried again since.
            members.drop_rejected(connection, key, self.lease.acquired_at)
            self._update(connection, "completed_at = :now", now=self._database.now(connection))

    def forget(self) -> bool:
        """Drop all that the state knows of the segment, but its history, if nobody is held; tell whether it did.

        The next run ends what a kill leaves of it, as after `state forget`.
        """
        self.compact()  # what was acknowledged is in the audit log then
        self.flush()
        with self._write() as connection:
            row = self._find(connection)
            if row is None or members.count_ids(self._database.pieces, connection, row.segment_key).held:
                return False
            if self._at_source is not None:  # cut short from here on, nothing there is missed
                self._update(connection, "members_generation = 0")
        if self._at_source is not None:
            self._at_source.source.drop(row.members_key or "", ())
        with self._write() as connection:
            self._tokens.drop()
            delete_segment(connection, self._segment)
        members.sweep(self._write, self._segment)
        return True

    def stamp(self) -> None:
        """Record this run as the segment's last."""
        with self._write() as connection:
            now = self._database.now(connection)
            self._update(connection, "last_run_id = :run_id, last_run_at = :now", run_id=self._run_id, now=now)

    def keep_listing(self, known: Head, title: str | None) -> None:
        """Record the name and the spec under which the segment is listed, and the title by which the spec names it.

        One that is named by its number gets its `title` at Customer.io, if that is known. Nothing is written where this
        is what the state says already; no serial is raised.
        """
        spec, title = self._spec or known.spec, self._title or title or known.title
        if (known.name, known.spec, known.title) == (self._segment.name, spec, title):
            return
        with self._write() as connection:
            changes = "name = :name, title = :title, origin = :origin, spec = :spec"
            origin, path = (None, None) if spec is None else (spec.origin, spec.path)
            self._update(connection, changes, name=self._segment.name, title=title, origin=origin, spec=path)

    # --- transactions and the row of the segment ------------------------------------------------------------------

    @contextmanager
    def _change(self, ids: Sequence[str]) -> Iterator[tuple[Connection, int]]:
        """A transaction in which ids are picked, and the segment's key; it raises the serial."""
        with self._write() as connection:
            self._database.pick(connection, ids)
            yield connection, self._ensure_row(connection)
            self._raise_serial(connection)

    def _audit(
        self,
        connection: Connection,
        direction: Direction,
        reason: Reason,
        ids: Sequence[str],
        *,
        id_type: IdType | None = None,
        pending_key: int | None = None,
    ) -> None:
        """Write into the audit log what this transaction changes; `pending_key`: see `audit.write`."""
        if self._audited is not None and ids:
            now = self._database.now(connection)
            change = audit.Change(self._run_id, now, direction, reason, ids, id_type or self._id_type)
            audit.write(connection, self._audited, [change], pending_key)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that first makes sure that the lock is still ours, and that nothing we wrote is lost."""
        with self._turn():
            try:
                with self._tokens.transaction(), self.lease.write() as connection:
                    row = self._find(connection)
                    if not self._tokens.check(None if row is None else row.change_token):
                        self.lease.lose()
                        raise StateSetBack
                    yield connection
            except StateSetBack:
                # The state does not know all that was sent: the next commands warn until a `refresh`, as of a backup.
                with suppress(StateError), self._database.write() as connection:
                    self._update(connection, "restored_at = :now", now=self._database.now(connection))
                raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one thread write; other segments first, where this one has written for long."""
        with self._mutex:
            if self._database.pause and self._seconds_written >= SECONDS_PER_TURN:
                self.lease.clock.sleep(self._database.pause)
                self._seconds_written = 0.0
            began = self.lease.clock.boot()
            yield
            self._seconds_written += self.lease.clock.boot() - began

    def _find(self, connection: Connection) -> SegmentRow | None:
        return find_segment(connection, self._segment.workspace, self._segment.segment_id)

    def _ensure_row(self, connection: Connection, id_type: IdType | None = None) -> int:
        """Return the key of the segment; the first write makes its row. `id_type` is given where it may change."""
        row = self._find(connection)
        if row is not None:
            if id_type is None and row.id_type != self._id_type:
                raise StateError(
                    f"the state knows its members by {row.id_type}, not {self._id_type}",
                    "set `id_type` back, run `reconcile refresh SPEC --select NAME`, or drop what is stored with "
                    "`reconcile state forget SPEC NAME`",
                )
            return row.segment_key
        key = members.new_key(connection, self._segment)
        row_values = {
            **self._segment.values(),
            "segment_key": key,
            "name": self._segment.name,
            "title": self._title,
            "origin": None if self._spec is None else self._spec.origin,
            "spec": None if self._spec is None else self._spec.path,
            "id_type": (id_type or self._id_type).value,
            "lineage": uuid.uuid4().hex,
            "serial": 0,
            "change_token": self._tokens.draw(),
            "plan_id": self._plan_id,
            "plan_base": None if self._plan_id is None else 0,
        }
        if self._at_source is not None:
            row_values |= at_source.FIRST_VALUES | {"members_key": at_source.draw_key(connection, self._segment)}
        connection.execute(insert(SEGMENTS), row_values)
        return key

    def _raise_serial(self, connection: Connection) -> None:
        """Raise the serial, draw a token, and remember since when all changes come from one plan file."""
        changes = (
            "plan_base = CASE WHEN CAST(:plan_id AS TEXT) IS NULL THEN NULL "
            "WHEN plan_id = :plan_id THEN plan_base ELSE serial END, "
            "plan_id = :plan_id, serial = serial + 1, change_token = :token, name = :name"
        )
        self._update(connection, changes, plan_id=self._plan_id, token=self._tokens.draw(), name=self._segment.name)

    def _update(self, connection: Connection, assignments: str, **values: object) -> None:
        update_segment(connection, self._segment, assignments, **values)
