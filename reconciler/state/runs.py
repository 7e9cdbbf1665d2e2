"""The past runs in a state, and what became of each segment in them; also of a run that was killed."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, text

from reconciler.errors import ExitCode
from reconciler.models.history import KILLED, Actor, HistoryRow, Outcome, RunPart, RunRecord, RunState
from reconciler.state.base import write_numbers
from reconciler.state.database import execute
from reconciler.state.lock import LEAST_LEASE, read_holder
from reconciler.state.runtime import Processes, ProcessIdentity, is_alive, is_dead

DECLINED = "declined"
"""The code of what somebody said no to: it is no outcome of a segment."""

_RUN_COLUMNS = (
    "run_id, workspace, command, started_at, ended_at, exit_code, tool_version, allowed, plan_id, actor_user, "
    "actor_host, actor_commit, actor_job, reason, process"
)

_TOUCHED = """(
    EXISTS (SELECT 1 FROM reconcile_run_segments t
        WHERE t.run_id = r.run_id AND t.workspace = r.workspace AND t.segment_id = :segment_id)
    OR r.ended_at IS NULL AND (
        EXISTS (SELECT 1 FROM reconcile_locks l
            WHERE l.run_id = r.run_id AND l.workspace = r.workspace AND l.segment_id = :segment_id)
        OR EXISTS (SELECT 1 FROM reconcile_audit a
            WHERE a.run_id = r.run_id AND a.workspace = r.workspace AND a.segment_id = :segment_id)
        OR EXISTS (SELECT 1 FROM reconcile_batches b JOIN reconcile_segments s ON s.segment_key = b.segment_key
            WHERE b.run_id = r.run_id AND s.workspace = r.workspace AND s.segment_id = :segment_id)
    )
)"""
"""Whether a run has worked on a segment."""

_SENT = """
SELECT segment_id, direction, 'acknowledged' AS outcome, CAST(sum(number) AS bigint) AS number FROM reconcile_audit
WHERE workspace = :workspace AND run_id = :run_id AND pending_key IS NULL AND reason IN ('query', 'retired', 'undo')
GROUP BY segment_id, direction
UNION ALL
SELECT s.segment_id, b.direction, b.outcome, CAST(sum(b.number) AS bigint) AS number FROM reconcile_batches b
JOIN reconcile_segments s ON s.segment_key = b.segment_key WHERE s.workspace = :workspace AND b.run_id = :run_id
GROUP BY s.segment_id, b.direction, b.outcome
UNION ALL
SELECT segment_id, NULL, NULL, 0 FROM reconcile_locks WHERE workspace = :workspace AND run_id = :run_id"""
"""What the audit log and the journal say of a run that has not ended; a row without a direction: it had the lock."""

_COUNTED = """FROM reconcile_run_segments t
        LEFT JOIN reconcile_runs r ON r.run_id = t.run_id AND r.workspace = t.workspace
        WHERE t.workspace = :workspace AND t.segment_id = n.segment_id AND (t.code IS NULL OR t.code <> :declined)"""
_LAST = f"""
WITH {{numbers}}, latest AS (
    SELECT n.segment_id, coalesce(
        (SELECT t.run_id {_COUNTED} AND t.ended_at IS NOT NULL ORDER BY t.ended_at DESC LIMIT 1),
        (SELECT t.run_id {_COUNTED} ORDER BY r.started_at DESC LIMIT 1)
    ) AS run_id FROM numbers n
)
SELECT n.segment_id, t.run_id, t.status, t.code, coalesce(t.ended_at, r.ended_at, r.started_at) AS at, r.started_at
FROM latest n JOIN reconcile_run_segments t
    ON t.run_id = n.run_id AND t.workspace = :workspace AND t.segment_id = n.segment_id
LEFT JOIN reconcile_runs r ON r.run_id = t.run_id AND r.workspace = t.workspace"""
"""The last run of each segment. Runs of an earlier version wrote no time for each: they count where no other does."""

_LAST_STATUSES = """
SELECT s.segment_id, (
    SELECT t.status FROM reconcile_run_segments t
    WHERE t.workspace = :workspace AND t.segment_id = s.segment_id AND t.ended_at IS NOT NULL
    AND (t.code IS NULL OR t.code <> :declined) ORDER BY t.ended_at DESC LIMIT 1
) AS status
FROM (SELECT DISTINCT segment_id FROM reconcile_run_segments WHERE workspace = :workspace) s"""

_LEFT_BY = """
WITH {numbers}, latest AS (
    SELECT s.segment_id, (SELECT max(b.seq) FROM reconcile_batches b WHERE b.segment_key = s.segment_key) AS seq
    FROM numbers n JOIN reconcile_segments s ON s.workspace = :workspace AND s.segment_id = n.segment_id
)
SELECT l.segment_id, b.run_id, b."at" FROM latest l JOIN reconcile_batches b ON b.seq = l.seq"""
"""The runs that wrote the last row of each segment's journal, which a run that ends leaves empty."""

_PARTS = text("""
SELECT run_id, workspace, segment_id, name, status, code, added, removed, rejected, unsettled, title
FROM reconcile_run_segments WHERE run_id IN :run_ids ORDER BY run_id, workspace, segment_id
""").bindparams(bindparam("run_ids", expanding=True))

_RUNS_AT_ONCE = 500

_NOT_ENDED = """
SELECT 1 FROM reconcile_runs r WHERE r.run_id = :run_id AND r.workspace = :workspace AND r.ended_at IS NULL"""


class Watch(NamedTuple):
    """By which it is judged whether a run goes on: the time of the state, that of this boot, the processes here."""

    now: float
    boot: float
    processes: Processes


def read_runs(
    connection: Connection, watch: Watch, which: str, order: str, values: Mapping[str, object]
) -> list[HistoryRow]:
    """Read the runs `r` for which `which` is true, with their segments, or with `:segment_id` alone if it is given."""
    segment_id = values.get("segment_id")
    where = f"{which} AND {_TOUCHED}" if segment_id is not None else which
    statement = f"SELECT {_RUN_COLUMNS} FROM reconcile_runs r WHERE {where} {order}"
    found_runs = execute(connection, statement, values).all()
    ended = _read_parts(connection, [row.run_id for row in found_runs if row.ended_at is not None])
    rows = []
    for row in found_runs:
        state = RunState.ENDED if row.ended_at is not None else _judge(connection, watch, row)
        is_ended = state is RunState.ENDED
        parts = ended.get((row.run_id, row.workspace), []) if is_ended else _read_known(connection, row, state)
        if row.exit_code == ExitCode.FAILED and {part.code for part in parts if part.code} == {DECLINED}:
            state = RunState.DECLINED
        if segment_id is not None:
            parts = [part for part in parts if part.segment_id == segment_id]
        found = _as_row(row, state, parts)
        if segment_id is not None and parts and found.ended_at is not None:
            outcome = Outcome(parts[0].status, parts[0].code, row.run_id, found.ended_at)
            found = replace(found, outcome=outcome)
        rows.append(found)
    return rows


def read_record(connection: Connection, row: HistoryRow) -> RunRecord:
    """Read a run whole."""
    statement = (
        "SELECT tool_version, allowed, plan_id, document FROM reconcile_runs "
        "WHERE run_id = :run_id AND workspace = :workspace"
    )
    found = execute(connection, statement, {"run_id": row.run_id, "workspace": row.workspace}).one()
    return RunRecord(row, found.tool_version, tuple(json.loads(found.allowed)), found.plan_id, found.document)


def find_statuses(connection: Connection, workspace: str) -> dict[int, str]:
    """Find the status of each segment of a workspace in the last run that ended, but for those that somebody declined.

    Unlike that of `find_outcomes` it is never that of a run that was killed.
    """
    found = execute(connection, _LAST_STATUSES, {"workspace": workspace, "declined": DECLINED}).all()
    return {row.segment_id: row.status for row in found if row.status is not None}


def find_outcomes(
    connection: Connection, watch: Watch, workspace: str, locks: Mapping[int, Row[Any]], segment_ids: Collection[int]
) -> dict[int, Outcome]:
    """Find what became of segments in their last runs, by their numbers; of one that is missing there was none, or
    somebody said no. `locks`: their rows.

    A run that was killed has left its lock or its journal; one that began later than that counts all the same.
    """
    numbers, values = write_numbers(segment_ids), {"workspace": workspace, "declined": DECLINED}
    last = {row.segment_id: row for row in execute(connection, _LAST.format(numbers=numbers), values)}
    left_by = {row.segment_id: row for row in execute(connection, _LEFT_BY.format(numbers=numbers), values)}
    outcomes = {
        row.segment_id: Outcome(row.status, row.code, row.run_id, datetime.fromtimestamp(row.at, UTC))
        for row in last.values()
    }
    for segment_id in segment_ids:
        killed = _find_killed(connection, watch, workspace, locks.get(segment_id), left_by.get(segment_id))
        if killed is None:
            continue
        found = last.get(segment_id)
        if found is None or (found.started_at or 0.0) <= killed.at.timestamp():
            outcomes[segment_id] = killed
    return outcomes


def _find_killed(
    connection: Connection, watch: Watch, workspace: str, lock: Row[Any] | None, left: Row[Any] | None
) -> Outcome | None:
    """Find the run that was killed while it worked on a segment. `left`: what its journal says of it."""
    holder = read_holder(lock)
    if holder is not None and (
        not holder.is_gone(watch.now, watch.boot, watch.processes) or is_alive(holder.identity, watch.processes)
    ):
        return None
    if lock is not None and holder is not None:
        run_id, at = lock.run_id, holder.heartbeat_at
    elif left is not None:
        run_id, at = left.run_id, left.at
    else:
        return None
    if execute(connection, _NOT_ENDED, {"run_id": run_id, "workspace": workspace}).first() is None:
        return None
    return Outcome(KILLED, None, run_id, datetime.fromtimestamp(at, UTC))


def _judge(connection: Connection, watch: Watch, run: Row[Any]) -> RunState:
    """Tell whether a run that has not ended goes on, by its process, else by its locks, else by when it began."""
    identity = None
    with suppress(ValueError, TypeError):  # an earlier version wrote none, or a later one another kind
        identity = ProcessIdentity(**json.loads(run.process))
    if identity is not None:
        if is_alive(identity, watch.processes):
            return RunState.RUNNING
        if is_dead(identity, watch.processes):
            return RunState.KILLED
    statement = "SELECT * FROM reconcile_locks WHERE run_id = :run_id"
    holders = [read_holder(row) for row in execute(connection, statement, {"run_id": run.run_id}).all()]
    held = [holder for holder in holders if holder is not None]
    if any(not holder.is_gone(watch.now, watch.boot, watch.processes) for holder in held):
        return RunState.RUNNING
    is_new = not held and watch.now - run.started_at < LEAST_LEASE
    return RunState.RUNNING if is_new else RunState.KILLED


def _read_parts(connection: Connection, run_ids: Sequence[str]) -> dict[tuple[str, str], list[RunPart]]:
    """Read the segments of ended runs, by run and workspace, in the order of their numbers."""
    parts: dict[tuple[str, str], list[RunPart]] = {}
    for start in range(0, len(run_ids), _RUNS_AT_ONCE):
        some = {"run_ids": list(run_ids[start : start + _RUNS_AT_ONCE])}
        for key, rows in groupby(connection.execute(_PARTS, some).all(), itemgetter(0, 1)):
            parts[key] = [RunPart._make(row[2:]) for row in rows]
    return parts


def _read_known(connection: Connection, run: Row[Any], state: RunState) -> list[RunPart]:
    """Read what is known of a run that has not ended."""
    values = {"run_id": run.run_id, "workspace": run.workspace}
    names = "SELECT segment_id, name, title FROM reconcile_segments WHERE workspace = :workspace"
    known = {row.segment_id: row for row in execute(connection, names, {"workspace": run.workspace})}
    parts: dict[int, RunPart] = {}
    for row in execute(connection, _SENT, values):
        called = known.get(row.segment_id)
        name, title = (f"id:{row.segment_id}", None) if called is None else (called.name, called.title)
        part = parts.get(row.segment_id) or RunPart(row.segment_id, name, state.value, title=title)
        if row.direction is not None:
            field = (
                {"add": "added", "remove": "removed"}[row.direction] if row.outcome == "acknowledged" else "unsettled"
            )
            part = part._replace(**{field: getattr(part, field) + row.number})
        parts[row.segment_id] = part
    return [parts[segment_id] for segment_id in sorted(parts)]


def _as_row(run: Row[Any], state: RunState, parts: Sequence[RunPart]) -> HistoryRow:
    is_known = run.ended_at is not None and bool(parts)
    names = ("added", "removed", "rejected", "unsettled")
    numbers = {name: sum(getattr(part, name) for part in parts) if is_known else None for name in names}
    return HistoryRow(
        run_id=run.run_id,
        started_at=datetime.fromtimestamp(run.started_at, UTC),
        command=run.command,
        workspace=run.workspace,
        ended_at=None if run.ended_at is None else datetime.fromtimestamp(run.ended_at, UTC),
        exit_code=run.exit_code,
        segments=len(parts) if is_known else None,
        **numbers,
        actor=Actor(run.actor_user, run.actor_host, run.actor_commit, run.actor_job),
        reason=run.reason,
        status=state,
        parts=tuple(parts),
    )
