"""The arguments and flags that commands share. Nothing here imports a part of the machine."""

from enum import StrEnum
from typing import Annotated

import typer

from reconciler.models.sizes import MIN_MEMORY, read_size


class Format(StrEnum):
    """How the document on stdout is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class LogFormat(StrEnum):
    """How progress, warnings and errors on stderr are written."""

    TEXT = "text"
    JSON = "json"


class Adopt(StrEnum):
    """Whom `refresh` takes over."""

    ALL = "all"
    KNOWN = "known"


Specs = Annotated[list[str], typer.Argument(metavar="SPEC", help="Specs, folders and globs.", show_default=False)]
OneSpec = Annotated[str, typer.Argument(metavar="SPEC", help="The spec.", show_default=False)]
Select = Annotated[
    list[str] | None,
    typer.Option("--select", metavar="NAME", help="Only this segment; tag:NAME by tag; globs work. Repeatable."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="NAME", help="Not this segment; as --select. Repeatable.")
]
OutputFormat = Annotated[Format, typer.Option("--format", help="How to write the document on stdout.")]
AllowRemovals = Annotated[
    list[str] | None,
    typer.Option("--allow-removals", metavar="NAME", help="Let one segment past max_removals, this time. Repeatable."),
]
AllowAdditions = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-additions", metavar="NAME", help="Let one segment past max_additions, this time. Repeatable."
    ),
]
AllowEmpty = Annotated[
    list[str] | None,
    typer.Option("--allow-empty", metavar="NAME", help="Let one segment become empty, this time. Repeatable."),
]
ShowIds = Annotated[
    int, typer.Option("--show-ids", metavar="N", min=0, help="Show up to N example ids per change (0: none).")
]
LockTimeout = Annotated[
    float,
    typer.Option("--lock-timeout", metavar="SECONDS", min=0, help="Wait so long for a lock (0: fail at once)."),
]


def check_size(text: str) -> str:
    """A size of memory that suffices for small segments. Raises typer.BadParameter before anything is run."""
    size = read_size(text)
    if size is None:
        raise typer.BadParameter("write a size, for example 512MB or 2GB")
    if size < (read_size(MIN_MEMORY) or 0):
        raise typer.BadParameter(f"{text} is too little; give {MIN_MEMORY} or more")
    return text


MemoryLimit = Annotated[
    str,
    typer.Option(
        "--memory-limit",
        metavar="SIZE",
        callback=check_size,
        help=f"Memory for the diffs of the whole run ({MIN_MEMORY} at least); then they spill.",
    ),
]
Parallel = Annotated[int, typer.Option("--parallel", metavar="N", min=1, max=64, help="So many segments at once.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say more; show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no warnings on stderr.")]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="How to write progress and errors on stderr.")]

DEFAULT_MEMORY_LIMIT = "512MB"
DEFAULT_PARALLEL = 4
