"""What a plan and a run show below their tables: blocked and failed segments, first fills, details."""

from collections.abc import Collection, Sequence

from reconciler.models.plan import PlanStatus, Problem, SegmentPlan
from reconciler.models.spec import Target
from reconciler.render import words
from reconciler.render.text.page import Page

FEW = 10
"""So many segments are listed one by one where they all say the same."""

Shared = Collection[str]


def group_by_spec(targets: Sequence[Target]) -> dict[tuple[str, str], list[int]]:
    """Places of the segments of each spec and workspace, in order."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, target in enumerate(targets):
        groups.setdefault((str(target.spec.path), target.workspace), []).append(index)
    return groups


def show_blocked(page: Page, plan: SegmentPlan, shared: Shared) -> None:
    """Every breach with its numbers, and the flag that lets it past."""
    page.paragraph(
        f"{words.label(plan.target, shared)} is blocked; nothing is sent for it.", style="yellow", marker="!"
    )
    for breach in words.list_breaches(plan, shared):
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
    name = words.label(plan.target, shared)
    for verb, ids in (("remove", plan.examples.remove), ("add", plan.examples.add)):
        if ids:
            page.paragraph(f"{name}, to {verb}, for example: {', '.join(ids)}", marker="·")


def show_first_fills(
    page: Page, plans: Sequence[SegmentPlan], shared: Shared, sqlite_unattended: bool, *, done: bool = False
) -> None:
    """Warn of segments of which the state knows nothing (`done`: knew nothing before this run)."""
    filled = words.find_first_fills(plans)
    risky = [plan for plan in filled if words.say_first_fill(plan, done)]
    staying = [plan for plan in risky if words.is_taken_over_by_refresh(plan)]
    is_at_risk = sqlite_unattended and words.can_lose_its_state(filled)
    if not risky and (done or not filled) and not is_at_risk:
        return
    noun, verb = words.count(len(filled), "segment"), "knew" if done else "knows"
    page.paragraph(f"First fill of {noun}: the state {verb} nothing of what is in there.", style="yellow", marker="!")
    if not done:
        page.paragraph(words.say_empty_fills(filled), indent=4)
    for plan in risky[:FEW]:
        page.paragraph(f"{words.label(plan.target, shared)}: {words.say_first_fill(plan, done)}", indent=4)
    if len(risky) > FEW:
        page.paragraph(f"… and {len(risky) - FEW:,} more", indent=4)
    if staying:
        page.paragraph("To take those members over, so that the query decides on them, too:", indent=4)
        page.command(words.refresh_command(staying[0].target, shared), indent=6)
    if is_at_risk:
        page.paragraph(words.LOST_STATE, indent=4)
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
            show_problem(page, words.label(plan.target, shared), "failed", plan.error)
