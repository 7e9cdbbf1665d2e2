"""Results as JSON documents of format 1: what other people's jobs read. Fields are only ever added.

A number that is not known is null, never 0. Sums in a plan's summary are of the segments that would be changed.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, assert_never

from reconciler import __version__
from reconciler.escaping import escape_json
from reconciler.models.comparison import DriftCounts
from reconciler.models.plan import Examples, Plan, PlanStatus, Problem, SegmentPlan
from reconciler.models.results import (
    Drift,
    DriftStatus,
    History,
    Refresh,
    RefreshRow,
    RefreshStatus,
    Result,
    Run,
    RunRecord,
    RunStatus,
    SegmentDrift,
    SegmentRecord,
    SegmentRun,
    Status,
    StatusRow,
)
from reconciler.models.spec import Target
from reconciler.render import Options

FORMAT_VERSION = "1.0"

Fields = dict[str, Any]


def write(result: Result, options: Options) -> str:  # noqa: ARG001 (as every format's)
    """Write the document of a result."""
    return dump(document(result))


def document(result: Result) -> Fields:
    """Give the JSON document of a result as a dictionary."""
    match result:
        case Plan():
            body = _body("plan", result, map(plan_segment, result.segments))
            return body | {"summary": summarise(result), "plan_id": result.plan_id}
        case Run():
            body = _body("run", result, map(_run_segment, result.segments))
            return body | {"summary": summarise(result), "stopped_by": result.stopped_by}
        case Drift():
            return _body("drift", result, map(_drift_segment, result.segments)) | {"summary": summarise(result)}
        case Refresh():
            return _body("refresh", result, map(_refresh_segment, result.segments)) | {"summary": summarise(result)}
        case Status():
            orphans = [asdict(each) for each in result.orphans]
            body = _body("status", result, map(_status_segment, result.segments), orphans=orphans)
            return body | {"summary": {"segments": len(result.segments), "orphans": len(result.orphans)}}
        case History():
            head = {"format_version": FORMAT_VERSION, "kind": "history", "tool_version": __version__}
            runs = [_pick(each, PAST_RUN) for each in result.runs]
            more = {"created_at": write_time(result.created_at), "runs": runs, "warnings": list(result.warnings)}
            return head | more
        case RunRecord():
            row = result.row
            left = {"run_id": row.run_id, "workspace": row.workspace}
            if result.document:
                left = json.loads(result.document)
            around = _pick(row, ("command", "started_at", "ended_at", "exit_code"))
            return left | around | {"allowed": list(result.allowed), "plan_id": result.plan_id}
        case SegmentRecord():
            fields = _pick(result, SegmentRecord.__dataclass_fields__)
            return fields | {"last_run": result.last_run.run_id if result.last_run else None}
        case _:
            assert_never(result)


def members(workspace: str, segment_id: int, ids: Iterable[list[str]]) -> Iterator[str]:
    """Write the stored ids of a segment in pieces, however many there are."""
    head = {"format_version": FORMAT_VERSION, "kind": "members", "tool_version": __version__}
    opening = dump(head | {"workspace": workspace, "segment_id": segment_id, "members": []})
    yield opening.removesuffix("]\n}\n")
    before = "\n    "
    for some in ids:
        yield before + escape_json(",\n    ".join(json.dumps(each, ensure_ascii=False) for each in some))
        before = ",\n    "
    yield "\n  ]\n}\n"


def dump(document: Fields) -> str:
    """Write a document so that no terminal obeys its content."""
    return escape_json(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def write_time(moment: datetime | None) -> str | None:
    """Write a moment as UTC, to the second: `2026-11-21T02:00:00Z`."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


# --- parts of a document -----------------------------------------------------------------------------------------

COUNTED = (
    *("desired", "stored", "add", "remove", "resend", "unchanged", "unsettled", "unmatched"),
    *("nulls", "invalid", "duplicates"),
)
TALLIED = ("added", "removed", "resent", "rejected", "unsettled", "requests", "retries")
PAST_RUN = (
    *("run_id", "workspace", "command", "started_at", "ended_at"),
    *("exit_code", "segments", "added", "removed", "rejected", "unsettled"),
)


def _body(kind: str, result: Plan | Run | Drift | Refresh | Status, segments: Iterable[Fields], **more: Any) -> Fields:
    """The fields that these documents share; the workspace is null where the specs differ."""
    head: Fields = {"format_version": FORMAT_VERSION, "kind": kind}
    if isinstance(result, Run | Refresh):
        head["run_id"] = result.run_id
    workspaces = {each.target.workspace for each in result.segments}
    return {
        **head,
        "tool_version": __version__,
        "workspace": workspaces.pop() if len(workspaces) == 1 else None,
        "created_at": write_time(result.created_at),
        "segments": list(segments),
        **more,
        "warnings": list(result.warnings),
    }


def _pick(value: object | None, names: Iterable[str]) -> Fields:
    """The named fields of a value; all are null where there is no value."""
    found = {name: None if value is None else getattr(value, name) for name in names}
    return {name: write_time(each) if isinstance(each, datetime) else each for name, each in found.items()}


def _identify(target: Target) -> Fields:
    segment = target.segment
    return {
        "name": segment.name,
        "workspace": target.workspace,
        "segment_id": segment.segment_id,
        "id_type": segment.id_type.value,
        "spec": str(target.spec.path),
    }


def _problem(problem: Problem | None) -> Fields | None:
    return None if problem is None else asdict(problem)


# --- segments ----------------------------------------------------------------------------------------------------


def plan_segment(value: SegmentPlan) -> Fields:
    """Give the fields of one planned segment."""
    counts, remote = value.counts, value.remote
    known = counts is not None
    used_by = remote.used_by
    fields: Fields = {
        **_identify(value.target),
        "status": value.status.value,
        **_pick(counts, COUNTED),
        "requests": value.requests if known else None,
        "first_fill": value.first_fill if known else None,
        "guards": [
            {"name": each.name.value, **_pick(each, ("limit", "actual", "breached", "allowed"))}
            for each in value.verdicts
        ],
        "error": _problem(value.error),
        "engine": value.engine if known else None,
        **_pick(counts, ("adopt", "strays", "unkeyed")),
        "title": remote.title,
        "remote_members": remote.members,
        "used_by": None if used_by is None else {name: list(ids) for name, ids in vars(used_by).items()},
    }
    if value.examples != Examples():
        fields["examples"] = {"remove": list(value.examples.remove), "add": list(value.examples.add)}
    return fields


def _run_segment(value: SegmentRun) -> Fields:
    return {
        **plan_segment(value.plan),
        "status": value.status.value,
        "error": _problem(value.error),
        **_pick(value.tally, TALLIED),
        "seconds": round(value.tally.seconds, 3),
        "unmatched": value.unmatched_after,
        "confirmed": value.confirmed,
    }


def _drift_segment(value: SegmentDrift) -> Fields:
    numbers = _pick(value.counts, DriftCounts.__dataclass_fields__)
    if value.counts is None:
        numbers |= {"stored": value.stored, "unmatched": value.unmatched}
    return {
        **_identify(value.target),
        "status": value.status.value,
        **numbers,
        "title": value.title,
        "error": _problem(value.error),
    }


def _refresh_segment(value: RefreshRow) -> Fields:
    names = ("stored", "strangers", "adopted", "unmatched", "unsettled", "lingering", "unkeyed", "title")
    fields = _identify(value.target) | {"status": value.status.value}
    return fields | _pick(value, names) | {"error": _problem(value.error)}


def _status_segment(value: StatusRow) -> Fields:
    last = value.last_run
    return {
        **_identify(value.target),
        **_pick(value, ("known", "members", "unsettled", "unmatched", "rejected")),
        "last_run": None if last is None else _pick(last, ("run_id", "started_at", "ended_at", "exit_code")),
        "lock_holder": value.holder,
        "error": _problem(value.error),
    }


# --- summaries ---------------------------------------------------------------------------------------------------


def summarise(result: Plan | Run | Drift | Refresh) -> Fields:
    """Count segments by status, and ids by what becomes of them; a sum of numbers that are not all known is null."""
    match result:
        case Plan():
            changed = [each.counts for each in result.of_status(PlanStatus.CHANGES) if each.counts]
            by_status = _count_by_status(result.segments, PlanStatus)
            return {
                "segments": by_status.pop("segments"),
                "changed": by_status.pop("changes"),
                **by_status,
                "add": sum(counts.add for counts in changed),
                "remove": sum(counts.remove for counts in changed),
                "resend": sum(each.counts.resend for each in result.segments if each.counts and each.has_work),
            }
        case Run():
            rows = [_run_segment(each) for each in result.segments]
            names = ["added", "removed", "resent", "rejected", "unsettled", "unmatched"]
            return _count_by_status(result.segments, RunStatus) | _add_up(rows, names)
        case Drift():
            rows = [_drift_segment(each) for each in result.segments]
            names = ["missing", "foreign", "lingering", "unmatched", "appeared"]
            return _count_by_status(result.segments, DriftStatus) | _add_up(rows, names)
        case Refresh():
            rows = [_refresh_segment(each) for each in result.segments]
            names = ["stored", "strangers", "adopted"]
            return _count_by_status(result.segments, RefreshStatus) | _add_up(rows, names)
        case _:
            assert_never(result)


def _count_by_status(segments: Sequence[Any], statuses: type[StrEnum]) -> Fields:
    numbers = {status.value: sum(each.status is status for each in segments) for status in statuses}
    return {"segments": len(segments), **numbers}


def _add_up(rows: Sequence[Fields], names: Sequence[str]) -> Fields:
    """Add each field up; a number that is not known makes its sum unknown."""
    columns = {name: [row[name] for row in rows] for name in names}
    return {name: None if None in numbers else sum(numbers) for name, numbers in columns.items()}
