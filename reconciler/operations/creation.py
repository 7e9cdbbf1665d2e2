"""A segment that is to be created: looked for again under the lock of its title, and asked for once.

The request is written down before it leaves, and its answer after it. What became of a request without an answer is
seen in the list of segments, once it has surely arrived: no second one is sent before.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.errors import DestinationError, PlanFileError, SegmentError, StaleError
from reconciler.models.batches import CreationResult
from reconciler.models.plan import Creation
from reconciler.models.spec import Target
from reconciler.operations.context import Parts
from reconciler.operations.read_back import seconds_left, wait_for_arrival
from reconciler.operations.titles import find_by_title
from reconciler.plan_file import AGAIN

if TYPE_CHECKING:
    from reconciler.state.locked_segment import LockedSegment

CheckMade = Callable[[int | None, Creation | None], None]
"""May refuse the number that a title leads to, None where it is to be created; raises ReconcileError."""


def find_made(target: Target, segment: "LockedSegment", parts: Parts) -> Target:
    """Find the segment that another run was asked to create, under the lock of its title. Else give it as it is.

    Raises ReconcileError, also where a stop cuts a wait short.
    """
    creation = segment.creations.find()
    if creation is None or target.segment.paused:
        return target
    seconds = seconds_left(creation.asked_at, segment, target.spec.destination.settle)
    if seconds > 0 and wait_for_arrival(target, seconds, parts.report, parts.stop.wait):
        raise SegmentError(f"{target.where}: stopped before the segment was created", "run it again", code="stopped")
    return look_again(target, parts)


def look_again(target: Target, parts: Parts) -> Target:
    """List the segments again, and find the one of this title; as it is where there is still none."""
    assert parts.app is not None, "the spec was checked for an App API key"
    known = parts.list_known()
    return find_by_title(target, known, parts.app.segments(again=True), parts.warn)


def check_absent(target: Target, parts: Parts, plan_id: str | None) -> None:
    """Raise StaleError where somebody has made the segment since it was planned."""
    found = look_again(target, parts).segment.segment_id
    if found is not None:
        message = f"{target.where}: segment {found} was made after the plan, which says that it would be created"
        if plan_id is not None:
            raise PlanFileError(message, AGAIN)
        raise StaleError(message, "run it again to plan anew; nothing was sent")


def ask_to_create(target: Target, segment: "LockedSegment", parts: Parts) -> CreationResult:
    """Send the one request, if the lock is surely ours for as long as it can take."""
    assert parts.app is not None, "the spec was checked for an App API key"
    assert target.segment.segment is not None

    def may_start(_attempt: int) -> bool:
        return segment.lease.covers(target.spec.destination.timeout) and segment.lease.refresh_fence()

    return parts.app.create(target.segment.segment, target.segment.description, may_start)


def explain_unknown(target: Target, made: CreationResult) -> DestinationError:
    """Make the error for a request that may have created the segment."""
    settle = target.spec.destination.settle
    return DestinationError(
        f"{target.where}: whether segment {target.segment.segment!r} was created is not known: {made.message}",
        f"run it again: it looks for the segment, {settle:g} s after the request at the earliest, and creates it only "
        "if it is not there; nothing was sent to it",
        code="creation",
    )
