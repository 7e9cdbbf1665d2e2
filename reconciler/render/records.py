"""The tables of what the state holds: status, orphans, history."""

from datetime import datetime

from reconciler.models.report import HistoryRow, OrphanRow, StatusRow
from reconciler.render.json import write_time
from reconciler.render.tables import Cell, Column, Row, number

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
