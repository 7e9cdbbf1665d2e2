"""A page of text: paragraphs that wrap, commands that do not, and tables that fit."""

import io
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.escaping import clean, clean_lines
from reconciler.render.report import Column, Row

MIN_WIDTH = 40
GAP = 2
"""Number of blanks between the columns of a table."""

NARROW, NARROWEST = 24, 12
"""A flexible column is cut to the first before another is dropped, and to the second when none is left to drop."""


class Page:
    """Collects what is to be shown; `text()` gives it."""

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
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def length(self) -> int:
        """Number of characters written so far."""
        return self._file.tell()

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

    def table(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Write a table; empty columns are left out, and as many others as it takes to fit."""
        used = [index for index in range(len(columns)) if any(row[index].text for row in rows)]
        titles = {index: clean(columns[index].title) for index in used}
        texts = {index: [clean(row[index].text) for row in rows] for index in used}
        wanted = [max(map(cell_len, [titles[index], *texts[index]])) for index in used]
        widths = fit([columns[index] for index in used], wanted, self._width)
        kept = [(index, width) for index, width in zip(used, widths, strict=True) if width]
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
            border_style="dim",
        )
        for index, width in kept:
            table.add_column(
                Text(titles[index]),
                justify="right" if columns[index].right else "left",
                width=width,
                no_wrap=True,
                overflow="ellipsis",
            )
        for place, row in enumerate(rows):
            table.add_row(*(Text(texts[index][place], style=row[index].style) for index, _ in kept))
        self._console.print(table, soft_wrap=True)

    def text(self) -> str:
        """Give all that was written; no line ends in blanks."""
        lines = self._file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def fit(columns: Sequence[Column], wanted: Sequence[int], available: int) -> list[int]:
    """Give each column its width, 0 where it is dropped, so that all fit. Numbers are never cut."""
    fitted = _narrow(columns, wanted, NARROW)
    while _total(fitted) > available:
        droppable = [index for index, column in enumerate(columns) if column.drop and fitted[index]]
        if not droppable:
            fitted = _narrow(columns, fitted, NARROWEST)
            break
        fitted[max(droppable, key=lambda index: columns[index].drop)] = 0
    # The space that is left goes to the columns that were narrowed, the first ones first.
    for index, width in enumerate(fitted):
        if 0 < width < wanted[index]:
            fitted[index] = width + min(max(available - _total(fitted), 0), wanted[index] - width)
    return fitted


def _narrow(columns: Sequence[Column], widths: Sequence[int], limit: int) -> list[int]:
    return [min(width, limit) if column.flexible else width for column, width in zip(columns, widths, strict=True)]


def _total(widths: Sequence[int]) -> int:
    used = [width for width in widths if width]
    return sum(used) + GAP * max(len(used) - 1, 0)
