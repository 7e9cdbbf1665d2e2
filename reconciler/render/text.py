"""Results as text for people: tables that fit the terminal, then what needs a word, then one summary sentence.

Every function takes the width in columns and whether to use colour; `verbose` shows unchanged segments one by one.
`shared_names`: names for which flags need `workspace/NAME`, beside those that occur twice in the result itself.
`sqlite_unattended`: the state is a SQLite file and nobody sits at a terminal.
"""

from collections.abc import Collection, Sequence

from reconciler.models.drift import Drift, DriftStatus
from reconciler.models.plan import Plan, PlanStatus, Problem, SegmentPlan
from reconciler.models.results import History, Refresh, RefreshStatus, Status, StatusRow
from reconciler.models.run import Run, RunStatus, SegmentRun
from reconciler.models.spec import Target
from reconciler.render import sentences, stored_documents
from reconciler.render.escaping import clean
from reconciler.render.layout import Page
from reconciler.render.tables import (
    DRIFT_COLUMNS,
    HISTORY_COLUMNS,
    MANY,
    ORPHAN_COLUMNS,
    PLAN_COLUMNS,
    REFRESH_COLUMNS,
    RUN_COLUMNS,
    STATUS_COLUMNS,
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

FEW = 10
"""So many segments are listed one by one where they all say the same."""

Shared = Collection[str]


def plan(
    value: Plan,
    width: int = 80,
    color: bool = False,
    *,
    verbose: bool = False,
    shared_names: Collection[str] = (),
    sqlite_unattended: bool = False,
) -> str:
    """Show a plan."""
    page, plans = Page(width, color), value.segments
    shared = sentences.find_shared([each.target for each in plans], shared_names)
    is_short = len(plans) > MANY and not verbose
    rows = [(each.status is PlanStatus.UNCHANGED, plan_row(each)) for each in plans]
    show_tables(page, plans, rows, PLAN_COLUMNS, is_short)
    show_plan_troubles(page, plans, shared)
    named = [each for each in plans if not (is_short and each.status is PlanStatus.UNCHANGED)]
    _show_details(page, named, shared, verbose)
    show_first_fills(page, plans, shared, sqlite_unattended)
    show_warnings(page, value.warnings)
    page.paragraph(sentences.say_plan(value), style="bold")
    return page.text()


def run(
    value: Run,
    width: int = 80,
    color: bool = False,
    *,
    verbose: bool = False,
    shared_names: Collection[str] = (),
    sqlite_unattended: bool = False,
) -> str:
    """Show what a run did."""
    page, runs = Page(width, color), value.segments
    plans = [each.plan for each in runs]
    shared = sentences.find_shared([each.target for each in plans], shared_names)
    is_short = len(runs) > MANY and not verbose
    rows = [(each.status is RunStatus.UNCHANGED, run_row(each)) for each in runs]
    show_tables(page, plans, rows, RUN_COLUMNS, is_short)
    _show_troubles(page, runs, shared)
    _show_run_details(page, [each for each in runs if verbose or each.status is not RunStatus.UNCHANGED], shared)
    show_first_fills(page, plans, shared, sqlite_unattended, done=True)
    show_warnings(page, value.warnings)
    page.paragraph(sentences.say_run(value), style="bold")
    return page.text()


def show_tables(
    page: Page,
    plans: Sequence[SegmentPlan],
    rows: Sequence[tuple[bool, Row]],
    columns: Sequence[Column],
    is_short: bool,
) -> None:
    """One table per spec."""
    for (path, workspace), places in group_by_spec([each.target for each in plans]).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(columns, collapse([rows[place] for place in places], "unchanged", is_short))
        page.gap()


def _show_details(page: Page, plans: Sequence[SegmentPlan], shared: Shared, verbose: bool) -> None:
    before = page.length
    for each in plans:
        engine = sentences.say_engine(each) if verbose else ""
        clauses = [*sentences.list_details(each), *filter(None, [engine])]
        show_clauses(page, sentences.label(each.target, shared), clauses)
        show_examples(page, each, shared)
    page.gap_after(before)


def _show_troubles(page: Page, runs: Sequence[SegmentRun], shared: Shared) -> None:
    for each in runs:
        name = sentences.label(each.plan.target, shared)
        if each.status is RunStatus.BLOCKED:
            show_blocked(page, each.plan, shared)
        elif verb := sentences.say_failure(each):
            show_problem(page, name, verb, each.error)


def _show_run_details(page: Page, runs: Sequence[SegmentRun], shared: Shared) -> None:
    before = page.length
    for each in runs:
        clauses = [*sentences.list_run_details(each), *_list_bad_values(each.plan)]
        show_clauses(page, sentences.label(each.plan.target, shared), clauses)
        show_examples(page, each.plan, shared)
    page.gap_after(before)


def _list_bad_values(plan: SegmentPlan) -> list[str]:
    return sentences.list_bad_values(plan.counts) if plan.counts else []


def drift(value: Drift, width: int = 80, color: bool = False, *, verbose: bool = False) -> str:
    """Show drift."""
    page, found = Page(width, color), value.segments
    is_short = len(found) > MANY and not verbose
    rows = [(each.status is DriftStatus.IN_SYNC, drift_row(each)) for each in found]
    _show_tables(page, [each.target for each in found], rows, DRIFT_COLUMNS, "in sync", is_short)
    shared = sentences.find_shared([each.target for each in found])
    for each in found:
        if each.status is DriftStatus.FAILED:
            show_problem(page, sentences.label(each.target, shared), "failed", each.error)
    if any(each.status is DriftStatus.DRIFTED for each in found):
        page.paragraph(DRIFT_LEGEND)
        page.gap()
    show_warnings(page, value.warnings)
    page.paragraph(sentences.say_drift(value), style="bold")
    return page.text()


DRIFT_LEGEND = (
    "Missing: stored, and not there. Foreign: there, and not stored. Lingering: removed by reconcile in the last "
    "hour, and still there. To mend it: `reconcile refresh`, then `reconcile apply`. It puts the missing back, and "
    "removes the foreign whom the query does not return; `refresh --adopt known` lets them stay."
)


def refresh(value: Refresh, width: int = 80, color: bool = False, *, verbose: bool = False) -> str:
    """Show what a refresh took over."""
    page, found = Page(width, color), value.segments
    rows = [(each.status is RefreshStatus.REFRESHED and not each.strangers, refresh_row(each)) for each in found]
    is_short = len(found) > MANY and not verbose
    _show_tables(page, [each.target for each in found], rows, REFRESH_COLUMNS, "refreshed, nobody new", is_short)
    shared = sentences.find_shared([each.target for each in found])
    for each in found:
        if each.status is not RefreshStatus.REFRESHED:
            verb = "is locked; nothing was changed for it" if each.status is RefreshStatus.LOCKED else "failed"
            show_problem(page, sentences.label(each.target, shared), verb, each.error)
    if any(each.unsettled for each in found):
        page.paragraph(
            "Lingering: removed by reconcile, and still there. The next apply removes them again, or adds them."
        )
        page.gap()
    if any(each.adopted for each in found):
        page.paragraph("The next plan removes those taken over whom the query does not return.", style="yellow")
        page.gap()
    show_warnings(page, value.warnings)
    page.paragraph(sentences.say_refresh(value), style="bold")
    return page.text()


def _show_tables(
    page: Page,
    targets: Sequence[Target],
    rows: Sequence[tuple[bool, Row]],
    columns: Sequence[Column],
    word: str,
    is_short: bool,
) -> None:
    for (path, workspace), places in group_by_spec(targets).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(columns, collapse([rows[place] for place in places], word, is_short))
        page.gap()


# --- status ------------------------------------------------------------------------------------------------------


def status(value: Status, width: int = 80, color: bool = False) -> str:
    """Show what the state holds, and the orphans."""
    page = Page(width, color)
    for (path, workspace), places in group_by_spec([each.target for each in value.segments]).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(STATUS_COLUMNS, [status_row(value.segments[place]) for place in places])
        page.gap()
    _show_status_notes(page, value.segments)
    if value.orphans:
        _show_orphans(page, value)
    show_warnings(page, value.warnings)
    page.paragraph(sentences.say_status(value), style="bold")
    return page.text()


def _show_status_notes(page: Page, rows: Sequence[StatusRow]) -> None:
    shared = sentences.find_shared([row.target for row in rows])
    for row in rows:
        if row.error:
            show_problem(page, sentences.label(row.target, shared), "can't be read", row.error)
    before = page.length
    for row in rows:
        if row.holder:
            page.paragraph(f"{row.name} is locked by {clean(row.holder)}.", style="yellow", marker="!")
    page.gap_after(before)


def _show_orphans(page: Page, value: Status) -> None:
    orphans, first = value.orphans, value.orphans[0]
    specs = [str(row.target.spec.path) for row in value.segments if row.target.workspace == first.workspace]
    page.heading("Orphans: the state knows them, and no named spec lists them")
    page.table(ORPHAN_COLUMNS, [orphan_row(each) for each in orphans])
    page.gap()
    page.paragraph("They are never touched. To forget one for good:")
    page.command(
        f"reconcile state forget {sentences.quote(specs[0]) if specs else 'SPEC'} id:{first.segment_id}", indent=2
    )
    page.gap()


# --- history -----------------------------------------------------------------------------------------------------


def history(value: History, width: int = 80, color: bool = False) -> str:
    """Show the list of past runs."""
    page = Page(width, color)
    if value.runs:
        page.table(HISTORY_COLUMNS, [history_row(row) for row in value.runs])
        page.gap()
    show_warnings(page, value.warnings)
    page.paragraph(f"{sentences.count(len(value.runs), 'run')}, newest first." if value.runs else "No runs yet.")
    return page.text()


def past_run(document: stored_documents.Document, width: int = 80, color: bool = False) -> str:
    """Show one past run from the JSON document that it left."""
    page = Page(width, color)
    for fact in stored_documents.list_facts(document):
        page.paragraph(fact)
    page.gap()
    columns, rows = stored_documents.list_segments(document)
    if rows:
        page.table(columns, rows)
        page.gap()
    _show_errors(page, document)
    for warning in stored_documents.list_warnings(document):
        page.paragraph(f"Warning: {warning}", style="yellow")
    page.paragraph(stored_documents.say_summary(document), style="bold")
    return page.text()


def _show_errors(page: Page, document: stored_documents.Document) -> None:
    before = page.length
    for name, message, hint in stored_documents.list_errors(document):
        page.paragraph(f"{name}: {message}", style="red", marker="✗")
        if hint:
            page.paragraph(hint, indent=4)
    page.gap_after(before)


def group_by_spec(targets: Sequence[Target]) -> dict[tuple[str, str], list[int]]:
    """Places of the segments of each spec and workspace, in order."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, target in enumerate(targets):
        groups.setdefault((str(target.spec.path), target.workspace), []).append(index)
    return groups


def show_blocked(page: Page, plan: SegmentPlan, shared: Shared) -> None:
    """Every breach with its numbers, and the flag that lets it past."""
    page.paragraph(
        f"{sentences.label(plan.target, shared)} is blocked; nothing is sent for it.", style="yellow", marker="!"
    )
    for breach in sentences.list_breaches(plan, shared):
        page.paragraph(f"{breach.guard}: {breach.detail}", indent=4)
        if breach.allowed:
            page.paragraph(f"let past by {breach.flag}", indent=6)
        elif breach.flag is None:
            page.paragraph("no flag lets this past: mend the query or the spec", indent=6)
        else:
            page.paragraph("if that is right, run it again with", indent=6)
            page.command(breach.flag, indent=8)
    page.gap()


def show_problem(page: Page, name: str, verb: str, problem: Problem | None, style: str = "red") -> None:
    """What happened to a segment, and the next step."""
    said = f"{name} {verb}: {problem.message}" if problem else f"{name} {verb}."
    page.paragraph(said, style=style, marker="✗")
    if problem and problem.hint:
        page.paragraph(problem.hint, indent=4)
    page.gap()


def show_clauses(page: Page, name: str, clauses: Sequence[str]) -> None:
    """`name: clause; clause.`"""
    if clauses:
        page.paragraph(f"{name}: {'; '.join(clauses)}.", marker="·")


def show_examples(page: Page, plan: SegmentPlan, shared: Shared) -> None:
    """The ids that `--show-ids` asked for."""
    name = sentences.label(plan.target, shared)
    for verb, ids in (("remove", plan.examples.remove), ("add", plan.examples.add)):
        if ids:
            page.paragraph(f"{name}, to {verb}, for example: {', '.join(ids)}", marker="·")


def show_first_fills(
    page: Page, plans: Sequence[SegmentPlan], shared: Shared, sqlite_unattended: bool, *, done: bool = False
) -> None:
    """Warn of segments of which the state knows nothing (`done`: knew nothing before this run)."""
    filled = sentences.find_first_fills(plans)
    risky = [plan for plan in filled if sentences.say_first_fill(plan, done)]
    staying = [plan for plan in risky if sentences.is_taken_over_by_refresh(plan)]
    is_at_risk = sqlite_unattended and sentences.can_lose_its_state(filled)
    if not risky and (done or not filled) and not is_at_risk:
        return
    noun, verb = sentences.count(len(filled), "segment"), "knew" if done else "knows"
    page.paragraph(f"First fill of {noun}: the state {verb} nothing of what is in there.", style="yellow", marker="!")
    if not done:
        page.paragraph(sentences.say_empty_fills(filled), indent=4)
    for plan in risky[:FEW]:
        page.paragraph(f"{sentences.label(plan.target, shared)}: {sentences.say_first_fill(plan, done)}", indent=4)
    if len(risky) > FEW:
        page.paragraph(f"… and {len(risky) - FEW:,} more", indent=4)
    if staying:
        page.paragraph("To take those members over, so that the query decides on them, too:", indent=4)
        page.command(sentences.refresh_command(staying[0].target, shared), indent=6)
    if is_at_risk:
        page.paragraph(sentences.LOST_STATE, indent=4)
    page.gap()


def show_warnings(page: Page, warnings: Sequence[str]) -> None:
    for warning in warnings:
        page.paragraph(f"Warning: {warning}", style="yellow")
    if warnings:
        page.gap()


def show_plan_troubles(page: Page, plans: Sequence[SegmentPlan], shared: Shared) -> None:
    """Blocked segments, then failed ones."""
    for plan in plans:
        if plan.status is PlanStatus.BLOCKED:
            show_blocked(page, plan, shared)
    for plan in plans:
        if plan.status is PlanStatus.FAILED:
            show_problem(page, sentences.label(plan.target, shared), "failed", plan.error)
