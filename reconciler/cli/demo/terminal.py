"""What the demo prints around its commands: headings, prose, and the commands as they are typed."""

import textwrap
from collections.abc import Callable, Iterable

MAX_WIDTH = 80
_BOLD, _GREEN, _YELLOW, _END = "\033[1m", "\033[32m", "\033[33m", "\033[0m"


class Terminal:
    """Writes text of at most `width` columns, in colour on request, and counts the headings.

    Every block begins with an empty line and ends with its last line: the output of commands comes between.
    """

    def __init__(self, write: Callable[[str], object], width: int = MAX_WIDTH, *, color: bool = False) -> None:
        self.width = width
        self.step = 0
        self._write = write
        self._color = color

    def heading(self, title: str) -> None:
        """Write a numbered title, filled up with a rule."""
        self.step += 1
        self._write("\n")
        self._write_block(f"── {self.step}  {title} ".ljust(self.width, "─"), _BOLD)

    def text(self, text: str) -> None:
        """Write prose."""
        self._write_block(self._wrap(text))

    def command(self, *lines: str, output: Iterable[str] = ()) -> None:
        """Write a command as it is typed, all lines but the last ending in a backslash, and the lines it printed."""
        self._write_block("$ " + " \\\n    ".join(lines), _BOLD)
        for line in output:
            self._write(f"{line}\n")

    def exit_code(self, code: int, meaning: str) -> None:
        """Write an exit code and its meaning."""
        self._write_block(f"exit code {code}: {meaning}", _YELLOW)

    def checked(self, fact: str) -> None:
        """Write a fact that was checked."""
        self._write_block("✓ " + self._wrap(fact, "  "), _GREEN)

    def _wrap(self, text: str, indent: str = "") -> str:
        lines = textwrap.wrap(text, self.width - len(indent), break_long_words=False, break_on_hyphens=False)
        return f"\n{indent}".join(lines)

    def _write_block(self, text: str, style: str = "") -> None:
        lines = (f"{style}{line}{_END}" if self._color and style else line for line in text.split("\n"))
        self._write("\n" + "\n".join(lines) + "\n")
