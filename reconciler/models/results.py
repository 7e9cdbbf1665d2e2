"""The results of the commands: of a run, `drift`, `refresh` and `status`; others are in `plan` and `history`."""

import threading
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.errors import SpecProblem
from reconciler.models.comparison import DriftCounts
from reconciler.models.history import NOBODY, Actor, History, LastRun, Outcome, RunRecord, Trace
from reconciler.models.plan import Orphan, Plan, Problem, SegmentPlan
from reconciler.models.spec import SpecIdentity, Target

# --- validate ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SegmentCheck:
    """What was found of one segment: its title at Customer.io, if that is known, or why it failed.

    A segment that `apply` is to create has no number.
    """

    target: Target
    title: str | None = None
    error: Problem | None = None


@dataclass(frozen=True)
class Finding:
    """A problem that `validate` found: in a file, on a line, if it has a place; what it is, and what to do next."""

    file: str | None
    line: int | None
    code: str
    message: str
    hint: str
    has_own_hint: bool = False
    """The hint is about this problem alone, and not one for all that is wrong with the specs."""


@dataclass(frozen=True)
class Validation:
    """What `validate` found. `checks` is empty where nothing was connected to; numbers are None for invalid specs."""

    created_at: datetime
    problems: tuple[Finding, ...] = ()
    spec_warnings: tuple[SpecProblem, ...] = ()
    connection_warnings: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()
    """Variables that are not set: their values were done without."""
    specs: int | None = None
    segments: int | None = None
    checks: tuple[SegmentCheck, ...] = ()
    connected: bool = False

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*map(str, self.spec_warnings), *self.connection_warnings)


# --- run -----------------------------------------------------------------------------------------------------------


class RunStatus(StrEnum):
    """What became of a segment.

    A word that several results have as a status (`failed`, `blocked`) means the same in each, and their members are
    equal: a table by status has one line for it.
    """

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    PAUSED = "paused"
    STALE = "stale"
    LOCKED = "locked"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True)
class Tally:
    """What the sending of one segment came to; all but `seconds` are numbers of ids or requests."""

    added: int = 0
    removed: int = 0
    resent: int = 0
    rejected: int = 0
    unsettled: int = 0
    """Sent in this run, with an unknown outcome."""
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    created: bool = False
    """The segment itself was, or may have been, created."""

    @property
    def touched(self) -> bool:
        """Something was or may have been changed at Customer.io."""
        return bool(self.added or self.removed or self.resent or self.unsettled or self.created)


@dataclass(frozen=True)
class SegmentRun:
    """One segment of a run."""

    plan: SegmentPlan
    status: RunStatus
    tally: Tally = Tally()
    unmatched: int | None = None
    """Unmatched ids that the state holds at the end."""
    error: Problem | None = None
    confirmed: bool | None = None
    strangers: int | None = None
    """Members that the read-back showed and the state does not know; None: there was none."""
    """The read-back agreed; None where none was asked for or it did not come to an end."""
    forgotten: bool = False
    """It is retired and held nobody any more, and the state forgot it."""
    members: int | None = None
    """Members that the state has at the end."""

    @property
    def target(self) -> Target:
        return self.plan.target

    @property
    def title(self) -> str | None:
        return self.plan.title

    @property
    def unmatched_after(self) -> int | None:
        """Unmatched ids at the end of the run; where nothing was sent they are those of its plan."""
        counts = self.plan.counts
        if self.unmatched is not None or counts is None or self.tally.touched:
            return self.unmatched
        return counts.unmatched


@dataclass(frozen=True)
class Run:
    """All segments of one `apply`."""

    run_id: str
    created_at: datetime
    segments: tuple[SegmentRun, ...]
    warnings: tuple[str, ...] = ()
    stopped_by: int | None = None
    """The signal that stopped it, or None."""
    orphans: tuple[Orphan, ...] = ()
    actor: Actor = NOBODY
    reason: str | None = None
    undo_of: str | None = None
    """The run that it reversed."""


class StopSignal(threading.Event):
    """A stop that knows the number of the signal that asked for it, for the history."""

    number: int | None = None


# --- drift ---------------------------------------------------------------------------------------------------------


class DriftStatus(StrEnum):
    IN_SYNC = "in_sync"
    DRIFTED = "drifted"
    FAILED = "failed"


@dataclass(frozen=True)
class SegmentDrift:
    """The drift of one segment. `counts` is None where it failed; `stored` and `unmatched` are then what the state
    holds, None where that can't be read either."""

    target: Target
    status: DriftStatus
    counts: DriftCounts | None = None
    title: str | None = None
    error: Problem | None = None
    stored: int | None = None
    unmatched: int | None = None


@dataclass(frozen=True)
class Drift:
    """The drift of all selected segments."""

    created_at: datetime
    segments: tuple[SegmentDrift, ...]
    warnings: tuple[str, ...] = ()


# --- status --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StatusRow:
    """What the state holds of one segment, in numbers of ids; None: not known. `holder`: the run with its lock."""

    target: Target
    known: bool
    """The state has an entry for this segment."""
    members: int | None = None
    unsettled: int | None = None
    unmatched: int | None = None
    rejected: int | None = None
    last_run: LastRun | None = None
    holder: str | None = None
    restored: bool = False
    """It comes from a backup, and no refresh has read the real members since."""
    error: Problem | None = None
    """Why the state could not be read."""
    title: str | None = None
    """At Customer.io, as it was last read."""
    last: Outcome | None = None
    """What became of it in its last run; None before the first."""

    @property
    def name(self) -> str:
        return self.target.segment.name


@dataclass(frozen=True)
class SegmentRecord:
    """One segment that the state knows, in numbers of ids. `holder`: the run that holds its lock now, in words."""

    workspace: str
    segment_id: int
    name: str
    """What the spec called it when it was last written to."""
    id_type: str
    lineage: str
    serial: int
    members: int
    unsettled: int
    unmatched: int
    rejected: int
    removed: int
    """Tombstones: removed in the last 30 days, and not yet seen to be gone."""
    completed_at: datetime | None
    confirmed_at: datetime | None
    last_run: LastRun | None
    holder: str | None
    restored: bool
    """It comes from a backup, and no refresh has read the real members since."""
    title: str | None = None
    """At Customer.io, as it was last read; None: not known."""
    last: Outcome | None = None
    """What became of it in its last run."""


@dataclass(frozen=True)
class Listing:
    """A segment of the state with its last name, its title at Customer.io, and the spec that listed it last.

    None: not known, as no apply or refresh of this edition has named it.
    """

    segment_id: int
    name: str
    title: str | None
    """The one by which the spec names it, if it does."""
    spec: SpecIdentity | None
    lineage: str = ""
    proved: bool = False
    """A read-back showed an id that was sent to it: the App key is of the workspace that is sent to."""
    sent: bool = False
    """Something was sent to it, or may have been."""
    is_note: bool = False
    """It was created for this title, and nothing was sent to it yet: there is no more of it in the state."""


@dataclass(frozen=True)
class Status:
    """All of `status`."""

    created_at: datetime
    segments: tuple[StatusRow, ...]
    orphans: tuple[Orphan, ...] = ()
    warnings: tuple[str, ...] = ()


# --- refresh -------------------------------------------------------------------------------------------------------


class RefreshStatus(StrEnum):
    REFRESHED = "refreshed"
    LOCKED = "locked"
    FAILED = "failed"


@dataclass(frozen=True)
class RefreshRow:
    """One segment with a snapshot that was made equal to the real members; numbers of members; None: not known."""

    target: Target
    status: RefreshStatus
    stored: int | None = None
    """Members that the state has now."""
    strangers: int | None = None
    """There, and the state did not know them: taken over, or left alone under `--adopt known`."""
    adopted: int | None = None
    """Of `strangers`: taken over. The next plan removes those that the query does not return."""
    unmatched: int | None = None
    unsettled: int | None = None
    """Sent a remove, and still there: the next apply sends them again."""
    lingering: int | None = None
    """Removed by us within `settle` and an hour, and still there: they become unsettled."""
    unkeyed: int | None = None
    title: str | None = None
    error: Problem | None = None


@dataclass(frozen=True)
class Refresh:
    """All of `refresh`."""

    run_id: str
    created_at: datetime
    segments: tuple[RefreshRow, ...]
    warnings: tuple[str, ...] = ()
    actor: Actor = NOBODY
    reason: str | None = None


# --- segments ------------------------------------------------------------------------------------------------------


class Management(StrEnum):
    """Whether a spec manages a segment."""

    MANAGED = "managed"
    ORPHAN = "orphan"
    """It holds members and has left its spec."""
    UNMANAGED = "unmanaged"


@dataclass(frozen=True)
class WorkspaceSegment:
    """One segment of a workspace at Customer.io, and the spec that manages it. None: not known, or there is none."""

    workspace: str
    segment_id: int
    title: str
    manual: bool
    """False for a data-driven one."""
    people: int | None = None
    """Its members, as Customer.io counts them."""
    status: Management = Management.UNMANAGED
    name: str | None = None
    """What the spec calls it, or called it last."""
    spec: str | None = None
    """The path of that spec: as it was named, else as the state has it."""

    @property
    def is_free(self) -> bool:
        """A spec could manage it, and none does."""
        return self.manual and self.status is not Management.MANAGED


@dataclass(frozen=True)
class Segments:
    """The segments of the workspaces of some specs."""

    created_at: datetime
    segments: tuple[WorkspaceSegment, ...]
    workspaces: tuple[str, ...]
    specs: tuple[str, ...]
    """The paths of the specs that were named."""
    names: frozenset[str]
    """The names of all segments that these specs list."""
    warnings: tuple[str, ...] = ()


SegmentRow = SegmentPlan | SegmentRun | SegmentDrift | RefreshRow
"""One segment of a result, with a status."""

Result = Plan | Run | Drift | Refresh | Status | History | Segments | Trace | RunRecord | SegmentRecord
"""What a command gives: every renderer writes each of these."""

# --- notifications -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """One segment that somebody is told of. `before`: its status in the last run that ended; None: there was none."""

    row: SegmentRun | SegmentDrift | RefreshRow
    before: str | None = None
    is_news: bool = True
    """False: it is only part of a sign of life."""


@dataclass(frozen=True)
class Notification:
    """What a webhook is told: `result` has the segments of the specs that name it, `told` those to be told of."""

    command: str
    result: Run | Refresh | Drift
    exit_code: int
    job: str | None
    told: tuple[Told, ...]
