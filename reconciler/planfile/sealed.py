"""The sealed plan as a value."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from reconciler.errors import ReconcileError
from reconciler.models.batches import Direction
from reconciler.models.counts import Counts
from reconciler.models.guards import Guard
from reconciler.models.ids import IdType
from reconciler.models.plan import Plan, PlanStatus, SegmentPlan

LIFETIME = timedelta(hours=24)
"""How long a plan file can be applied."""

AGAIN = "Make a new plan file: reconcile plan SPEC... --out FILE"
"""The next step after most refusals."""


@dataclass(frozen=True)
class SealedSegment:
    """One segment as it was planned. `spec` is relative to the working folder; `definition` as Target.definition()."""

    spec: str
    workspace: str
    name: str
    segment_id: int
    id_type: IdType
    definition: str
    environment_id: int | None
    lineage: str | None
    serial: int
    status: PlanStatus
    counts: Counts
    allowed: frozenset[Guard] = frozenset()
    change_token: str | None = None

    @property
    def version(self) -> tuple[str | None, int, str | None]:
        """As `Head.version`."""
        return self.lineage, self.serial, self.change_token

    @property
    def label(self) -> str:
        """`workspace/name`."""
        return f"{self.workspace}/{self.name}"

    def size(self, direction: Direction) -> int:
        """How many ids the file holds for it; additions include the resends."""
        return self.counts.remove if direction is Direction.REMOVE else self.counts.add + self.counts.resend


@dataclass(frozen=True)
class SealedPlan:
    """All segments of one plan file; times are aware."""

    plan_id: str
    created_at: datetime
    expires_at: datetime
    tool_version: str
    segments: tuple[SealedSegment, ...]

    def specs(self) -> tuple[str, ...]:
        """The spec files to load, each once, in order."""
        return tuple(dict.fromkeys(segment.spec for segment in self.segments))


def seal(plan: Plan, plan_id: str, tool_version: str, folder: Path) -> SealedPlan:
    """Turn a plan without blocked and failed segments into what a plan file says; specs are named from `folder`."""
    segments = tuple(_seal_segment(segment, folder) for segment in plan.segments)
    return SealedPlan(plan_id, plan.created_at, plan.created_at + LIFETIME, tool_version, segments)


def _name(spec: Path, folder: Path) -> str:
    """Name a file from a folder. Where a link stands before a `..` the short name would lead elsewhere."""
    name = os.path.relpath(spec, folder)
    is_same = os.path.realpath(folder / name) == os.path.realpath(spec)
    return name if is_same else os.path.relpath(os.path.realpath(spec), os.path.realpath(folder))


def _seal_segment(plan: SegmentPlan, folder: Path) -> SealedSegment:
    if plan.counts is None or plan.status not in (PlanStatus.CHANGES, PlanStatus.UNCHANGED):
        raise ReconcileError("A plan with a blocked or failed segment can't be sealed.", AGAIN)
    target, head = plan.target, plan.head
    return SealedSegment(
        spec=_name(target.spec.path, folder),
        workspace=target.workspace,
        name=target.segment.name,
        segment_id=target.segment.segment_id,
        id_type=target.segment.id_type,
        definition=target.definition(),
        environment_id=head.environment_id,
        lineage=head.lineage,
        serial=head.serial,
        status=plan.status,
        counts=plan.counts,
        allowed=plan.allowed,
        change_token=head.change_token,
    )
