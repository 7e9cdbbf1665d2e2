"""The embedded DuckDB: one for a run, in memory, with a limit and a spill folder, closed to the outside."""

import fcntl
import itertools
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

import duckdb

from reconciler.errors import DEFECT, ReconcileError, SegmentError, UsageError
from reconciler.models.sizes import read_size

MAX_THREADS = 4
MEMORY_PER_THREAD = 64 * 2**20
"""Bytes without which another thread is more harm than help: each holds on to some while it spills."""

_CLOSED = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


# --- errors: DuckDB's messages may quote values, so none is repeated; the whole text is in `__cause__` only -----------


@dataclass(frozen=True)
class Limits:
    """What the sets may take: memory, as the user wrote it, and the folder that the rest is written to."""

    memory: str
    folder: Path


@contextmanager
def translating(otherwise: ReconcileError, limits: Limits) -> Iterator[None]:
    """Turn DuckDB's errors into ours: short of memory, short of disk, or `otherwise`."""
    try:
        yield
    except duckdb.Error as error:
        raise _sort(error, otherwise, limits) from error


def _sort(error: duckdb.Error, otherwise: ReconcileError, limits: Limits) -> ReconcileError:
    if isinstance(error, duckdb.InterruptException):
        return stopped()
    if isinstance(error, duckdb.OutOfMemoryException):
        return _full_disk(limits) if "max_temp_directory_size" in str(error) else _full_memory(limits)
    return _full_disk(limits) if isinstance(error, duckdb.IOException) else otherwise


def stopped() -> SegmentError:
    """A signal came."""
    return SegmentError("stopped while the ids were compared", "run it again; nothing was sent", code="stopped")


def _full_memory(limits: Limits) -> SegmentError:
    return SegmentError(
        f"comparing the ids takes more memory than the limit of {limits.memory}",
        "give more with --memory-limit, for example 2GB",
        code="memory",
    )


def _full_disk(limits: Limits) -> SegmentError:
    return SegmentError(
        f"the ids that do not fit into memory ({limits.memory}) can't be written to {limits.folder}",
        "free some space there, or name another folder with the variable TMPDIR; "
        "with a higher --memory-limit less is written",
        code="spill",
    )


def broken_sets() -> SegmentError:
    """Something of ours failed."""
    return SegmentError("comparing the ids failed", DEFECT, code="internal")


# --- the database -----------------------------------------------------------------------------------------------------


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
        self.interrupted = False

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
            if self.interrupted:
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
        self.interrupted = True
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
            folder = stack.enter_context(open_spill_folder(Path(tempfile.gettempdir())))
            connection = duckdb.connect(config={**self._config, "temp_directory": str(folder)})
            stack.callback(connection.close)
            if self._prepare is not None:
                self._prepare(connection)
            self._stack = stack.pop_all()
        return connection


# --- the spill folder: private, and gone with the run, even if the run dies -------------------------------------------


PREFIX = "reconcile-spill-"


@contextmanager
def open_spill_folder(parent: Path) -> Iterator[Path]:
    """Make a folder (0700) of our own below `parent`, having deleted what dead runs left there. Raises OSError.

    A living run holds a lock on its folder; the kernel drops it when the process ends, however it ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder, lock = _make_folder(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        lock = _lock(folder)
        if lock is not None:
            return folder, lock  # else a sweeper was quicker than we


def sweep(parent: Path) -> None:
    """Delete the folders of dead runs: ours by owner, and locked by nobody."""
    for folder in parent.glob(f"{PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder of ours; None if it is another's, in use, or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same(folder, os.fstat(descriptor)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _is_same(folder: Path, opened: os.stat_result) -> bool:
    now = folder.stat(follow_symlinks=False)
    return stat.S_ISDIR(now.st_mode) and now.st_ino == opened.st_ino and now.st_uid == os.getuid()
