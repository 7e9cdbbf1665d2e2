"""Is this the right workspace, and is the segment there? Asked before anything is read or sent.

A workspace name is bound to one environment of Customer.io by the first write. Nothing is read from or sent to another.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.customerio import App
from reconciler.errors import DestinationError, IncompleteRead, ReconcileError, SegmentError
from reconciler.models.batches import CreationResult
from reconciler.models.comparison import Page
from reconciler.models.ids import IdType
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


def bind(target: Target, store: "StateStore", found: int | None) -> None:
    """Check the environment that the keys are of, and bind a workspace that is not bound yet."""
    bound = store.environment(target.workspace)
    check_environment(target, bound, found)
    if bound is None and found is not None:
        store.bind(target.workspace, found)


@dataclass(frozen=True)
class CheckedApp:
    """An App API that calls `check` before each read; it may raise DestinationError."""

    app: App
    check: Callable[[], None]

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]:
        self.check()
        return self.app.segments(again)

    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult:
        self.check()
        return self.app.create(title, description, may_start)

    def used_by(self, segment_id: int) -> UsedBy:
        self.check()
        return self.app.used_by(segment_id)

    def count(self, segment_id: int) -> int:
        self.check()
        return self.app.count(segment_id)

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        self.check()
        return self.app.members(segment_id, id_type)


def check_before_reading(
    target: Target, head: Head, app: App | None, ask: Callable[[], int | None], warn: Callable[[str], None]
) -> App | None:
    """Give the App API of a target; its reads ask for the environment if the spec pins one or the state knows it.

    `ask` gives the environment id of the keys, None where Customer.io does not tell: a warning, as nothing is written.
    """
    if app is None or (head.environment_id is None and target.spec.destination.workspace_id is None):
        return app

    def check() -> None:
        found = ask()
        if found is None:
            warn(f"workspace {target.workspace}: Customer.io does not tell which environment the keys are of")
        check_environment(target, head.environment_id, found)

    return CheckedApp(app, check)


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
        )
    check_pin(target, head)


def look_up(target: Target, head: Head, app: App | None, warn: Callable[[str], None]) -> RemoteFacts:
    """Ask the App API for the segment's title, and whether it exists and is manual; no key, no answer.

    For a segment that the state has never met, ask also how many members it has. An App API that can't be asked is a
    warning, where no plan depends on what is there: nothing of a tracked plan does.
    """
    if app is None:
        return RemoteFacts()

    def tolerate(error: ReconcileError, message: str) -> None:
        if target.segment.ownership is Ownership.EXCLUSIVE or error.code == "environment":
            raise error
        warn(f"{message}: {error.message}")

    segment_id = target.segment_id
    try:
        segment = app.segments().get(segment_id)
    except (DestinationError, IncompleteRead) as error:
        tolerate(error, f"{target.spec.path}: the names of the segments are not known")
        return RemoteFacts()
    if segment is None:
        raise DestinationError(
            f"{target.where}: there is no segment {segment_id} in workspace {target.workspace!r}",
            "check segment_id, and that the keys are those of the right workspace"
            + (f"; {END_OF_DELETED}{segment_id}`" if target.segment.retired else ""),
            code="no_such_segment",
        )
    if not segment.manual:
        raise DestinationError(
            f"{target.where}: segment {segment_id} is data-driven; only manual segments can be changed",
            "create a manual segment in Customer.io and put its id here",
            code="not_manual",
        )
    members = None
    if head.is_new:
        try:
            members = app.count(segment_id)
        except (DestinationError, IncompleteRead) as error:
            tolerate(error, f"{target.where}: how many members there are is not known")
    return RemoteFacts(title=segment.title, members=members)
