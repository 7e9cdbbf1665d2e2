"""Columns where a driver has them: the ids of a result as Arrow, without an object of Python for each.

The reader of rows is the oracle. A type of which not every value is written here exactly as there is left to it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
from sqlalchemy.engine import CursorResult

from reconciler.errors import SourceError
from reconciler.models.comparison import ArrowStream
from reconciler.sources.base import ALL_TYPED, BLOCK_ROWS, Query
from reconciler.sources.duckdb import INTEGRAL, StartedRelation
from reconciler.sources.failures import Scrubber

_MOST_DIGITS = 38
"""Of a decimal of DuckDB, which compares wider ones as floats."""


@dataclass(frozen=True)
class Columns:
    """The ids of a result by column; see `ValueStream` for `rows` and `select`."""

    rows: ArrowStream
    select: str


Batches = Iterable[Any]
"""Tables or record batches of pyarrow, all with the same columns; the types of a column may be of several widths."""


@contextmanager
def stream_batches(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, scrubber: Scrubber, query: Query
) -> Iterator[StartedRelation]:
    """Stream record batches to DuckDB, which keeps nothing but a text of what they raise: it is raised here instead.

    Raises SourceError, also while the stream is read.
    """
    failed: list[SourceError] = []

    def read() -> Generator[pa.RecordBatch]:
        try:
            with scrubber.explaining(Exception, query):
                yield from batches
        except SourceError as error:
            failed.append(error)
            raise

    with closing(read()) as reading:
        reader = pa.RecordBatchReader.from_batches(schema, reading)
        try:
            yield StartedRelation(reader.__arrow_c_stream__())
        except Exception:
            if failed:
                raise failed[0] from None
            raise


@contextmanager
def read_columns(batches: Batches, at: int, scrubber: Scrubber, query: Query) -> Iterator[Columns | None]:
    """Stream column number `at`, or give None if its type is one for the reader of rows.

    Raises SourceError, also while the stream is read.
    """
    with scrubber.explaining(Exception, query):
        arrays = _list_arrays(batches, at)
        first = next(arrays, pa.nulls(0))
    written = choose_type(first.type)
    if written is None:
        yield None
        return
    kind, select = written
    schema = pa.schema({"value": kind})
    with stream_batches(_cast(chain([first], arrays), schema), schema, scrubber, query) as rows:
        yield Columns(rows, select)


def _cast(arrays: Iterator[pa.Array], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for array in arrays:
        array.validate(full=True)  # a text may be no UTF-8
        yield pa.record_batch([array.cast(schema.types[0])], schema=schema)


def choose_type(kind: pa.DataType) -> tuple[pa.DataType, str] | None:
    """Give the type to read values of this one as, and the SQL that writes them; None: only the reader of rows can."""
    kinds = pa.types
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    is_text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)
    if is_text or kinds.is_integer(kind) or kinds.is_null(kind) or (kinds.is_decimal(kind) and kind.scale == 0):
        return pa.string(), ALL_TYPED
    if kinds.is_decimal(kind) and kind.scale > 0 and kind.precision <= _MOST_DIGITS:
        return pa.decimal128(_MOST_DIGITS, kind.scale), f"SELECT {INTEGRAL.format('value')} FROM incoming"
    return None


def _list_arrays(batches: Batches, at: int) -> Iterator[pa.Array]:
    for batch in batches:
        column = batch.column(at)
        yield from column.chunks if isinstance(column, pa.ChunkedArray) else [column]


# --- by driver ------------------------------------------------------------------------------------------------------


def open_batches(result: CursorResult[Any], at: int) -> Batches | None:
    """Have the driver of a result give it by column; None where it can't, or has no use: then read its rows."""
    opener = DRIVERS.get(result.dialect.driver)
    return opener(result.cursor, at) if opener is not None and result.cursor is not None else None


def _open_snowflake(cursor: Any, at: int) -> Batches | None:
    described = cursor.description[at]
    is_integer = described.type_code == _SNOWFLAKE_FIXED and described.scale == 0
    # Other numbers come as floats, and a few types of other names come as texts of JSON.
    return cursor.fetch_arrow_batches() if is_integer or described.type_code == _SNOWFLAKE_TEXT else None


def _open_bigquery(cursor: Any, at: int) -> Batches | None:
    """Ask for the rows of the job by column, with two requests more; a first block came with the answer already."""
    if cursor.rowcount <= BLOCK_ROWS or cursor.description[at].type_code not in _BIGQUERY:
        return None
    job = cursor.query_job
    return None if job is None else job.result().to_arrow_iterable()


def _open_databricks(cursor: Any, at: int) -> Batches | None:
    queue = getattr(cursor.active_result_set, "results", None)
    # What an old cluster answers is no Arrow.
    if cursor.description[at][1] not in _DATABRICKS or type(queue).__name__ == "ColumnQueue":
        return None
    return _fetch_tables(cursor)


def _fetch_tables(cursor: Any) -> Iterator[Any]:
    while (table := cursor.fetchmany_arrow(_ROWS_AT_ONCE)).num_rows:  # the empty one at the end may lack its columns
        yield table


_ROWS_AT_ONCE = 50_000
_SNOWFLAKE_FIXED, _SNOWFLAKE_TEXT = 0, 2
_BIGQUERY = frozenset({"STRING", "INTEGER", "INT64", "NUMERIC"})
_DATABRICKS = frozenset({"string", "tinyint", "smallint", "int", "bigint", "decimal"})
DRIVERS: Mapping[str, Callable[[Any, int], Batches | None]] = {
    "snowflake": _open_snowflake,
    "bigquery": _open_bigquery,
    "databricks": _open_databricks,
}
"""Those that give Arrow as well as rows."""


# --- the rows of a comparison at the source, where an engine gives and takes them as Arrow --------------------------

ANSWER = pa.schema(
    {
        "stays": pa.bool_(),
        "id": pa.string(),
        "typed": pa.bool_(),
        "flags": pa.int64(),
        "number": pa.int64(),
        "held": pa.int64(),
        "members": pa.int64(),
        "total": pa.string(),
    }
)
"""As `models.members.Answer` has them."""


def read_answer(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Give a batch of what the comparison returned with the columns of `ANSWER`."""
    columns = dict(zip(ANSWER.names, batch.columns, strict=True))
    columns["id"], columns["typed"] = _decode(columns["id"], columns["typed"])
    arrays = [columns[one.name].cast(one.type) for one in ANSWER]
    return pa.RecordBatch.from_arrays(arrays, schema=ANSWER)


def _decode(ids: pa.Array, typed: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Give ids that are UTF-8; a string of Spark need be none, and is then of no type that may be an id."""
    raw = ids.cast(pa.binary())
    try:
        return raw.cast(pa.string()), typed
    except pa.ArrowInvalid:
        found = []
        for value, is_typed in zip(raw.to_pylist(), typed.to_pylist(), strict=True):
            try:
                found.append((value and value.decode(), is_typed))
            except UnicodeDecodeError:
                found.append(("", False))
        texts, kinds = zip(*found, strict=True)
        return pa.array(texts, pa.string()), pa.array(kinds, pa.bool_())
