"""The interface of a comparison to the operations."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import Adoption, Counts, DriftCounts, Findings, Page, RemoteCount
from reconciler.models.plan import Head
from reconciler.models.spec import Target


class Comparison(Protocol):
    """One segment's sets side by side. Either `compare` or `resume` is called, once; what gives the changes after it.

    `load_remote`, `drift`, `examine` and `adoption` may be called again and again: each reads the snapshot afresh.
    """

    engine: str
    head: Head
    """As of the comparison; valid after `compare`, `resume`, `drift` or `examine`."""

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        """Load the real membership; called again, it starts afresh."""
        ...

    def compare(self) -> Counts:
        """Run the query and compare: with the snapshot; under `exclusive` with the loaded membership, too."""
        ...

    def resume(self, sealed: Iterable[Batch]) -> Counts:
        """Instead of running the query, take a plan file's changes; those that are already so in the state drop out."""
        ...

    def batches(self, direction: Direction) -> Iterator[Batch]:
        """The changes, in id order, 1,000 at a time; additions include the resends."""
        ...

    def already_there(self) -> Iterator[list[str]]:
        """Under `exclusive`: ids that are desired and in the segment, and not stored yet; sorted, in lists."""
        ...

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]: ...

    def drift(self) -> DriftCounts:
        """Compare the loaded membership with the snapshot."""
        ...

    def examine(self) -> Findings:
        """Like `drift`, but gives the ids, for recording."""
        ...

    def adoption(self, known_only: bool) -> Adoption:
        """For `refresh`; `known_only` leaves out ids that the state does not hold."""
        ...


class SetEngine(Protocol):
    """Where sets are compared."""

    def begin(self, target: Target) -> AbstractContextManager[Comparison]: ...

    def interrupt(self) -> None:
        """End the comparisons that run: they fail. May be called by a signal's handler."""
        ...
