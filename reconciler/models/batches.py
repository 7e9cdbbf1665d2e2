"""Batches: what one request carries, and what became of it."""

from dataclasses import dataclass
from enum import StrEnum

MAX_BATCH = 1000
"""Most ids in one add or remove request. Source: Track API specification, `maxItems`."""


class Direction(StrEnum):
    """Into the segment, or out of it."""

    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True)
class Batch:
    """Up to 1,000 distinct ids to send in one request."""

    direction: Direction
    ids: tuple[str, ...]
    resends: frozenset[str] = frozenset()
    """Of an addition: the ids that are unmatched, and are only sent again."""

    def cut(self, position: int) -> tuple["Batch", "Batch"]:
        """Split before the id at `position`."""
        parts = (self.ids[:position], self.ids[position:])
        first, rest = (Batch(self.direction, ids, self.resends.intersection(ids)) for ids in parts)
        return first, rest

    def __repr__(self) -> str:
        return f"Batch({self.direction}, {len(self.ids)} ids)"


class Outcome(StrEnum):
    """What an attempt came to, or a request with all its attempts."""

    ACKNOWLEDGED = "acknowledged"
    """2xx: accepted, which is not yet applied. It says nothing per id."""
    UNKNOWN = "unknown"
    """408, 5xx, a time-out, a lost connection: retried, and it may have been applied."""
    REFUSED = "refused"
    """429, no connection: retried, and it certainly was not applied."""
    BAD_REQUEST = "bad_request"
    """400, 422: something in the batch, or about the request."""
    TOO_LARGE = "too_large"
    """413."""
    STOPPED = "stopped"
    """401, 403, 404, 3xx, an answer that Customer.io does not give: nothing more of this segment may be sent."""
    NOT_STARTED = "not_started"
    """The run was stopping, or the lease too short for another attempt."""


@dataclass(frozen=True)
class CreationResult:
    """How the one request to create a segment ended. `message` and `hint` are for people, where there is no number."""

    outcome: Outcome
    segment_id: int | None = None
    message: str = ""
    hint: str = ""

    @property
    def may_be_applied(self) -> bool:
        return self.outcome in (Outcome.ACKNOWLEDGED, Outcome.UNKNOWN)


@dataclass(frozen=True)
class BatchResult:
    """The end of one request. For any `outcome`, `unknown_at` is about the attempts of unknown outcome."""

    outcome: Outcome
    attempts: int = 0
    unknown_at: float | None = None
    """Unix seconds when the latest attempt that may have been applied was *given up*; None: none was."""
    message: str = ""
    """The API's words, or ours; for people."""
    hint: str = ""
    is_closed: bool = False
    """No further request of this run can succeed: the API can't be reached at all, or refuses the keys."""

    @property
    def may_be_applied(self) -> bool:
        return self.outcome is Outcome.ACKNOWLEDGED or self.unknown_at is not None
