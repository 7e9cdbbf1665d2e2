"""Results as Markdown for pull request comments: escaped, and under 60 kB however many segments there are.

Every section has a budget of bytes; what does not fit is counted in a last line. What is wrong comes first.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from reconciler.escaping import escape_markdown
from reconciler.models.plan import Plan, PlanStatus
from reconciler.models.results import Result
from reconciler.render import Options, sentences
from reconciler.render.describe import describe
from reconciler.render.report import MANY, ORPHANS, Cell, Column, Line, Report, Row, collapse

MAX_BYTES = 60_000
"""A document is shorter than this. GitHub refuses a comment of more than 65,536 characters."""

TABLE_BYTES, MOVE_BYTES, TROUBLE_BYTES, NOTE_BYTES, WARNING_BYTES = 18_000, 6_000, 18_000, 8_000, 5_000
MESSAGE_LENGTH, HINT_LENGTH = 1000, 500
MOST_COLUMNS = 12
"""Of a stored document, which may have any columns."""

_PLAIN = re.compile(r"[A-Za-z0-9_./' =:-]+")


def write(result: Result, options: Options) -> str:
    """Write a result as a comment for GitHub. Its first line, which is not shown, depends on the kind alone.

    By that line a bot finds its own comment, and writes over it.
    """
    report = describe(result, options)
    place = f": {escape_markdown(report.place)}" if report.place else ""
    facts, _ = _take([f"- {escape_markdown(fact)}" for fact in report.facts], NOTE_BYTES)
    troubles = [_write_trouble(each) for each in sorted(report.troubles, key=lambda each: each.rank)]
    notes = []
    for line in report.lines:
        examples = [f"to {verb}, for example: {', '.join(map(escape_markdown, ids))}" for verb, ids in line.examples]
        if (clauses := [*line.clauses, *examples]) and not line.shares:
            notes.append(f"- **{escape_markdown(line.name)}**: {'; '.join(clauses)}")
    first_fills = []
    if fill := report.first_fill:
        first_fills = [f"- {sentence}" for sentence in (fill.lost_state, fill.empty) if sentence]
        for name, clause, command in fill.unknown:
            way = f"; to take them over: {_code(command)}" if command else ""
            first_fills.append(f"- **{escape_markdown(name)}**: {clause}{way}")
    warnings = [f"- {escape_markdown(each, MESSAGE_LENGTH)}" for each in report.warnings]
    lines = [
        f"<!-- reconcile {report.kind} -->",
        f"### reconcile {report.kind}{place}",
        "",
        *([f"**{escape_markdown(report.summary, MESSAGE_LENGTH)}**", ""] if report.summary else []),
        *([*facts, ""] if facts else []),
        *_section("Who enters and leaves", _list_moves(result), MOVE_BYTES),
        *_write_lines(report),
        *_section(report.trouble_title, troubles, TROUBLE_BYTES),
        *_section("First fill", first_fills, WARNING_BYTES),
        *_section("Notes", notes, NOTE_BYTES),
        *_write_orphans(report),
        *_section("Warnings", warnings, WARNING_BYTES, ""),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _list_moves(result: Result) -> list[str]:
    """A sentence for each segment that a plan changes, for a reviewer who knows none of our words."""
    moves = []
    for each in result.segments if isinstance(result, Plan) else ():
        if each.counts is not None and each.counts.is_changed:
            segment, verb = each.target.segment, "would" if each.status is not PlanStatus.CHANGES else "will"
            enter, leave = (
                f"{number:,} {'person' if number == 1 else 'people'}"
                for number in (each.counts.add, each.counts.remove)
            )
            about = f" {escape_markdown(segment.description, HINT_LENGTH)}" if segment.description else ""
            name = escape_markdown(each.title or segment.name)
            moves.append(f"- **{name}**: {enter} {verb} enter, {leave} {verb} leave.{about}")
    return moves


def _write_lines(report: Report) -> list[str]:
    """The main table; of several workspaces, each line names its own. Many quiet lines share one."""
    lines, columns = sorted(report.lines, key=lambda line: line.rank), report.columns
    if len({line.target.workspace for line in lines if line.target}) > 1:
        columns = [Column("Workspace"), *columns]
        lines = [_with_workspace(line) for line in lines]
    elif not any(line.target for line in lines):
        columns, lines = columns[:MOST_COLUMNS], [replace(line, row=line.row[:MOST_COLUMNS]) for line in lines]
    return _table(columns, collapse(lines, report.quiet, len(lines) > MANY), TABLE_BYTES, report.noun)


def _with_workspace(line: Line) -> Line:
    workspace = Cell(line.target.workspace if line.target else "")
    return replace(line, row=[workspace, *line.row], before_name=line.before_name + 1)


def _write_orphans(report: Report) -> list[str]:
    if not report.orphans:
        return []
    table = _table(ORPHANS, report.orphans, NOTE_BYTES, "segments")
    return ["#### Orphans", "", *table, sentences.ORPHAN_ADVICE, ""]


def _table(columns: Sequence[Column[Any]], rows: Sequence[Row], budget: int, noun: str) -> list[str]:
    """A table without its empty columns."""
    if not rows:
        return []
    used = [index for index in range(len(columns)) if any(row[index].text for row in rows)]
    head = _join_row(escape_markdown(columns[index].title) for index in used)
    rule = _join_row("---:" if columns[index].right else "---" for index in used)
    lines = [_join_row(escape_markdown(row[index].text) for index in used) for row in rows]
    kept, left = _take(lines, budget)
    return [head, rule, *kept, "", *([f"… and {left:,} more {noun}", ""] if left else [])]


def _join_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _section(title: str, items: Sequence[str], budget: int, noun: str = "segments") -> list[str]:
    """A list under a heading; nothing where there are no items."""
    if not items:
        return []
    kept, left = _take(items, budget)
    return [f"#### {title}", "", *kept, *([f"- … and {left:,} more {noun}"] if left else []), ""]


def _take(items: Sequence[str], budget: int) -> tuple[list[str], int]:
    """As many items as fit into a number of bytes, and how many are left."""
    kept: list[str] = []
    for item in items:
        budget -= len(item.encode()) + 1
        if budget < 0:
            break
        kept.append(item)
    return kept, len(items) - len(kept)


def _write_trouble(line: Line) -> str:
    first, problem = f"- **{escape_markdown(line.name)}** {line.trouble}".rstrip(), line.problem
    if problem:
        first += f": {escape_markdown(problem.message, MESSAGE_LENGTH)}"
    lines = [first]
    if line.names:
        lines.append(f"  - {escape_markdown(line.names, MESSAGE_LENGTH)}")
    if problem and problem.hint:
        lines.append(f"  - {escape_markdown(problem.hint, HINT_LENGTH)}")
    for breach in line.breaches:
        way = f"{sentences.NO_FLAG}: {breach.step}"
        if breach.flag is not None:
            way = sentences.ALLOWED_BY if breach.allowed else f"{sentences.IF_RIGHT}:"
            way += f" {_code(breach.flag)}"
        lines.append(f"  - {escape_markdown(breach.sentence)}; {way}")
    return "\n".join(lines)


def _code(text: str) -> str:
    """A command to copy, where nothing in it can break out of a code span."""
    return f"`{text}`" if _PLAIN.fullmatch(text) else escape_markdown(text, MESSAGE_LENGTH)
