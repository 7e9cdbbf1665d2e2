"""Results as Markdown for pull request comments: escaped, and under 60 kB however many segments there are.

Every section has a budget of bytes; what does not fit is counted in a last line. What is wrong comes first.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from reconciler.models.drift import Drift, DriftStatus
from reconciler.models.plan import Plan, PlanStatus, Problem, SegmentPlan
from reconciler.models.results import History, Refresh, RefreshStatus, Status
from reconciler.models.run import Run, RunStatus, SegmentRun
from reconciler.models.spec import Target
from reconciler.render import sentences, stored_documents
from reconciler.render.escaping import escape_markdown
from reconciler.render.tables import (
    DRIFT_COLUMNS,
    HISTORY_COLUMNS,
    MANY,
    ORPHAN_COLUMNS,
    PLAN_COLUMNS,
    REFRESH_COLUMNS,
    RUN_COLUMNS,
    STATUS_COLUMNS,
    Cell,
    Column,
    Row,
    collapse,
    drift_row,
    history_row,
    orphan_row,
    plan_row,
    refresh_row,
    run_row,
    status_row,
)

MAX_BYTES = 60_000
"""A document is shorter than this. GitHub refuses a comment of more than 65,536 characters."""

TABLE_BYTES, TROUBLE_BYTES, NOTE_BYTES, WARNING_BYTES = 24_000, 18_000, 8_000, 5_000
MESSAGE_LENGTH, HINT_LENGTH = 1000, 500
MOST_COLUMNS = 12
"""Of a stored document, whose columns may be any."""

_PLAIN = re.compile(r"[A-Za-z0-9_./' =:-]+")

Value = TypeVar("Value")
Shared = Collection[str]


def plan(value: Plan, *, shared_names: Shared = (), sqlite_unattended: bool = False) -> str:
    """Write a plan."""
    plans = value.segments
    targets = [each.target for each in plans]
    shared = sentences.find_shared(targets, shared_names)
    rows = [(each.target, each.status is PlanStatus.UNCHANGED, plan_row(each)) for each in _rank(plans, _plan_rank)]
    blocked = [_plan_blocked(each, shared) for each in plans if each.status is PlanStatus.BLOCKED]
    failed = [_problem(each.target, "failed", each.error, shared) for each in plans if each.status is PlanStatus.FAILED]
    notes = [_note(each, sentences.list_details(each), shared) for each in plans]
    return _write(
        [
            *_head("plan", targets, sentences.say_plan(value)),
            *_segments(PLAN_COLUMNS, rows, "unchanged"),
            *_section("Blocked and failed", blocked + failed, TROUBLE_BYTES),
            *_section("First fill", _first_fills(plans, shared, sqlite_unattended), WARNING_BYTES),
            *_section("Notes", [note for note in notes if note], NOTE_BYTES),
            *_warnings(value.warnings),
        ]
    )


def run(value: Run, *, shared_names: Shared = (), sqlite_unattended: bool = False) -> str:
    """Write what a run did."""
    runs, plans = value.segments, [each.plan for each in value.segments]
    targets = [each.target for each in plans]
    shared = sentences.find_shared(targets, shared_names)
    rows = [(each.plan.target, each.status is RunStatus.UNCHANGED, run_row(each)) for each in _rank(runs, _run_rank)]
    troubles = [_run_trouble(each, shared) for each in _rank(runs, _run_rank)]
    notes = [_note(each.plan, sentences.list_run_details(each), shared) for each in runs]
    return _write(
        [
            *_head("run", targets, sentences.say_run(value)),
            *_segments(RUN_COLUMNS, rows, "unchanged"),
            *_section("Not done", [trouble for trouble in troubles if trouble], TROUBLE_BYTES),
            *_section("First fill", _first_fills(plans, shared, sqlite_unattended, done=True), WARNING_BYTES),
            *_section("Notes", [note for note in notes if note], NOTE_BYTES),
            *_warnings(value.warnings),
        ]
    )


def drift(value: Drift) -> str:
    """Write a drift report."""
    found = value.segments
    targets = [each.target for each in found]
    order = (DriftStatus.FAILED, DriftStatus.DRIFTED, DriftStatus.IN_SYNC)
    ranked = _rank(found, lambda each: order.index(each.status))
    rows = [(each.target, each.status is DriftStatus.IN_SYNC, drift_row(each)) for each in ranked]
    shared = sentences.find_shared(targets)
    failed = [
        _problem(each.target, "failed", each.error, shared) for each in found if each.status is DriftStatus.FAILED
    ]
    return _write(
        [
            *_head("drift", targets, sentences.say_drift(value)),
            *_segments(DRIFT_COLUMNS, rows, "in sync"),
            *_section("Failed", failed, TROUBLE_BYTES),
            *_warnings(value.warnings),
        ]
    )


def refresh(value: Refresh) -> str:
    """Write what a refresh did."""
    found, targets = value.segments, [each.target for each in value.segments]
    order = (RefreshStatus.FAILED, RefreshStatus.LOCKED, RefreshStatus.REFRESHED)
    ranked = _rank(found, lambda each: order.index(each.status))
    rows = [(each.target, False, refresh_row(each)) for each in ranked]
    shared = sentences.find_shared(targets)
    failed = [_problem(each.target, each.status, each.error, shared) for each in ranked if each.error]
    return _write(
        [
            *_head("refresh", targets, sentences.say_refresh(value)),
            *_segments(REFRESH_COLUMNS, rows),
            *_section("Not done", failed, TROUBLE_BYTES),
            *_warnings(value.warnings),
        ]
    )


def status(value: Status) -> str:
    """Write what the state holds."""
    targets = [each.target for each in value.segments]
    rows = [(each.target, False, status_row(each)) for each in value.segments]
    shared = sentences.find_shared(targets)
    failed = [_problem(each.target, "can't be read", each.error, shared) for each in value.segments if each.error]
    orphans = _table(ORPHAN_COLUMNS, [orphan_row(each) for each in value.orphans], NOTE_BYTES)
    return _write(
        [
            *_head("status", targets, sentences.say_status(value)),
            *_segments(STATUS_COLUMNS, rows),
            *_section("Failed", failed, TROUBLE_BYTES),
            *(["#### Orphans", "", *orphans] if orphans else []),
            *_warnings(value.warnings),
        ]
    )


def history(value: History) -> str:
    """Write the list of past runs."""
    rows = [history_row(each) for each in value.runs]
    table = _table(HISTORY_COLUMNS, rows, TABLE_BYTES, "runs")
    return _write(["### reconcile history", "", *table, *_warnings(value.warnings)])


def past_run(document: stored_documents.Document) -> str:
    """Write one past run from the JSON document that it left."""
    facts = [f"- {escape_markdown(fact)}" for fact in stored_documents.list_facts(document)]
    kept, _ = _take(facts, NOTE_BYTES)
    columns, rows = stored_documents.list_segments(document)
    errors = [_stored_error(*error) for error in stored_documents.list_errors(document)]
    return _write(
        [
            "### reconcile run",
            "",
            f"**{escape_markdown(stored_documents.say_summary(document), MESSAGE_LENGTH)}**",
            "",
            *kept,
            "",
            *_table(columns[:MOST_COLUMNS], [row[:MOST_COLUMNS] for row in rows], TABLE_BYTES),
            *_section("Not done", errors, TROUBLE_BYTES),
            *_warnings(stored_documents.list_warnings(document)),
        ]
    )


def _stored_error(name: str, message: str, hint: str) -> str:
    said = f"- **{escape_markdown(name)}**: {escape_markdown(message, MESSAGE_LENGTH)}"
    return f"{said}\n  - {escape_markdown(hint, HINT_LENGTH)}" if hint else said


# --- parts of a document -----------------------------------------------------------------------------------------


def _write(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def _head(kind: str, targets: Sequence[Target], summary: str) -> list[str]:
    names = list(dict.fromkeys(target.workspace for target in targets))
    where = escape_markdown(names[0]) if len(names) == 1 else sentences.count(len(names), "workspace")
    return [f"### reconcile {kind}: {where}", "", f"**{summary}**", ""]


def _segments(columns: Sequence[Column], rows: Sequence[tuple[Target, bool, Row]], quiet: str = "") -> list[str]:
    """A table of segments; of several workspaces, each says whose it is. Many that are marked share a row."""
    shown = [(is_quiet, row) for _, is_quiet, row in rows]
    if len({target.workspace for target, _, _ in rows}) > 1:
        columns = [Column("Workspace"), *columns]
        shown = [(is_quiet, [Cell(target.workspace), *row]) for target, is_quiet, row in rows]
    return _table(columns, collapse(shown, quiet, len(rows) > MANY and bool(quiet)), TABLE_BYTES)


def _table(columns: Sequence[Column], rows: Sequence[Row], budget: int, noun: str = "segments") -> list[str]:
    """A table without its empty columns."""
    if not rows:
        return []
    used = [index for index in range(len(columns)) if any(row[index].text for row in rows)]
    head = _join_row(escape_markdown(columns[index].title) for index in used)
    rule = _join_row("---:" if columns[index].right else "---" for index in used)
    lines = [_join_row(escape_markdown(row[index].text) for index in used) for row in rows]
    kept, left = _take(lines, budget)
    return [head, rule, *kept, "", *([f"… and {left:,} more {noun}", ""] if left else [])]


def _join_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _section(title: str, items: Sequence[str], budget: int, noun: str = "segments") -> list[str]:
    """A list under a heading; nothing where there are no items."""
    if not items:
        return []
    kept, left = _take(items, budget)
    return [f"#### {title}", "", *kept, *([f"- … and {left:,} more {noun}"] if left else []), ""]


def _take(items: Sequence[str], budget: int) -> tuple[list[str], int]:
    """As many items as fit into a number of bytes, and how many are left."""
    kept: list[str] = []
    for item in items:
        budget -= len(item.encode()) + 1
        if budget < 0:
            break
        kept.append(item)
    return kept, len(items) - len(kept)


def _warnings(warnings: Sequence[str]) -> list[str]:
    return _section("Warnings", [f"- {escape_markdown(each, MESSAGE_LENGTH)}" for each in warnings], WARNING_BYTES, "")


def _code(text: str) -> str:
    """A command to copy, where nothing in it can break out of a code span."""
    return f"`{text}`" if _PLAIN.fullmatch(text) else escape_markdown(text, MESSAGE_LENGTH)


# --- segments ----------------------------------------------------------------------------------------------------


def _rank(values: Sequence[Value], rank: Callable[[Value], int]) -> list[Value]:
    return sorted(values, key=rank)


def _plan_rank(value: SegmentPlan) -> int:
    return (PlanStatus.BLOCKED, PlanStatus.FAILED, PlanStatus.CHANGES, PlanStatus.UNCHANGED).index(value.status)


def _run_rank(value: SegmentRun) -> int:
    order: tuple[StrEnum, ...] = (
        RunStatus.PARTIAL,
        RunStatus.FAILED,
        RunStatus.BLOCKED,
        RunStatus.STALE,
        RunStatus.LOCKED,
        RunStatus.APPLIED,
        RunStatus.UNCHANGED,
    )
    return order.index(value.status)


def _name(target: Target, shared: Shared = ()) -> str:
    return f"**{escape_markdown(sentences.label(target, shared))}**"


def _plan_blocked(value: SegmentPlan, shared: Shared) -> str:
    lines = [f"- {_name(value.target, shared)} is blocked; nothing is sent for it"]
    for breach in sentences.list_breaches(value, shared):
        lines.append(f"  - {escape_markdown(f'{breach.guard}: {breach.detail}')}{_say_way(breach)}")
    return "\n".join(lines)


def _say_way(breach: sentences.Breach) -> str:
    if breach.flag is None:
        return "; no flag lets this past"
    return f"; let past by {_code(breach.flag)}" if breach.allowed else f"; if that is right: {_code(breach.flag)}"


def _problem(target: Target, verb: str, problem: Problem | None, shared: Shared = ()) -> str:
    if problem is None:
        return f"- {_name(target, shared)} {verb}"
    hint = f"\n  - {escape_markdown(problem.hint, HINT_LENGTH)}" if problem.hint else ""
    return f"- {_name(target, shared)} {verb}: {escape_markdown(problem.message, MESSAGE_LENGTH)}{hint}"


def _run_trouble(value: SegmentRun, shared: Shared) -> str:
    if value.status is RunStatus.BLOCKED:
        return _plan_blocked(value.plan, shared)
    verb = sentences.say_failure(value)
    return _problem(value.plan.target, verb, value.error, shared) if verb else ""


def _note(value: SegmentPlan, clauses: Sequence[str], shared: Shared) -> str:
    examples = [
        f"to {verb}, for example: {', '.join(escape_markdown(each) for each in ids)}"
        for verb, ids in (("remove", value.examples.remove), ("add", value.examples.add))
        if ids
    ]
    said = [*clauses, *examples]
    return f"- {_name(value.target, shared)}: {'; '.join(said)}" if said else ""


def _first_fills(
    plans: Sequence[SegmentPlan], shared: Shared, sqlite_unattended: bool, *, done: bool = False
) -> list[str]:
    filled = sentences.find_first_fills(plans)
    items = [_first_fill(plan, shared, done) for plan in filled if sentences.say_first_fill(plan, done)]
    empty = sentences.say_empty_fills(filled) if not done else ""
    lost = f"- {sentences.LOST_STATE}" if sqlite_unattended and sentences.can_lose_its_state(filled) else ""
    return [item for item in (lost, f"- {empty}" if empty else "", *items) if item]


def _first_fill(value: SegmentPlan, shared: Shared, done: bool) -> str:
    said = f"- {_name(value.target, shared)}: {sentences.say_first_fill(value, done)}"
    if not sentences.is_taken_over_by_refresh(value):
        return said
    return f"{said}; to take them over: {_code(sentences.refresh_command(value.target, shared))}"
