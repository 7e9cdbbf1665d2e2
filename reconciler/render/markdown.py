"""Results as Markdown for pull request comments: escaped, and under 60 kB however many segments there are.

Every section has a budget of bytes; what does not fit is counted in a last line. What is wrong comes first.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from reconciler.escaping import escape_markdown
from reconciler.models.comparison import Counts
from reconciler.models.plan import Plan, PlanStatus, SegmentPlan
from reconciler.models.results import Result
from reconciler.models.spec import Region
from reconciler.render import Options, sentences
from reconciler.render.describe import describe
from reconciler.render.report import MANY, ORPHANS, Column, Line, Report, Row, collapse, rank_lines

MAX_BYTES = 60_000
"""A document is shorter than this. GitHub refuses a comment of more than 65,536 characters."""

TABLE_BYTES, MOVE_BYTES, TROUBLE_BYTES, NOTE_BYTES, WARNING_BYTES = 18_000, 6_000, 18_000, 8_000, 5_000
MESSAGE_LENGTH, HINT_LENGTH = 1000, 500
MOST_COLUMNS = 12
"""Of a stored document, which may have any columns."""

MOST_CAMPAIGNS = 10
"""That a sentence names."""

_HOSTS = {Region.US: "fly.customer.io", Region.EU: "fly-eu.customer.io"}
"""Where people see what Customer.io has of an account."""

_ENDS = {PlanStatus.BLOCKED: ", and a guard stops it", PlanStatus.PAUSED: " if it were not paused"}

_WORDS = {
    "Desired": "how many people the query returns",
    "Stored": "how many were in the segment after the last run, as far as is known",
    "Remove": "who leave",
    "Add": "who enter",
    "Resend": "who were sent before and were not there when last read, and are sent again",
    "Change": "who enter and leave, as a share of those stored",
}

_TERMS = {
    "blocked": "a guard stops it, and nothing is sent for it",
    "paused": "planned, and nothing is sent",
    "first fill": "the state knows nothing of the segment yet",
    "retired": "to end: everybody leaves",
    "unmatched": "sent, and not there when last read, as with an id that nobody has",
    "unsettled": "sent, and whether it arrived is not known yet",
    "unkeyed": "members without an id of the segment's type, who are never removed",
    "stray": "a member that the state does not know; it is removed",
}

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
        clauses = [escape_markdown(each, MESSAGE_LENGTH) for each in line.clauses]
        if (clauses or examples) and not line.shares:
            notes.append(f"- **{escape_markdown(line.name)}**: {'; '.join([*clauses, *examples])}")
    first_fills = []
    if fill := report.first_fill:
        first_fills = [f"- {sentence}" for sentence in (fill.lost_state, fill.empty) if sentence]
        for name, clause, command in fill.unknown:
            way = f"; to take them over: {_code(command)}" if command else ""
            first_fills.append(f"- **{escape_markdown(name)}**: {_prose(clause)}{way}")
    orphans = []
    if report.orphans:
        table = _table(ORPHANS, report.orphans, NOTE_BYTES, "segments")
        orphans = ["#### Orphans", "", *table, sentences.ORPHAN_ADVICE, ""]
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
        *orphans,
        *_section("Warnings", warnings, WARNING_BYTES, ""),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _list_moves(result: Result) -> list[str]:
    """A sentence for each segment that was planned, for a reviewer who knows none of our words; what changes is first.

    Many that nobody enters or leaves share one.
    """
    plans = [each for each in result.segments if each.counts is not None] if isinstance(result, Plan) else []
    changed = [each for each in plans if each.counts and each.counts.is_changed]
    quiet = [each for each in plans if each.counts and not each.counts.is_changed]
    moves = [_write_move(each) for each in changed]
    if len(quiet) > MANY:
        return [*moves, f"- {len(quiet):,} {'other ' if moves else ''}segments: nobody enters or leaves."]
    return moves + [_write_move(each) for each in quiet]


def _write_move(plan: SegmentPlan) -> str:
    counts, segment = plan.counts or Counts(), plan.target.segment
    name = escape_markdown(plan.title or segment.segment or segment.name)
    link = ""  # to its page at Customer.io, where the workspace's number there is known
    destination, number = plan.target.spec.destination, segment.segment_id
    environment = plan.head.environment_id or destination.workspace_id
    if environment is not None and number is not None:
        page = f"https://{_HOSTS[destination.region]}/workspaces/{environment}/journeys/segments/{number}"
        link = f" ([segment {number}]({page}))"
    sentences = ["nobody enters or leaves."]
    if counts.is_changed:
        verb = "will" if plan.status is PlanStatus.CHANGES else "would"
        enter, leave = (f"{number:,} {'person' if number == 1 else 'people'}" for number in (counts.add, counts.remove))
        sentences = [f"{enter} {verb} enter, {leave} {verb} leave{_ENDS.get(plan.status, '')}."]
        if uses := plan.remote.used_by:
            names = dict(uses.names)
            campaigns = [f"“{names[each]}”" if each in names else str(each) for each in uses.campaigns]
            shown = ", ".join(escape_markdown(each) for each in campaigns[:MOST_CAMPAIGNS])
            more = f" and {len(campaigns) - MOST_CAMPAIGNS:,} more" if len(campaigns) > MOST_CAMPAIGNS else ""
            noun = "campaign" if len(campaigns) == 1 else "campaigns"
            sentences.append(f"This can start the {noun} {shown}{more}." if campaigns else "No campaign uses it.")
    if segment.description:
        about = escape_markdown(segment.description.rstrip(), HINT_LENGTH)
        sentences.append(about if about.endswith((".", "!", "?", "…")) else f"{about}.")
    if segment.owner:
        sentences.append(f"Owner: {escape_markdown(segment.owner)}.")
    return f"- **{name}**{link}: {' '.join(sentences)}"


def _write_lines(report: Report) -> list[str]:
    """The main table; of several workspaces, each line names its own. Many quiet lines share one."""
    columns, lines = rank_lines(report)
    if not any(line.target for line in lines):
        columns, lines = columns[:MOST_COLUMNS], [replace(line, row=line.row[:MOST_COLUMNS]) for line in lines]
    rows = collapse(lines, report.quiet, len(lines) > MANY)
    table = _table(columns, rows, TABLE_BYTES, report.noun)
    if report.kind not in ("plan", "undo"):
        return table
    # What the words of a plan mean, of those that it has: in its table, or in the notes beneath.
    titles = {column.title for index, column in enumerate(columns) if any(row[index].text for row in rows)}
    found = " ".join(
        [cell.text for row in rows for cell in row] + [clause for line in lines for clause in line.clauses]
    )
    words = [f"*{word}*: {meaning}" for word, meaning in _WORDS.items() if word in titles]
    words += [f"*{word}*: {meaning}" for word, meaning in _TERMS.items() if word in found]
    return [*table, f"{'; '.join(words)}.", ""] if words else table


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


def _prose(text: str) -> str:
    """A sentence with commands between backquotes, and with foreign text, all of which is escaped."""
    written = []
    for each in re.split(r"(`[^`]*`|\s+)", text):
        if each[:1] == "`" and each[1:]:
            written.append(_code(each[1:-1]))
        else:
            written.append(" " if each.isspace() else escape_markdown(each, MESSAGE_LENGTH))
    return "".join(written)


def _code(text: str) -> str:
    """A command to copy, where nothing in it can break out of a code span."""
    return f"`{text}`" if _PLAIN.fullmatch(text) else escape_markdown(text, MESSAGE_LENGTH)
