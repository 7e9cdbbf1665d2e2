"""Comparing desired with stored and remote: every number and every id, against a slow model."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.batches import Direction
from reconciler.core.ids import IdType
from reconciler.engine.ports import Comparison
from tests.diff import model
from tests.diff.fakes import HEAD, make_target, open_engine, pages_of
from tests.diff.model import JournalRow, MarkRow, Person, Value, World

IDS = ["a", "b", "B", "c@x", "C@x", "é", "é", "Z", "zz"]
ids = st.sampled_from(IDS)
times = st.integers(1, 99).map(float)
directions = st.sampled_from(["add", "remove"])
mark_rows = st.one_of(
    st.builds(MarkRow, ids, st.sampled_from(["unsettled", "echo"]), directions, times),
    st.builds(MarkRow, ids, st.sampled_from(["unmatched", "rejected", "removed"]), st.none(), times),
)
marks = st.lists(mark_rows, unique_by=lambda row: (row.id, row.mark), max_size=6).map(tuple)
values = st.lists(st.builds(Value, st.one_of(st.none(), ids, st.just(" a")), st.sampled_from([True, True, False])))
people = st.lists(st.builds(Person, st.sampled_from("123456789"), st.one_of(st.none(), ids)), max_size=9)


@st.composite
def journals(draw: st.DrawFn) -> tuple[JournalRow, ...]:
    contents = draw(st.lists(st.lists(ids, min_size=1, max_size=4, unique=True), max_size=4))
    order = draw(st.permutations(range(len(contents))))
    return tuple(_draw_row(draw, seq + 1, tuple(content)) for seq, content in zip(order, contents, strict=True))


def _draw_row(draw: st.DrawFn, seq: int, content: tuple[str, ...]) -> JournalRow:
    outcome = draw(st.sampled_from(["acknowledged", "acknowledged", "unknown", None]))
    unknown_at = draw(st.one_of(st.none(), times)) if outcome == "acknowledged" else None
    return JournalRow(seq, draw(directions), outcome, draw(times), unknown_at, content)


def _with_distinct_keys(found: list[Person]) -> tuple[Person, ...]:
    """A person has one key, however often it is listed."""
    return tuple({person.cio_id: person for person in found}.values()) + tuple(found[:0])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    persons = draw(st.one_of(st.none(), people.map(_with_distinct_keys)))
    return World(
        values=tuple(draw(values)),
        members=frozenset(draw(st.sets(ids))),
        marks=draw(marks),
        journal=draw(journals()),
        people=persons,
        id_type=IdType.ID,
        sentinels=tuple(draw(st.lists(ids, max_size=3))),
    )


def compare(world: World, folder: Path) -> model.Outcome:
    with open_engine(world, folder) as engine, engine.open(make_target(world)) as comparison:
        if world.people is not None:
            comparison.load_remote(pages_of(world))
        counts = comparison.compare()
        assert comparison.head == HEAD
        return model.Outcome(counts, ids_of(comparison, Direction.ADD), ids_of(comparison, Direction.REMOVE))


def ids_of(comparison: Comparison, direction: Direction) -> list[str]:
    batches = list(comparison.batches(direction))
    assert all(batch.direction is direction for batch in batches)
    return [member for batch in batches for member in batch.ids]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds())
def test_any_world_compares_as_the_model_says(world: World, tmp_path: Path) -> None:
    assert compare(world, tmp_path) == model.compare(world)
