"""From paths and patterns to the segments that an operation works on; or from a plan file to those that it holds."""

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from reconciler.errors import PlanFileError, SpecError, SpecProblem, StateError, UsageError
from reconciler.models.guards import Guard
from reconciler.models.spec import STDIN, Spec, StateSettings, Target
from reconciler.operations.changed import find_changed
from reconciler.operations.plan_checks import check_age, check_place, find_targets
from reconciler.plan_file import STORED, PlanFile, copy_stored_plan, is_plan_file, open_plan_file
from reconciler.spec import Needed
from reconciler.spec import load as read_specs
from reconciler.state import open_snapshot, read_plan
from reconciler.state.location import SqliteAddress, parse

TAG = "tag:"
GIT = "git:"

Names = str | Sequence[str]
"""One name or pattern, or several."""


@dataclass(frozen=True)
class Loaded:
    """Specs, and of their segments the selected ones. With a plan file: what it names, in its order."""

    specs: tuple[Spec, ...]
    targets: tuple[Target, ...]
    plan_file: PlanFile | None = None
    """Open, and verified; `apply` closes it."""
    is_chosen: bool = False
    """`select` or `exclude` was given, whatever they leave out."""

    @property
    def shared(self) -> frozenset[str]:
        """Names of segments that several of these specs have: a flag must say `workspace/NAME` for them."""
        names = Counter(segment.name for spec in self.specs for segment in spec.segments)
        return frozenset(name for name, times in names.items() if times > 1)


def load(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    select: Names = (),
    exclude: Names = (),
    offline: bool = False,
) -> Loaded:
    """Read specs (files, folders, globs), or one plan for `apply`. Raises UsageError, SpecError, PlanFileError.

    A plan is a plan file, or `plan:ID` with specs that name the state which keeps it.

    `-` is a spec on stdin. Variables are taken from the environment of this process. `offline`: what only reads the
    state can do without those of sources and keys; needed are those of `state`, `extends`, `destination.workspace`,
    `segment_id` and `segment`.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    named = [os.fspath(path) for path in given]
    stored = [name for name in named if name.startswith(STORED)]
    specs_named = [name for name in named if name not in stored]
    files = [name for name in specs_named if name != str(STDIN) and is_plan_file(Path(name))]
    if not files and not stored:
        needed = Needed.STATE if offline else Needed.ALL
        return load_segments(named, as_names(select), as_names(exclude), needed)
    if len(files) + len(stored) > 1 or (files and len(named) > 1):
        raise UsageError("a plan must be named alone", f"reconcile apply {shlex.quote((files + stored)[0])}")
    refuse_flags({"select": select, "exclude": exclude})

    file = open_stored_plan(stored[0], specs_named) if stored else open_plan_file(Path(files[0]))
    try:
        check_age(file.plan, datetime.now(UTC))
        check_place(file.plan)
        specs = read_specs(file.plan.specs(), os.environ) if file.plan.segments else ()  # of `--select git:REF`
        return Loaded(specs, find_targets(file.plan, list_targets(specs)), file)
    except BaseException as error:
        if isinstance(error, PlanFileError):
            file.name_in(error)
        file.close()
        raise


def open_stored_plan(name: str, paths: Sequence[str]) -> PlanFile:
    """Open the plan `plan:ID` of the state that specs name. Raises UsageError, SpecError, PlanFileError, StateError."""
    if not paths:
        raise UsageError(f"{name} is kept by a state, and no spec says which", f"reconcile apply {name} SPEC")
    states = {spec.state.url: spec.state for spec in read_specs(paths, os.environ, Needed.STATE)}
    if len(states) > 1:
        raise UsageError(f"the specs name {len(states)} states, and {name} is kept by one", "name a spec of that one")
    (state,) = states.values()
    plan_id = name.removeprefix(STORED)
    lines = read_plan(state, plan_id)
    first = next(lines, None)
    if first is None:
        raise _not_kept(name, state, paths)
    return copy_stored_plan(name, chain([first], lines))


def check_kept(file: PlanFile, state: StateSettings) -> None:
    """Raise PlanFileError if the state does not keep a plan any more of which `open_stored_plan` has made a copy.

    Under the locks of its segments: until then somebody may be erased, and the plans with that person go.
    """
    if file.is_stored and next(read_plan(state, file.plan.plan_id), None) is None:
        raise _not_kept(str(file.path), state, file.plan.specs())


def _not_kept(name: str, state: StateSettings, paths: Sequence[str]) -> PlanFileError:
    is_spent = open_snapshot(state).is_spent(name.removeprefix(STORED))
    why = "it has been applied already" if is_spent else "it has expired, was erased, or is of another state"
    message = f"there is no plan {shlex.quote(name)} in the state any more: {why} ({parse(state.url)})"
    return PlanFileError(message, f"Make a new plan: reconcile plan {shlex.join(paths)} --out state:")


def load_segments(
    paths: Sequence[str], select: Sequence[str] = (), exclude: Sequence[str] = (), needed: Needed = Needed.ALL
) -> Loaded:
    """Read specs and select segments of them. Raises UsageError, SpecError."""
    if stored := [path for path in paths if path.startswith(STORED)]:
        raise UsageError(f"{stored[0]} is a plan that a state keeps, and can only be applied", "name the specs")
    if sealed := [path for path in paths if path != str(STDIN) and is_plan_file(Path(path))]:
        hint = f"name the specs, or apply it: reconcile apply {shlex.quote(sealed[0])}"
        raise UsageError(f"{sealed[0]} is a plan file, and can only be applied", hint)
    specs = read_specs(paths, os.environ, needed)
    return Loaded(specs, choose(list_targets(specs), select, exclude), is_chosen=bool(select or exclude))


# --- what an operation needs --------------------------------------------------------------------------------------


def refuse_plan_file(loaded: Loaded, command: str) -> None:
    """Raise UsageError for an operation that works on specs."""
    if loaded.plan_file is not None:
        loaded.plan_file.close()
        raise UsageError(f"{command} takes specs; a plan file can only be applied", "name the specs")


def refuse_less(least: int, **given: object) -> None:
    """Raise UsageError for an argument that is no number, or one below `least`."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise UsageError(f"{name} is {value!r}", f"give a number that is {least} or more")


def refuse_stdin(loaded: Loaded) -> None:
    """Raise UsageError where a plan is to be sealed of a spec from stdin: it has no path by which `apply` finds it."""
    if any(spec.path == STDIN for spec in loaded.specs):
        raise UsageError(
            "a plan of a spec from stdin can't be sealed: `apply` reads the spec again",
            "write it to a file, and name that",
        )


def find_server_state(loaded: Loaded) -> StateSettings:
    """Give the state that is to keep a plan. Raises UsageError unless it is one, in a PostgreSQL."""
    states = {spec.state.url: spec.state for spec in loaded.specs}
    hint = "name a file: `reconcile plan SPEC... --out FILE`"
    if len(states) != 1:
        raise UsageError(f"the specs have {len(states)} states, and `--out state:` takes one for all of them", hint)
    (state,) = states.values()
    address = parse(state.url)
    if isinstance(address, SqliteAddress):
        raise UsageError(f"`--out state:` needs a state in a PostgreSQL, and this one is a file ({address})", hint)
    return state


def refuse_flags(given: dict[str, Names]) -> None:
    """Raise UsageError for what belongs into a plan: a plan file is applied as it is."""
    flags = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if flags:
        raise UsageError(
            f"a plan file is applied as it was sealed; {', '.join(flags)} can't change it",
            "give these flags to `reconcile plan --out FILE`",
        )


def refuse_shared(specs: Sequence[Spec]) -> None:
    """Raise SpecError where specs with two names for one workspace list one segment, if a state knows that it is one.

    Under one name they are refused when they are read. A state that can't be read knows nothing: its segments say so.
    """
    places: dict[tuple[int | None, str | None], list[Target]] = {}
    for target in list_targets(specs):
        places.setdefault((target.segment.segment_id, target.segment.title_key), []).append(target)
    problems: list[SpecProblem] = []
    for (segment_id, title), rivals in places.items():
        if len({target.workspace for target in rivals}) == 1:
            continue
        by_environment: dict[int, list[Target]] = {}
        for target in rivals:
            with suppress(StateError):
                environment_id = open_snapshot(target.spec.state).environments().get(target.workspace)
                if environment_id is not None:
                    by_environment.setdefault(environment_id, []).append(target)
        for environment_id, same in by_environment.items():
            problems += [
                target.problem(
                    f"segment {segment_id or repr(title)} is listed at {other.where} too, and its workspace "
                    f"{other.workspace!r} is the same one: environment {environment_id} of Customer.io"
                )
                for target, other in zip(same, [*same[1:], same[0]], strict=True)
                if target is not other
            ]
    if problems:
        raise SpecError(problems, "one segment takes one query: leave one of the entries; nothing was run")


def require_app_keys(targets: Sequence[Target], purpose: str) -> None:
    """Raise SpecError, naming every spec without an App API key, where an operation can't do without."""
    specs = [target.spec for target in targets if not target.spec.unset]  # else it may be a variable that is missing
    missing = sorted({str(spec.path) for spec in specs if spec.destination.app_api_key is None})
    if missing:
        raise SpecError(
            [f"{path}: {purpose} needs destination.app_api_key" for path in missing],
            "create an App API key in Customer.io (Settings, API credentials) and set app_api_key",
        )


def resolve_allowed(
    targets: Sequence[Target], removals: Names, additions: Names, empty: Names
) -> dict[str, frozenset[Guard]]:
    """Find the guards that segments may pass for one run, by label (`workspace/name`): exact names, no patterns.

    Raises UsageError for a name that no segment has, and for one that several have.
    """
    allowed: dict[str, frozenset[Guard]] = {}
    given = {Guard.MAX_REMOVALS: removals, Guard.MAX_ADDITIONS: additions, Guard.ALLOW_EMPTY: empty}
    for guard, name in ((guard, name) for guard, names in given.items() for name in as_names(names)):
        found = [target for target in targets if name == target.segment.name]
        found = found or [target for target in targets if name == target.label]
        if not found:
            raise UsageError(f"No segment is named {name!r}.", _suggest(targets, [name]))
        label = found[0].label
        if len(found) > 1:
            places = ", ".join(f"{target.label} ({target.where})" for target in found)
            is_distinct = len({target.label for target in found}) == len(found)
            hint = "Write workspace/NAME." if is_distinct else "Name fewer specs, or rename one of them."
            raise UsageError(f"{name!r} means several segments: {places}.", hint)
        allowed[label] = allowed.get(label, frozenset()) | {guard}
    return allowed


def as_names(names: Names) -> Sequence[str]:
    """Give a list of names where there may be only one."""
    return [names] if isinstance(names, str) else names


# --- names and patterns -------------------------------------------------------------------------------------------


def list_targets(specs: Iterable[Spec]) -> tuple[Target, ...]:
    """Give every segment with its spec, in the order of the files."""
    return tuple(Target(spec, segment) for spec in specs for segment in spec.segments)


def choose(targets: Sequence[Target], select: Sequence[str], exclude: Sequence[str]) -> tuple[Target, ...]:
    """Give the targets that match a pattern of `select` (all, where there is none) and no pattern of `exclude`.

    A pattern is `NAME`, `workspace/NAME` or `tag:NAME`, each also as a glob; case counts. `git:REF` is what differs
    from a commit, and may be nothing. Raises UsageError for other patterns that match nothing, where nothing is left,
    and for an unknown commit.
    """
    specs = {id(target.spec): target.spec for target in targets}.values()
    changed = {
        pattern: find_changed(specs, pattern.removeprefix(GIT))
        for pattern in dict.fromkeys([*select, *exclude])
        if pattern.startswith(GIT)
    }

    def matches(target: Target, patterns: Iterable[str]) -> bool:
        return any(
            target.entry in changed[pattern] if pattern in changed else _matches(target, pattern)
            for pattern in patterns
        )

    for flag, patterns in (("--select", select), ("--exclude", exclude)):
        named = [pattern for pattern in patterns if pattern not in changed]
        idle = [pattern for pattern in named if not any(_matches(target, pattern) for target in targets)]
        if idle:
            listed = ", ".join(repr(pattern) for pattern in idle)
            raise UsageError(f"{flag} matches no segment: {listed}.", _suggest(targets, idle))
    chosen = [target for target in targets if not select or matches(target, select)]
    left = tuple(target for target in chosen if not matches(target, exclude))
    if not left and (select or exclude) and not changed:
        raise UsageError("No segment is left: --exclude takes out all that was selected.", "Narrow --exclude.")
    return left


def _matches(target: Target, pattern: str) -> bool:
    """Return whether a name of a target, or for `tag:` a tag of it, is this or fits it as a glob."""
    names = [target.segment.name, target.label] if "/" in pattern else [target.segment.name]
    if pattern.startswith(TAG):
        names = [f"{TAG}{tag}" for tag in target.segment.tags]
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)  # a name may hold a `[`


def _suggest(targets: Sequence[Target], patterns: Iterable[str]) -> str:
    names = [target.segment.name for target in targets]
    labels = [target.label for target in targets]
    tags = [f"{TAG}{tag}" for target in targets for tag in target.segment.tags]
    known = list(dict.fromkeys(names + labels + tags))
    close = dict.fromkeys(near for pattern in patterns for near in get_close_matches(pattern, known, n=3))
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"There are: {', '.join(known[:10])}{' and more' if len(known) > 10 else ''}."
