"""Reading a segment back: whole, or not at all."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.customerio import App
from reconciler.errors import DestinationError, IncompleteRead
from reconciler.models.comparison import DriftCounts, RemoteCount
from reconciler.models.spec import Target

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between two read-backs: doubled from the first to the longest."""


def require_app(target: Target, app: App | None) -> App:
    """Give the App API, or raise DestinationError: its key is missing."""
    if app is None:
        raise DestinationError(
            f"{target.where}: reading the segment back needs destination.app_api_key",
            "create an App API key in Customer.io (Settings, API credentials) and set app_api_key",
            code="app_api_key",
        )
    return app


def read_back(target: Target, comparison: "Comparison", app: App) -> RemoteCount:
    """Load the whole real membership; a read that disagrees with Customer.io's own count twice is refused.

    Raises IncompleteRead, DestinationError.
    """
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
    app: App,
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
