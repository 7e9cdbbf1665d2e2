"""Columns of ids as they travel between sources, state and comparison."""

from collections.abc import Iterator
from typing import Protocol, TypeAlias


class ArrowStream(Protocol):
    """Anything that speaks the Arrow C stream interface; it can be read once."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


ROW_END = 0x1E
FIELD_END = 0x1F
"""The control characters (Unicode: record and unit separator) that end rows and fields in blocks of text."""

Rows: TypeAlias = ArrowStream | Iterator[str]
"""Rows by column: an Arrow stream; or blocks of text, in which rows are parted by ROW_END, their fields by FIELD_END,
and an empty field is a null. Ids hold no control characters."""
