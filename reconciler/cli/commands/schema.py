"""`reconcile schema`: prints JSON Schemas."""

import json
from typing import Annotated

import typer

from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.render import json_schema
from reconciler.spec import DIALECT, make_schema


@with_console
def schema(
    console: Console,
    document: Annotated[
        json_schema.Document | None,
        typer.Argument(metavar="DOCUMENT", help="Document of --format json; else the spec.", show_default=False),
    ] = None,
) -> None:
    """Print the JSON Schema of a spec, for editors, or of a document that --format json prints."""
    found = make_schema() if document is None else {"$schema": DIALECT, **json_schema.make_schema(document)}
    console.show(json.dumps(found, indent=2), is_data=True)
