"""From a result to the Report that the formats for people write."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, assert_never

from reconciler.escaping import clean
from reconciler.models.guards import ALLOW_FLAGS
from reconciler.models.plan import Plan, PlanStatus, Problem, SegmentPlan
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
from reconciler.models.spec import Ownership
from reconciler.render import Options, report, sentences
from reconciler.render.json_documents import document
from reconciler.render.report import Breach, Cell, Column, FirstFill, Line, Report, fill

# By status, a word of any of the results: its marker, which shows it without colour, too; its style; and what goes on
# after the name of a segment that was not done, or not whole. In the order of lines where what is wrong comes first.
_STATUSES: Mapping[StrEnum, tuple[str, str, str | None]] = {
    RunStatus.PARTIAL: ("✗", "red", "is partly done"),
    RunStatus.FAILED: ("✗", "red", "failed"),
    DriftStatus.DRIFTED: ("≠", "yellow", None),
    RunStatus.BLOCKED: ("!", "yellow", "is blocked; nothing is sent for it"),
    RunStatus.STALE: ("!", "yellow", "is stale; nothing was sent for it"),
    RunStatus.LOCKED: ("!", "yellow", "is locked; nothing was sent for it"),
    PlanStatus.CHANGES: ("~", "bold", None),
    RunStatus.APPLIED: ("✓", "green", None),
    RefreshStatus.REFRESHED: ("✓", "green", None),
    RunStatus.UNCHANGED: ("=", "dim", None),
    DriftStatus.IN_SYNC: ("=", "dim", None),
}
_ORDER = list(_STATUSES)

DRIFT_LEGEND = (
    "Missing: stored, and not there. Foreign: there, and not stored. Lingering: removed by reconcile in the last "
    "hour, and still there. To mend it: `reconcile refresh`, then `reconcile apply`. It puts the missing back, and "
    "removes the foreign that the query does not return; `refresh --adopt known` lets them stay."
)
LINGERING_LEGEND = "Lingering: removed by reconcile, and still there. The next apply removes them again, or adds them."
ADOPTED_LEGEND = "The next plan removes those taken over that the query does not return."
LOST_STATE = (
    "The state is a SQLite file: where it is lost between runs (CI, containers), every run is a first fill and can "
    "never remove anybody. Keep the file, or use a PostgreSQL state; `must_exist: true` makes a lost one an error."
)


def describe(result: Result, options: Options) -> Report:
    """Put a result into words and tables."""
    match result:
        case History():
            number = len(result.runs)
            return Report(
                "history",
                f"{sentences.count(number, 'run')}, newest first." if number else "No runs yet.",
                columns=report.HISTORY,
                lines=[Line(fill(report.HISTORY, each)) for each in result.runs],
                noun="runs",
                warnings=result.warnings,
            )
        case RunRecord():
            return _describe_document(document(result), "run")
        case SegmentRecord():
            return _describe_document(document(result), "state")
    targets = [each.target for each in result.segments]
    names = Counter(target.segment.name for target in targets)
    shared = {name for name, number in names.items() if number > 1}.union(options.shared_names)
    match result:
        case Plan():
            found = Report(
                "plan",
                sentences.summarise_plan(result),
                columns=[*report.SEGMENT, *report.COUNTS, report.NOTES],
                quiet="unchanged",
                trouble_title="Blocked and failed",
                first_fill=_describe_first_fill(result.segments, shared, options, is_over=False),
            )
        case Run():
            plans = [each.plan for each in result.segments]
            found = Report(
                "run",
                sentences.summarise_run(result),
                columns=[*report.SEGMENT, *report.RUN],
                quiet="unchanged",
                first_fill=_describe_first_fill(plans, shared, options, is_over=True),
            )
        case Drift():
            is_drifted = any(each.status is DriftStatus.DRIFTED for each in result.segments)
            found = Report(
                "drift",
                sentences.summarise_drift(result),
                columns=[*report.SEGMENT, *report.DRIFT],
                quiet="in sync",
                trouble_title="Failed",
                remarks=[(DRIFT_LEGEND, "", "")] if is_drifted else [],
            )
        case Refresh():
            remarks = [(LINGERING_LEGEND, "", "")] if any(each.unsettled for each in result.segments) else []
            if any(each.adopted for each in result.segments):
                remarks.append((ADOPTED_LEGEND, "yellow", ""))
            found = Report(
                "refresh",
                sentences.summarise_refresh(result),
                columns=[*report.SEGMENT, *report.REFRESH],
                quiet="refreshed, nobody new",
                remarks=remarks,
            )
        case Status():
            forget = ""
            if result.orphans:
                first = result.orphans[0]
                paths = [str(target.spec.path) for target in targets if target.workspace == first.workspace]
                spec = sentences.quote(paths[0]) if paths else "SPEC"
                forget = f"reconcile state forget {spec} id:{first.segment_id}"
            holders = [(each.name, each.holder) for each in result.segments if each.holder]
            found = Report(
                "status",
                sentences.summarise_status(result),
                columns=report.STATUS,
                trouble_title="Failed",
                remarks=[(f"{name} is locked by {clean(holder)}.", "yellow", "!") for name, holder in holders],
                orphans=[fill(report.ORPHANS, each) for each in result.orphans],
                forget=forget,
            )
        case _:
            assert_never(result)
    lines = [_describe_segment(each, shared, options.verbose) for each in result.segments]
    troubles = [line for line in lines if line.trouble is not None]
    if isinstance(result, Plan):
        troubles.sort(key=lambda line: line.rank)
    workspaces = {target.workspace for target in targets}
    place = workspaces.pop() if len(workspaces) == 1 else sentences.count(len(workspaces), "workspace")
    return replace(found, place=place, lines=lines, troubles=troubles, warnings=result.warnings)


def _describe_segment(
    row: SegmentPlan | SegmentRun | SegmentDrift | RefreshRow | StatusRow, shared: Collection[str], verbose: bool
) -> Line:
    target, segment = row.target, row.target.segment
    name = sentences.label(target, shared)
    if isinstance(row, StatusRow):
        trouble = "can't be read" if row.error else None
        return Line(fill(report.STATUS, row), name, target, trouble=trouble, problem=row.error)
    status = row.status
    marker, style, trouble = _STATUSES[status]
    rank, quiet = _ORDER.index(status), status in (RunStatus.UNCHANGED, DriftStatus.IN_SYNC)
    plan: SegmentPlan | None = None
    clauses: list[str] = []
    match row:
        case SegmentPlan():
            plan, title, counts = row, row.remote.title, row.counts
            cells = [Cell()] * (len(report.COUNTS) + 1)
            if counts is not None:
                cells = [*fill(report.COUNTS, counts), Cell(", ".join(sentences.list_notes(row, counts)))]
                clauses = sentences.list_details(row, counts)
                if verbose and row.engine == "in_database":
                    clauses.append("compared in the database")
            if status is PlanStatus.BLOCKED:
                rank = -1  # in a plan, before those that failed
        case SegmentRun():
            plan, title, rejected = row.plan, row.plan.remote.title, row.tally.rejected
            cells = fill(report.RUN, row)
            clauses = sentences.list_run_details(row)
            if row.error is None and status is RunStatus.PARTIAL and rejected:
                trouble = f"is partly done: {sentences.count(rejected, 'id')} rejected"
            if row.error is None and status is RunStatus.FAILED:
                trouble = "failed: its ids were rejected" if rejected else "was stopped before anything was sent"
        case SegmentDrift():
            title = row.title
            known = {"Stored": report.number(row.stored), "Unmatched": report.nonzero(row.unmatched)}
            cells = [known.get(column.title, Cell()) for column in report.DRIFT]
            if row.counts is not None:
                cells = fill(report.DRIFT, row.counts)
        case RefreshRow():
            title, cells = row.title, fill(report.REFRESH, row)
            quiet = status is RefreshStatus.REFRESHED and not row.strangers
            if status is RefreshStatus.LOCKED:
                trouble = "is locked; nothing was changed for it"
        case _:
            assert_never(row)
    identity = [
        Cell(f"{marker} {status.replace('_', ' ')}", style),
        Cell(segment.name, style if style in ("bold", "dim") else ""),
        Cell(str(segment.segment_id), "dim"),
        Cell(title if title and title != segment.name else "", "dim"),
    ]
    is_blocked = status == RunStatus.BLOCKED
    breaches = []
    for verdict in plan.verdicts if plan is not None and is_blocked else ():
        if verdict.breached:  # an allowed one is listed, too
            flag = ALLOW_FLAGS.get(verdict.name)
            command = f"{flag} {sentences.quote(name)}" if flag else None
            breaches.append(Breach(f"{verdict.name}: {verdict.detail}", command, verdict.allowed))
    examples = (("remove", plan.examples.remove), ("add", plan.examples.add)) if plan else ()
    return Line(
        [*identity, *cells],
        name,
        target,
        rank=rank,
        quiet=quiet,
        trouble=trouble,
        problem=None if is_blocked else row.error,
        breaches=breaches,
        clauses=clauses,
        examples=[(verb, ids) for verb, ids in examples if ids],
    )


def _describe_first_fill(
    plans: Sequence[SegmentPlan], shared: Collection[str], options: Options, *, is_over: bool
) -> FirstFill | None:
    """Warn of the segments of which the state knows nothing; None where there is nothing to warn of."""
    filled = [plan for plan in plans if plan.counts is not None and plan.first_fill]
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
            command = f"reconcile refresh {spec} --select {sentences.quote(name)}"
            if number is None:
                clause = f"members that it may already have{' had' if is_over else ''} are unknown, and stay"
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
        LOST_STATE if is_at_risk else "",
    )


# --- stored documents --------------------------------------------------------------------------------------------

# In the order in which they matter; the other fields come last, and go first where space is short.
_KNOWN = (
    *("status", "name", "removed", "added", "segment_id", "rejected", "unsettled", "unmatched", "appeared", "resent"),
    *("stored", "remote", "missing", "foreign", "lingering", "strangers", "adopted", "desired", "seconds"),
)
_NOT_IN_THE_TABLE = ("error", "guards", "used_by", "examples")


def _describe_document(document: Mapping[str, Any], kind: str) -> Report:
    """Show plain values as facts, the segments as a table, and their errors below it; the numbers come last."""
    segments = [each for each in _list(document.get("segments")) if isinstance(each, Mapping)]
    keys = list(dict.fromkeys(key for each in segments for key in each if key not in _NOT_IN_THE_TABLE))
    ordered = [*(key for key in _KNOWN if key in keys), *(key for key in keys if key not in _KNOWN)]
    facts = []
    for key, value in document.items():  # plain values, and lists of plain values that are not empty
        values = value if isinstance(value, list) else [value]
        if key != "warnings" and values and all(isinstance(each, str | int | float) for each in values):
            facts.append(f"{_name(key)}: {', '.join(map(str, values))}")
    columns: list[Column[Any]] = []
    for place, key in enumerate(ordered):
        numeric = all(not isinstance(each.get(key), str) for each in segments)
        drop = 0 if key in ("status", "name") else 1 + place
        columns.append(Column(_name(key), right=numeric, drop=drop, flexible=not numeric))
    lines = []
    for each in segments:
        row, error = [Cell(_write(each.get(key))) for key in ordered], each.get("error")
        if isinstance(error, Mapping):
            problem = Problem("", _write(error.get("message")), _write(error.get("hint")))
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
        troubles=[line for line in lines if line.trouble is not None],
        warnings=[str(each) for each in _list(document.get("warnings"))],
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _name(key: object) -> str:
    return str(key).replace("_", " ")


def _write(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
