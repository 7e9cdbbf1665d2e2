"""How a comparison works inside: which tables it leaves, in which pieces it goes, what it does without."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from reconciler.diff import in_tables
from reconciler.diff.changes import Changes
from reconciler.diff.comparison import Comparison, SetEngine
from reconciler.diff.decide import NULL, Flag, Returned
from reconciler.diff.pushdown import ComparedInDatabase
from reconciler.diff.tables import Tables
from reconciler.errors import IncompleteRead, ReconcileError, SourceError
from reconciler.models.batches import Batch, Direction
from reconciler.models.comparison import NotPossible, Page, Rows
from reconciler.models.plan import Head
from reconciler.models.spec import OnBad, Segment, Target
from reconciler.sources.base import PushdownSource, ValueStream
from reconciler.state.base import Snapshot
from tests.fakes.arrow_streams import (
    FakeSnapshot,
    FakeSource,
    FakeStored,
    LocalComparer,
    Warehouse,
    make_page,
    make_target,
    pages_of,
    values_of,
)
from tests.fakes.set_model import JournalRow, MarkRow, Person, Value, World

QUIET = World(values=(Value("a"), Value("b")), members=frozenset("ab"))
"""Nothing is to be done."""
MOVING = World(values=(Value("a"), Value("b")), members=frozenset("bc"))
MARKED = replace(MOVING, marks=(MarkRow("b", "unmatched", None, 1.0),))
SENT = replace(MOVING, journal=(JournalRow(1, "add", "unknown", 2.0, None, ("b",)),))
TOMBSTONE = replace(MOVING, marks=(MarkRow("x", "removed", None, 1.0),))
THERE = (Person("1", "a"), Person("2", "c"))
TWICE = (*THERE, Person("1", "a"))


def tables_of(comparison: Comparison) -> set[str]:
    return {name for (name,) in comparison._in_tables._tables.fetch("SHOW TABLES")}


# --- what is left -------------------------------------------------------------------------------------------------


def test_a_tombstone_is_one_also_beside_an_attempt_that_may_still_arrive(local_comparer: LocalComparer) -> None:
    marks = (MarkRow("x", "removed", None, 1.0), MarkRow("x", "echo", "add", 1.0))
    with local_comparer.compare(replace(QUIET, marks=marks, people=(*THERE, Person("3", "x")))) as comparison:
        comparison.load_remote(pages_of(replace(QUIET, people=(*THERE, Person("3", "x")))))
        assert comparison.drift().lingering == 1


@pytest.mark.parametrize("as_blocks", [False, True])
@pytest.mark.parametrize(
    ("world", "left"),
    [
        (QUIET, {"known", "moved"}),
        (MOVING, {"known", "changes"}),
        (MARKED, {"known", "changes", "overlay"}),
        (SENT, {"known", "changes", "overlay"}),
        (replace(MOVING, people=THERE, exclusive=True), {"people", "keys", "known", "changes"}),
        (replace(MARKED, people=TWICE, exclusive=True), {"people", "keys", "known", "changes", "overlay"}),
    ],
)
def test_a_comparison_leaves_what_it_needs_to_send_and_nothing_else(
    local_comparer: LocalComparer, world: World, left: set[str], as_blocks: bool
) -> None:
    streams_of_nothing = set() if as_blocks or world.marks or world.journal or world.people else {"marks", "journal"}
    with local_comparer.compare(replace(world, as_blocks=as_blocks)) as comparison:
        changes = comparison.compare()
        assert tables_of(comparison) == left | streams_of_nothing
        for direction in Direction:
            list(changes.batches(direction))
        assert tables_of(comparison) == left | streams_of_nothing | ({"add", "remove"} if "changes" in left else set())


def test_tombstones_are_laid_over_nothing_in_a_plan(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(replace(TOMBSTONE, as_blocks=True)) as comparison:
        assert comparison.compare().counts.stored == 2
        assert tables_of(comparison) == {"known", "changes", "overlay", "marks", "journal"}


def test_under_exclusive_tombstones_alone_are_enough_to_be_laid_over(local_comparer: LocalComparer) -> None:
    world = World((Value("x"),), marks=TOMBSTONE.marks, people=(Person("1", "x"),), exclusive=True)
    with local_comparer.compare(world) as comparison:
        changes = comparison.compare()
        counts = changes.counts
        assert (counts.add, counts.adopt) == (1, 0)
        assert comparison.drift().lingering == 1


@pytest.mark.parametrize("world", [MOVING, MARKED])
def test_a_plan_file_leaves_what_it_needs_to_send(local_comparer: LocalComparer, world: World) -> None:
    with local_comparer.compare(replace(world, as_blocks=True)) as comparison:
        counts = comparison.resume([Batch(Direction.ADD, ("a",)), Batch(Direction.REMOVE, ("c",))]).counts
        assert (counts.add, counts.remove) == (1, 1)
        assert tables_of(comparison) == {"known", "changes"} | ({"overlay"} if world.marks else set())


def test_a_read_back_leaves_what_is_known(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(replace(MARKED, people=TWICE)) as comparison:
        for _ in range(2):
            comparison.drift()
            assert tables_of(comparison) == {"people", "keys", "known", "overlay"}


# --- without any change -------------------------------------------------------------------------------------------


def see_all(changes: Changes) -> tuple[object, ...]:
    batches = [batch.ids for direction in Direction for batch in changes.batches(direction)]
    examples = [changes.examples(direction, 3) for direction in Direction]
    return batches, examples, list(changes.already_there())


def test_where_nothing_changes_nothing_is_sent(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(QUIET) as comparison:
        changes = comparison.compare()
        counts = changes.counts
        assert (counts.add, counts.remove, counts.unchanged, counts.stored) == (0, 0, 2, 2)
        assert see_all(changes) == ([], [(), ()], [])


def test_where_only_what_is_sure_is_marked_nothing_is_sent(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(replace(QUIET, marks=(MarkRow("b", "echo", "remove", 1.0),))) as comparison:
        changes = comparison.compare()
        assert changes.counts.reversed_at is None
        assert see_all(changes) == ([], [(), ()], [])


# --- what may still arrive ----------------------------------------------------------------------------------------

WANTED, UNWANTED = (Value("a"),), (Value("b"),)


@pytest.mark.parametrize(
    ("values", "marks", "journal", "reversed_at"),
    [
        (UNWANTED, [("unsettled", "add", 5.0)], [], 5.0),
        (WANTED, [("unsettled", "remove", 5.0)], [], 5.0),
        (WANTED, [("unsettled", "add", 5.0)], [], None),
        (WANTED, [("echo", "remove", 5.0)], [], 5.0),
        (WANTED, [("echo", "add", 5.0)], [], None),
        (WANTED, [("unmatched", None, 5.0), ("removed", None, 6.0), ("rejected", None, 7.0)], [], None),
        (UNWANTED, [], [("add", "acknowledged", 9.0, None)], None),
        (UNWANTED, [], [("add", "acknowledged", 9.0, 7.0)], 7.0),
        (WANTED, [], [("remove", "acknowledged", 9.0, 7.0)], 7.0),
        (UNWANTED, [], [("add", "unknown", 9.0, None)], 9.0),
        (WANTED, [], [("remove", None, 9.0, None)], 9.0),
        (UNWANTED, [], [("add", "unknown", 3.0, None), ("add", "unknown", 8.0, None)], 8.0),
        (WANTED, [], [("remove", "unknown", 8.0, None), ("remove", "unknown", 3.0, None)], 8.0),
        (WANTED, [("echo", "remove", 4.0)], [("remove", "unknown", 2.0, None), ("add", "unknown", 6.0, None)], 4.0),
    ],
)
def test_the_latest_attempt_that_a_change_reverses_is_told(
    local_comparer: LocalComparer,
    values: tuple[Value, ...],
    marks: list[tuple[str, str | None, float]],
    journal: list[tuple[str, str | None, float, float | None]],
    reversed_at: float | None,
) -> None:
    rows = tuple(JournalRow(seq, *row, ("a",)) for seq, row in enumerate(journal))
    world = World((*values, Value("c")), marks=tuple(MarkRow("a", *mark) for mark in marks), journal=rows)
    with local_comparer.compare(world) as comparison:
        assert comparison.compare().counts.reversed_at == reversed_at


def test_of_several_changes_the_latest_attempt_counts(local_comparer: LocalComparer) -> None:
    marks = [MarkRow("a", "unsettled", "remove", 3.0), MarkRow("b", "unsettled", "add", 8.0)]
    world = World(WANTED, marks=(*marks, MarkRow("c", "unsettled", "add", 5.0)))
    with local_comparer.compare(world) as comparison:
        assert comparison.compare().counts.reversed_at == 8.0


# --- in pieces ----------------------------------------------------------------------------------------------------


def test_many_ids_are_read_a_slice_at_a_time_and_sent_in_full_batches(
    local_comparer: LocalComparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.diff.changes_in_tables.IDS_AT_ONCE", 4)
    monkeypatch.setattr("reconciler.diff.changes.MAX_BATCH", 2)
    marks = tuple(MarkRow(each, "unmatched", None, 1.0) for each in "adghk")
    with local_comparer.compare(World(values=tuple(map(Value, "kjihgfedcba")), marks=marks)) as comparison:
        batches = list(comparison.compare().batches(Direction.ADD))

    assert ["".join(batch.ids) for batch in batches] == ["ab", "cd", "ef", "gh", "ij", "k"]
    assert ["".join(sorted(batch.resends)) for batch in batches] == ["a", "d", "", "gh", "", "k"]


def test_findings_come_in_lists_that_are_not_too_long(
    local_comparer: LocalComparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.diff.tables.IDS_PER_LIST", 2)
    people = tuple(Person(str(place), each) for place, each in enumerate("abcde"))
    with local_comparer.compare(World(values=tuple(map(Value, "abcde")), people=people, exclusive=True)) as comparison:
        assert list(comparison.compare().already_there()) == [["a", "b"], ["c", "d"], ["e"]]
        assert list(comparison.adoption(known_only=False).members()) == [["a", "b"], ["c", "d"], ["e"]]


# --- what goes wrong ----------------------------------------------------------------------------------------------


def failing(error: Exception) -> Iterator[str]:
    yield "a"
    raise error


class BrokenStored(FakeStored):
    error: Exception = duckdb.Error()

    def members(self) -> Rows:
        return failing(self.error)


class BrokenSource(FakeSource):
    error: Exception = duckdb.Error()

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        raise self.error
        yield


def read_broken_pages(comparison: Comparison, error: Exception) -> object:
    def pages() -> Iterator[Page]:
        yield make_page(("1", "a"))
        raise error

    return comparison.load_remote(pages())


def resume_broken(comparison: Comparison, error: Exception) -> object:
    def sealed() -> Iterator[Batch]:
        yield Batch(Direction.ADD, ("a",))
        raise error

    return comparison.resume(sealed())


def compare_all(comparison: Comparison, _error: Exception) -> object:
    return comparison.compare()


@contextmanager
def opening(
    folder: Path, stored: type[FakeStored] = FakeStored, source: type[FakeSource] = FakeSource
) -> Iterator[Comparison]:
    with duckdb.connect(":memory:") as database:
        warehouse = Warehouse(database)
        values = source(values_of(warehouse, MOVING))
        snapshot = FakeSnapshot(stored(warehouse, MOVING))
        with (
            SetEngine("64MB", folder, lambda _: values, lambda _: snapshot, few=0).keep() as engine,
            engine.begin(make_target(MOVING, OnBad.SKIP, OnBad.SKIP)) as comparison,
        ):
            yield comparison
        warehouse.close()


@pytest.mark.parametrize(
    ("ask", "open_it", "code"),
    [
        (read_broken_pages, opening, "internal"),
        (resume_broken, opening, "internal"),
        (compare_all, lambda folder: opening(folder, stored=BrokenStored), "state"),
        (compare_all, lambda folder: opening(folder, source=BrokenSource), "source"),
    ],
    ids=["pages", "plan file", "state", "source"],
)
def test_whatever_fails_while_rows_come_in_is_told_for_what_it_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Comparison, Exception], object],
    open_it: Callable[[Path], AbstractContextManager[Comparison]],
    code: str,
) -> None:
    def fail(error: Exception) -> ReconcileError:
        monkeypatch.setattr(BrokenStored, "error", error)
        monkeypatch.setattr(BrokenSource, "error", error)
        with open_it(tmp_path) as comparison, pytest.raises(ReconcileError) as caught:
            ask(comparison, error)
        return caught.value

    assert fail(duckdb.Error("broken")).code == code
    full = fail(duckdb.OutOfMemoryException("full"))
    assert (full.code, "64MB" in full.message) == ("memory", True)


def test_bad_values_are_told_with_every_next_step(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(World(values=(Value(None), Value(None), Value(""))), OnBad.ERROR) as comparison:
        with pytest.raises(SourceError) as caught:
            comparison.compare()

    assert caught.value.code == "nulls"
    assert caught.value.message == (
        "the query returned 2 NULLs and 1 value that can't be an id: 1 an empty or blank string"
    )
    assert caught.value.hint == (
        "leave them out in the query (WHERE ... IS NOT NULL), or set `nulls: skip` for this segment; "
        "correct them in the query (for example TRIM(...), or CAST(... AS VARCHAR) of an integer), "
        "or set `invalid: skip` for this segment"
    )


def test_a_membership_that_was_not_read_is_told_so(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(MOVING) as comparison, pytest.raises(IncompleteRead) as caught:
        comparison.drift()

    assert caught.value.message == "the real membership has not been read"
    assert caught.value.hint == "nothing may be computed without it"


# --- in the database of the query ---------------------------------------------------------------------------------


class Elsewhere:
    """Compares as the database would: fills the tables, and gives the numbers. It keeps what it was asked."""

    def __init__(self, answer: "ComparedInDatabase | NotPossible") -> None:
        self.answer = answer
        self.asked: list[tuple[Target, PushdownSource, Snapshot]] = []

    def __call__(
        self, target: Target, source: PushdownSource, snapshot: Snapshot, tables: Tables
    ) -> "ComparedInDatabase | NotPossible":
        self.asked.append((target, source, snapshot))
        if isinstance(self.answer, ComparedInDatabase):
            tables.run(
                "CREATE TABLE desired AS FROM (VALUES (NULL, 'a'), (NULL, 'd')) AS d (refused, id)",
                "CREATE TABLE known AS SELECT 'c' AS id, 1::UTINYINT AS flags",
                "CREATE TABLE overlay AS SELECT 'c' AS id, 7.0 AS add_at, 9.0 AS remove_at",
            )
        return self.answer


FOUND = ComparedInDatabase(Head("a lineage", 9), Returned({None: 12, NULL: 1}), {Flag.STORED: 11}, data_time=None)


@contextmanager
def comparing_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Elsewhere, world: World, on_bad: OnBad = OnBad.SKIP
) -> Iterator[tuple[Comparison, tuple[Target, object, object]]]:
    """A comparison, and what `elsewhere` is to be asked."""
    monkeypatch.setattr(in_tables, "compare_in_database", elsewhere)
    target = make_target(world, on_bad, on_bad)
    with duckdb.connect(":memory:") as database:
        warehouse = Warehouse(database)
        source, source = object(), FakeSource(values_of(warehouse, world))
        snapshot = FakeSnapshot(FakeStored(warehouse, world))
        found = {id(target): (source, snapshot, source)}
        with (
            SetEngine(
                "64MB",
                folder,
                lambda target: found[id(target)][0],
                lambda target: found[id(target)][1],
                lambda target: found[id(target)][2],  # type: ignore[arg-type, return-value]
            ).keep() as engine,
            engine.begin(target) as comparison,
        ):
            yield comparison, (target, source, snapshot)
        warehouse.close()


def test_what_the_database_compared_is_taken_with_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Elsewhere(FOUND)
    world = replace(MOVING, sentinels=("a", "x"))
    with comparing_there(tmp_path, monkeypatch, elsewhere, world) as (comparison, asked):
        changes = comparison.compare()
        counts = changes.counts

        assert elsewhere.asked == [asked]
        assert (changes.engine, changes.head) == ("in_database", FOUND.head)
        assert (counts.stored, counts.unchanged, counts.add, counts.remove) == (11, 10, 2, 1)
        assert (counts.desired, counts.nulls, counts.missing_sentinels, counts.reversed_at) == (12, 1, 1, 7.0)
        assert see_all(changes) == ([("a", "d"), ("c",)], [("a", "d"), ("c",)], [])


def test_bad_values_that_the_database_found_stop_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with comparing_there(tmp_path, monkeypatch, Elsewhere(FOUND), MOVING, OnBad.ERROR) as (comparison, _):
        with pytest.raises(SourceError, match="1 NULL"):
            comparison.compare()


def test_a_segment_that_is_unfit_for_the_database_is_compared_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "reconciler.diff.in_tables")
    elsewhere = Elsewhere(NotPossible("it is too far away"))
    with comparing_there(tmp_path, monkeypatch, elsewhere, MOVING) as (comparison, asked):
        changes = comparison.compare()
        counts = changes.counts

        assert elsewhere.asked == [asked]
        assert (changes.engine, counts.add, counts.remove) == ("local", 1, 1)
    (record,) = (each for each in caplog.records if each.name == "reconciler.diff.in_tables")
    assert record.getMessage() == f"{asked[0].label}: compared here, not in the database: it is too far away"


def test_a_database_is_not_asked_for_what_is_really_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, world = Elsewhere(FOUND), replace(MOVING, people=THERE, exclusive=True)
    with comparing_there(tmp_path, monkeypatch, elsewhere, world) as (comparison, _):
        comparison.load_remote(pages_of(world))
        assert comparison.compare().counts.adopt == 1
    assert elsewhere.asked == []


def test_where_no_database_is_named_none_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Elsewhere(FOUND)
    monkeypatch.setattr(in_tables, "compare_in_database", elsewhere)
    with opening(tmp_path) as comparison:
        comparison.compare()
    assert elsewhere.asked == []
