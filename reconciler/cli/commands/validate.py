"""`reconcile validate`: checks a spec and, with --connect, the databases and Customer.io."""

from typing import Annotated

import typer

from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.signals import cut_short
from reconciler.errors import ExitCode
from reconciler.operations import validate as checks
from reconciler.operations.load import load_segments


@with_console
def validate(
    console: Console,
    specs: flags.Specs,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also prepare each query, and check credentials, regions and segments.")
    ] = False,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
) -> int:
    """Check every rule of the spec; with --connect also the databases and Customer.io. Changes nothing."""
    loaded = load_segments(specs, select or (), exclude or ())
    with cut_short(console) as stop:
        result = checks.validate(loaded, connect=connect, stop=stop)

    lines = []
    for check in result.checks:
        target, problem = check.target, check.error
        if problem is None:
            title = f", {check.title}" if check.title else ""
            number = target.segment.segment_id
            missing = "retired, and held nobody" if target.segment.retired else "to be created by apply"
            found = f"segment {number}{title}" if number else f"{target.segment.segment}: {missing}"
            lines.append(f"ok      {target.label} ({found})")
        else:
            lines.append(f"failed  {target.label}: {problem.message}")
            lines += [f"        next: {problem.hint}"] if problem.hint else []
    lines += [f"warning: {text}" for text in (*result.spec_warnings, *result.connection_warnings)]

    files = "spec" if len(loaded.specs) == 1 else "specs"
    segments = "segment" if len(loaded.targets) == 1 else "segments"
    summary = f"{len(loaded.specs)} {files}, {len(loaded.targets)} {segments}."
    failures = sum(check.error is not None for check in result.checks)
    if not connect:
        console.print(*lines, f"Valid: {summary}")
    elif failures:
        console.print(*lines, f"{summary} {failures} of them failed.")
    elif result.connection_warnings:
        console.print(*lines, f"{summary} What could be checked is right; see the warnings for the rest.")
    else:
        console.print(*lines, f"{summary} Both ends are reachable and right.")
    return ExitCode.FAILED if failures else ExitCode.DONE
