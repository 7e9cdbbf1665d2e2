"""`status`: what the state holds of each segment, and the segments that no spec lists."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from reconciler.errors import StateError
from reconciler.models.results import StatusRow
from reconciler.models.spec import StateSettings
from reconciler.operations.context import Once
from reconciler.operations.load import Loaded, refuse_plan_file, refuse_shared
from reconciler.operations.orphans import find_orphans
from reconciler.operations.plan import warn_of_restored
from reconciler.operations.read_back import warn_of_unmatched
from reconciler.operations.results import StatusResult, as_problem
from reconciler.operations.titles import recall
from reconciler.operations.workspace import warn_of_names
from reconciler.state import open_records, open_snapshot
from reconciler.state.base import Snapshot

if TYPE_CHECKING:
    from reconciler.state.history import Records


def status(loaded: Loaded) -> StatusResult:
    """Read what the state holds of every selected segment, and which segments it knows that no named spec lists."""
    refuse_plan_file(loaded, "status")
    refuse_shared(loaded.specs)
    rows, unmatched = [], list[str]()
    snapshots: Once[StateSettings, Snapshot] = Once(nullcontext())
    readers: Once[StateSettings, Records] = Once(nullcontext())

    def snapshot_of(state: StateSettings) -> Snapshot:
        return snapshots.get(state, partial(open_snapshot, state))

    for target in loaded.targets:
        state = target.spec.state
        try:
            if target.segment.segment is not None:
                target = recall(target, snapshot_of(state).listings(target.workspace))
            records = readers.get(state, partial(open_records, state))
            found = records.segment(target.workspace, target.segment_id)
            if found is not None:
                last, holder = found.last, found.holder
            else:  # its first run may have failed, or goes on
                last = records.outcome(target.workspace, target.segment_id)
                holder = records.holder(target.workspace, target.segment_id)
        except StateError as error:
            rows.append(StatusRow(target, known=False, error=as_problem(target, error)))
            continue
        row = StatusRow(target, known=found is not None, last=last, holder=holder)
        if found is not None:
            row = replace(
                row,
                members=found.members,
                unsettled=found.unsettled,
                unmatched=found.unmatched,
                rejected=found.rejected,
                last_run=found.last_run,
                restored=found.restored,
                title=found.title,
            )
            warn_of_unmatched(
                target, found.unmatched, found.members + found.unsettled + found.unmatched, unmatched.append
            )
        rows.append(row)

    named = warn_of_names(loaded.targets, lambda target: snapshot_of(target.spec.state).environments())
    warnings = (*named, *(warn_of_restored(row.target) for row in rows if row.restored), *unmatched)
    return StatusResult(datetime.now(UTC), tuple(rows), find_orphans(loaded.specs, snapshot_of), warnings)
