"""YAML with positions: text to plain values, and the line of every key.

The reader works on libyaml's events, because its composer recurses in C: a file of a hundred thousand brackets
ends the process. Plain scalars follow YAML 1.2's core schema, so `NO` is a text, `12:30` is a text and `1e3` is a
number; a number with a leading zero (`007`, which YAML 1.1 reads as octal) stays a text, digit for digit.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import yaml

from reconciler.models.fields import Scalar, read_scalar

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys, and positions in lists from 0."""

LONGEST_SHOWN = 60
"""Characters of a key after which a message cuts it."""

DEEPEST = 20
"""Levels of nesting; a spec has five."""

_TOO_DEEP = f"The nesting is deeper than {DEEPEST} levels."

MOST_REPEATED = 100_000
"""Values that aliases may repeat in one file: a bomb of aliases has billions."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Malformed(Exception):
    """The file can't be read on: what is wrong, and the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Document:
    """A spec file as plain values. `lines` has each key and entry; `doubts` are duplicate keys and their like."""

    path: Path
    data: object
    lines: Mapping[KeyPath, int]
    doubts: tuple[tuple[int, str], ...] = ()

    @property
    def folder(self) -> Path:
        """Where relative paths begin: the folder of the file itself, also where the spec was named by a link to it."""
        return Path(os.path.realpath(self.path)).parent

    def line(self, where: KeyPath) -> int:
        """Give the line of a key or, where it isn't in the file, of what it belongs to."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


@dataclass(frozen=True)
class _Node:
    """A value with its line; the value is a scalar, a list of nodes or pairs of a key and its node."""

    line: int
    value: "Scalar | list[_Node] | dict[str, tuple[int, _Node]]"


def parse(path: Path, text: str) -> Document:
    """Read one YAML document; its root is a mapping.

    Raises Malformed for what makes the rest unreadable.
    """
    if bad := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise Malformed(line, "The file holds a control character (or one that YAML does not allow).")
    reader = _Reader(text)
    try:
        root = reader.read()
        reader.find_folds()
    except yaml.MarkedYAMLError as error:
        raise _explain(error, text) from None
    except yaml.YAMLError:
        raise Malformed(1, "The file is not YAML.") from None
    if not isinstance(root.value, dict):
        raise Malformed(root.line, "A spec is a mapping that begins with `version: 1`.")
    unfolded = _Unfolding(reader.size + MOST_REPEATED)
    data = unfolded.unfold(root, ())
    return Document(path, data, unfolded.lines, tuple(reader.doubts))


def show(name: str) -> str:
    """Write a name so that it stays on one line and can't change the terminal."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _explain(error: yaml.MarkedYAMLError, text: str) -> Malformed:
    ends_early = "end of stream" in (error.problem or "")
    mark = (error.context_mark if ends_early else None) or error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    if "nesting depth" in (error.problem or ""):  # a limit of the parser, which looks ahead of the events
        return Malformed(line, _TOO_DEEP)
    said = _hide_quoted(error.problem or error.context or "it can't be parsed")
    hint = "; inside { } and [ ] a ${NAME} must stand in quotes" if _has_bare_reference(text, line) else ""
    return Malformed(line, f"The file is not YAML: {said}{hint}.")


def _hide_quoted(said: str) -> str:
    """Leave out what the parser quotes from the file, but for its signs: it may be a secret."""
    return re.sub(r"'[^'<>]{4,}'", "'…'", said)


def _has_bare_reference(text: str, line: int) -> bool:
    near = text.split("\n")[max(line - 2, 0) : line]
    return any(re.search(r"[\[{,].*\$\{", part) for part in near)


class _Reader:
    """Builds the tree of nodes from libyaml's events."""

    def __init__(self, text: str) -> None:
        self._events = _read_events(text)
        self._lines = text.splitlines(keepends=True)
        self._scalars = 0
        self._flowed: dict[int, tuple[yaml.ScalarEvent, FoldedText]] = {}
        self._anchors: dict[str, _Node] = {}
        self.doubts: list[tuple[int, str]] = []
        self.size = 0

    def read(self) -> _Node:
        self._next()
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            raise Malformed(1, "The file is empty; a spec begins with `version: 1`.")
        root = self._node(self._next(), 0)
        self._next()
        after = self._next()
        if isinstance(after, yaml.DocumentStartEvent):
            raise Malformed(_line(after), "A second document begins here; a spec is one document.")
        if root.value is None:
            raise Malformed(1, "The file is empty; a spec begins with `version: 1`.")
        return root

    def find_folds(self) -> None:
        """Find, in each text of several lines, where YAML has folded a line break away."""
        if not self._flowed:
            return
        text = "".join(self._lines)
        mark = choose_mark(text)
        marked = mark_lines(self._lines, [event for event, _ in self._flowed.values()], mark)
        scalars = (event for event in _read_events(marked) if isinstance(event, yaml.ScalarEvent))
        for number, event in enumerate(scalars, start=1):
            if number in self._flowed:
                self._flowed[number][1].folds = find_folds(event.value, mark)

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self._scalars += isinstance(event, yaml.ScalarEvent)
        return event

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        if depth > DEEPEST:
            raise Malformed(_line(event), _TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self.size += 1
        node = self._build(event, depth)
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
        return node

    def _build(self, event: yaml.Event, depth: int) -> _Node:
        if isinstance(event, yaml.MappingStartEvent):
            self._refuse_tag(event, "map")
            return _Node(_line(event), self._mapping(depth))
        if isinstance(event, yaml.SequenceStartEvent):
            self._refuse_tag(event, "seq")
            return _Node(_line(event), list(self._entries(depth)))
        assert isinstance(event, yaml.ScalarEvent)
        self._refuse_tag(event, "str")
        text = take_text(event, self._lines)
        if isinstance(text, FoldedText) and is_flowed(event):
            self._flowed[self._scalars] = (event, text)
        plain = event.style in (None, "") and event.tag is None
        return _Node(_line(event), read_scalar(text) if plain else text)

    def _alias(self, event: yaml.AliasEvent) -> _Node:
        if node := self._anchors.get(event.anchor or ""):
            return node
        message = "An alias (*) without its anchor (&) before it; a text that begins with * must stand in quotes."
        raise Malformed(_line(event), message)

    def _refuse_tag(self, event: yaml.Event, allowed: str) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", f"tag:yaml.org,2002:{allowed}"):
            self.doubts.append((_line(event), "Tags (!) are not read; a text that begins with ! must stand in quotes."))

    def _entries(self, depth: int) -> Iterator[_Node]:
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, depth: int) -> dict[str, tuple[int, _Node]]:
        entries: dict[str, tuple[int, _Node]] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, depth)
            value = self._node(self._next(), depth + 1)
            if key is not None and self._is_new(key, _line(event), entries):
                entries[key] = (_line(event), value)
        return entries

    def _key(self, event: yaml.Event, depth: int) -> str | None:
        """Give a key as it is written, whatever YAML would make of it; None, and a doubt, for what can't be one."""
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, depth + 1)
            self.doubts.append((_line(event), "A key must be a plain text."))
            return None
        if event.value == "<<":
            self.doubts.append((_line(event), "Merge keys (<<) are not read; put what segments share into `defaults`."))
            return None
        if event.anchor:
            self._anchors[event.anchor] = _Node(_line(event), event.value)
        return str(event.value)

    def _is_new(self, key: str, line: int, entries: Mapping[str, tuple[int, _Node]]) -> bool:
        if key in entries:
            self.doubts.append((line, f"The key `{show(key)}` stands twice; the first is on line {entries[key][0]}."))
        return key not in entries


def _read_events(text: str) -> Iterator[yaml.Event]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


@dataclass
class _Unfolding:
    """Turns nodes into plain values, following aliases, and notes the lines on the way."""

    limit: int
    lines: dict[KeyPath, int] = field(default_factory=dict)
    size: int = 0

    def unfold(self, node: _Node, where: KeyPath) -> object:
        self.size += 1
        if self.size > self.limit:
            raise Malformed(node.line, f"Aliases (*) repeat more than {MOST_REPEATED:,} values.")
        if len(where) > DEEPEST:
            raise Malformed(node.line, _TOO_DEEP)
        if isinstance(node.value, dict):
            return {key: self._child(child, (*where, key), line) for key, (line, child) in node.value.items()}
        if isinstance(node.value, list):
            return [self._child(child, (*where, at), child.line) for at, child in enumerate(node.value)]
        return node.value

    def _child(self, node: _Node, where: KeyPath, line: int) -> object:
        self.lines[where] = line
        return self.unfold(node, where)


def transform(data: object, change: Callable[[KeyPath, Scalar], object], where: KeyPath = ()) -> object:
    """Give `data` with every scalar replaced by what `change` makes of it."""
    if isinstance(data, dict):
        return {key: transform(value, change, (*where, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [transform(value, change, (*where, at)) for at, value in enumerate(data)]
    assert data is None or isinstance(data, str | int | float | bool)
    return change(where, data)


# --- What YAML makes of a text that is no literal block: line breaks become spaces, and ` #` ends it.

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
