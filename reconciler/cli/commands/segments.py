"""`reconcile segments`: lists the segments of a workspace, and which spec manages each."""

from typing import Annotated

import typer

from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import show
from reconciler.cli.signals import cut_short
from reconciler.errors import UsageError
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT
from reconciler.operations.load import load_segments
from reconciler.operations.segments import list_segments
from reconciler.render.yaml_entries import write_exposures, write_scaffold
from reconciler.spec import Needed


@with_console
def segments(
    console: Console,
    spec: flags.OneSpec,
    scaffold: Annotated[
        bool, typer.Option("--scaffold", help="Print spec entries for the manual segments that no spec manages.")
    ] = False,
    dbt_exposures: Annotated[
        bool,
        typer.Option("--dbt-exposures", help="Print a dbt exposure for each segment of a dbt project; asks no server."),
    ] = False,
    output: flags.OutputFormat = flags.Format.TEXT,
    lookup_timeout: flags.LookupTimeout = DEFAULT_LOOKUP_TIMEOUT,
) -> int:
    """List the segments of the spec's workspace, each with its people and the spec that manages it. Changes nothing."""
    if scaffold and dbt_exposures:
        raise UsageError("--scaffold and --dbt-exposures print two files", "give one of them")
    if (scaffold or dbt_exposures) and output is not flags.Format.TEXT:
        flag = "--scaffold" if scaffold else "--dbt-exposures"
        raise UsageError(f"{flag} prints YAML, and no other format", "give --format text")
    if dbt_exposures:
        specs = load_segments([spec], needed=Needed.STATE).specs
        if not any(source.dbt for each in specs for source in each.sources.values()):
            console.warning(f"{spec}: no source has `dbt`, so that there is nothing to write for dbt")
        console.show(write_exposures(specs), is_data=True)
        return 0
    loaded = load_segments([spec])
    with cut_short(console) as stop:
        result = list_segments(loaded, lookup_timeout=lookup_timeout, stop=stop)
    if scaffold:
        console.show(write_scaffold(result), is_data=True)
        for warning in result.warnings:
            console.warning(warning)
    else:
        show(console, result, output)
    return result.exit_code
