"""Results as text for people: tables that fit the terminal, then what needs a word, then one summary sentence."""

import io
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.escaping import clean, clean_lines
from reconciler.models.results import Result
from reconciler.models.spec import STDIN
from reconciler.render import Options, sentences
from reconciler.render.describe import describe
from reconciler.render.report import MANY, ORPHANS, Column, FirstFill, Line, Row, collapse

FEW = 10
"""Number of segments listed one by one where the same applies to all of them."""

MIN_WIDTH = 40
GAP = 2
"""Number of blanks between the columns of a table."""

NARROW, NARROWEST = 24, 12
"""A flexible column is cut to the first before another is dropped, and to the second when none is left to drop."""


def write(result: Result, options: Options) -> str:
    """Write a result as a page of text."""
    report = describe(result, options)
    page = Page(options.width, options.color)
    for fact in report.facts:
        page.paragraph(fact)
    page.gap()
    # One table for each spec and workspace, or one in all where the lines are not about segments of a spec.
    is_short = len(report.lines) > MANY and not options.verbose
    groups: dict[str, list[Line]] = {}
    for line in report.lines:
        target = line.target
        heading = ""
        if target:
            path = "stdin" if target.spec.path == STDIN else target.spec.path
            heading = f"{path} · workspace {target.workspace}"
        groups.setdefault(heading, []).append(line)
    for heading, lines in groups.items():
        if heading:
            page.heading(heading)
        page.table(report.columns, collapse(lines, report.quiet, is_short))
        page.gap()

    for trouble in report.troubles:
        _write_trouble(page, trouble)

    # A run's read-back agrees for each unchanged segment, too: not worth a line for each.
    leaves_out_quiet = is_short or (report.kind == "run" and not options.verbose)
    notes = []
    for line in report.lines:
        if not (line.quiet and leaves_out_quiet) and not (line.shares and not options.verbose):
            if line.notes:
                notes.append(f"{line.name}: {'; '.join(line.notes)}.")
            notes += [f"{line.name}, to {verb}, for example: {', '.join(ids)}" for verb, ids in line.examples]
    for note in notes:
        page.paragraph(note, marker="·")
    if notes:
        page.gap()

    if report.first_fill is not None:
        _write_first_fill(page, report.first_fill)
    for remark, style, marker in report.remarks:
        page.paragraph(remark, style=style, marker=marker)
        page.gap()
    if report.orphans:
        page.heading("Orphans: they hold members and have left their spec")
        page.table(ORPHANS, report.orphans)
        page.gap()
        page.paragraph(sentences.ORPHAN_ADVICE)
        page.gap()
    for warning in report.warnings:
        page.paragraph(f"Warning: {warning}", style="yellow")
    if report.warnings:
        page.gap()
    page.paragraph(report.summary, style="bold")
    return page.text()


def _write_trouble(page: "Page", line: Line) -> None:
    subject, problem = f"{line.name} {line.trouble}".rstrip(), line.problem
    if line.breaches:
        page.paragraph(f"{subject}.", style="yellow", marker="!")
    else:
        page.paragraph(f"{subject}: {problem.message}" if problem else f"{subject}.", style="red", marker="✗")
    page.paragraph(line.names, indent=4)
    if problem:
        page.paragraph(problem.hint, indent=4)
    for breach in line.breaches:
        page.paragraph(breach.sentence, indent=4)
        if breach.flag is None:
            page.paragraph(f"{sentences.NO_FLAG}: {breach.step}", indent=6)
        elif breach.allowed:
            page.paragraph(f"{sentences.ALLOWED_BY} {breach.flag}", indent=6)
        else:
            page.paragraph(f"{sentences.IF_RIGHT}, run it again with", indent=6)
            page.command(breach.flag, indent=8)
    page.gap()


def _write_first_fill(page: "Page", fill: FirstFill) -> None:
    page.paragraph(fill.sentence, style="yellow", marker="!")
    page.paragraph(fill.empty, indent=4)
    for name, clause, _ in fill.unknown[:FEW]:
        page.paragraph(f"{name}: {clause}", indent=4)
    if len(fill.unknown) > FEW:
        page.paragraph(f"… and {len(fill.unknown) - FEW:,} more", indent=4)
    commands = [command for _, _, command in fill.unknown if command]
    if commands:
        page.paragraph("To take those members over, so that the query decides on them, too:", indent=4)
        page.command(commands[0], indent=6)
    page.paragraph(fill.lost_state, indent=4)
    page.gap()


class Page:
    """A page of text: paragraphs that wrap, commands that do not, and tables that fit; `text()` gives all of it."""

    def __init__(self, width: int, color: bool) -> None:
        self._file = io.StringIO()
        self._width = max(width, MIN_WIDTH)
        # Everything is given, so that nothing is taken from the process's environment.
        self._console = Console(
            file=self._file,
            width=self._width,
            height=100,
            force_terminal=color,
            force_interactive=False,
            force_jupyter=False,
            color_system="standard" if color else None,
            no_color=not color,
            legacy_windows=False,
        )

    def heading(self, text: str) -> None:
        self.paragraph(text, style="bold")
        self.gap()

    def gap(self) -> None:
        self._file.write("\n")

    def paragraph(self, text: str, *, style: str = "", indent: int = 0, marker: str = "") -> None:
        """Write words that wrap; the lines after a marker are indented behind it. An empty text writes nothing."""
        first = " " * indent + (f"{marker} " if marker else "")
        rest = " " * len(first)
        for line in clean_lines(text):
            wrapped = Text(line).wrap(self._console, max(self._width - len(first), MIN_WIDTH // 2))
            for part in wrapped:
                self._console.print(Text(first + part.plain.rstrip(), style=style), soft_wrap=True)
                first = rest

    def command(self, text: str, *, indent: int = 0) -> None:
        """Write what is to be copied: it never wraps."""
        self._console.print(Text(" " * indent + clean(text), style="cyan"), soft_wrap=True)

    def table(self, columns: Sequence[Column[Any]], rows: Sequence[Row]) -> None:
        """Write a table; empty columns are left out, and as many others as it takes to fit."""
        found = zip(columns, zip(*rows, strict=True), strict=True)
        used = [(column, cells) for column, cells in found if any(cell.text for cell in cells)]
        texts = [[clean(column.title), *(clean(cell.text) for cell in cells)] for column, cells in used]
        widths = fit([column for column, _ in used], [max(map(cell_len, each)) for each in texts], self._width)
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
            border_style="dim",
        )
        kept = []
        for (column, cells), (title, *below), width in zip(used, texts, widths, strict=True):
            if width:
                justify: Any = "right" if column.right else "left"
                table.add_column(Text(title), justify=justify, width=width, no_wrap=True, overflow="ellipsis")
                kept.append([Text(text, style=cell.style) for text, cell in zip(below, cells, strict=True)])
        for row in zip(*kept, strict=True):
            table.add_row(*row)
        self._console.print(table, soft_wrap=True)

    def text(self) -> str:
        """Give all that was written; no line ends in blanks."""
        lines = self._file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def fit(columns: Sequence[Column[Any]], wanted: Sequence[int], available: int) -> list[int]:
    """Give each column its width, 0 where it is dropped, so that all fit. Numbers are never cut."""

    def narrow(widths: Sequence[int], limit: int) -> list[int]:
        return [min(width, limit) if column.flexible else width for column, width in zip(columns, widths, strict=True)]

    def measure_left() -> int:
        used = [width for width in fitted if width]
        return available - sum(used) - GAP * max(len(used) - 1, 0)

    fitted = narrow(wanted, NARROW)
    while measure_left() < 0:
        droppable = [index for index, column in enumerate(columns) if column.drop and fitted[index]]
        if not droppable:
            fitted = narrow(fitted, NARROWEST)
            break
        fitted[max(droppable, key=lambda index: columns[index].drop)] = 0
    # The space that is left goes to the columns that were narrowed, the first ones first.
    for index, width in enumerate(fitted):
        if 0 < width < wanted[index]:
            fitted[index] = width + min(max(measure_left(), 0), wanted[index] - width)
    return fitted
