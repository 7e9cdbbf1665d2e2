"""`reconcile status`: shows what the state holds of each segment."""

import reconciler
from reconciler.cli import flags
from reconciler.cli.commands import with_console
from reconciler.cli.console import Console
from reconciler.cli.documents import show
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
