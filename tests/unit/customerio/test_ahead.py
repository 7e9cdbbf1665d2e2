"""Reading ahead: the same items, and never more than one of them waiting."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.customerio.app_api import read_ahead
from reconciler.errors import IncompleteRead


@given(items=st.lists(st.none() | st.integers()))
def test_the_same_items_in_the_same_order(items: list[int | None]) -> None:
    assert list(read_ahead(iter(items))) == items


def test_the_next_item_is_fetched_while_one_is_worked_on_and_no_other() -> None:
    fetched = [threading.Event() for _ in range(4)]

    def fetch() -> Iterator[int]:
        for number, event in enumerate(fetched):
            event.set()
            yield number

    with closing(read_ahead(fetch())) as items:
        for number in items:
            assert fetched[min(number + 1, 3)].wait(30)
            assert not any(event.is_set() for event in fetched[number + 2 :])


def test_an_error_is_raised_in_its_place() -> None:
    def fetch() -> Iterator[int]:
        yield 1
        raise IncompleteRead("the pages make no sense")

    items = read_ahead(fetch())

    assert next(items) == 1
    with pytest.raises(IncompleteRead, match="no sense"):
        next(items)
    assert list(items) == []


@pytest.mark.parametrize("leave_after", [0, 1, 2, 9])
def test_no_thread_is_left_behind(leave_after: int) -> None:
    before = set(threading.enumerate())

    with closing(read_ahead(iter(range(3)))) as items:
        for _ in zip(range(leave_after), items, strict=False):
            pass

    assert set(threading.enumerate()) == before


def test_who_fails_in_the_middle_waits_for_the_item_on_its_way() -> None:
    before = set(threading.enumerate())

    def work() -> None:
        with closing(read_ahead(iter(range(3)))) as items:
            next(items)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        work()

    assert set(threading.enumerate()) == before
