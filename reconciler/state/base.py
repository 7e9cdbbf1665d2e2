"""What the state is to the rest of the program: reading it, and writing it under a lock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from reconciler.models.batches import Batch, BatchResult
from reconciler.models.columns import Rows
from reconciler.models.counts import Census
from reconciler.models.drift import Adoption, Findings
from reconciler.models.plan import Head
from reconciler.models.pushdown import Proof, Site
from reconciler.models.run import Run
from reconciler.models.spec import Target


class Stored(Protocol):
    """One consistent view of a segment in the state: everything is read in one transaction, each stream once.

    An id's status is decided by the last journal row that has it, else by its marks, else by `members`. An
    acknowledged removal in the journal ends that it is unmatched.
    """

    head: Head
    now: float
    """Unix seconds by the state's clock."""

    def members(self) -> Rows:
        """`id` (utf8): acknowledged members, folded, distinct."""
        ...

    def marks(self) -> Rows:
        """`id`, `mark` (values of Mark), `direction` (values of Direction or null), `at` (double, Unix seconds)."""
        ...

    def journal(self) -> Rows:
        """What is not folded yet: `seq` (bigint), `direction`, `outcome` (acknowledged, unknown, or null: an intent
        without an outcome), `at` (double: latest attempt that may have carried it), `unknown_at` (double or null: of an
        acknowledged one, the latest earlier attempt of unknown outcome), `ids` (utf8, joined by line feeds)."""
        ...


class Snapshot(Protocol):
    """The reading side of a state database; takes no lock and waits for none."""

    def head(self, workspace: str, segment_id: int) -> Head: ...

    def open(self, workspace: str, segment_id: int) -> AbstractContextManager[Stored]: ...

    def is_spent(self, plan_id: str) -> bool: ...


class Lease(Protocol):
    """The hold on a segment's lock."""

    def covers(self, seconds: float) -> bool:
        """Tell whether it surely lasts so long from now; false for ever once it is lost."""
        ...

    def is_in_sight(self) -> bool:
        """Make sure that the state has shown it as ours a short while ago: less than half of `settle`, or a second."""
        ...


class HeldSegment(Protocol):
    """One segment's state under its lock; every write compares the fence and raises LeaseLost when it has moved.

    Getting hold of it has already recovered what a dead run left: its intents count as unknown, as of now.
    """

    @property
    def lease(self) -> Lease: ...

    @property
    def taken_over_at(self) -> float | None:
        """When the lock was last taken from a holder that may live (by the state's clock); None: never."""
        ...

    def head(self) -> Head:
        """As it is now."""
        ...

    def intend(self, batches: Sequence[Batch]) -> list[int]:
        """Make the intent to send durable; gives a journal number per batch."""
        ...

    def retry(self, seq: int) -> None:
        """Record, durably, that one more attempt of this batch is about to start."""
        ...

    def settle(self, answers: Sequence[tuple[int, BatchResult]]) -> None:
        """Record outcomes. A batch that certainly was not applied puts its ids back to where they were."""
        ...

    def split(self, seq: int, answer: BatchResult, parts: Sequence[Batch]) -> list[int]:
        """Replace one batch by parts of it, whose intents are then durable."""
        ...

    def reject(self, ids: Sequence[str]) -> None:
        """Remember ids that were refused by themselves."""
        ...

    def fold(self) -> None:
        """Fold settled batches into the members, in chunks."""
        ...

    def admit(self, find: Callable[[], Iterator[list[str]]]) -> None:
        """Make members of wanted ids that a read-back showed (`exclusive`), a list of `find` in each transaction."""
        ...

    def record(self, findings: Findings) -> None:
        """Take over what a read-back showed."""
        ...

    def adopt(self, adoption: "Adoption") -> None:
        """Make the snapshot equal to what is there (`refresh`), in one transaction. Unsettled marks become echoes."""
        ...

    def census(self) -> "Census":
        """Count what the state holds of this segment now."""
        ...

    def complete(self) -> None:
        """A run of this segment came to its end with nothing unsettled by it."""
        ...

    def now(self) -> float:
        """Unix seconds by the state's clock."""
        ...

    def doubtful_at(self) -> float | None:
        """When the latest attempt of unknown outcome was given up, also one that an acknowledged one followed."""
        ...

    def attempted_at(self) -> float | None:
        """When the latest attempt ended that was or may have been accepted."""
        ...


class Ledger(Protocol):
    """The writing side of a state database."""

    def begin(self, run_id: str, workspace: str, command: str, allowed: Sequence[str], plan_id: str | None) -> None:
        """Open a run in the history."""
        ...

    def end(self, run_id: str, workspace: str, exit_code: int, document: str, segments: Run) -> None:
        """Close it, with its JSON document."""
        ...

    def hold(
        self, target: Target, run_id: str, plan_id: str | None, *, waits: bool = True
    ) -> AbstractContextManager[HeldSegment]:
        """Take a segment's lock, or raise LockHeld; leaving gives it back. `waits`: so long as the user asked for."""
        ...

    def environment(self, workspace: str) -> int | None: ...

    def bind(self, workspace: str, environment_id: int) -> None:
        """Bind a workspace's name to an environment; it must be free or bound to the same. Raises StateError."""
        ...

    def spend(self, plan_id: str) -> None: ...


@runtime_checkable
class Resident(Protocol):
    """A Snapshot in a database server, beside which other queries can run."""

    def prove(self) -> Proof:
        """Say which database it is in."""
        ...


@runtime_checkable
class Sited(Protocol):
    """A Stored that other queries of the same database can see."""

    def site(self) -> Site: ...


# --- What the state says of a segment as a whole.

HEAD_COLUMNS = (
    "segment_key",
    "lineage",
    "serial",
    "id_type",
    "completed_at",
    "plan_id",
    "plan_base",
    "change_token",
    "restored_at",
)
"""Of `reconcile_segments`, in the order of Row."""


@dataclass(frozen=True)
class Row:
    """A segment's row."""

    segment_key: int
    lineage: str
    serial: int
    id_type: str
    completed_at: float | None
    plan_id: str | None
    plan_base: int | None
    change_token: str | None
    restored_at: float | None


def make_head(row: Row | None, environment_id: int | None) -> Head:
    if row is None:
        return Head(environment_id=environment_id)
    return Head(
        lineage=row.lineage,
        serial=row.serial,
        id_type=row.id_type,
        completed=row.completed_at is not None,
        environment_id=environment_id,
        plan_id=row.plan_id,
        plan_base=row.plan_base,
        change_token=row.change_token,
        restored=row.restored_at is not None,
    )
