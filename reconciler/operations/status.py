"""`status`: what the state holds of each segment, and the segments that no spec lists."""

from dataclasses import replace
from datetime import UTC, datetime

from reconciler.errors import StateError
from reconciler.models.results import StatusRow
from reconciler.operations.load import Loaded, refuse_plan_file, refuse_shared
from reconciler.operations.orphans import find_orphans
from reconciler.operations.plan import warn_of_restored
from reconciler.operations.read_back import warn_of_unmatched
from reconciler.operations.results import StatusResult, as_problem
from reconciler.operations.titles import recall
from reconciler.operations.workspace import warn_of_names
from reconciler.state import open_records, open_snapshot


def status(loaded: Loaded) -> StatusResult:
    """Read what the state holds of every selected segment, and which segments it knows that no named spec lists."""
    refuse_plan_file(loaded, "status")
    refuse_shared(loaded.specs)
    rows, unmatched = [], list[str]()
    for target in loaded.targets:
        try:
            if target.segment.segment is not None:
                target = recall(target, open_snapshot(target.spec.state).listings(target.workspace))
            records = open_records(target.spec.state)
            found = records.segment(target.workspace, target.segment_id)
            holder = records.holder(target.workspace, target.segment_id)
        except StateError as error:
            rows.append(StatusRow(target, known=False, error=as_problem(target, error)))
            continue
        row = StatusRow(target, known=found is not None, holder=holder)
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

    named = warn_of_names(loaded.targets, lambda target: open_snapshot(target.spec.state).environments())
    warnings = (*named, *(warn_of_restored(row.target) for row in rows if row.restored), *unmatched)
    return StatusResult(datetime.now(UTC), tuple(rows), find_orphans(loaded.specs, open_snapshot), warnings)
