"""The reading side of a state in a SQLite file: takes no lock, waits for none, changes nothing."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
from sqlalchemy import Connection, Engine, text

from reconciler.core.plan import Head
from reconciler.engine.ports import ArrowStream, Stored
from reconciler.state import schema
from reconciler.state.address import SqliteAddress
from reconciler.state.columns import JOURNAL, MARKS, MEMBERS, NothingStored, Shape, Typist, select
from reconciler.state.database import transaction
from reconciler.state.failures import explained
from reconciler.state.heads import HEAD_COLUMNS, Row, make_head, read_head
from reconciler.state.sqlite import is_missing, open_reader, reading_uri

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

    def __init__(self, address: SqliteAddress, must_exist: bool) -> None:
        self._address = address
        self._must_exist = must_exist
        with self._read():
            pass

    def head(self, workspace: str, segment_id: int) -> Head:
        with self._read() as connection:
            return Head() if connection is None else read_head(connection, workspace, segment_id)

    def is_spent(self, plan_id: str) -> bool:
        statement = text("SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id")
        with self._read() as connection:
            return connection is not None and connection.execute(statement, {"plan_id": plan_id}).first() is not None

    @contextmanager
    def open(self, workspace: str, segment_id: int) -> Iterator[Stored]:
        with ExitStack() as stack:
            typist = stack.enter_context(closing(Typist()))
            with self._read() as connection:
                known = connection is not None
            if not known:
                yield NothingStored(Head(), typist)
                return
            with explained(self._address):
                reader = stack.enter_context(closing(adbc.connect(reading_uri(self._address.path))))
                row, environment_id = _read_head_through(reader, stack, typist, workspace, segment_id)
            head = make_head(row, environment_id)
            yield SqliteStored(head, row.segment_key, reader, stack, typist) if row else NothingStored(head, typist)

    @contextmanager
    def _read(self) -> Iterator[Connection | None]:
        """A transaction; None: there is no state."""
        if is_missing(self._address.path):
            self._refuse_missing()
            yield None
            return
        engine: Engine = open_reader(self._address)
        with transaction(engine, self._address, reading=True) as connection:
            known = schema.is_there(connection, self._address)
            if not known:
                self._refuse_missing()
            yield connection if known else None

    def _refuse_missing(self) -> None:
        if self._must_exist:
            raise schema.missing(self._address)


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
