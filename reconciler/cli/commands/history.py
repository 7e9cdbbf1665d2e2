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
    segment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only runs that worked on this segment (its name, or `id:56`).", show_default=False
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only runs since then: 30d, 12h, or a date (UTC).", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of runs to list.")] = 20,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """List the past runs of a spec's workspaces, newest first, or show one run in full."""
    loaded = load_segments([spec], needed=Needed.STATE)
    result = reconciler.history(loaded, run_id, segment=segment, since=since, limit=limit)
    show(console, result, output)
    return result.exit_code
