"""`reconcile plan`: the dry run."""

from contextlib import closing
from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import choose_progress, show_sealed
from reconciler.cli.signals import cut_short
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT, DEFAULT_PARALLEL
from reconciler.operations.load import load_segments


@with_console
def plan(
    console: Console,
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Seal the plan into this file for `apply`; only an older plan is replaced. state: keeps it in the "
            "PostgreSQL of the state, and says its plan:ID.",
        ),
    ] = None,
    ids: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write every change into this CSV (workspace, segment, change, id), mode 0600; it holds ids.",
        ),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes.")
    ] = False,
    allow_removals: flags.AllowRemovals = None,
    allow_additions: flags.AllowAdditions = None,
    allow_empty: flags.AllowEmpty = None,
    show_ids: flags.ShowIds = 0,
    lock_timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Ignored: a plan takes no lock.")] = 0.0,
    memory_limit: flags.MemoryLimit = None,
    parallel: flags.Parallel = DEFAULT_PARALLEL,
    lookup_timeout: flags.LookupTimeout = DEFAULT_LOOKUP_TIMEOUT,
) -> int:
    """Show what apply would change: run each query, compare with the snapshot, check the guards. Sends nothing."""
    del lock_timeout  # accepted, so that plan and apply can be given the same options
    loaded = load_segments(specs, select or (), exclude or ())
    with closing(choose_progress(console)) as shown, cut_short(console) as stop:
        result = reconciler.plan(
            loaded,
            out=out,
            ids=ids,
            detailed_exitcode=detailed_exitcode,
            allow_removals=allow_removals or (),
            allow_additions=allow_additions or (),
            allow_empty=allow_empty or (),
            show_ids=show_ids,
            memory_limit=memory_limit,
            parallel=parallel,
            lookup_timeout=lookup_timeout,
            stop=stop,
            progress=shown.tell,
        )
    if ids is not None and not stop.is_set():
        console.info(f"Every change is in {ids}, with its id: delete it once it is reviewed.")
    return show_sealed(console, result, output, out, "the plan", loaded)
