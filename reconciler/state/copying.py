"""Copying a state's rows from one database into another."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select

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
    return all(_digest(one, table) == _digest(other, table) for table in COPIED)


def _digest(connection: Connection, table: Table) -> tuple[int, int]:
    """The number of rows, and a number that depends on them all, but not on how a database sorts."""
    rows = connection.execute(select(table), execution_options={"yield_per": _ROWS_PER_STEP})
    number = digest = 0
    for part in rows.partitions(_ROWS_PER_STEP):
        number += len(part)
        digest = (digest + sum(map(hash, map(tuple, part)))) % 2**64
    return number, digest


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
