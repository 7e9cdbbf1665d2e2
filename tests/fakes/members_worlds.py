"""The comparer with members at the source: each world's members stand there in base and changes, and partly here."""

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from reconciler.diff.comparison import Comparison, SetEngine
from reconciler.models.batches import Direction
from reconciler.models.comparison import Rows
from reconciler.models.members import MembersAtSource, MembersHead, StoredAtSource
from reconciler.models.spec import MembersAt, OnBad, Segment, Target
from reconciler.state.base import FewStored
from tests.fakes.arrow_streams import HEAD, FakeSource, FakeStored, Warehouse, make_target, pages_of, values_of
from tests.fakes.set_model import World


@dataclass(frozen=True)
class Place:
    """Where the members of a world stand; `added` and `dropped` are known here alone."""

    members: MembersAtSource
    key: str
    head: MembersHead
    added: frozenset[str]
    dropped: frozenset[str]


def spread(members: MembersAtSource, key: str, world: World) -> Place:
    """Write the members of a world, with others that have left, over a base, changes, leftovers and what is here."""
    chance = random.Random(repr((sorted(world.members), key)))
    others = {"a", "left", "É@x", "z", "gone@x", *(value.text for value in world.values if value.text)} - world.members
    others = {each for each in others if each.isprintable()}
    sets = [{each for each in world.members | others if chance.random() < 0.5} for _ in range(3)]
    lists = [[each for each in sorted(some) if chance.random() < 2] for some in sets]
    head = members.write_generation(key, "a lineage", 2, iter([lists[0][:1], lists[0][1:]]))
    for serial, (before, after) in enumerate(itertools.pairwise(sets), start=7):
        changes = [(Direction.ADD, sorted(after - before)), (Direction.REMOVE, sorted(before - after))]
        head = members.append(key, head, serial, (change for change in changes))
    if chance.random() < 0.3:
        head = members.rewrite(key, head, 3)
    return Place(members, key, head, world.members - sets[-1], frozenset(sets[-1] - world.members))


class StoredThere(FakeStored):
    def __init__(self, warehouse: Warehouse, world: World, place: Place) -> None:
        super().__init__(warehouse, world)
        self.at_source = StoredAtSource(
            place.members,
            place.key,
            place.head,
            (place.head.generation, place.head.serial),
            lambda: self._list(place.added),
            lambda: self._list(place.dropped),
        )

    def _list(self, ids: frozenset[str]) -> Rows:
        return self._give({"id": "VARCHAR"}, [(each,) for each in sorted(ids)])


@dataclass(frozen=True)
class SnapshotThere:
    stored: StoredThere

    @contextmanager
    def read_segment(
        self, workspace: str, segment_id: int, source: MembersAtSource | None = None
    ) -> Iterator[StoredThere]:
        if source is None:  # as a state, which gives them to those who ask with a source
            self.stored.at_source = None
        yield self.stored

    def read_few(self, workspace: str, segment_id: int, most: int) -> FewStored | None:
        return None


class MembersComparer:
    """As `LocalComparer`: a set engine with a world of its own for each comparison, compared at the source."""

    head = HEAD
    expected = "in_database"

    def __init__(
        self,
        members: MembersAtSource,
        write: Callable[[int, World], None],
        spill_parent: Path,
        database: duckdb.DuckDBPyConnection,
    ) -> None:
        """`write` makes the rows of the world with this number what the query of the segment returns."""
        self._members = members
        self._write = write
        self._database = database
        self._numbers = itertools.count(1)
        self._worlds: dict[int, tuple[World, Warehouse, Place]] = {}
        self.engine = SetEngine(  # type: ignore[arg-type]
            "64MB", spill_parent, self._source, self._snapshot, few=0, members_of=lambda _: members
        )

    def _source(self, target: Target) -> FakeSource:
        world, warehouse, _ = self._worlds[target.segment.segment_id]
        return FakeSource(values_of(warehouse, world))

    def _snapshot(self, target: Target) -> SnapshotThere:
        world, warehouse, place = self._worlds[target.segment.segment_id]
        return SnapshotThere(StoredThere(warehouse, world, place))

    @contextmanager
    def compare(self, world: World, on_bad: OnBad = OnBad.SKIP) -> Iterator[Comparison]:
        number, warehouse = next(self._numbers), Warehouse(self._database)
        self._worlds[number] = world, warehouse, spread(self._members, f"production/{number}", world)
        self._write(number, world)
        try:
            with self.engine.begin(self.make_target(world, number, on_bad)) as comparison:
                if world.people is not None:
                    comparison.load_remote(pages_of(world))
                yield comparison
        finally:
            warehouse.close()
            del self._worlds[number]

    def make_target(self, world: World, number: int, on_bad: OnBad) -> Target:
        found = make_target(world, on_bad, on_bad)
        state = found.spec.state.model_copy(update={"members": MembersAt.SOURCE})
        return replace(
            found,
            spec=found.spec.model_copy(update={"state": state}),
            segment=found.segment.model_copy(update={"segment_id": number}),
        )


ROWS = "CREATE TABLE world_rows (world INTEGER, value VARCHAR, typed BOOLEAN)"


def select_rows(segment: Segment) -> str:
    return f"SELECT value, typed FROM world_rows WHERE world = {segment.segment_id}"
