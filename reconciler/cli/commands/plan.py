"""`reconcile plan`: the dry run."""

import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags

if TYPE_CHECKING:
    from reconciler.cli.wiring import Wiring
    from reconciler.models.plan import Plan, SegmentPlan
    from reconciler.models.spec import Target
    from reconciler.operations.load import Loaded
    from reconciler.operations.plan import PlanOptions
    from reconciler.plan_file import Draft


def plan(
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FILE", help="Seal the plan into a file for `apply`; only an older plan is replaced."
        ),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes.")
    ] = False,
    allow_removals: flags.AllowRemovals = None,
    allow_additions: flags.AllowAdditions = None,
    allow_empty: flags.AllowEmpty = None,
    show_ids: flags.ShowIds = 0,
    lock_timeout: flags.LockTimeout = 0.0,
    memory_limit: flags.MemoryLimit = flags.DEFAULT_MEMORY_LIMIT,
    parallel: flags.Parallel = flags.DEFAULT_PARALLEL,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Show what apply would do: run each query, compare it with the snapshot, judge the guards. Sends nothing."""
    from reconciler.cli.console import Console
    from reconciler.cli.documents import show
    from reconciler.cli.signals import cut_short
    from reconciler.cli.wiring import wired
    from reconciler.models.exit_codes import exit_code_of_plan
    from reconciler.operations.load import load
    from reconciler.operations.plan import PlanOptions

    del lock_timeout  # a plan takes no lock and waits for none
    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    loaded = load(
        specs,
        select,
        exclude,
        allow_removals=allow_removals,
        allow_additions=allow_additions,
        allow_empty=allow_empty,
    )
    options = PlanOptions(loaded.allowed, show_ids)
    with sealing(out) as draft:
        with wired(console, loaded.targets, memory_limit=memory_limit, reads_only=True) as wiring, cut_short(wiring):
            wiring.warn_of_specs()
            made = make_plan(wiring, loaded, options, parallel, draft)
            made = made if draft is None else bind_plan(wiring, made)
        made = seal_plan(made, draft) if draft is not None else made
    if made.plan_id is None:
        show(console, made, output, shared=loaded.shared)
    else:
        with console.after_the_work(f"the plan is sealed into {out} all the same"):
            show(console, made, output, shared=loaded.shared)
        console.note(f"Sealed into {out}. Apply exactly this with: reconcile apply {shlex.quote(str(out))}")
    return exit_code_of_plan(made, detailed_exitcode)


@contextmanager
def sealing(out: str | None) -> "Iterator[Draft | None]":
    """Open a draft of the plan file, if one is asked for; an older plan file goes first, whatever happens next."""
    if out is None:
        yield None
        return
    from reconciler.plan_file import drafting, plan_output

    with drafting(plan_output(out)) as draft:
        yield draft


def make_plan(
    wiring: "Wiring", loaded: "Loaded", options: "PlanOptions", parallel: int, draft: "Draft | None"
) -> "Plan":
    """Plan every selected segment, several at once, in the order of the specs."""
    from reconciler.models.plan import Plan
    from reconciler.operations.concurrency import work_on_each

    created_at = datetime.now(UTC)

    def work(numbered: "tuple[int, Target]") -> "SegmentPlan":
        return plan_one(wiring, *numbered, options, draft)

    segments = tuple(work_on_each(enumerate(loaded.targets), work, parallel, "plan"))
    return Plan(created_at, segments, tuple(wiring.warnings))


def plan_one(
    wiring: "Wiring", index: int, target: "Target", options: "PlanOptions", draft: "Draft | None"
) -> "SegmentPlan":
    """Plan one segment; its ids go into the draft, if there is one."""
    from reconciler.errors import ReconcileError, unexpected
    from reconciler.models.batches import Direction
    from reconciler.models.events import Planned, Reading
    from reconciler.models.plan import PlanStatus
    from reconciler.operations.plan import fail, plan_segment

    reporter = wiring.reporter()
    reporter.tell(Reading(target))
    try:
        wiring.check_stop()
        head = wiring.snapshot(target).head(target.workspace, target.segment.segment_id)
        with wiring.sets().open(target) as comparison:
            app = wiring.checked_app(target, head)
            made = plan_segment(target, head, comparison, app, options, wiring.warn)
            if draft is not None and made.status in (PlanStatus.CHANGES, PlanStatus.UNCHANGED):
                for direction in (Direction.REMOVE, Direction.ADD):
                    draft.spool(index, comparison.batches(direction))
    except ReconcileError as error:
        made = fail(target, error)
    except Exception as error:  # one segment's failure never stops the others
        wiring.console.trace(error)
        made = fail(target, unexpected(error))
    reporter.tell(Planned(made))
    return made


def bind_plan(wiring: "Wiring", made: "Plan") -> "Plan":
    """Ask Customer.io for the environments that the state does not know yet: a plan file is bound to them."""
    from reconciler.errors import DestinationError
    from reconciler.operations.plan import fail
    from reconciler.operations.workspace import refuse_other_environment

    def bind(segment: "SegmentPlan") -> "SegmentPlan":
        if segment.head.environment_id is not None or not segment.has_work:
            return segment
        found = wiring.ask_environment(segment.target)
        try:
            if found is not None:
                refuse_other_environment(segment.target, segment.head, found)
        except DestinationError as error:
            return fail(segment.target, error)
        return replace(segment, head=replace(segment.head, environment_id=found))

    segments = tuple(map(bind, made.segments))
    unbound = {segment.target.workspace for segment in segments if segment.has_work and not segment.head.environment_id}
    for workspace in sorted(unbound):
        wiring.warn(f"the plan file is bound to no environment of workspace {workspace}: Customer.io did not tell it")
    return replace(made, segments=segments, warnings=tuple(wiring.warnings))


def seal_plan(made: "Plan", draft: "Draft") -> "Plan":
    """Seal the plan, if nothing in it is blocked or failed; one that was sealed has an id."""
    from reconciler import __version__
    from reconciler.models.plan import PlanStatus
    from reconciler.plan_file import seal

    if made.of_status(PlanStatus.BLOCKED) or made.of_status(PlanStatus.FAILED):
        return made
    plan_id = uuid.uuid4().hex
    draft.seal(seal(made, plan_id, __version__, Path.cwd()))
    return replace(made, plan_id=plan_id)
