"""What a driver gives as Arrow is written as the reader of rows writes it, or is left to that reader."""

from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace

import pyarrow as pa
import pytest
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.ids import Invalid, write_exactly
from reconciler.sources import columns
from reconciler.sources.base import Query, ValueStream
from reconciler.sources.columns import read_columns
from reconciler.sources.failures import Scrubber
from tests.support.one_duckdb import open_cursor
from tests.unit.sources.conftest import Row, rows_of, segment

SCRUBBER = Scrubber.of("warehouse", Secret("snowflake://user:password@account/db"))
QUERY = Query.of(segment("SELECT id FROM people"), "snowflake")


def read_batches(batches: Iterator[pa.Array] | list[pa.Array]) -> list[Row] | None:
    """Every (value, typed); None: they are left to the reader of rows."""
    tables = (pa.table({"other": pa.nulls(len(array)), "id": array}) for array in batches)
    with read_columns(tables, 1, SCRUBBER, QUERY) as found, open_cursor() as cursor:
        return None if found is None else list(rows_of(ValueStream(found.rows, found.select), cursor))


def write(value: object) -> Row:
    text = None if value is None else write_exactly(value)
    return ("", False) if isinstance(text, Invalid) else (text, True)


DECIMALS = [Decimal("7.00"), None, Decimal("-0.10"), Decimal("0.00"), Decimal("-7.00"), Decimal(f"{'9' * 36}.00")]
WRITTEN = {
    "texts": (pa.string(), ["a", "", None, " a ", "7.0", "a\0b", "a\x1fb\x1e", "né€𝄞", "\u202e"]),
    "long texts": (pa.large_string(), ["a" * 1000, None]),
    "views of texts": (pa.string_view(), ["a" * 1000, None]),
    "texts of few": (pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"]),
    "small integers": (pa.int8(), [7, -7, None, 0]),
    "integers": (pa.int64(), [2**63 - 1, -(2**63), None, 9007199254740993]),
    "integers without a sign": (pa.uint64(), [2**64 - 1, None]),
    "wide integers": (pa.decimal128(38, 0), [Decimal("9" * 38), Decimal(f"-{'9' * 38}"), None, Decimal(0)]),
    "wider integers": (pa.decimal256(76, 0), [Decimal("9" * 76), Decimal(-7), None]),
    "decimals": (pa.decimal128(38, 2), DECIMALS),
    "narrow decimals": (pa.decimal128(5, 2), [Decimal("7.00"), Decimal("7.50"), None]),
    "nothing but NULL": (pa.null(), [None, None]),
    "no rows": (pa.string(), []),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_a_type_of_ids_is_written_as_rows_are(case):
    kind, values = WRITTEN[case]

    assert read_batches([pa.array(values, kind)]) == [write(value) for value in values]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.float64(), pa.float16(), pa.bool_(), pa.date32(), pa.timestamp("us"), pa.time64("us"), pa.binary()),
        *(pa.binary(16), pa.list_(pa.string()), pa.struct([("a", pa.string())]), pa.duration("us")),
        *(pa.decimal256(76, 38), pa.decimal128(5, -2), pa.dictionary(pa.int8(), pa.float64())),
    ],
    ids=str,
)
def test_any_other_type_is_left_to_the_reader_of_rows(kind):
    assert read_batches([pa.nulls(1, kind)]) is None


def test_batches_may_differ_in_the_width_of_their_integers():
    """Snowflake gives each chunk the narrowest type that holds it."""
    batches = [pa.array([7], pa.int8()), pa.array([2**40], pa.int64()), pa.array([10**30], pa.decimal128(38, 0))]

    assert read_batches(batches) == [("7", True), (str(2**40), True), (str(10**30), True)]


def test_no_batch_at_all_is_no_row():
    assert read_batches([]) == []


def test_a_batch_of_a_type_that_holds_no_ids_fails_the_whole():
    with pytest.raises(SourceError):
        read_batches([pa.array(["a"]), pa.array([[1]])])


def test_a_text_that_is_no_utf_8_fails_the_whole():
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])

    with pytest.raises(SourceError):
        read_batches([pa.array(["a"]), bad])


def test_what_the_driver_raises_while_it_is_read_is_told_as_its_own():
    def fail() -> Iterator[pa.Array]:
        yield pa.array(["a"])
        raise ConnectionError("Connection reset by peer")

    with pytest.raises(SourceError, match=r"^source warehouse: Connection reset by peer$"):
        read_batches(fail())


# --- Databricks, whose driver meets no server here -------------------------------------------------------------------


class ArrowQueue:
    """What the driver has of an answer in Arrow."""


class ColumnQueue:
    """What it has of any other one."""


class DatabricksCursor:
    """A cursor of databricks-sql-connector as its source has it, with some tables as the result."""

    def __init__(self, kind: str, *arrays: pa.Array, queue: type = ArrowQueue) -> None:
        self.description = [("other", "string", *[None] * 5), ("id", kind, *[None] * 5)]
        self.active_result_set = SimpleNamespace(results=queue())
        self.tables = [pa.table({"other": pa.nulls(len(each)), "id": each}) for each in arrays]

    def fetchmany_arrow(self, size: int) -> pa.Table:
        return self.tables.pop(0) if self.tables else pa.table({})


def open_databricks(cursor: DatabricksCursor) -> columns.Batches | None:
    return columns.DRIVERS["databricks"](cursor, 1)


@pytest.mark.parametrize(
    ("described", "case"),
    [("string", "texts"), ("bigint", "integers"), ("decimal", "decimals"), ("decimal", "wide integers")],
)
def test_a_result_of_databricks_is_written_as_rows_are(described, case):
    kind, values = WRITTEN[case]
    batches = open_databricks(DatabricksCursor(described, pa.array(values, kind), pa.array(values[:1], kind)))

    assert batches is not None
    with read_columns(batches, 1, SCRUBBER, QUERY) as found, open_cursor() as cursor:
        assert found is not None
        read = list(rows_of(ValueStream(found.rows, found.select), cursor))
    assert read == [write(value) for value in [*values, *values[:1]]]


def test_a_result_of_databricks_without_rows_is_read_to_its_end():
    batches = open_databricks(DatabricksCursor("string"))

    assert batches is not None
    assert list(batches) == []


@pytest.mark.parametrize("described", ["double", "float", "boolean", "date", "timestamp", "binary", "array", "variant"])
def test_another_type_of_databricks_is_left_to_the_reader_of_rows(described):
    assert open_databricks(DatabricksCursor(described, pa.array(["a"]))) is None


def test_a_cluster_that_answers_without_arrow_is_read_by_rows():
    assert open_databricks(DatabricksCursor("string", queue=ColumnQueue)) is None


def test_the_ids_of_this_database_come_by_column(warehouse, people, monkeypatch):
    monkeypatch.setattr(columns, "BLOCK_ROWS", 0)
    # SQLAlchemy has no dialect for Spark Connect.
    is_by_column = warehouse.url.startswith("sc:") or make_url(warehouse.url).get_driver_name() in columns.DRIVERS

    with warehouse.open().stream_values(segment("SELECT id FROM people")) as values:
        assert not (is_by_column and isinstance(values.rows, Iterator))
