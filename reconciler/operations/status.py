"""`status`: what the state holds of each segment, and the segments that no spec lists."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from reconciler.errors import StateError
from reconciler.models.results import StatusRow
from reconciler.models.spec import StateSettings, Target
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


def status(loaded: Loaded) -> StatusResult:
    """Read what the state holds of every selected segment, and which segments it knows that no named spec lists."""
    refuse_plan_file(loaded, "status")
    refuse_shared(loaded.specs)
    snapshots: Once[StateSettings, Snapshot] = Once(nullcontext())

    def snapshot_of(state: StateSettings) -> Snapshot:
        return snapshots.get(state, partial(open_snapshot, state))

    places: dict[tuple[StateSettings, str], list[Target]] = {}
    for target in loaded.targets:
        places.setdefault((target.spec.state, target.workspace), []).append(target)
    found = {place: iter(_read_rows(*place, targets, snapshot_of)) for place, targets in places.items()}
    rows = [next(found[target.spec.state, target.workspace]) for target in loaded.targets]

    unmatched = list[str]()
    for row in rows:
        if row.unmatched is not None:
            held = (row.members or 0) + (row.unsettled or 0) + row.unmatched
            warn_of_unmatched(row.target, row.unmatched, held, unmatched.append)
    named = warn_of_names(loaded.targets, lambda target: snapshot_of(target.spec.state).environments())
    warnings = (*named, *(warn_of_restored(row.target) for row in rows if row.restored), *unmatched)
    return StatusResult(datetime.now(UTC), tuple(rows), find_orphans(loaded.specs, snapshot_of), warnings)


def _read_rows(
    state: StateSettings, workspace: str, targets: Sequence[Target], snapshot_of: Callable[[StateSettings], Snapshot]
) -> list[StatusRow]:
    """Read what one state holds of segments of a workspace, in a row for each."""
    try:
        if any(target.segment.segment is not None for target in targets):
            listings = snapshot_of(state).listings(workspace)
            targets = [recall(target, listings) for target in targets]
        standing = open_records(state).standing(workspace, [target.segment_id for target in targets])
    except StateError as error:
        return [StatusRow(target, known=False, error=as_problem(target, error)) for target in targets]
    rows = []
    for target in targets:
        number, found = target.segment_id, standing.segments.get(target.segment_id)
        row = StatusRow(
            target, known=found is not None, last=standing.outcomes.get(number), holder=standing.holders.get(number)
        )
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
        rows.append(row)
    return rows
