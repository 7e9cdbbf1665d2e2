"""What the state has to tell people: each segment in numbers, and the runs that were."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from reconciler.clock import Clock, SystemClock
from reconciler.models.results import HistoryRow, LastRun, RunRecord, SegmentRecord
from reconciler.models.spec import StateSettings
from reconciler.state import open_reader
from reconciler.state.backends.base import Reader
from reconciler.state.lock import Place, find_row, read_holder
from reconciler.state.processes import Processes, this_machine
from reconciler.state.reader import count_ids

_MEMBERS_PER_LIST = 10_000


class Records:
    """Reads them. A state that is missing has none. Every method raises StateError."""

    def __init__(self, reader: Reader, clock: Clock, machine: Processes) -> None:
        self._reader = reader
        self._clock = clock
        self._machine = machine

    def segments(self, workspace: str) -> list[SegmentRecord]:
        """Every segment that the state knows of a workspace, by id."""
        with self._reader.read() as connection:
            if connection is None:
                return []
            rows = connection.execute(text(_SEGMENTS), {"workspace": workspace}).all()
            return [self._read_segment(connection, row) for row in rows]

    def segment(self, workspace: str, segment_id: int) -> SegmentRecord | None:
        with self._reader.read() as connection:
            if connection is None:
                return None
            statement = text(f"SELECT * FROM ({_SEGMENTS}) found WHERE segment_id = :segment_id")
            row = connection.execute(statement, {"workspace": workspace, "segment_id": segment_id}).one_or_none()
            return self._read_segment(connection, row) if row else None

    def holder(self, workspace: str, segment_id: int) -> str | None:
        """Who has the segment's lock now, in words; one who is dead, or whose lease has ended, has it no more."""
        with self._reader.read() as connection:
            return self._find_holder(connection, workspace, segment_id) if connection is not None else None

    def runs(self, workspace: str, limit: int) -> list[HistoryRow]:
        """The latest runs of a workspace, newest first."""
        with self._reader.read() as connection:
            if connection is None:
                return []
            statement = text(f"{_RUNS} WHERE r.workspace = :workspace {_RUN_ORDER} LIMIT :limit")
            rows = connection.execute(statement, {"workspace": workspace, "limit": limit})
            return [_read_run(row).row for row in rows]

    def run(self, run_id: str) -> list[RunRecord]:
        """One run: a record for each workspace that it worked on; empty if there was none such."""
        with self._reader.read() as connection:
            if connection is None:
                return []
            rows = connection.execute(text(f"{_RUNS} WHERE r.run_id = :run_id {_RUN_ORDER}"), {"run_id": run_id})
            return [_read_run(row) for row in rows]

    def members(self, workspace: str, segment_id: int) -> Iterator[list[str]]:
        """The stored ids in byte order: acknowledged as added, nothing unsettled or unmatched."""
        with self._reader.read() as connection:
            if connection is None:
                return
            statement = text(_MEMBERS.format(pieces=self._reader.pieces))
            values = {"workspace": workspace, "segment_id": segment_id}
            streaming = connection.execution_options(yield_per=_MEMBERS_PER_LIST)
            for ids in streaming.execute(statement, values).scalars().partitions(_MEMBERS_PER_LIST):
                yield list(ids)

    def _read_segment(self, connection: Connection, row: Row[Any]) -> SegmentRecord:
        census = count_ids(self._reader, connection, row.segment_key)
        marked = dict(map(tuple, connection.execute(text(_MARKED), {"key": row.segment_key})))
        return SegmentRecord(
            row.workspace,
            row.segment_id,
            row.name,
            row.id_type,
            row.lineage,
            row.serial,
            census.stored,
            census.unsettled,
            census.unmatched,
            marked.get("rejected", 0),
            marked.get("removed", 0),
            _moment(row.completed_at),
            _moment(row.confirmed_at),
            _read_last_run(row),
            self._find_holder(connection, row.workspace, row.segment_id),
            row.restored_at is not None,
        )

    def _find_holder(self, connection: Connection, workspace: str, segment_id: int) -> str | None:
        now = self._reader.now(connection)
        holder = read_holder(find_row(connection, Place(workspace, segment_id, "")))
        if holder is None or holder.is_gone(now, self._clock.boot(), self._machine):
            return None
        return holder.describe(now)


_SEGMENTS = (
    "SELECT s.*, r.started_at, r.ended_at, r.exit_code FROM reconcile_segments s LEFT JOIN reconcile_runs r "
    "ON r.run_id = s.last_run_id AND r.workspace = s.workspace WHERE s.workspace = :workspace ORDER BY s.segment_id"
)

_MARKED = "SELECT mark, count(*) FROM reconcile_marks WHERE segment_key = :key GROUP BY mark"

_RUNS = """
SELECT r.*, t.segments, t.added, t.removed, t.rejected, t.unsettled FROM reconcile_runs r LEFT JOIN (
  SELECT run_id, workspace, count(*) AS segments, sum(added) AS added, sum(removed) AS removed,
    sum(rejected) AS rejected, sum(unsettled) AS unsettled
  FROM reconcile_run_segments GROUP BY run_id, workspace
) t ON t.run_id = r.run_id AND t.workspace = r.workspace
"""

_RUN_ORDER = "ORDER BY r.started_at DESC, r.run_id DESC"

_MEMBERS = """
WITH segment AS (
  SELECT segment_key FROM reconcile_segments WHERE workspace = :workspace AND segment_id = :segment_id
), journal AS (
  SELECT piece.value AS id, b.seq, b.direction, b.outcome FROM {pieces}
  WHERE b.segment_key = (SELECT segment_key FROM segment)
), latest AS (
  SELECT j.* FROM journal j JOIN (SELECT id, max(seq) AS seq FROM journal GROUP BY id) l
  ON j.id = l.id AND j.seq = l.seq
)
SELECT id FROM reconcile_members WHERE segment_key = (SELECT segment_key FROM segment)
AND id NOT IN (SELECT id FROM latest)
UNION ALL
SELECT id FROM latest WHERE direction = 'add' AND outcome = 'acknowledged' AND NOT EXISTS (
  SELECT 1 FROM reconcile_marks m
  WHERE m.segment_key = (SELECT segment_key FROM segment) AND m.id = latest.id AND m.mark = 'unmatched'
  AND NOT EXISTS (
    SELECT 1 FROM journal r WHERE r.id = m.id AND r.direction = 'remove' AND r.outcome = 'acknowledged'
  )
)
ORDER BY 1
"""


def _read_run(row: Row[Any]) -> RunRecord:
    return RunRecord(
        HistoryRow(
            row.run_id,
            datetime.fromtimestamp(row.started_at, UTC),
            row.command,
            row.workspace,
            _moment(row.ended_at),
            row.exit_code,
            row.segments,
            *(None if number is None else int(number) for number in (row.added, row.removed)),
            *(None if number is None else int(number) for number in (row.rejected, row.unsettled)),
        ),
        row.tool_version,
        tuple(json.loads(row.allowed)),
        row.plan_id,
        row.document,
    )


def _read_last_run(row: Row[Any]) -> LastRun | None:
    if row.last_run_id is None:
        return None
    started_at = _moment(row.started_at) or datetime.fromtimestamp(row.last_run_at, UTC)
    return LastRun(row.last_run_id, started_at, _moment(row.ended_at), row.exit_code)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def find_orphans(records: Records, workspace: str, listed: set[int]) -> list[SegmentRecord]:
    """Segments that the state knows and no spec lists. Nothing ever touches them."""
    return [segment for segment in records.segments(workspace) if segment.segment_id not in listed]


def open_records(settings: StateSettings, *, clock: Clock | None = None, machine: Processes | None = None) -> Records:
    """Open a state to tell of it. Raises StateError."""
    clock = clock or SystemClock()
    return Records(open_reader(settings, clock), clock, machine or this_machine())
