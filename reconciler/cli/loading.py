"""From the specs and flags of a command line to the segments that it works on."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.errors import SpecError
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
    from reconciler import selection

    found = load_specs(specs)
    targets = selection.select(selection.list_targets(found), select or (), exclude or ())
    given = {
        Guard.MAX_REMOVALS: allow_removals or (),
        Guard.MAX_ADDITIONS: allow_additions or (),
        Guard.ALLOW_EMPTY: allow_empty or (),
    }
    allowed: dict[str, frozenset[Guard]] = {}
    for guard, names in given.items():
        for label in selection.resolve_allowed(targets, names):
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
