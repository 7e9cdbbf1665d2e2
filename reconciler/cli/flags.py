"""The arguments and options that several commands share. An option without a name has that of its parameter."""

import os
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any

import typer

from reconciler.cli.defaults import STDIN, find_default
from reconciler.models.comparison import LEAST_MEMORY_LIMIT, MIN_MEMORY, MOST_PARALLEL, read_size
from reconciler.render import Format as Format


class LogFormat(StrEnum):
    """How progress, warnings and errors on stderr are written."""

    TEXT = "text"
    JSON = "json"


def repeatable(text: str, metavar: str = "NAME", *names: str, complete: Any = None) -> Any:
    """Declare an option that can be given several times."""
    return typer.Option(*names, metavar=metavar, help=f"{text} Repeatable.", autocompletion=complete)


def find_shared(context: typer.Context, name: str) -> Any:
    """Give the value of an option that stands before or after the command: the last one of the line, else None."""
    place: Any = context
    while place is not None:
        if value := place.params.get(name):
            return value
        place = place.parent
    return None


def complete_segments(context: typer.Context, incomplete: str) -> list[str]:
    """List what `--select` takes of the named or default spec, for a shell. Never raises, and reads no stdin."""
    with suppress(Exception):
        from reconciler.spec import list_patterns  # what the help does without

        os.chdir(find_shared(context, "directory") or ".")
        named = context.params.get("specs") or context.params.get("spec") or context.args
        paths = [path for path in named or find_default(os.environ) if path != STDIN]
        return [pattern for pattern in list_patterns(paths) if pattern.startswith(incomplete)]
    return []


def check_size(text: str | None) -> str | None:
    """Return the memory size if it is valid and large enough. Raises typer.BadParameter before anything is run."""
    if text is None:
        return None
    size = read_size(text)
    if size is None:
        raise typer.BadParameter("write a size, for example 512MB or 2GB")
    if size < (read_size(MIN_MEMORY) or 0):
        raise typer.BadParameter(f"{text} is too little; give {MIN_MEMORY} or more")
    return text


Specs = Annotated[
    list[str],
    typer.Argument(metavar="SPEC", help="Spec files, folders of specs, or glob patterns; - is stdin."),
]
OneSpec = Annotated[str, typer.Argument(metavar="SPEC", help="The spec file; - is stdin.")]
"""Where none is named, `with_console` fills it in."""
Select = Annotated[
    list[str] | None,
    repeatable(
        "Only segments of this name, tag:NAME, or git:REF (what differs from a commit); globs work.",
        "NAME",
        "--select",
        "-s",
        complete=complete_segments,
    ),
]
Exclude = Annotated[
    list[str] | None,
    repeatable("Skip segments of this name; same patterns as --select.", complete=complete_segments),
]
OutputFormat = Annotated[Format, typer.Option("--format", "-o", help="Format of the document on stdout.")]
AllowRemovals = Annotated[list[str] | None, repeatable("Allow this segment to exceed max_removals in this run.")]
AllowAdditions = Annotated[list[str] | None, repeatable("Allow this segment to exceed max_additions in this run.")]
AllowEmpty = Annotated[list[str] | None, repeatable("Allow this segment to become empty in this run.")]
ShowIds = Annotated[int, typer.Option(metavar="N", min=0, help="Number of example ids to show per change (0: none).")]
LockTimeout = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Maximum time to wait for a lock (0: fail immediately).")
]
LookupTimeout = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, help="Maximum time for numbers that are only shown (0: do not ask for them)."
    ),
]

MemoryLimit = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        callback=check_size,
        show_default=f"{LEAST_MEMORY_LIMIT}, or a quarter of the memory if that is more",
        help=f"Memory for all comparisons of the run (minimum {MIN_MEMORY}); beyond it they spill to disk.",
    ),
]
Parallel = Annotated[
    int, typer.Option(metavar="N", min=1, max=MOST_PARALLEL, help="Maximum number of segments processed concurrently.")
]
Reason = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Why it is run; kept in the history.", show_default=False)
]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only runs since then: 30d, 12h, or a date (UTC).", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

# The options that each command takes before and after its name. None: not given.
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more detail; show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Suppress progress and warnings on stderr.")]
Directory = Annotated[
    str | None, typer.Option("--directory", "-C", metavar="DIR", help="Work in this folder.", show_default=False)
]
LogFormatOption = Annotated[
    LogFormat | None, typer.Option(help="Format of progress and errors on stderr; text by default.")
]
