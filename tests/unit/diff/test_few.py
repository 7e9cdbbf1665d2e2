"""Few ids, compared in sets: as the model says; and where there are more, everything goes into tables."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.diff.few import FewChanges, judge, take_few
from reconciler.models.batches import Direction
from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.ids import IdType, Invalid, are_ids, check_text, fold
from reconciler.sources.base import write_typed
from tests.fakes import set_model
from tests.fakes.arrow_streams import LocalComparer, open_local_comparer
from tests.fakes.random_worlds import BAD, IDS, make_crowd
from tests.fakes.set_model import JournalRow, MarkRow, Person, Value, World

BUSY = World(
    values=tuple(map(Value, "aabcd")),
    members=frozenset("bx"),
    marks=(MarkRow("c", "unmatched", None, 1.0), MarkRow("y", "unsettled", "add", 3.0)),
    journal=(JournalRow(1, "remove", "unknown", 2.0, None, ("d",)),),
    sentinels=("a", "z"),
)
"""Something of everything; five rows of the query, two members, three ids in marks and journal."""


def look(comparer: LocalComparer, world: World) -> type:
    """Compare, and check what comes out; gives how it was compared."""
    with comparer.compare(world) as comparison:
        changes = comparison.compare()
        ids = {way: [id for batch in changes.batches(way) for id in batch.ids] for way in Direction}
        found = set_model.Outcome(changes.counts, ids[Direction.ADD], ids[Direction.REMOVE])
        assert found == set_model.compare(world)
        return type(changes)


def test_a_crowd_in_every_situation_is_compared_as_the_model_says(few_comparer: LocalComparer) -> None:
    assert look(few_comparer, make_crowd(exclusive=False, as_blocks=True)) is FewChanges


@pytest.mark.parametrize("few", [1, 2, 4, 5])
def test_what_grows_beyond_the_limit_on_any_side_goes_into_tables(tmp_path: Path, few: int) -> None:
    with open_local_comparer(tmp_path, few=few) as comparer:
        assert (look(comparer, BUSY) is FewChanges) == (few == 5)


def test_a_real_membership_is_compared_in_tables(few_comparer: LocalComparer) -> None:
    with few_comparer.compare(replace(BUSY, exclusive=True, people=(Person("1", "a"),))) as comparison:
        assert not isinstance(comparison.compare(), FewChanges)


def test_after_a_comparison_in_sets_a_read_back_is_made_in_tables(few_comparer: LocalComparer) -> None:
    with few_comparer.compare(replace(BUSY, people=(Person("1", "b"),))) as comparison:
        assert isinstance(comparison.compare(), FewChanges)
        assert comparison.drift() == set_model.read_back(replace(BUSY, people=(Person("1", "b"),))).drift


def test_many_lines_are_handed_on_as_they_came() -> None:
    blocks = [chr(ROW_END).join("ab"), chr(ROW_END).join("cd"), "e"]

    assert take_few(iter(blocks), 5) == (list("abcde"), None)
    lines, rest = take_few(iter(blocks), 4)
    assert lines == []
    assert isinstance(rest, Iterator)
    assert list(rest) == blocks
    assert take_few(iter([]), 4) == ([], None)
    stream = object()
    assert take_few(stream, 4) == ([], stream)  # type: ignore[arg-type]


texts = st.one_of(
    st.text(max_size=4), st.sampled_from(BAD), st.sampled_from([each for ids in IDS.values() for each in ids])
)


@given(values=st.lists(st.tuples(st.none() | texts, st.booleans()), max_size=6), id_type=st.sampled_from(IdType))
def test_each_line_is_judged_by_the_rules_of_ids(values: list[tuple[str | None, bool]], id_type: IdType) -> None:
    lines = [line for block in write_typed(values) for line in block.split(chr(ROW_END))]
    ids, returned = judge(lines, id_type)

    found = [None if text is None else check_text(text, id_type) if typed else Invalid.TYPE for text, typed in values]
    assert ids == {each for each in found if each is not None and not isinstance(each, Invalid)}
    assert returned.nulls == found.count(None)
    assert returned.invalid == sum(isinstance(each, Invalid) for each in found)
    assert returned.valid == len(found) - returned.nulls - returned.invalid
    for reason in Invalid:
        assert returned.rows.get(reason.name, 0) == found.count(reason)


@given(some=st.lists(texts, max_size=4), id_type=st.sampled_from(IdType))
def test_of_what_passes_the_quick_look_each_is_an_id_as_it_is(some: list[str], id_type: IdType) -> None:
    if are_ids(some, id_type):
        assert [check_text(text, id_type) for text in some] == [fold(text, id_type) for text in some]


@pytest.mark.parametrize("odd", ["", " ", "a b", "é", "a\n", "a\x7f", "a" * 151, chr(FIELD_END), chr(FIELD_END) * 2])
@pytest.mark.parametrize("id_type", list(IdType))
def test_one_odd_text_makes_all_be_looked_at(odd: str, id_type: IdType) -> None:
    plain = ["a@x", "b@x"]
    assert are_ids(plain, id_type)
    assert are_ids([*plain, "c" * 148 + "@x"], id_type)
    assert not are_ids([*plain, odd], id_type)
