"""stdout and stderr never raise because of what is written or where."""

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import pytest

from reconciler.cli.streams import Stream, safe_streams
from reconciler.errors import OutputError


class Failing(io.StringIO):
    """Refuses to be written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.attempts = 0

    def write(self, text: str) -> int:
        self.attempts += 1
        raise self.error


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    """The end of a pipe to read, and the one to write."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as end:
        yield reading, end
    os.close(reading)


def test_what_is_written_arrives_whole_and_at_once(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        file.write("before ")
        stream = Stream(file)

        stream.write("größer 日本\n")

        assert (tmp_path / "out").read_text(encoding="utf-8") == "before größer 日本\n"
        assert stream.fileno() == file.fileno()


def test_characters_that_the_encoding_lacks_are_replaced(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="iso8859-1") as file:
        Stream(file).write("größer 日本\udce9\n")

    assert (tmp_path / "out").read_text(encoding="iso8859-1") == "größer ???\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), False),
        (ValueError("I/O operation on closed file"), False),
    ],
)
def test_a_stream_that_failed_is_silent_and_tells_its_error_once(error: Exception, told: bool) -> None:
    inner = Failing(error)
    stream = Stream(inner)

    assert stream.write("one\n") == 4
    assert stream.write("two\n") == 4

    assert (stream.is_broken, inner.attempts) == (True, 1)
    with pytest.raises(OutputError, match=error.args[-1]) if told else nullcontext():
        stream.check()
    stream.check()


def test_a_stream_that_was_closed_by_the_caller_takes_everything() -> None:
    stream = Stream(None)

    stream.write("anything\n")

    assert (stream.is_broken, stream.isatty()) == (True, False)
    stream.check()


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, IO[str]]) -> None:
    reading, end = pipe
    os.set_blocking(end.fileno(), False)
    text = "x" * 500_000
    read: list[bytes] = []

    def take() -> None:
        while sum(map(len, read)) < len(text):
            read.append(os.read(reading, 65_536))

    reader = threading.Thread(target=take)
    reader.start()
    Stream(end).write(text)
    reader.join(60)

    assert b"".join(read).decode() == text


def test_bytes_are_refused_as_by_any_stream_of_text() -> None:
    with pytest.raises(TypeError):
        Stream(io.StringIO()).write(b"")  # type: ignore[arg-type]


def test_a_command_that_looks_like_one_only_from_the_middle_of_a_line_is_none() -> None:
    inner = io.StringIO()
    stream = Stream(inner)

    for text in ("a ", "::b\n", "  ", "::c\n", "", "d"):
        stream.write(text)

    assert inner.getvalue() == "a ::b\n  : :c\nd"


def test_what_moves_the_cursor_is_let_past_for_a_progress_bar_alone() -> None:
    inner = io.StringIO()
    stream = Stream(inner)

    stream.write("\x1b[2K")
    stream.drawing().write("\x1b[2K\r")

    assert inner.getvalue() == "[2K\x1b[2K\r"


def test_streams_are_replaced_once_and_given_back() -> None:
    before = sys.stdout, sys.stderr

    with safe_streams() as out, safe_streams() as inner:
        assert (inner, sys.stdout) == (out, out)
        assert isinstance(sys.stderr, Stream)

    assert (sys.stdout, sys.stderr) == before
