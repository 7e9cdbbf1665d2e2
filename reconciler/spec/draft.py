"""A spec file while it is being checked: its values as far as they can be read, and all that is wrong so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.models.spec import Scalar
from reconciler.spec.document import Document, Malformed, parse, transform
from reconciler.spec.files import read_text
from reconciler.spec.problems import KeyPath, Problem, show_path
from reconciler.spec.variables import Resolved, Unresolved, is_query, resolve


@dataclass
class Draft:
    """One file. A value that is known to be wrong is complained about once: later words on it are dropped."""

    document: Document
    problems: set[Problem] = field(default_factory=set)
    spoiled: set[KeyPath] = field(default_factory=set)
    warnings: dict[str, set[Problem]] = field(default_factory=dict)
    """By the segment's name."""

    def complain(self, line: int, message: str) -> None:
        """Note what is wrong on a line. The full stop is added here."""
        self.problems.add(self._problem(line, message))

    def warn(self, segment: KeyPath, where: KeyPath, words: str) -> None:
        """Note what a reader would not expect of a value that a segment has. `words` continue the name of the key."""
        warning = self._problem(self.document.line(where), f"{show_path(where)} {words}")
        self.warnings.setdefault(str(segment[1]), set()).add(warning)

    def _problem(self, line: int, message: str) -> Problem:
        end = "" if message.endswith(("?", ".")) else "."
        return Problem(str(self.document.path), line, f"{message}{end}")

    def refuse_key(self, where: KeyPath, words: str) -> None:
        """Note what is wrong with a key, whatever its value is. `words` continue the name of the key."""
        self.complain(self.document.line(where), f"{show_path(where)} {words}")

    def refuse_value(self, where: KeyPath, words: str) -> None:
        """Note what is wrong with a value, unless it was refused before."""
        if self.is_spoiled(where):
            return
        self.spoiled.add(where)
        value = self.value(where)
        origin = f" (from {', '.join(value.names)})" if isinstance(value, Resolved) else ""
        self.complain(self.document.line(where), f"{show_path(where)}{origin} {words}")

    def is_spoiled(self, where: KeyPath) -> bool:
        """Tell whether a value, or one that it belongs to, was refused."""
        return any(where[:depth] in self.spoiled for depth in range(len(where) + 1))

    def value(self, where: KeyPath) -> object:
        """Give the value at a path, or None where there is none."""
        value: object = self.document.data
        for step in where:
            if isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            elif isinstance(value, dict):
                value = value.get(step)
            else:
                return None
        return value

    def keys(self, where: KeyPath) -> tuple[str, ...]:
        """Give the keys of the mapping at a path; none where there is no mapping."""
        value = self.value(where)
        return tuple(value) if isinstance(value, dict) else ()

    def segments(self) -> tuple[KeyPath, ...]:
        """Give the path of each segment that is a mapping."""
        paths = [("segments", name) for name in self.keys(("segments",))]
        return tuple(path for path in paths if isinstance(self.value(path), dict))

    def setting(self, segment: KeyPath, *keys: str) -> KeyPath | None:
        """Give where a segment's setting stands: its own, or in `defaults`; None where neither has it."""
        own, inherited = (*segment, *keys), ("defaults", *keys)
        return next((path for path in (own, inherited) if path in self.document.lines), None)


def read(path: Path, environment: Mapping[str, str]) -> Draft:
    """Read a file and put the variables in; what can't be read leaves an empty draft with its problem."""
    draft = Draft(Document(path, None, {}))
    try:
        text = read_text(path)
    except ValueError as error:
        draft.complain(1, f"The file {error}.")
        return draft
    try:
        draft.document = parse(path, text)
    except Malformed as error:
        draft.complain(error.line, error.message)
        return draft
    for line, message in draft.document.doubts:
        draft.complain(line, message)
    _resolve_all(draft, environment)
    _refuse_nulls(draft)
    return draft


def _resolve_all(draft: Draft, environment: Mapping[str, str]) -> None:
    def change(where: KeyPath, value: Scalar) -> object:
        if not isinstance(value, str) or is_query(where):
            return value
        try:
            return resolve(value, environment)
        except Unresolved as error:
            draft.refuse_value(where, str(error))
            return value

    document = draft.document
    draft.document = Document(document.path, transform(document.data, change), document.lines)


def _refuse_nulls(draft: Draft) -> None:
    def refuse(where: KeyPath, value: Scalar) -> None:
        if value is None and not _is_parameter(where):
            draft.refuse_value(where, "has no value; give it one, or leave the key out")

    transform(draft.document.data, refuse)


def _is_parameter(where: KeyPath) -> bool:
    """Tell whether a value is a query parameter, the one place where null means something."""
    return len(where) > 1 and where[-2] == "params" and (where[0], len(where)) in (("segments", 4), ("defaults", 3))
