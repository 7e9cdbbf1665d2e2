"""A plan: what would be sent, and whether the guards let it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.models.batches import MAX_BATCH
from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard, Verdict
from reconciler.models.spec import SpecIdentity, Target


class PlanStatus(StrEnum):
    CHANGES = "changes"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    PAUSED = "paused"
    """By the spec: planned, and nothing is sent."""
    FAILED = "failed"


@dataclass(frozen=True)
class Cause:
    """Why segments failed, without the place and the name of any: equal where it is the same for several."""

    code: str
    message: str
    hint: str
    """Its commands have SPEC and NAME where they name a spec or a segment."""


@dataclass(frozen=True)
class Problem:
    """An error as a value: `code`, what happened, what to do next."""

    code: str
    message: str
    hint: str = ""
    own_cause: Cause | None = field(default=None, repr=False, compare=False)
    """What it shares with other segments, where that is not its own words."""

    @property
    def cause(self) -> Cause:
        return self.own_cause or Cause(self.code, self.message, self.hint)


@dataclass(frozen=True)
class RemoteSegment:
    """A segment as the App API describes it; `manual` is false for a data-driven one."""

    segment_id: int
    title: str
    manual: bool


@dataclass(frozen=True)
class Creation:
    """A request to create a segment, as the state has it."""

    asked_at: float
    """Unix seconds by the state's clock."""
    plan_id: str | None
    """The plan file that was being applied."""
    segment_id: int | None
    """What Customer.io answered; None: no answer is known, and the segment may be there."""


@dataclass(frozen=True)
class UsedBy:
    """What a change of the segment can set off: ids of campaigns and newsletters (App API, `used_by`)."""

    campaigns: tuple[int, ...] = ()
    sent_newsletters: tuple[int, ...] = ()
    draft_newsletters: tuple[int, ...] = ()
    names: tuple[tuple[int, str], ...] = ()
    """Of these campaigns, where Customer.io says them."""


@dataclass(frozen=True)
class RemoteFacts:
    """What the App API says of a segment; None: not known."""

    title: str | None = None
    members: int | None = None
    used_by: UsedBy | None = None
    unanswered: bool = False
    """It was asked, and did not answer, or refused the key."""


@dataclass(frozen=True)
class Examples:
    """A few ids of each change, for `--show-ids`; empty unless asked for."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """What the state says of a segment as a whole. A segment it has never met has `lineage` None and serial 0."""

    lineage: str | None = None
    serial: int = 0
    id_type: str | None = None
    completed: bool = False
    """A run of this segment has completed."""
    environment_id: int | None = None
    """The workspace at Customer.io to which the name is bound; None before the first `apply` or `refresh`."""
    plan_id: str | None = None
    plan_base: int | None = None
    """If every change since serial `plan_base` was made by applying one plan file: its id."""
    change_token: str | None = None
    """Random, drawn at each change: it tells this state from another one that has the same serial, such as the one that
    a backup has replaced. None before the first change that was made with schema 0002."""
    restored: bool = False
    """It comes from a backup, and no refresh has looked since at what is really there."""

    confirmed: bool = False
    """Nothing was sent after its latest read-back."""
    read_back: bool = False
    """Its members were read back once, and recorded."""
    name: str | None = None
    """What its spec called it last."""
    title: str | None = None
    """At Customer.io, as of the last apply or refresh that asked."""
    spec: SpecIdentity | None = None
    """The spec that listed it last; None: not known."""
    at_source: bool = False
    """Its members stand at the source."""

    @property
    def is_new(self) -> bool:
        return self.lineage is None

    @property
    def version(self) -> tuple[str | None, int, str | None]:
        """What differs after each change of the segment's state."""
        return self.lineage, self.serial, self.change_token


@dataclass(frozen=True)
class SegmentPlan:
    """The plan of one segment. `counts` is None where it failed before they were known."""

    target: Target
    status: PlanStatus
    head: Head = Head()
    counts: Counts | None = None
    verdicts: tuple[Verdict, ...] = ()
    error: Problem | None = None
    remote: RemoteFacts = RemoteFacts()
    examples: Examples = Examples()
    engine: str = "local"
    """Where the comparison ran: `local` or `in_database`."""
    allowed: frozenset[Guard] = frozenset()

    @property
    def title(self) -> str | None:
        return self.remote.title

    @property
    def compare(self) -> str | None:
        """Where the ids were compared, by the words of the spec's `compare`; None: they were not."""
        return None if self.counts is None else "local" if self.engine == "local" else "pushdown"

    @property
    def requests(self) -> int:
        """How many requests sending it takes, if none is refused."""
        if self.counts is None:
            return 0
        sent = (self.counts.remove, self.counts.add + self.counts.resend)
        return sum(-(-number // MAX_BATCH) for number in sent)

    @property
    def first_fill(self) -> bool:
        return self.head.is_new and not self.target.segment.retired and not self.is_undo

    @property
    def creates(self) -> bool:
        """The segment is not there, and `apply` makes it."""
        segment = self.target.segment
        return segment.segment_id is None and not segment.retired and self.counts is not None and not self.is_undo

    @property
    def is_undo(self) -> bool:
        """It reverses a run, and no query says who is desired."""
        return self.counts is not None and self.counts.desired is None

    @property
    def has_work(self) -> bool:
        """There is something to send: changes, or resends alone; or the segment is to be created."""
        return self.status in (PlanStatus.CHANGES, PlanStatus.UNCHANGED) and (self.requests > 0 or self.creates)


@dataclass(frozen=True)
class Orphan:
    """A segment that holds members and has left its spec. Nothing is ever sent for one."""

    workspace: str
    segment_id: int
    id_type: str | None = None
    members: int | None = None
    unsettled: int | None = None
    unmatched: int | None = None
    name: str | None = None
    """What its spec called it last."""
    title: str | None = None
    """At Customer.io, as of the last apply or refresh that asked."""


@dataclass(frozen=True)
class Plan:
    """The plans of all selected segments."""

    created_at: datetime
    segments: tuple[SegmentPlan, ...]
    warnings: tuple[str, ...] = ()
    plan_id: str | None = None
    """That of the plan file that it was sealed into."""
    plan: str | None = None
    """`plan:ID`, where the state keeps what was sealed."""
    orphans: tuple[Orphan, ...] = ()
    undo_of: str | None = None
    """The run that it reverses."""

    def of_status(self, status: PlanStatus) -> tuple[SegmentPlan, ...]:
        return tuple(segment for segment in self.segments if segment.status is status)
