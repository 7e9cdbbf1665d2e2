"""`reconcile drift`: what is really there against the snapshot."""

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags

if TYPE_CHECKING:
    from reconciler.cli.wiring import Wiring
    from reconciler.models.drift import SegmentDrift
    from reconciler.models.spec import Target


def drift(
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    ignore_foreign: Annotated[
        bool, typer.Option("--ignore-foreign", help="Others may add people: members we did not add are no drift.")
    ] = False,
    memory_limit: flags.MemoryLimit = flags.DEFAULT_MEMORY_LIMIT,
    parallel: flags.Parallel = flags.DEFAULT_PARALLEL,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Read the real membership through the App API and compare it with the snapshot. Changes nothing."""
    from datetime import UTC, datetime
    from functools import partial

    from reconciler.cli.console import Console
    from reconciler.cli.documents import show
    from reconciler.cli.signals import cut_short
    from reconciler.cli.wiring import wired
    from reconciler.models.drift import Drift
    from reconciler.models.exit_codes import exit_code_of_drift
    from reconciler.operations.concurrency import work_on_each
    from reconciler.operations.load import load, require_app_keys

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    loaded = load(specs, select, exclude)
    require_app_keys(loaded.targets, "drift")
    created_at = datetime.now(UTC)
    with wired(console, loaded.targets, memory_limit=memory_limit, reads_only=True) as wiring, cut_short(wiring):
        look = partial(survey_one, wiring, ignore_foreign=ignore_foreign)
        segments = tuple(work_on_each(loaded.targets, look, parallel, "drift"))
        found = Drift(created_at, segments, tuple(wiring.warnings))
    show(console, found, output)
    return exit_code_of_drift(found)


def survey_one(wiring: "Wiring", target: "Target", ignore_foreign: bool) -> "SegmentDrift":
    """Survey one segment; a state that can't be read fails it. One that failed says what the state holds."""
    from dataclasses import replace

    from reconciler.errors import ReconcileError
    from reconciler.models.drift import DriftStatus, SegmentDrift
    from reconciler.operations.drift import survey
    from reconciler.operations.plan import as_problem

    try:
        wiring.check_stop()
        head = wiring.snapshot(target).head(target.workspace, target.segment.segment_id)
        with wiring.sets().open(target) as comparison:
            found = survey(target, head, comparison, wiring.checked_app(target, head), ignore_foreign, wiring.warn)
    except ReconcileError as error:
        found = SegmentDrift(target, DriftStatus.FAILED, error=as_problem(target, error))
    if found.counts is not None:
        return found
    stored, unmatched = count_held(target)
    return replace(found, stored=stored, unmatched=unmatched)


def count_held(target: "Target") -> tuple[int | None, int | None]:
    """Count the stored and the unmatched ids of a segment in its state; None where it can't be read."""
    from reconciler.errors import StateError
    from reconciler.state.history import open_records

    try:
        known = open_records(target.spec.state).segment(target.workspace, target.segment.segment_id)
    except StateError:
        return None, None
    return (known.members, known.unmatched) if known else (0, 0)
