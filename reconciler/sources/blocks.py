"""Rows from Python as blocks of one column, written exactly."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reconciler.models.ids import Invalid, write_exactly
from reconciler.sources.arrow import Block

BLOCK_ROWS = 50_000

Rows = Sequence[Sequence[object]]


def blocks(fetch: Callable[[int], Rows], at: int, *, fit: bool = True) -> Iterator[Block]:
    """Fetch to the end; column number `at` holds the ids. `fit`: values of its type may be ids."""
    write = write_block if fit else write_unfit
    while rows := fetch(BLOCK_ROWS):
        yield write([row[at] for row in rows])


def write_block(values: Sequence[Any]) -> Block:
    """Write values exactly; a column of one plain type is not looked at value by value."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return values, None
    if kinds <= {int}:
        return [None if value is None else str(value) for value in values], None
    written = [None if value is None else write_exactly(value) for value in values]
    typed = [not isinstance(text, Invalid) for text in written]
    return [text if good else "" for text, good in zip(written, typed, strict=True)], typed


def write_unfit(values: Sequence[Any]) -> Block:
    """Write values of a type that ids can't have, whatever the driver has made of them."""
    return [None if value is None else "" for value in values], [value is None for value in values]
