"""The page of `report`: what is wrong first, then members over time, each segment and each run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from reconciler.errors import DECLINED
from reconciler.models.history import HistoryRow, RunPart, RunState, shorten
from reconciler.models.overview import GuardReach, Overview, Point, SegmentPast
from reconciler.models.results import StatusRow
from reconciler.render import past_runs, sentences
from reconciler.render.charts import draw_flow, draw_line, draw_spark
from reconciler.render.html import name_class, write_page
from reconciler.render.json_documents import write_time
from reconciler.render.report import MARKS, minute, span

KIND = "report"
RECENT = timedelta(days=30)

FEW_SEGMENTS = 60
"""With more of them each has a smaller chart and fewer runs, and the page stays below 5 MB."""

RUNS_IN_DETAIL = 40
MOST_RUNS, MOST_PARTS, MOST_GUARDS, MOST_READ_BACKS, MOST_FAILURES = 500, 25, 20, 50, 30

_WORDS = {str(status): mark for status, mark in MARKS.items()}
_WRONG = ("bad", "warn")


def write_overview(overview: Overview) -> str:
    """Write the page. It has no id of a member, as the result has none."""
    is_small = len(overview.segments) <= FEW_SEGMENTS
    starts = [run.started_at for run in overview.runs]
    segments = [_show_segment(at, each, overview, starts, is_small) for at, each in enumerate(overview.segments)]
    segments.sort(key=lambda each: (each["chip"]["class"] not in _WRONG, each["chip"]["class"] != "bad"))
    anchors = {each["key"]: each["anchor"] for each in segments}
    workspaces = list(dict.fromkeys(each.row.target.workspace for each in overview.segments))
    runs = overview.runs
    # The guards that came nearest to their limits, over all runs that were read.
    nearest = [(each.share or 0, past, each) for past in overview.segments for each in past.nearest if each.share]
    nearest.sort(key=lambda each: -each[0])
    values = {
        "title": workspaces[0] if len(workspaces) == 1 else sentences.count(len(workspaces), "workspace"),
        "specs": past_runs.list_some(overview.specs),
        "made": minute(overview.created_at).text,
        "since": minute(runs[-1].started_at).text if runs else None,
        "tiles": _list_tiles(overview, segments),
        "wrong": [each for each in segments if each["chip"]["class"] in _WRONG],
        "members": draw_line(_add_up(overview), 400),
        "flow": draw_flow([(run.started_at, run.added or 0, run.removed or 0) for run in reversed(runs)], 200),
        "segments": segments,
        "guards": [
            _show_reach(reach, runs) | _link(past.row, anchors) for _share, past, reach in nearest[:MOST_GUARDS]
        ],
        "read_backs": _list_read_backs(overview, anchors),
        "failures": [_show_failure(each, runs) for each in overview.failures[:MOST_FAILURES]],
        "orphans": overview.orphans,
        "orphan_advice": sentences.ORPHAN_ADVICE,
        "runs": [_show_run(at, run, anchors) for at, run in enumerate(runs[:MOST_RUNS])],
        "number_of_runs": len(runs),
        "counted_runs": sentences.count(len(runs), "run"),
        "read_documents": overview.read_documents,
        "warnings": overview.warnings,
    }
    return write_page("overview.html", KIND, values)


def _list_tiles(overview: Overview, segments: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """What the page begins with: each a number, what it is of, and its class."""
    begin = overview.created_at - RECENT
    recent = [run for run in overview.runs if run.started_at >= begin]
    rows = [each.row for each in overview.segments]
    wrong = sum(each["chip"]["class"] in _WRONG for each in segments)
    unmatched = sum(row.unmatched or 0 for row in rows)
    is_unread = all(row.error is not None for row in rows)
    return [
        (*_count(len(rows), "segment"), ""),
        (*(("–", "members") if is_unread else _count(sum(row.members or 0 for row in rows), "member")), ""),
        (f"+{sum(run.added or 0 for run in recent):,}", "entered in 30 days", "good"),
        (f"−{sum(run.removed or 0 for run in recent):,}", "left in 30 days", "left"),
        (f"{wrong:,}", "needs attention" if wrong == 1 else "need attention", "bad" if wrong else ""),
        (f"{unmatched:,}", "unmatched", "warn" if unmatched else ""),
        (*_count(len(overview.orphans), "orphan"), "warn" if overview.orphans else ""),
    ]


def _count(number: int, noun: str) -> tuple[str, str]:
    """`1,234` and `members`, of which a tile shows the number larger."""
    written, _, counted = sentences.count(number, noun).partition(" ")
    return written, counted


def _add_up(overview: Overview) -> list[tuple[datetime, int]]:
    """The members of all segments together after each run, and now."""
    changes: dict[int, int] = {}
    for each in overview.segments:
        before = 0
        for point in each.points:
            if point.members is not None:
                changes[point.run] = changes.get(point.run, 0) + point.members - before
                before = point.members
    points, total = [], 0
    for run in sorted(changes, reverse=True):
        total += changes[run]
        points.append((overview.runs[run].started_at, total))
    if any(each.row.error is not None for each in overview.segments):
        return points
    return [*points, (overview.created_at, sum(each.row.members or 0 for each in overview.segments))]


# --- one segment -------------------------------------------------------------------------------------------------


def _show_segment(
    at: int, past: SegmentPast, overview: Overview, starts: Sequence[datetime], is_small: bool
) -> dict[str, Any]:
    row, runs, segment = past.row, overview.runs, past.row.target.segment
    known = [(starts[point.run], point.members) for point in past.points if point.members is not None]
    if row.members is not None:
        known.append((overview.created_at, row.members))
    begin = overview.created_at - RECENT
    before = next((members for moment, members in reversed(known) if moment <= begin), None)
    title = row.title or segment.segment or ""
    flow = [(starts[point.run], point.added, point.removed) for point in past.points]
    if row.error is not None:
        chip = {"text": "✗ not read", "class": "bad"}
    else:  # what the last run made of it
        chip = _make_chip(row.last.status, row.last.code) if row.last else {"text": "new", "class": "quiet"}
    nearest = max((each for each in past.nearest if each.share), key=lambda each: each.share or 0, default=None)
    return {
        "key": (row.target.workspace, segment.segment_id),
        "anchor": f"s{at}",
        "name": row.name,
        "title": "" if title == row.name else title,
        "chip": chip,
        "when": minute(row.last.at).text if row.last else "",
        "members": row.members,
        "change": None if before is None or row.members is None else row.members - before,
        "unmatched": row.unmatched,
        "spark": draw_spark([members for _, members in known]),
        "nearest": None if nearest is None else _show_reach(nearest, runs),
        "chart": draw_line(known, 300 if is_small else 50),
        "flow": draw_flow(flow, 100 if is_small else 50),
        "facts": _list_facts(row),
        "problem": row.error,
        "guards": [_show_reach(each, runs) for each in past.latest],
        "judged": minute(runs[past.latest[0].run].started_at).text if past.latest else "",
        "runs": [_show_point(point, runs[point.run]) for point in past.points[-1 : -(15 if is_small else 6) : -1]],
        "more": max(len(past.points) - (14 if is_small else 5), 0),
    }


def _make_chip(status: str, code: str | None = None) -> dict[str, str]:
    if code == DECLINED:
        return {"text": f"! {sentences.NOT_CONFIRMED}", "class": "warn"}
    marker, style = _WORDS.get(status, ("✗", "red"))
    shown = "quiet" if status == "paused" else name_class(style)
    return {"text": f"{marker} {status.replace('_', ' ')}", "class": shown}


@cache
def _is_wrong(status: str, code: str | None) -> bool:
    return _make_chip(status, code)["class"] in _WRONG


def _list_facts(row: StatusRow) -> list[tuple[str, str]]:
    segment = row.target.segment
    facts = {
        "Customer.io": "" if segment.segment_id is None else f"segment {segment.segment_id}",
        "Workspace": row.target.workspace,
        "Owner": segment.owner,
        "Description": segment.description,
        "Tags": ", ".join(segment.tags),
        "Spec": str(row.target.spec.path),
        "Ids": segment.id_type.value,
        "Unsettled": f"{row.unsettled:,}" if row.unsettled else "",
        "Rejected": f"{row.rejected:,}" if row.rejected else "",
        "Lock": row.holder or "",
        "Restored": "from a backup; run `reconcile refresh`" if row.restored else "",
        "Retired": "nobody belongs here any more" if segment.retired else "",
    }
    return [(name, value) for name, value in facts.items() if value]


def _show_point(point: Point, run: HistoryRow) -> dict[str, Any]:
    return {
        "run": shorten(run.run_id),
        "when": minute(run.started_at).text,
        "chip": _make_chip(point.status, point.code),
        "code": point.code,
        "added": point.added,
        "removed": point.removed,
        "members": point.members,
    }


# --- guards, read-backs, failures --------------------------------------------------------------------------------


def _show_reach(reach: GuardReach, runs: Sequence[HistoryRow]) -> dict[str, Any]:
    """How near a guard came. `width`: of its meter, in percent."""
    share = reach.share
    width = 100 if reach.breached else round(100 * min(share or 0, 1))
    level = "bad" if reach.breached else "warn" if (share or 0) >= 0.75 else "good"
    return {
        "guard": reach.guard,
        "limit": reach.limit,
        "actual": reach.actual,
        "percent": None if share is None or share > 99 else f"{100 * share:.0f}%",
        "width": width,
        "class": level,
        "breached": reach.breached,
        "allowed": reach.allowed,
        "when": minute(runs[reach.run].started_at).text,
        "run": shorten(runs[reach.run].run_id),
    }


def _list_read_backs(overview: Overview, anchors: Mapping[Any, str]) -> dict[str, Any]:
    """What the last read-backs found: the segments in which something differed, and how many agreed, or had none."""
    differing, agreed, never = [], 0, 0
    for past in overview.segments:
        found = past.read_back
        if found is None:
            never += 1
        if found is None and not past.row.unmatched:
            continue
        if found and not (past.row.unmatched or found.strangers or found.lingering or found.agreed is False):
            agreed += 1
            continue
        row = {
            "when": minute(overview.runs[found.run].started_at).text if found else "",
            "unmatched": past.row.unmatched,
            "strangers": found.strangers if found else None,
            "lingering": found.lingering if found else None,
        }
        differing.append(row | _link(past.row, anchors))
    differing.sort(key=lambda each: -(each["unmatched"] or 0) - (each["strangers"] or 0))
    return {"rows": differing[:MOST_READ_BACKS], "more": len(differing[MOST_READ_BACKS:]), "agreed": agreed} | {
        "never": never
    }


def _link(row: StatusRow, anchors: Mapping[Any, str]) -> dict[str, Any]:
    return {"name": row.name, "anchor": anchors[row.target.workspace, row.target.segment.segment_id]}


def _show_failure(failure: Any, runs: Sequence[HistoryRow]) -> dict[str, Any]:
    return {
        "chip": _make_chip(failure.status),
        "code": "" if failure.code == failure.status else failure.code,
        "times": failure.times,
        "names": past_runs.list_some(sorted(failure.names)),
        "when": minute(runs[failure.last_run].started_at).text,
        "messages": failure.messages,
        "hint": failure.hint,
    }


# --- one run -----------------------------------------------------------------------------------------------------


def _show_run(at: int, run: HistoryRow, anchors: Mapping[Any, str]) -> dict[str, Any]:
    result = past_runs.tell_result(run)
    is_bad = run.exit_code not in (0, None) or run.status is RunState.KILLED
    parts = sorted(run.parts, key=lambda part: (not _is_wrong(part.status, part.code), -part.added - part.removed))
    told = parts[:MOST_PARTS] if at < RUNS_IN_DETAIL else []
    made = [_make_chip(part.status, part.code) for part in parts]
    chips = {chip["text"]: chip for chip in made}
    numbers = Counter(chip["text"] for chip in made)  # in the order of the first of each
    facts = {
        "Run": shorten(run.run_id),
        "By": past_runs.tell_actor(run.actor),
        "Commit": run.actor.commit or "",
        "Job": run.actor.job or "",
        "Reason": run.reason or "",
        "Ended": write_time(run.ended_at) or "",
    }
    return {
        "id": shorten(run.run_id),
        "when": minute(run.started_at).text,
        "took": span(run.started_at, run.ended_at).text,
        "command": run.command,
        "chip": {"text": result, "class": "warn" if is_bad else "quiet" if run.status is RunState.RUNNING else "good"},
        "added": run.added or 0,
        "removed": run.removed or 0,
        "deeds": past_runs.tell_deeds(run),
        "facts": [(name, value) for name, value in facts.items() if value] if at < RUNS_IN_DETAIL else [],
        "statuses": [(f"{number:,}", chips[text]) for text, number in numbers.items()],
        "parts": [_show_part(part, run, anchors) for part in told],
        "more": len(parts) - len(told),
    }


def _show_part(part: RunPart, run: HistoryRow, anchors: Mapping[Any, str]) -> dict[str, Any]:
    return {
        "name": part.name,
        "anchor": anchors.get((run.workspace, part.segment_id)),
        "chip": _make_chip(part.status, part.code),
        "code": "" if part.code == DECLINED else part.code,
        "added": part.added,
        "removed": part.removed,
        "rejected": part.rejected,
        "unsettled": part.unsettled,
    }
