"""stdout and stderr: what is written there is safe to show, and a stream that fails costs the output, never the run."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from reconciler.render.escaping import defuse


class Stream(io.TextIOBase):
    """Writes to stdout or stderr without ever raising because of what is written or where.

    Text passes `defuse`. Characters that the encoding lacks become `?`. After the first failure all that follows is
    dropped. `inner` is None where the caller closed the stream; `draws` lets a progress bar move the cursor.
    """

    def __init__(self, inner: TextIO | None, *, draws: bool = False) -> None:
        self._inner = inner
        self._draws = draws
        self._descriptor = _find_descriptor(inner)
        self._encoding = getattr(inner, "encoding", None) or "utf-8"
        self._is_in_line = False
        self._failure: OSError | None = None
        self.is_broken = inner is None
        """Nothing reaches anybody from here on."""

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # how click finds out what takes bytes
            raise TypeError("a stream of text takes no bytes")
        if not self.is_broken and text:
            safe = text if self._draws else defuse(text, in_line=self._is_in_line, colors=self.isatty())
            self._is_in_line = _ends_in_line(text, self._is_in_line)
            try:
                self._send(safe.encode(self._encoding, "replace"))
            except OSError as error:
                self.is_broken = True
                self._failure = error
            except ValueError:  # closed in the meantime
                self.is_broken = True
        return len(text)

    def take_failure(self) -> OSError | None:
        """Give the error that broke the stream, once; None if nothing did, or if the reader has gone away (a pipe)."""
        failure, self._failure = self._failure, None
        return None if failure is None or failure.errno == errno.EPIPE else failure

    def drawing(self) -> "Stream":
        """Give the same stream for one who moves the cursor, and whose words are clean already."""
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
        """Nothing is ever held back."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def _send(self, data: bytes) -> None:
        """Write past Python's buffers: a signal's handler may write, too, and nothing is left over for the exit."""
        if self._descriptor is None:
            assert self._inner is not None
            self._inner.write(data.decode(self._encoding))
            return
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # whoever shares it made it non-blocking
                select.select([], [self._descriptor], [])


def _ends_in_line(text: str, before: bool) -> bool:
    """Whether the line that is being written has something in it that is not a blank."""
    last = text.rpartition("\n")[2]
    return bool(last.strip()) or (before and "\n" not in text)


def _find_descriptor(inner: TextIO | None) -> int | None:
    """Give the file descriptor under a stream, with all written that it held back; None for one in memory."""
    if inner is None:
        return None
    with suppress(OSError, ValueError, AttributeError):
        descriptor = inner.fileno()
        inner.flush()
        return descriptor
    return None


def draw_on(stream: TextIO) -> TextIO:
    """Give the stream that a progress bar may draw on."""
    return cast(TextIO, stream.drawing()) if isinstance(stream, Stream) else stream


@contextmanager
def safe_streams() -> Iterator[Stream]:
    """Put a Stream in the place of stdout and of stderr for a block, unless that was done already; give stdout's."""
    before = sys.stdout, sys.stderr
    out, err = (each if isinstance(each, Stream) else Stream(each) for each in before)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


def occupy_descriptors() -> None:
    """Open /dev/null wherever the caller closed stdin, stdout or stderr, or the next file opened would take its place
    and get what is printed."""
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
