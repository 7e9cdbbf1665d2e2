"""Copying a state's rows from one database into another."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select

from reconciler.state.database import Database
from reconciler.state.tables import LOCKS, METADATA

_ROWS_PER_STEP = 10_000

COPIED: Sequence[Table] = [table for table in METADATA.sorted_tables if table is not LOCKS]
"""All but the locks: they are about processes that work with the old place."""


def is_empty(connection: Connection) -> bool:
    """Tell whether a state has nothing in it."""
    return all(connection.execute(select(table).limit(1)).first() is None for table in COPIED)


def copy_tables(source: Connection, target: Database, writing: Connection) -> None:
    """Copy every row, sorted as it is stored."""
    for table in COPIED:
        _copy_table(source, target, writing, table)
        _move_counter_on(target, writing, table)


def is_same(one: Connection, other: Connection) -> bool:
    """Tell whether two states hold the same, but for their locks."""
    return all(_has_same_rows(one, other, table) for table in COPIED)


def _has_same_rows(one: Connection, other: Connection, table: Table) -> bool:
    """Compare sums of hashes, as two databases may sort differently; block by block, so that no connection idles."""
    digest = 0
    for rows, others in zip_longest(_partitions(one, table), _partitions(other, table), fillvalue=()):
        if len(rows) != len(others):
            return False
        digest += sum(map(hash, map(tuple, rows))) - sum(map(hash, map(tuple, others)))
    return digest == 0


def _partitions(connection: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    rows = connection.execute(select(table), execution_options={"yield_per": _ROWS_PER_STEP})
    return rows.partitions(_ROWS_PER_STEP)


def _copy_table(source: Connection, target: Database, writing: Connection, table: Table) -> None:
    statement = select(table).order_by(*table.primary_key.columns)
    rows = source.execute(statement, execution_options={"yield_per": _ROWS_PER_STEP})
    for part in rows.partitions(_ROWS_PER_STEP):
        target.load(writing, table, [tuple(row) for row in part])


def _move_counter_on(target: Database, writing: Connection, table: Table) -> None:
    column: Any = table.autoincrement_column
    if column is not None:
        highest = writing.execute(select(func.max(column))).scalar()
        if highest is not None:
            target.count_from(writing, table, column.name, highest + 1)
