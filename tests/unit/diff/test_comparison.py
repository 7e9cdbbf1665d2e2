"""Comparing desired, stored and remote: every number and every id, against a slow model."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.diff.changes import Changes
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import FIELD_END, ROW_END
from tests.fakes import set_model
from tests.fakes.arrow_streams import AnyComparer, LocalComparer
from tests.fakes.members_worlds import MembersComparer
from tests.fakes.random_worlds import IDS, make_crowd, worlds
from tests.fakes.set_model import MarkRow, Outcome, Value, World

pytestmark = pytest.mark.slow

many = settings(max_examples=settings.default.max_examples * 3 // 5, deadline=None)  # fewer under a profile with fewer


def ids_of(changes: Changes, direction: Direction) -> list[str]:
    batches = list(changes.batches(direction))
    assert all(batch.direction is direction for batch in batches)
    return [member for batch in batches for member in batch.ids]


def outcome(changes: Changes) -> Outcome:
    added, removed = ids_of(changes, Direction.ADD), ids_of(changes, Direction.REMOVE)
    return Outcome(changes.counts, added, removed, collect(changes.already_there))


def collect(chunks: Callable[[], Iterator[list[str]]]) -> list[str]:
    return [member for chunk in chunks() for member in chunk]


@pytest.mark.parametrize("as_blocks", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_crowd_in_every_situation_is_compared_as_the_model_says(
    local_comparer: LocalComparer, exclusive: bool, as_blocks: bool
) -> None:
    world = make_crowd(exclusive, as_blocks)
    with local_comparer.compare(world) as comparison:
        changes = comparison.compare()
        assert outcome(changes) == set_model.compare(world)
        again = {member for batch in changes.batches(Direction.ADD) for member in batch.resends}
        state = set_model.read_state(world)
        assert again == set(ids_of(changes, Direction.ADD)) & state.marked_unmatched - set(state.unsettled)


@pytest.mark.parametrize(("exclusive", "with_people"), [(False, False), (False, True), (True, True)])
def test_of_a_plan_file_for_a_crowd_what_is_not_so_yet_is_left(
    local_comparer: LocalComparer, exclusive: bool, with_people: bool
) -> None:
    world = make_crowd(exclusive, as_blocks=True)
    world = world if with_people else replace(world, people=None)
    ids = sorted({value.text or "" for value in world.values} | world.members)
    adds, removes = set(ids[::3]), set(ids[1::3])
    with local_comparer.compare(world) as comparison:
        sealed = [Batch(Direction.ADD, tuple(adds)), Batch(Direction.REMOVE, tuple(removes))]
        assert outcome(comparison.resume(sealed)) == set_model.resume(world, adds, removes)


@pytest.mark.parametrize("known_only", [False, True])
def test_a_read_back_of_a_crowd_shows_what_the_model_says(local_comparer: LocalComparer, known_only: bool) -> None:
    world = make_crowd(exclusive=False, as_blocks=False)
    with local_comparer.compare(world) as comparison:
        drift, findings, adoption = comparison.drift(), comparison.examine(), comparison.adoption(known_only)

        lists = (findings.appeared, findings.vanished, findings.lingering, findings.gone)
        assert set_model.Reading(drift, *map(collect, lists)) == set_model.read_back(world)
        assert adoption.id_type is world.id_type
        lists = (adoption.members, adoption.unmatched, adoption.lingering)
        assert set_model.Takeover(*map(collect, lists)) == set_model.adopt(world, known_only)


SENT_AGAIN = World(
    values=(Value("a"), Value("b")), marks=(MarkRow("a", "unmatched", None, 5.0),), people=(), exclusive=False
)
"""`a` is sent again, and `b` for the first time."""


@many
@example(world=SENT_AGAIN)
@given(world=worlds(with_people=True))
def test_any_query_compares_as_the_model_says(comparer: AnyComparer, world: World) -> None:
    check_query(comparer, world)


@settings(max_examples=settings.default.max_examples // 4, deadline=None)  # each writes members in ten transactions
@example(world=SENT_AGAIN)
@given(world=worlds(with_people=True))
def test_a_postgresql_that_has_the_members_compares_as_the_model_says(
    members_server_comparer: MembersComparer, world: World
) -> None:
    check_query(members_server_comparer, world)


def check_query(comparer: AnyComparer | MembersComparer, world: World) -> None:
    with comparer.compare(world) as comparison:
        changes = comparison.compare()
        counts = changes.counts

        assert changes.engine == ("local" if world.exclusive else comparer.expected)
        assert replace(changes.head, id_type=None) == replace(comparer.head, id_type=None)
        assert outcome(changes) == set_model.compare(world)
        assert counts.desired == counts.unchanged + counts.add + counts.resend
        again = [member for batch in changes.batches(Direction.ADD) for member in batch.resends]
        assert len(again) == counts.resend
        assert set(again) <= set(ids_of(changes, Direction.ADD)) & set_model.read_state(world).marked_unmatched


@many
@given(world=worlds(), data=st.data())
def test_of_any_plan_file_what_is_not_so_yet_is_left(
    local_comparer: LocalComparer, world: World, data: st.DataObject
) -> None:
    sealed = data.draw(st.dictionaries(st.sampled_from(IDS[world.id_type]), st.sampled_from(Direction)))
    adds = {member for member, direction in sealed.items() if direction is Direction.ADD}
    removes = set(sealed) - adds
    if world.exclusive and world.people is None:  # then it is read back before anything is compared
        world = replace(world, people=())

    with local_comparer.compare(world) as comparison:
        batches = [Batch(Direction.REMOVE, tuple(removes)), Batch(Direction.ADD, tuple(adds))]
        changes = comparison.resume(batch for batch in batches if batch.ids)

        assert outcome(changes) == set_model.resume(world, adds, removes)


@many
@given(world=worlds(with_people=True))
def test_any_read_back_shows_what_the_model_says(local_comparer: LocalComparer, world: World) -> None:
    with local_comparer.compare(world) as comparison:
        drift = comparison.drift()
        findings = comparison.examine()

        found = set_model.Reading(
            drift,
            appeared=collect(findings.appeared),
            vanished=collect(findings.vanished),
            lingering=collect(findings.lingering),
            gone=collect(findings.gone),
        )
        assert found == set_model.read_back(world)


@many
@given(world=worlds(with_people=True), known_only=st.booleans())
def test_any_refresh_takes_over_what_the_model_says(
    local_comparer: LocalComparer, world: World, known_only: bool
) -> None:
    with local_comparer.compare(world) as comparison:
        adoption = comparison.adoption(known_only)

        assert adoption.id_type is world.id_type
        found = set_model.Takeover(collect(adoption.members), collect(adoption.unmatched), collect(adoption.lingering))
        assert found == set_model.adopt(world, known_only)


@many
@given(world=worlds(with_people=False), data=st.data())
def test_any_run_is_reversed_as_the_model_says(
    local_comparer: LocalComparer, world: World, data: st.DataObject
) -> None:
    rows = st.tuples(
        st.booleans(), st.booleans(), st.booleans(), st.lists(st.sampled_from(IDS[world.id_type]), min_size=1)
    )
    sent = data.draw(st.lists(rows, max_size=6))
    world = replace(world, exclusive=False)
    with local_comparer.compare(world) as comparison:
        lines = [
            chr(FIELD_END).join([str(place), *(str(value).lower() for value in values), "\n".join(ids)])
            for place, (*values, ids) in enumerate(sent)
        ]
        changes = comparison.undo(iter([chr(ROW_END).join(lines)] if lines else []))

        own = {id: (adds, sure) for own, adds, sure, ids in sent if own for id in ids}
        undone = {id: not adds for id, (adds, _) in own.items()}
        since = {
            id
            for is_own, adds, is_sent, ids in sent
            for id in ids
            if not is_own and id in own and (is_sent or own[id] != (adds, False))
        }
        adds, removes = ({id for id in undone if undone[id] is way and id not in since} for way in (True, False))
        expected = set_model.resume(world, adds, removes)
        stored = set_model.read_state(world).stored
        counts = replace(
            expected.counts,
            desired=None,
            unchanged=len(stored - set(expected.remove)),
            sent_since=len(since & undone.keys()),
        )
        assert outcome(changes) == replace(expected, counts=counts)
