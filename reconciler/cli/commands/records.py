"""What the state has on record: `reconcile status`, `history` and `trace`."""

import sys
from typing import Annotated

import typer

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.defaults import is_spec
from reconciler.cli.documents import show
from reconciler.errors import UsageError
from reconciler.operations.load import load_segments
from reconciler.spec import Needed


@with_console
def status(
    console: Console,
    specs: flags.Specs,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """Show what the state holds of each segment, which run holds its lock, and segments that no named spec lists."""
    result = reconciler.status(load_segments(specs, select or (), exclude or (), Needed.STATE))
    show(console, result, output)
    return result.exit_code


@with_console
def history(
    console: Console,
    spec: flags.OneSpec,
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Show this run in full: its id, four or more of its first characters, or `last`.",
            show_default=False,
        ),
    ] = None,
    segment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only runs that worked on this segment (its name, or `id:56`).", show_default=False
        ),
    ] = None,
    since: flags.Since = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of runs to list.")] = 20,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """List the past runs of a spec's workspaces, newest first, or show one run in full."""
    loaded = load_segments([spec], needed=Needed.STATE)
    result = reconciler.history(loaded, run_id, segment=segment, since=since, limit=limit)
    show(console, result, output)
    return result.exit_code


MemberId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The person's id, as the queries return it; - reads it from stdin, which no history of a shell keeps.",
        show_default=False,
    ),
]


@with_console
def trace(
    console: Console,
    spec: flags.OneSpec,
    id: MemberId,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: flags.OutputFormat = flags.Format.TEXT,
) -> int:
    """Show when and why one person entered and left each segment, and where the person is now. Changes nothing.

    An email is found in any case, another id as it is written. The output does not repeat it.
    """
    member = read_id(id, spec)
    result = reconciler.trace(load_segments([spec], select or (), exclude or (), Needed.STATE), member)
    show(console, result, output)
    return result.exit_code


def read_id(given: str, spec: str) -> str:
    """Give the id that a command line names; `-` is the one line of stdin. Raises UsageError, without the id."""
    if not is_spec(spec):  # it is not shown: it may be the id
        raise UsageError("there is no such SPEC", "name the spec first, then the id")
    if given != "-":
        return given
    if spec == "-":
        raise UsageError("SPEC and ID can't both be read from stdin", "name the spec, and give the id on stdin")
    line, *more = (sys.stdin.read() if sys.stdin else "").removesuffix("\n").split("\n")
    if not line or more:
        raise UsageError("stdin must hold one line, with one id", "printf '%s' \"$ID\" | reconcile trace SPEC -")
    return line.removesuffix("\r")
