"""The document that a run left in the history, read back: so that a past run is shown as it was when it ended."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard, Verdict
from reconciler.models.plan import Cause, Head, Orphan, PlanStatus, Problem, RemoteFacts, SegmentPlan
from reconciler.models.results import Refresh, RefreshRow, RefreshStatus, Run, RunStatus, SegmentRun, Tally
from reconciler.models.spec import DestinationSettings, Ownership, Segment, Spec, Target

Values = Mapping[str, Any]

_ABOUT = ("description", "owner", "tags", "retired", "paused", "create")


def read_result(document: Values) -> Run | Refresh | None:
    """Make the result again from its document; None for one that a later version has written, or nothing of ours."""
    try:
        segments = document["segments"]
        head = (document["run_id"], datetime.fromisoformat(document["created_at"]))
        match document["kind"]:
            case "run":
                return Run(
                    *head,
                    tuple(map(_read_run, segments)),
                    tuple(document["warnings"]),
                    document["stopped_by"],
                    tuple(Orphan(**each) for each in document.get("orphans", ())),
                    undo_of=document.get("undo_of"),
                )
            case "refresh":
                return Refresh(*head, tuple(map(_read_refresh, segments)), tuple(document["warnings"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return None


def _read_run(row: Values) -> SegmentRun:
    target, status, tally = _read_target(row), RunStatus(row["status"]), _pick(Tally, row)
    plan = SegmentPlan(
        target,
        PlanStatus.CHANGES,
        Head(lineage=None if row["first_fill"] else ""),
        None if row["stored"] is None else replace(_pick(Counts, row), desired=row["desired"]),
        tuple(map(_read_verdict, row["guards"])),
        remote=RemoteFacts(row.get("title"), row.get("remote_members")),
    )
    is_whole = status in (RunStatus.APPLIED, RunStatus.UNCHANGED) and not (tally.rejected or tally.unsettled)
    return SegmentRun(
        plan,
        status,
        tally,
        row["unmatched"],
        _read_problem(row),
        row["confirmed"],
        forgotten=target.segment.retired and is_whole,
    )


def _read_refresh(row: Values) -> RefreshRow:
    names = ("stored", "strangers", "adopted", "unmatched", "unsettled", "lingering", "unkeyed", "title")
    numbers = {name: row.get(name) for name in names}
    return RefreshRow(_read_target(row), RefreshStatus(row["status"]), **numbers, error=_read_problem(row))


def _read_target(row: Values) -> Target:
    """Make a target of what the document says of it; nothing can be opened by it."""
    is_read = row.get("unkeyed") is not None
    segment = Segment.model_construct(
        name=row["name"],
        segment_id=row["segment_id"],
        segment=row.get("title") or row["name"] if row["segment_id"] is None else None,
        ownership=Ownership.EXCLUSIVE if is_read else Ownership.TRACKED,
        query="",
        source="",
        **{name: row[name] for name in _ABOUT if row.get(name)},
    )
    destination = DestinationSettings.model_construct(workspace=row["workspace"])
    return Target(Spec.model_construct(path=Path(row["spec"]), destination=destination, segments=(segment,)), segment)


def _read_verdict(guard: Values) -> Verdict:
    """Read what a guard found; the document has its figures, not its words."""
    detail = f"{guard['actual']}; the limit is {guard['limit']}"
    found = (guard["limit"], guard["actual"], guard["breached"], guard["allowed"], detail)
    return Verdict(Guard(guard["name"]), *found)


def _read_problem(row: Values) -> Problem | None:
    error = row["error"]
    if error is None:
        return None
    shared = re.sub(rf"^{re.escape(row['spec'])}(:\d+)?: ", "", error["message"])  # without the place of this segment
    cause = Cause(error["code"], shared, error["hint"])
    return Problem(error["code"], error["message"], error["hint"], cause)


def _pick(kind: type[Any], row: Values) -> Any:
    """Make a value from those of its fields that a row has."""
    names = (field.name for field in fields(kind))
    return kind(**{name: row[name] for name in names if row.get(name) is not None})
