"""`reconcile undo`: seals a plan that reverses one run."""

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
def undo(
    console: Console,
    spec: flags.OneSpec,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run to undo: its id, four or more of its first characters, or `last`."),
    ],
    out: Annotated[
        str,
        typer.Option(metavar="FILE", help="Seal the plan into this file for `apply`; only an older plan is replaced."),
    ],
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    allow_removals: flags.AllowRemovals = None,
    allow_additions: flags.AllowAdditions = None,
    allow_empty: flags.AllowEmpty = None,
    reason: flags.Reason = None,
    show_ids: flags.ShowIds = 0,
    memory_limit: flags.MemoryLimit = None,
    parallel: flags.Parallel = DEFAULT_PARALLEL,
    lookup_timeout: flags.LookupTimeout = DEFAULT_LOOKUP_TIMEOUT,
) -> int:
    """Seal a plan that reverses what one run did. Sends nothing: `apply FILE` does.

    It removes the ids that the run added and that the state still holds, and adds those that it removed, but leaves
    alone what later runs have sent. The next run does it all again, unless the query is mended or the segment paused.
    """
    loaded = load_segments([spec], select or (), exclude or ())
    with closing(choose_progress(console)) as shown, cut_short(console) as stop:
        result = reconciler.undo(
            loaded,
            run,
            out=out,
            allow_removals=allow_removals or (),
            allow_additions=allow_additions or (),
            allow_empty=allow_empty or (),
            reason=reason,
            show_ids=show_ids,
            memory_limit=memory_limit,
            parallel=parallel,
            lookup_timeout=lookup_timeout,
            stop=stop,
            progress=shown.tell,
        )
    return show_sealed(console, result, output, out, "the undo", loaded)
