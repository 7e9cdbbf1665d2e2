"""Blocks of text into tables: how rows come from a state that gives no Arrow streams (see `engine.ports.Rows`)."""

from reconciler.engine.ports import FIELD_END, ROW_END

COLUMNS = {
    "members": {"id": "VARCHAR"},
    "marks": {"id": "VARCHAR", "mark": "VARCHAR", "direction": "VARCHAR", "at": "DOUBLE"},
    "journal": {
        "seq": "BIGINT",
        "direction": "VARCHAR",
        "outcome": "VARCHAR",
        "at": "DOUBLE",
        "unknown_at": "DOUBLE",
        "ids": "VARCHAR",
    },
}
"""The columns of `engine.ports.Stored`."""


def begin_blocks(name: str) -> str:
    """Make the empty table."""
    columns = ", ".join(f'"{column}" {kind}' for column, kind in COLUMNS[name].items())
    return f"CREATE OR REPLACE TEMP TABLE {name} ({columns})"


def add_block(name: str) -> str:
    """Add the rows of the block $1."""
    rows = f"unnest(string_split($1, chr({ROW_END})))"
    kinds = COLUMNS[name].values()
    if len(kinds) == 1:
        return f"INSERT INTO {name} SELECT {rows}"
    fields = ", ".join(f"nullif(fields[{place}], '')::{kind}" for place, kind in enumerate(kinds, 1))
    return f"INSERT INTO {name} SELECT {fields} FROM (SELECT string_split({rows}, chr({FIELD_END})) AS fields)"


def drop_blocks(name: str) -> str:
    """Drop the table."""
    return f"DROP TABLE IF EXISTS temp.{name}"
