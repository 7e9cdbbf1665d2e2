"""The command line: argv to values, results to renderers, errors to exit codes."""

import gc
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

from reconciler.cli.streams import Stream, occupy_descriptors, safe_streams
from reconciler.errors import DEFECT, ExitCode

LAST_RESORT = f"error: unexpected failure\n  next: {DEFECT}\n"


def main() -> None:
    """Entry point of `reconcile`."""
    # Most of a short run is importing, which leaves no garbage: measured, looking for some takes a tenth of it.
    gc.set_threshold(50_000)
    occupy_descriptors()
    signal.signal(signal.SIGTERM, end_at_once)
    sys.exit(run(sys.argv[1:]))


def end_at_once(number: int, _frame: FrameType | None) -> None:
    """Answer SIGTERM where no command is at work that would end in its own way."""
    raise SystemExit(128 + number)


def run(argv: Sequence[str]) -> int:
    """Run one command and give its exit code; every error has been said by then."""
    with safe_streams() as out:
        try:
            return dispatch(argv, out)
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
            return ExitCode.INTERRUPTED
        except Exception as error:
            return explain_whatever(error, argv)


def dispatch(argv: Sequence[str], out: Stream) -> int:
    """Hand the words to the command that they name."""
    from reconciler.cli.app import app
    from reconciler.cli.console import check_output

    code = int(app(args=list(argv), prog_name="reconcile", standalone_mode=False) or 0)
    check_output(out)  # help goes past the console
    return code


def explain_whatever(error: Exception, argv: Sequence[str]) -> int:
    """Explain an error; where that fails, too (no memory is left), say the least."""
    try:
        from reconciler.cli.console import explain

        return explain(error, argv)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception:
        with suppress(Exception):
            sys.stderr.write(LAST_RESORT)
        return ExitCode.FAILED
