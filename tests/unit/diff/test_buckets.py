"""Buckets: where query and state are equal nothing is joined, and nothing is taken for equal that is not."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from reconciler.diff import changes_in_tables
from reconciler.diff.buckets import BUCKET, choose_hashes, find_differing
from reconciler.diff.tables import Tables, make_database
from tests.fakes import set_model
from tests.fakes.arrow_streams import LocalComparer
from tests.fakes.random_worlds import make_crowd
from tests.fakes.set_model import MarkRow, Value, World
from tests.unit.diff.test_comparison import outcome
from tests.unit.diff.test_few import look

MANY = [f"person-{number}" for number in range(6000)]
ALIKE = World(values=tuple(map(Value, MANY)), members=frozenset(MANY))


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    database = make_database("64MB", tmp_path)
    with database.keep(), database.catalog() as catalog, database.cursor(catalog) as cursor:
        yield Tables(database, catalog, cursor)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Numbers of buckets that differed, comparison by comparison."""
    numbers: list[int | None] = []

    def find(tables: Tables, exclusive: bool, hashes: Sequence[str]) -> int | None:
        numbers.append(find_differing(tables, exclusive, hashes))
        return numbers[-1]

    monkeypatch.setattr(changes_in_tables, "find_differing", find)
    return numbers


def fill(tables: Tables, desired: Sequence[str], known: Sequence[str]) -> None:
    tables.create("desired", "SELECT NULL::VARCHAR AS refused, unnest($1::VARCHAR[]) AS id", [desired])
    tables.create("known", "SELECT unnest($1::VARCHAR[]) AS id, 1::UTINYINT AS flags", [known])


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_crowd_in_every_situation_is_compared_as_the_model_says(
    bucketed_comparer: LocalComparer, exclusive: bool
) -> None:
    world = make_crowd(exclusive, as_blocks=False)
    with bucketed_comparer.compare(world) as comparison:
        assert outcome(comparison.compare()) == set_model.compare(world)


@pytest.mark.parametrize(
    ("world", "buckets"),
    [
        pytest.param(ALIKE, 0, id="no change"),
        pytest.param(World(values=(*ALIKE.values, Value("person-7")), members=ALIKE.members), 1, id="a row twice"),
        pytest.param(World(values=ALIKE.values[1:], members=ALIKE.members), 1, id="one left"),
        pytest.param(World(values=(Value("x"), *ALIKE.values[1:]), members=ALIKE.members), 2, id="one for another"),
        pytest.param(
            World(values=(*ALIKE.values[1:], Value("person-1")), members=ALIKE.members),
            2,
            id="a row twice for one that left",
        ),
        pytest.param(
            World(values=(*ALIKE.values, Value(None), Value("\t")), members=ALIKE.members), 0, id="rows that are no id"
        ),
        pytest.param(
            World(ALIKE.values, ALIKE.members, (MarkRow("person-9", "unmatched", None, 1.0),)), 1, id="one unmatched"
        ),
        pytest.param(World(values=ALIKE.values), None, id="a first fill"),
        pytest.param(World(values=ALIKE.values[:1], members=ALIKE.members), None, id="nearly all left"),
    ],
)
def test_only_ids_of_buckets_that_differ_are_joined(
    bucketed_comparer: LocalComparer, joined: list[int | None], world: World, buckets: int | None
) -> None:
    look(bucketed_comparer, world)

    assert joined == [buckets]


def test_few_ids_are_joined_at_once(local_comparer: LocalComparer, joined: list[int | None]) -> None:
    look(local_comparer, ALIKE)

    assert joined == []


@pytest.mark.parametrize(
    ("hashes", "differing"), [(("hashed", "1"), 1), (("1", choose_hashes()[1]), 1), (("1", "1"), 0)]
)
def test_each_of_the_two_sums_tells_two_ids_of_a_bucket_apart(
    tables: Tables, hashes: Sequence[str], differing: int
) -> None:
    a, b = tables.fetch(
        f"SELECT min(id), max(id) FROM (SELECT 'p' || i AS id FROM range(999) t(i)) GROUP BY {BUCKET} "
        "HAVING count(*) > 1 LIMIT 1"
    )[0]
    fill(tables, [*MANY, a], [*MANY, b])

    assert find_differing(tables, False, hashes) == differing


def test_the_number_of_ids_counts_besides_the_sums(tables: Tables) -> None:
    fill(tables, [*MANY, MANY[0]], MANY)

    assert find_differing(tables, False, ["0", "0"]) == 1


def test_ids_made_to_have_one_hash_are_told_apart_by_the_other(tables: Tables) -> None:
    a, b = make_ids_of_one_hash()
    assert tables.fetch("SELECT hash($1), hash($2)", [a, a]) == tables.fetch("SELECT hash($1), hash($2)", [b, b])
    fill(tables, [*MANY, a], [*MANY, b])

    assert find_differing(tables, False, choose_hashes()) == 1
    assert find_differing(tables, False, ["hashed"]) == 0


def make_ids_of_one_hash() -> tuple[str, str]:
    """Two texts of 16 printable characters: DuckDB hashes eight at a time, so the last eight can undo the first."""
    mask, factor, dice = 2**64 - 1, 0xD6E8FEB86659FD93, random.Random(7)
    start = 0xE17A1465 ^ (16 * 0xC6A4A7935BD1E995 & mask)

    def mix(half: bytes) -> int:
        return (start ^ int.from_bytes(half, "little")) * factor & mask

    first, second = b"someone@", b"somewher"
    while True:
        other = bytes(dice.choices(range(0x21, 0x7F), k=8))
        end = (mix(first) ^ mix(other) ^ int.from_bytes(second, "little")).to_bytes(8, "little")
        if all(0x21 <= byte < 0x7F for byte in end):
            return (first + second).decode(), (other + end).decode()
