"""`reconcile drift`: compares the members at Customer.io with the snapshot."""

from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import show
from reconciler.cli.signals import cut_short
from reconciler.models.comparison import DEFAULT_PARALLEL
from reconciler.operations.load import load_segments


@with_console
def drift(
    console: Console,
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
    ignore_foreign: Annotated[
        bool, typer.Option("--ignore-foreign", help="Do not count members that reconcile did not add as drift.")
    ] = False,
    memory_limit: flags.MemoryLimit = None,
    parallel: flags.Parallel = DEFAULT_PARALLEL,
) -> int:
    """Read the members through the App API and compare them with the snapshot. Changes nothing."""
    loaded = load_segments(specs, select or (), exclude or ())
    with cut_short(console) as stop:
        result = reconciler.drift(
            loaded, ignore_foreign=ignore_foreign, memory_limit=memory_limit, parallel=parallel, stop=stop
        )
    show(console, result, output)
    return result.exit_code
