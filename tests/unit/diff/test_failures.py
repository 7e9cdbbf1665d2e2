"""What goes wrong is reported with numbers and a next step, and without a single value."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import adbc_driver_sqlite.dbapi
import duckdb
import pytest

from reconciler.diff.comparison import Comparison, SetEngine
from reconciler.errors import IncompleteRead, ReconcileError, SegmentError, SourceError, StateError
from reconciler.models.comparison import ArrowStream, Page, Rows
from reconciler.models.spec import OnBad, Segment
from reconciler.sources.base import ALL_TYPED, Source, ValueStream
from tests.fakes.arrow_streams import (
    AnyComparer,
    FakeSnapshot,
    FakeSource,
    FakeStored,
    LocalComparer,
    Warehouse,
    make_page,
    make_target,
    values_of,
)
from tests.fakes.set_model import MarkRow, Value, World

SECRET = "person-4711"


def test_nulls_stop_the_segment_unless_they_are_to_be_skipped(comparer: AnyComparer) -> None:
    world = World(values=(Value("a"), Value(None), Value(None)))

    with comparer.compare(world, OnBad.ERROR) as comparison, pytest.raises(SourceError) as caught:
        comparison.compare()
    with comparer.compare(world, OnBad.SKIP) as comparison:
        counts = comparison.compare().counts

    assert caught.value.code == "nulls"
    assert "2 NULLs" in caught.value.message
    assert "nulls: skip" in caught.value.hint
    assert (counts.nulls, counts.desired) == (2, 1)


def test_nulls_and_invalid_values_are_told_together(comparer: AnyComparer) -> None:
    world = World(values=(Value("a"), Value(None), Value("")))

    with comparer.compare(world, OnBad.ERROR) as comparison, pytest.raises(SourceError) as caught:
        comparison.compare()

    assert caught.value.code == "nulls"
    assert caught.value.message == (
        "the query returned 1 NULL and 1 value that can't be an id: 1 an empty or blank string"
    )
    assert "nulls: skip" in caught.value.hint
    assert "invalid: skip" in caught.value.hint


def test_invalid_values_stop_the_segment_and_are_counted_by_reason(comparer: AnyComparer) -> None:
    texts = [f" {SECRET}", f"{SECRET} ", f"{SECRET}\n{SECRET}", "", "\u2003", SECRET * 20, "ok"]
    world = World(values=(*map(Value, texts), Value("7.0", typed=False)))

    with comparer.compare(world, OnBad.ERROR) as comparison, pytest.raises(SourceError) as caught:
        comparison.compare()
    with comparer.compare(world, OnBad.SKIP) as comparison:
        counts = comparison.compare().counts

    assert caught.value.code == "invalid"
    assert caught.value.message == (
        "the query returned 7 values that can't be ids: 2 an empty or blank string; 2 white space at an end; "
        "1 a control character; 1 more than 150 bytes; 1 a float, boolean, date or bytes"
    )
    assert "invalid: skip" in caught.value.hint
    assert SECRET not in f"{caught.value.message}{caught.value.hint}"
    assert (counts.invalid, counts.desired) == (7, 1)


def test_text_that_is_no_utf8_is_invalid(tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as database, broken_text(tmp_path / "texts.db") as texts:
        warehouse = Warehouse(database)
        source = FakeSource(ValueStream(texts, ALL_TYPED))
        snapshot = FakeSnapshot(FakeStored(warehouse, World()))
        with SetEngine("64MB", tmp_path, lambda _: source, lambda _: snapshot).keep() as engine:
            with engine.begin(make_target(World(), OnBad.SKIP, OnBad.SKIP)) as comparison:
                counts = comparison.compare().counts
        warehouse.close()

    assert (counts.invalid, counts.desired) == (1, 1)


@contextmanager
def broken_text(file: Path) -> Iterator[ArrowStream]:
    """SQLite lets a text be anything, and its driver passes it on."""
    sqlite3.connect(file).close()
    with adbc_driver_sqlite.dbapi.connect(str(file)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CAST(x'61ff62' AS TEXT) AS value UNION ALL SELECT 'ok'")
        yield cursor.fetch_arrow()


class DyingSource:
    """Gives some rows, and then an error that quotes a value."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        dying = f"CASE WHEN range < 100000 THEN 'a' || range ELSE error('bad value {SECRET}') END"
        yield ValueStream(self._warehouse.query(f"SELECT {dying} AS value FROM range(200000)"), ALL_TYPED)

    def check(self, segment: Segment) -> None:
        raise NotImplementedError


class RefusingSource:
    def __init__(self, warehouse: Warehouse) -> None:
        pass

    def stream_values(self, segment: Segment, _few: int = 0, /) -> AbstractContextManager[ValueStream]:
        raise SourceError("no such table", "make it")

    def check(self, segment: Segment) -> None:
        raise NotImplementedError


class DyingStored(FakeStored):
    def members(self) -> Rows:
        dying = f"CASE WHEN range < 100000 THEN 'a' || range ELSE error('bad value {SECRET}') END"
        return self._warehouse.query(f"SELECT {dying} AS id FROM range(200000)")


class GarbledStored(FakeStored):
    def marks(self) -> Rows:
        return iter([f"{SECRET}\x1fecho\x1fadd\x1fyesterday"])


@contextmanager
def comparing(
    folder: Path,
    make_source: Callable[[Warehouse], Source] | None = None,
    make_stored: Callable[[Warehouse, World], FakeStored] = FakeStored,
) -> Iterator[tuple[SetEngine, Comparison]]:
    world = World(values=(Value("a"),), members=frozenset("b"), marks=(MarkRow("c", "echo", "add", 1.0),))
    with duckdb.connect(":memory:") as database:
        warehouse = Warehouse(database)
        source = make_source(warehouse) if make_source else FakeSource(values_of(warehouse, world))
        snapshot = FakeSnapshot(make_stored(warehouse, world))
        with SetEngine("64MB", folder, lambda _: source, lambda _: snapshot).keep() as engine:
            with engine.begin(make_target(world, OnBad.SKIP, OnBad.SKIP)) as comparison:
                yield engine, comparison
        warehouse.close()


def assert_silent(error: ReconcileError) -> None:
    assert SECRET not in f"{error}{error!r}{error.message}{error.hint}"
    assert error.hint


def test_a_source_that_dies_midway_is_a_source_error_without_values(tmp_path: Path) -> None:
    with comparing(tmp_path, DyingSource) as (_, comparison), pytest.raises(SourceError) as caught:
        comparison.compare()

    assert_silent(caught.value)
    assert isinstance(caught.value.__cause__, duckdb.Error)


@pytest.mark.parametrize("stored", [DyingStored, GarbledStored])
def test_a_state_that_dies_midway_is_a_state_error_without_values(
    tmp_path: Path, stored: Callable[[Warehouse, World], FakeStored]
) -> None:
    with comparing(tmp_path, make_stored=stored) as (_, comparison), pytest.raises(StateError) as caught:
        comparison.compare()

    assert_silent(caught.value)


def test_an_error_of_the_source_itself_comes_through_as_it_is(tmp_path: Path) -> None:
    with comparing(tmp_path, RefusingSource) as (_, comparison), pytest.raises(SourceError, match="no such table"):
        comparison.compare()


READ_BACKS: dict[str, Callable[[Comparison], object]] = {
    "drift": lambda comparison: comparison.drift(),
    "examine": lambda comparison: comparison.examine(),
    "adoption": lambda comparison: comparison.adoption(known_only=False),
}


@pytest.mark.parametrize("ask", READ_BACKS.values(), ids=READ_BACKS)
def test_nothing_is_computed_from_a_membership_that_was_not_read(
    comparer: AnyComparer, ask: Callable[[Comparison], object]
) -> None:
    with comparer.compare(World()) as comparison, pytest.raises(IncompleteRead):
        ask(comparison)


def test_an_exclusive_segment_is_not_compared_without_its_membership(local_comparer: LocalComparer) -> None:
    with local_comparer.compare(World(exclusive=True)) as comparison, pytest.raises(IncompleteRead):
        comparison.compare()


def test_a_read_that_breaks_off_leaves_no_membership_to_compare_with(local_comparer: LocalComparer) -> None:
    def pages() -> Iterator[Page]:
        yield make_page(("1", "a"))
        raise IncompleteRead("the pages make no sense")

    with local_comparer.compare(World(people=(), exclusive=True)) as comparison:
        with pytest.raises(IncompleteRead, match="no sense"):
            comparison.load_remote(pages())
        with pytest.raises(IncompleteRead, match="has not been read"):
            comparison.drift()


class EndlessSource(DyingSource):
    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        yield ValueStream(self._warehouse.query("SELECT 'a' AS value FROM range(1000000000000)"), ALL_TYPED)


def test_a_signal_ends_a_query_that_would_go_on_for_ever(tmp_path: Path) -> None:
    with comparing(tmp_path, EndlessSource) as (engine, comparison), ThreadPoolExecutor(1) as pool:
        running = pool.submit(comparison.compare)
        while not wait([running], timeout=0.01).done:  # an interruption before the statement began is lost
            engine.interrupt()

    failure = running.exception()
    assert isinstance(failure, SegmentError)
    assert failure.code == "stopped"


def test_after_a_signal_nothing_is_compared_any_more(tmp_path: Path) -> None:
    with comparing(tmp_path) as (engine, comparison):
        engine.interrupt()
        with pytest.raises(SegmentError) as caught:
            comparison.compare()

    assert caught.value.code == "stopped"
