"""The tables of plans, runs and drift: one line per segment, the unchanged ones in one where they are many."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from reconciler.core.drift import DriftStatus, SegmentDrift
from reconciler.core.plan import PlanStatus, SegmentPlan
from reconciler.core.report import RefreshRow, RefreshStatus
from reconciler.core.run import RunStatus, SegmentRun
from reconciler.core.spec import Target
from reconciler.render import words
from reconciler.render.json import count_unmatched
from reconciler.render.text.page import Cell, Column, Row

MANY = 20
"""With more segments than this, the unchanged ones share a line."""

# The marker tells the status without colour, too.
STYLES: Mapping[StrEnum, tuple[str, str]] = {
    PlanStatus.CHANGES: ("~", "bold"),
    PlanStatus.UNCHANGED: ("=", "dim"),
    PlanStatus.BLOCKED: ("!", "yellow"),
    PlanStatus.FAILED: ("✗", "red"),
    RunStatus.APPLIED: ("✓", "green"),
    RunStatus.UNCHANGED: ("=", "dim"),
    RunStatus.BLOCKED: ("!", "yellow"),
    RunStatus.STALE: ("!", "yellow"),
    RunStatus.LOCKED: ("!", "yellow"),
    RunStatus.PARTIAL: ("✗", "red"),
    RunStatus.FAILED: ("✗", "red"),
    DriftStatus.IN_SYNC: ("=", "dim"),
    DriftStatus.DRIFTED: ("≠", "yellow"),
    DriftStatus.FAILED: ("✗", "red"),
    RefreshStatus.REFRESHED: ("✓", "green"),
    RefreshStatus.LOCKED: ("!", "yellow"),
    RefreshStatus.FAILED: ("✗", "red"),
}

_SEGMENT = (
    Column("Status"),
    Column("Segment", flexible=True),
    Column("Id", right=True, drop=2),
    Column("Title", drop=9, flexible=True),
)

PLAN_COLUMNS = (
    *_SEGMENT,
    Column("Desired", right=True, drop=4),
    Column("Stored", right=True, drop=5),
    Column("Remove", right=True),
    Column("Add", right=True),
    Column("Resend", right=True, drop=3),
    Column("Change", right=True, drop=6),
    Column("Notes", drop=8, flexible=True),
)

RUN_COLUMNS = (
    *_SEGMENT,
    Column("Desired", right=True, drop=6),
    Column("Removed", right=True),
    Column("Added", right=True),
    Column("Resent", right=True, drop=5),
    Column("Rejected", right=True, drop=1),
    Column("Unsettled", right=True, drop=1),
    Column("Unmatched", right=True, drop=4),
    Column("Requests", right=True, drop=7),
    Column("Retries", right=True, drop=8),
    Column("Seconds", right=True, drop=10),
)

DRIFT_COLUMNS = (
    *_SEGMENT,
    Column("Stored", right=True, drop=4),
    Column("Remote", right=True, drop=5),
    Column("Missing", right=True),
    Column("Foreign", right=True),
    Column("Lingering", right=True, drop=3),
    Column("Unkeyed", right=True, drop=6),
)

REFRESH_COLUMNS = (
    *_SEGMENT,
    Column("Stored", right=True),
    Column("Not known", right=True),
    Column("Taken over", right=True, drop=1),
    Column("Unmatched", right=True, drop=4),
    Column("Lingering", right=True, drop=5),
    Column("Unkeyed", right=True, drop=6),
)


def plan_row(plan: SegmentPlan) -> Row:
    counts = plan.counts
    head = _identify(plan.status, plan.target, plan.remote.title)
    if counts is None:
        return [*head, *[Cell()] * 7]
    return [
        *head,
        _number(counts.desired),
        _number(counts.stored),
        _removals(counts.remove),
        _additions(counts.add),
        _number(counts.resend or None),
        Cell(words.say_share(counts)),
        Cell(", ".join(words.list_notes(plan))),
    ]


def run_row(run: SegmentRun) -> Row:
    tally, counts = run.tally, run.plan.counts
    return [
        *_identify(run.status, run.plan.target, run.plan.remote.title),
        _number(counts.desired if counts else None),
        _removals(tally.removed),
        _additions(tally.added),
        _number(tally.resent or None),
        _number(tally.rejected or None, "red"),
        _number(tally.unsettled or None, "red"),
        _number(count_unmatched(run) or None),
        _number(tally.requests or None),
        _number(tally.retries or None),
        Cell(f"{tally.seconds:,.1f}" if tally.requests else ""),
    ]


def drift_row(drift: SegmentDrift) -> Row:
    counts = drift.counts
    head = _identify(drift.status, drift.target, drift.title)
    if counts is None:
        return [*head, *[Cell()] * 6]
    return [
        *head,
        _number(counts.stored),
        _number(counts.remote),
        _number(counts.missing, "red" if counts.missing else ""),
        _number(counts.foreign, "yellow" if counts.foreign else ""),
        _number(counts.lingering or None, "red"),
        _number(counts.unkeyed or None),
    ]


def refresh_row(row: RefreshRow) -> Row:
    return [
        *_identify(row.status, row.target, row.title),
        _number(row.stored),
        _number(row.strangers, "yellow" if row.strangers else ""),
        _number(row.adopted),
        _number(row.unmatched or None),
        _number(row.lingering or None),
        _number(row.unkeyed or None),
    ]


def collapse(rows: Sequence[tuple[bool, Row]], word: str, is_short: bool) -> list[Row]:
    """Put the quiet rows (marked true) into one last line, `187 unchanged`, if the table is to be short."""
    if not is_short:
        return [row for _, row in rows]
    shown = [row for quiet, row in rows if not quiet]
    hidden = len(rows) - len(shown)
    if hidden < 2:
        return [row for _, row in rows]
    width = len(rows[0][1])
    return [*shown, [Cell("=", "dim"), Cell(f"{hidden:,} {word}", "dim"), *[Cell()] * (width - 2)]]


def _identify(status: StrEnum, target: Target, title: str | None) -> list[Cell]:
    marker, style = STYLES[status]
    said = f"{marker} {status.value.replace('_', ' ')}"
    shown = title if title and title != target.segment.name else ""
    return [
        Cell(said, style),
        Cell(target.segment.name, style if style in ("bold", "dim") else ""),
        Cell(str(target.segment.segment_id), "dim"),
        Cell(shown, "dim"),
    ]


def _number(number: int | None, style: str = "") -> Cell:
    return Cell("" if number is None else f"{number:,}", style)


def _removals(number: int) -> Cell:
    return Cell(f"-{number:,}", "red") if number else Cell("0", "dim")


def _additions(number: int) -> Cell:
    return Cell(f"+{number:,}", "green") if number else Cell("0", "dim")
