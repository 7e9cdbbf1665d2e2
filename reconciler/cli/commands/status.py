"""`reconcile status`: what the state holds, and who works on it."""

from typing import TYPE_CHECKING

from reconciler.cli import flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.models.results import OrphanRow, StatusRow
    from reconciler.models.spec import Target
    from reconciler.operations.load import Loaded


def status(
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Show what the state holds of each segment, who works on it, and the segments that no named spec lists."""
    from datetime import UTC, datetime

    from reconciler.cli.console import Console
    from reconciler.cli.documents import show
    from reconciler.errors import ExitCode
    from reconciler.models.results import Status
    from reconciler.operations.load import load
    from reconciler.operations.plan import warn_of_restored

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    loaded = load(specs, select, exclude)
    rows = tuple(describe(target) for target in loaded.targets)
    warnings = tuple(warn_of_restored(row.target) for row in rows if row.restored)
    report = Status(datetime.now(UTC), rows, tuple(list_orphans(loaded)), warnings)
    show(console, report, output)
    return ExitCode.FAILED if any(row.error for row in rows) else ExitCode.DONE


def describe(target: "Target") -> "StatusRow":
    """What the state says of one segment; a state that can't be read is a value."""
    from reconciler.errors import StateError
    from reconciler.models.results import StatusRow
    from reconciler.operations.plan import as_problem
    from reconciler.state.history import open_records

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


def list_orphans(loaded: "Loaded") -> "Sequence[OrphanRow]":
    """The segments of these workspaces that the state knows and no named spec lists."""
    from reconciler.errors import StateError
    from reconciler.models.results import OrphanRow
    from reconciler.state.history import open_records

    listed: dict[str, set[int]] = {}
    for spec in loaded.specs:
        listed.setdefault(spec.destination.workspace, set()).update(each.segment_id for each in spec.segments)
    orphans: dict[OrphanRow, None] = {}
    for state, workspace in dict.fromkeys((spec.state, spec.destination.workspace) for spec in loaded.specs):
        try:
            found = open_records(state).orphans(workspace, listed[workspace])
        except StateError:
            continue  # said already, segment by segment
        for each in found:
            row = OrphanRow(workspace, each.segment_id, each.id_type, each.members, each.unsettled, each.unmatched)
            orphans[row] = None  # once, also where two URLs lead to one database
    return tuple(orphans)
