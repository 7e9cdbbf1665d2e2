"""The work of a process in these worlds: make a query true, apply a sealed plan, read back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.errors import ReconcileError
from reconciler.models.batches import Batch, CreationResult, Direction
from reconciler.models.comparison import Page
from reconciler.models.fields import Limit
from reconciler.models.guards import Guard
from reconciler.models.ids import IdType
from reconciler.models.plan import Plan, RemoteSegment, SegmentPlan, UsedBy
from reconciler.models.results import Run, SegmentRun
from reconciler.models.spec import GuardSettings
from reconciler.operations.apply import check_as_a_whole, is_spent_by
from reconciler.operations.apply_segment import SegmentApply
from reconciler.plan_file import PlanFile, open_plan_file, seal
from reconciler.state.base import Snapshot
from reconciler.state.store import StateStore
from tests.fakes.plan_files import write

FREE = GuardSettings(max_removals=Limit(count=10**9), max_additions=Limit(count=10**9), allow_empty=True)
STRICT = GuardSettings(max_removals=Limit(count=2), max_additions=Limit(count=3), allow_empty=False)


@dataclass(frozen=True)
class Order:
    """A query result to make true (`sealed` instead: a plan file to apply), under these guards."""

    desired: Sequence[str] = ()
    sealed: "Sealed | None" = None
    guards: GuardSettings = FREE
    allowed: frozenset[Guard] = frozenset()
    lock_timeout: float = 0.0
    confirms: bool = False
    retires: bool = False
    pauses: bool = False


@dataclass
class Sealed:
    """A plan file, and what is to be known of it to judge its application."""

    file: PlanFile
    desired: frozenset[str]
    changes: Mapping[str, Direction]
    is_expired: bool
    is_spent: bool = False
    """It was applied to its end."""
    attempts_of_others: int = 0
    """Attempts, since it was made, of runs that are no application of it."""
    runs_of_others: int = 0
    """Such runs; one that sent nothing may have changed the state, too: it had a dead run's intents to settle."""


def seal_plan(
    path: Path, plan: SegmentPlan, batches: Sequence[Batch], desired: Sequence[str], age: timedelta
) -> Sealed:
    """Write a real plan file, made `age` ago; `batches` are removals first."""
    made_at = datetime.now(UTC) - age
    sealed = seal(Plan(made_at, (plan,)), f"plan-{path.name}", "0.1.0", Path.cwd())
    write(path, sealed, lambda index: batches)
    changes = {member: batch.direction for batch in batches for member in batch.ids}
    return Sealed(open_plan_file(path), frozenset(desired), changes, age >= timedelta(hours=24))


def check_whole(segment: SegmentApply, order: Order, snapshot: Snapshot) -> None:
    """As `reconcile apply` does: check the plan file as a whole once the segment is locked."""
    if order.sealed is not None:
        try:
            check_as_a_whole(order.sealed.file.plan, [segment], lambda target: snapshot)
        except ReconcileError as error:
            segment.end(error)


def spend(result: SegmentRun, order: Order, store: StateStore) -> None:
    """As `reconcile apply` does in the end."""
    run = Run("run", datetime.now(UTC), (result,), (), None)
    if order.sealed is not None and is_spent_by(run):
        store.spend(order.sealed.file.plan.plan_id)


@dataclass
class Window:
    """The App API of these worlds: lists the members."""

    present: set[str] = field(default_factory=set)
    arrive: Callable[[], None] = lambda: None
    """Lets arrive what is due."""

    def create(self, title: str, description: str, may_start: Callable[[int], bool]) -> CreationResult:
        raise NotImplementedError

    def segments(self, again: bool = False) -> dict[int, RemoteSegment]:
        return {56: RemoteSegment(56, "Very important", manual=True)}

    def campaigns(self) -> dict[int, str]:
        return {}

    def used_by(self, segment_id: int) -> UsedBy:
        return UsedBy()

    def count(self, segment_id: int) -> int:
        self.arrive()
        return len(self.present)

    def members(self, segment_id: int, id_type: IdType) -> Iterator[Page]:
        present = sorted(self.present)
        yield Page(present, present)
