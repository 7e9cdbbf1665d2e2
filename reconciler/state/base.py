"""What the state is to the rest of the program: reading it, and writing it under a lock."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Protocol, runtime_checkable

from reconciler.models.comparison import DatabaseIdentity, Rows, StateTables
from reconciler.models.plan import Head


class Stored(Protocol):
    """One consistent view of a segment in the state: everything is read in one transaction, each stream once.

    An id's status is decided by the last journal row that has it, else by its marks, else by `members`. An
    acknowledged removal in the journal ends that it is unmatched.
    """

    head: Head
    now: float
    """Unix seconds by the state's clock."""

    def members(self) -> Rows:
        """`id` (utf8): acknowledged members that left the journal, distinct."""
        ...

    def marks(self) -> Rows:
        """`id`, `mark` (values of Mark), `direction` (values of Direction or null), `at` (double, Unix seconds)."""
        ...

    def journal(self) -> Rows:
        """What is not compacted yet: `seq` (bigint), `direction`, `outcome` (acknowledged, unknown, or null: an intent
        without an outcome), `at` (double: latest attempt that may have carried it), `unknown_at` (double or null: of an
        acknowledged one, the latest earlier attempt of unknown outcome), `ids` (utf8, joined by line feeds)."""
        ...


@dataclass
class NothingStored:
    """A segment that the state has never met; it is a `Stored`."""

    head: Head
    now: float = 0.0

    def members(self) -> Iterator[str]:
        return iter(())

    marks = journal = members


class Snapshot(Protocol):
    """The reading side of a state database; takes no lock and waits for none."""

    def head(self, workspace: str, segment_id: int) -> Head: ...

    def read_segment(self, workspace: str, segment_id: int) -> AbstractContextManager[Stored]: ...

    def is_spent(self, plan_id: str) -> bool: ...


@runtime_checkable
class PushdownSnapshot(Protocol):
    """A Snapshot in a database server in which other queries can run, too."""

    def identify_database(self) -> DatabaseIdentity:
        """Say which database it is in."""
        ...


@runtime_checkable
class PushdownStored(Protocol):
    """A Stored that other queries of the same database can see."""

    def state_tables(self) -> StateTables: ...


@dataclass(frozen=True)
class SegmentRow:
    """What is read of a segment's row; the fields are named as the columns of `reconcile_segments`."""

    segment_key: int
    lineage: str
    serial: int
    id_type: str
    completed_at: float | None
    plan_id: str | None
    plan_base: int | None
    change_token: str | None
    restored_at: float | None


HEAD_COLUMNS = tuple(field.name for field in fields(SegmentRow))


def make_head(row: SegmentRow | None, environment_id: int | None) -> Head:
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
