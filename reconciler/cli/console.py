"""What a command prints: the document to stdout, everything else, with errors and their hints, to stderr."""

import json
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from threading import Event
from types import FrameType
from typing import Any, ParamSpec

import typer

from reconciler.cli.flags import LogFormat
from reconciler.cli.streams import Stream
from reconciler.errors import OutputError, ReconcileError, SpecError, UsageError, fill_hint, unexpected
from reconciler.render.escaping import clean, clean_block, escape_lacking


@dataclass(frozen=True)
class Console:
    """The two streams, and how much to say on the second."""

    verbose: bool = False
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT

    def show(self, document: str, *, is_data: bool = False) -> None:
        """Write a rendered document to stdout, whole, with one line end at its end.

        `is_data`: it must stay exact (JSON, ids); what the encoding lacks is written as `\\u…`, else as `?`. Raises
        OutputError where there is no room for it; a reader who has gone away is no error of ours.
        """
        self.stream([document if document.endswith("\n") else document + "\n"], is_data=is_data)

    def say(self, *lines: str) -> None:
        """Write lines of prose to stdout. Raises OutputError."""
        self.show(clean_block(lines))

    def report(self, *lines: str) -> None:
        """Say on stdout what was done; where that can't be read it is done all the same."""
        with self.after_the_work():
            self.say(*lines)

    def stream(self, pieces: Iterable[str], *, is_data: bool = False) -> None:
        """Write a document to stdout, piece by piece, until nobody reads on. Raises OutputError."""
        out = sys.stdout
        for piece in pieces:
            out.write(escape_lacking(piece, out.encoding or "utf-8") if is_data else piece)
            if isinstance(out, Stream) and out.is_broken:
                break
        check_output(out)

    @contextmanager
    def after_the_work(self, hint: str = "what was to be done is done all the same") -> Iterator[None]:
        """For what is shown when the work is done: whatever stops it is told, with this hint, and decides no exit
        code."""
        try:
            yield
        except OutputError as error:
            self.complain(OutputError(error.message, hint))
        except Exception as error:
            known = unexpected(error)
            said = f"what was done can't be shown: {known.message}"
            self.complain(ReconcileError(said, f"{hint}; {known.hint}", code=known.code))
            self.trace(error)

    def note(self, text: str) -> None:
        """Say something on stderr that is neither a warning nor an error."""
        if not self.quiet:
            self._log("info", clean(text))

    def announce(self, text: str) -> None:
        """Answer a signal on stderr; never silenced."""
        self._log("info", text)

    def warn(self, text: str) -> None:
        """Say a warning on stderr."""
        if not self.quiet:
            self._log("warning", clean(text))

    def complain(self, error: ReconcileError) -> None:
        """Say an error on stderr, with its next step; never silenced."""
        problems = error.problems if isinstance(error, SpecError) else [error.message]
        self._log("error", "\n".join(map(clean, problems)), hint=clean(error.hint), code=error.code)

    def trace(self, error: Exception) -> None:
        """Show where an unforeseen error came from, with --verbose only."""
        if not self.verbose:
            return
        where = clean_block(tell_where(error).splitlines())
        if self.log_format is LogFormat.JSON:
            self._log("debug", where)
        else:
            sys.stderr.write(f"{where}\n")

    def _log(self, level: str, message: str, *, hint: str = "", code: str = "") -> None:
        if self.log_format is LogFormat.JSON:
            said = {"level": level, "message": message, "hint": hint, "code": code}
            line = json.dumps({key: value for key, value in said.items() if value})
        else:
            front = "" if level == "info" else f"{level}: "
            line = f"{front}{message}" + (f"\n  next: {hint}" if hint else "")
        sys.stderr.write(f"{line}\n")  # at once: a line of another thread can't come between

    @property
    def colors(self) -> bool:
        """Colour only on a terminal, and not where NO_COLOR is set."""
        return sys.stdout.isatty() and "NO_COLOR" not in os.environ

    @property
    def width(self) -> int:
        """Columns of the terminal, or as COLUMNS says; 100 where there is neither."""
        is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
        return shutil.get_terminal_size((100, 24)).columns if is_known else 100

    @property
    def is_read(self) -> bool:
        """Somebody reads stdout as it comes."""
        return sys.stdout.isatty()

    @property
    def animates(self) -> bool:
        """Progress bars appear only on a terminal."""
        return sys.stderr.isatty() and not self.quiet and self.log_format is LogFormat.TEXT

    @property
    def asks(self) -> bool:
        """Somebody is there to be asked."""
        return sys.stdin is not None and sys.stdin.isatty()

    def prompt(self, text: str) -> None:
        """Show on stderr the document that a question is about."""
        sys.stderr.write(f"{text}\n")

    def ask(self, question: str, stop: Event | None = None) -> bool:
        """Ask on stderr for a plain `yes`. A signal is a no; `stop` is set by one that arrived before."""
        try:
            with _interrupted_by_signals():
                if stop is not None and stop.is_set():
                    return False
                sys.stderr.write(f"{clean(question)} [yes/no] ")
                sys.stderr.flush()
                return sys.stdin.readline().strip().lower() in ("y", "yes")
        except (_Interrupted, OSError, ValueError):  # or the terminal is gone, or what was typed is no text
            return False

    def set_up_logging(self) -> None:
        """Let the library's log lines through with --verbose; silence them otherwise."""
        root = logging.getLogger("reconciler")
        root.handlers = [self._handler()] if self.verbose else [logging.NullHandler()]
        root.setLevel(logging.DEBUG if self.verbose else logging.WARNING)
        root.propagate = False

    def _handler(self) -> logging.Handler:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines() if self.log_format is LogFormat.JSON else Discreet())
        return handler


def check_output(out: object) -> None:
    """Raise OutputError if stdout took no more since this was last asked."""
    failure = out.take_failure() if isinstance(out, Stream) else None
    if failure is not None:
        raise OutputError(
            f"the output can't be written: {failure.strerror}",
            "free some space where it goes, and run it again",
        )


class Discreet(logging.Formatter):
    """Log lines that are clean, and whose tracebacks hold no foreign words."""

    def format(self, record: logging.LogRecord) -> str:
        return clean_block(super().format(record).splitlines())

    def formatException(self, ei: Any) -> str:
        return tell_where(ei[1])


class JsonLines(Discreet):
    """A log line as a JSON document of one line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelname.lower(), "message": super().format(record)})


def tell_where(error: BaseException) -> str:
    """A traceback without the words of foreign errors: a database's or a library's may hold ids."""
    lines = []
    chain: BaseException | None = error
    while chain is not None:
        words = f": {chain.message}" if isinstance(chain, ReconcileError) else ""
        lines += [*traceback.format_tb(chain.__traceback__), f"{type(chain).__qualname__}{words}\n"]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    return "".join(lines).rstrip()


class _Interrupted(Exception):
    """A signal arrived while an answer was waited for."""


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Raise _Interrupted after the handler of a signal has run: Python would go on waiting for the line."""
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if callable(handler := signal.getsignal(number))
    }
    is_waiting = True

    def receive(number: int, frame: FrameType | None) -> None:
        before[signal.Signals(number)](number, frame)
        if is_waiting:
            raise _Interrupted

    for number in before:
        signal.signal(number, receive)
    try:
        yield
    finally:
        is_waiting = False
        for number, handler in before.items():
            signal.signal(number, handler)


# --- errors that reached the top ----------------------------------------------------------------------------------


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


Given = ParamSpec("Given")


def names_its_spec(command: Callable[Given, int]) -> Callable[Given, int]:
    """For a command on one `spec` (and the segment `name`, if it takes one): the hints of its errors name them."""

    @wraps(command)
    def run(*words: Given.args, **given: Given.kwargs) -> int:
        try:
            return command(*words, **given)
        except ReconcileError as error:
            known = {"SPEC": given.get("spec"), "NAME": given.get("name")}
            error.hint = fill_hint(error.hint, {key: [str(value)] for key, value in known.items() if value})
            raise

    return run
