"""The commands by name. Importing this imports no part of the machine: commands do so when they run."""

from typing import Annotated

import typer

from reconciler.cli.commands.apply import apply
from reconciler.cli.commands.drift import drift
from reconciler.cli.commands.history import history
from reconciler.cli.commands.init import init
from reconciler.cli.commands.plan import plan
from reconciler.cli.commands.refresh import refresh
from reconciler.cli.commands.sandbox import sandbox
from reconciler.cli.commands.schema import schema
from reconciler.cli.commands.state import state
from reconciler.cli.commands.status import status
from reconciler.cli.commands.tour import demo
from reconciler.cli.commands.validate import validate

app = typer.Typer(
    name="reconcile",
    help="Make Customer.io manual segments equal to SQL queries: plan, guard, apply, verify.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def show_version(asked: bool) -> None:
    """Print the version and leave."""
    if asked:
        from reconciler import __version__

        typer.echo(f"reconcile {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Make Customer.io manual segments equal to SQL queries: plan, guard, apply, verify."""


for command in (init, validate, plan, apply, drift, refresh, status, history, sandbox, demo, schema):
    app.command(command.__name__)(command)
app.add_typer(state, name="state")
