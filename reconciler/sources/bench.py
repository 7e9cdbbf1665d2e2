"""The private DuckDB of a source: types columns, binds params, reads Parquet and DuckDB files."""

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb


class Workbench:
    """One DuckDB in memory with a spill folder of its own, shared by the queries of a source.

    It is made for the first of them, and goes when nobody holds it any more. It never fetches an extension.
    `prepare` is run on it when it is made.
    """

    def __init__(
        self,
        memory_limit: str,
        threads: int | None = None,
        prepare: Callable[[duckdb.DuckDBPyConnection], None] | None = None,
    ) -> None:
        self._config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "autoinstall_known_extensions": False,
            "python_enable_replacements": False,  # a query finds tables in the database, not among our variables
        }
        if threads:
            self._config["threads"] = threads
        self._prepare = prepare
        self._lock = threading.Lock()
        self._users = 0
        self._stack = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a cursor; it serves one thread."""
        with self.held():
            cursor = self._open_cursor()
            try:
                yield cursor
            finally:
                cursor.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let it last for the block at least, once it is made."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            self._leave()

    def _open_cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
            return self._connection.cursor()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._connection = None
                self._stack.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        with ExitStack() as stack:
            folder = stack.enter_context(_spill_folder())
            connection = duckdb.connect(config={**self._config, "temp_directory": folder})
            stack.callback(connection.close)
            if self._prepare is not None:
                self._prepare(connection)
            self._stack = stack.pop_all()
        return connection


@contextmanager
def _spill_folder() -> Iterator[str]:
    """A private folder, named and locked like those of the set engine, which deletes what dead runs have left."""
    locked = None
    while locked is None:  # once is enough, unless a sweeper was quicker than the lock
        folder = tempfile.mkdtemp(prefix=f"reconcile-spill-{os.getpid()}-")
        locked = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(locked)


def _lock(folder: str) -> int | None:
    """Lock a folder for the life of this process; None if it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    if Path(folder).is_dir():
        return descriptor
    os.close(descriptor)
    return None
