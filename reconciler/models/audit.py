"""What the audit log and the state say of one id."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.models.batches import Direction
from reconciler.models.ids import IdType


class Reason(StrEnum):
    """Why an id was changed."""

    QUERY = "query"
    RESEND = "resend"
    """Customer.io did not know it at the read-back before."""
    RETIRED = "retired"
    UNDO = "undo"
    REFRESH = "refresh"
    """Read back by `refresh`: the state did not know that it was there, or that it was not."""
    ADOPTED = "adopted"
    """Under `exclusive`: somebody else had added it, and the query wants it."""
    UNMATCHED = "unmatched"
    """A read-back showed that an add had no effect, or by now has one; or what had none was removed."""


@dataclass(frozen=True)
class AuditEvent:
    """One change of one id. `at`: Unix seconds by the state's clock."""

    segment_id: int
    run_id: str
    at: float
    direction: Direction
    reason: Reason


class TraceStatus(StrEnum):
    """What the state says of one id in one segment now."""

    STORED = "stored"
    UNSETTLED = "unsettled"
    UNMATCHED = "unmatched"
    REMOVED = "removed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class TraceEvent:
    """One change of one id, for people; `segment` is None where no spec and no run names it any more."""

    workspace: str
    segment: str | None
    segment_id: int
    run_id: str
    at: datetime
    direction: Direction
    reason: Reason


@dataclass(frozen=True)
class TraceRow:
    """What the state says of one id in one segment; an id type of None is not known any more."""

    workspace: str
    name: str | None
    segment_id: int | None
    id_type: IdType | None
    status: TraceStatus


@dataclass(frozen=True)
class Trace:
    """When and why one id entered and left segments, oldest first, and where it is now. The id is not in it."""

    created_at: datetime
    events: tuple[TraceEvent, ...]
    segments: tuple[TraceRow, ...]
    kept: tuple[str, ...]
    """For how long the specs keep changes, as they write it; none where all of them say `off`."""
    warnings: tuple[str, ...] = ()
