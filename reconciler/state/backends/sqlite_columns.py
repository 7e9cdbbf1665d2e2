"""Reading a SQLite state as columns, for commands that do not write to it.

The Arrow driver has a SQLite library of its own, and two libraries in one process must not have one file open at once
(see `snapshot`). So once this is made, nothing else in the process may open the file: no ledger, no records.
"""

import errno
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import duckdb

from reconciler.models.columns import ROW_END, ArrowStream
from reconciler.models.plan import Head
from reconciler.state import schema
from reconciler.state.base import HEAD_COLUMNS, NothingStored, SegmentRow, Stored, make_head
from reconciler.state.blocks import JOURNAL_LINES, MARK_LINES, ROWS_PER_BLOCK
from reconciler.state.failures import explained
from reconciler.state.location import BUSY_SECONDS, SqliteAddress, is_missing, reading_uri

_MEMBERS = "SELECT CAST(id AS text) AS id FROM reconcile_members WHERE segment_key = {key}"


class ColumnarSnapshot:
    """See `state.base.Snapshot`. A file that is missing is an empty state, and stays missing."""

    def __init__(self, address: SqliteAddress, must_exist: bool) -> None:
        self._address = address
        with explained(address):
            self._heads = _look(address)
        if must_exist and self._heads is None:
            raise schema.missing(address)
        self._rows = Scribe()

    def head(self, workspace: str, segment_id: int) -> Head:
        """As it was when this was made."""
        return Head() if self._heads is None else self._heads.find(workspace, segment_id)

    def is_spent(self, plan_id: str) -> bool:
        statement = f"SELECT '1' AS spent FROM reconcile_plans WHERE plan_id = {_quote(plan_id)}"
        with ExitStack() as stack:
            if self._heads is None:
                return False
            return bool(self._rows.read(_execute(self._connect(stack), stack, statement)))

    @contextmanager
    def open(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        if self._heads is None:
            yield NothingStored(Head())
            return
        with ExitStack() as stack:
            connection = self._connect(stack)
            with explained(self._address):
                found = self._read_head(connection, stack, workspace, segment_id)
            head = make_head(found.row, found.environment_id)
            yield ColumnarStored(head, found, connection, stack, self._rows) if found.row else NothingStored(head)

    def _connect(self, stack: ExitStack) -> Any:
        with explained(self._address):
            connection = stack.enter_context(closing(adbc.connect(reading_uri(self._address.path))))
            with closing(connection.cursor()) as cursor:
                # Whoever opens the file first builds its index of the -wal; the others must wait for that.
                cursor.executescript(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        return connection

    def _read_head(self, connection: Any, stack: ExitStack, workspace: str, segment_id: int) -> "Found":
        """Read a segment's head in the transaction in which its columns will be read, too."""
        columns = ", ".join(f"coalesce(cast({name} AS text), '')" for name in HEAD_COLUMNS)
        empty = ", ''" * (len(HEAD_COLUMNS) + 1)
        statement = (
            f"SELECT 'segment', {columns}, {_has('marks')}, {_has('batches')} FROM reconcile_segments "
            f"WHERE workspace = {_quote(workspace)} AND segment_id = {int(segment_id)} UNION ALL "
            f"SELECT 'workspace', cast(environment_id AS text){empty} "
            f"FROM reconcile_workspaces WHERE name = {_quote(workspace)}"
        )
        found = Found()
        for kind, *texts in self._rows.read(_execute(connection, stack, statement)):
            if kind == "segment":
                *row, marks, journal = texts
                found = replace(found, row=_parse_row(row), has_marks=marks == "yes", has_journal=journal == "yes")
            else:
                found = replace(found, environment_id=int(texts[0]))
        return found


@dataclass(frozen=True)
class Found:
    """What the state says of a segment, and whether there is more to read than its members."""

    row: SegmentRow | None = None
    environment_id: int | None = None
    has_marks: bool = False
    has_journal: bool = False


@dataclass(frozen=True)
class Heads:
    """The heads of all segments at one moment."""

    segments: Mapping[tuple[str, int], SegmentRow]
    environments: Mapping[str, int]

    def find(self, workspace: str, segment_id: int) -> Head:
        return make_head(self.segments.get((workspace, segment_id)), self.environments.get(workspace))


def _look(address: SqliteAddress) -> Heads | None:
    """Read all heads; None: there is no state. The only use of Python's library, closed before the driver's begins."""
    if is_missing(address.path):
        return None
    with closing(sqlite3.connect(reading_uri(address.path), uri=True, timeout=BUSY_SECONDS)) as connection:
        connection.execute("BEGIN")
        return _read_heads(connection) if schema.is_usable(_judge(connection, address), address) else None


def _judge(connection: sqlite3.Connection, address: SqliteAddress) -> schema.Schema:
    statement = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
    tables = [row[0] for row in connection.execute(statement)]
    known = schema.VERSION_TABLE in tables
    versions = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}") if known else ()
    return schema.judge(tables, next((row[0] for row in versions), ""), address)


def _read_heads(connection: sqlite3.Connection) -> Heads:
    rows = connection.execute(f"SELECT workspace, segment_id, {', '.join(HEAD_COLUMNS)} FROM reconcile_segments")
    segments = {(workspace, segment_id): SegmentRow(*rest) for workspace, segment_id, *rest in rows}
    return Heads(segments, dict(connection.execute("SELECT name, environment_id FROM reconcile_workspaces")))


class ColumnarStored:
    """See `state.base.Stored`: members as an Arrow stream, the rest as lines; all in one transaction."""

    def __init__(self, head: Head, found: Found, connection: Any, stack: ExitStack, rows: "Scribe") -> None:
        assert found.row is not None
        self.head = head
        self.now = time.time()
        self._found = found
        self._key = found.row.segment_key
        self._connection = connection
        self._stack = stack
        self._rows = rows

    def members(self) -> ArrowStream:
        return _execute(self._connection, self._stack, _MEMBERS.format(key=self._key))

    def marks(self) -> Iterator[str]:
        return self._lines(MARK_LINES) if self._found.has_marks else iter(())

    def journal(self) -> Iterator[str]:
        return self._lines(JOURNAL_LINES) if self._found.has_journal else iter(())

    def _lines(self, statement: str) -> Iterator[str]:
        stream = _execute(self._connection, self._stack, statement.format(key=self._key))
        return self._rows.walk(stream, ROWS_PER_BLOCK)


class Scribe:
    """Gives the rows of Arrow streams to Python, through a DuckDB."""

    def __init__(self) -> None:
        self._database = duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False})
        self._lock = threading.Lock()

    def read(self, stream: ArrowStream) -> list[tuple[str, ...]]:
        """Give all rows of a small stream; its columns are texts. Raises OSError."""
        with closing(self._cursor()) as cursor:
            cursor.register("raw", stream)
            try:
                return cursor.execute("SELECT COLUMNS(*)::VARCHAR FROM raw").fetchall()
            except duckdb.Error as error:
                raise OSError(errno.EIO, str(error)) from None

    def walk(self, stream: ArrowStream, size: int) -> Iterator[str]:
        """Give the lines of a stream's one column, `size` of them at a time, as blocks."""
        with closing(self._cursor()) as cursor:
            cursor.register("raw", stream)
            cursor.execute("SELECT COLUMNS(*)::VARCHAR FROM raw")
            while rows := cursor.fetchmany(size):
                yield chr(ROW_END).join(row[0] for row in rows)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            return self._database.cursor()


def _execute(connection: Any, stack: ExitStack, statement: str) -> ArrowStream:
    """Start a query; its cursor must outlive the stream."""
    cursor = stack.enter_context(closing(connection.cursor()))
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "65536"})
    cursor.execute(statement)
    stream: ArrowStream = cursor.fetch_arrow()
    return stream


def _has(table: str) -> str:
    exists = f"SELECT 1 FROM reconcile_{table} AS t WHERE t.segment_key = reconcile_segments.segment_key"
    return f"CASE WHEN EXISTS ({exists}) THEN 'yes' ELSE 'no' END"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _parse_row(texts: list[str]) -> SegmentRow:
    key, lineage, serial, id_type, completed_at, plan_id, plan_base, change_token, restored_at = texts
    return SegmentRow(
        int(key),
        lineage,
        int(serial),
        id_type,
        float(completed_at) if completed_at else None,
        plan_id or None,
        int(plan_base) if plan_base else None,
        change_token or None,
        float(restored_at) if restored_at else None,
    )
