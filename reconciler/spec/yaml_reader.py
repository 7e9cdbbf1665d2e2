"""YAML with positions: text to plain values, the line of every key, and what YAML changes in a text.

The reader works on libyaml's events, because its composer recurses in C: a file of a hundred thousand brackets
ends the process. Plain scalars follow YAML 1.2's core schema, so `NO` is a text, `12:30` is a text and `1e3` is a
number. Some numbers of it stay texts, digit for digit: see `models.fields.read_scalar`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import yaml

from reconciler.models.fields import Scalar, read_scalar
from reconciler.models.spec import STDIN

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

_PRIVATE_USE = range(0xE000, 0xF900)
"""Code points of Unicode that mean nothing."""

_PROPERTIES = re.compile(r"(?:[&!]\S*|#[^\r\n\x85\u2028\u2029]*|\s)*")
"""What may stand before a text: an anchor, a tag, comments. The parser counts it as a part of it."""

_TAGS = {yaml.MappingStartEvent: "map", yaml.SequenceStartEvent: "seq", yaml.ScalarEvent: "str"}
"""The tag that changes nothing, by the kind of value."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Malformed(Exception):
    """The file can't be read on: what is wrong, and the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class FoldedText(str):
    """A text that YAML may have changed: `folds` are the positions before which a line break became a space."""

    folds: tuple[int, ...] = ()
    comment: str = ""
    """What ended it, and follows it on its line: a `#` behind a blank."""

    def unfolded(self) -> str:
        """Give the text with its line breaks."""
        edges = (0, *self.folds, len(self))
        return "\n".join(self[start:end] for start, end in pairwise(edges))


@dataclass(frozen=True)
class Document:
    """A spec file as plain values. `lines` has each key and entry; `doubts` are duplicate keys and their like."""

    path: Path
    data: object
    lines: Mapping[KeyPath, int]
    doubts: tuple[tuple[int, str], ...] = ()
    extended: Mapping[KeyPath, "Document"] = field(default_factory=dict)
    """Where a key and all below it come from, if that is a file that this one extends."""
    bases: tuple[Path, ...] = ()
    """The files that it extends, the nearest first."""

    @property
    def folder(self) -> Path:
        """Where relative paths begin: the folder of the file itself, also where the spec was named by a link to it.

        For stdin it is the working folder.
        """
        if self.path == STDIN:
            return Path.cwd()
        return Path(os.path.realpath(self.path)).parent

    def line(self, where: KeyPath) -> int:
        """Give the line of a key or, where it isn't in the file, of what it belongs to."""
        return self.lines.get(self._nearest(where), 1)

    def origin(self, where: KeyPath) -> "Document":
        """Give the document of the file that a key stands in or, where it is in none, what it belongs to."""
        where = self._nearest(where)
        for depth in range(len(where), 0, -1):
            if document := self.extended.get(where[:depth]):
                return document.origin(where)
        return self

    def without(self, name: str) -> "Document":
        """Give the document without one of its first keys."""
        data = {key: value for key, value in self.data.items() if key != name} if isinstance(self.data, dict) else None
        return replace(self, data=data, lines={each: line for each, line in self.lines.items() if each[:1] != (name,)})

    def _nearest(self, where: KeyPath) -> KeyPath:
        while where and where not in self.lines:
            where = where[:-1]
        return where


def extend(own: Document, base: Document) -> Document:
    """Merge two documents key by key, but `freshness` as a whole; the values of `own` win, its lists replace."""
    lines, extended = dict(own.lines), dict(own.extended)

    def merge(where: KeyPath, mine: object, theirs: object) -> object:
        if not (isinstance(mine, dict) and isinstance(theirs, dict)) or where[-2:] == ("guards", "freshness"):
            return mine
        merged = dict(mine)
        for key, value in theirs.items():
            path = (*where, key)
            if key in mine:
                merged[key] = merge(path, mine[key], value)
            else:
                merged[key] = value
                extended[path] = base
                lines.update({each: line for each, line in base.lines.items() if each[: len(path)] == path})
        return merged

    data = merge((), own.data, base.data)
    return replace(own, data=data, lines=lines, extended=extended, bases=(base.path, *base.bases))


def show(name: str) -> str:
    """Write a name so that it stays on one line and can't change the terminal."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


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
    data, lines = _expand(root, reader.size + MOST_REPEATED)
    return Document(path, data, lines, tuple(reader.doubts))


def _explain(error: yaml.MarkedYAMLError, text: str) -> Malformed:
    ends_early = "end of stream" in (error.problem or "")
    mark = (error.context_mark if ends_early else None) or error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    if "nesting depth" in (error.problem or ""):  # a limit of the parser, which reads ahead of the events
        return Malformed(line, _TOO_DEEP)
    place, lines = error.problem_mark, text.split("\n")
    read = lines[place.line][: place.column + 1] if place and line == place.line + 1 <= len(lines) else ""
    if "tab character" in (error.problem or "") or (read.endswith("\t") and not read.strip()):
        return Malformed(line, "A tab stands before the text; YAML indents with blanks alone.")
    # What the parser quotes from the file, but for its signs, may be a secret.
    problem = re.sub(r"'[^'<>]{4,}'", "'…'", error.problem or error.context or "it can't be parsed")
    near = lines[max(line - 2, 0) : line]
    has_bare_reference = any(re.search(r"[\[{,].*\$\{", part) for part in near)
    hint = "; inside { } and [ ] a ${NAME} must stand in quotes" if has_bare_reference else ""
    return Malformed(line, f"The file is not YAML: {problem}{hint}.")


def _span(event: yaml.Event) -> tuple[int, int, int, int]:
    """Give line and column, from 0, of the beginning and of the end of an event."""
    start, end = event.start_mark, event.end_mark
    assert start is not None
    assert end is not None
    return start.line, start.column, end.line, end.column


def _line(event: yaml.Event) -> int:
    return _span(event)[0] + 1


@dataclass(frozen=True)
class _Node:
    """A value with its line; the value is a scalar, a list of nodes or pairs of a key and its node."""

    line: int
    value: "Scalar | list[_Node] | dict[str, tuple[int, _Node]]"


class _Reader:
    """Builds the tree of nodes from libyaml's events."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=_LOADER)
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
        """Find, in each text of several lines, where a line break became a space.

        YAML does not tell. So the file is read a second time, with a mark at the beginning of each line that continues
        a text: where the mark stands behind anything but a line break, the line break was folded away.
        """
        if not self._flowed:
            return
        mark = next(mark for mark in map(chr, _PRIVATE_USE) if not any(mark in line for line in self._lines))
        marked = list(self._lines)
        for event, _ in self._flowed.values():
            first, begin, last, end = _span(event)
            properties = _PROPERTIES.match("".join([self._lines[first][begin:], *self._lines[first + 1 : last + 1]]))
            assert properties is not None
            first += len(f"{properties[0]}.".splitlines()) - 1
            for number in range(first + 1, min(last + 1, len(marked))):
                line = self._lines[number]
                content = line if number < last else line[:end]
                if content.strip():
                    indent = len(line) - len(line.lstrip(" \t"))
                    marked[number] = f"{line[:indent]}{mark}{line[indent:]}"

        events = yaml.parse("".join(marked), Loader=_LOADER)
        for number, event in enumerate((each for each in events if isinstance(each, yaml.ScalarEvent)), start=1):
            if number not in self._flowed:
                continue
            folds, position = [], 0
            for part in event.value.split(mark)[:-1]:
                position += len(part)
                before = part.rstrip(" \t")
                if before and not before.endswith("\n"):
                    folds.append(position)
            self._flowed[number][1].folds = tuple(folds)

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self._scalars += isinstance(event, yaml.ScalarEvent)
        return event

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        if depth > DEEPEST:
            raise Malformed(_line(event), _TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            if node := self._anchors.get(event.anchor or ""):
                return node
            message = "An alias (*) without its anchor (&) before it; a text that begins with * must stand in quotes."
            raise Malformed(_line(event), message)
        self.size += 1
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", f"tag:yaml.org,2002:{_TAGS[type(event)]}"):
            self.doubts.append((_line(event), "Tags (!) are not read; a text that begins with ! must stand in quotes."))
        if isinstance(event, yaml.MappingStartEvent):
            node = _Node(_line(event), self._mapping(depth))
        elif isinstance(event, yaml.SequenceStartEvent):
            entries = []
            while not isinstance(entry := self._next(), yaml.SequenceEndEvent):
                entries.append(self._node(entry, depth + 1))
            node = _Node(_line(event), entries)
        else:
            assert isinstance(event, yaml.ScalarEvent)
            node = _Node(_line(event), self._scalar(event))
        if anchor := getattr(event, "anchor", None):
            self._anchors[anchor] = node
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        first, _, last, column = _span(event)
        is_plain = event.style in (None, "")
        is_flowed = event.style != "|" and last > first
        rest = self._lines[last][column:] if last < len(self._lines) else ""
        comment = re.match(r"[ \t]+(#.*)", rest) if is_plain else None
        text = str(event.value)
        if is_flowed or comment:
            text = folded = FoldedText(text)
            folded.comment = comment[1] if comment else ""
            if is_flowed:
                self._flowed[self._scalars] = (event, folded)
        return read_scalar(text) if is_plain and event.tag is None else text

    def _mapping(self, depth: int) -> dict[str, tuple[int, _Node]]:
        entries: dict[str, tuple[int, _Node]] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, depth)
            value = self._node(self._next(), depth + 1)
            if key in entries:
                first = entries[key][0]
                self.doubts.append((_line(event), f"The key `{show(key)}` stands twice; the first is on line {first}."))
            elif key is not None:
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


def _expand(root: _Node, limit: int) -> tuple[object, dict[KeyPath, int]]:
    """Turn nodes into at most `limit` plain values, following aliases; with the line of each key and entry."""
    lines: dict[KeyPath, int] = {}
    size = 0

    def expand(node: _Node, where: KeyPath) -> object:
        nonlocal size
        size += 1
        if size > limit:
            raise Malformed(node.line, f"Aliases (*) repeat more than {MOST_REPEATED:,} values.")
        if len(where) > DEEPEST:
            raise Malformed(node.line, _TOO_DEEP)
        if isinstance(node.value, dict):
            lines.update({(*where, key): line for key, (line, _) in node.value.items()})
            return {key: expand(child, (*where, key)) for key, (_, child) in node.value.items()}
        if isinstance(node.value, list):
            lines.update({(*where, at): child.line for at, child in enumerate(node.value)})
            return [expand(child, (*where, at)) for at, child in enumerate(node.value)]
        return node.value

    return expand(root, ()), lines
