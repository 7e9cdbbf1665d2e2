"""What the tour says: headlines, short lines, and the commands as they would be typed."""

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass

WIDEST = 80
_BOLD, _DIM, _GREEN, _YELLOW, _END = "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[0m"


@dataclass(frozen=True)
class Voice:
    """Writes text for people, `width` columns wide at most, in colour if asked for."""

    write: Callable[[str], object]
    width: int = WIDEST
    color: bool = False

    def open_act(self, number: int, title: str) -> None:
        """Draw a rule with the act's title."""
        head = f"── {number}  {title} "
        rule = "─" * max(min(self.width, WIDEST) - len(head), 2)
        self.write(f"\n{self._paint(head, _BOLD)}{self._paint(rule, _DIM)}\n\n")

    def say(self, text: str) -> None:
        """Say something in prose; it wraps."""
        lines = textwrap.wrap(text, min(self.width, WIDEST), break_long_words=False, break_on_hyphens=False)
        self.write("\n".join(lines) + "\n\n")

    def show_command(self, *lines: str) -> None:
        """Show a command as it is typed; all lines but the last end in a backslash."""
        text = " \\\n    ".join(lines)
        self.write(f"{self._paint('$', _DIM)} {self._paint(text, _GREEN)}\n")

    def show_output(self, lines: Iterable[str]) -> None:
        """Show what a command printed."""
        self.write("".join(f"{line}\n" for line in lines))

    def show_exit(self, code: int, meaning: str) -> None:
        """Show an exit code that is not 0, and what it means."""
        self.write(f"{self._paint(f'exit code {code}', _YELLOW)}  {meaning}\n")

    def confirm(self, fact: str) -> None:
        """Say what was checked and holds."""
        lines = textwrap.wrap(fact, min(self.width, WIDEST) - 2, break_long_words=False)
        self.write(f"{self._paint('✓ ' + (chr(10) + '  ').join(lines), _GREEN)}\n")

    def gap(self) -> None:
        """Leave a line empty."""
        self.write("\n")

    def _paint(self, text: str, style: str) -> str:
        return "\n".join(f"{style}{line}{_END}" for line in text.split("\n")) if self.color else text
