"""Drift, refresh, status and history as text."""

from collections.abc import Sequence
from datetime import datetime

from reconciler.core.drift import Drift, DriftStatus
from reconciler.core.report import History, HistoryRow, OrphanRow, Refresh, RefreshStatus, Status, StatusRow
from reconciler.core.spec import Target
from reconciler.render import words
from reconciler.render.clean import clean
from reconciler.render.json import write_time
from reconciler.render.text import segments as below
from reconciler.render.text.page import Cell, Column, Page, Row
from reconciler.render.text.tables import DRIFT_COLUMNS, MANY, REFRESH_COLUMNS, collapse, drift_row, refresh_row


def drift(value: Drift, width: int = 80, color: bool = False, *, verbose: bool = False) -> str:
    """Show drift."""
    page, found = Page(width, color), value.segments
    is_short = len(found) > MANY and not verbose
    rows = [(each.status is DriftStatus.IN_SYNC, drift_row(each)) for each in found]
    _show_tables(page, [each.target for each in found], rows, DRIFT_COLUMNS, "in sync", is_short)
    for each in found:
        if each.status is DriftStatus.FAILED:
            below.show_problem(page, each.target.segment.name, "failed", each.error)
    if any(each.status is DriftStatus.DRIFTED for each in found):
        page.paragraph(DRIFT_LEGEND)
        page.gap()
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_drift(value), style="bold")
    return page.text()


DRIFT_LEGEND = (
    "Missing: stored, and not there. Foreign: there, and not stored. Lingering: removed by reconcile in the last 30 "
    "days, and still there. `reconcile refresh` makes the state equal to what is there; the next apply mends the rest."
)


def refresh(value: Refresh, width: int = 80, color: bool = False, *, verbose: bool = False) -> str:
    """Show what a refresh took over."""
    page, found = Page(width, color), value.segments
    rows = [(each.status is RefreshStatus.REFRESHED and not each.strangers, refresh_row(each)) for each in found]
    is_short = len(found) > MANY and not verbose
    _show_tables(page, [each.target for each in found], rows, REFRESH_COLUMNS, "refreshed, nobody new", is_short)
    for each in found:
        if each.status is not RefreshStatus.REFRESHED:
            verb = "is locked; nothing was changed for it" if each.status is RefreshStatus.LOCKED else "failed"
            below.show_problem(page, each.target.segment.name, verb, each.error)
    if any(each.adopted for each in found):
        page.paragraph("The next plan removes those taken over whom the query does not return.", style="yellow")
        page.gap()
    below.show_warnings(page, value.warnings)
    page.paragraph(words.say_refresh(value), style="bold")
    return page.text()


def _show_tables(
    page: Page,
    targets: Sequence[Target],
    rows: Sequence[tuple[bool, Row]],
    columns: Sequence[Column],
    word: str,
    is_short: bool,
) -> None:
    for (path, workspace), places in below.group_by_spec(targets).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(columns, collapse([rows[place] for place in places], word, is_short))
        page.gap()


# --- status ------------------------------------------------------------------------------------------------------

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


def status(value: Status, width: int = 80, color: bool = False) -> str:
    """Show what the state holds, and the orphans."""
    page = Page(width, color)
    for (path, workspace), places in below.group_by_spec([each.target for each in value.segments]).items():
        page.heading(f"{path} · workspace {workspace}")
        page.table(STATUS_COLUMNS, [_status_row(value.segments[place]) for place in places])
        page.gap()
    _show_status_notes(page, value.segments)
    if value.orphans:
        _show_orphans(page, value.orphans)
    below.show_warnings(page, value.warnings)
    page.paragraph(say_status(value), style="bold")
    return page.text()


def say_status(value: Status) -> str:
    """`3 segments, 1,000 members; 1 unsettled; 1 orphan.`"""
    members = sum(row.members or 0 for row in value.segments)
    unsettled = sum(row.unsettled or 0 for row in value.segments)
    new = sum(not row.known and row.error is None for row in value.segments)
    begin = f"{words.count(len(value.segments), 'segment')}, {words.count(members, 'member')}"
    parts = [
        f"{unsettled:,} unsettled" if unsettled else "",
        f"{new:,} not in the state yet" if new else "",
        words.count(len(value.orphans), "orphan") if value.orphans else "",
    ]
    return words.summarise(begin, parts)


def _status_row(row: StatusRow) -> Row:
    last = row.last_run
    members = Cell(f"{row.members:,}" if row.members is not None else "" if row.known or row.error else "new")
    return [
        Cell(row.name),
        Cell(str(row.target.segment.segment_id), "dim"),
        members,
        _number(row.unsettled or None, "red"),
        _number(row.unmatched or None),
        _number(row.rejected or None, "red"),
        Cell(_minute(last.started_at) if last else ""),
        Cell("" if last is None else "?" if last.exit_code is None else str(last.exit_code)),
        Cell(last.run_id if last else "", "dim"),
        Cell(row.holder or "", "yellow"),
    ]


def _show_status_notes(page: Page, rows: Sequence[StatusRow]) -> None:
    before = page.length
    for row in rows:
        if row.error:
            below.show_problem(page, row.name, "can't be read", row.error)
        if row.holder:
            page.paragraph(f"{row.name} is locked by {clean(row.holder)}.", style="yellow", marker="!")
    page.gap_after(before)


def _show_orphans(page: Page, orphans: Sequence[OrphanRow]) -> None:
    page.heading("Orphans: the state knows them, and no named spec lists them")
    page.table(ORPHAN_COLUMNS, [_orphan_row(each) for each in orphans])
    page.gap()
    page.paragraph("They are never touched. To forget one for good:")
    page.command(f"reconcile state forget SPEC id:{orphans[0].segment_id}", indent=2)
    page.gap()


def _orphan_row(row: OrphanRow) -> Row:
    return [
        Cell(row.workspace),
        Cell(str(row.segment_id)),
        Cell(row.id_type or ""),
        _number(row.members),
        _number(row.unsettled or None, "red"),
        _number(row.unmatched or None),
    ]


# --- history -----------------------------------------------------------------------------------------------------

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


def history(value: History, width: int = 80, color: bool = False) -> str:
    """Show the list of past runs."""
    page = Page(width, color)
    if value.runs:
        page.table(HISTORY_COLUMNS, [_history_row(row) for row in value.runs])
        page.gap()
    below.show_warnings(page, value.warnings)
    page.paragraph(f"{words.count(len(value.runs), 'run')}, newest first." if value.runs else "No runs yet.")
    return page.text()


def _history_row(row: HistoryRow) -> Row:
    return [
        Cell(row.run_id),
        Cell(_minute(row.started_at)),
        Cell(_say_span(row.started_at, row.ended_at)),
        Cell("?" if row.exit_code is None else str(row.exit_code), "" if row.exit_code in (0, 2) else "yellow"),
        _number(row.segments),
        _signed("-", row.removed, "red"),
        _signed("+", row.added, "green"),
        _number(row.rejected or None, "red"),
        _number(row.unsettled or None, "red"),
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


def _number(number: int | None, style: str = "") -> Cell:
    return Cell("" if number is None else f"{number:,}", style)


def _signed(sign: str, number: int | None, style: str) -> Cell:
    return Cell(f"{sign}{number:,}", style) if number else Cell("" if number is None else "0", "dim")
