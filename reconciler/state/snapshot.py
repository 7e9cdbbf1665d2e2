"""The reading side of a state in a SQLite file: takes no lock, waits for none, changes nothing."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi as adbc

from reconciler.core.plan import Head
from reconciler.engine.ports import ArrowStream, Stored
from reconciler.state.columns import JOURNAL, MARKS, MEMBERS, NothingStored, Shape, Typist, select
from reconciler.state.failures import explained
from reconciler.state.heads import HEAD_COLUMNS, Row, is_spent, make_head, read_head
from reconciler.state.reader import SqliteReader
from reconciler.state.sqlite import reading_uri

_CASTS = {"VARCHAR": "text", "BIGINT": "integer", "DOUBLE": "real"}


class SqliteStored:
    """See `engine.ports.Stored`: all streams read in the one transaction of `connection`."""

    def __init__(self, head: Head, key: int, connection: Any, stack: ExitStack, typist: Typist) -> None:
        self.head = head
        self._key = key
        self._connection = connection
        self._stack = stack
        self._typist = typist

    def members(self) -> ArrowStream:
        return self._stream(MEMBERS)

    def marks(self) -> ArrowStream:
        return self._stream(MARKS)

    def journal(self) -> ArrowStream:
        return self._stream(JOURNAL)

    def _stream(self, shape: Shape) -> ArrowStream:
        statement = f"SELECT {select(shape, _CASTS)} FROM {shape.rows.format(key=self._key)}"
        raw = _execute(self._connection, self._stack, statement, shape.rows_per_batch)
        return self._typist.retype(raw, shape)


class SqliteSnapshot:
    """See `engine.ports.Snapshot`. A file that is missing is an empty state, and stays missing."""

    def __init__(self, reader: SqliteReader, path: Path) -> None:
        self._reader = reader
        self._path = path
        with reader.read():
            pass

    def head(self, workspace: str, segment_id: int) -> Head:
        with self._reader.read() as connection:
            return Head() if connection is None else read_head(connection, workspace, segment_id)

    def is_spent(self, plan_id: str) -> bool:
        with self._reader.read() as connection:
            return connection is not None and is_spent(connection, plan_id)

    @contextmanager
    def open(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        with ExitStack() as stack:
            typist = stack.enter_context(closing(Typist()))
            with self._reader.read() as connection:
                known = connection is not None
            if not known:
                yield NothingStored(Head(), typist)
                return
            with explained(self._reader.address):
                reader = stack.enter_context(closing(adbc.connect(reading_uri(self._path))))
                row, environment_id = _read_head_through(reader, stack, typist, workspace, segment_id)
            head = make_head(row, environment_id)
            yield SqliteStored(head, row.segment_key, reader, stack, typist) if row else NothingStored(head, typist)


def _execute(connection: Any, stack: ExitStack, statement: str, rows: int) -> ArrowStream:
    """Start a query; its cursor must outlive the stream."""
    cursor = stack.enter_context(closing(connection.cursor()))
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
    cursor.execute(statement)
    stream: ArrowStream = cursor.fetch_arrow()
    return stream


def _read_head_through(
    connection: Any, stack: ExitStack, typist: Typist, workspace: str, segment_id: int
) -> tuple[Row | None, int | None]:
    """Read a segment's head in the transaction in which its columns will be read, too."""
    quoted = "'" + workspace.replace("'", "''") + "'"
    columns = ", ".join(f"coalesce(cast({name} AS text), '')" for name in HEAD_COLUMNS)
    statement = (
        f"SELECT 'segment', {columns} FROM reconcile_segments "
        f"WHERE workspace = {quoted} AND segment_id = {int(segment_id)} UNION ALL "
        f"SELECT 'workspace', cast(environment_id AS text){', NULL' * (len(HEAD_COLUMNS) - 1)} "
        f"FROM reconcile_workspaces WHERE name = {quoted}"
    )
    row, environment_id = None, None
    for kind, *texts in typist.fetch(_execute(connection, stack, statement, 2)):
        if kind == "segment":
            row = _parse_row([str(value) for value in texts])
        else:
            environment_id = int(str(texts[0]))
    return row, environment_id


def _parse_row(texts: list[str]) -> Row:
    key, lineage, serial, id_type, completed_at, plan_id, plan_base = texts
    return Row(
        int(key),
        lineage,
        int(serial),
        id_type,
        float(completed_at) if completed_at else None,
        plan_id or None,
        int(plan_base) if plan_base else None,
    )
