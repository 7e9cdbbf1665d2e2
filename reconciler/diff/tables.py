"""The tables of one comparison: statements are run on them, rows go in and come out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb

from reconciler.embedded_duckdb import EmbeddedDuckDB, stopped, translating
from reconciler.errors import SourceError, StateError
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import FIELD_END, ROW_END, ArrowStream, Page, Rows, read_size
from reconciler.models.spec import MAX_BATCH

BYTES_PER_ROW = 20
"""Memory for each row that is grouped, the rest spilled. Measured: at 512 MB 30 million go well, 100 million fail."""

MAX_THREADS = 4
MEMORY_PER_THREAD = 64 * 2**20
"""Bytes without which another thread does more harm than good: each holds on to some while it spills."""

BATCHES_PER_BLOCK = 50
_ROW, _FIELD = chr(ROW_END), chr(FIELD_END)


def make_database(memory_limit: str, spill_parent: Path) -> EmbeddedDuckDB:
    """Describe the database of all comparisons of a run, closed to the outside. Raises UsageError."""
    memory = read_size(memory_limit) or 0
    return EmbeddedDuckDB(
        memory_limit,
        spill_parent,
        threads=max(1, min(os.cpu_count() or 1, MAX_THREADS, memory // MEMORY_PER_THREAD)),
        options={
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,  # a sorted table is read as it is
        },
        # A stream hides its length: joins are run as they are written, the table to remember on the right.
        prepare=lambda connection: connection.execute(
            "SET GLOBAL disabled_optimizers = 'join_order,build_side_probe_side'"
        ),
    )


class Tables:
    """Runs statements for one comparison; its tables are in the database `name`; `stream` in any thread."""

    def __init__(self, name: str, database: EmbeddedDuckDB, cursor: duckdb.DuckDBPyConnection) -> None:
        self.name = name
        self.limits = database.limits
        self.rows_at_once = max(1, database.memory // BYTES_PER_ROW)
        """The number of rows that can be grouped in one statement within the memory limit."""
        self._database = database
        self._cursor = cursor
        self._stopped = False

    @contextmanager
    def with_own_cursor(self) -> Iterator["Tables"]:
        """The same tables, for use in another thread."""
        with self._database.cursor() as cursor:
            yield Tables(self.name, self._database, cursor)

    def stop(self) -> None:
        """End what runs, from another thread: it fails, and so does what would come next."""
        self._stopped = True
        self._cursor.interrupt()

    def run(self, *statements: str) -> None:
        """Run statements that take little memory."""
        if statements:
            with translating(self.limits):
                self._cursor.execute("; ".join(statements))

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that may need all the memory, one at a time in the whole run; give its few rows."""
        with self._database.exclusively(), translating(self.limits):
            try:
                return self._cursor.execute(sql, parameters).fetchall()
            except duckdb.OutOfMemoryException:
                with self._database.single_threaded(self._cursor):
                    return self._cursor.execute(sql, parameters).fetchall()

    def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Like `fetch`, for one value; of a CREATE TABLE AS and an INSERT this is the number of rows."""
        return self.fetch(sql, parameters)[0][0]

    def insert(self, sql: str, parameters: Iterable[Sequence[Any]] = ((),)) -> int:
        """Run an INSERT that takes little memory for each of `parameters`, and give the number of rows.

        Raises DuckDB's errors: only the caller knows what failed.
        """
        number = 0
        for values in parameters:
            if self._stopped or self._database.interrupted:
                raise stopped()
            number += self._cursor.execute(sql, values).fetchall()[0][0]
        return number

    def insert_stream(self, sql: str, stream: ArrowStream) -> int:
        """Like `insert`, of a statement that reads a stream as the table `incoming`."""
        try:
            # The capsule, not its owner: DuckDB would ask an owner for several streams, and it has one.
            self._cursor.register("incoming", stream.__arrow_c_stream__())
            return self.insert(sql)
        finally:
            self._cursor.unregister("incoming")

    def stream(self, sql: str, size: int) -> Iterator[list[str]]:
        """Give the first column in lists of `size`, as the statement orders it; any number of times."""
        with self._database.cursor() as cursor, translating(self.limits):
            with self._database.exclusively():
                cursor.execute(sql)
            self._database.exempt(cursor)
            while rows := cursor.fetchmany(size):
                yield [row[0] for row in rows]

    def stream_each(self, statements: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Give the rows of one statement after the other; each takes little memory.

        They are not interrupted: the code that sends the rows sees the signal itself.
        """
        with self._database.cursor() as cursor, translating(self.limits):
            self._database.exempt(cursor)
            for sql in statements:
                try:
                    rows = cursor.execute(sql).fetchall()
                except duckdb.OutOfMemoryException:  # another segment has it all: wait for that
                    with self._database.exclusively():
                        rows = cursor.execute(sql).fetchall()
                yield from rows


# --- blocks of text: how rows from Python come into tables (see `models.comparison.Rows`) ----------------------------


def unless_empty(rows: Rows) -> Rows | None:
    """The same rows, or None where it is known that they are none."""
    if not isinstance(rows, Iterator):
        return rows
    first = next(rows, None)
    return None if first is None else chain([first], rows)


def write_page(page: Page) -> tuple[str, str]:
    """Members as a block for each column: `cio_id`, `key`. A key that would break its row apart is no key."""
    cio_ids, keys = _ROW.join(page.cio_ids), _ROW.join([key or "" for key in page.keys])
    ends = len(page.cio_ids) - 1
    if cio_ids.count(_ROW) != ends:
        cio_ids = _ROW.join(cio_id.replace(_ROW, " ") for cio_id in page.cio_ids)
    if keys.count(_ROW) != ends:
        keys = _ROW.join("" if key is None or _ROW in key else key for key in page.keys)
    return cio_ids, keys


def write_batches(batches: Iterable[Batch]) -> Iterator[str]:
    """Batches as rows of `id`, `adds`, many batches in a block."""
    rest = iter(batches)
    while some := list(islice(rest, BATCHES_PER_BLOCK)):
        lines = []
        for batch in some:
            end = f"{_FIELD}{'true' if batch.direction is Direction.ADD else 'false'}"
            lines.append(f"{end}{_ROW}".join(batch.ids) + end)
        yield _ROW.join(lines)


def read_batches(direction: Direction, joined: str, resends: str | None) -> Iterator[Batch]:
    """Ids that are joined by line feeds, as in the journal, as batches; all are full but the last."""
    ids = sorted(joined.split("\n"))
    again = frozenset(resends.split("\n") if resends else ())
    for start in range(0, len(ids), MAX_BATCH):
        batch = ids[start : start + MAX_BATCH]
        yield Batch(direction, tuple(batch), again.intersection(batch))


# --- errors that DuckDB does not distinguish (see `embedded_duckdb.translating`) --------------------------------------


def broken_query() -> SourceError:
    """The source failed while its rows were read."""
    return SourceError(
        "the source failed while the result of the query was being read",
        "run the query by hand to its last row",
    )


def broken_state() -> StateError:
    """The state failed while its rows were read."""
    return StateError(
        "the state database failed while the snapshot was being read",
        "check that it can be reached, then run again",
    )
