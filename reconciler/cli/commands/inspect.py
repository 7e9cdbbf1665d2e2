"""The commands that only read and show: `reconcile drift`, `status`, `history` and `schema`."""

import json
from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.console import Console, with_console
from reconciler.cli.documents import show
from reconciler.cli.signals import cut_short
from reconciler.models.comparison import DEFAULT_MEMORY_LIMIT, DEFAULT_PARALLEL
from reconciler.operations.load import load_segments
from reconciler.render import json_schema
from reconciler.spec import DIALECT, make_schema


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
    memory_limit: flags.MemoryLimit = DEFAULT_MEMORY_LIMIT,
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


@with_console
def status(
    console: Console,
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """Show what the state holds of each segment, which run holds its lock, and segments that no named spec lists."""
    result = reconciler.status(load_segments(specs, select or (), exclude or ()))
    show(console, result, output)
    return result.exit_code


@with_console
def history(
    console: Console,
    spec: flags.OneSpec,
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", help="Show this run in full.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of runs to list.")] = 20,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """List the past runs of a spec's workspaces, newest first, or show one run in full."""
    loaded = load_segments([spec])
    result = reconciler.history(loaded, limit=limit) if run_id is None else reconciler.history(loaded, run_id)
    show(console, result, output)
    return result.exit_code


@with_console
def schema(
    console: Console,
    document: Annotated[
        json_schema.Document | None,
        typer.Argument(metavar="DOCUMENT", help="Document of --format json; else the spec.", show_default=False),
    ] = None,
) -> None:
    """Print the JSON Schema of a spec, for editors, or of a document that --format json prints."""
    found = make_schema() if document is None else {"$schema": DIALECT, **json_schema.make_schema(document)}
    console.show(json.dumps(found, indent=2), is_data=True)
