"""Plan files with their batches in memory."""

from collections.abc import Callable, Iterable
from pathlib import Path

from reconciler.models.batches import Batch
from reconciler.plan_file import SealedPlan, drafting, plan_output


def write(path: Path, plan: SealedPlan, batches: Callable[[int], Iterable[Batch]]) -> None:
    """Write a plan file; `batches(index)` gives those of one segment, removals first."""
    with drafting(plan_output(str(path))) as draft:
        for index in range(len(plan.segments)):
            draft.spool(index, batches(index))
        draft.seal(plan)
