"""What the tour says: headlines, short lines, and the commands as they would be typed."""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

WIDEST = 80
_BOLD, _DIM, _GREEN, _YELLOW, _END = "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[0m"


@dataclass(frozen=True)
class Voice:
    """Writes text for people, `width` columns wide at most, in colour if asked for.

    Every block begins with an empty line and ends with its last: what commands print comes between.
    """

    write: Callable[[str], object]
    width: int = WIDEST
    color: bool = False

    def open_act(self, number: int, title: str) -> None:
        """Draw a rule with the act's title."""
        head = f"── {number}  {title} "
        rule = "─" * max(self.width - len(head), 2)
        self.write(f"\n\n{self._paint(head, _BOLD)}{self._paint(rule, _DIM)}\n")

    def say(self, text: str) -> None:
        """Say something in prose; it wraps."""
        self.write("\n" + self._wrap(text, "") + "\n")

    def show_command(self, *lines: str) -> None:
        """Show a command as it is typed; all lines but the last end in a backslash."""
        text = " \\\n    ".join(lines)
        self.write(f"\n{self._paint('$', _DIM)} {self._paint(text, _BOLD)}\n")

    def show_output(self, lines: Iterable[str]) -> None:
        """Show what a command printed."""
        self.write("".join(f"{line}\n" for line in lines))

    def show_exit(self, code: int, meaning: str) -> None:
        """Show an exit code that is not 0, and what it means."""
        self.write(f"\n{self._paint(f'exit code {code}', _YELLOW)}  {meaning}\n")

    def confirm(self, fact: str) -> None:
        """Say what was checked and holds."""
        self.write("\n" + self._paint("✓ " + self._wrap(fact, "  "), _GREEN) + "\n")

    def _wrap(self, text: str, indent: str) -> str:
        lines = textwrap.wrap(text, self.width - len(indent), break_long_words=False, break_on_hyphens=False)
        return f"\n{indent}".join(lines)

    def _paint(self, text: str, style: str) -> str:
        return "\n".join(f"{style}{line}{_END}" for line in text.split("\n")) if self.color else text
