"""The embedded DuckDB: one for a run, in memory, with a limit and a spill folder, closed to the outside."""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

import duckdb

from reconciler.diff.failures import Limits, broken_sets, stopped, translating
from reconciler.diff.spill import open_spill_folder
from reconciler.errors import SegmentError, UsageError
from reconciler.models.sizes import read_size

MAX_THREADS = 4
MEMORY_PER_THREAD = 64 * 2**20
"""Bytes without which another thread is more harm than help: each holds on to some while it spills."""

_CLOSED = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class Instance:
    """A DuckDB of our own. `memory_limit` is a size such as `512MB` or `1.5GiB`.

    A cursor serves one thread at a time; any number may be open.
    """

    def __init__(self, memory_limit: str, spill_parent: Path) -> None:
        self._memory_limit = memory_limit
        self._spill_parent = spill_parent
        self._numbers = itertools.count(1)
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        self._stack = ExitStack()
        self._heavy = threading.Lock()
        self._opening = threading.Lock()
        self._interrupted = False

    @property
    def limits(self) -> Limits:
        return Limits(self._memory_limit, self._spill_parent)

    def __enter__(self) -> Self:
        memory = read_size(self._memory_limit)
        if not memory:
            raise _refuse_limit(self._memory_limit)
        self.memory, self._threads = memory, _choose_threads(memory)
        try:
            folder = self._stack.enter_context(open_spill_folder(self._spill_parent))
        except OSError as error:
            raise _refuse_folder(self._spill_parent) from error
        try:
            self._connection = self._connect(folder, memory)
        except duckdb.Error as error:
            self._stack.close()
            raise _refuse_limit(self._memory_limit) from error
        self._stack.callback(self._connection.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _connect(self, folder: Path, memory: int) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            **_CLOSED,
            "memory_limit": f"{memory}B",
            "temp_directory": str(folder),
            "threads": self._threads,
            "preserve_insertion_order": True,  # a sorted table is read as it is
        }
        connection = duckdb.connect(":memory:", config=config)
        # A stream hides its length: joins are run as they are written, the table to remember on the right.
        connection.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
        return connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Open a cursor; the caller closes it."""
        with self._opening:
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
        return cursor

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a statement that may need all the memory: two at once would starve each other."""
        with self._heavy:
            if self._interrupted:
                raise stopped()
            yield

    @contextmanager
    def frugally(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """With one thread instead of several: each takes memory of its own, so that it fits where it did not."""
        cursor.execute("SET GLOBAL threads = 1")
        try:
            yield
        finally:
            cursor.execute(f"SET GLOBAL threads = {self._threads}")

    def spare(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Interrupt this one no more: its rows are ready, and who sends them sees the signal for himself."""
        self._cursors.discard(cursor)

    def interrupt(self) -> None:
        """End every statement that runs: it fails. To be called from any thread, or from a signal's handler."""
        self._interrupted = True
        for cursor in list(self._cursors):
            with suppress(duckdb.Error):  # it was closed meanwhile
                cursor.interrupt()

    @contextmanager
    def catalog(self) -> Iterator[str]:
        """Make a database within, for the tables of one comparison; gives its name."""
        name = f"sets_{next(self._numbers)}"
        with self.cursor() as cursor, translating(broken_sets(), self.limits):
            cursor.execute(f"ATTACH ':memory:' AS {name}")
        try:
            yield name
        finally:
            with self.cursor() as cursor:
                cursor.execute(f"DETACH {name}")


def _choose_threads(memory: int) -> int:
    return max(1, min(os.cpu_count() or 1, MAX_THREADS, memory // MEMORY_PER_THREAD))


def _refuse_folder(parent: Path) -> SegmentError:
    return SegmentError(
        f"no folder for temporary files can be made in {parent}",
        "make it writable, or name another one with the variable TMPDIR",
        code="spill",
    )


def _refuse_limit(limit: str) -> UsageError:
    return UsageError(f"--memory-limit {limit}: that is no size to work with", "write a size, for example 512MB or 2GB")
