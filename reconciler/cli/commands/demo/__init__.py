"""`reconcile demo`: every command, on a generated shop and a local Customer.io."""

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import run
from reconciler.cli.commands import with_console
from reconciler.cli.commands.demo.script import MAX_WIDTH, Terminal, run_demo
from reconciler.cli.console import Console
from reconciler.cli.flags import LogFormat
from reconciler.files import refuse_url


@with_console
def demo(
    console: Console,
    keep: Annotated[
        str | None, typer.Option(metavar="DIR", help="Create the project in this new or empty folder, and keep it.")
    ] = None,
) -> None:
    """Run every command for real, on a generated warehouse and a local Customer.io, and check the results.

    It needs no account and no keys, takes under a minute, and leaves nothing behind.
    """
    if keep is not None:
        refuse_url(keep, "--keep", "folder")
    given = {
        "--verbose": console.verbose,
        "--quiet": console.quiet,
        "--log-format=json": console.log_format is LogFormat.JSON,
    }
    terminal = Terminal(console.show, min(console.width, MAX_WIDTH), color=console.colors)
    run_demo(
        terminal, run, Path(keep) if keep else None, options=[option for option, is_given in given.items() if is_given]
    )
