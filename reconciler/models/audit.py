"""What the audit log says of one id."""

from dataclasses import dataclass
from enum import StrEnum

from reconciler.models.batches import Direction


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
    """A read-back showed that an add had no effect, or by now has one."""


@dataclass(frozen=True)
class AuditEvent:
    """One change of one id. `at`: Unix seconds by the state's clock."""

    segment_id: int
    run_id: str
    at: float
    direction: Direction
    reason: Reason
