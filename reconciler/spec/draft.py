"""A spec file while it is being checked: its values as far as they can be read, and all that is wrong with it."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path

from reconciler.errors import SpecProblem
from reconciler.models.fields import Reference, Resolved, Unset, read_boolean
from reconciler.models.ids import has_utf8
from reconciler.models.spec import STDIN
from reconciler.models.urls import holds_url, resolve_path
from reconciler.spec.files import read_text
from reconciler.spec.yaml_reader import Document, KeyPath, Malformed, extend, parse, show

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<fallback>[^{}]*))?\})?")
"""An escape, a whole reference, or (no name) the beginning of something that is none."""

_BASE_KEYS = frozenset({"version", "extends", "sources", "destination", "state", "notify", "defaults"})
"""What a file may hold that others extend."""


class Needed(Enum):
    """Which variables have to be set: all, those by which the state and what it holds are found, or none."""

    ALL = "all"
    STATE = "state"
    NONE = "none"

    def includes(self, where: KeyPath) -> bool:
        """Tell whether the value at a path is needed, and with it each variable in it."""
        match where:
            case (
                ("state", *_) | ("extends",) | ("destination", "workspace") | ("segments", _, "segment_id" | "segment")
            ):
                return self is not Needed.NONE
            case _:
                return self is Needed.ALL


@dataclass
class Draft:
    """One file with its problems. A value that was refused is reported once: later problems with it are dropped."""

    document: Document
    needed: Needed = Needed.ALL
    problems: set[SpecProblem] = field(default_factory=set)
    refused: set[KeyPath] = field(default_factory=set)
    """Values that nothing more is said of: reported, or not known as a variable is not set."""
    unset: set[str] = field(default_factory=set)
    """Variables that are not set and not needed."""
    warnings: dict[str, set[SpecProblem]] = field(default_factory=dict)
    """By the segment's name."""

    def add_problem(self, line: int, message: str, path: Path | None = None) -> None:
        """Note what is wrong on a line of a file, else of the spec. The full stop is added here."""
        self.problems.add(_make_problem(path or self.document.path, line, message))

    def warn(self, segment: KeyPath, where: KeyPath, message: str) -> None:
        """Note what a reader would not expect of a segment's value. The message continues the name of the key."""
        path, line = self.document.origin(where).path, self.document.line(where)
        warning = _make_problem(path, line, f"{show_path(where)} {message}")
        self.warnings.setdefault(str(segment[1]), set()).add(warning)

    def refuse_key(self, where: KeyPath, message: str, at: KeyPath | None = None) -> None:
        """Note what is wrong with a key, whatever its value is. The message continues the name of the key.

        `at`: what stands on the line to be named, if that is not the key.
        """
        path, line = self.document.origin(at or where).path, self.document.line(at or where)
        self.add_problem(line, f"{show_path(where)} {message}", path)

    def refuse_value(self, where: KeyPath, message: str) -> None:
        """Note what is wrong with a value, unless it was refused before."""
        if self.is_refused(where):
            return
        self.refused.add(where)
        value = self.value(where)
        origin = f"(from {', '.join(value.names)}) " if isinstance(value, Resolved) else ""
        self.refuse_key(where, origin + message)

    def leave_open(self, where: KeyPath, value: Unset) -> None:
        """Note that a value is not known, as variables are not set."""
        self.refused.add(where)
        self.unset.update(value.names)

    @property
    def lacks_base(self) -> bool:
        """Tell whether it is not known which file this one extends: what is missing here may stand there."""
        return self.is_refused(("extends",))

    def is_refused(self, where: KeyPath) -> bool:
        """Tell whether a value, or one that it belongs to, was refused or is not known."""
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

    def is_retired(self, segment: KeyPath) -> bool:
        """Tell whether a segment is retired: what it inherits for its query is ignored."""
        where = self.setting(segment, "retired")
        return where is not None and read_boolean(self.value(where)) is True


def _make_problem(path: Path, line: int, message: str) -> SpecProblem:
    end = "" if message.endswith(("?", ".")) else "."
    return SpecProblem(str(path), line, f"{message}{end}")


def show_path(where: KeyPath) -> str:
    """Write a path as a user names it: `segments.vip.tags`, or an entry of it."""
    for depth, step in enumerate(where):
        if isinstance(step, int):
            entry, key = f"entry {step + 1} of {show_path(where[:depth])}", where[depth + 1 :]
            return f"{show_path(key)} of {entry}" if key and where[0] == "notify" else entry
    names = [str(step) for step in where]
    if where[:1] != ("segments",):  # near a secret, what is no key may be a part of it: in { } a comma ends a text
        names = ["…" if re.search(r"[@/]", name) else name for name in names]
    return f"`{'.'.join(map(show, names))}`"


def suggest(name: str, known: Iterable[str]) -> str:
    """Give `; did you mean …?` where something known is close, else nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{show(close[0])}`?" if close else ""


def read_draft(
    path: Path, environment: Mapping[str, str], needed: Needed = Needed.ALL, *, is_named: bool = True
) -> Draft | None:
    """Read a file with those that it extends, and replace the variables.

    One that can't be read leaves an empty draft with its problem. None for a file that only others use (it has the keys
    of one, and lists no segments), unless it `is_named` by itself.
    """
    draft = Draft(Document(path, None, {}), needed)
    document = _parse_file(draft, path)
    if document is None:
        return draft
    if not is_named and isinstance(document.data, dict) and set(document.data) <= _BASE_KEYS:
        return None
    document, is_whole = _extend(draft, document, environment, needed, (os.path.realpath(path),))
    if not is_whole:
        return draft
    draft.document = document

    def read_value(where: KeyPath, value: object) -> object:
        if isinstance(value, dict):
            return {key: read_value((*where, key), child) for key, child in value.items()}
        if isinstance(value, list):
            return [read_value((*where, at), child) for at, child in enumerate(value)]
        match where, value:
            case ((("defaults", "params", _) | ("segments", _, "params", _) | (*_, "freshness", "params", _)), None):
                pass  # to a query parameter, null means NULL
            case ("sources", _, "options", _, *_), None:  # the key may be a part of a secret, which a comma ended
                draft.refused.add(where)
                advice = "give it one, or leave the key out; a text with a comma stands in quotes"
                draft.refuse_key(where[:3], f"has a key without a value; {advice}", where)
            case _, None:
                draft.refuse_value(where, "has no value; give it one, or leave the key out")
            case ((("segments", _, "query") | (*_, "guards", "freshness", "query")), _):
                pass  # there, `${` means nothing
            case _, str(text):
                try:
                    value = resolve(text, environment, is_needed=needed.includes(where))
                except ValueError as error:
                    draft.refuse_value(where, str(error))
                if isinstance(value, Unset):
                    draft.leave_open(where, value)
        return value

    draft.document = replace(draft.document, data=read_value((), draft.document.data))
    return draft


def _parse_file(draft: Draft, path: Path) -> Document | None:
    """Parse one file; None, with its problem in the draft, where it can't be read."""
    try:
        document = parse(path, read_text(path))
    except ValueError as error:
        draft.add_problem(1, f"The file {error}.", path)
        return None
    except Malformed as error:
        draft.add_problem(error.line, error.message, path)
        return None
    for line, message in document.doubts:
        draft.add_problem(line, message, path)
    return document


def _extend(
    draft: Draft, document: Document, environment: Mapping[str, str], needed: Needed, chain: tuple[str, ...]
) -> tuple[Document, bool]:
    """Merge a document with the files that it extends; false, with the problem in the draft, where one can't be read.

    `chain`: the real paths of the files on the way here.
    """
    where = ("extends",)
    if where not in document.lines:
        return document, True

    def refuse(message: str) -> tuple[Document, bool]:
        draft.add_problem(document.line(where), f"`extends` {message}", document.path)
        return document, False

    name = document.data["extends"] if isinstance(document.data, dict) else None
    try:
        path_text = resolve(name, environment, is_needed=needed.includes(where)) if isinstance(name, str) else ""
    except ValueError as error:
        return refuse(str(error))
    if isinstance(path_text, Unset):
        draft.leave_open(where, path_text)
        keys = dict.fromkeys(("workspace", "site_id", "api_key", "app_api_key"), name)
        unknown = {"sources": {"unset": {"url": name}}, "destination": keys}  # each as little known as the file
        return extend(document, Document(document.path, unknown, {})), True
    if not path_text or not path_text.isprintable():  # it is shown in the problems of that file
        return refuse("must be the path of a file")
    if holds_url(path_text):
        return refuse("must be the path of a file, not a URL")
    real = os.path.realpath(resolve_path(path_text, document.folder))
    if real in chain:
        return refuse("leads back to a file that extends this one")
    short = os.path.relpath(real)
    path = Path(real if short.startswith("..") or short == str(STDIN) else short)
    base = _parse_file(draft, path)
    if base is None:
        return refuse("names a file that can't be used (its path is relative to this file)")
    if ("segments",) in base.lines:
        draft.add_problem(base.line(("segments",)), "`segments` can't stand in a file that others extend", path)
        base = base.without("segments")
    version = base.data.get("version", 1) if isinstance(base.data, dict) else 1
    if type(version) is not str and version != 1:  # that of the extending file would hide it
        draft.add_problem(base.line(("version",)), "`version` must be 1", path)
    base, is_whole = _extend(draft, base, environment, needed, (*chain, real))
    return extend(document, base), is_whole


def resolve(text: str, environment: Mapping[str, str], *, is_needed: bool = True) -> str:
    """Replace `${NAME}` and `${NAME:-fallback}` in a text; one without any comes back as it is.

    A variable that is set and empty counts as set for `${NAME}`, and as missing for `${NAME:-fallback}`, as in a shell.
    Where the value is not needed and a variable is missing, or empty, the text is Unset.
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
    # In a pull request from a fork a secret is set, and empty.
    missing = tuple(name for name in needed if name not in environment or not (is_needed or environment[name]))
    if missing and is_needed:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"needs {' and '.join(missing)}, which {verb} not set in the environment")
    if odd := [name for name in names if not has_utf8(environment.get(name, ""))]:
        raise ValueError(f"needs {odd[0]}, and its value is not UTF-8")

    def fill(match: re.Match[str]) -> str:
        stand_in = "1" if match["name"] in missing else ""  # which can stand in each part of a URL
        return (environment.get(match["name"]) or match["fallback"] or stand_in) if match["name"] else "${"

    made = _REFERENCE.sub(fill, text)
    if not names:
        return made
    resolved = Unset(made) if missing else Reference(made) if found[0][0] == text else Resolved(made)
    resolved.names = missing or names
    return resolved
