"""`${NAME}` and `${NAME:-fallback}` in the values of a spec."""

import re
from collections.abc import Mapping

from reconciler.models.fields import Reference, Resolved
from reconciler.models.ids import has_utf8

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<fallback>[^{}]*))?\})?")
"""An escape, a whole reference, or (no name) the beginning of something that is none."""


class Unresolved(Exception):
    """A value with references that can't be resolved; the message continues the name of its key."""


def resolve(text: str, environment: Mapping[str, str]) -> str:
    """Replace the variables in a text; a text without any comes back as it is.

    A variable that is set and empty counts as set for `${NAME}`, and as missing for `${NAME:-fallback}`, as in a shell.
    Raises Unresolved.
    """
    found = list(_REFERENCE.finditer(text))
    if not found:
        return text
    if any(match[0] == "${" for match in found):
        advice = "write ${NAME} or ${NAME:-fallback}, and $${ for the characters themselves"
        raise Unresolved(f"has a ${{ that begins no reference: {advice}")
    references = [match for match in found if match["name"]]
    names = tuple(dict.fromkeys(match["name"] for match in references))
    needed = {match["name"]: None for match in references if match["fallback"] is None}
    if missing := [name for name in needed if name not in environment]:
        verb = "is" if len(missing) == 1 else "are"
        raise Unresolved(f"needs {' and '.join(missing)}, which {verb} not set in the environment")
    if odd := [name for name in names if not has_utf8(environment.get(name, ""))]:
        raise Unresolved(f"needs {odd[0]}, and its value is not UTF-8")

    def replace(match: re.Match[str]) -> str:
        return (environment.get(match["name"]) or match["fallback"] or "") if match["name"] else "${"

    made = _REFERENCE.sub(replace, text)
    if not names:
        return made
    resolved = Reference(made) if found[0][0] == text else Resolved(made)
    resolved.names = names
    return resolved
