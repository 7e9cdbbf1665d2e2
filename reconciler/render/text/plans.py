"""A plan and a run as text."""

from collections.abc import Collection, Sequence

from reconciler.models.plan import Plan, PlanStatus, SegmentPlan
from reconciler.models.run import Run, RunStatus, SegmentRun
from reconciler.render import words
from reconciler.render.tables import MANY, PLAN_COLUMNS, RUN_COLUMNS, Column, Row, collapse, plan_row, run_row
from reconciler.render.text import segments as below
from reconciler.render.text.page import Page


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
    shared = words.find_shared([each.target for each in plans], shared_names)
    is_short = len(plans) > MANY and not verbose
    rows = [(each.status is PlanStatus.UNCHANGED, plan_row(each)) for each in plans]
    show_tables(page, plans, rows, PLAN_COLUMNS, is_short)
    below.show_plan_troubles(page, plans, shared)
    named = [each for each in plans if not (is_short and each.status is PlanStatus.UNCHANGED)]
    _show_details(page, named, shared, verbose)
    below.show_first_fills(page, plans, shared, sqlite_unattended)
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_plan(value), style="bold")
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
    shared = words.find_shared([each.target for each in plans], shared_names)
    is_short = len(runs) > MANY and not verbose
    rows = [(each.status is RunStatus.UNCHANGED, run_row(each)) for each in runs]
    show_tables(page, plans, rows, RUN_COLUMNS, is_short)
    _show_troubles(page, runs, shared)
    _show_run_details(page, [each for each in runs if verbose or each.status is not RunStatus.UNCHANGED], shared)
    below.show_first_fills(page, plans, shared, sqlite_unattended, done=True)
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_run(value), style="bold")
    return page.text()


def show_tables(
    page: Page,
    plans: Sequence[SegmentPlan],
    rows: Sequence[tuple[bool, Row]],
    columns: Sequence[Column],
    is_short: bool,
) -> None:
    """One table per spec."""
    for (path, workspace), places in below.group_by_spec([each.target for each in plans]).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(columns, collapse([rows[place] for place in places], "unchanged", is_short))
        page.gap()


def _show_details(page: Page, plans: Sequence[SegmentPlan], shared: below.Shared, verbose: bool) -> None:
    before = page.length
    for each in plans:
        engine = words.say_engine(each) if verbose else ""
        clauses = [*words.list_details(each), *filter(None, [engine])]
        below.show_clauses(page, words.label(each.target, shared), clauses)
        below.show_examples(page, each, shared)
    page.gap_after(before)


def _show_troubles(page: Page, runs: Sequence[SegmentRun], shared: below.Shared) -> None:
    for each in runs:
        name = words.label(each.plan.target, shared)
        if each.status is RunStatus.BLOCKED:
            below.show_blocked(page, each.plan, shared)
        elif verb := words.say_failure(each):
            below.show_problem(page, name, verb, each.error)


def _show_run_details(page: Page, runs: Sequence[SegmentRun], shared: below.Shared) -> None:
    before = page.length
    for each in runs:
        clauses = [*words.list_run_details(each), *_list_bad_values(each.plan)]
        below.show_clauses(page, words.label(each.plan.target, shared), clauses)
        below.show_examples(page, each.plan, shared)
    page.gap_after(before)


def _list_bad_values(plan: SegmentPlan) -> list[str]:
    return words.list_bad_values(plan.counts) if plan.counts else []
