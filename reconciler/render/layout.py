"""A page of text: paragraphs that wrap, commands that do not, and tables that fit."""

import io
from collections.abc import Sequence

from reconciler.render.escaping import clean, clean_lines
from reconciler.render.report import Cell, Column, Row

MIN_WIDTH = 40
GAP = 2
"""Columns of a table are so many spaces apart."""

NARROW, NARROWEST = 24, 12
"""A flexible column is cut to the first before another is dropped, and to the second when none is left to drop."""


class Page:
    """Collects what is to be shown; `text()` gives it."""

    def __init__(self, width: int, color: bool) -> None:
        # Here, since it takes a while, and JSON needs none of it.
        from rich.console import Console

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

    def heading(self, text: str) -> None:
        self.paragraph(text, style="bold")
        self.gap()

    def gap(self) -> None:
        self._file.write("\n")

    @property
    def length(self) -> int:
        """How much is written so far."""
        return self._file.tell()

    def gap_after(self, length: int) -> None:
        """Leave a gap if anything was written since `length`."""
        if self.length > length:
            self.gap()

    def paragraph(self, text: str, *, style: str = "", indent: int = 0, marker: str = "") -> None:
        """Write words that wrap; what a marker starts hangs behind it. An empty text writes nothing."""
        from rich.text import Text

        first = " " * indent + (f"{marker} " if marker else "")
        rest = " " * len(first)
        for line in clean_lines(text):
            wrapped = Text(line).wrap(self._console, max(self._width - len(first), MIN_WIDTH // 2))
            for part in wrapped:
                self._print(first + part.plain.rstrip(), style)
                first = rest

    def command(self, text: str, *, indent: int = 0) -> None:
        """Write what is to be copied: it never wraps."""
        self._print(" " * indent + clean(text), "cyan")

    def table(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Write a table; empty columns are left out, and as many others as it takes to fit."""
        used = [index for index in range(len(columns)) if any(row[index].text for row in rows)]
        widths = fit([columns[i] for i in used], [measure(columns[i], [r[i] for r in rows]) for i in used], self._width)
        kept = [index for index, width in zip(used, widths, strict=True) if width]
        sizes = [width for width in widths if width]
        self._draw([columns[index] for index in kept], [[row[index] for index in kept] for row in rows], sizes)

    def _draw(self, columns: Sequence[Column], rows: Sequence[Row], widths: Sequence[int]) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
            border_style="dim",
        )
        for column, width in zip(columns, widths, strict=True):
            justify = "right" if column.right else "left"
            table.add_column(Text(clean(column.title)), justify=justify, width=width, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for row in rows:
            table.add_row(*(Text(clean(cell.text), style=cell.style) for cell in row))
        self._console.print(table, soft_wrap=True)

    def _print(self, text: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(text, style=style), soft_wrap=True)

    def text(self) -> str:
        """Give all that was written; no line ends in blanks."""
        lines = self._file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines).strip("\n") + "\n"


def measure(column: Column, cells: Sequence[Cell]) -> int:
    """How wide a column would like to be, in terminal cells."""
    from rich.cells import cell_len

    return max(cell_len(clean(column.title)), *(cell_len(clean(cell.text)) for cell in cells))


def fit(columns: Sequence[Column], widths: Sequence[int], available: int) -> list[int]:
    """Give each column its width, 0 where it is dropped, so that all fit. Numbers are never cut."""
    fitted = _narrow(columns, widths, NARROW)
    while _total(fitted) > available:
        droppable = [index for index, column in enumerate(columns) if column.drop and fitted[index]]
        if not droppable:
            fitted = _narrow(columns, fitted, NARROWEST)
            break
        fitted[max(droppable, key=lambda index: columns[index].drop)] = 0
    return _widen(fitted, widths, available)


def _narrow(columns: Sequence[Column], widths: Sequence[int], limit: int) -> list[int]:
    return [min(width, limit) if column.flexible else width for column, width in zip(columns, widths, strict=True)]


def _widen(fitted: list[int], widths: Sequence[int], available: int) -> list[int]:
    """Hand the room that is left to those that were narrowed, the first ones first."""
    for index, width in enumerate(fitted):
        if 0 < width < widths[index]:
            fitted[index] = width + min(max(available - _total(fitted), 0), widths[index] - width)
    return fitted


def _total(widths: Sequence[int]) -> int:
    used = [width for width in widths if width]
    return sum(used) + GAP * max(len(used) - 1, 0)
