"""From a result to the Report that the formats for people write."""

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
)
from reconciler.render import Options, report, sentences
from reconciler.render.json import document
from reconciler.render.report import Breach, Cell, Column, FirstFill, Line, Remark, Report, fill

# The marker shows the status without colour, too. A word has the same marker in every report.
_STYLES: Mapping[StrEnum, tuple[str, str]] = {
    PlanStatus.CHANGES: ("~", "bold"),
    RunStatus.APPLIED: ("✓", "green"),
    RunStatus.UNCHANGED: ("=", "dim"),
    RunStatus.BLOCKED: ("!", "yellow"),
    RunStatus.STALE: ("!", "yellow"),
    RunStatus.LOCKED: ("!", "yellow"),
    RunStatus.PARTIAL: ("✗", "red"),
    RunStatus.FAILED: ("✗", "red"),
    DriftStatus.IN_SYNC: ("=", "dim"),
    DriftStatus.DRIFTED: ("≠", "yellow"),
    RefreshStatus.REFRESHED: ("✓", "green"),
}

# What is wrong comes first.
_RANKS: Mapping[type[StrEnum], Sequence[StrEnum]] = {
    PlanStatus: (PlanStatus.BLOCKED, PlanStatus.FAILED, PlanStatus.CHANGES, PlanStatus.UNCHANGED),
    RunStatus: (
        *(RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.BLOCKED, RunStatus.STALE, RunStatus.LOCKED),
        *(RunStatus.APPLIED, RunStatus.UNCHANGED),
    ),
    DriftStatus: (DriftStatus.FAILED, DriftStatus.DRIFTED, DriftStatus.IN_SYNC),
    RefreshStatus: (RefreshStatus.FAILED, RefreshStatus.LOCKED, RefreshStatus.REFRESHED),
}

_TROUBLES: Mapping[StrEnum, str] = {
    RunStatus.BLOCKED: "is blocked; nothing is sent for it",
    RunStatus.STALE: "is stale; nothing was sent for it",
    RunStatus.LOCKED: "is locked; nothing was sent for it",
    RunStatus.PARTIAL: "is partly done",
    RunStatus.FAILED: "failed",
}

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
        case Status():
            return _describe_status(result)
    targets = [each.target for each in result.segments]
    shared = sentences.find_shared(targets, options.shared_names)
    lines = [_describe_segment(each, shared, options.verbose) for each in result.segments]
    troubles = [line for line in lines if line.trouble is not None]
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
            troubles.sort(key=lambda line: line.rank)
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
                remarks=[Remark(DRIFT_LEGEND)] if is_drifted else [],
            )
        case Refresh():
            remarks = [Remark(LINGERING_LEGEND)] if any(each.unsettled for each in result.segments) else []
            if any(each.adopted for each in result.segments):
                remarks.append(Remark(ADOPTED_LEGEND, "yellow"))
            found = Report(
                "refresh",
                sentences.summarise_refresh(result),
                columns=[*report.SEGMENT, *report.REFRESH],
                quiet="refreshed, nobody new",
                remarks=remarks,
            )
        case _:
            assert_never(result)
    place = sentences.name_place(targets)
    return replace(found, place=place, lines=lines, troubles=troubles, warnings=result.warnings)


def _describe_segment(
    row: SegmentPlan | SegmentRun | SegmentDrift | RefreshRow, shared: Collection[str], verbose: bool
) -> Line:
    status, target = row.status, row.target
    trouble, quiet = _TROUBLES.get(status), status in (RunStatus.UNCHANGED, DriftStatus.IN_SYNC)
    plan: SegmentPlan | None = None
    clauses: list[str] = []
    match row:
        case SegmentPlan():
            plan, title, counts = row, row.remote.title, row.counts
            cells = fill(report.COUNTS, counts) if counts else [Cell()] * len(report.COUNTS)
            cells.append(Cell(", ".join(sentences.list_notes(row))))
            clauses = sentences.list_details(row)
            if verbose and counts is not None and row.engine == "in_database":
                clauses.append("compared in the database")
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
            if row.counts is not None:
                cells = fill(report.DRIFT, row.counts)
            else:
                cells = [known.get(column.title, Cell()) for column in report.DRIFT]
        case RefreshRow():
            title, cells = row.title, fill(report.REFRESH, row)
            quiet = status is RefreshStatus.REFRESHED and not row.strangers
            if status is RefreshStatus.LOCKED:
                trouble = "is locked; nothing was changed for it"
        case _:
            assert_never(row)
    marker, style = _STYLES[status]
    name, segment = sentences.label(target, shared), target.segment
    identity = [
        Cell(f"{marker} {status.replace('_', ' ')}", style),
        Cell(segment.name, style if style in ("bold", "dim") else ""),
        Cell(str(segment.segment_id), "dim"),
        Cell(title if title and title != segment.name else "", "dim"),
    ]
    breaches = []
    if plan is not None and status == RunStatus.BLOCKED:
        for verdict in (each for each in plan.verdicts if each.breached):  # the allowed ones, too
            flag = ALLOW_FLAGS.get(verdict.name)
            detail = verdict.detail or f"{verdict.actual}; the limit is {verdict.limit}"
            command = f"{flag} {sentences.quote(name)}" if flag else None
            breaches.append(Breach(verdict.name.value, detail, command, verdict.allowed))
    examples = (("remove", plan.examples.remove), ("add", plan.examples.add)) if plan else ()
    return Line(
        [*identity, *cells],
        name,
        target,
        rank=_RANKS[type(status)].index(status),
        quiet=quiet,
        trouble=trouble,
        problem=None if status == RunStatus.BLOCKED else row.error,
        breaches=breaches,
        clauses=clauses,
        examples=[(verb, ids) for verb, ids in examples if ids],
    )


def _describe_status(status: Status) -> Report:
    targets = [each.target for each in status.segments]
    shared = sentences.find_shared(targets)
    lines = [
        Line(
            fill(report.STATUS, each),
            sentences.label(each.target, shared),
            each.target,
            trouble="can't be read" if each.error else None,
            problem=each.error,
        )
        for each in status.segments
    ]
    forget = ""
    if status.orphans:
        first = status.orphans[0]
        specs = [str(target.spec.path) for target in targets if target.workspace == first.workspace]
        spec = sentences.quote(specs[0]) if specs else "SPEC"
        forget = f"reconcile state forget {spec} id:{first.segment_id}"
    return Report(
        "status",
        sentences.summarise_status(status),
        sentences.name_place(targets),
        columns=report.STATUS,
        lines=lines,
        trouble_title="Failed",
        troubles=[line for line in lines if line.trouble is not None],
        remarks=[
            Remark(f"{each.name} is locked by {clean(each.holder)}.", "yellow", "!")
            for each in status.segments
            if each.holder
        ],
        orphans=[fill(report.ORPHANS, each) for each in status.orphans],
        forget=forget,
        warnings=status.warnings,
    )


def _describe_first_fill(
    plans: Sequence[SegmentPlan], shared: Collection[str], options: Options, *, is_over: bool
) -> FirstFill | None:
    """Warn of the segments of which the state knows nothing; None where there is nothing to warn of."""
    filled = [plan for plan in plans if plan.counts is not None and plan.first_fill]
    unknown = []
    for plan in filled:
        if clause := sentences.describe_unknown_members(plan, is_over):
            name, command = sentences.label(plan.target, shared), None
            if sentences.keeps_strangers(plan):
                spec = sentences.quote(str(plan.target.spec.path))
                command = f"reconcile refresh {spec} --select {sentences.quote(name)}"
            unknown.append((name, clause, command))
    is_at_risk = options.sqlite_unattended and any(map(sentences.keeps_strangers, filled))
    empty = sum(plan.remote.members == 0 for plan in filled)
    if not unknown and not is_at_risk and (is_over or not filled):
        return None
    return FirstFill(
        len(filled),
        is_over,
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
_KEPT = 2
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
        drop = 0 if key in _KNOWN[:_KEPT] else 1 + place
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
