"""The tables of one comparison: statements run on them, rows go in and come out."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from types import TracebackType
from typing import Any, Self

import duckdb

from reconciler.embedded_duckdb import Instance, Limits, broken_sets, stopped, translating
from reconciler.models.batches import Batch, Direction
from reconciler.models.columns import FIELD_END, ROW_END, ArrowStream, Rows
from reconciler.models.remote import Page
from reconciler.models.spec import MAX_BATCH

BYTES_PER_ROW = 20
"""Memory for each row that is grouped, the rest spilled. Measured: at 512 MB 30 million go well, 100 million fail."""


class Tables:
    """Runs statements for one comparison, whose tables are in the database `name`; `stream` in any thread."""

    def __init__(self, instance: Instance, name: str) -> None:
        self.name = name
        self._instance = instance
        self._stack = ExitStack()
        self._stopped = False

    def __enter__(self) -> Self:
        self._cursor = self._stack.enter_context(self._instance.cursor())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def limits(self) -> Limits:
        return self._instance.limits

    @property
    def rows_at_once(self) -> int:
        """So many can be grouped in one statement, with the memory there is."""
        return max(1, self._instance.memory // BYTES_PER_ROW)

    def stop(self) -> None:
        """End what runs, from another thread: it fails, and so does what would come next."""
        self._stopped = True
        self._cursor.interrupt()

    def run(self, *statements: str) -> None:
        """Run statements that take little memory."""
        if not statements:
            return
        with translating(broken_sets(), self.limits):
            self._cursor.execute("; ".join(statements))

    def repeat(self, sql: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Run an INSERT that takes little memory for each of `parameters`, and give the number of rows.

        Raises DuckDB's errors, as `read`.
        """
        return sum(self._insert(sql, values) for values in parameters)

    def _insert(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        if self._stopped or self._instance.interrupted:
            raise stopped()
        return int(self._cursor.execute(sql, parameters).fetchall()[0][0])

    def work(self, sql: str) -> int:
        """Run a CREATE TABLE AS or an INSERT that may take all the memory there is: one at a time in the whole run.

        Gives the number of rows.
        """
        return int(self._work(sql, ())[0][0])

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run such a statement, that gives few rows."""
        return self._work(sql, parameters)

    def _work(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._instance.alone(), translating(broken_sets(), self.limits):
            try:
                return self._cursor.execute(sql, parameters).fetchall()
            except duckdb.OutOfMemoryException:
                with self._instance.frugally(self._cursor):
                    return self._cursor.execute(sql, parameters).fetchall()

    def fetch_one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The one value that a statement gives."""
        return self.fetch(sql, parameters)[0][0]

    def read(self, sql: str, stream: ArrowStream) -> int:
        """Run a statement that takes in a stream as the table `incoming`, and give the number of rows.

        Raises DuckDB's errors: who calls knows whose they are.
        """
        try:
            # The capsule, not its owner: DuckDB would ask an owner for several streams, and there is only one.
            self._cursor.register("incoming", stream.__arrow_c_stream__())
            return self._insert(sql)
        finally:
            self._cursor.unregister("incoming")

    def stream(self, sql: str, size: int) -> Iterator[list[str]]:
        """Give the first column in lists of `size`, as the statement orders it; any number of times."""
        with self._instance.cursor() as cursor, translating(broken_sets(), self.limits):
            with self._instance.alone():
                cursor.execute(sql)
            self._instance.spare(cursor)
            while rows := cursor.fetchmany(size):
                yield [row[0] for row in rows]

    def slices(self, statements: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Give the rows of one statement after the other; each takes little memory.

        They are not interrupted: who sends the rows sees the signal for himself.
        """
        with self._instance.cursor() as cursor, translating(broken_sets(), self.limits):
            self._instance.spare(cursor)
            for sql in statements:
                yield from self._slice(cursor, sql)

    def _slice(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
        try:
            return cursor.execute(sql).fetchall()
        except duckdb.OutOfMemoryException:  # another segment has it all: wait for that
            with self._instance.alone():
                return cursor.execute(sql).fetchall()


# --- blocks of text: how rows from Python come into tables (see `models.columns.Rows`) --------------------------------

BATCHES_PER_BLOCK = 50
_ROW, _FIELD = chr(ROW_END), chr(FIELD_END)


def unless_empty(rows: Rows) -> "Rows | None":
    """The same rows, or None where it is known that there are none."""
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
        yield _ROW.join(_write_batch(batch) for batch in some)


def read_batches(direction: Direction, joined: str, resends: str | None) -> Iterator[Batch]:
    """Ids that are joined by line feeds, as in the journal, as batches; all are full but the last."""
    ids = sorted(joined.split("\n"))
    again = frozenset(resends.split("\n") if resends else ())
    for start in range(0, len(ids), MAX_BATCH):
        batch = ids[start : start + MAX_BATCH]
        yield Batch(direction, tuple(batch), again.intersection(batch))


def _write_batch(batch: Batch) -> str:
    end = f"{_FIELD}{'true' if batch.direction is Direction.ADD else 'false'}"
    return f"{end}{_ROW}".join(batch.ids) + end
