"""Results as JSON documents of format 1: what other people's jobs read. Fields are only ever added.

A number that is not known is null, never 0. Sums in a plan's summary are of the segments that would be changed.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from reconciler.models.counts import Counts
from reconciler.models.drift import Drift, DriftCounts, DriftStatus, SegmentDrift
from reconciler.models.guards import Verdict
from reconciler.models.plan import Examples, Plan, PlanStatus, Problem, SegmentPlan, UsedBy
from reconciler.models.results import (
    History,
    HistoryRow,
    LastRun,
    OrphanRow,
    Refresh,
    RefreshRow,
    RefreshStatus,
    Status,
    StatusRow,
)
from reconciler.models.run import Run, RunStatus, SegmentRun, Tally
from reconciler.models.spec import Target
from reconciler.render.escaping import escape_data

FORMAT_VERSION = "1.0"

Fields = dict[str, Any]

# JSON leaves these as they are, and a terminal may obey them, or an encoder refuse them.
_UNSAFE = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def plan(value: Plan, tool_version: str, *, plan_id: str | None = None) -> str:
    """Write a plan. `plan_id`: that of the plan file it was sealed into."""
    segments = value.segments
    summary = summarise_plan(value)
    head = _head("plan", tool_version, value.created_at, [each.target for each in segments])
    body = {"segments": [plan_segment(each) for each in segments], "warnings": list(value.warnings)}
    return dump(head | body | {"summary": summary, "plan_id": plan_id})


def run(value: Run, tool_version: str) -> str:
    """Write a run."""
    segments = value.segments
    head = _head("run", tool_version, value.created_at, [each.plan.target for each in segments], value.run_id)
    body = {"segments": [_run_segment(each) for each in segments], "warnings": list(value.warnings)}
    return dump(head | body | {"summary": summarise_run(value), "stopped_by": value.stopped_by})


def drift(value: Drift, tool_version: str) -> str:
    """Write a drift report."""
    segments = value.segments
    head = _head("drift", tool_version, value.created_at, [each.target for each in segments])
    body = {"segments": [_drift_segment(each) for each in segments], "warnings": list(value.warnings)}
    return dump(head | body | {"summary": summarise_drift(value)})


def refresh(value: Refresh, tool_version: str) -> str:
    """Write what a refresh did."""
    segments = value.segments
    head = _head("refresh", tool_version, value.created_at, [each.target for each in segments], value.run_id)
    body = {"segments": [_refresh_segment(each) for each in segments], "warnings": list(value.warnings)}
    return dump(head | body | {"summary": summarise_refresh(value)})


def status(value: Status, tool_version: str) -> str:
    """Write what the state holds."""
    head = _head("status", tool_version, value.created_at, [each.target for each in value.segments])
    body = {
        "segments": [_status_segment(each) for each in value.segments],
        "orphans": [_orphan(each) for each in value.orphans],
        "warnings": list(value.warnings),
    }
    return dump(head | body | {"summary": {"segments": len(value.segments), "orphans": len(value.orphans)}})


def history(value: History, tool_version: str) -> str:
    """Write the list of past runs."""
    head = {"format_version": FORMAT_VERSION, "kind": "history", "tool_version": tool_version}
    runs = [_past_run(each) for each in value.runs]
    return dump(head | {"created_at": write_time(value.created_at), "runs": runs, "warnings": list(value.warnings)})


def past_run(document: Fields) -> str:
    """Write one past run whole: the document that it left."""
    return dump(document)


def members(workspace: str, segment_id: int, ids: Iterable[list[str]], tool_version: str) -> Iterator[str]:
    """Write the stored ids of a segment in pieces, however many there are."""
    head = {"format_version": FORMAT_VERSION, "kind": "members", "tool_version": tool_version}
    opening = dump(head | {"workspace": workspace, "segment_id": segment_id, "members": []})
    yield opening.removesuffix("]\n}\n")
    before = "\n    "
    for some in ids:
        yield before + _make_safe(",\n    ".join(json.dumps(each, ensure_ascii=False) for each in some))
        before = ",\n    "
    yield "\n  ]\n}\n"


def dump(document: Fields) -> str:
    """Write a document so that no terminal obeys what stands in it."""
    return _make_safe(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def _make_safe(text: str) -> str:
    return escape_data(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def write_time(moment: datetime | None) -> str | None:
    """Write a moment as UTC, to the second: `2026-11-21T02:00:00Z`."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


# --- the head of a document --------------------------------------------------------------------------------------


def _head(
    kind: str, tool_version: str, created_at: datetime, targets: Sequence[Target], run_id: str | None = None
) -> Fields:
    names = {target.workspace for target in targets}
    head: Fields = {"format_version": FORMAT_VERSION, "kind": kind}
    if run_id is not None:
        head["run_id"] = run_id
    workspace = names.pop() if len(names) == 1 else None
    return head | {"tool_version": tool_version, "workspace": workspace, "created_at": write_time(created_at)}


def _identify(target: Target) -> Fields:
    segment = target.segment
    return {
        "name": segment.name,
        "workspace": target.workspace,
        "segment_id": segment.segment_id,
        "id_type": segment.id_type.value,
        "spec": str(target.spec.path),
    }


# --- a segment of a plan or a run --------------------------------------------------------------------------------

COUNTED = (
    "desired",
    "stored",
    "add",
    "remove",
    "resend",
    "unchanged",
    "unsettled",
    "unmatched",
    "nulls",
    "invalid",
    "duplicates",
)


def plan_segment(value: SegmentPlan) -> Fields:
    """Give the fields of one planned segment."""
    known = value.counts is not None
    fields = _identify(value.target) | {"status": value.status.value} | _count(value.counts)
    fields |= {
        "requests": value.requests if known else None,
        "first_fill": value.first_fill if known else None,
        "guards": [_guard(verdict) for verdict in value.verdicts],
        "error": _problem(value.error),
    }
    return fields | _extras(value)


def _run_segment(value: SegmentRun) -> Fields:
    fields = plan_segment(value.plan) | {"status": value.status.value, "error": _problem(value.error)}
    return fields | _tally(value.tally) | {"unmatched": count_unmatched(value), "confirmed": value.confirmed}


def count_unmatched(value: SegmentRun) -> int | None:
    """Unmatched ids at the end of a run; where nothing was sent they are those of its plan."""
    counts = value.plan.counts
    if value.unmatched is not None or counts is None or value.tally.touched:
        return value.unmatched
    return counts.unmatched


def _count(counts: Counts | None) -> Fields:
    return {name: None if counts is None else getattr(counts, name) for name in COUNTED}


def _tally(tally: Tally) -> Fields:
    return {
        "added": tally.added,
        "removed": tally.removed,
        "resent": tally.resent,
        "rejected": tally.rejected,
        "unsettled": tally.unsettled,
        "requests": tally.requests,
        "retries": tally.retries,
        "seconds": round(tally.seconds, 3),
    }


def _guard(verdict: Verdict) -> Fields:
    return {
        "name": verdict.name.value,
        "limit": verdict.limit,
        "actual": verdict.actual,
        "breached": verdict.breached,
        "allowed": verdict.allowed,
    }


def _problem(problem: Problem | None) -> Fields | None:
    return None if problem is None else {"code": problem.code, "message": problem.message, "hint": problem.hint}


def _extras(value: SegmentPlan) -> Fields:
    counts, remote = value.counts, value.remote
    fields: Fields = {
        "engine": None if counts is None else value.engine,
        "adopt": None if counts is None else counts.adopt,
        "strays": None if counts is None else counts.strays,
        "unkeyed": None if counts is None else counts.unkeyed,
        "title": remote.title,
        "remote_members": remote.members,
        "used_by": _used_by(remote.used_by),
    }
    if value.examples != Examples():
        fields["examples"] = {"remove": list(value.examples.remove), "add": list(value.examples.add)}
    return fields


def _used_by(used_by: UsedBy | None) -> Fields | None:
    if used_by is None:
        return None
    return {
        "campaigns": list(used_by.campaigns),
        "sent_newsletters": list(used_by.sent_newsletters),
        "draft_newsletters": list(used_by.draft_newsletters),
    }


# --- segments of the other documents -----------------------------------------------------------------------------


def _drift_segment(value: SegmentDrift) -> Fields:
    names = list(DriftCounts.__dataclass_fields__)
    numbers = {name: None if value.counts is None else getattr(value.counts, name) for name in names}
    if value.counts is None:
        numbers |= {"stored": value.stored, "unmatched": value.unmatched}
    said = {"title": value.title, "error": _problem(value.error)}
    return _identify(value.target) | {"status": value.status.value} | numbers | said


def _refresh_segment(value: RefreshRow) -> Fields:
    names = ("stored", "strangers", "adopted", "unmatched", "unsettled", "lingering", "unkeyed", "title")
    said = {name: getattr(value, name) for name in names}
    return _identify(value.target) | {"status": value.status.value} | said | {"error": _problem(value.error)}


def _status_segment(value: StatusRow) -> Fields:
    names = ("known", "members", "unsettled", "unmatched", "rejected")
    said = {name: getattr(value, name) for name in names}
    more = {"last_run": _last_run(value.last_run), "lock_holder": value.holder, "error": _problem(value.error)}
    return _identify(value.target) | said | more


def _last_run(value: LastRun | None) -> Fields | None:
    if value is None:
        return None
    times = {"started_at": write_time(value.started_at), "ended_at": write_time(value.ended_at)}
    return {"run_id": value.run_id} | times | {"exit_code": value.exit_code}


def _orphan(value: OrphanRow) -> Fields:
    return {name: getattr(value, name) for name in OrphanRow.__dataclass_fields__}


def _past_run(value: HistoryRow) -> Fields:
    names = ("exit_code", "segments", "added", "removed", "rejected", "unsettled")
    head = {"run_id": value.run_id, "workspace": value.workspace, "command": value.command}
    times = {"started_at": write_time(value.started_at), "ended_at": write_time(value.ended_at)}
    return head | times | {name: getattr(value, name) for name in names}


# --- summaries ---------------------------------------------------------------------------------------------------


def summarise_plan(value: Plan) -> dict[str, int]:
    """Count segments by status, and the changes that would be sent."""
    changed = [each.counts for each in value.of_status(PlanStatus.CHANGES) if each.counts]
    return {
        "segments": len(value.segments),
        "changed": len(value.of_status(PlanStatus.CHANGES)),
        "unchanged": len(value.of_status(PlanStatus.UNCHANGED)),
        "blocked": len(value.of_status(PlanStatus.BLOCKED)),
        "failed": len(value.of_status(PlanStatus.FAILED)),
        "add": sum(counts.add for counts in changed),
        "remove": sum(counts.remove for counts in changed),
        "resend": sum(each.counts.resend for each in value.segments if each.counts and each.has_work),
    }


def summarise_run(value: Run) -> dict[str, int | None]:
    """Count segments by status, and what became of the ids."""
    by_status = {status.value: sum(each.status is status for each in value.segments) for status in RunStatus}
    numbers = {name: _total(value, name) for name in ("added", "removed", "resent", "rejected", "unsettled")}
    unmatched = add_known(count_unmatched(each) for each in value.segments)
    return {"segments": len(value.segments), **by_status, **numbers, "unmatched": unmatched}


def _total(value: Run, name: str) -> int:
    return sum(getattr(each.tally, name) for each in value.segments)


def summarise_drift(value: Drift) -> dict[str, int | None]:
    """Count segments by status, and members by what is wrong with them."""
    by_status = {status.value: sum(each.status is status for each in value.segments) for status in DriftStatus}
    rows = [_drift_segment(each) for each in value.segments]
    names = ("missing", "foreign", "lingering", "unmatched", "appeared")
    numbers = {name: add_known(row[name] for row in rows) for name in names}
    return {"segments": len(value.segments), **by_status, **numbers}


def summarise_refresh(value: Refresh) -> dict[str, int | None]:
    """Count segments by status, and members by what became of them."""
    by_status = {status.value: sum(each.status is status for each in value.segments) for status in RefreshStatus}
    names = ("stored", "strangers", "adopted")
    return {"segments": len(value.segments), **by_status, **{name: _add_field(value.segments, name) for name in names}}


def _add_field(values: Iterable[object], name: str) -> int | None:
    get: Callable[[object], int | None] = lambda each: None if each is None else getattr(each, name)  # noqa: E731
    return add_known(get(each) for each in values)


def add_known(numbers: Iterable[int | None]) -> int | None:
    """Add numbers up; one that is not known makes the sum unknown."""
    found = list(numbers)
    return None if None in found else sum(number for number in found if number is not None)
