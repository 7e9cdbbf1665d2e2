"""Rows from Python as blocks of text (see `models.comparison.Rows`), a line for each value, written exactly."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.ids import Invalid, has_utf8, write_exactly

BLOCK_ROWS = 50_000

_END, _NULL = chr(ROW_END), chr(FIELD_END)
_UNFIT = _NULL * 2
_OTHER_CONTROL = "\x1d"

SELECT_LINES = f"""
SELECT CASE WHEN starts_with(line, chr({FIELD_END})) THEN if(line = chr({FIELD_END}), NULL, '') ELSE line END AS value,
    line <> chr({FIELD_END}) || chr({FIELD_END}) AS typed
FROM incoming"""
"""For `ValueStream.select`: what the lines of these blocks mean."""

Rows = Sequence[Sequence[object]]


def read_blocks(fetch: Callable[[int], Rows], at: int, *, fit: bool = True) -> Iterator[str]:
    """Fetch to the end; column number `at` holds the ids. `fit`: values of its type may be ids."""
    while rows := fetch(BLOCK_ROWS):
        values = [row[at] for row in rows]
        yield write_block(values) if fit else _END.join([_NULL if value is None else _UNFIT for value in values])


def write_block(values: Sequence[Any]) -> str:
    """Write values exactly; a column of one plain type is not examined value by value."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        block = _END.join([_NULL if value is None else value for value in values])
    elif kinds <= {int}:
        block = _END.join([_NULL if value is None else str(value) for value in values])
    else:
        return _END.join(map(_write_value, values))
    is_separable = block.count(_END) == len(values) - 1 and block.count(_NULL) == values.count(None)
    return block if is_separable and has_utf8(block) else _END.join(map(_write_value, values))


def _write_value(value: Any) -> str:
    """Write one value. Half a surrogate pair is no text; such a value is of a wrong type."""
    if value is None:
        return _NULL
    text = write_exactly(value)
    if isinstance(text, Invalid) or not has_utf8(text):
        return _UNFIT
    # No id holds a control character, and the value is refused for the same reason with any other one.
    return text.replace(_END, _OTHER_CONTROL).replace(_NULL, _OTHER_CONTROL)
