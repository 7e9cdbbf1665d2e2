"""From a result to the Report that the formats for people write."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from reconciler.escaping import clean
from reconciler.models.guards import ALLOW_FLAGS, Guard
from reconciler.models.history import History, RunRecord, Trace, shorten
from reconciler.models.plan import Cause, Plan, PlanStatus, Problem, SegmentPlan
from reconciler.models.results import (
    Drift,
    DriftStatus,
    Refresh,
    RefreshRow,
    RefreshStatus,
    Result,
    Run,
    RunStatus,
    SegmentDrift,
    SegmentRecord,
    SegmentRow,
    SegmentRun,
    Segments,
    Status,
    StatusRow,
)
from reconciler.models.spec import Ownership
from reconciler.render import Options, past_runs, report, sentences
from reconciler.render.causes import share_causes
from reconciler.render.json_documents import document
from reconciler.render.past_runs import read_result
from reconciler.render.report import Breach, Cell, Column, FirstFill, Line, Report, fill
from reconciler.render.trace import describe_trace

_ORDER = list(report.MARKS)


def describe(result: Result, options: Options) -> Report:
    """Put a result into words and tables."""
    match result:
        case History():
            number, is_one = len(result.runs), len({each.workspace for each in result.runs}) <= 1
            history = report.HISTORY[:-1] if is_one else report.HISTORY
            return Report(
                "history",
                f"{sentences.count(number, 'run')}, newest first." if number else "No runs yet.",
                columns=history,
                lines=[
                    Line(
                        fill(history, each),
                        shorten(each.run_id),
                        clauses=[f"reason: {each.reason}"] if each.reason else [],
                    )
                    for each in result.runs
                ],
                noun="runs",
                warnings=result.warnings,
            )
        case Segments():
            is_one = len(result.workspaces) == 1
            columns = report.WORKSPACE_SEGMENTS[1 if is_one else 0 :]
            remarks = []
            if any(each.is_free for each in result.segments):
                specs = " ".join(map(sentences.quote, result.specs)) if len(result.specs) == 1 else "SPEC"
                remarks = [(f"To manage more: `reconcile segments {specs} --scaffold` prints their entries.", "", "")]
            begin = f"Workspace {result.workspaces[0]}: " if is_one else f"{len(result.workspaces):,} workspaces: "
            return Report(
                "segments",
                begin + sentences.summarise_segments(result),
                columns=columns,
                lines=[Line(fill(columns, each)) for each in result.segments],
                remarks=remarks,
                warnings=result.warnings,
            )
        case Trace():
            return describe_trace(result)
        case RunRecord():
            return _describe_past_run(result, options)
        case SegmentRecord():
            last = shorten(result.last_run.run_id) if result.last_run else None
            return _describe_document(document(result) | {"last_run": last}, "state")
    targets = [each.target for each in result.segments]
    names = Counter(target.segment.name for target in targets)
    shared = {name for name, number in names.items() if number > 1}.union(options.shared_names)
    match result:
        case Plan():
            found = Report(
                "plan" if result.undo_of is None else "undo",
                sentences.summarise_plan(result),
                facts=[] if result.undo_of is None else [f"Undo of run {result.undo_of[:8]}"],
                columns=[*report.SEGMENT, *report.COUNTS, report.NOTES],
                quiet="unchanged",
                trouble_title="Blocked and failed",
                first_fill=_describe_first_fill(result.segments, shared, options, is_over=False),
            )
        case Run():
            begun = (each for each in result.segments if each.status is not RunStatus.FAILED and not each.tally.created)
            plans = [_tell_strangers(each) for each in begun]
            found = Report(
                "run",
                sentences.summarise_run(result),
                facts=[] if result.undo_of is None else [f"Undo of run {result.undo_of[:8]}"],
                columns=[*report.SEGMENT, *report.RUN],
                quiet="unchanged",
                first_fill=_describe_first_fill(plans, shared, options, is_over=True),
            )
        case Drift():
            drifted = [each.target for each in result.segments if each.status is DriftStatus.DRIFTED]
            legend = sentences.DRIFT_LEGEND.format(specs=sentences.name_specs(drifted))
            found = Report(
                "drift",
                sentences.summarise_drift(result),
                columns=[*report.SEGMENT, *report.DRIFT],
                quiet="in sync",
                trouble_title="Drifted and failed"
                if any(each.counts and each.error for each in result.segments)
                else "Failed",
                remarks=[(legend, "", "")] if drifted else [],
            )
        case Refresh():
            remarks = [(sentences.LINGERING_LEGEND, "", "")] if any(each.unsettled for each in result.segments) else []
            if any(each.adopted for each in result.segments):
                remarks.append((sentences.ADOPTED_LEGEND, "yellow", ""))
            found = Report(
                "refresh",
                sentences.summarise_refresh(result),
                columns=[*report.SEGMENT, *report.REFRESH],
                quiet="refreshed, nobody new",
                remarks=remarks,
            )
        case Status():
            holders = [(each.name, each.holder) for each in result.segments if each.holder]
            found = Report(
                "status",
                sentences.summarise_status(result),
                columns=report.STATUS,
                trouble_title="Failed",
                remarks=[
                    *((f"{name} is locked by {clean(holder)}.", "yellow", "!") for name, holder in holders),
                    *past_runs.remark_on_status(result.segments),
                ],
            )
        case _:
            assert_never(result)
    lines = [_describe_segment(each, shared, options.verbose) for each in result.segments]
    if isinstance(result, Status):
        lines.sort(key=lambda line: line.rank)
    lines, troubles = share_causes(lines)
    if isinstance(result, Plan):
        troubles.sort(key=lambda line: line.rank)
    workspaces = {target.workspace for target in targets}
    place = workspaces.pop() if len(workspaces) == 1 else sentences.count(len(workspaces), "workspace")
    unlisted = result.orphans if isinstance(result, Plan | Run | Status) else ()
    orphans = [fill(report.ORPHANS, each) for each in unlisted]
    return replace(found, place=place, lines=lines, troubles=troubles, orphans=orphans, warnings=result.warnings)


def _describe_segment(row: SegmentRow | StatusRow, shared: Collection[str], verbose: bool) -> Line:
    target = row.target
    name = sentences.label(target, shared)
    if isinstance(row, StatusRow):
        trouble = sentences.describe_trouble(row)
        is_bad = row.last is not None and row.last.status in sentences.BAD
        rank = sentences.BAD.index(row.last.status) if row.last and is_bad else len(sentences.BAD)
        rank = -1 if row.error is not None else rank
        return Line(fill(report.STATUS, row), name, target, rank, before_name=0, trouble=trouble, problem=row.error)
    status = row.status
    rank, quiet = _ORDER.index(status), status in (PlanStatus.UNCHANGED, RunStatus.UNCHANGED, DriftStatus.IN_SYNC)
    plan: SegmentPlan | None = None
    clauses: list[str] = []
    owner: str | None = None
    match row:
        case SegmentPlan():
            plan, cells = row, [*fill(report.COUNTS, row.counts), report.NOTES.fill(row)]
            if row.counts is not None:
                clauses, owner = sentences.list_details(row, row.counts), target.segment.owner
                if verbose and row.engine == "in_database":
                    clauses.append("compared in the database")
                if row.compare == "local" and target.is_at_source and not target.segment.retired:
                    clauses.append("compared here, not at the source")
            if status is PlanStatus.BLOCKED:
                rank = -1  # in a plan, before those that failed
        case SegmentRun():
            quiet = quiet and not target.segment.retired  # its entry may go, which is worth a line
            plan, cells, clauses = row.plan, fill(report.RUN, row), sentences.list_run_details(row)
        case SegmentDrift():
            cells = fill(report.DRIFT, row)
        case RefreshRow():
            cells = fill(report.REFRESH, row)
            quiet = status is RefreshStatus.REFRESHED and not row.strangers
        case _:
            assert_never(row)
    is_blocked = status in (PlanStatus.BLOCKED, RunStatus.BLOCKED)
    breaches = []
    for verdict in plan.verdicts if plan is not None and is_blocked else ():
        if verdict.breached:  # an allowed one is listed, too
            flag = ALLOW_FLAGS.get(verdict.name)
            command = f"{flag} {sentences.quote(name)}" if flag else None
            breach = Breach(f"{verdict.name}: {verdict.detail}", command, verdict.allowed)
            if verdict.name is Guard.FRESHNESS:
                breach = replace(breach, step=sentences.LOAD_FIRST)
            breaches.append(breach)
    examples = (("remove", plan.examples.remove), ("add", plan.examples.add)) if plan else ()
    return Line(
        [*fill(report.SEGMENT, row), *cells],
        name,
        target,
        rank=rank,
        quiet=quiet,
        trouble=sentences.describe_trouble(row),
        problem=None if is_blocked else row.error,
        breaches=breaches,
        clauses=clauses,
        examples=[(verb, ids) for verb, ids in examples if ids],
        owner=owner,
    )


def _tell_strangers(run: SegmentRun) -> SegmentPlan:
    """Give the plan of a segment with the members that the read-back found there, where nobody asked before."""
    if run.strangers is None or run.plan.remote.members is not None:
        return run.plan
    return replace(run.plan, remote=replace(run.plan.remote, members=run.strangers))


def _describe_first_fill(
    plans: Sequence[SegmentPlan], shared: Collection[str], options: Options, *, is_over: bool
) -> FirstFill | None:
    """Warn of the segments of which the state knows nothing; None where there is nothing to warn of."""
    filled = [plan for plan in plans if plan.counts is not None and plan.first_fill and not plan.creates]
    unknown, is_at_risk = [], False
    for plan in filled:
        name, command = sentences.label(plan.target, shared), None
        number = plan.remote.members
        members = sentences.count(number or 0, "member")
        if plan.target.segment.ownership is Ownership.EXCLUSIVE:
            found = "it was read" if number is None else f"it had {members} when it was read"
            clause = f"{found}; members that the query does not return are removed"
        else:  # no plan reads the members: those that the state does not know stay until a refresh
            is_at_risk = options.sqlite_unattended
            spec = sentences.quote(str(plan.target.spec.path))
            needed = None
            if plan.target.spec.destination.app_api_key is None:
                needed = "`app_api_key`"
            elif plan.remote.unanswered:
                needed = "an `app_api_key` that the App API answers to (see the warnings)"
            command = None if needed else f"reconcile refresh {spec} --select {sentences.quote(name)}"
            if number is None and is_over:
                end = f"(`reconcile drift {spec}` counts them)"
                if needed:
                    end = f"(`drift`, which counts them, and `refresh`, which takes them over, need {needed})"
                clause = f"members that it had before, if any, are unknown to the state, and stay {end}"
            elif number is None:
                end = f" (`refresh`, which takes them over, needs {needed})" if needed else ""
                clause = f"members that it may already have are unknown, and stay{end}"
            elif is_over:
                clause = f"it had {members} that the state did not know, and they stay"
            else:
                clause = f"it has {members} now that the state does not know, and they stay"
        if number != 0:
            unknown.append((name, clause, command))
    if not unknown and not is_at_risk and (is_over or not filled):
        return None
    segments, verb = sentences.count(len(filled), "segment"), "knew" if is_over else "knows"
    empty = 0 if is_over else sum(plan.remote.members == 0 for plan in filled)
    return FirstFill(
        f"First fill of {segments}: the state {verb} nothing of what is in there.",
        f"{sentences.count(empty, 'segment')} {'has' if empty == 1 else 'have'} no members now" if empty else "",
        unknown,
        sentences.LOST_STATE if is_at_risk else "",
    )


def _describe_past_run(record: RunRecord, options: Options) -> Report:
    """Show a past run as it was shown when it ended; of one that has not ended what the state knows."""
    stored = document(record)
    if record.document is None:
        parts = record.row.parts
        columns = report.PARTS
        lines = [Line(fill(columns, part), part.name) for part in parts]
        found = Report("run", past_runs.summarise_unended(record.row), columns=columns, lines=lines)
    elif (result := read_result(stored)) is not None:
        found = replace(describe(result, options), first_fill=None)
    else:
        found = replace(_describe_document(stored, "run"), facts=[])
    return replace(found, facts=[*past_runs.list_facts(record), *found.facts])


# --- stored documents --------------------------------------------------------------------------------------------

# In the order in which they matter; the other fields come last, and go first where space is short.
_KNOWN = (
    *("status", "name", "removed", "added", "segment_id", "rejected", "unsettled", "unmatched", "appeared", "resent"),
    *("stored", "remote", "missing", "foreign", "lingering", "strangers", "adopted", "desired", "seconds"),
)
_NOT_IN_THE_TABLE = (
    *("error", "guards", "used_by", "uses", "examples"),
    *("description", "owner", "tags", "retired", "paused", "create"),
)


def _describe_document(document: Mapping[str, Any], kind: str) -> Report:
    """Show plain values as facts, the segments as a table, and their errors below it; the numbers come last."""
    segments = [each for each in _list(document.get("segments")) if isinstance(each, Mapping)]
    keys = list(dict.fromkeys(key for each in segments for key in each if key not in _NOT_IN_THE_TABLE))
    ordered = [*(key for key in _KNOWN if key in keys), *(key for key in keys if key not in _KNOWN)]
    facts = []
    for key, value in document.items():  # plain values, and lists of plain values that are not empty
        values = value if isinstance(value, list) else [value]
        if key != "warnings" and values and all(isinstance(each, str | int | float) for each in values):
            facts.append(f"{_name(key)}: {', '.join(_write(each, key) for each in values)}")
    columns: list[Column[Any]] = []
    for place, key in enumerate(ordered):
        numeric = all(not isinstance(each.get(key), str) for each in segments)
        drop = 0 if key in ("status", "name") else 1 + place
        columns.append(Column(_name(key), right=numeric, drop=drop, flexible=not numeric))
    lines = []
    for each in segments:
        row, error = [Cell(_write(each.get(key), key)) for key in ordered], each.get("error")
        if isinstance(error, Mapping):
            message, hint = _write(error.get("message")), _write(error.get("hint"))
            where = re.escape(_write(each.get("spec"))) + r":\d+: "
            problem = Problem("", message, hint, Cause("", re.sub(f"^{where}", "", message), hint))
            lines.append(Line(row, _write(each.get("name")), trouble="", problem=problem))
        else:
            lines.append(Line(row))
    summary = document.get("summary")
    numbers = summary.items() if isinstance(summary, Mapping) else ()
    return Report(
        kind,
        ", ".join(f"{_name(key)} {_write(value)}" for key, value in numbers if value is not None),
        facts=facts,
        columns=columns,
        lines=lines,
        troubles=share_causes(lines)[1],
        warnings=[str(each) for each in _list(document.get("warnings"))],
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(key: object) -> str:
    return str(key).replace("_", " ")


def _write(value: object, key: str = "") -> str:
    """Write a value; the number of a segment has no separators, as in a spec."""
    if value is None:
        return ""
    if key.endswith("_id"):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
