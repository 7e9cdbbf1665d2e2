"""stdout and stderr: what is written is safe for a terminal, and a failing stream loses output but ends no run."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from reconciler.errors import OutputError
from reconciler.escaping import sanitize


class Stream(io.TextIOBase):
    """Writes to stdout or stderr without raising because of the text or of the stream.

    Text passes `sanitize`. Characters that the encoding lacks become `?`. After the first failure all later text is
    dropped. `inner` is None if the caller closed the stream; `draws` lets a progress bar move the cursor.
    """

    def __init__(self, inner: TextIO | None, *, draws: bool = False) -> None:
        self._inner = inner
        self._draws = draws
        self._encoding = getattr(inner, "encoding", None) or "utf-8"
        self._is_in_line = False
        self._failure: OSError | None = None
        self.is_broken = inner is None
        """No later text reaches its reader."""
        self._descriptor: int | None = None  # none for a stream in memory
        if inner is not None:
            with suppress(OSError, ValueError, AttributeError):
                descriptor = inner.fileno()
                inner.flush()  # what it has buffered comes first
                self._descriptor = descriptor

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # click probes a stream with bytes
            raise TypeError("a text stream takes no bytes")
        if not self.is_broken and text:
            safe = text if self._draws else sanitize(text, in_line=self._is_in_line, colors=self.isatty())
            last = text.rpartition("\n")[2]
            self._is_in_line = bool(last.strip()) or (self._is_in_line and "\n" not in text)
            try:
                self._send(safe.encode(self._encoding, "replace"))
            except OSError as error:
                self.is_broken = True
                self._failure = error
            except ValueError:  # closed in the meantime
                self.is_broken = True
        return len(text)

    def check(self) -> None:
        """Raise OutputError, once, if the stream has failed; a pipe without a reader is no failure."""
        failure, self._failure = self._failure, None
        if failure is not None and failure.errno != errno.EPIPE:
            message = f"the output can't be written: {failure.strerror}"
            raise OutputError(message, "free some space where it goes, and run it again")

    def drawing(self) -> "Stream":
        """Return the same stream for a writer that moves the cursor and writes clean text."""
        return Stream(self._inner, draws=True)

    def isatty(self) -> bool:
        with suppress(ValueError, OSError):
            return self._inner is not None and self._inner.isatty()
        return False

    def fileno(self) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation("fileno")
        return self._descriptor

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Do nothing: no text is buffered."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def _send(self, data: bytes) -> None:
        """Write past Python's buffers: the handler of a signal may write, too, and nothing is left for the exit."""
        if self._descriptor is None:
            assert self._inner is not None
            self._inner.write(data.decode(self._encoding))
            return
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process that shares it made it non-blocking
                select.select([], [self._descriptor], [])


@contextmanager
def safe_streams() -> Iterator[Stream]:
    """Replace stdout and stderr by a Stream for a block, unless that was done already; yield stdout's."""
    before = sys.stdout, sys.stderr
    out, err = (each if isinstance(each, Stream) else Stream(each) for each in before)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


def occupy_descriptors() -> None:
    """Open /dev/null for a stdin, stdout or stderr that the caller closed.

    Otherwise the next file opened would take its descriptor, and get what is printed.
    """
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
