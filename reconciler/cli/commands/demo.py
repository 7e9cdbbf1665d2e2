"""`reconcile demo`: the guided tour."""

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import flags


def demo(
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Make the project in this new or empty folder, and leave it there."),
    ] = None,
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Take the guided tour: a made-up warehouse, a local Customer.io, and every command run for real on them.

    It needs no account and no keys, takes under a minute, and leaves nothing behind.
    """
    from reconciler.cli import run
    from reconciler.cli.console import Console
    from reconciler.cli.demo.tour import play
    from reconciler.cli.demo.voice import WIDEST, Voice
    from reconciler.errors import ExitCode

    console = Console(verbose, quiet, log_format)
    given = [flag for flag, is_set in (("--verbose", verbose), ("--quiet", quiet)) if is_set]
    if log_format is not flags.LogFormat.TEXT:
        given += ["--log-format", log_format.value]
    play(Voice(console.show, min(console.width, WIDEST), console.colors), run, keep, flags=given)
    return ExitCode.DONE
