"""`reconcile validate`: checks a spec and, with --connect, the databases and Customer.io."""

from enum import StrEnum
from typing import Annotated

import typer

from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console, hide_urls
from reconciler.cli.signals import cut_short
from reconciler.errors import ExitCode, SpecError, UsageError
from reconciler.models.results import Validation
from reconciler.operations import validate as checks
from reconciler.operations.load import load_segments
from reconciler.render import json_documents, validation
from reconciler.spec import Needed


class Output(StrEnum):
    """How the findings are written; `github`: as annotations of a workflow run."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


@with_console
def validate(
    console: Console,
    specs: flags.Specs,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also prepare each query, and check credentials, regions and segments.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Check what can be checked without variables that are not set.")
    ] = False,
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    output: Annotated[
        Output, typer.Option("--format", "-o", help="Format of the findings; github: annotations of a workflow run.")
    ] = Output.TEXT,
) -> int:
    """Check every rule of the spec; with --connect also the databases and Customer.io. Changes nothing."""
    try:
        if offline and connect:
            raise UsageError("--connect needs the values that --offline does without", "leave out one of them")
        needed = Needed.NONE if offline else Needed.ALL
        loaded = load_segments(specs, select or (), exclude or (), needed)
        with cut_short(console) as stop:
            result = checks.validate(loaded, connect=connect, stop=stop)
    except UsageError as error:
        if output is not Output.TEXT:
            error.message = hide_urls(error.message, [*specs, *(select or ()), *(exclude or ())])
            show(console, checks.describe_refusal(error), output)
        elif isinstance(error, SpecError):
            for warning in error.warnings:
                console.warning(str(warning))
        if output is Output.GITHUB:  # where both streams are one log
            return error.exit_code
        raise
    show(console, result, output)
    return ExitCode.FAILED if result.problems else ExitCode.DONE


def show(console: Console, result: Validation, output: Output) -> None:
    """Write what was found to stdout."""
    match output:
        case Output.TEXT:
            console.print(*validation.write_text(result))
        case Output.JSON:
            console.show(json_documents.write_json(json_documents.document(result)), is_data=True)
        case Output.GITHUB:
            console.command(validation.write_annotations(result))
