"""Reading the members of a segment back: as a whole, or not at all."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.customerio import App
from reconciler.errors import DestinationError, IncompleteRead, SegmentError
from reconciler.models.comparison import DriftCounts, RemoteCount
from reconciler.models.events import Event, Waiting
from reconciler.models.plan import Head
from reconciler.models.spec import Target
from reconciler.state.base import LEAST_FENCE_SECONDS

if TYPE_CHECKING:
    from reconciler.diff.comparison import Comparison
    from reconciler.state.locked_segment import LockedSegment

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between two read-backs: doubled from the first to the longest."""

LEAST_AFTER_TAKEOVER = 2 * LEAST_FENCE_SECONDS
"""Seconds: a holder that lost its lock may start requests while its fence is good, and they need as long to arrive."""


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


def wait_for_arrival(
    target: Target, seconds: float, report: Callable[[Event], None], pause: Callable[[float], bool]
) -> bool:
    """Wait until what was sent has surely arrived, and say so; true, at once, when the operation is to stop."""
    report(Waiting(target, seconds, "an earlier request may still arrive"))
    return pause(seconds)


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
    if segment.segment_id is None:  # it is not made yet
        return comparison.load_remote(())
    said: list[str] = []
    for _ in range(2):
        before = app.count(target.segment_id)
        with closing(app.members(target.segment_id, segment.id_type)) as pages:
            found = comparison.load_remote(pages)
        after = app.count(target.segment_id)
        if before == found.people == after:
            return found
        said.append(f"{found.people:,} people in the pages, {before:,} counted before and {after:,} after")
    raise IncompleteRead(
        f"{target.where}: the membership of segment {segment.segment_id} changes while it is read ({'; '.join(said)})",
        "run it again when nobody edits the segment; nothing was changed",
    )


def find_unmatched(target: Target, unmatched: int, held: int) -> SegmentError | None:
    """Give the error for more unmatched ids, of all that the state holds, than `max_unmatched` lets pass, or None.

    A retired segment has none, as nobody belongs there.
    """
    segment = target.segment
    limit = segment.guards.max_unmatched
    if segment.retired or not limit.is_exceeded(unmatched, held):
        return None
    return SegmentError(
        f"{target.where}: {unmatched:,} of the {held:,} ids that the state holds were not in the segment when it was "
        f"read (max_unmatched: {limit}); the likely cause is that the query's ids are not Customer.io's "
        f"`{segment.id_type}`: a wrong id_column or id_type",
        "look up one of the query's ids among the people at Customer.io: where nobody has it, correct `id_column`, "
        "`id_type` or the query, and plan again; where these people are only new there, apply again later, or raise "
        "`max_unmatched`",
        code="max_unmatched",
    )


def warn_of_unmatched(target: Target, unmatched: int, held: int, warn: Callable[[str], None]) -> None:
    """Warn of the same from what the state knows."""
    if error := find_unmatched(target, unmatched, held):
        warn(f"{error.message}; {error.hint}")


def shows_what_was_sent(found: DriftCounts, added: int, adopted: int, head: Head) -> bool:
    """Tell whether a read-back surely shows an id that was sent, and not only such as came with an earlier one.

    `added` and `adopted`: by this run; `head`: before it.
    """
    is_all_sent = not head.read_back and not adopted  # nothing was taken over yet
    return added > found.missing or found.appeared > 0 or (is_all_sent and found.stored > found.missing)


@dataclass(frozen=True)
class Confirmation:
    """How waiting for agreement ended. `drift` is None where no whole read was had, or a stop cut the waiting short."""

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
    """Read back until it agrees with the state and shows enough of its ids, or until the time is over.

    That is `timeout` seconds since the end of the first whole read; where no read is whole, of the first one. `pause`
    waits some seconds and tells whether the run is being stopped. Raises DestinationError.
    """
    deadline: float | None = None
    was_whole = False
    seconds = FIRST_PAUSE
    while True:
        try:
            read_back(target, comparison, app)
            latest = Confirmation(comparison.drift())
        except IncompleteRead as error:
            latest = Confirmation(None, error)
        except SegmentError:
            if pause(0):  # a stop cut the read or the comparison short: nothing failed
                return Confirmation(None)
            raise
        now, is_whole = clock(), latest.drift is not None
        if deadline is None or (is_whole and not was_whole):
            deadline = now + timeout
        was_whole = was_whole or is_whole
        found = latest.drift
        is_enough = found and not find_unmatched(target, found.unmatched_after, found.held)
        if (latest.agrees and is_enough) or now >= deadline:
            return latest
        if pause(min(seconds, deadline - now)):
            return replace(latest, drift=None)  # what is not there may still come: nothing is recorded of it
        seconds = min(seconds * 2, LONGEST_PAUSE)
