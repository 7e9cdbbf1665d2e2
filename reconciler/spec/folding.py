"""What YAML makes of a text that is no literal block: line breaks become spaces, and ` #` ends it.

YAML does not tell where a line break was. So the file is read a second time, with a mark at the beginning of each line
that continues a text: where the mark stands behind anything but a line break, the line break was folded away.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import yaml

_PRIVATE_USE = range(0xE000, 0xF900)
"""Code points of Unicode that mean nothing."""

_PROPERTIES = re.compile(r"(?:[&!]\S*|#[^\r\n\x85\u2028\u2029]*|\s)*")
"""What may stand before a text: an anchor, a tag, comments. The parser counts it as a part of it."""


class FoldedText(str):
    """A text that YAML may have changed: `folds` are the positions before which a line break was folded away."""

    folds: tuple[int, ...] = ()
    ends_at_hash: bool = False

    def unfolded(self) -> str:
        """Give the text with its line breaks."""
        edges = (0, *self.folds, len(self))
        return "\n".join(self[start:end] for start, end in pairwise(edges))


def take_text(event: yaml.ScalarEvent, lines: Sequence[str]) -> str:
    """Give the text of a scalar: a FoldedText, with its folds still to be found, where YAML may have changed it."""
    ends_at_hash = _is_plain(event) and _stands_before_hash(event, lines)
    if not ends_at_hash and not is_flowed(event):
        return str(event.value)
    text = FoldedText(event.value)
    text.ends_at_hash = ends_at_hash
    return text


def is_flowed(event: yaml.ScalarEvent) -> bool:
    """Tell whether a scalar has several lines and is no literal block."""
    assert event.start_mark is not None
    assert event.end_mark is not None
    return event.style != "|" and event.end_mark.line > event.start_mark.line


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return event.style in (None, "")


def _stands_before_hash(event: yaml.ScalarEvent, lines: Sequence[str]) -> bool:
    mark = event.end_mark
    assert mark is not None
    return mark.line < len(lines) and bool(re.match(r"[ \t]+#", lines[mark.line][mark.column :]))


def choose_mark(text: str) -> str:
    """Give a character that the text does not hold."""
    return next(mark for mark in map(chr, _PRIVATE_USE) if mark not in text)


def mark_lines(lines: Sequence[str], events: Sequence[yaml.ScalarEvent], mark: str) -> str:
    """Write the file with a mark at the beginning of each line that continues one of these scalars."""
    marked = list(lines)
    for event in events:
        for number in _list_continuations(event, lines):
            line = lines[number]
            indent = len(line) - len(line.lstrip(" \t"))
            marked[number] = f"{line[:indent]}{mark}{line[indent:]}"
    return "".join(marked)


def _list_continuations(event: yaml.ScalarEvent, lines: Sequence[str]) -> Iterator[int]:
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    text = "".join([lines[start.line][start.column :], *lines[start.line + 1 : end.line + 1]])
    properties = _PROPERTIES.match(text)
    assert properties is not None
    first = start.line + len(f"{properties[0]}.".splitlines()) - 1
    for number in range(first + 1, min(end.line + 1, len(lines))):
        content = lines[number] if number < end.line else lines[number][: end.column]
        if content.strip():
            yield number


def find_folds(marked: str, mark: str) -> tuple[int, ...]:
    """Give the positions, in the text without its marks, before which a line break was folded away."""
    found, position = [], 0
    for part in marked.split(mark)[:-1]:
        position += len(part)
        before = part.rstrip(" \t")
        if before and not before.endswith("\n"):
            found.append(position)
    return tuple(found)
