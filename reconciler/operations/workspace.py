"""Is this the right workspace, and is the segment there? Asked before anything is read or sent.

A workspace name is bound to one environment of Customer.io by the first write. Nothing is read from or sent to another.
"""

import shlex
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.customerio import App
from reconciler.errors import DestinationError, IncompleteRead, ReconcileError, SegmentError, StateError
from reconciler.escaping import show_title
from reconciler.models.batches import CreationResult
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType
from reconciler.models.members import other_place
from reconciler.models.plan import Head, RemoteFacts, RemoteSegment, UsedBy
from reconciler.models.spec import Ownership, Target

if TYPE_CHECKING:
    from reconciler.state.store import StateStore


END_OF_DELETED = (
    "if it was deleted there, nobody is in it, and the state may forget it: `reconcile state forget SPEC id:"
)
"""How a retired segment ends that no more exists; its number and a backtick follow."""


def check_pin(target: Target, head: Head) -> None:
    """Raise DestinationError if the workspace is bound to another environment than the spec pins."""
    pinned = target.spec.destination.workspace_id
    if pinned is not None and head.environment_id is not None and pinned != head.environment_id:
        raise DestinationError(
            f"{target.spec.path}: workspace {target.workspace!r} is bound to environment {head.environment_id} at "
            f"Customer.io, and the spec's workspace_id is {pinned}",
            "correct workspace_id; a second workspace needs a `workspace:` name of its own",
            code="environment",
        )


def check_environment(target: Target, bound: int | None, found: int | None) -> None:
    """Raise DestinationError if the keys are of another environment than the spec pins or the workspace is bound to.

    None: not known; what is not known is not checked.
    """
    if found is None:
        return
    pinned = target.spec.destination.workspace_id
    if pinned is not None and found != pinned:
        raise DestinationError(
            f"{target.spec.path}: workspace_id is {pinned}, but the keys are of environment {found}",
            "use this workspace's keys, or correct workspace_id",
            code="environment",
        )
    if bound is not None and found != bound:
        raise DestinationError(
            f"{target.spec.path}: workspace {target.workspace!r} is bound to environment {bound} at Customer.io, "
            f"but this is environment {found}",
            "check site_id and api_key; a second workspace needs a `workspace:` name of its own",
            code="environment",
        )


def check_name(target: Target, environments: Mapping[str, int], found: int | None) -> None:
    """Raise DestinationError where the state has another name for the environment that the keys are of.

    A name that is in `environments`, what the state has names for, is accepted: the first edition bound several.
    """
    names = [] if target.workspace in environments else find_names(environments, found)
    if names:
        rename = shlex.join(["reconcile", "state", "rename", str(target.spec.path), names[0], target.workspace])
        raise DestinationError(
            f"{target.spec.path}: environment {found} of Customer.io is workspace {names[0]!r} in this state, and the "
            f"spec calls it {target.workspace!r}",
            f"set `workspace: {names[0]}` in the spec, or rename it in the state: {rename}",
            code="environment",
        )


def find_names(environments: Mapping[str, int], environment_id: int | None) -> list[str]:
    """Find the names that a state has for an environment. None: it is not known."""
    return sorted(name for name, bound in environments.items() if bound == environment_id)


def warn_of_names(targets: Iterable[Target], environments_of: Callable[[Target], Mapping[str, int]]) -> dict[str, None]:
    """Say where a state has several names for one environment of these targets; one that can't be read says nothing."""
    warnings: dict[str, None] = {}
    for target in {(each.spec.state, each.workspace): each for each in targets}.values():
        try:
            environments = environments_of(target)
        except StateError:
            continue
        names = find_names(environments, environments.get(target.workspace))
        if len(names) > 1:
            other = next(name for name in names if name != target.workspace)
            rename = shlex.join(["reconcile", "state", "rename", str(target.spec.path), other, target.workspace])
            same = f"{', '.join(map(repr, names))} are one workspace (environment {environments[target.workspace]})"
            warnings[f"{same}, and what one adds the other may remove; give them one name: {rename}"] = None
    return warnings


def bind(target: Target, store: "StateStore", found: int | None) -> None:
    """Check the environment that the keys are of, and bind a workspace that is not bound yet."""
    environments = store.environments()
    check_environment(target, environments.get(target.workspace), found)
    check_name(target, environments, found)
    if target.workspace not in environments and found is not None:
        environments = store.bind(target.workspace, found)
        check_environment(target, environments.get(target.workspace), found)  # another run may have been quicker
        check_name(target, environments, found)


@dataclass(frozen=True)
class CheckedApp:
    """An App API that calls `check` before each request; it may raise DestinationError."""

    app: App
    check: Callable[[], None]

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]:
        self.check()
        return self.app.segments(again)

    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult:
        self.check()
        return self.app.create(title, description, may_start)

    def hurried(self, seconds: float, ended: threading.Event) -> App:
        return CheckedApp(self.app.hurried(seconds, ended), self.check)

    def close(self) -> None:
        self.app.close()

    def used_by(self, segment_id: int) -> UsedBy:
        self.check()
        return self.app.used_by(segment_id)

    def campaigns(self) -> dict[int, str]:
        self.check()
        return self.app.campaigns()

    def count(self, segment_id: int) -> int:
        self.check()
        return self.app.count(segment_id)

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        self.check()
        return self.app.members(segment_id, id_type)


def check_before_reading(
    target: Target,
    head: Head,
    app: App | None,
    ask: Callable[[], int | None],
    warn: Callable[[str], None],
    find_cause: Callable[[], ReconcileError | None] = lambda: None,
) -> App | None:
    """Give the App API of a target; its reads ask for the environment if the spec pins one or the state knows it.

    `ask` gives the environment id of the keys, None where Customer.io does not tell: a warning, as nothing is written.
    `find_cause` then tells why, if that is known.
    """
    if app is None or (head.environment_id is None and target.spec.destination.workspace_id is None):
        return app

    def check() -> None:
        found = ask()
        if found is None:
            problem = f"workspace {target.workspace}: Customer.io does not tell which environment the keys are of"
            warn(tell_cause(problem, target, find_cause()))
        check_environment(target, head.environment_id, found)

    return CheckedApp(app, check)


def tell_cause(problem: str, target: Target, cause: ReconcileError | None) -> str:
    """Say why Customer.io did not tell an environment, and the next step; None: the cause is not known."""
    if cause is not None:
        return f"{problem}: {cause.message}; next: {cause.hint}"
    return f"{problem}; next: `reconcile validate {shlex.quote(str(target.spec.path))} --connect` says why"


# --- the segment --------------------------------------------------------------------------------------------------


def check_head(target: Target, head: Head) -> None:
    """Refuse a segment with another id type, or a workspace with another environment, than the state has."""
    segment = target.segment
    if head.id_type is not None and head.id_type != segment.id_type:
        raise SegmentError(
            f"{target.where}: the state holds segment {segment.segment_id} by {head.id_type}, the spec says "
            f"{segment.id_type}",
            f"set id_type back to {head.id_type}; or take the members over by {segment.id_type} (`reconcile refresh "
            "SPEC --select NAME`); or forget the segment (`reconcile state forget SPEC NAME`)",
            code="id_type",
            shared=f"the state holds their members by {head.id_type}, the spec says {segment.id_type}",
        )
    if not head.is_new and head.at_source != target.is_at_source:
        raise other_place(is_at_source=head.at_source)
    check_pin(target, head)


def look_up(target: Target, app: App | None, warn: Callable[[str], None]) -> RemoteFacts:
    """Ask the App API for the segment's title, and whether it exists and is manual; no key, no answer.

    An App API that can't be asked is a warning, where no plan depends on what is there: nothing of a tracked plan does.
    """
    if app is None:
        return RemoteFacts()

    segment_id = target.segment_id
    try:
        segment = app.segments().get(segment_id)
    except (DestinationError, IncompleteRead) as error:
        if target.segment.ownership is Ownership.EXCLUSIVE or error.code == "environment":
            raise
        warn(f"{target.spec.path}: the names of the segments are not known: {error.message}")
        return RemoteFacts(unanswered=True)
    if segment is None:
        raise DestinationError(
            f"{target.where}: there is no segment {segment_id} in workspace {target.workspace!r}",
            "check segment_id, and that the keys are those of the right workspace"
            + (f"; {END_OF_DELETED}{segment_id}`" if target.segment.retired else ""),
            code="no_such_segment",
            shared=f"workspace {target.workspace!r} has no segments of their numbers",
        )
    if not segment.manual:
        raise DestinationError(
            f"{target.where}: segment {segment_id} is data-driven; only manual segments can be changed",
            "create a manual segment in Customer.io and put its id here",
            code="not_manual",
        )
    return RemoteFacts(title=show_title(segment.title))
