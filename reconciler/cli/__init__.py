"""The command line: argv to values, results to renderers, errors to exit codes."""

import gc
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from reconciler.errors import ExitCode


def main() -> None:
    """Entry point of `reconcile`."""
    # Most of a short run is importing, which leaves no garbage: measured, looking for some takes a tenth of it.
    gc.set_threshold(50_000)
    sys.stdout, sys.stderr = sys.stdout or open_nowhere(), sys.stderr or open_nowhere()
    sys.exit(run(sys.argv[1:]))


def open_nowhere() -> TextIO:
    """In the place of a stream that the caller has closed."""
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def run(argv: Sequence[str]) -> int:
    """Run one command and give its exit code; every error has been said by then."""
    from reconciler.cli.outcome import explain

    try:
        from reconciler.cli.app import app

        return int(app(args=list(argv), prog_name="reconcile", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us is gone; Python would complain once more when it closes stdout.
        sys.stdout = None
        return ExitCode.FAILED
    except Exception as error:
        return explain(error, argv)
