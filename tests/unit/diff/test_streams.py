"""How batches, examples and read-backs come out: in order, again and again, from any thread."""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, RemoteCount
from reconciler.models.ids import IdType
from tests.fakes.arrow_streams import AnyComparer, LocalComparer, make_page
from tests.fakes.set_model import Person, Value, World

IN_ORDER = ["!", "A", "Z", "a", "ab", "b", "e\u0301", "z", "é", "\u1e9e", "豆", "\ufb01", "\U0001f600"]


def make_many(number: int) -> list[str]:
    found = [f"person-{place * 7919 % number:06}" for place in range(number)]
    random.Random(7).shuffle(found)
    return found


def test_ids_come_in_the_order_of_their_bytes_a_thousand_at_a_time(comparer: AnyComparer) -> None:
    many = make_many(2_500)
    with comparer.compare(
        World(values=tuple(map(Value, [*many, *many[:9]])), members=frozenset({"gone"}))
    ) as comparison:
        changes = comparison.compare()
        batches = list(changes.batches(Direction.ADD))

        assert changes.counts == Counts(desired=2500, stored=1, add=2500, remove=1, duplicates=9, held=1)
        assert [len(batch.ids) for batch in batches] == [1000, 1000, 500]
        assert [member for batch in batches for member in batch.ids] == sorted(many)
        assert [batch.ids for batch in changes.batches(Direction.REMOVE)] == [("gone",)]


@pytest.mark.parametrize("rows_at_once", [6, 60], ids=["many parts", "two parts"])
def test_what_is_too_much_to_group_at_once_is_taken_in_parts(
    comparer: AnyComparer, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr("reconciler.diff.tables.BYTES_PER_ROW", 64_000_000 // rows_at_once)
    many = make_many(40)
    with comparer.compare(World(values=tuple(map(Value, [*many, *many])), members=frozenset({"gone"}))) as comparison:
        changes = comparison.compare()

        assert changes.counts == Counts(desired=40, stored=1, add=40, remove=1, duplicates=40, held=1)
        assert [batch.ids for batch in changes.batches(Direction.ADD)] == [tuple(sorted(many))]


def test_the_order_is_that_of_bytes_not_of_a_language(comparer: AnyComparer) -> None:
    shuffled = random.Random(1).sample(IN_ORDER, len(IN_ORDER))
    with comparer.compare(World(values=tuple(map(Value, shuffled)))) as comparison:
        changes = comparison.compare()

        assert [*next(changes.batches(Direction.ADD)).ids] == IN_ORDER == sorted(IN_ORDER, key=str.encode)


@settings(max_examples=20, deadline=None)
@given(ids=st.sets(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=9)))
def test_any_ids_come_in_the_order_of_their_bytes(comparer: AnyComparer, ids: set[str]) -> None:
    with comparer.compare(World(values=tuple(map(Value, ids)))) as comparison:
        changes = comparison.compare()

        found = [member for batch in changes.batches(Direction.ADD) for member in batch.ids]
        assert found == sorted(ids, key=str.encode)


def test_examples_are_the_first_ids_and_no_more_than_asked_for(comparer: AnyComparer) -> None:
    with comparer.compare(World(values=(Value("b"), Value("a"), Value("c")), members=frozenset("xy"))) as comparison:
        changes = comparison.compare()

        assert changes.examples(Direction.ADD, 2) == ("a", "b")
        assert changes.examples(Direction.REMOVE, 9) == ("x", "y")
        assert changes.examples(Direction.ADD, 0) == ()


def test_batches_can_be_left_midway_and_begun_again_in_another_thread(comparer: AnyComparer) -> None:
    many = make_many(3_000)
    with comparer.compare(World(values=tuple(map(Value, many)))) as comparison:
        changes = comparison.compare()
        left = changes.batches(Direction.ADD)
        first = next(left)

        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(lambda: list(changes.batches(Direction.ADD))).result()
            rest = pool.submit(lambda: list(left)).result()

        assert first == again[0]
        assert rest == again[1:]


def test_leaving_the_comparison_with_batches_half_read_does_no_harm(comparer: AnyComparer) -> None:
    world = World(values=tuple(map(Value, make_many(3_000))))
    with comparer.compare(world) as comparison:
        changes = comparison.compare()
        half_read = changes.batches(Direction.ADD)
        next(half_read)

    with comparer.compare(world) as comparison:
        assert comparison.compare().counts.add == 3_000


def test_segments_compared_at_once_do_not_see_each_other(comparer: AnyComparer) -> None:
    together = threading.Barrier(4)

    def compare(number: int) -> tuple[Counts, list[str]]:
        mine = [f"{number}-{member}" for member in make_many(1_500)]
        with comparer.compare(World(values=tuple(map(Value, mine)), members=frozenset(mine[:400]))) as comparison:
            together.wait(60)
            changes = comparison.compare()
            together.wait(60)
            return changes.counts, [member for batch in changes.batches(Direction.ADD) for member in batch.ids]

    with ThreadPoolExecutor(4) as pool:
        for number, (counts, ids) in enumerate(pool.map(compare, range(4))):
            assert (counts.desired, counts.unchanged, counts.add, counts.remove) == (1500, 400, 1100, 0)
            assert ids == sorted(ids)
            assert {member[0] for member in ids} == {str(number)}


def test_people_are_counted_once_however_often_they_are_listed(local_comparer: LocalComparer) -> None:
    pages = [
        make_page(("1", "a"), ("2", None)),
        make_page(),
        make_page(("1", "a"), ("3", "a"), ("4", "b")),
        make_page(("5", "with\nfeed"), ("6", "with\x1fa field's end"), ("7", ""), ("8", "with\ttab")),
        make_page(("9", "with\x1ea row's end"), ("10\x1e11", None)),
    ]
    world = World(values=(Value("a"),), people=(), exclusive=True)
    with local_comparer.compare(world) as comparison:
        found = comparison.load_remote(pages)
        changes = comparison.compare()
        counts = changes.counts

        assert found == RemoteCount(people=10, unkeyed=7)
        assert (counts.unchanged, counts.remove, counts.strays, counts.unkeyed) == (1, 1, 1, 7)
        assert [batch.ids for batch in changes.batches(Direction.REMOVE)] == [("b",)]


def test_a_second_read_replaces_the_first(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(
        World(members=frozenset("ab"), people=(Person("1", "a"), Person("2", "x")))
    ) as comparison:
        first = comparison.drift()
        again = comparison.load_remote([make_page(("1", "a"), ("3", "b"))])
        second = comparison.drift()

    assert (first.missing, first.foreign) == (1, 1)
    assert again == RemoteCount(people=2, unkeyed=0)
    assert (second.missing, second.foreign) == (0, 0)


def test_a_comparison_goes_on_sending_after_a_read_back_on_the_side(comparer: AnyComparer) -> None:
    with comparer.compare(World(values=(Value("a"), Value("b")), members=frozenset("b"))) as comparison:
        changes = comparison.compare()
        comparison.load_remote([make_page(("1", "b"))])
        drift = comparison.drift()

        assert (drift.missing, drift.remote) == (0, 1)
        assert [batch.ids for batch in changes.batches(Direction.ADD)] == [("a",)]


def test_emails_are_one_whatever_the_case_of_their_latin_letters(local_comparer: LocalComparer) -> None:
    values = tuple(map(Value, ["Ann@X.org", "ann@x.org", "É@x.org", "é@x.org"]))
    world = World(
        values=values,
        members=frozenset({"ann@x.org"}),
        people=(Person("1", "ANN@x.ORG"), Person("2", "É@x.org")),
        exclusive=True,
        id_type=IdType.EMAIL,
        sentinels=("ANN@X.ORG",),
    )
    with local_comparer.compare(world) as comparison:
        changes = comparison.compare()
        counts = changes.counts

        assert (counts.desired, counts.unchanged, counts.duplicates, counts.missing_sentinels) == (3, 2, 1, 0)
        assert [batch.ids for batch in changes.batches(Direction.ADD)] == [("é@x.org",)]


def test_the_process_ends_without_a_word_of_duckdb(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from reconciler.errors import SourceError\nfrom reconciler.models.spec import OnBad\n"
        "from tests.fakes.arrow_streams import open_local_comparer\nfrom tests.fakes.set_model import Value, World\n"
        "with open_local_comparer(Path(sys.argv[1])) as comparer:\n"
        "    try:\n"
        "        with comparer.compare(World(values=(Value(None),)), OnBad.ERROR) as comparison:\n"
        "            comparison.compare()\n"
        "    except SourceError as error:\n"
        "        kept = error\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
