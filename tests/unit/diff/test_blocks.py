"""Blocks of text: what goes into tables, and what comes out to be sent."""

import pytest

from reconciler.diff import tables
from reconciler.diff.tables import unless_empty, write_batches, write_page
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import FIELD_END, ROW_END
from tests.fakes.arrow_streams import make_page

ROW, FIELD = chr(ROW_END), chr(FIELD_END)


def test_rows_that_come_one_by_one_are_none_if_there_is_no_first() -> None:
    rows = unless_empty(iter(["a", "b", ""]))

    assert rows is not None
    assert list(rows) == ["a", "b", ""]
    assert list(unless_empty(iter([""])) or ()) == [""]
    assert unless_empty(iter(())) is None


def test_of_a_stream_it_is_not_known_whether_it_is_empty() -> None:
    stream = object()
    assert unless_empty(stream) is stream  # type: ignore[arg-type, comparison-overlap]


def test_a_page_is_a_block_for_each_column() -> None:
    assert write_page(make_page(("1", "a"), ("2", None), ("3", ""), ("4", "b c"))) == (
        ROW.join("1234"),
        ROW.join(["a", "", "", "b c"]),
    )


def test_a_key_that_would_break_its_row_is_no_key_and_a_person_stays_one() -> None:
    page = make_page(("1", f"a{ROW}b"), (f"2{ROW}3", "c"), ("4", None), ("5", f"{ROW}"))
    assert write_page(page) == (ROW.join(["1", "2 3", "4", "5"]), ROW.join(["", "c", "", ""]))
    assert write_page(make_page(("1", "a"), ("2", f"b{ROW}"))) == (ROW.join("12"), ROW.join(["a", ""]))
    assert write_page(make_page((f"{ROW}1", "a"))) == (" 1", "a")


def test_batches_become_rows_many_in_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BATCHES_PER_BLOCK", 2)
    batches = [Batch(Direction.ADD, ("a", "b")), Batch(Direction.REMOVE, ("c",)), Batch(Direction.ADD, ("d",))]

    assert list(write_batches(batches)) == [
        f"a{FIELD}true{ROW}b{FIELD}true{ROW}c{FIELD}false",
        f"d{FIELD}true",
    ]
    assert list(write_batches([])) == []
