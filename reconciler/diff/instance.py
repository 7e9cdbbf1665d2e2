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

from reconciler.diff.spill import open_spill_folder
from reconciler.errors import SegmentError, UsageError

MAX_THREADS = 4
"""More threads want more memory each, and the streams that feed them are read by one."""

_CLOSED = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class Instance:
    """A DuckDB of our own. `memory_limit` is a size as DuckDB reads it (`512MB`).

    A cursor serves one thread at a time; any number may be open.
    """

    def __init__(self, memory_limit: str, spill_parent: Path) -> None:
        self._memory_limit = memory_limit
        self._spill_parent = spill_parent
        self._numbers = itertools.count(1)
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        self._stack = ExitStack()
        self.heavy = threading.Lock()
        """Held by whoever may need all the memory: two at once would starve each other."""

    def __enter__(self) -> Self:
        try:
            folder = self._stack.enter_context(open_spill_folder(self._spill_parent))
        except OSError as error:
            raise _refuse_folder(self._spill_parent) from error
        try:
            self._connection = self._connect(folder)
        except duckdb.Error as error:
            self._stack.close()
            raise _refuse_limit(self._memory_limit) from error
        self._stack.callback(self._connection.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _connect(self, folder: Path) -> duckdb.DuckDBPyConnection:
        threads = min(os.cpu_count() or 1, MAX_THREADS)
        config: dict[str, str | bool | int | float | list[str]] = {
            **_CLOSED,
            "memory_limit": self._memory_limit,
            "temp_directory": str(folder),
            "threads": threads,
        }
        connection = duckdb.connect(":memory:", config=config)
        # A stream hides its length: joins are run as they are written, the table to remember on the right.
        connection.execute("SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'")
        connection.execute("SET GLOBAL lock_configuration = true")
        return connection

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Open a cursor; the caller closes it."""
        cursor = self._connection.cursor()
        self._cursors.add(cursor)
        return cursor

    def interrupt(self) -> None:
        """End every statement that runs: it fails. To be called from any thread, or from a signal's handler."""
        for cursor in list(self._cursors):
            with suppress(duckdb.Error):  # it was closed meanwhile
                cursor.interrupt()

    @contextmanager
    def catalog(self) -> Iterator[str]:
        """Make a database within, for the tables of one comparison; gives its name."""
        name = f"sets_{next(self._numbers)}"
        with self.cursor() as cursor:
            cursor.execute(f"ATTACH ':memory:' AS {name}")
        try:
            yield name
        finally:
            with self.cursor() as cursor:
                cursor.execute(f"DETACH {name}")


def _refuse_folder(parent: Path) -> SegmentError:
    return SegmentError(
        f"no folder for temporary files can be made in {parent}",
        "make it writable, or name another one with the variable TMPDIR",
        code="spill",
    )


def _refuse_limit(limit: str) -> UsageError:
    return UsageError(f"--memory-limit {limit}: DuckDB can't start with that", "write a size, for example 512MB or 2GB")
