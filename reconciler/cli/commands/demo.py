"""`reconcile demo`: every command, on a generated shop and a local Customer.io."""

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import flags, run
from reconciler.cli.console import Console
from reconciler.cli.demo.script import run_demo
from reconciler.cli.demo.terminal import MAX_WIDTH, Terminal
from reconciler.errors import ExitCode


def demo(
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Create the project in this new or empty folder, and keep it."),
    ] = None,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Run every command for real, on a generated warehouse and a local Customer.io, and check the results.

    It needs no account and no keys, takes under a minute, and leaves nothing behind.
    """
    console = Console(verbose, quiet, log_format)
    options = [flag for flag, is_set in (("--verbose", verbose), ("--quiet", quiet)) if is_set]
    if log_format is not flags.LogFormat.TEXT:
        options += ["--log-format", log_format.value]
    terminal = Terminal(console.show, min(console.width, MAX_WIDTH), color=console.colors)
    run_demo(terminal, run, keep, options=options)
    return ExitCode.DONE
