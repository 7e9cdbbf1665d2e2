"""The tables of every document: one line per segment, orphan or past run, for text and for Markdown."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from reconciler.models.drift import DriftStatus, SegmentDrift
from reconciler.models.plan import PlanStatus, SegmentPlan
from reconciler.models.results import HistoryRow, OrphanRow, RefreshRow, RefreshStatus, StatusRow
from reconciler.models.run import RunStatus, SegmentRun
from reconciler.models.spec import Target
from reconciler.render import sentences
from reconciler.render.json import write_time
from reconciler.render.report import Cell, Column, Row

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
        Cell(sentences.format_share(counts)),
        Cell(", ".join(sentences.list_notes(plan))),
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
        number(run.unmatched_after or None),
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


# --- what the state holds: status, orphans, history -------------------------------------------------------------

STATUS_COLUMNS = (
    Column("Segment", flexible=True),
    Column("Id", right=True, drop=2),
    Column("Members", right=True),
    Column("Unsettled", right=True, drop=1),
    Column("Unmatched", right=True, drop=3),
    Column("Rejected", right=True, drop=4),
    Column("Last run", drop=6),
    Column("Exit", right=True, drop=5),
    Column("Run id", drop=9, flexible=True),
    Column("Lock", drop=7, flexible=True),
)

ORPHAN_COLUMNS = (
    Column("Workspace", flexible=True),
    Column("Id", right=True),
    Column("Id type", drop=3),
    Column("Members", right=True),
    Column("Unsettled", right=True, drop=1),
    Column("Unmatched", right=True, drop=2),
)


HISTORY_COLUMNS = (
    Column("Run", flexible=True),
    Column("Started"),
    Column("Took", right=True, drop=4),
    Column("Exit", right=True),
    Column("Segments", right=True, drop=3),
    Column("Removed", right=True, drop=1),
    Column("Added", right=True, drop=1),
    Column("Rejected", right=True, drop=6),
    Column("Unsettled", right=True, drop=5),
    Column("Workspace", drop=8, flexible=True),
    Column("Command", drop=7, flexible=True),
)


def status_row(row: StatusRow) -> Row:
    last = row.last_run
    members = Cell(f"{row.members:,}" if row.members is not None else "" if row.known or row.error else "new")
    return [
        Cell(row.name),
        Cell(str(row.target.segment.segment_id), "dim"),
        members,
        number(row.unsettled or None, "red"),
        number(row.unmatched or None),
        number(row.rejected or None, "red"),
        Cell(_minute(last.started_at) if last else ""),
        Cell("" if last is None else "?" if last.exit_code is None else str(last.exit_code)),
        Cell(last.run_id if last else "", "dim"),
        Cell(row.holder or "", "yellow"),
    ]


def orphan_row(row: OrphanRow) -> Row:
    return [
        Cell(row.workspace),
        Cell(str(row.segment_id)),
        Cell(row.id_type or ""),
        number(row.members),
        number(row.unsettled or None, "red"),
        number(row.unmatched or None),
    ]


def history_row(row: HistoryRow) -> Row:
    return [
        Cell(row.run_id),
        Cell(_minute(row.started_at)),
        Cell(_say_span(row.started_at, row.ended_at)),
        Cell("?" if row.exit_code is None else str(row.exit_code), "" if row.exit_code in (0, 2) else "yellow"),
        number(row.segments),
        _signed("-", row.removed, "red"),
        _signed("+", row.added, "green"),
        number(row.rejected or None, "red"),
        number(row.unsettled or None, "red"),
        Cell(row.workspace),
        Cell(row.command, "dim"),
    ]


def _say_span(start: datetime, end: datetime | None) -> str:
    """`12 s`, `3 min 5 s`, `2 h 10 min`."""
    if end is None:
        return ""
    seconds = max(round((end - start).total_seconds()), 0)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _minute(moment: datetime) -> str:
    """UTC, to the minute: `2026-11-21 02:00Z`."""
    said = write_time(moment) or ""
    return f"{said[:10]} {said[11:16]}Z"


def _signed(sign: str, number: int | None, style: str) -> Cell:
    return Cell(f"{sign}{number:,}", style) if number else Cell("" if number is None else "0", "dim")
