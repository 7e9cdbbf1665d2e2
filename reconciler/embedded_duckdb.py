"""The embedded DuckDB: in memory, with a limit and a private spill folder; of a comparison, and of a source."""

import fcntl
import itertools
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

import duckdb

from reconciler.errors import ReconcileError, SegmentError, UsageError, no_spill_folder, stopped
from reconciler.models.comparison import LEAST_MEMORY_LIMIT, read_size

SPILL_PREFIX = "reconcile-spill-"

Option = str | bool | int | float | list[str]


class EmbeddedDuckDB:
    """One DuckDB in memory, with a spill folder. It never fetches an extension.

    It is made for the first user and closed when the last one leaves; `prepare` is run on it when it is made. A cursor
    serves one thread at a time; any number may be open.
    """

    def __init__(
        self,
        memory_limit: str,
        spill_parent: Path | None = None,
        *,
        threads: int | None = None,
        options: Mapping[str, Option] | None = None,
        prepare: Callable[[duckdb.DuckDBPyConnection], object] | None = None,
    ) -> None:
        """`memory_limit` is a size such as `512MB` or `1.5GiB`. Raises UsageError."""
        memory = read_size(memory_limit)
        if not memory:
            raise _refuse_limit(memory_limit)
        self.memory = memory
        self._limit = memory_limit
        self._folder = spill_parent
        self.interrupted = False
        self._threads = threads
        self._options = options or {}
        self._prepare = prepare
        self._lock = threading.Lock()
        self._heavy = threading.Lock()
        self._users = 0
        self._numbers = itertools.count(1)
        self._cursors: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()
        self._stack = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Keep the database while the block runs, once it is made."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._connection = None
                    self._stack.close()

    @contextmanager
    def cursor(self, catalog: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a cursor, in this catalog (as SQL). Raises SegmentError, UsageError, and what `prepare` raises."""
        with self.keep():
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                cursor = self._connection.cursor()
                self._cursors.add(cursor)
            try:
                if catalog is not None:
                    with self.translating():
                        cursor.execute(f"USE {catalog}")
                yield cursor
            finally:
                cursor.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, Option] = {
            "memory_limit": f"{self.memory}B",
            "autoinstall_known_extensions": False,
            "python_enable_replacements": False,  # a query finds tables in the database, not among our variables
            **({"threads": self._threads} if self._threads else {}),
            **self._options,
        }
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(open_spill_folder(self._folder or Path(tempfile.gettempdir())))
            except OSError as error:
                raise no_spill_folder(self._folder) from error
            try:
                connection = duckdb.connect(":memory:", config={**config, "temp_directory": str(folder)})
            except duckdb.Error as error:
                raise _refuse_limit(self._limit) from error
            stack.callback(connection.close)
            if self._prepare is not None:
                self._prepare(connection)
            self._stack = stack.pop_all()
        return connection

    @contextmanager
    def catalog(self) -> Iterator[str]:
        """Attach an empty database for the tables of one comparison; gives its name."""
        name = f"sets_{next(self._numbers)}"
        with self.cursor() as cursor, self.translating():
            cursor.execute(f"ATTACH ':memory:' AS {name}")
        try:
            yield name
        finally:
            with self.cursor() as cursor:
                cursor.execute(f"DETACH {name}")

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """For a statement that may need all the memory: two at once would starve each other."""
        with self._heavy:
            if self.interrupted:
                raise stopped()
            yield

    @contextmanager
    def single_threaded(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Each thread takes memory of its own: with one, a statement may fit that did not."""
        cursor.execute("SET GLOBAL threads = 1")
        try:
            yield
        finally:
            cursor.execute(f"SET GLOBAL threads = {self._threads}" if self._threads else "RESET GLOBAL threads")

    @contextmanager
    def translating(self, otherwise: ReconcileError | None = None) -> Iterator[None]:
        """Turn DuckDB's errors into ours: short of memory, short of disk, or `otherwise` (None: a defect of ours).

        Its messages may quote values, so none is repeated: the whole text is in `__cause__` only.
        """
        try:
            yield
        except duckdb.InterruptException as error:
            raise stopped() from error
        except duckdb.Error as error:
            known: ReconcileError
            is_memory = isinstance(error, duckdb.OutOfMemoryException)
            if isinstance(error, duckdb.IOException) or (is_memory and "max_temp_directory_size" in str(error)):
                known = SegmentError(
                    f"the ids that do not fit into memory ({self._limit}) can't be written to {self._folder}",
                    "free some space there, or name another folder with the variable TMPDIR; "
                    "with a higher --memory-limit less is written",
                    code="spill",
                )
            elif is_memory:
                known = SegmentError(
                    f"comparing the ids takes more memory than the limit of {self._limit}",
                    "give more with --memory-limit, for example 2GB",
                    code="memory",
                )
            else:
                hint = "this is a defect of reconcile; please report it"
                known = otherwise or SegmentError("comparing the ids failed", hint, code="internal")
            raise known from error

    def exempt(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Never interrupt this cursor: its rows are ready, and the code that sends them sees the signal itself."""
        self._cursors.discard(cursor)

    def interrupt(self) -> None:
        """End every statement that runs: it fails. May be called from any thread, or from a signal's handler."""
        self.interrupted = True
        for cursor in list(self._cursors):
            with suppress(duckdb.Error):  # it was closed meanwhile
                cursor.interrupt()


def _refuse_limit(limit: str) -> UsageError:
    return UsageError(f"--memory-limit {limit}: that is no size to work with", "write a size, for example 512MB or 2GB")


# --- the memory limit ---------------------------------------------------------------------------------------------


def choose_memory_limit(root: Path = Path("/")) -> str:
    """Choose the limit where none is given: a quarter of the memory that the process may use, 512 MB at least.

    That is what the machine has, or what a container or another control group leaves of it. `root`: where /proc and
    /sys are.
    """
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    groups = root / "sys/fs/cgroup"
    files = [groups / "memory.max", groups / "memory/memory.limit_in_bytes"]
    with suppress(OSError):  # no Linux, or no /proc
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                group = groups / path.lstrip("/")
                files += [each / "memory.max" for each in (group, *group.parents) if each.is_relative_to(groups)]
            elif "memory" in controllers.split(","):
                files.append(groups / "memory" / path.lstrip("/") / "memory.limit_in_bytes")
    for file in files:
        with suppress(OSError, ValueError):  # there is none, or it says "max"
            limits.append(int(file.read_text()))
    megabytes = min(limits) // 4 // 10**6
    return f"{megabytes}MB" if megabytes * 10**6 > (read_size(LEAST_MEMORY_LIMIT) or 0) else LEAST_MEMORY_LIMIT


# --- the spill folder -------------------------------------------------------------------------------------------------


@contextmanager
def open_spill_folder(parent: Path) -> Iterator[Path]:
    """Make a private folder (0700) below `parent`, having deleted what dead runs left there. Raises OSError.

    A living run holds a lock on its folder; the kernel drops it when the process ends, however it ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    lock = None
    while lock is None:  # once is enough, unless another run's sweep was faster than the lock
        folder = Path(tempfile.mkdtemp(prefix=f"{SPILL_PREFIX}{os.getpid()}-", dir=parent))
        lock = _lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Delete the folders of dead runs: ours by owner, and locked by no process."""
    for folder in parent.glob(f"{SPILL_PREFIX}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder of ours; None if it is another user's, in use, or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now, opened = folder.stat(follow_symlinks=False), os.fstat(descriptor)
        if stat.S_ISDIR(now.st_mode) and now.st_ino == opened.st_ino and now.st_uid == os.getuid():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
