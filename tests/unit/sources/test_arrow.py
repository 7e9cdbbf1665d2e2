"""Blocks of Python values as an Arrow stream."""

import gc
import weakref

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.sources.arrow import RowStream, WatchedStream
from reconciler.sources.blocks import blocks, write_block

pytestmark = pytest.mark.slow

VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
BLOCKS = st.lists(st.lists(st.tuples(VALUES, st.booleans()), max_size=40), max_size=4)


def read(handle):
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("desired", handle)
        return connection.execute("SELECT value, typed FROM desired").fetchall()


@settings(max_examples=30, deadline=None)
@given(rows=BLOCKS)
def test_whatever_goes_in_comes_out_in_order(rows):
    stream = RowStream(([value for value, _ in block], [typed for _, typed in block]) for block in rows)

    assert read(stream.open()) == [row for block in rows for row in block]


@settings(max_examples=30, deadline=None)
@given(rows=BLOCKS)
def test_a_stream_passed_on_is_the_same_stream(rows):
    inner = RowStream(([value for value, _ in block], [typed for _, typed in block]) for block in rows)

    assert read(WatchedStream(inner.open()).open()) == [row for block in rows for row in block]


def test_without_flags_all_are_typed():
    stream = RowStream(iter([(["a"] * 9, None)]))

    assert read(stream.open()) == [("a", True)] * 9


def test_half_a_surrogate_pair_is_no_text():
    stream = RowStream(iter([(["a", "\ud800", None], None)]))

    assert read(stream.open()) == [("a", True), ("", False), (None, True)]


@pytest.mark.parametrize("passed_on", [False, True])
def test_a_failure_of_the_blocks_ends_the_stream_and_is_kept(passed_on):
    def broken():
        yield ["a"], None
        raise LookupError("it broke")

    stream = RowStream(broken())
    outer = WatchedStream(stream.open()) if passed_on else stream

    with pytest.raises(duckdb.Error, match="it broke"):
        read(outer.open())
    assert isinstance(stream.failure, LookupError)
    assert str(outer.failure) == "it broke"


def test_nothing_is_kept_alive_once_a_stream_is_released():
    stream = RowStream(iter([(["a"], None)]))
    handle, known = stream.open(), weakref.ref(stream)

    del stream
    gc.collect()
    assert known() is not None
    handle.release()
    gc.collect()

    assert known() is None


def test_a_column_is_read_in_blocks():
    rows = iter([[(1, "a"), (2, None)], [(3, "b")], []])

    assert list(blocks(lambda _: next(rows), 1)) == [(["a", None], None), (["b"], None)]


@pytest.mark.parametrize(
    ("values", "block"),
    [
        (["a", None], (["a", None], None)),
        ([7, None], (["7", None], None)),
        ([7, True], (["7", ""], [True, False])),
        ([7, 7.0, "a", None], (["7", "", "a", None], [True, False, True, True])),
        ([b"a"], ([""], [False])),
        ([None], ([None], None)),
    ],
)
def test_values_are_written_exactly(values, block):
    assert write_block(values) == block
