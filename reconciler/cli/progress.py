"""Which progress a command shows on stderr."""

import sys
from datetime import UTC, datetime

from reconciler.cli.console import Console
from reconciler.cli.flags import LogFormat
from reconciler.cli.streams import draw_on
from reconciler.render.progress import NoProgress, ProgressJson, ProgressLines


def choose_progress(console: Console) -> NoProgress:
    """Bars on a terminal, a line per segment elsewhere, JSON lines on request, nothing with --quiet."""
    if console.quiet:
        return NoProgress()
    if console.log_format is LogFormat.JSON:
        return ProgressJson(sys.stderr, lambda: datetime.now(UTC))
    if console.shows_progress:
        from reconciler.render.progress_bars import ProgressBars  # it loads Rich, which only a terminal needs

        return ProgressBars(draw_on(sys.stderr))
    return ProgressLines(sys.stderr)
