"""`${NAME}` and `${NAME:-fallback}` in the values of a spec."""

import re
from collections.abc import Mapping

from reconciler.models.spec import Scalar
from reconciler.spec.document import read_scalar
from reconciler.spec.problems import KeyPath

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<fallback>[^{}]*))?\})?")
"""An escape, a whole reference, or (no name) the beginning of something that is none."""

ADVICE = "write ${NAME} or ${NAME:-fallback}, and $${ for the characters themselves"


class Resolved(str):
    """A text made from variables. It may hold a secret: no message shows it."""

    names: tuple[str, ...] = ()


class Reference(Resolved):
    """A value that was one reference and nothing else: it takes the type of its key."""


class Unresolved(Exception):
    """A value whose references can't be followed; says why, in words that continue the name of its key."""


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """Put the variables into a text; a text without any comes back as it is.

    A variable that is set and empty counts as set for `${NAME}`, and as missing for `${NAME:-fallback}`, as in a shell.
    Raises Unresolved.
    """
    found = list(_REFERENCE.finditer(text))
    if not found:
        return text
    _refuse_broken(found)
    names = tuple(dict.fromkeys(match["name"] for match in found if match["name"]))
    _refuse_missing(found, environment)
    made = _REFERENCE.sub(lambda match: _value(match, environment), text)
    if not names:
        return made
    is_whole = len(found) == 1 and found[0].group() == text
    resolved = Reference(made) if is_whole else Resolved(made)
    resolved.names = names
    return resolved


def read_parameter(value: Scalar) -> Scalar:
    """Read a query parameter that is one reference as a YAML scalar; quotes around it make it a text."""
    if not isinstance(value, Reference):
        return value
    if quoted := re.fullmatch(r"'(.*)'|\"(.*)\"", value, re.DOTALL):
        return quoted[1] if quoted[1] is not None else quoted[2]
    scalar = read_scalar(str(value).strip())
    return str(value) if isinstance(scalar, str) else scalar


def is_query(where: KeyPath) -> bool:
    """Tell whether a value is a segment's `query`, the one place where `${` means nothing."""
    return len(where) == 3 and where[0] == "segments" and where[2] == "query"


def _refuse_broken(found: list[re.Match[str]]) -> None:
    if any(match.group() == "${" for match in found):
        raise Unresolved(f"has a ${{ that begins no reference: {ADVICE}")


def _refuse_missing(found: list[re.Match[str]], environment: Mapping[str, str]) -> None:
    missing = {match["name"]: None for match in found if match["name"] and _is_missing(match, environment)}
    if missing:
        listed = " and ".join(missing)
        raise Unresolved(f"needs {listed}, which {'is' if len(missing) == 1 else 'are'} not set in the environment")
    if odd := [match["name"] for match in found if match["name"] and not _is_text(environment.get(match["name"], ""))]:
        raise Unresolved(f"needs {odd[0]}, whose value is not UTF-8")


def _is_missing(match: re.Match[str], environment: Mapping[str, str]) -> bool:
    return match["fallback"] is None and match["name"] not in environment


def _is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if not match["name"]:
        return "${"
    value = environment.get(match["name"], "")
    return value if value or match["fallback"] is None else match["fallback"]
