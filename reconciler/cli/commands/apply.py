"""`reconcile apply`: plan under the locks, ask, send, record, and say what became of it."""

import os
import shlex
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags

if TYPE_CHECKING:
    from reconciler.operations.load import Loaded
    from reconciler.plan_file import PlanFile


def apply(
    specs: Annotated[
        list[str],
        typer.Argument(metavar="SPEC|PLANFILE", help="Specs, folders and globs; or one plan file.", show_default=False),
    ],
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    yes: flags.Yes = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Read the membership back until it agrees (needs app_api_key).")
    ] = False,
    confirm_timeout: Annotated[
        float, typer.Option("--confirm-timeout", metavar="SECONDS", min=0, help="How long to wait for agreement.")
    ] = 60.0,
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
    """Make the segments equal to their queries, or send exactly what a plan file holds."""
    from reconciler.cli.applying import Applying
    from reconciler.cli.console import Console
    from reconciler.cli.documents import name_history, show
    from reconciler.cli.signals import stopping
    from reconciler.cli.wiring import wired
    from reconciler.errors import PlanFileError
    from reconciler.models.exit_codes import exit_code_of_run
    from reconciler.operations.apply import ApplyOptions
    from reconciler.operations.load import load, require_app_keys
    from reconciler.operations.plan import PlanOptions

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    allows = {"allow_removals": allow_removals, "allow_additions": allow_additions, "allow_empty": allow_empty}
    with ExitStack() as stack:
        sealed = open_sealed(stack, specs)
        if sealed is None:
            loaded = load(specs, select, exclude, **allows)
        else:
            refuse_flags({"select": select, "exclude": exclude, **allows})
            try:
                loaded = load_sealed(sealed)
            except PlanFileError as error:
                sealed.name_in(error)
                raise
        if confirm:
            require_app_keys(loaded.targets, "--confirm")
        options = ApplyOptions(
            uuid.uuid4().hex,
            PlanOptions(loaded.allowed, show_ids),
            sealed.plan.plan_id if sealed else None,
            confirm,
            confirm_timeout,
        )
        stop = stack.enter_context(stopping(console))
        wiring = stack.enter_context(
            wired(console, loaded.targets, memory_limit=memory_limit, lock_timeout=lock_timeout, stop=stop.event)
        )
        stop.on_stop = wiring.interrupt
        applying = Applying(console, wiring, loaded, options, parallel, sealed, asks=console.asks and not yes)
        run = applying.run(stop)
    with console.after_the_work(name_history(loaded.targets)):
        show(console, run, output, shared=loaded.shared)
    return exit_code_of_run(run)


def open_sealed(stack: ExitStack, named: list[str]) -> "PlanFile | None":
    """Open the plan file if that is what was named. Raises UsageError, PlanFileError."""
    from reconciler.errors import UsageError
    from reconciler.plan_file import is_plan_file, open_plan_file

    files = [name for name in named if is_plan_file(Path(name))]
    if not files:
        return None
    if len(named) > 1:
        raise UsageError("a plan file must be named alone", f"reconcile apply {shlex.quote(files[0])}")
    return stack.enter_context(open_plan_file(Path(files[0])))


def refuse_flags(given: "dict[str, list[str] | None]") -> None:
    """A plan file is applied as it is: what belongs into a plan is refused here."""
    from reconciler.errors import UsageError

    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if named:
        raise UsageError(
            f"a plan file is applied as it was sealed; {', '.join(named)} can't change it",
            "give these flags to `reconcile plan --out FILE`",
        )


def load_sealed(sealed: "PlanFile") -> "Loaded":
    """Load the specs that a plan file names, and of their segments those that it holds, in its order."""
    from datetime import UTC, datetime

    from reconciler.operations.load import Loaded, list_targets, load_specs
    from reconciler.plan_file import check_age, check_place, check_specs

    check_age(sealed.plan, datetime.now(UTC))
    check_place(sealed.plan)
    specs = load_specs(sealed.plan.specs())
    every = list_targets(specs)
    check_specs(sealed.plan, every)
    known = {(os.path.normpath(target.spec.path), target.segment.name): target for target in every}
    targets = tuple(known[segment.spec, segment.name] for segment in sealed.plan.segments)
    return Loaded(specs, targets, {segment.label: segment.allowed for segment in sealed.plan.segments})
