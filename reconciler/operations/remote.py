"""What is known of a segment at Customer.io: is it in the right workspace, does it exist, and who is in it.

A workspace name is bound to one environment of Customer.io by the first write. Nothing is read from or sent to another.
The members are read back as a whole, or not at all.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from reconciler.customerio import App
from reconciler.errors import DestinationError, IncompleteRead, ReconcileError, SegmentError
from reconciler.models.comparison import DriftCounts, RemoteCount
from reconciler.models.plan import Head, RemoteFacts
from reconciler.models.spec import Ownership, Target

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison
    from reconciler.state.locked_segment import LockedSegment
    from reconciler.state.store import StateStore

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between two read-backs: doubled from the first to the longest."""

LEAST_AFTER_TAKEOVER = 2.0
"""Seconds: a holder that lost its lock may start requests for a second, and they need as long to arrive."""


# --- the workspace ------------------------------------------------------------------------------------------------


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
    """An App API that checks the environment of the keys before each read, which may raise DestinationError."""

    app: App
    target: Target
    head: Head
    ask: Callable[[], int | None]
    warn: Callable[[str], None]

    def __getattr__(self, read: str) -> Any:
        found = self.ask()
        if found is None:
            self.warn(f"workspace {self.target.workspace}: Customer.io does not tell which environment the keys are of")
        check_environment(self.target, self.head.environment_id, found)
        return getattr(self.app, read)


def check_before_reading(
    target: Target, head: Head, app: App | None, ask: Callable[[], int | None], warn: Callable[[str], None]
) -> App | None:
    """Give the App API of a target; its reads ask for the environment if the spec pins one or the state knows it.

    `ask` gives the environment id of the keys, None where Customer.io does not tell: a warning, as nothing is written.
    """
    if app is None or (head.environment_id is None and target.spec.destination.workspace_id is None):
        return app
    return cast(App, CheckedApp(app, target, head, ask, warn))


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

    segment_id = target.segment.segment_id
    try:
        segment = app.segments().get(segment_id)
    except (DestinationError, IncompleteRead) as error:
        tolerate(error, f"{target.spec.path}: the names of the segments are not known")
        return RemoteFacts()
    if segment is None:
        raise DestinationError(
            f"{target.where}: there is no segment {segment_id} in workspace {target.workspace!r}",
            "check segment_id, and that the keys are those of the right workspace",
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


# --- its members --------------------------------------------------------------------------------------------------


def seconds_left(attempted_at: float | None, segment: "LockedSegment", settle: float) -> float:
    """Give the seconds until `settle` has passed since an attempt, and since the lock was taken from a living holder.

    Never more than `settle` (two seconds at least after such a takeover), whatever a clock said.
    """
    now, left = segment.now(), 0.0
    if attempted_at is not None:
        left = min(attempted_at + settle - now, settle)
    if segment.taken_over_at is not None:
        least = max(settle, LEAST_AFTER_TAKEOVER)
        left = max(left, min(segment.taken_over_at + least - now, least))
    return max(left, 0.0)


def read_back(target: Target, comparison: "Comparison", app: App | None) -> RemoteCount:
    """Load the whole real membership; a read that disagrees with Customer.io's own count twice is refused.

    Raises IncompleteRead, DestinationError; also where there is no App API, as its key is missing.
    """
    if app is None:
        raise DestinationError(
            f"{target.where}: reading the segment back needs destination.app_api_key",
            "create an App API key in Customer.io (Settings, API credentials) and set app_api_key",
            code="app_api_key",
        )
    segment = target.segment
    said: list[str] = []
    for _ in range(2):
        before = app.count(segment.segment_id)
        with closing(app.members(segment.segment_id, segment.id_type)) as pages:
            found = comparison.load_remote(pages)
        after = app.count(segment.segment_id)
        if before == found.people == after:
            return found
        said.append(f"{found.people:,} people in the pages, {before:,} counted before and {after:,} after")
    raise IncompleteRead(
        f"{target.where}: the membership of segment {segment.segment_id} changes while it is read ({'; '.join(said)})",
        "run it again when nobody edits the segment; nothing was changed",
    )


@dataclass(frozen=True)
class Confirmation:
    """How waiting for agreement ended. `drift` is None where no whole read was had."""

    drift: DriftCounts | None
    error: IncompleteRead | None = None

    @property
    def agrees(self) -> bool:
        """All that was added is there, and nothing that was removed."""
        return self.drift is not None and self.drift.missing == 0 and self.drift.lingering == 0


def wait_for_agreement(
    target: Target,
    comparison: "Comparison",
    app: App | None,
    timeout: float,
    clock: Callable[[], float],
    pause: Callable[[float], bool],
) -> Confirmation:
    """Read back until it agrees with the state, or `timeout` seconds have passed since the end of the first whole read.

    Where no read is whole they count from the end of the first one. `pause` waits some seconds and tells whether the
    run is being stopped. Raises DestinationError.
    """
    deadline: float | None = None
    was_whole = False
    seconds = FIRST_PAUSE
    while True:
        try:
            read_back(target, comparison, app)
        except IncompleteRead as error:
            latest = Confirmation(None, error)
        else:
            latest = Confirmation(comparison.drift())
        now, is_whole = clock(), latest.drift is not None
        if deadline is None or (is_whole and not was_whole):
            deadline = now + timeout
        was_whole = was_whole or is_whole
        if latest.agrees or now >= deadline or pause(min(seconds, deadline - now)):
            return latest
        seconds = min(seconds * 2, LONGEST_PAUSE)
