"""The tables of plans, runs, drift and refreshes: one line per segment, for text and for Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.models.drift import DriftStatus, SegmentDrift
from reconciler.models.plan import PlanStatus, SegmentPlan
from reconciler.models.report import RefreshRow, RefreshStatus
from reconciler.models.run import RunStatus, SegmentRun
from reconciler.models.spec import Target
from reconciler.render import words
from reconciler.render.json import count_unmatched


@dataclass(frozen=True)
class Cell:
    """One cell of a table, and its style."""

    text: str = ""
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column. `drop`: the higher, the sooner it goes when space is short; 0 stays. Flexible ones are cut first."""

    title: str
    right: bool = False
    drop: int = 0
    flexible: bool = False


Row = Sequence[Cell]

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
    Column("Unmatched", right=True, drop=7),
    Column("Appeared", right=True, drop=8),
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
        number(counts.desired),
        number(counts.stored),
        _removals(counts.remove),
        _additions(counts.add),
        number(counts.resend or None),
        Cell(words.say_share(counts)),
        Cell(", ".join(words.list_notes(plan))),
    ]


def run_row(run: SegmentRun) -> Row:
    tally, counts = run.tally, run.plan.counts
    return [
        *_identify(run.status, run.plan.target, run.plan.remote.title),
        number(counts.desired if counts else None),
        _removals(tally.removed),
        _additions(tally.added),
        number(tally.resent or None),
        number(tally.rejected or None, "red"),
        number(tally.unsettled or None, "red"),
        number(count_unmatched(run) or None),
        number(tally.requests or None),
        number(tally.retries or None),
        Cell(f"{tally.seconds:,.1f}" if tally.requests else ""),
    ]


def drift_row(drift: SegmentDrift) -> Row:
    counts = drift.counts
    head = _identify(drift.status, drift.target, drift.title)
    if counts is None:
        return [*head, number(drift.stored), *[Cell()] * 4, number(drift.unmatched or None), *[Cell()] * 2]
    return [
        *head,
        number(counts.stored),
        number(counts.remote),
        number(counts.missing, "red" if counts.missing else ""),
        number(counts.foreign, "yellow" if counts.foreign else ""),
        number(counts.lingering or None, "red"),
        number(counts.unmatched or None),
        number(counts.appeared or None),
        number(counts.unkeyed or None),
    ]


def refresh_row(row: RefreshRow) -> Row:
    return [
        *_identify(row.status, row.target, row.title),
        number(row.stored),
        number(row.strangers, "yellow" if row.strangers else ""),
        number(row.adopted),
        number(row.unmatched or None),
        number(row.lingering or None),
        number(row.unkeyed or None),
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


def number(value: int | None, style: str = "") -> Cell:
    return Cell("" if value is None else f"{value:,}", style)


def _removals(number: int) -> Cell:
    return Cell(f"-{number:,}", "red") if number else Cell("0", "dim")


def _additions(number: int) -> Cell:
    return Cell(f"+{number:,}", "green") if number else Cell("0", "dim")
