"""From the specs and flags of a command line to the segments that it works on."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from reconciler.errors import SpecError, UsageError
from reconciler.models.guards import ALLOW_FLAGS, Guard
from reconciler.models.spec import Spec, Target


@dataclass(frozen=True)
class Loaded:
    """The specs named, and of their segments the selected ones."""

    specs: tuple[Spec, ...]
    targets: tuple[Target, ...]
    allowed: dict[str, frozenset[Guard]] = field(default_factory=dict)

    @property
    def shared(self) -> frozenset[str]:
        """Names of segments that several of the named specs have: a flag must say `workspace/NAME` for them."""
        names = Counter(segment.name for spec in self.specs for segment in spec.segments)
        return frozenset(name for name, times in names.items() if times > 1)


def load_specs(specs: Sequence[str]) -> tuple[Spec, ...]:
    """Read the specs with this process's environment. Raises UsageError, SpecError."""
    from reconciler.spec import load

    return load(specs, os.environ)


def load(
    specs: Sequence[str],
    select: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    allow_removals: Sequence[str] | None = None,
    allow_additions: Sequence[str] | None = None,
    allow_empty: Sequence[str] | None = None,
) -> Loaded:
    """Read the specs, select segments, and resolve whom the guards let past. Raises UsageError, SpecError."""
    found = load_specs(specs)
    targets = choose(list_targets(found), select or (), exclude or ())
    given = {
        Guard.MAX_REMOVALS: allow_removals or (),
        Guard.MAX_ADDITIONS: allow_additions or (),
        Guard.ALLOW_EMPTY: allow_empty or (),
    }
    allowed: dict[str, frozenset[Guard]] = {}
    for guard, names in given.items():
        for label in resolve_allowed(targets, names):
            allowed[label] = allowed.get(label, frozenset()) | {guard}
    return Loaded(found, tuple(targets), allowed)


def require_app_keys(targets: Sequence[Target], purpose: str) -> None:
    """Raise SpecError, naming every spec without an App API key, where a command can't do without."""
    missing = sorted({str(target.spec.path) for target in targets if target.spec.destination.app_api_key is None})
    if missing:
        raise SpecError(
            [f"{path}: {purpose} needs destination.app_api_key" for path in missing],
            "create an App API key in Customer.io (Settings, API credentials) and set app_api_key",
        )


def flags_of(allowed: dict[str, frozenset[Guard]]) -> list[str]:
    """Write what was allowed as the flags that said so, for the history."""
    return sorted(f"{ALLOW_FLAGS[guard]} {label}" for label, guards in allowed.items() for guard in guards)


# --- Which segments a command works on: `--select`, `--exclude` and the names given to `--allow-*`.

TAG = "tag:"


def list_targets(specs: Iterable[Spec]) -> tuple[Target, ...]:
    """Give every segment with its spec, in the order of the files."""
    return tuple(Target(spec, segment) for spec in specs for segment in spec.segments)


def choose(targets: Sequence[Target], select: Sequence[str], exclude: Sequence[str]) -> tuple[Target, ...]:
    """Give the targets that match a pattern of `select` (all, where there is none) and no pattern of `exclude`.

    A pattern is `NAME`, `workspace/NAME` or `tag:NAME`, each also as a glob; case counts.
    Raises UsageError for patterns that match nothing, and where nothing is left.
    """
    _refuse_idle(targets, "--select", select)
    _refuse_idle(targets, "--exclude", exclude)
    chosen = [target for target in targets if not select or _matches_any(target, select)]
    left = tuple(target for target in chosen if not _matches_any(target, exclude))
    if not left and (select or exclude):
        raise UsageError("No segment is left: --exclude takes out all that was selected.", "Narrow --exclude.")
    return left


def resolve_allowed(targets: Sequence[Target], names: Sequence[str]) -> frozenset[str]:
    """Give the labels (`workspace/name`) of the segments that `names` mean exactly: no globs, no tags.

    Raises UsageError for a name that no segment has, and for one that several have.
    """
    return frozenset(_resolve(targets, name).label for name in names)


def _refuse_idle(targets: Sequence[Target], flag: str, patterns: Sequence[str]) -> None:
    idle = [pattern for pattern in patterns if not any(_matches(target, pattern) for target in targets)]
    if idle:
        listed = ", ".join(repr(pattern) for pattern in idle)
        raise UsageError(f"{flag} matches no segment: {listed}.", _suggest(targets, idle))


def _matches_any(target: Target, patterns: Iterable[str]) -> bool:
    return any(_matches(target, pattern) for pattern in patterns)


def _matches(target: Target, pattern: str) -> bool:
    if pattern.startswith(TAG):
        return any(_is_like(tag, pattern.removeprefix(TAG)) for tag in target.segment.tags)
    return _is_like(target.segment.name, pattern) or ("/" in pattern and _is_like(target.label, pattern))


def _is_like(text: str, pattern: str) -> bool:
    """Tell whether a name is the pattern itself (a name may hold a `[`), or fits it as a glob."""
    return text == pattern or fnmatchcase(text, pattern)


def _resolve(targets: Sequence[Target], name: str) -> Target:
    found = [target for target in targets if name == target.segment.name]
    found = found or [target for target in targets if name == target.label]
    if not found:
        raise UsageError(f"No segment is named {name!r}.", _suggest(targets, [name]))
    if len(found) > 1:
        raise _say_ambiguous(name, found)
    return found[0]


def _say_ambiguous(name: str, found: Sequence[Target]) -> UsageError:
    places = ", ".join(f"{target.label} ({target.where})" for target in found)
    labels = [target.label for target in found]
    hint = "Write workspace/NAME." if len(set(labels)) == len(labels) else "Name fewer specs, or rename one of them."
    return UsageError(f"{name!r} means several segments: {places}.", hint)


def _suggest(targets: Sequence[Target], patterns: Iterable[str]) -> str:
    known = list(dict.fromkeys(_list_names(targets)))
    close = dict.fromkeys(near for pattern in patterns for near in get_close_matches(pattern, known, n=3))
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"There are: {', '.join(known[:10])}{' and more' if len(known) > 10 else ''}."


def _list_names(targets: Sequence[Target]) -> Iterable[str]:
    ways: tuple[Callable[[Target], Iterable[str]], ...] = (
        lambda target: (target.segment.name,),
        lambda target: (target.label,),
        lambda target: (f"{TAG}{tag}" for tag in target.segment.tags),
    )
    return (name for way in ways for target in targets for name in way(target))
