"""The tables of a comparison: statements are run on them, rows go in and come out."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb

from reconciler.diff.decide import Flag, Numbers
from reconciler.embedded_duckdb import EmbeddedDuckDB, choose_memory_limit
from reconciler.errors import stopped
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import FIELD_END, ROW_END, ArrowStream, Page, Rows, read_size
from reconciler.models.ids import IdType, has_control, normalize

COLUMNS = {
    "members": "id VARCHAR",
    "added": "id VARCHAR",
    "dropped": "id VARCHAR",
    "marks": 'id VARCHAR, mark VARCHAR, direction VARCHAR, "at" DOUBLE',
    "journal": 'seq BIGINT, direction VARCHAR, outcome VARCHAR, "at" DOUBLE, unknown_at DOUBLE, ids VARCHAR',
    "remote": "cio_id VARCHAR, key VARCHAR",
    "desired": "refused VARCHAR, id VARCHAR",
    "sealed": "id VARCHAR, adds BOOLEAN",
    "sent": "place BIGINT, own BOOLEAN, adds BOOLEAN, sure BOOLEAN, ids VARCHAR",
    "changes": "id VARCHAR, flags UTINYINT",
    "received": "kind VARCHAR, id VARCHAR, typed BOOLEAN, number BIGINT, flags UTINYINT, "
    "add_at DOUBLE, remove_at DOUBLE",
    "answered": "stays BOOLEAN, id VARCHAR, typed BOOLEAN, flags UTINYINT, number BIGINT, held BIGINT, "
    "members BIGINT, total VARCHAR",
}
"""The tables that are made before they are filled (see `comparison`); the first four as `state.base.Stored` has them.

`received` (see `pushdown`) has `typed` null where no row of the query has the id, and `flags` null where the state
knows nothing of it.
"""

_LINES = f"SELECT unnest(string_split(block, chr({ROW_END}))) AS line FROM (VALUES ($1)) AS blocks (block)"
"""The rows of a block of text. A table of one block, as DuckDB would take a bare $1 apart while it plans: three times
slower."""

BYTES_PER_ROW = 20
"""Memory for each row that is grouped, the rest spilled. Measured: at 512 MB 30 million go well, 100 million fail."""

MAX_THREADS = 4
MEMORY_PER_THREAD = 64 * 2**20
"""Bytes without which another thread does more harm than good: each holds on to some while it spills."""

IDS_PER_LIST = 50_000
"""In one list of a stream of ids."""

BATCHES_PER_BLOCK = 50
_ROW, _FIELD = chr(ROW_END), chr(FIELD_END)


def make_database(memory_limit: str | None, spill_parent: Path) -> EmbeddedDuckDB:
    """Describe the database of all comparisons of a run, closed to the outside. Raises UsageError.

    `memory_limit`: see `SetEngine`.
    """
    memory_limit = choose_memory_limit() if memory_limit is None else memory_limit
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
    """Runs statements for one comparison, in a database of its own, `catalog`; `stream` in any thread."""

    def __init__(self, database: EmbeddedDuckDB, catalog: str, cursor: duckdb.DuckDBPyConnection) -> None:
        self.translating = database.translating
        self.rows_at_once = max(1, database.memory // BYTES_PER_ROW)
        """The number of rows that can be grouped in one statement within the memory limit."""
        self._database = database
        self._catalog = catalog
        self._cursor = cursor
        self._stopped = False

    @contextmanager
    def with_own_cursor(self) -> Iterator["Tables"]:
        """The same tables, for use in another thread."""
        with self._database.cursor(self._catalog) as cursor:
            yield Tables(self._database, self._catalog, cursor)

    def stop(self) -> None:
        """End what runs, from another thread: it fails, and so does what would come next."""
        self._stopped = True
        self._cursor.interrupt()

    def run(self, *statements: str) -> None:
        """Run statements that take little memory."""
        with self.translating():
            self._cursor.execute("; ".join(statements))

    def begin(self, *tables: str) -> None:
        """Make empty tables of COLUMNS."""
        for table in tables:
            more = f", flags UTINYINT DEFAULT {Flag.STORED:d}" if table == "members" else ""
            self.run(f"CREATE OR REPLACE TABLE {table} ({COLUMNS[table]}{more})")

    def drop(self, *tables: str) -> None:
        """Drop those of these tables that there are."""
        self.run(*(f"DROP TABLE IF EXISTS {table}" for table in tables))

    def create(self, table: str, query: str, parameters: Sequence[Any] = ()) -> int:
        """Make a table of what a query gives, as `fetch` would run it; give the number of rows."""
        return int(self.fetch(f"CREATE OR REPLACE TABLE {table} AS {query}", parameters)[0][0])

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that may need all the memory, one at a time in the whole run; give its few rows."""
        with self._database.exclusively(), self.translating():
            try:
                return self._cursor.execute(sql, parameters).fetchall()
            except duckdb.OutOfMemoryException:
                with self._database.single_threaded(self._cursor):
                    return self._cursor.execute(sql, parameters).fetchall()

    def count_flags(self, table: str) -> Numbers:
        """Count the ids of a table by their flags."""
        rows = self.fetch(f"SELECT flags, count(*) FROM {table} GROUP BY flags")
        return {Flag(flags): number for flags, number in rows}

    def load(self, table: str, rows: Rows, select: str | None = None) -> int:
        """Add rows to a table of COLUMNS, and give their number.

        They are as in `models.comparison.Rows`, with its columns. With `select` the table is made of what that gives
        of `incoming`: the stream, or the lines of the blocks. Raises DuckDB's errors: only the caller knows what
        failed.
        """
        columns = [column.split() for column in COLUMNS[table].split(", ")]
        names = ", ".join(name for name, _ in columns)
        into = f"INSERT INTO {table} ({names})"
        if isinstance(rows, Iterator):
            if select:
                self.begin(table)
                lines = f"WITH incoming AS ({_LINES}) {select}"
            elif len(columns) > 1:
                fields = ", ".join(f"nullif(fields[{at}], '')::{kind}" for at, (_, kind) in enumerate(columns, 1))
                lines = f"SELECT {fields} FROM (SELECT string_split(line, chr({FIELD_END})) AS fields FROM ({_LINES}))"
            else:
                lines = _LINES
            return self._insert(f"{into} {lines}", ([block] for block in rows))
        try:
            # The capsule, not its owner: DuckDB would ask an owner for several streams, and it has one.
            self._cursor.register("incoming", rows.__arrow_c_stream__())
            into = f"CREATE OR REPLACE TABLE {table} AS {select}" if select else f"{into} SELECT {names} FROM incoming"
            return self._insert(into, [()])
        finally:
            self._cursor.unregister("incoming")

    def load_pages(self, pages: Iterable[Page], id_type: IdType) -> None:
        """Add pages of a real membership to `remote`. Raises DuckDB's errors.

        A key that holds a control character can't be an id of ours: it is none. This is checked here, while the next
        page is on its way.
        """
        cio_ids, keys = (f"unnest(string_split({block}, chr({ROW_END})))" for block in ("cio_ids", "keys"))
        blocks = "FROM (VALUES ($1, $2)) AS blocks (cio_ids, keys)"
        rows = f"SELECT {cio_ids} AS cio_id, nullif({keys}, '') AS key {blocks}"
        key = f"CASE WHEN NOT {has_control('key')} THEN {normalize('key', id_type)} END"
        insert = f"INSERT INTO remote (cio_id, key) SELECT cio_id, {key} FROM ({rows})"
        self._insert(insert, (write_page(page) for page in pages if page.cio_ids))

    def _insert(self, sql: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Run an INSERT that takes little memory for each of `parameters`, and give the number of rows."""
        number = 0
        for values in parameters:
            if self._stopped or self._database.interrupted:
                raise stopped()
            number += self._cursor.execute(sql, values).fetchall()[0][0]
        return number

    @contextmanager
    def lend(self, table: str) -> Iterator[ArrowStream]:
        """Give a table as a stream, to be read once while the block runs."""
        with self._database.cursor(self._catalog) as cursor:
            yield cursor.sql(f"FROM {table}")

    def stream(self, sql: str) -> Iterator[list[str]]:
        """Give the first column in lists, as the statement orders it; any number of times."""
        with self._database.cursor(self._catalog) as cursor, self.translating():
            with self._database.exclusively():
                cursor.execute(sql)
            self._database.exempt(cursor)
            while rows := cursor.fetchmany(IDS_PER_LIST):
                yield [row[0] for row in rows]

    def stream_each(self, statements: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Give the rows of one statement after the other; each takes little memory.

        They are not interrupted: the code that sends the rows sees the signal itself.
        """
        with self._database.cursor(self._catalog) as cursor, self.translating():
            self._database.exempt(cursor)
            for sql in statements:
                try:
                    rows = cursor.execute(sql).fetchall()
                except duckdb.OutOfMemoryException:  # another segment has it all: wait for that
                    with self._database.exclusively():
                        rows = cursor.execute(sql).fetchall()
                yield from rows


def list_ids(table: str, flags: Iterable[Flag]) -> str:
    """SQL: the ids with such flags, in the order of their bytes."""
    return f"SELECT id FROM {table} WHERE flags IN ({list_flags(flags)}) ORDER BY id"


def list_flags(flags: Iterable[Flag]) -> str:
    """SQL: flags, for IN (...)."""
    return ", ".join(str(int(each)) for each in flags) or "NULL"


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
