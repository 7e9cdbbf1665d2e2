"""A spec file while it is being checked: its values as far as they can be read, and all that is wrong with it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from reconciler.models.fields import Reference, Resolved
from reconciler.models.ids import has_utf8
from reconciler.spec.files import read_text
from reconciler.spec.yaml_reader import Document, KeyPath, Malformed, parse, show

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<fallback>[^{}]*))?\})?")
"""An escape, a whole reference, or (no name) the beginning of something that is none."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong; the order is by file and line."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass
class Draft:
    """One file with its problems. A value that was refused is reported once: later problems with it are dropped."""

    document: Document
    problems: set[Problem] = field(default_factory=set)
    refused: set[KeyPath] = field(default_factory=set)
    warnings: dict[str, set[Problem]] = field(default_factory=dict)
    """By the segment's name."""

    def add_problem(self, line: int, message: str) -> None:
        """Note what is wrong on a line. The full stop is added here."""
        self.problems.add(self._problem(line, message))

    def warn(self, segment: KeyPath, where: KeyPath, message: str) -> None:
        """Note what a reader would not expect of a segment's value. The message continues the name of the key."""
        warning = self._problem(self.document.line(where), f"{show_path(where)} {message}")
        self.warnings.setdefault(str(segment[1]), set()).add(warning)

    def _problem(self, line: int, message: str) -> Problem:
        end = "" if message.endswith(("?", ".")) else "."
        return Problem(str(self.document.path), line, f"{message}{end}")

    def refuse_key(self, where: KeyPath, message: str) -> None:
        """Note what is wrong with a key, whatever its value is. The message continues the name of the key."""
        self.add_problem(self.document.line(where), f"{show_path(where)} {message}")

    def refuse_value(self, where: KeyPath, message: str) -> None:
        """Note what is wrong with a value, unless it was refused before."""
        if self.is_refused(where):
            return
        self.refused.add(where)
        value = self.value(where)
        origin = f"(from {', '.join(value.names)}) " if isinstance(value, Resolved) else ""
        self.refuse_key(where, origin + message)

    def is_refused(self, where: KeyPath) -> bool:
        """Tell whether a value, or one that it belongs to, was refused."""
        return any(where[:depth] in self.refused for depth in range(len(where) + 1))

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


def show_path(where: KeyPath) -> str:
    """Write a path as a user names it: `segments.vip.tags`, or an entry of it."""
    for depth, step in enumerate(where):
        if isinstance(step, int):
            return f"entry {step + 1} of {show_path(where[:depth])}"
    names = [str(step) for step in where]
    if where[:1] != ("segments",):  # near a secret, what is no key may be a part of it: in { } a comma ends a text
        names = ["…" if re.search(r"[@/]", name) else name for name in names]
    return f"`{'.'.join(map(show, names))}`"


def suggest(name: str, known: Iterable[str]) -> str:
    """Give `; did you mean …?` where something known is close, else nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{show(close[0])}`?" if close else ""


def read_draft(path: Path, environment: Mapping[str, str]) -> Draft:
    """Read a file and replace its variables; one that can't be read leaves an empty draft with its problem."""
    draft = Draft(Document(path, None, {}))
    try:
        text = read_text(path)
    except ValueError as error:
        draft.add_problem(1, f"The file {error}.")
        return draft
    try:
        draft.document = parse(path, text)
    except Malformed as error:
        draft.add_problem(error.line, error.message)
        return draft
    for line, message in draft.document.doubts:
        draft.add_problem(line, message)

    def read_value(where: KeyPath, value: object) -> object:
        if isinstance(value, dict):
            return {key: read_value((*where, key), child) for key, child in value.items()}
        if isinstance(value, list):
            return [read_value((*where, at), child) for at, child in enumerate(value)]
        match where, value:
            case ((("segments", _, "params", _) | ("defaults", "params", _)), None):
                pass  # to a query parameter, null means NULL
            case _, None:
                draft.refuse_value(where, "has no value; give it one, or leave the key out")
            case ("segments", _, "query"), _:
                pass  # there, `${` means nothing
            case _, str(text):
                try:
                    return resolve(text, environment)
                except ValueError as error:
                    draft.refuse_value(where, str(error))
        return value

    draft.document = replace(draft.document, data=read_value((), draft.document.data))
    return draft


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """Replace `${NAME}` and `${NAME:-fallback}` in a text; one without any comes back as it is.

    A variable that is set and empty counts as set for `${NAME}`, and as missing for `${NAME:-fallback}`, as in a shell.
    Raises ValueError; its message continues the name of the key.
    """
    found = list(_REFERENCE.finditer(text))
    if not found:
        return text
    if any(match[0] == "${" for match in found):
        advice = "write ${NAME} or ${NAME:-fallback}, and $${ for the characters themselves"
        raise ValueError(f"has a ${{ that begins no reference: {advice}")
    references = [match for match in found if match["name"]]
    names = tuple(dict.fromkeys(match["name"] for match in references))
    needed = dict.fromkeys(match["name"] for match in references if match["fallback"] is None)
    if missing := [name for name in needed if name not in environment]:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"needs {' and '.join(missing)}, which {verb} not set in the environment")
    if odd := [name for name in names if not has_utf8(environment.get(name, ""))]:
        raise ValueError(f"needs {odd[0]}, and its value is not UTF-8")

    def fill(match: re.Match[str]) -> str:
        return (environment.get(match["name"]) or match["fallback"] or "") if match["name"] else "${"

    made = _REFERENCE.sub(fill, text)
    if not names:
        return made
    resolved = Reference(made) if found[0][0] == text else Resolved(made)
    resolved.names = names
    return resolved
