"""What a command says: the document on stdout, everything else on stderr."""

import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reconciler.cli.flags import LogFormat
from reconciler.errors import OutputError, ReconcileError


@dataclass(frozen=True)
class Console:
    """The two streams, and how much to say on the second."""

    verbose: bool = False
    quiet: bool = False
    log_format: LogFormat = LogFormat.TEXT

    def show(self, document: str) -> None:
        """Write the document to stdout, whole, with one line end at its end."""
        self.stream([document if document.endswith("\n") else document + "\n"])

    def stream(self, pieces: Iterable[str]) -> None:
        """Write a document to stdout, piece by piece. Raises OutputError, and BrokenPipeError where nobody reads on."""
        for piece in pieces:
            with writing():
                sys.stdout.write(piece)
        with writing():
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Say something on stderr that is neither a warning nor an error."""
        if not self.quiet:
            self._log("info", text)

    def announce(self, text: str) -> None:
        """Answer a signal on stderr; never silenced."""
        self._log("info", text)

    def warn(self, text: str) -> None:
        """Say a warning on stderr."""
        if not self.quiet:
            self._log("warning", text)

    def complain(self, error: ReconcileError) -> None:
        """Say an error on stderr, with its next step; never silenced."""
        self._log("error", error.message, hint=error.hint, code=error.code)

    def trace(self, error: Exception) -> None:
        """Show where an unforeseen error came from, with --verbose only."""
        if not self.verbose:
            return
        if self.log_format is LogFormat.JSON:
            self._log("debug", tell_where(error))
        else:
            print(tell_where(error), file=sys.stderr)

    def _log(self, level: str, message: str, *, hint: str = "", code: str = "") -> None:
        if self.log_format is LogFormat.JSON:
            said = {"level": level, "message": message, "hint": hint, "code": code}
            line = json.dumps({key: value for key, value in said.items() if value})
            sys.stderr.write(f"{line}\n")  # at once: a line of another thread can't come between
            return
        front = "" if level == "info" else f"{level}: "
        print(f"{front}{message}", file=sys.stderr)
        if hint:
            print(f"  next: {hint}", file=sys.stderr)

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
        """Show on stderr what a question is about."""
        print(text, file=sys.stderr)

    def ask(self, question: str) -> bool:
        """Ask on stderr for a plain `yes`."""
        print(f"{question} [yes/no] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

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


@contextmanager
def writing() -> Iterator[None]:
    """Turn what stops a write to stdout into OutputError; a reader who has gone away is no error of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write(error) from None


def cannot_write(error: OSError) -> OutputError:
    """Stdout takes no more."""
    return OutputError(
        f"the output can't be written: {error.strerror}",
        "free some space where it goes; what was done stands in the history (`reconcile history SPEC`)",
    )


class Discreet(logging.Formatter):
    """Log lines whose tracebacks hold no foreign words."""

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
