"""The changes of a comparison, wherever they are kept: as batches, lists and examples."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reconciler.models.batches import MAX_BATCH, Batch, Direction
from reconciler.models.comparison import Counts
from reconciler.models.freshness import DataTime
from reconciler.models.plan import Head


@dataclass(frozen=True)
class Changes(ABC):
    """What a comparison found. The ids are read any number of times until it is left."""

    engine: str
    """Where it was compared: `local`, or `in_database`."""
    head: Head
    counts: Counts
    data_time: DataTime | None
    """What the query of `freshness` answered; None where it was not asked, as for a plan file."""

    @abstractmethod
    def batches(self, direction: Direction) -> Iterator[Batch]:
        """The changes, in id order, 1,000 at a time; additions include the resends."""

    @abstractmethod
    def already_there(self) -> Iterator[list[str]]:
        """Under `exclusive`: ids that are desired and in the segment, and not stored yet; sorted, in lists."""

    @abstractmethod
    def stored_additions(self) -> Iterator[list[str]]:
        """Under `exclusive`: ids that are desired, stored and not in the segment; sorted, in lists."""

    @abstractmethod
    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        """The first ids of a direction."""


def make_batches(direction: Direction, ids: Sequence[str], resends: frozenset[str]) -> Iterator[Batch]:
    """Cut sorted ids into batches; of `resends` each has those that are in it."""
    for start in range(0, len(ids), MAX_BATCH):
        batch = ids[start : start + MAX_BATCH]
        yield Batch(direction, tuple(batch), resends.intersection(batch))
