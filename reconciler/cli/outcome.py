"""From an exception that reached the top to words on stderr and an exit code."""

import re
from collections.abc import Sequence

import typer

from reconciler.cli.console import Console
from reconciler.cli.flags import LogFormat
from reconciler.errors import ReconcileError, SpecError, UsageError, unexpected


def explain(error: Exception, argv: Sequence[str]) -> int:
    """Say what happened and what to do next; give the exit code."""
    console = Console(verbose="--verbose" in argv, log_format=_log_format_of(argv))
    known = _sort(error)
    hint = _hide_urls(known.hint, argv)
    if isinstance(known, SpecError):
        console.complain(SpecError([_hide_urls(problem, argv) for problem in known.problems], hint))
    else:
        console.complain(ReconcileError(_hide_urls(known.message, argv), hint, code=known.code))
    if not isinstance(known, UsageError):
        console.trace(error)
    return known.exit_code


def _hide_urls(text: str, argv: Sequence[str]) -> str:
    """Leave out the URLs of the command line, wherever they were typed: one may hold a password."""
    for word in argv:
        if url := re.search(r"(\w[\w+]*://).+", word, re.DOTALL):
            for spelling in (url[0], repr(url[0])[1:-1]):
                text = text.replace(spelling, f"{url[1]}…")
    return text


def _sort(error: Exception) -> ReconcileError:
    if isinstance(error, ReconcileError):
        return error
    if isinstance(error, typer.Abort):
        return ReconcileError("stopped", "nothing was sent", code="declined")
    if hasattr(error, "format_message"):  # a usage error of the command line parser
        return UsageError(error.format_message(), "see `reconcile --help`")
    return unexpected(error)


def _log_format_of(argv: Sequence[str]) -> LogFormat:
    said = " ".join(argv)
    return LogFormat.JSON if "--log-format json" in said or "--log-format=json" in said else LogFormat.TEXT
