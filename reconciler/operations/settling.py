"""How long to wait until a request that was given up, or only accepted, has surely taken effect."""

from reconciler.state.base import HeldSegment

LEAST_AFTER_TAKEOVER = 2.0
"""Seconds: a holder that lost its lock may start requests for a second, and they need as long to arrive."""


def seconds_left(attempted_at: float | None, held: HeldSegment, settle: float) -> float:
    """Give the seconds until `settle` has passed since an attempt, and since the lock was taken from a living holder.

    Never more than `settle` (two seconds at least after such a takeover), whatever a clock said.
    """
    now, left = held.now(), 0.0
    if attempted_at is not None:
        left = min(attempted_at + settle - now, settle)
    if held.taken_over_at is not None:
        least = max(settle, LEAST_AFTER_TAKEOVER)
        left = max(left, min(held.taken_over_at + least - now, least))
    return max(left, 0.0)
