"""From a result to the Report that the formats for people write."""

from collections.abc import Collection, Iterable, Sequence
from typing import assert_never

from reconciler.escaping import clean
from reconciler.models.plan import Plan, PlanStatus, SegmentPlan
from reconciler.models.results import (
    Drift,
    DriftStatus,
    History,
    Refresh,
    RefreshStatus,
    Result,
    Run,
    RunRecord,
    RunStatus,
    SegmentRecord,
    SegmentRun,
    Status,
)
from reconciler.models.spec import Target
from reconciler.render import Options, sentences, stored_documents, tables
from reconciler.render.json import document
from reconciler.render.report import Cell, FirstFill, Line, Note, Orphans, Remark, Report, Trouble, UnknownMembers

# What is wrong comes first.
_PLAN_RANKS = (PlanStatus.BLOCKED, PlanStatus.FAILED, PlanStatus.CHANGES, PlanStatus.UNCHANGED)
_RUN_RANKS = (
    *(RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.BLOCKED, RunStatus.STALE, RunStatus.LOCKED),
    *(RunStatus.APPLIED, RunStatus.UNCHANGED),
)
_DRIFT_RANKS = (DriftStatus.FAILED, DriftStatus.DRIFTED, DriftStatus.IN_SYNC)
_REFRESH_RANKS = (RefreshStatus.FAILED, RefreshStatus.LOCKED, RefreshStatus.REFRESHED)

_RUN_TROUBLES = {
    RunStatus.STALE: "is stale; nothing was sent for it",
    RunStatus.LOCKED: "is locked; nothing was sent for it",
    RunStatus.PARTIAL: "is partly done",
    RunStatus.FAILED: "failed",
}

_REFRESH_TROUBLES = {RefreshStatus.LOCKED: "is locked; nothing was changed for it", RefreshStatus.FAILED: "failed"}

DRIFT_LEGEND = (
    "Missing: stored, and not there. Foreign: there, and not stored. Lingering: removed by reconcile in the last "
    "hour, and still there. To mend it: `reconcile refresh`, then `reconcile apply`. It puts the missing back, and "
    "removes the foreign that the query does not return; `refresh --adopt known` lets them stay."
)
LINGERING_LEGEND = "Lingering: removed by reconcile, and still there. The next apply removes them again, or adds them."
ADOPTED_LEGEND = "The next plan removes those taken over that the query does not return."


def describe(result: Result, options: Options) -> Report:
    """Put a result into words and tables."""
    match result:
        case Plan():
            return _describe_plan(result, options)
        case Run():
            return _describe_run(result, options)
        case Drift():
            return _describe_drift(result)
        case Refresh():
            return _describe_refresh(result)
        case Status():
            return _describe_status(result)
        case History():
            number = len(result.runs)
            return Report(
                "history",
                f"{sentences.count(number, 'run')}, newest first." if number else "No runs yet.",
                columns=tables.columns(tables.HISTORY),
                lines=tuple(Line(tables.fill(tables.HISTORY, each)) for each in result.runs),
                noun="runs",
                warnings=result.warnings,
            )
        case RunRecord():
            return stored_documents.describe(document(result), "run")
        case SegmentRecord():
            return stored_documents.describe(document(result), "state")
        case _:
            assert_never(result)


def _describe_plan(plan: Plan, options: Options) -> Report:
    plans = plan.segments
    targets = [each.target for each in plans]
    shared = sentences.find_shared(targets, options.shared_names)
    lines, notes, blocked, failed = [], [], [], []
    for each in plans:
        rank, quiet = _PLAN_RANKS.index(each.status), each.status is PlanStatus.UNCHANGED
        name = sentences.label(each.target, shared)
        numbers = tables.fill(tables.COUNTS, each.counts) if each.counts else [Cell()] * len(tables.COUNTS)
        facts = Cell(", ".join(sentences.list_notes(each)))
        row = [*tables.identify(each.status, each.target, each.remote.title), *numbers, facts]
        lines.append(Line(row, each.target, rank, quiet))
        if each.status is PlanStatus.BLOCKED:
            blocked.append(_describe_blocked(each, shared, rank))
        if each.status is PlanStatus.FAILED:
            failed.append(Trouble(name, "failed", each.error, rank=rank))
        clauses = sentences.list_details(each)
        if options.verbose and each.counts is not None and each.engine == "in_database":
            clauses.append("compared in the database")
        notes.append(Note(name, tuple(clauses), each.examples, quiet))
    return Report(
        "plan",
        sentences.summarise_plan(plan),
        _name_place(targets),
        columns=[*tables.SEGMENT, *tables.columns(tables.COUNTS), tables.NOTES],
        lines=tuple(lines),
        quiet="unchanged",
        trouble_title="Blocked and failed",
        troubles=(*blocked, *failed),
        notes=tuple(notes),
        first_fill=_describe_first_fill(plans, shared, options, is_over=False),
        warnings=plan.warnings,
    )


def _describe_run(run: Run, options: Options) -> Report:
    targets = [each.target for each in run.segments]
    shared = sentences.find_shared(targets, options.shared_names)
    lines, notes, troubles = [], [], []
    for each in run.segments:
        rank, quiet = _RUN_RANKS.index(each.status), each.status is RunStatus.UNCHANGED
        name = sentences.label(each.target, shared)
        head = tables.identify(each.status, each.target, each.plan.remote.title)
        lines.append(Line([*head, *tables.fill(tables.RUN, each)], each.target, rank, quiet))
        if each.status is RunStatus.BLOCKED:
            troubles.append(_describe_blocked(each.plan, shared, rank))
        elif each.status in _RUN_TROUBLES:
            troubles.append(Trouble(name, _describe_failure(each), each.error, rank=rank))
        bad_values = sentences.list_bad_values(each.plan.counts) if each.plan.counts else []
        clauses = (*sentences.list_run_details(each), *bad_values)
        notes.append(Note(name, clauses, each.plan.examples, quiet))
    return Report(
        "run",
        sentences.summarise_run(run),
        _name_place(targets),
        columns=[*tables.SEGMENT, *tables.columns(tables.RUN)],
        lines=tuple(lines),
        quiet="unchanged",
        troubles=tuple(troubles),
        notes=tuple(notes),
        first_fill=_describe_first_fill([each.plan for each in run.segments], shared, options, is_over=True),
        warnings=run.warnings,
    )


def _describe_failure(run: SegmentRun) -> str:
    rejected = run.tally.rejected
    if run.error is None and run.status is RunStatus.PARTIAL and rejected:
        return f"is partly done: {sentences.count(rejected, 'id')} rejected"
    if run.error is None and run.status is RunStatus.FAILED:
        return "failed: its ids were rejected" if rejected else "was stopped before anything was sent"
    return _RUN_TROUBLES[run.status]


def _describe_drift(drift: Drift) -> Report:
    targets = [each.target for each in drift.segments]
    shared = sentences.find_shared(targets)
    lines, troubles = [], []
    for each in drift.segments:
        rank, quiet = _DRIFT_RANKS.index(each.status), each.status is DriftStatus.IN_SYNC
        if each.counts is not None:
            numbers = tables.fill(tables.DRIFT, each.counts)
        else:
            known = {"Stored": tables.number(each.stored), "Unmatched": tables.nonzero(each.unmatched)}
            numbers = [known.get(column.title, Cell()) for column, _ in tables.DRIFT]
        lines.append(Line([*tables.identify(each.status, each.target, each.title), *numbers], each.target, rank, quiet))
        if each.status is DriftStatus.FAILED:
            troubles.append(Trouble(sentences.label(each.target, shared), "failed", each.error))
    is_drifted = any(each.status is DriftStatus.DRIFTED for each in drift.segments)
    return Report(
        "drift",
        sentences.summarise_drift(drift),
        _name_place(targets),
        columns=[*tables.SEGMENT, *tables.columns(tables.DRIFT)],
        lines=tuple(lines),
        quiet="in sync",
        trouble_title="Failed",
        troubles=tuple(troubles),
        remarks=(Remark(DRIFT_LEGEND),) if is_drifted else (),
        warnings=drift.warnings,
    )


def _describe_refresh(refresh: Refresh) -> Report:
    targets = [each.target for each in refresh.segments]
    shared = sentences.find_shared(targets)
    lines, troubles = [], []
    for each in refresh.segments:
        rank = _REFRESH_RANKS.index(each.status)
        quiet = each.status is RefreshStatus.REFRESHED and not each.strangers
        head = tables.identify(each.status, each.target, each.title)
        lines.append(Line([*head, *tables.fill(tables.REFRESH, each)], each.target, rank, quiet))
        if each.status in _REFRESH_TROUBLES:
            name = sentences.label(each.target, shared)
            troubles.append(Trouble(name, _REFRESH_TROUBLES[each.status], each.error, rank=rank))
    remarks = []
    if any(each.unsettled for each in refresh.segments):
        remarks.append(Remark(LINGERING_LEGEND))
    if any(each.adopted for each in refresh.segments):
        remarks.append(Remark(ADOPTED_LEGEND, "yellow"))
    return Report(
        "refresh",
        sentences.summarise_refresh(refresh),
        _name_place(targets),
        columns=[*tables.SEGMENT, *tables.columns(tables.REFRESH)],
        lines=tuple(lines),
        quiet="refreshed, nobody new",
        troubles=tuple(troubles),
        remarks=tuple(remarks),
        warnings=refresh.warnings,
    )


def _describe_status(status: Status) -> Report:
    targets = [each.target for each in status.segments]
    shared = sentences.find_shared(targets)
    orphans = None
    if status.orphans:
        first = status.orphans[0]
        specs = [str(target.spec.path) for target in targets if target.workspace == first.workspace]
        spec = sentences.quote(specs[0]) if specs else "SPEC"
        rows = [tables.fill(tables.ORPHANS, each) for each in status.orphans]
        command = f"reconcile state forget {spec} id:{first.segment_id}"
        orphans = Orphans(tables.columns(tables.ORPHANS), rows, command)
    return Report(
        "status",
        sentences.summarise_status(status),
        _name_place(targets),
        columns=tables.columns(tables.STATUS),
        lines=tuple(Line(tables.fill(tables.STATUS, each), each.target) for each in status.segments),
        trouble_title="Failed",
        troubles=tuple(
            Trouble(sentences.label(each.target, shared), "can't be read", each.error)
            for each in status.segments
            if each.error
        ),
        remarks=tuple(
            Remark(f"{each.name} is locked by {clean(each.holder)}.", "yellow", "!")
            for each in status.segments
            if each.holder
        ),
        orphans=orphans,
        warnings=status.warnings,
    )


# --- parts of several reports ------------------------------------------------------------------------------------


def _name_place(targets: Iterable[Target]) -> str:
    """The workspace, or how many there are."""
    names = list(dict.fromkeys(target.workspace for target in targets))
    return names[0] if len(names) == 1 else sentences.count(len(names), "workspace")


def _describe_blocked(plan: SegmentPlan, shared: Collection[str], rank: int) -> Trouble:
    breaches = tuple(sentences.list_breaches(plan, shared))
    name = sentences.label(plan.target, shared)
    return Trouble(name, "is blocked; nothing is sent for it", breaches=breaches, rank=rank)


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
            unknown.append(UnknownMembers(name, clause, command))
    is_at_risk = options.sqlite_unattended and any(map(sentences.keeps_strangers, filled))
    empty = sum(plan.remote.members == 0 for plan in filled)
    if not unknown and not is_at_risk and (is_over or not filled):
        return None
    return FirstFill(
        len(filled),
        is_over,
        f"{sentences.count(empty, 'segment')} {'has' if empty == 1 else 'have'} no members now" if empty else "",
        tuple(unknown),
        sentences.LOST_STATE if is_at_risk else "",
    )
