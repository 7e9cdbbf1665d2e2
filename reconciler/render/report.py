"""What people read of a result, before it has a format: `describe` makes it, and text and Markdown write it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar, assert_never

from reconciler.models.comparison import Counts
from reconciler.models.history import HistoryRow, Outcome, RunPart, shorten
from reconciler.models.plan import Orphan, PlanStatus, Problem, SegmentPlan
from reconciler.models.results import (
    DriftStatus,
    Management,
    RefreshRow,
    RefreshStatus,
    RunStatus,
    SegmentDrift,
    SegmentRow,
    SegmentRun,
    StatusRow,
    WorkspaceSegment,
)
from reconciler.models.spec import Target
from reconciler.render import past_runs, sentences
from reconciler.render.json_documents import write_time

T = TypeVar("T")

MARKS: Mapping[StrEnum, tuple[str, str]] = {
    RunStatus.PARTIAL: ("✗", "red"),
    RunStatus.FAILED: ("✗", "red"),
    DriftStatus.DRIFTED: ("≠", "yellow"),
    RunStatus.BLOCKED: ("!", "yellow"),
    RunStatus.STALE: ("!", "yellow"),
    RunStatus.LOCKED: ("!", "yellow"),
    RunStatus.PAUSED: ("‖", "yellow"),
    PlanStatus.CHANGES: ("~", "bold"),
    RunStatus.APPLIED: ("✓", "green"),
    RefreshStatus.REFRESHED: ("✓", "green"),
    RunStatus.UNCHANGED: ("=", "dim"),
    DriftStatus.IN_SYNC: ("=", "dim"),
}
"""By status, one line for each word (see RunStatus): its marker, which shows it without colour, too, and its style.
In the order of lines where what is wrong comes first."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table, and its style."""

    text: str = ""
    style: str = ""


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column. `drop`: the higher, the sooner it goes when space is short; 0 stays. Flexible ones are cut first."""

    title: str
    fill: Callable[[T], Cell] = lambda _: Cell()
    """Makes its cell from the value that a line is about."""
    right: bool = False
    drop: int = 0
    flexible: bool = False


Row = Sequence[Cell]

MANY = 20
"""With more segments than this, the quiet ones share a line."""


@dataclass(frozen=True)
class Breach:
    """One guard that was breached. `flag`: what allows it for this segment; None where nothing does."""

    sentence: str
    flag: str | None
    allowed: bool
    step: str = "correct the query or the spec"
    """What to do where no flag allows it."""


@dataclass(frozen=True)
class Line:
    """One line of the main table; where it is about a segment, what is wrong with it and what is worth a note."""

    row: Row
    name: str = ""
    target: Target | None = None
    rank: int = 0
    """Its place where what is wrong comes first."""
    before_name: int = 1
    """Cells of the row before that of the name."""
    quiet: bool = False
    """Nothing is to be done and nothing is wrong: in a long table these lines become one."""
    shares: int = 0
    """The number of the cause for which it and others were not done at all: in a long table these become one, too."""
    trouble: str | None = None
    """What goes on after its name: `failed`, `is stale; nothing was sent for it`. None where nothing is wrong."""
    names: str = ""
    """The segments that share this trouble, where there are several: `name` then says how many."""
    problem: Problem | None = None
    breaches: Sequence[Breach] = ()
    clauses: Sequence[str] = ()
    """Details, each a clause."""
    examples: Sequence[tuple[str, Sequence[str]]] = ()
    """Some ids by what would be done with them, `remove` or `add`."""
    owner: str | None = None
    """Of the segment, as the spec has it; only in a plan."""

    @property
    def notes(self) -> list[str]:
        """The details and the owner, for formats that do not name the owner elsewhere."""
        return [*self.clauses, *([f"owner: {self.owner}"] if self.owner else [])]


@dataclass(frozen=True)
class FirstFill:
    """A warning of segments of which the state knows nothing, or knew nothing before a run that is over."""

    sentence: str
    empty: str
    """How many of them have no members, as a clause."""
    unknown: Sequence[tuple[str, str, str | None]]
    """By name: what is known of the members that a segment may have, and the command that takes them over."""
    lost_state: str
    """The warning about a state that may be lost between runs."""


@dataclass(frozen=True)
class Report:
    """A result in words and numbers. `summary` is one sentence; `place` names the workspace, or says how many."""

    kind: str
    summary: str
    place: str = ""
    facts: Sequence[str] = ()
    columns: Sequence[Column[Any]] = ()
    lines: Sequence[Line] = ()
    noun: str = "segments"
    """What the lines are about."""
    quiet: str = ""
    """What quiet lines have in common: `187 unchanged`."""
    trouble_title: str = "Not done"
    troubles: Sequence[Line] = ()
    first_fill: FirstFill | None = None
    remarks: Sequence[tuple[str, str, str]] = ()
    """Explanations for a reader of the terminal, each with its style and its marker."""
    orphans: Sequence[Row] = ()
    """The segments that hold members and have left their spec, as the table ORPHANS."""
    warnings: Sequence[str] = ()


def fill(columns: Sequence[Column[T]], value: T | None) -> list[Cell]:
    """Make the cells of one line; without a value they are empty."""
    return [Cell() if value is None else column.fill(value) for column in columns]


def rank_lines(report: Report) -> tuple[Sequence[Column[Any]], list[Line]]:
    """Give the main table, what is wrong first; of several workspaces, each line names its own."""
    lines = sorted(report.lines, key=lambda line: line.rank)
    if len({line.target.workspace for line in lines if line.target}) <= 1:
        return report.columns, lines
    names = [Cell(line.target.workspace if line.target else "") for line in lines]
    return [Column("Workspace"), *report.columns], [
        replace(line, row=[name, *line.row], before_name=line.before_name + 1)
        for name, line in zip(names, lines, strict=True)
    ]


def collapse(lines: Sequence[Line], word: str, is_short: bool) -> list[Row]:
    """Give the rows of lines. If the table is to be short, those that share a cause are one row, in the place of the
    first, and the quiet ones are one last row, `187 unchanged`."""
    if not is_short:
        return [line.row for line in lines]
    sharing = Counter(line.shares for line in lines if line.shares)
    hidden = sum(line.quiet for line in lines)
    rows: list[Row] = []
    told: set[int] = set()
    for line in lines:
        if sharing[line.shares] > 1:
            if line.shares not in told:
                some = Cell(f"{sharing[line.shares]:,} segments, see below")
                rows.append(_pad([*line.row[: line.before_name], some], line))
            told.add(line.shares)
        elif not line.quiet or hidden == 1:
            rows.append(line.row)
    if hidden > 1:
        rows.append(_pad([Cell("=", "dim"), Cell(f"{hidden:,} {word}", "dim")], lines[0]))
    return rows


def _pad(cells: Sequence[Cell], line: Line) -> Row:
    return [*cells, *[Cell()] * (len(line.row) - len(cells))]


# --- cells -------------------------------------------------------------------------------------------------------


def mark(row: SegmentRow) -> Cell:
    """`✓ applied`."""
    if sentences.is_declined(row):
        return Cell(f"! {sentences.NOT_CONFIRMED}", "yellow")
    marker, style = MARKS[row.status]
    return Cell(f"{marker} {row.status.replace('_', ' ')}", style)


def name(row: SegmentRow) -> Cell:
    _, style = MARKS[row.status]
    return Cell(row.target.segment.name, style if style in ("bold", "dim") else "")


def title(row: SegmentRow) -> Cell:
    """The title at Customer.io, as the state knows it or as the spec has it where it was not asked for; empty where it
    is the name."""
    plan = row.plan if isinstance(row, SegmentRun) else row
    known = plan.head.title if isinstance(plan, SegmentPlan) else None
    found = row.title or known or row.target.segment.segment or ""
    return Cell("" if found == row.target.segment.name else found, "dim")


def segment_id(target: Target) -> Cell:
    """The number at Customer.io; that of a title that is not found, or not made yet, is not known."""
    return Cell(str(target.segment.segment_id or "-"), "dim")


def number(value: int | None, style: str = "") -> Cell:
    """A number, which has the style unless it is 0; empty where it is not known."""
    return Cell("" if value is None else f"{value:,}", style if value else "")


def nonzero(value: int | None, style: str = "") -> Cell:
    """A number, which is empty where it is 0."""
    return Cell(f"{value:,}" if value else "", style)


def signed(sign: str, value: int | None, style: str) -> Cell:
    """`-1,500`; a plain `0`."""
    return Cell(f"{sign}{value:,}", style) if value else Cell("" if value is None else "0", "dim")


def share(counts: Counts) -> Cell:
    """The changes as a share of the stored members; empty where there are none stored, or no change."""
    changes = counts.add + counts.remove
    return Cell(f"{changes * 100 / counts.stored:.1f}%" if changes and counts.stored else "")


def minute(moment: datetime) -> Cell:
    """UTC, to the minute: `2026-11-21 02:00Z`."""
    written = write_time(moment) or ""
    return Cell(f"{written[:10]} {written[11:16]}Z")


def span(start: datetime, end: datetime | None) -> Cell:
    """`12 s`, `3 min 5 s`, `2 h 10 min`; empty while there is no end."""
    if end is None:
        return Cell()
    seconds = max(round((end - start).total_seconds()), 0)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return Cell(f"{hours:,} h {minutes} min")
    return Cell(f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s")


def outcome(value: Outcome) -> Cell:
    """`✗ failed (source)`."""
    marker, style = {str(status): mark for status, mark in MARKS.items()}.get(value.status, ("✗", "red"))
    return Cell(f"{marker} {value.status}{f' ({value.code})' if value.code else ''}", style)


def manager(row: WorkspaceSegment) -> Cell:
    """The spec that manages a segment; `none` where one could."""
    match row.status:
        case Management.MANAGED:
            return Cell(row.spec or "not known")
        case Management.ORPHAN:
            return Cell(f"none (left {row.spec})", "yellow")
        case Management.UNMANAGED:
            return Cell("none" if row.manual else "", "yellow")
        case _:
            assert_never(row.status)


# --- tables ------------------------------------------------------------------------------------------------------

SEGMENT: Sequence[Column[SegmentRow]] = (
    Column("Status", mark),
    Column("Segment", name, flexible=True),
    Column("Id", lambda row: segment_id(row.target), right=True, drop=2),
    Column("Title", title, drop=9, flexible=True),
)
"""The first columns of every table of segments but that of `status`."""

COUNTS: Sequence[Column[Counts]] = (
    Column("Desired", lambda counts: number(counts.desired), right=True, drop=4),
    Column("Stored", lambda counts: number(counts.stored), right=True, drop=5),
    Column("Remove", lambda counts: signed("-", counts.remove, "red"), right=True),
    Column("Add", lambda counts: signed("+", counts.add, "green"), right=True),
    Column("Resend", lambda counts: nonzero(counts.resend), right=True, drop=3),
    Column("Change", share, right=True, drop=6),
)

NOTES: Column[SegmentPlan] = Column("Notes", lambda plan: Cell(sentences.write_notes(plan)), drop=8, flexible=True)

RUN: Sequence[Column[SegmentRun]] = (
    Column("Desired", lambda run: number(run.plan.counts.desired if run.plan.counts else None), right=True, drop=6),
    Column("Removed", lambda run: signed("-", run.tally.removed, "red"), right=True),
    Column("Added", lambda run: signed("+", run.tally.added, "green"), right=True),
    Column("Resent", lambda run: nonzero(run.tally.resent), right=True, drop=5),
    Column("Rejected", lambda run: nonzero(run.tally.rejected, "red"), right=True, drop=1),
    Column("Unsettled", lambda run: nonzero(run.tally.unsettled, "red"), right=True, drop=1),
    Column("Unmatched", lambda run: nonzero(run.unmatched_after), right=True, drop=4),
    Column("Requests", lambda run: nonzero(run.tally.requests), right=True, drop=7),
    Column("Retries", lambda run: nonzero(run.tally.retries), right=True, drop=8),
    Column("Seconds", lambda run: Cell(f"{run.tally.seconds:,.1f}" if run.tally.requests else ""), right=True, drop=10),
)

DRIFT: Sequence[Column[SegmentDrift]] = (
    Column("Stored", lambda row: number(row.counts.stored if row.counts else row.stored), right=True, drop=4),
    Column("Remote", lambda row: number(row.counts.remote) if row.counts else Cell(), right=True, drop=5),
    Column("Missing", lambda row: number(row.counts.missing, "red") if row.counts else Cell(), right=True),
    Column("Foreign", lambda row: number(row.counts.foreign, "yellow") if row.counts else Cell(), right=True),
    Column("Lingering", lambda row: nonzero(row.counts.lingering, "red") if row.counts else Cell(), right=True, drop=3),
    Column("Unmatched", lambda row: nonzero(row.counts.unmatched if row.counts else row.unmatched), right=True, drop=7),
    Column("Appeared", lambda row: nonzero(row.counts.appeared) if row.counts else Cell(), right=True, drop=8),
    Column("Unkeyed", lambda row: nonzero(row.counts.unkeyed) if row.counts else Cell(), right=True, drop=6),
)

REFRESH: Sequence[Column[RefreshRow]] = (
    Column("Stored", lambda row: number(row.stored), right=True),
    Column("Not known", lambda row: number(row.strangers, "yellow"), right=True),
    Column("Taken over", lambda row: number(row.adopted), right=True, drop=1),
    Column("Unmatched", lambda row: nonzero(row.unmatched), right=True, drop=4),
    Column("Lingering", lambda row: nonzero(row.lingering), right=True, drop=5),
    Column("Unkeyed", lambda row: nonzero(row.unkeyed), right=True, drop=6),
)

STATUS: Sequence[Column[StatusRow]] = (
    Column("Segment", lambda row: Cell(row.name), flexible=True),
    Column("Id", lambda row: segment_id(row.target), right=True, drop=2),
    Column(
        "Members",
        lambda row: (
            number(row.members) if row.known or row.error else Cell("retired" if row.target.segment.retired else "new")
        ),
        right=True,
    ),
    Column("Unsettled", lambda row: nonzero(row.unsettled, "red"), right=True, drop=1),
    Column("Unmatched", lambda row: nonzero(row.unmatched), right=True, drop=3),
    Column("Rejected", lambda row: nonzero(row.rejected, "red"), right=True, drop=4),
    Column("Last run", lambda row: outcome(row.last) if row.last else Cell()),
    Column("When", lambda row: minute(row.last.at) if row.last else Cell(), drop=6),
    Column("Run", lambda row: Cell(shorten(row.last.run_id) if row.last else "", "dim"), drop=5),
    Column("Lock", lambda row: Cell(row.holder or "", "yellow"), drop=7, flexible=True),
)

ORPHANS: Sequence[Column[Orphan]] = (
    Column("Workspace", lambda row: Cell(row.workspace), flexible=True),
    Column("Segment", lambda row: Cell(row.name or ""), flexible=True),
    Column("Id", lambda row: Cell(str(row.segment_id)), right=True),
    Column("Title", lambda row: Cell(row.title or ""), drop=4, flexible=True),
    Column("Id type", lambda row: Cell(row.id_type or ""), drop=3),
    Column("Members", lambda row: number(row.members), right=True),
    Column("Unsettled", lambda row: nonzero(row.unsettled, "red"), right=True, drop=1),
    Column("Unmatched", lambda row: nonzero(row.unmatched), right=True, drop=2),
)

HISTORY: Sequence[Column[HistoryRow]] = (
    Column("Run", lambda row: Cell(shorten(row.run_id))),
    Column("Started", lambda row: minute(row.started_at)),
    Column("Took", lambda row: span(row.started_at, row.ended_at), right=True, drop=9),
    Column("Command", lambda row: Cell(row.command, "dim"), drop=7),
    Column("Result", lambda row: Cell(past_runs.tell_result(row), "yellow" if row.exit_code != 0 else "")),
    Column("What it did", lambda row: Cell(past_runs.tell_deeds(row)), flexible=True),
    Column("By", lambda row: Cell(past_runs.tell_actor(row.actor)), drop=5, flexible=True),
    Column("Workspace", lambda row: Cell(row.workspace), drop=8, flexible=True),
)

PARTS: Sequence[Column[RunPart]] = (
    Column("Segment", lambda row: Cell(row.name), flexible=True),
    Column("Id", lambda row: Cell(str(row.segment_id), "dim"), right=True, drop=1),
    Column("Title", lambda row: Cell(row.title or "", "dim"), drop=2, flexible=True),
    Column("Removed", lambda row: signed("-", row.removed, "red"), right=True),
    Column("Added", lambda row: signed("+", row.added, "green"), right=True),
    Column("Unsettled", lambda row: nonzero(row.unsettled, "red"), right=True),
)
"""Of a run that has not ended."""

WORKSPACE_SEGMENTS: Sequence[Column[WorkspaceSegment]] = (
    Column("Workspace", lambda row: Cell(row.workspace), drop=5, flexible=True),
    Column("Id", lambda row: Cell(str(row.segment_id)), right=True),
    Column("Title", lambda row: Cell(row.title), flexible=True),
    Column("Type", lambda row: Cell("manual" if row.manual else "data-driven", "" if row.manual else "dim"), drop=3),
    Column("People", lambda row: number(row.people), right=True, drop=2),
    Column("Segment", lambda row: Cell(row.name or ""), drop=4, flexible=True),
    Column("Spec", manager, drop=1, flexible=True),
)
