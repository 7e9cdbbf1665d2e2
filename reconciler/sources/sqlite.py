"""SQLite: a small file is read row by row, any other by column."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from reconciler.errors import SourceError
from reconciler.models.freshness import DataTime, check_columns, read_answer, refuse_kind
from reconciler.models.spec import Segment
from reconciler.sources.base import (
    SELECT_LINES,
    Interruption,
    Query,
    ValueStream,
    choose,
    naming_freshness,
    read_blocks,
    require,
)
from reconciler.sources.failures import Scrubber

if TYPE_CHECKING:
    from reconciler.sources.sqlite_columns import ColumnReader

TypedTexts = list[tuple[str, str | None]]
BUSY_SECONDS = 5.0
_SMALL_BYTES = 16_000_000
"""A file up to this size, with its -wal, is read row by row, through Python's library alone: it starts at once."""


class SqliteSource:
    """A SQLite file, read-only; or a database in memory."""

    def __init__(self, path: str | None, scrubber: Scrubber) -> None:
        self._file = None if path is None else Path(path)
        self._scrubber = scrubber
        self._interruption = Interruption()
        # Queries are prepared one at a time, in Python's SQLite library; columns are read through the driver's own.
        # Closing a file in one drops the locks that the other holds on it: this connection stays open.
        self._lock = threading.Lock()
        self._preparing: sqlite3.Connection | None = None
        self._is_small: bool | None = None
        self._reader: ColumnReader | None = None
        self._kept: ExitStack | None = None

    @contextmanager
    def keep(self) -> Iterator[None]:
        try:
            with ExitStack() as self._kept:
                yield
        finally:
            self._kept = None
            if self._preparing is not None:
                self._preparing.close()
                self._preparing = None

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        query, freshness = Query.of(segment, "sqlite"), Query.of_freshness(segment, "sqlite")
        names, encoding = self._describe(query)
        at = choose(names, query.id_column)
        with self._unchanged(), ExitStack() as stack:
            # The driver would give texts as the bytes that the file has, which may be UTF-16.
            if self._has_few_bytes() or encoding != "UTF-8":
                yield stack.enter_context(self._read_rows(query, freshness, at))
            else:
                yield stack.enter_context(self._read_columns(query, freshness, at, len(names)))

    @contextmanager
    def _read_rows(self, query: Query, freshness: Query | None, at: int) -> Iterator[ValueStream]:
        """Read through Python's library."""
        with self._scrubber.explaining(sqlite3.Error, query):
            connection = _connect(_uri_of(self._file))
        with closing(connection), self._interruption.ending(connection.interrupt):
            with self._scrubber.explaining(sqlite3.Error, query):
                # A text may be anything; what is no UTF-8 comes as half surrogate pairs, and is no id.
                connection.text_factory = lambda text: text.decode(errors="surrogateescape")
                connection.executescript("PRAGMA query_only = ON; BEGIN")
            data_time = self._ask_freshness(
                freshness, lambda asked, sql: connection.execute(sql, asked.values).fetchall()
            )
            with self._scrubber.explaining(sqlite3.Error, query):
                fetch = connection.execute(_select("*", query), query.values).fetchmany
            explaining = self._scrubber.explaining(sqlite3.Error, query)
            yield ValueStream(read_blocks(fetch, at, explaining), SELECT_LINES, data_time)

    @contextmanager
    def _read_columns(self, query: Query, freshness: Query | None, at: int, width: int) -> Iterator[ValueStream]:
        """Read through the driver."""
        reader = self._open_columns()
        # The driver has no way to end a statement. Source: its `cancel` says so.
        with reader.connect(_uri_of(self._file), query) as connection, self._interruption.ending(lambda: None):
            data_time = self._ask_freshness(freshness, lambda *asked: reader.fetch(connection, *asked))
            with reader.stream(connection, query, _select_raw(reader, query, at, width)) as rows:
                yield ValueStream(rows, reader.typed, data_time)

    def _open_columns(self) -> "ColumnReader":
        from reconciler.sources.sqlite_columns import ColumnReader  # it loads the driver, and DuckDB

        with self._lock:
            if self._reader is None:
                self._reader = ColumnReader(self._scrubber)
                if self._kept is not None:
                    self._kept.enter_context(self._reader.keep())
            return self._reader

    def _ask_freshness(self, query: Query | None, fetch: Callable[[Query, str], TypedTexts]) -> DataTime | None:
        if query is None:
            return None
        with naming_freshness():
            sql = self._prepare_freshness(query)
            with self._scrubber.explaining(sqlite3.Error, query):
                rows = fetch(query, sql)
            for kind, _ in rows:
                if kind not in ("text", "null"):
                    raise refuse_kind(f"a value of type {kind}")
            return read_answer([[text] for _, text in rows])

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Where SQLite reads without a lock, refuse what was read if the file was written to meanwhile."""
        before = _stamp(self._file) if self._file is not None and _is_quiescent(self._file) else None
        yield
        if before is not None and self._file is not None and _stamp(self._file) != before:
            raise SourceError(
                f"source {self._scrubber.source}: the database was written to while it was read without a lock",
                "Run it again; or let the user who runs the command write to the folder, so that SQLite can lock it.",
            )

    def check(self, segment: Segment) -> None:
        query, freshness = Query.of(segment, "sqlite"), Query.of_freshness(segment, "sqlite")
        names, _ = self._describe(query)
        at, reader = choose(names, query.id_column), self._open_columns()
        reader.prepare(_uri_of(self._file), query, _select_raw(reader, query, at, len(names)))
        if freshness:
            with naming_freshness():
                self._prepare_freshness(freshness)

    def interrupt(self) -> None:
        self._interruption.interrupt()

    def _has_few_bytes(self) -> bool:
        """Tell whether the file is small; once and for all, as the two libraries must not read it side by side."""
        with self._lock:
            if self._is_small is None:
                self._is_small = self._file is None or _count_bytes(self._file) <= _SMALL_BYTES
            return self._is_small

    def _prepare_freshness(self, query: Query) -> str:
        """Give the statement for up to two answers, each with its type, and the text if it is one."""
        names, _ = self._describe(query)
        check_columns(len(names))
        return _select("typeof(c0), CASE typeof(c0) WHEN 'text' THEN c0 END", query, "(c0)") + " LIMIT 2"

    def _describe(self, query: Query) -> tuple[list[str], str]:
        """Give the names of a query's columns, and the encoding of the database.

        The query is prepared through Python's SQLite module, which reports errors and the names of columns best.
        """
        if self._file is not None:
            require(self._file, self._scrubber.source)
        with self._scrubber.explaining((sqlite3.Error, OverflowError), query), self._lock:
            if self._preparing is None:
                self._preparing = _connect(_uri_of(self._file))
            with self._scrubber.explaining(sqlite3.Error):
                self._preparing.execute("SELECT count(*) FROM sqlite_schema")  # SQLite opens a file when it is read
                encoding = self._preparing.execute("PRAGMA encoding").fetchone()[0]
            cursor = self._preparing.execute(_select("*", query) + " LIMIT 0", query.values)
        return [column[0] for column in cursor.description], encoding


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)


def _count_bytes(file: Path) -> int:
    wal = _wal_of(file.resolve())
    return file.stat().st_size + (wal.stat().st_size if wal.exists() else 0)


def _uri_of(file: Path | None) -> str:
    """Give a read-only URI; a quiescent file is read without a lock."""
    if file is None:
        return "file::memory:"
    return f"file:{quote(os.fsencode(file))}?mode=ro{'&immutable=1' if _is_quiescent(file) else ''}"


def _is_quiescent(file: Path) -> bool:
    """Tell whether a database is in WAL mode, has nothing in a -wal, and its folder takes no -shm: then no reader
    can lock it, and reading the file as it is misses nothing."""
    file = file.resolve()
    if os.access(file.parent, os.W_OK) or _wal_of(file).exists():
        return False
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(20)[18:20] == b"\x02\x02"  # versions of the format for writing and reading; 2: WAL
    return False


def _wal_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _stamp(file: Path) -> tuple[int, int, bool]:
    """Give what changes when a database is written to."""
    file = file.resolve()
    status = file.stat()
    return status.st_mtime_ns, status.st_size, _wal_of(file).exists()


def _select(what: str, query: Query, columns: str = "") -> str:
    """Select from the query as a common table: SQLite would take a table's name in parentheses for a query."""
    return f"WITH {query.name}{columns} AS (\n{query.numbered('?')}\n) SELECT {what} FROM {query.name}"


def _select_raw(reader: "ColumnReader", query: Query, at: int, width: int) -> str:
    by_position = f"({', '.join(f'c{number}' for number in range(width))})"  # so no name needs quoting
    return _select(reader.raw(f"c{at}"), query, by_position)
