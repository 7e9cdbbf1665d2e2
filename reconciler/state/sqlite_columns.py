"""Reading a SQLite state as columns, for commands that do not write to it.

The Arrow driver has a SQLite library of its own, and two libraries in one process must not have one file open at the
same time: closing it in one drops the locks of the other. So once this is made, nothing else in the process may open
the file: no store, no history.
"""

import errno
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, TypeAlias

import adbc_driver_sqlite.dbapi as adbc
import duckdb

from reconciler.models.comparison import ROW_END, ArrowStream
from reconciler.models.id_status import StateCounts
from reconciler.models.plan import Head
from reconciler.models.results import Listing
from reconciler.state import schema
from reconciler.state.base import (
    BLOCK_ROWS,
    HEAD_COLUMNS,
    JOURNAL_LINES,
    LISTINGS,
    MARK_LINES,
    SQLITE_PIECES,
    SegmentRow,
    Stored,
    read_listing,
    write_counts,
)
from reconciler.state.failures import explained
from reconciler.state.location import BUSY_SECONDS, SqliteAddress, is_missing, reading_uri

_MEMBERS = "SELECT CAST(id AS text) AS id FROM reconcile_members WHERE segment_key = {key}"

_SEGMENT = f"""SELECT {HEAD_COLUMNS},
EXISTS (SELECT 1 FROM reconcile_marks t WHERE t.segment_key = s.segment_key),
EXISTS (SELECT 1 FROM reconcile_batches t WHERE t.segment_key = s.segment_key) FROM reconcile_segments s"""
"""A segment's row, and whether there are marks and batches of it."""

_COUNTS = write_counts(SQLITE_PIECES)

Execute: TypeAlias = Callable[[str], ArrowStream]


class ColumnarSnapshot:
    """See `state.base.Snapshot`. A file that is missing is an empty state, and stays missing."""

    def __init__(self, address: SqliteAddress, must_exist: bool) -> None:
        self._address = address
        with explained(address):
            found = _read_segments(address)
        if must_exist and found is None:
            raise schema.missing(address)
        self._is_empty = found is None
        self._heads, self._listings, self._environments = found or ({}, {}, {})
        if found is not None:  # rows of an Arrow stream come to Python through a DuckDB, which takes 15 ms to open
            self._duckdb = duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False})
        self._lock = threading.Lock()

    def head(self, workspace: str, segment_id: int) -> Head:
        """As it was when this was made."""
        return self._heads.get((workspace, segment_id)) or self._heads.get((workspace, None)) or Head()

    def is_spent(self, plan_id: str) -> bool:
        if self._is_empty:
            return False
        statement = f"SELECT 1 AS spent FROM reconcile_plans WHERE plan_id = {_quote(plan_id)}"
        with explained(self._address), self._connect() as execute:
            return bool(self._fetch(execute(statement)))

    def environments(self) -> Mapping[str, int]:
        """As they were when this was made."""
        return self._environments

    def listings(self, workspace: str) -> Sequence[Listing]:
        """As they were when this was made."""
        return self._listings.get(workspace, ())

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        """See `state.base.Snapshot`; the head is read anew, in the transaction in which the columns are read."""
        if self._is_empty:
            yield Stored(Head())
            return
        with self._connect() as execute:
            with explained(self._address):
                where = f"workspace = {_quote(workspace)} AND segment_id = {int(segment_id)}"
                rows = self._fetch(execute(f"{_SEGMENT} WHERE {where}"))
                named = f"FROM reconcile_workspaces WHERE name = {_quote(workspace)}"
                bound = self._fetch(execute(f"SELECT environment_id {named}"))
            environment_id = bound[0][0] if bound else None
            if not rows:
                yield Stored(Head(environment_id=environment_id))
                return
            *values, has_marks, has_journal = rows[0]
            row = SegmentRow(*values)
            stored = Stored(row.head(environment_id), time.time())
            stored.members = lambda: execute(_MEMBERS.format(key=row.segment_key))
            stored.count = lambda: StateCounts(*self._fetch(execute(_COUNTS.replace(":key", str(row.segment_key))))[0])
            if has_marks:
                stored.marks = partial(self._read_lines, execute, MARK_LINES.format(key=row.segment_key))
            if has_journal:
                stored.journal = partial(self._read_lines, execute, JOURNAL_LINES.format(key=row.segment_key))
            yield stored

    @contextmanager
    def _connect(self) -> Iterator[Execute]:
        """Connect for one transaction; what it gives executes a query. Streams end with it."""
        with ExitStack() as stack:
            with explained(self._address):
                connection = stack.enter_context(closing(adbc.connect(reading_uri(self._address.path))))
                with closing(connection.cursor()) as cursor:
                    # The first to open the file builds its index of the -wal; others must wait for that.
                    cursor.executescript(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")

            def execute(statement: str) -> ArrowStream:
                cursor: Any = stack.enter_context(closing(connection.cursor()))  # it must outlive the stream
                cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
                cursor.execute(statement)
                stream: ArrowStream = cursor.fetch_arrow()
                return stream

            yield execute

    def _fetch(self, stream: ArrowStream) -> list[tuple[Any, ...]]:
        """Read a small stream whole. Raises OSError."""
        try:
            with self._select("*", stream) as rows:
                return rows.fetchall()
        except duckdb.Error as error:
            raise OSError(errno.EIO, str(error)) from None

    def _read_lines(self, execute: Execute, statement: str) -> Iterator[str]:
        """Give the lines of a stream's one column as blocks."""
        with self._select("COLUMNS(*)::VARCHAR", execute(statement)) as rows:
            while block := rows.fetchmany(BLOCK_ROWS):
                yield chr(ROW_END).join(row[0] for row in block)

    @contextmanager
    def _select(self, columns: str, stream: ArrowStream) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            cursor = self._duckdb.cursor()
        with closing(cursor):
            cursor.register("raw", stream)
            yield cursor.execute(f"SELECT {columns} FROM raw")


def _read_segments(
    address: SqliteAddress,
) -> tuple[dict[tuple[str, int | None], Head], dict[str, list[Listing]], dict[str, int]] | None:
    """Read the heads of all segments, under None that of one that is not known, their listings, and the environments.

    None: there is no state. The only use of Python's library, closed before the driver's begins.
    """
    if is_missing(address.path):
        return None
    with closing(sqlite3.connect(reading_uri(address.path), uri=True, timeout=BUSY_SECONDS)) as connection:
        connection.execute("BEGIN")
        statement = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        tables = [row[0] for row in connection.execute(statement)]
        known = schema.VERSION_TABLE in tables
        versions = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchall() if known else []
        version = versions[0][0] if versions else ""
        schema.check(tables, version, address)
        if not schema.is_usable(version, address):
            return None
        environments = dict(connection.execute("SELECT name, environment_id FROM reconcile_workspaces"))
        heads = {(workspace, None): Head(environment_id=bound) for workspace, bound in environments.items()}
        rows = connection.execute(f"SELECT workspace, segment_id, {HEAD_COLUMNS} FROM reconcile_segments")
        segments = {(row[0], row[1]): SegmentRow(*row[2:]).head(environments.get(row[0])) for row in rows}
        listings: dict[str, list[Listing]] = {}
        for workspace, *columns in connection.execute(f"{LISTINGS} ORDER BY segment_id"):
            listings.setdefault(workspace, []).append(read_listing(*columns))
        return heads | segments, listings, environments


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
