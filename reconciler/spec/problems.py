"""What is wrong in a spec: sentences with a place, gathered so that all are told at once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys, and positions in lists from 0."""

LONGEST_NAME = 60
"""A longer key is cut in a message."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong; the order is by file and line."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def show(name: str) -> str:
    """Write a name so that it stays on one line and can't paint the terminal."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def show_path(where: KeyPath) -> str:
    """Write a path as a user would say it: `segments.vip.tags`, or an entry of it."""
    for depth, step in enumerate(where):
        if isinstance(step, int):
            return f"entry {step + 1} of {show_path(where[:depth])}"
    is_public = where[:1] == ("segments",)
    return f"`{'.'.join(show(str(step)) if is_public else _show_key(str(step)) for step in where)}`"


def _show_key(name: str) -> str:
    """Write a key beside which secrets stand. What is no key may be a part of one: in { } a comma ends a plain text."""
    return "…" if re.search(r"[@/]", name) else show(name)


def suggest(name: str, known: Iterable[str]) -> str:
    """Give `; did you mean …?` where something known is close, else nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{show(close[0])}`?" if close else ""
