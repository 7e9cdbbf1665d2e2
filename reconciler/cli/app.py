"""The commands by name. Importing this imports no part of the machine: commands do so when they run."""

from collections.abc import Callable
from typing import Annotated

import typer

from reconciler.cli.commands.apply import apply
from reconciler.cli.commands.demo import demo
from reconciler.cli.commands.drift import drift
from reconciler.cli.commands.history import history
from reconciler.cli.commands.init import init
from reconciler.cli.commands.plan import plan
from reconciler.cli.commands.refresh import refresh
from reconciler.cli.commands.sandbox import sandbox
from reconciler.cli.commands.schema import schema
from reconciler.cli.commands.state import state
from reconciler.cli.commands.status import status
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
        from reconciler.cli.console import Console

        Console().say(f"reconcile {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Make Customer.io manual segments equal to SQL queries: plan, guard, apply, verify."""


COMMANDS: tuple[tuple[Callable[..., int], str], ...] = (
    (init, "write a first spec to edit"),
    (validate, "check a spec, and with --connect both ends"),
    (plan, "show what apply would do; send nothing"),
    (apply, "make the segments equal to their queries"),
    (drift, "compare what is there with the snapshot"),
    (refresh, "make the snapshot equal to what is there"),
    (status, "what the state holds, and who works on it"),
    (history, "past runs, or one run whole"),
    (sandbox, "a local Customer.io to try specs against"),
    (demo, "a guided tour, in under a minute"),
    (schema, "print the JSON Schema of a spec"),
)

for command, in_short in COMMANDS:
    app.command(command.__name__, short_help=in_short)(command)
app.add_typer(state, name="state", short_help="look at and mend the state database")
