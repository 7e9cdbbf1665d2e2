"""Columns out of the state: what a database gives through ADBC, with each column of one sure type.

ADBC guesses a SQLite column's type from its first rows: NULLs, and a column without rows, come out as integers. So
SQLite is asked for texts and numbers without NULLs, and a DuckDB gives each column its type and its NULLs back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from reconciler.core.plan import Head
from reconciler.engine.ports import ArrowStream

_SETTINGS = {
    "threads": "1",
    "memory_limit": "256MB",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


@dataclass(frozen=True, eq=False)
class Shape:
    """A stream: where its rows stand, name and type (DuckDB's) of each column, and which of them have NULLs."""

    rows: str
    types: Mapping[str, str]
    nullable: frozenset[str] = frozenset()
    rows_per_batch: int = 65_536


MEMBERS = Shape("reconcile_members WHERE segment_key = {key} ORDER BY id", {"id": "VARCHAR"})
MARKS = Shape(
    "reconcile_marks WHERE segment_key = {key} ORDER BY id",
    {"id": "VARCHAR", "mark": "VARCHAR", "direction": "VARCHAR", "at": "DOUBLE"},
    frozenset({"direction"}),
)
JOURNAL = Shape(
    "reconcile_batches WHERE segment_key = {key} ORDER BY seq",
    {
        "seq": "BIGINT",
        "direction": "VARCHAR",
        "outcome": "VARCHAR",
        "at": "DOUBLE",
        "unknown_at": "DOUBLE",
        "ids": "VARCHAR",
    },
    frozenset({"outcome", "unknown_at"}),
    rows_per_batch=64,
)


class Once:
    """A stream that gives its one capsule to whoever asks: DuckDB asks twice, for the schema and for the rows.

    `keep`: what must live as long as the stream is read.
    """

    def __init__(self, stream: ArrowStream, *keep: object) -> None:
        self._stream = stream
        self._keep = keep
        self._capsule: object | None = None

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        if self._capsule is None:
            self._capsule = self._stream.__arrow_c_stream__(None)
        return self._capsule


class Typist:
    """Gives streams their types; closed when the streams have been read."""

    def __init__(self) -> None:
        self._database = duckdb.connect(":memory:", config=dict(_SETTINGS))
        self._cursors: list[duckdb.DuckDBPyConnection] = []

    def retype(self, stream: ArrowStream, shape: Shape) -> ArrowStream:
        """Give each column of `stream` the type that `shape` says."""
        connection = self._connect()
        connection.register("raw", Once(stream))
        relation = connection.sql(f"SELECT {', '.join(_cast(name, shape) for name in shape.types)} FROM raw")
        return Once(relation, stream)

    def make_empty(self, shape: Shape) -> ArrowStream:
        """A stream without rows."""
        columns = (f'NULL::{kind} AS "{name}"' for name, kind in shape.types.items())
        return Once(self._connect().sql(f"SELECT {', '.join(columns)} LIMIT 0"))

    def fetch(self, stream: ArrowStream) -> list[tuple[object, ...]]:
        """Read a small stream whole."""
        connection = self._connect()
        connection.register("raw", Once(stream))
        rows: list[tuple[object, ...]] = connection.execute("SELECT * FROM raw").fetchall()
        return rows

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        self._database.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """A connection for each stream: two may be read at once, from two threads."""
        cursor = self._database.cursor()
        self._cursors.append(cursor)
        return cursor


@dataclass
class NothingStored:
    """A segment that the state has never met; it is an `engine.ports.Stored`."""

    head: Head
    typist: Typist

    def members(self) -> ArrowStream:
        return self.typist.make_empty(MEMBERS)

    def marks(self) -> ArrowStream:
        return self.typist.make_empty(MARKS)

    def journal(self) -> ArrowStream:
        return self.typist.make_empty(JOURNAL)


def _cast(name: str, shape: Shape) -> str:
    kind = shape.types[name]
    cast = f'"{name}"::{kind}'
    if name in shape.nullable:
        cast = f"nullif({cast}, {_null_of(kind)})"
    return f'{cast} AS "{name}"'


def _null_of(kind: str) -> str:
    return "''" if kind == "VARCHAR" else "-1"


def select(shape: Shape, casts: Mapping[str, str]) -> str:
    """The list of a SELECT that writes NULLs as `retype` reads them; `casts`: DuckDB's type to the database's."""
    return ", ".join(_write(name, shape, casts) for name in shape.types)


def _write(name: str, shape: Shape, casts: Mapping[str, str]) -> str:
    kind = shape.types[name]
    cast = f"cast({name} AS {casts[kind]})"
    if name in shape.nullable:
        cast = f"coalesce({cast}, {_null_of(kind)}{'.0' if kind == 'DOUBLE' else ''})"
    return f"{cast} AS {name}"
