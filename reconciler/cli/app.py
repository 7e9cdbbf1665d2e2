"""The commands by name. A command's module is imported when the command runs, so `reconcile --help` loads none."""

from functools import cache
from importlib import import_module
from inspect import Parameter
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from reconciler import __version__
from reconciler.cli.commands import SHARED_FLAGS, SHARED_OPTIONS, declare
from reconciler.cli.console import Console
from reconciler.cli.defaults import finish

COMMANDS = {
    "init": "write a first spec to edit",
    "validate": "check a spec; with --connect also the databases and Customer.io",
    "plan": "show what apply would change; send nothing",
    "apply": "make the segments equal to their queries",
    "drift": "compare the segments at Customer.io with the snapshot",
    "refresh": "set the snapshot to the members at Customer.io",
    "status": "show what the state holds, and which run holds a lock",
    "history": "list past runs, or show one run in full",
    "trace": "show when and why one person entered and left each segment",
    "undo": "seal a plan that reverses what one run did",
    "segments": "list the segments of the workspace, and the spec that manages each",
    "report": "write one HTML page: members over time, runs, guards, drift",
    "sandbox": "run a local Customer.io to try specs against",
    "demo": "run every command on a generated shop, in under a minute",
    "schema": "print the JSON Schema of a spec, or of a JSON document",
    "state": "inspect and repair the state database",
}
"""The line of each command in `reconcile --help`."""

MODULES = dict.fromkeys(("status", "history", "trace"), "records")
"""The modules of `commands` that have several commands; any other command is in the module of its name. Under its own
name it is there: a function or, for `state`, a Typer group."""

SUMMARY = "Make Customer.io manual segments equal to SQL queries: plan, guard, apply, verify."
EPILOG = """A flag can be set by a variable: RECONCILE_FORMAT=json is --format json. The command line wins; consents and
choices of a single run have no variable. Without a SPEC: the paths in RECONCILE_SPEC, else reconcile.yaml.

Documentation: README.md and docs/ in the project's repository and source distribution."""


class LazyCommand(TyperCommand):
    """A command that is known by its name and short help until it runs."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> typer.Context:
        """Load the command and let it parse its arguments."""
        assert self.name is not None
        context: typer.Context = load_command(self.name).make_context(info_name, args, parent, **extra)
        return context


@cache
def load_command(name: str) -> Any:
    """Import a command's module and build the command, once for all its runs in this process."""
    return build(name, getattr(import_module(f"reconciler.cli.commands.{MODULES.get(name, name)}"), name))


def build(name: str, command: Any) -> Any:
    """Build a command for the parser from a function or a Typer group."""
    if isinstance(command, typer.Typer):
        group = command
    else:
        group = typer.Typer(add_completion=False, rich_markup_mode=None)
        group.command(name)(command)
    built = get_command(group)
    finish(built, without=SHARED_FLAGS)  # those are read at the beginning of the line
    return built


def print_version(is_asked: bool) -> None:
    """Print the version and exit."""
    if is_asked:
        Console().print(f"reconcile {__version__}")
        raise typer.Exit


VERSION = Parameter(
    "version",
    Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--version", "-V", callback=print_version, is_eager=True, help="Show the version and exit.")
    ],
)


def make_group() -> TyperGroup:
    """Build `reconcile` with all its commands."""
    base = typer.Typer(
        name="reconcile",
        help=SUMMARY,
        epilog=EPILOG,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    base.callback()(declare(VERSION, *SHARED_OPTIONS))
    group = get_command(base)
    assert isinstance(group, TyperGroup)
    finish(group)
    for name, short_help in COMMANDS.items():
        group.add_command(LazyCommand(name, short_help=short_help, rich_markup_mode=None))
    return group


app = make_group()
