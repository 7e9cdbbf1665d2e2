"""`reconcile history`: past runs, newest first; or one run whole."""

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import flags
from reconciler.cli.console import names_its_spec

if TYPE_CHECKING:
    from reconciler.cli.console import Console
    from reconciler.models.spec import Spec


@names_its_spec
def history(
    spec: flags.OneSpec,
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN_ID", help="Show this run whole.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="So many runs.")] = 20,
    output: flags.OutputFormat = flags.Format.TEXT,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """List the past runs of a spec's workspaces, or show one run whole."""
    from datetime import UTC, datetime

    from reconciler.cli.console import Console
    from reconciler.cli.documents import show
    from reconciler.errors import ExitCode
    from reconciler.models.results import History
    from reconciler.operations.load import load_specs
    from reconciler.state.history import open_records

    console = Console(verbose, quiet, log_format)
    console.set_up_logging()
    specs = load_specs([spec])
    if run_id is not None:
        show_one(console, specs, run_id, output)
        return ExitCode.DONE
    places = {(each.state, each.destination.workspace) for each in specs}
    runs = [row for state, workspace in places for row in open_records(state).runs(workspace, limit)]
    runs.sort(key=lambda row: row.started_at, reverse=True)
    show(console, History(datetime.now(UTC), tuple(runs[:limit])), output)
    return ExitCode.DONE


def show_one(console: "Console", specs: "tuple[Spec, ...]", run_id: str, output: flags.Format) -> None:
    """Show one run whole: the document that it left, or that it left none."""
    from reconciler.cli.documents import show
    from reconciler.errors import UsageError
    from reconciler.state.history import open_records

    for state in {each.state for each in specs}:
        for record in open_records(state).run(run_id):
            show(console, record, output)
            return
    raise UsageError(f"there is no run {run_id!r} in this state", "`reconcile history SPEC` lists them")
