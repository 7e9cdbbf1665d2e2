"""The history: which runs there were, and what became of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from reconciler.models.batches import Direction
from reconciler.models.ids import IdType

SHORT = 8
"""Characters of a run's id that people are shown."""

LAST = "last"
"""Names the newest run."""

LEAST_PREFIX = 4
"""Characters by which a run can be named, if no other run begins so."""


def shorten(run_id: str) -> str:
    """Give the beginning of a run's id that people are shown."""
    return run_id[:SHORT]


@dataclass(frozen=True)
class Actor:
    """Who made a run, where, at which commit of the specs, and in which job of a CI service; None: not known."""

    user: str | None = None
    host: str | None = None
    commit: str | None = None
    job: str | None = None
    """The address of the job without credentials, or its name."""


NOBODY = Actor()
"""Of a run of which nothing is known."""


class RunState(StrEnum):
    """Whether a run goes on."""

    RUNNING = "running"
    ENDED = "ended"
    DECLINED = "declined"
    """It has ended, as the answer to its question was no: nothing was sent, and nothing failed."""
    KILLED = "killed"
    """It has not ended, and its process is dead, or nobody holds its locks any more."""


KILLED = RunState.KILLED.value
"""What became of a segment that a run worked on when it was killed; the other words are those of runs and refreshes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a segment in one run. `at`: when that ended, or was last heard of; `code`: of its error."""

    status: str
    code: str | None
    run_id: str
    at: datetime


class RunPart(NamedTuple):
    """One segment of a past run, in numbers of ids. Of a run that has not ended: as far as the state knows."""

    segment_id: int
    name: str
    status: str
    code: str | None = None
    added: int = 0
    removed: int = 0
    rejected: int = 0
    unsettled: int = 0
    title: str | None = None


@dataclass(frozen=True)
class LastRun:
    """The latest run of a segment; `ended_at` and `exit_code` are None while it goes on, or if it died."""

    run_id: str
    started_at: datetime
    ended_at: datetime | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class HistoryRow:
    """One past run; `ended_at` and `exit_code` are None while it goes on, or if it died. Numbers: None, not known."""

    run_id: str
    started_at: datetime
    command: str
    workspace: str = ""
    ended_at: datetime | None = None
    exit_code: int | None = None
    segments: int | None = None
    added: int | None = None
    removed: int | None = None
    rejected: int | None = None
    unsettled: int | None = None
    actor: Actor = NOBODY
    reason: str | None = None
    """As it was given with `--reason`."""
    status: RunState = RunState.ENDED
    parts: tuple[RunPart, ...] = ()
    """Its segments, or the one that was asked for."""
    outcome: Outcome | None = None
    """What became of the one that was asked for; None where none was, or the run has not ended."""

    @property
    def is_over(self) -> bool:
        """It has ended by itself."""
        return self.status in (RunState.ENDED, RunState.DECLINED)


@dataclass(frozen=True)
class RunRecord:
    """One past run of a workspace, whole. `document` is the JSON that it printed; None while it goes on, or if it died.

    `allowed`: the guards that were allowed, as they were named on the command line.
    """

    row: HistoryRow
    tool_version: str
    allowed: tuple[str, ...]
    plan_id: str | None
    document: str | None


@dataclass(frozen=True)
class History:
    """Past runs, newest first."""

    created_at: datetime
    runs: tuple[HistoryRow, ...]
    warnings: tuple[str, ...] = ()


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
