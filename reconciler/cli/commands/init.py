"""`reconcile init`: a first spec to edit."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import flags


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it.", show_default=False)] = Path(),
    verbose: flags.Verbose = False,
    quiet: flags.Quiet = False,
    log_format: flags.LogFormatOption = flags.LogFormat.TEXT,
) -> int:
    """Write a spec, a query file and a .gitignore to start from. Overwrites nothing."""
    from reconciler.cli.console import Console
    from reconciler.scaffold import scaffold

    console = Console(verbose, quiet, log_format)
    written = scaffold(folder)
    spec = next(path for path in written if path.suffix == ".yaml")
    named = shlex.quote(str(spec))
    said = [*(f"wrote {path}" for path in written), "", f"Next: edit {spec}, set the variables that it names, then:"]
    console.report(*said, f"  reconcile validate {named}", f"  reconcile plan {named}")
    return 0
