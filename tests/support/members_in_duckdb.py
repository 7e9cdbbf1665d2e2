"""Members at a source that is a DuckDB: the neutral statements, run by an engine that needs no server."""

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb

from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.spec import Segment
from reconciler.sources.base import Query
from reconciler.sources.duckdb import _select
from reconciler.sources.members import Asked, MembersInTables
from reconciler.sources.members_sql import DUCKDB, TABLES, Statements

IDS_PER_LIST = 1000

_CREATING = threading.Lock()
"""Two transactions of DuckDB can't make a table at once, though each would be content with one that is there."""


def open_members(
    database: duckdb.DuckDBPyConnection, values: Callable[[Segment], str] | None = None
) -> MembersInTables:
    """`values`: what a segment's query is; else it is run as it stands."""
    return MembersInTables("warehouse", TablesInDuckDB(database, values))


@dataclass
class TablesInDuckDB:
    """As `sources.members.TablesAtSource`; `before` is called with each statement that writes, and may raise."""

    database: duckdb.DuckDBPyConnection
    values: Callable[[Segment], str] | None = None
    before: Callable[[str], object] = lambda _: None
    takes_delete: bool = True
    statements: Statements = field(default_factory=lambda: Statements(DUCKDB, "main."))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def begin(self) -> Iterator["TablesInDuckDB"]:
        yield self

    def check_schema(self) -> None:
        """It is always there."""

    def names(self) -> Collection[str]:
        with closing(self.database.cursor()) as cursor:
            found = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall()
        return {str(name) for (name,) in found} & TABLES.keys()

    def create(self) -> None:
        with _CREATING:
            for statement in self.statements.create():
                self.run(statement)

    def run(self, statement: str) -> None:
        self.before(statement)
        with closing(self.database.cursor()) as cursor:
            cursor.execute(statement)

    def fetch(self, statement: str) -> Sequence[Sequence[Any]]:
        with closing(self.database.cursor()) as cursor:
            return cursor.execute(statement).fetchall()

    @contextmanager
    def stream_ids(self, statement: str) -> Iterator[Iterator[list[str]]]:
        with closing(self.database.cursor()) as cursor:
            cursor.execute(statement)
            yield iter(lambda: [str(row[0]) for row in cursor.fetchmany(IDS_PER_LIST)], [])

    @contextmanager
    def lend(self, ids: Sequence[str]) -> Iterator[str]:
        with self._lend("SELECT unnest($1::VARCHAR[]) AS id", list(ids)) as name:
            yield name

    @contextmanager
    def _lend_overlay(self, rows: ArrowStream) -> Iterator[str]:
        with closing(self.database.cursor()) as cursor:
            cursor.register("overlay_rows", rows.__arrow_c_stream__())
            found = cursor.execute("SELECT id, flags, travels FROM overlay_rows").fetchall()
            cursor.unregister("overlay_rows")
        ids, flags, travels = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
        columns = "unnest($1::VARCHAR[]) AS id, unnest($2::SMALLINT[]) AS flags, unnest($3::BOOLEAN[]) AS travels"
        with self._lend(f"SELECT {columns}", ids, flags, travels) as name:
            yield name

    @contextmanager
    def _lend(self, query: str, *values: object) -> Iterator[str]:
        name = f"lent_{next(self._numbers)}"
        with closing(self.database.cursor()) as cursor:
            cursor.execute(f"CREATE TABLE {name} AS {query}", values)
            try:
                yield name
            finally:
                cursor.execute(f"DROP TABLE {name}")

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        with self._lend_overlay(overlay) as laid, closing(self.database.cursor()) as cursor:
            all_typed = False
            if self.values is not None:
                values = self.values(segment)
            else:
                text, all_typed, _ = _select(cursor, Query.of(segment, "duckdb"))
                columns = "value, true AS typed" if all_typed else "value, typed"
                values = f"SELECT {columns} FROM (\n{text}\n) q"
            yield Asked(values, laid, self._stream, all_typed=all_typed)

    def _stream(self, statement: str) -> AbstractContextManager[ArrowStream]:
        @contextmanager
        def stream() -> Iterator[ArrowStream]:
            with closing(self.database.cursor()) as cursor:
                yield cursor.sql(statement)

        return stream()
