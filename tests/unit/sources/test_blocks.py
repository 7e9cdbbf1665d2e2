"""Blocks of Python values as blocks of text, and back."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.models.ids import IdType, Invalid, identify
from reconciler.sources.base import read_blocks, write_block

from .conftest import values_of

SEPARATORS = st.sampled_from(["\x1e", "\x1f", "\x1f\x1f", "\x1d", ""])
TEXTS = st.text(st.characters(), max_size=6) | SEPARATORS
VALUES = (
    st.none() | TEXTS | st.integers(-(2**63), 2**63) | st.floats() | st.booleans() | st.binary(max_size=3) | st.uuids()
)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=40) | st.lists(st.none() | TEXTS, min_size=1, max_size=40))
@example(values=[""])
@example(values=["", None])
@example(values=[None])
@example(values=["a\x1eb", "c\x1f", "\x1f", None, "\x1f\x1f", "\x1e"])
@example(values=["a\0b", "\x1f"])
def test_every_value_comes_out_as_the_id_that_it_is_or_as_invalid_for_the_same_reason(values):
    written = values_of(write_block(values))

    assert [judge(*each) for each in written] == [identify(value, IdType.ID) for value in values]


def judge(value, typed):
    if value is None:
        return None
    return identify(value, IdType.ID) if typed else Invalid.TYPE


def test_half_a_surrogate_pair_is_no_text():
    assert values_of(write_block(["a", "\ud800", None])) == [("a", True), ("", False), (None, True)]


def test_a_column_is_read_in_blocks():
    rows = iter([[(1, "a"), (2, None)], [(3, "b")], []])

    blocks = list(read_blocks(lambda _: next(rows), 1))

    assert [values_of(block) for block in blocks] == [[("a", True), (None, True)], [("b", True)]]


@pytest.mark.parametrize(
    ("values", "written"),
    [
        (["a", None], [("a", True), (None, True)]),
        ([7, None], [("7", True), (None, True)]),
        ([7, True], [("7", True), ("", False)]),
        ([7, 7.0, "a", None], [("7", True), ("", False), ("a", True), (None, True)]),
        ([b"a"], [("", False)]),
        ([None], [(None, True)]),
    ],
)
def test_values_are_written_exactly(values, written):
    assert values_of(write_block(values)) == written
