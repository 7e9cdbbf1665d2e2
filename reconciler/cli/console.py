"""What a command prints: the document to stdout, everything else, with errors and their hints, to stderr."""

import io
import json
import logging
import os
import re
import select
import shlex
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TextIO, cast

import typer

from reconciler.cli.defaults import PREFIX, is_from_variable
from reconciler.cli.flags import LogFormat
from reconciler.cli.streams import Stream
from reconciler.errors import DECLINED, ExitCode, OutputError, ReconcileError, SpecError, UsageError, unexpected
from reconciler.escaping import clean, clean_block, escape_lacking

TERMINAL = Path("/dev/tty")
"""The terminal that controls this process, whatever its streams are."""

TURN_SECONDS = 0.1
"""How often a question looks for a signal."""

_PARSER = "Value error, "
"""What the parser puts before a reason."""


@dataclass(frozen=True)
class Console:
    """The two output streams of a command, and how much to print on stderr."""

    verbose: bool = False
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT
    stdin_is_taken: bool = False
    """stdin is a spec or an id: a question is answered on the terminal that controls this process."""
    folder: str | None = None
    """The one of `-C`, in which this process works."""

    @property
    def program(self) -> str:
        """How a command to copy begins, so that it finds the same files where the user stands."""
        return f"reconcile -C {shlex.quote(self.folder)}" if self.folder else "reconcile"

    # --- stdout -------------------------------------------------------------------------------------------------------

    def show(self, document: str, *, is_data: bool = False) -> None:
        """Write a document to stdout and end its last line. Raises OutputError, but not for a pipe without a reader.

        `is_data`: it must stay exact (JSON, ids), so what the encoding lacks is written as `\\u…`, otherwise as `?`.
        """
        self.stream([document if document.endswith("\n") else document + "\n"], is_data=is_data)

    def stream(self, pieces: Iterable[str], *, is_data: bool = False) -> None:
        """Write a document to stdout piece by piece, until the stream breaks. Raises OutputError."""
        out = sys.stdout
        for piece in pieces:
            out.write(escape_lacking(piece, out.encoding or "utf-8") if is_data else piece)
            if isinstance(out, Stream) and out.is_broken:
                break
        if isinstance(out, Stream):
            out.check()

    def command(self, lines: Iterable[str]) -> None:
        """Write lines that a CI system obeys, with all foreign text in them escaped. Raises OutputError."""
        out = sys.stdout.drawing() if isinstance(sys.stdout, Stream) else sys.stdout
        out.write("".join(f"{line}\n" for line in lines))
        if isinstance(out, Stream):
            out.check()

    def print(self, *lines: str) -> None:
        """Write lines of prose to stdout. Raises OutputError."""
        self.show(clean_block(lines))

    def report(self, *lines: str) -> None:
        """Write to stdout what was done. A failure to write it is printed and changes no exit code."""
        with self.reporting():
            self.print(*lines)

    @contextmanager
    def reporting(self, hint: str = "what was to be done is done all the same") -> Iterator[None]:
        """Show results once the work is done: an error in this block is printed, with this hint, and not raised."""
        try:
            yield
        except OutputError as error:
            self.error(OutputError(error.message, hint))
        except Exception as error:
            known = unexpected(error)
            message = f"what was done can't be shown: {known.message}"
            self.error(ReconcileError(message, f"{hint}; {known.hint}", code=known.code))
            self.print_traceback(error)

    @property
    def colors(self) -> bool:
        """Whether to colour stdout: only on a terminal, and not where NO_COLOR is set."""
        return sys.stdout.isatty() and "NO_COLOR" not in os.environ

    @property
    def width(self) -> int:
        """Columns of the terminal or of COLUMNS; 100 without either."""
        is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
        return shutil.get_terminal_size((100, 24)).columns if is_known else 100

    # --- stderr -------------------------------------------------------------------------------------------------------

    def info(self, text: str, *, always: bool = False) -> None:
        """Print information, with --quiet only if `always`."""
        if always or not self.quiet:
            self._log("info", clean(text))

    def warning(self, text: str) -> None:
        """Print a warning, unless --quiet."""
        if not self.quiet:
            self._log("warning", clean(text))

    def error(self, error: ReconcileError, *, is_one_line: bool = False) -> None:
        """Print an error with its hint, also with --quiet."""
        problems = error.problems if isinstance(error, SpecError) else [error.message]
        before_hint = "; next: " if is_one_line else "\n  next: "
        self._log("error", "\n".join(map(clean, problems)), clean(error.hint), error.code, before_hint)

    def print_traceback(self, error: Exception) -> None:
        """Print the traceback of an unexpected error, with --verbose only."""
        if self.verbose:
            self._log("debug", clean_block(format_traceback(error).splitlines()))

    def _log(self, level: str, message: str, hint: str = "", code: str = "", before_hint: str = "") -> None:
        if self.log_format is LogFormat.JSON:
            fields = {"level": level, "message": message, "hint": hint, "code": code}
            line = json.dumps({key: value for key, value in fields.items() if value})
        else:
            front = f"{level}: " if level in ("error", "warning") else ""
            line = f"{front}{message}" + (f"{before_hint}{hint}" if hint else "")
        sys.stderr.write(f"{line}\n")  # one write: a line of another thread can't come between

    @contextmanager
    def log_records(self) -> Iterator[None]:
        """Print the log records of the library with --verbose, and drop them otherwise, for a block.

        Those of other libraries are dropped, and their warnings: a driver's may hold a row. Both would go to stderr.
        """
        log, root, silent = logging.getLogger("reconciler"), logging.getLogger(), logging.NullHandler()
        before, shown = (log.handlers, log.level, log.propagate), warnings.showwarning
        handler: logging.Handler = logging.NullHandler()
        if self.verbose:
            handler = logging.StreamHandler()
            handler.setFormatter(JsonFormatter() if self.log_format is LogFormat.JSON else CleanFormatter())
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.DEBUG if self.verbose else logging.WARNING)
        root.addHandler(silent)
        warnings.showwarning = lambda *_, **__: None
        try:
            yield
        finally:
            warnings.showwarning = shown
            root.removeHandler(silent)
            log.handlers, level, log.propagate = before
            log.setLevel(level)

    # --- questions ----------------------------------------------------------------------------------------------------

    @property
    def can_ask(self) -> bool:
        """Whether a question can be answered: stdin is a terminal or, where it is a spec, this process has one."""
        if not self.stdin_is_taken:
            return sys.stdin is not None and sys.stdin.isatty()
        try:
            os.close(os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True

    def require_consent(self, command: str, yes: bool) -> None:
        """Raise UsageError where a command that asks first can't ask anybody, and was not given --yes."""
        if not (yes or self.can_ask):
            raise UsageError(f"{command} asks first, and there is no terminal to ask on", "give --yes")

    def ask(self, question: str, stop: Event | None = None, *, document: str = "") -> bool:
        """Ask for a yes, after the document that the question is about. A `stop` that is set is a no.

        Both are written to stderr if that is a terminal, else to the one that controls this process, else to stderr.
        """
        stop = stop or Event()
        try:
            with self._open_terminal() as (keyboard, screen):
                if document:
                    screen.write(f"{document}\n")
                if stop.is_set():
                    return False
                screen.write(f"{clean(question)} [yes/no] ")
                screen.flush()
                line = b""
                # In turns: a signal only sets `stop`, and ends the question at any moment, also in the middle of a
                # line.
                while not line.endswith(b"\n"):
                    if stop.is_set():
                        return False
                    if select.select([keyboard], [], [], TURN_SECONDS)[0]:
                        typed = os.read(keyboard.fileno(), 1024)
                        if not typed:
                            break
                        line += typed
                return not stop.is_set() and line.decode().strip().lower() in ("y", "yes")
        except (OSError, ValueError):  # the terminal is gone, or the answer is no text
            return False

    @contextmanager
    def _open_terminal(self) -> Iterator[tuple[TextIO, TextIO]]:
        """Give where an answer is read, and where the question is written. Raises OSError."""
        if not self.stdin_is_taken and (sys.stderr.isatty() or not is_controlled_by(sys.stdin)):
            yield sys.stdin, sys.stderr
            return
        with TERMINAL.open("r+b", buffering=0) as file, io.TextIOWrapper(file) as terminal:
            yield sys.stdin if not self.stdin_is_taken else terminal, cast(TextIO, Stream(terminal))


def is_controlled_by(stream: TextIO) -> bool:
    """Tell whether a stream is the terminal that controls this process, as a shell's is."""
    try:
        os.tcgetpgrp(stream.fileno())
    except (OSError, ValueError):
        return False
    return True


def explain(error: Exception, argv: Sequence[str]) -> int:
    """Print an error that reached the top, with its hint, and return the exit code."""
    console = _guess_console(argv)
    if isinstance(error, typer.Abort):
        known = ReconcileError("stopped", "nothing was sent", code=DECLINED)
    elif hasattr(error, "format_message"):  # a usage error of the command line parser
        if error.format_message().startswith("Usage:"):  # a group without a command answers with its whole help
            sys.stderr.write(f"{error.format_message()}\n")
            return ExitCode.USAGE
        known = _explain_usage(error)
    else:
        known = error if isinstance(error, ReconcileError) else unexpected(error)
    words = [*argv, *(value for name, value in os.environ.items() if name.startswith(PREFIX))]
    hint = hide_urls(known.hint, words)
    if isinstance(known, SpecError):
        console.error(SpecError([hide_urls(problem, words) for problem in known.problems], hint))
    else:
        console.error(ReconcileError(hide_urls(known.message, words), hint, code=known.code))
    if not isinstance(known, UsageError):
        console.print_traceback(error)
    return known.exit_code


def _guess_console(argv: Sequence[str]) -> Console:
    """Find how to print an error where the parser may have failed: from the words, else from the variables."""
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    is_verbose = any(re.fullmatch("--verbose|-[vqy]*v[vqy]*", word) for word in words)
    formats = re.findall(r"(?:^|\n)--log-format[=\n](\w+)", "\n".join(words))
    log_format = formats[-1] if formats else os.environ.get("RECONCILE_LOG_FORMAT")
    is_set = os.environ.get("RECONCILE_VERBOSE", "").lower() in ("1", "on", "t", "true", "y", "yes")
    return Console(is_verbose or is_set, log_format=LogFormat.JSON if log_format == "json" else LogFormat.TEXT)


def _explain_usage(error: Any) -> UsageError:
    """Word a usage error of the parser: it names the variable that a wrong value comes from, and the command."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    hint = f"see `{context.command_path if context else 'reconcile'} --help`"
    if context is not None and parameter is not None and is_from_variable(context, parameter):
        message = f"{parameter.envvar}: {error.message.removeprefix(_PARSER)}"
        return UsageError(message, f"correct or unset it; {hint}")
    return UsageError(error.format_message().replace(_PARSER, "", 1), hint)


def hide_urls(text: str, words: Sequence[str]) -> str:
    """Replace the URLs that are words of the command line, or values of variables: one may hold a password."""
    for word in words:
        if url := re.search(r"(\w[\w+]*://).+", word, re.DOTALL):
            for spelling in (url[0], repr(url[0])[1:-1]):
                text = text.replace(spelling, f"{url[1]}…")
    return text


class CleanFormatter(logging.Formatter):
    """Formats log records that are safe for a terminal, with tracebacks that hold no text of foreign errors."""

    def format(self, record: logging.LogRecord) -> str:
        return clean_block(super().format(record).splitlines())

    def formatException(self, ei: Any) -> str:
        return format_traceback(ei[1])


class JsonFormatter(CleanFormatter):
    """Formats a log record as a JSON document of one line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelname.lower(), "message": super().format(record)})


def format_traceback(error: BaseException) -> str:
    """Format a traceback without the messages of foreign errors: a database's or a library's may hold ids."""
    lines = []
    chain: BaseException | None = error
    while chain is not None:
        message = f": {chain.message}" if isinstance(chain, ReconcileError) else ""
        lines += [*traceback.format_tb(chain.__traceback__), f"{type(chain).__qualname__}{message}\n"]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    return "".join(lines).rstrip()
