"""The command line: parses arguments, calls an operation, prints its result, and exits with a code."""

import gc
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from reconciler.cli.streams import occupy_descriptors, safe_streams
from reconciler.errors import DEFECT, ExitCode

LAST_RESORT = f"error: unexpected failure\n  next: {DEFECT}\n"


def main() -> None:
    """Run `reconcile` with the arguments of this process, and exit."""
    # Most of a short run is importing, which leaves no garbage: measured, collecting takes a tenth of its time.
    gc.set_threshold(50_000)
    sys.unraisablehook = tell_unraisable
    occupy_descriptors()
    # A command that does more than print handles its signals itself. `nohup` has SIGHUP ignored.
    is_deaf = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in (signal.SIGTERM,) if is_deaf else (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: sys.exit(ExitCode.TERMINATED))
    code = run(sys.argv[1:])
    gc.freeze()  # looking for garbage while everything goes takes another tenth
    sys.exit(code)


def tell_unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Print what nobody can catch, but for its words, which may hold a row.

    A driver that fails in a `__del__`, once more, when what it has lost goes, has told why by then.
    """
    if getattr(failure.object, "__name__", "") != "__del__" and issubclass(failure.exc_type, Exception):
        place = getattr(failure.object, "__qualname__", type(failure.object).__qualname__)
        with suppress(Exception):
            sys.stderr.write(f"error: unexpected {failure.exc_type.__name__} in {place}\n  next: {DEFECT}\n")


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code. An error is printed and not raised."""
    with safe_streams() as out:
        try:
            # Imported here so that what goes wrong while importing is handled like any other error.
            from reconciler.cli.app import app

            code = int(app(args=list(argv) or ["--help"], prog_name="reconcile", standalone_mode=False) or 0)
            out.check()  # the parser prints help without the console
            return code
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")
            return ExitCode.INTERRUPTED
        except Exception as error:
            try:
                from reconciler.cli.console import explain

                return explain(error, argv)
            except KeyboardInterrupt:
                return ExitCode.INTERRUPTED
            except Exception:  # no memory is left, for example
                with suppress(Exception):
                    sys.stderr.write(LAST_RESORT)
                return ExitCode.FAILED
