"""What the state says to people: the numbers of each segment, its stored ids, and the past runs."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, text

from reconciler.clock import Clock
from reconciler.errors import StateError
from reconciler.models.comparison import ROW_END
from reconciler.models.history import HistoryRow, LastRun, Outcome, RunRecord
from reconciler.models.id_status import IdStatus
from reconciler.models.members import MembersAtSource
from reconciler.models.results import SegmentRecord
from reconciler.state.base import SegmentRow, write_numbers, write_statuses
from reconciler.state.database import Reader, execute, find_segment
from reconciler.state.lock import find_rows, read_holder
from reconciler.state.members import count_ids
from reconciler.state.runs import Watch, find_outcomes, read_record, read_runs
from reconciler.state.runtime import Processes

_MEMBERS_PER_LIST = 10_000

_SEGMENTS = """
WITH {numbers} SELECT s.*, r.started_at, r.ended_at, r.exit_code
FROM numbers n JOIN reconcile_segments s ON s.workspace = :workspace AND s.segment_id = n.segment_id
LEFT JOIN reconcile_runs r ON r.run_id = s.last_run_id AND r.workspace = s.workspace"""

_NUMBERS = "SELECT workspace, segment_id FROM reconcile_segments ORDER BY workspace, segment_id"
_MARKED = "SELECT mark, count(*) FROM reconcile_marks WHERE segment_key = :key GROUP BY mark"

_DOCUMENTS = text(
    "SELECT run_id, document FROM reconcile_runs "
    "WHERE workspace = :workspace AND document IS NOT NULL AND run_id IN :run_ids"
).bindparams(bindparam("run_ids", expanding=True))
_DOCUMENTS_AT_ONCE = 10
"""Runs of which the documents are in memory at once."""

_RUN_ORDER = "ORDER BY r.started_at DESC, r.run_id DESC"
_BEGINS_SO = "substr(r.run_id, 1, length(:prefix)) = :prefix"


@dataclass(frozen=True)
class Standing:
    """What a state says of some segments of a workspace at one moment, by their numbers.

    A segment that has never been written to may have an outcome and a holder: its first run failed, or goes on.
    """

    segments: dict[int, SegmentRecord] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """What became of each in its last run; one before its first is missing."""
    holders: dict[int, str] = field(default_factory=dict)
    """Descriptions of the holders of their locks; none where a lock is free, its holder dead, or its lease ended."""


@dataclass(frozen=True)
class Records:
    """Reads a state without a lock; a state that is missing has no records. Every method raises StateError."""

    reader: Reader
    clock: Clock
    processes: Processes

    def segment(self, workspace: str, segment_id: int) -> SegmentRecord | None:
        return self.standing(workspace, [segment_id]).segments.get(segment_id)

    def segments(self) -> list[SegmentRecord]:
        """Return all segments, in the order of their workspaces and ids."""
        with self.reader.read() as connection:
            if connection is None:
                return []
            numbers: dict[str, list[int]] = {}
            for workspace, segment_id in execute(connection, _NUMBERS):
                numbers.setdefault(workspace, []).append(segment_id)
            found = [self._read_standing(connection, workspace, some).segments for workspace, some in numbers.items()]
            return [each[segment_id] for each in found for segment_id in sorted(each)]

    def standing(self, workspace: str, segment_ids: Collection[int]) -> Standing:
        """Return what is known of some segments of a workspace, in one transaction."""
        with self.reader.read() as connection:
            return Standing() if connection is None else self._read_standing(connection, workspace, segment_ids)

    def runs(
        self, workspace: str, limit: int, *, prefix: str = "", segment_id: int | None = None, since: float = 0.0
    ) -> list[HistoryRow]:
        """Return the latest runs of a workspace, newest first.

        `prefix`: with an id that begins so; `segment_id`: that worked on this segment, and of them its part alone;
        `since`: that began at this time, Unix seconds, or later.
        """
        which = f"r.workspace = :workspace AND {_BEGINS_SO} AND r.started_at >= :since"
        values: dict[str, object] = {"workspace": workspace, "prefix": prefix, "since": since, "limit": limit}
        if segment_id is not None:
            values["segment_id"] = segment_id
        with self.reader.read() as connection:
            if connection is None:
                return []
            return read_runs(connection, self._watch(connection), which, f"{_RUN_ORDER} LIMIT :limit", values)

    def run(self, run_id: str) -> list[RunRecord]:
        """Return one run: a record for each workspace that it worked on; none if the state does not know it."""
        with self.reader.read() as connection:
            if connection is None:
                return []
            rows = read_runs(connection, self._watch(connection), "r.run_id = :run_id", _RUN_ORDER, {"run_id": run_id})
            return [read_record(connection, row) for row in rows]

    def documents(self, workspace: str, run_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the ids of runs and the documents that they left, in no order; none for what left none."""
        with self.reader.read() as connection:
            if connection is None:
                return
            for start in range(0, len(run_ids), _DOCUMENTS_AT_ONCE):
                some = {"workspace": workspace, "run_ids": list(run_ids[start : start + _DOCUMENTS_AT_ONCE])}
                for row in connection.execute(_DOCUMENTS, some):
                    yield row.run_id, row.document

    def members(self, workspace: str, segment_id: int, source: MembersAtSource | None = None) -> Iterator[list[str]]:
        """Yield the stored ids in byte order: acknowledged as added, nothing unsettled or unmatched.

        Those at a source are read there, all before the first is given. Raises StateError without it, SourceError.
        """
        with self.reader.read() as connection:
            segment = find_segment(connection, workspace, segment_id) if connection is not None else None
            if connection is None or segment is None:
                return
            statement = f"""
            WITH {write_statuses(self.reader.pieces)}
            SELECT id FROM reconcile_members
            WHERE segment_key = :key AND id NOT IN (SELECT id FROM id_status WHERE decided)
            UNION ALL
            SELECT id FROM id_status WHERE status = {IdStatus.STORED:d}
            ORDER BY 1"""
            values = {"key": segment.segment_key}
            found = execute(connection, statement, values, rows_at_once=_MEMBERS_PER_LIST).scalars()
            if segment.members_head is not None:
                yield from self._add_those_at_source(connection, segment, source, set(found))
                return
            for ids in found.partitions(_MEMBERS_PER_LIST):
                yield list(ids)

    def _add_those_at_source(
        self, connection: Connection, segment: SegmentRow, source: MembersAtSource | None, found: set[str]
    ) -> Iterator[list[str]]:
        key, head = segment.members_key or "", segment.members_head
        if source is None or head is None:
            raise StateError("the members stand at a source", "name a spec that has it")
        statement = f"""
        WITH {write_statuses(self.reader.pieces)} SELECT id FROM id_status WHERE decided
        UNION SELECT id FROM reconcile_dropped WHERE segment_key = :key"""
        others = set(execute(connection, statement, {"key": segment.segment_key}).scalars())
        source.check(key, head, segment.attempted)
        with source.read(key, head) as rows:
            for block in rows:
                found.update(each for each in block.split(chr(ROW_END)) if each not in others)
        ids = sorted(found)  # by code points, which is the order of the bytes of UTF-8
        for at in range(0, len(ids), _MEMBERS_PER_LIST):
            yield ids[at : at + _MEMBERS_PER_LIST]

    def _read_standing(self, connection: Connection, workspace: str, segment_ids: Collection[int]) -> Standing:
        """Read what is known of segments: some statements for all of them, and two for each that count its ids.

        Those may take a while each, and a server may end what takes too long.
        """
        watch = self._watch(connection)
        locks = find_rows(connection, workspace, segment_ids)
        outcomes = find_outcomes(connection, watch, workspace, locks, segment_ids)
        standing = Standing(outcomes=outcomes)
        for segment_id, row in locks.items():
            holder = read_holder(row)
            if holder is not None and not holder.is_gone(*watch):
                standing.holders[segment_id] = holder.describe(watch.now)
        statement = _SEGMENTS.format(numbers=write_numbers(segment_ids))
        for row in execute(connection, statement, {"workspace": workspace}).all():
            counts = count_ids(self.reader.pieces, connection, row.segment_key)
            marked = dict(map(tuple, execute(connection, _MARKED, {"key": row.segment_key})))
            last_run = None
            if row.last_run_id is not None:
                started_at = _moment(row.started_at) or datetime.fromtimestamp(row.last_run_at, UTC)
                last_run = LastRun(row.last_run_id, started_at, _moment(row.ended_at), row.exit_code)
            standing.segments[row.segment_id] = SegmentRecord(
                workspace=row.workspace,
                segment_id=row.segment_id,
                name=row.name,
                id_type=row.id_type,
                lineage=row.lineage,
                serial=row.serial,
                members=counts.stored,
                unsettled=counts.unsettled,
                unmatched=counts.unmatched,
                rejected=marked.get("rejected", 0),
                removed=marked.get("removed", 0),
                completed_at=_moment(row.completed_at),
                confirmed_at=_moment(row.confirmed_at),
                last_run=last_run,
                holder=standing.holders.get(row.segment_id),
                restored=row.restored_at is not None,
                title=row.title,
                last=outcomes.get(row.segment_id),
            )
        return standing

    def _watch(self, connection: Connection) -> Watch:
        return Watch(self.reader.now(connection), self.clock.boot(), self.processes)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
