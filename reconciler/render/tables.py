"""The tables of every document: one line per segment, orphan or past run, for text and for Markdown."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from reconciler.models.comparison import Counts, DriftCounts
from reconciler.models.plan import PlanStatus
from reconciler.models.results import (
    DriftStatus,
    HistoryRow,
    OrphanRow,
    RefreshRow,
    RefreshStatus,
    RunStatus,
    SegmentRun,
    StatusRow,
)
from reconciler.models.spec import Target
from reconciler.render.json import write_time
from reconciler.render.report import Cell, Column, Row

T = TypeVar("T")
Table = Sequence[tuple[Column, Callable[[T], Cell]]]
"""Each column with the function that makes its cell from a value."""

MANY = 20
"""With more segments than this, the unchanged ones share a line."""

# The marker shows the status without colour, too.
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


def number(value: int | None, style: str = "") -> Cell:
    return Cell("" if value is None else f"{value:,}", style)


def nonzero(value: int | None, style: str = "") -> Cell:
    return number(value or None, style)


def alert(value: int | None, style: str) -> Cell:
    """A number that has a style unless it is 0."""
    return number(value, style if value else "")


def signed(sign: str, value: int | None, style: str) -> Cell:
    """`-1,500`; a plain `0`."""
    return Cell(f"{sign}{value:,}", style) if value else Cell("" if value is None else "0", "dim")


# --- segments ----------------------------------------------------------------------------------------------------

SEGMENT = (
    Column("Status"),
    Column("Segment", flexible=True),
    Column("Id", right=True, drop=2),
    Column("Title", drop=9, flexible=True),
)
"""The first columns of every table of segments but that of `status`."""

COUNTS: Table[Counts] = (
    (Column("Desired", right=True, drop=4), lambda counts: number(counts.desired)),
    (Column("Stored", right=True, drop=5), lambda counts: number(counts.stored)),
    (Column("Remove", right=True), lambda counts: signed("-", counts.remove, "red")),
    (Column("Add", right=True), lambda counts: signed("+", counts.add, "green")),
    (Column("Resend", right=True, drop=3), lambda counts: nonzero(counts.resend)),
    (Column("Change", right=True, drop=6), lambda counts: Cell(_format_share(counts))),
)

RUN: Table[SegmentRun] = (
    (Column("Desired", right=True, drop=6), lambda run: number(run.plan.counts.desired if run.plan.counts else None)),
    (Column("Removed", right=True), lambda run: signed("-", run.tally.removed, "red")),
    (Column("Added", right=True), lambda run: signed("+", run.tally.added, "green")),
    (Column("Resent", right=True, drop=5), lambda run: nonzero(run.tally.resent)),
    (Column("Rejected", right=True, drop=1), lambda run: nonzero(run.tally.rejected, "red")),
    (Column("Unsettled", right=True, drop=1), lambda run: nonzero(run.tally.unsettled, "red")),
    (Column("Unmatched", right=True, drop=4), lambda run: nonzero(run.unmatched_after)),
    (Column("Requests", right=True, drop=7), lambda run: nonzero(run.tally.requests)),
    (Column("Retries", right=True, drop=8), lambda run: nonzero(run.tally.retries)),
    (
        Column("Seconds", right=True, drop=10),
        lambda run: Cell(f"{run.tally.seconds:,.1f}" if run.tally.requests else ""),
    ),
)

DRIFT: Table[DriftCounts] = (
    (Column("Stored", right=True, drop=4), lambda counts: number(counts.stored)),
    (Column("Remote", right=True, drop=5), lambda counts: number(counts.remote)),
    (Column("Missing", right=True), lambda counts: alert(counts.missing, "red")),
    (Column("Foreign", right=True), lambda counts: alert(counts.foreign, "yellow")),
    (Column("Lingering", right=True, drop=3), lambda counts: nonzero(counts.lingering, "red")),
    (Column("Unmatched", right=True, drop=7), lambda counts: nonzero(counts.unmatched)),
    (Column("Appeared", right=True, drop=8), lambda counts: nonzero(counts.appeared)),
    (Column("Unkeyed", right=True, drop=6), lambda counts: nonzero(counts.unkeyed)),
)

REFRESH: Table[RefreshRow] = (
    (Column("Stored", right=True), lambda row: number(row.stored)),
    (Column("Not known", right=True), lambda row: alert(row.strangers, "yellow")),
    (Column("Taken over", right=True, drop=1), lambda row: number(row.adopted)),
    (Column("Unmatched", right=True, drop=4), lambda row: nonzero(row.unmatched)),
    (Column("Lingering", right=True, drop=5), lambda row: nonzero(row.lingering)),
    (Column("Unkeyed", right=True, drop=6), lambda row: nonzero(row.unkeyed)),
)

STATUS: Table[StatusRow] = (
    (Column("Segment", flexible=True), lambda row: Cell(row.name)),
    (Column("Id", right=True, drop=2), lambda row: Cell(str(row.target.segment.segment_id), "dim")),
    (
        Column("Members", right=True),
        lambda row: Cell("new") if row.members is None and not (row.known or row.error) else number(row.members),
    ),
    (Column("Unsettled", right=True, drop=1), lambda row: nonzero(row.unsettled, "red")),
    (Column("Unmatched", right=True, drop=3), lambda row: nonzero(row.unmatched)),
    (Column("Rejected", right=True, drop=4), lambda row: nonzero(row.rejected, "red")),
    (Column("Last run", drop=6), lambda row: Cell(_format_minute(row.last_run.started_at) if row.last_run else "")),
    (
        Column("Exit", right=True, drop=5),
        lambda row: Cell(_format_code(row.last_run.exit_code) if row.last_run else ""),
    ),
    (Column("Run id", drop=9, flexible=True), lambda row: Cell(row.last_run.run_id if row.last_run else "", "dim")),
    (Column("Lock", drop=7, flexible=True), lambda row: Cell(row.holder or "", "yellow")),
)

NOTES = Column("Notes", drop=8, flexible=True)


def columns(table: Table[T]) -> list[Column]:
    return [column for column, _ in table]


def fill(table: Table[T], value: T) -> list[Cell]:
    """Make the cells of one line."""
    return [make(value) for _, make in table]


def identify(status: StrEnum, target: Target, title: str | None) -> list[Cell]:
    """Make the cells of the first columns, SEGMENT."""
    marker, style = STYLES[status]
    return [
        Cell(f"{marker} {status.value.replace('_', ' ')}", style),
        Cell(target.segment.name, style if style in ("bold", "dim") else ""),
        Cell(str(target.segment.segment_id), "dim"),
        Cell(title if title and title != target.segment.name else "", "dim"),
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


# --- what the state holds besides the segments of the specs ------------------------------------------------------

ORPHANS: Table[OrphanRow] = (
    (Column("Workspace", flexible=True), lambda row: Cell(row.workspace)),
    (Column("Id", right=True), lambda row: Cell(str(row.segment_id))),
    (Column("Id type", drop=3), lambda row: Cell(row.id_type or "")),
    (Column("Members", right=True), lambda row: number(row.members)),
    (Column("Unsettled", right=True, drop=1), lambda row: nonzero(row.unsettled, "red")),
    (Column("Unmatched", right=True, drop=2), lambda row: nonzero(row.unmatched)),
)

HISTORY: Table[HistoryRow] = (
    (Column("Run", flexible=True), lambda row: Cell(row.run_id)),
    (Column("Started"), lambda row: Cell(_format_minute(row.started_at))),
    (Column("Took", right=True, drop=4), lambda row: Cell(_format_span(row.started_at, row.ended_at))),
    (
        Column("Exit", right=True),
        lambda row: Cell(_format_code(row.exit_code), "" if row.exit_code in (0, 2) else "yellow"),
    ),
    (Column("Segments", right=True, drop=3), lambda row: number(row.segments)),
    (Column("Removed", right=True, drop=1), lambda row: signed("-", row.removed, "red")),
    (Column("Added", right=True, drop=1), lambda row: signed("+", row.added, "green")),
    (Column("Rejected", right=True, drop=6), lambda row: nonzero(row.rejected, "red")),
    (Column("Unsettled", right=True, drop=5), lambda row: nonzero(row.unsettled, "red")),
    (Column("Workspace", drop=8, flexible=True), lambda row: Cell(row.workspace)),
    (Column("Command", drop=7, flexible=True), lambda row: Cell(row.command, "dim")),
)


def _format_share(counts: Counts) -> str:
    """The changes as a share of the stored members; empty where there are none stored, or no change."""
    changes = counts.add + counts.remove
    return f"{changes * 100 / counts.stored:.1f}%" if changes and counts.stored else ""


def _format_span(start: datetime, end: datetime | None) -> str:
    """`12 s`, `3 min 5 s`, `2 h 10 min`; empty while there is no end."""
    if end is None:
        return ""
    seconds = max(round((end - start).total_seconds()), 0)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _format_minute(moment: datetime) -> str:
    """UTC, to the minute: `2026-11-21 02:00Z`."""
    written = write_time(moment) or ""
    return f"{written[:10]} {written[11:16]}Z"


def _format_code(exit_code: int | None) -> str:
    """The exit code of a run; `?` while it goes on, or if it died."""
    return "?" if exit_code is None else str(exit_code)
