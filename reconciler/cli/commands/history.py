"""`reconcile history`: shows past runs."""

from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import show
from reconciler.operations.load import load_segments
from reconciler.spec import Needed


@with_console
def history(
    console: Console,
    spec: flags.OneSpec,
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Show this run in full: its id, four or more of its first characters, or `last`.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of runs to list.")] = 20,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """List the past runs of a spec's workspaces, newest first, or show one run in full."""
    loaded = load_segments([spec], needed=Needed.STATE)
    result = reconciler.history(loaded, limit=limit) if run_id is None else reconciler.history(loaded, run_id)
    show(console, result, output)
    return result.exit_code
