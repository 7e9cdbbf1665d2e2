"""`reconcile report`: one HTML page of what the state and its history say."""

from typing import Annotated

import typer

from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.errors import ExitCode
from reconciler.files import OutputFile
from reconciler.operations.load import load_segments
from reconciler.operations.report import report as read_overview
from reconciler.render.html import is_report
from reconciler.render.overview import write_overview
from reconciler.render.sentences import count
from reconciler.spec import Needed


@with_console
def report(
    console: Console,
    specs: flags.Specs,
    out: Annotated[
        str,
        typer.Option(metavar="FILE", help="Write the page into this file; only an older report is replaced."),
    ],
    select: flags.Select = None,
    exclude: flags.Exclude = None,
    since: flags.Since = None,
) -> int:
    """Write one HTML page: members over time, runs, guards, drift at the last read-back, failures, orphans.

    It reads the state alone, and changes nothing. The page loads nothing from elsewhere and holds no member id.
    """
    file = OutputFile(out, "--out", "report", is_report)
    file.check()
    found = read_overview(load_segments(specs, select or (), exclude or (), Needed.STATE), since=since)
    page = write_overview(found)
    with file.explained(), file.replaced() as draft:
        draft.write_text(page, encoding="utf-8")
    for warning in found.warnings:
        console.warning(warning)
    console.info(f"Written to {out}: {count(len(found.segments), 'segment')}, {count(len(found.runs), 'run')}.")
    return ExitCode.FAILED if any(each.row.error for each in found.segments) else ExitCode.DONE
