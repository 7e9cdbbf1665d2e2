"""`status`: what the state holds of each segment, who holds its lock, and the segments that no spec lists."""

from collections.abc import Sequence
from datetime import UTC, datetime

from reconciler.errors import StateError
from reconciler.models.results import OrphanRow, StatusRow
from reconciler.models.spec import Spec, Target
from reconciler.operations.load import Loaded, refuse_plan_file
from reconciler.operations.plan import as_problem, warn_of_restored
from reconciler.operations.results import StatusResult
from reconciler.state.history import open_records


def status(loaded: Loaded) -> StatusResult:
    """Read what the state holds of every selected segment."""
    refuse_plan_file(loaded, "status")
    rows = tuple(_describe(target) for target in loaded.targets)
    warnings = tuple(warn_of_restored(row.target) for row in rows if row.restored)
    return StatusResult(datetime.now(UTC), rows, _find_orphans(loaded.specs), warnings)


def _describe(target: Target) -> StatusRow:
    """What the state says of one segment; a state that can't be read is a value."""
    try:
        records = open_records(target.spec.state)
        found = records.segment(target.workspace, target.segment.segment_id)
        holder = records.holder(target.workspace, target.segment.segment_id)
    except StateError as error:
        return StatusRow(target, known=False, error=as_problem(target, error))
    if found is None:
        return StatusRow(target, known=False, holder=holder)
    return StatusRow(
        target,
        known=True,
        members=found.members,
        unsettled=found.unsettled,
        unmatched=found.unmatched,
        rejected=found.rejected,
        last_run=found.last_run,
        holder=holder,
        restored=found.restored,
    )


def _find_orphans(specs: Sequence[Spec]) -> tuple[OrphanRow, ...]:
    """The segments of these workspaces that the state knows and no named spec lists."""
    listed: dict[str, set[int]] = {}
    for spec in specs:
        listed.setdefault(spec.destination.workspace, set()).update(each.segment_id for each in spec.segments)
    orphans: dict[OrphanRow, None] = {}
    for state, workspace in dict.fromkeys((spec.state, spec.destination.workspace) for spec in specs):
        try:
            found = open_records(state).orphans(workspace, listed[workspace])
        except StateError:
            continue  # its segments have the error
        for each in found:
            row = OrphanRow(workspace, each.segment_id, each.id_type, each.members, each.unsettled, each.unmatched)
            orphans[row] = None  # once, also where two URLs lead to one database
    return tuple(orphans)
