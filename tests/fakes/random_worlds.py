"""Any world: a few ids that meet everywhere, in every combination."""

import itertools
from dataclasses import replace

from hypothesis import strategies as st

from reconciler.models.ids import IdType
from tests.fakes.set_model import JournalRow, MarkRow, Person, Value, World

IDS = {
    IdType.ID: ["a", "b", "B", "c", "é", "e\u0301", "Z", "z z"],
    IdType.EMAIL: ["a@x", "b@x", "c@x", "é@x", "É@x", "e\u0301@x", "z@z"],
    IdType.CIO_ID: ["0a", "0b", "0c", "0A"],
}
BAD = [" a", "a\t", "", "\u2003", "a\x00b", "a@@b", "x" * 151, "a@x\x85"]
BAD_KEYS = ["a\nb", "a\x85", ""]
times = st.integers(1, 99).map(float)
directions = st.sampled_from(["add", "remove"])


@st.composite
def worlds(draw: st.DrawFn, with_people: bool | None = None) -> World:
    """`with_people`: whether the real membership is known; None: now so, now so."""
    id_type = draw(st.sampled_from(list(IdType)))
    ids = st.sampled_from(IDS[id_type])
    exclusive = draw(st.booleans())
    known = with_people if with_people is not None else draw(st.booleans())
    return World(
        values=tuple(draw(_values(id_type, ids))),
        members=frozenset(draw(st.sets(ids))),
        marks=draw(_marks(ids)),
        journal=draw(_journals(ids)),
        people=draw(_people(id_type, ids)) if known else None,
        exclusive=exclusive,
        id_type=id_type,
        sentinels=tuple(draw(st.lists(_shouted(id_type, ids), max_size=3))),
        now=draw(st.sampled_from([100.0, 3660.0])),
        as_blocks=draw(st.booleans()),
    )


def _shouted(id_type: IdType, ids: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An email may come in capitals; as an id, it is the same."""
    return st.one_of(ids, ids.map(lambda text: text.replace("x", "X"))) if id_type is IdType.EMAIL else ids


def _values(id_type: IdType, ids: st.SearchStrategy[str]) -> st.SearchStrategy[list[Value]]:
    texts = st.one_of(_shouted(id_type, ids), _shouted(id_type, ids), st.none(), st.sampled_from(BAD))
    return st.lists(st.builds(Value, texts, st.sampled_from([True, True, False])))


def _marks(ids: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[MarkRow, ...]]:
    rows = st.one_of(
        st.builds(MarkRow, ids, st.sampled_from(["unsettled", "echo"]), directions, times),
        st.builds(MarkRow, ids, st.sampled_from(["unmatched", "rejected", "removed"]), st.none(), times),
    )
    return st.lists(rows, unique_by=lambda row: (row.id, row.mark), max_size=6).map(tuple)


def _people(id_type: IdType, ids: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Person, ...]]:
    """A person has one key, however often it is listed; a key may be that of two."""
    keys = st.one_of(_shouted(id_type, ids), _shouted(id_type, ids), st.none(), st.sampled_from(BAD_KEYS))
    named = st.dictionaries(st.sampled_from("123456789"), keys)
    listed = st.lists(st.sampled_from("123456789"), max_size=4)
    return st.builds(_list_people, named, listed)


def _list_people(keys: dict[str, str | None], again: list[str]) -> tuple[Person, ...]:
    listed = [*keys, *(cio_id for cio_id in again if cio_id in keys)]
    return tuple(Person(cio_id, keys[cio_id]) for cio_id in listed)


@st.composite
def _journals(draw: st.DrawFn, ids: st.SearchStrategy[str]) -> tuple[JournalRow, ...]:
    contents = draw(st.lists(st.lists(ids, min_size=1, max_size=4, unique=True), max_size=4))
    order = draw(st.permutations(range(1, len(contents) + 1)))
    return tuple(_draw_row(draw, seq, tuple(content)) for seq, content in zip(order, contents, strict=True))


def _draw_row(draw: st.DrawFn, seq: int, content: tuple[str, ...]) -> JournalRow:
    outcome = draw(st.sampled_from(["acknowledged", "acknowledged", "unknown", None]))
    unknown_at = draw(st.one_of(st.none(), times)) if outcome == "acknowledged" else None
    return JournalRow(seq, draw(directions), outcome, draw(times), unknown_at, content)


_MARKS: tuple[tuple[tuple[str, str | None], ...], ...] = (
    (),
    (("unsettled", "add"),),
    (("unsettled", "remove"),),
    (("unmatched", None),),
    (("unmatched", None), ("unsettled", "add")),
    (("unmatched", None), ("unsettled", "remove")),
    (("removed", None),),
    (("removed", None), ("unmatched", None)),
    (("rejected", None),),
    (("echo", "remove"),),
)
_JOURNAL = (
    JournalRow(3, "remove", "acknowledged", 10.0, None, ()),
    JournalRow(7, "add", "acknowledged", 20.0, 15.0, ()),
    JournalRow(8, "add", "unknown", 30.0, None, ()),
    JournalRow(130, "remove", None, 40.0, None, ()),
)


def make_crowd(exclusive: bool, as_blocks: bool) -> World:
    """An id for every combination of what members, marks, journal, query and real membership can say of it."""
    ways = itertools.product(
        (False, True), _MARKS, itertools.product((False, True), repeat=len(_JOURNAL)), (0, 2), (False, True)
    )
    people = {f"{number * 7919 % 10_007:05}": way for number, way in enumerate(ways)}
    return World(
        values=tuple(Value(each) for each, (_, _, _, times, _) in people.items() for _ in range(times)),
        members=frozenset(each for each, way in people.items() if way[0]),
        marks=tuple(MarkRow(each, *mark, 5.0) for each, way in people.items() for mark in way[1]),
        journal=tuple(
            replace(row, ids=tuple(each for each, way in people.items() if way[2][place]))
            for place, row in enumerate(_JOURNAL)
        ),
        people=tuple(Person(each, each) for each, way in people.items() if way[4]),
        exclusive=exclusive,
        as_blocks=as_blocks,
    )
