"""Past runs: in words, and as the results that they had, read back from the documents that they left."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reconciler.errors import DECLINED, SIGNALLED, ExitCode
from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard, Verdict
from reconciler.models.history import Actor, HistoryRow, RunPart, RunRecord, RunState, shorten
from reconciler.models.plan import Cause, Head, Orphan, PlanStatus, Problem, RemoteFacts, SegmentPlan
from reconciler.models.results import Refresh, RefreshRow, RefreshStatus, Run, RunStatus, SegmentRun, StatusRow, Tally
from reconciler.models.spec import DestinationSettings, Ownership, Segment, Spec, Target
from reconciler.render.json_documents import write_time
from reconciler.render.sentences import BAD, NOT_CONFIRMED, count, join, list_numbers, quote

_RESULTS: Mapping[int, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.BLOCKED: "blocked",
    ExitCode.STALE: "stale",
    ExitCode.LOCKED: "locked",
    ExitCode.PARTIAL: "partly done",
}
_MOST_NAMES, _MOST_RUNS = 3, 3


def tell_result(row: HistoryRow) -> str:
    """`done`, `partly done (6)`, `killed`."""
    if row.status is not RunState.ENDED:
        return row.status.value
    if row.exit_code is None or row.exit_code == ExitCode.DONE:
        return "done"
    word = "stopped" if row.exit_code > SIGNALLED else _RESULTS.get(row.exit_code, "ended")
    return f"{word} ({row.exit_code})"


def tell_deeds(row: HistoryRow) -> str:
    """`failed (source): churn; 20 entered, 10 left in vip`."""
    moved = list_numbers((sum(part.added for part in row.parts), "entered"))
    moved += list_numbers((sum(part.removed for part in row.parts), "left"))
    clauses = _tell_troubles(row.parts) if row.is_over else []
    if moved:
        changed = [part for part in row.parts if part.added or part.removed]
        where = changed[0].name if len(changed) == 1 else count(len(changed), "segment")
        clauses.append(f"{'' if row.is_over else 'at least '}{', '.join(moved)} in {where}")
    refreshed = [part.name for part in row.parts if part.status == RefreshStatus.REFRESHED]
    if refreshed:
        clauses.append(f"refreshed: {list_some(refreshed)}")
    if not row.is_over:
        known = [part.name for part in row.parts if not (part.added or part.removed)]
        clauses += [f"was at {list_some(known)}"] if known else []
        clauses = clauses or ["nothing is known to be sent"]
    clauses += list_numbers(
        (sum(part.rejected for part in row.parts), "rejected"), (sum(part.unsettled for part in row.parts), "unsettled")
    )
    return "; ".join(clauses) or "nothing changed"


def tell_actor(actor: Actor) -> str:
    """`ann on laptop`; empty where neither is known."""
    parts = [actor.user or "somebody", f"on {actor.host}" if actor.host else ""]
    return " ".join(filter(None, parts)) if actor.user or actor.host else ""


def list_facts(record: RunRecord) -> list[str]:
    """What the history adds to the document of a run, each a sentence."""
    row, actor = record.row, record.row.actor
    times = [time for moment in (row.started_at, row.ended_at) if (time := write_time(moment))]
    by = tell_actor(actor)
    return [
        f"Run {shorten(row.run_id)}, {row.command}, {' to '.join(times)}: {tell_result(row)}",
        *([f"By {by}"] if by else []),
        *([f"Commit: {actor.commit}"] if actor.commit else []),
        *([f"Job: {actor.job}"] if actor.job else []),
        *([f"Reason: {row.reason}"] if row.reason else []),
        *([f"Allowed: {', '.join(record.allowed)}"] if record.allowed else []),
        *([f"Plan: {record.plan_id}"] if record.plan_id else []),
    ]


def summarise_unended(row: HistoryRow) -> str:
    """Say of a run that has not ended what is known of it."""
    if row.status is RunState.RUNNING:
        return "It goes on. This is what the state knows by now."
    known = "This is what the state knows of it" if row.parts else "The state knows of nothing that it sent"
    return f"It was killed. {known}. Run it again: it goes on where it was cut."


def list_some(names: Sequence[str]) -> str:
    """`a, b, c and 4 more`."""
    more = [f"{len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
    return join([*names[:_MOST_NAMES], *more])


def remark_on_status(rows: Iterable[StatusRow]) -> list[tuple[str, str, str]]:
    """Say of the runs that failed or were killed what to do next, each run once: remarks of a Report."""
    runs: dict[str, list[StatusRow]] = {}
    for row in rows:
        if row.last is not None and row.last.status in BAD:
            runs.setdefault(row.last.run_id, []).append(row)
    remarks = []
    for run_id, several in runs.items():
        command = f"reconcile history {quote(str(several[0].target.spec.path))} {shorten(run_id)}"
        killed = [row.name for row in several if row.last and row.last.status == RunState.KILLED]
        if killed:
            told = f"Run {shorten(run_id)} was killed while it worked on {list_some(killed)}"
            remarks.append((f"{told}: run it again, and it goes on. What is known of it: `{command}`", "yellow", "!"))
        else:
            remarks.append((f"Why, for {list_some([row.name for row in several])}: `{command}`", "", ""))
    left = len(remarks) - _MOST_RUNS
    return [*remarks[:_MOST_RUNS], *([(f"{count(left, 'more run')} had trouble.", "", "")] if left > 0 else [])]


def _tell_troubles(parts: Sequence[RunPart]) -> list[str]:
    troubles: dict[str, list[str]] = {}
    for status in BAD:
        for part in parts:
            if part.status == status:
                word = NOT_CONFIRMED if part.code == DECLINED else f"{status}{f' ({part.code})' if part.code else ''}"
                troubles.setdefault(word, []).append(part.name)
    return [f"{word}: {list_some(names)}" for word, names in troubles.items()]


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
