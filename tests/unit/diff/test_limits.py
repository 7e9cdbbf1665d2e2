"""Little memory, no disk: sets spill and stay right, or the error says what to change."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from reconciler.diff.comparison import SetEngine
from reconciler.embedded_duckdb import SPILL_PREFIX, open_spill_folder
from reconciler.errors import SegmentError, UsageError
from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, Rows, read_size
from reconciler.models.spec import OnBad, Segment, Target
from reconciler.sources.base import ALL_TYPED, ValueStream
from tests.fakes.arrow_streams import FakeSnapshot, FakeStored, Warehouse, make_target
from tests.fakes.set_model import World
from tests.support.limits import limited_files

MANY = 200_000


class ManyStored(FakeStored):
    """Half of them are stored, and as many others; in no order."""

    def members(self) -> Rows:
        return self._warehouse.query(
            f"SELECT 'person-' || hash(range) AS id FROM range({MANY // 2}, {MANY + MANY // 2})"
        )


class ManySource:
    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        yield ValueStream(
            self._warehouse.query(f"SELECT 'person-' || hash(range) AS value FROM range({MANY})"), ALL_TYPED
        )

    def check(self, segment: Segment) -> None:
        raise NotImplementedError


@contextmanager
def open_many(memory_limit: str, spill_parent: Path) -> Iterator[SetEngine]:
    with duckdb.connect(":memory:") as database:
        warehouse = Warehouse(database)
        snapshot = FakeSnapshot(ManyStored(warehouse, World()))
        engine = SetEngine(memory_limit, spill_parent, lambda _: ManySource(warehouse), lambda _: snapshot)
        with engine.keep():
            yield engine
        warehouse.close()


@pytest.fixture
def target() -> Target:
    return make_target(World(), OnBad.ERROR, OnBad.ERROR)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_does_not_fit_is_spilled_and_comes_back_in_the_order_of_its_bytes(tmp_path: Path, target: Target) -> None:
    with open_many("32MB", tmp_path) as engine, engine.begin(target) as comparison:
        changes = comparison.compare()

        assert files_below(tmp_path)
        assert changes.counts == Counts(
            desired=MANY, stored=MANY, add=MANY // 2, remove=MANY // 2, unchanged=MANY // 2, held=MANY
        )
        for direction in Direction:
            batches = list(changes.batches(direction))
            ids = [member for batch in batches for member in batch.ids]
            assert [len(batch.ids) for batch in batches] == [1000] * (MANY // 2000)
            assert ids == sorted(ids, key=str.encode)
            assert len(set(ids)) == MANY // 2
    assert not list(tmp_path.iterdir())


def test_too_little_memory_names_the_flag(tmp_path: Path, target: Target) -> None:
    with open_many("4MB", tmp_path) as engine, engine.begin(target) as comparison:
        with pytest.raises(SegmentError) as caught:
            comparison.compare()

    assert caught.value.code == "memory"
    assert "--memory-limit" in caught.value.hint


def test_the_next_segment_goes_on_after_one_that_did_not_fit(tmp_path: Path, target: Target) -> None:
    with open_many("32MB", tmp_path) as engine:
        with limited_files(100_000), engine.begin(target) as comparison, pytest.raises(SegmentError) as caught:
            comparison.compare()
        with engine.begin(target) as comparison:
            assert comparison.compare().counts.desired == MANY

    assert caught.value.code == "spill"


def test_once_the_first_batch_is_there_no_other_needs_memory(tmp_path: Path, target: Target) -> None:
    with open_many("64MB", tmp_path) as engine, engine.begin(target) as comparison:
        changes = comparison.compare()
        removals = changes.batches(Direction.REMOVE)
        next(removals)
        with engine.open_database().cursor() as cursor:
            cursor.execute("SET GLOBAL memory_limit = '8MB'")
        additions = [id_ for batch in changes.batches(Direction.ADD) for id_ in batch.ids]

        assert len(additions) == MANY // 2
        assert additions == sorted(additions)
        assert sum(len(batch.ids) for batch in removals) == MANY // 2 - 1000


def test_a_folder_that_can_not_be_made_is_told_before_anything_is_read(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()

    with pytest.raises(SegmentError) as caught, open_many("64MB", in_the_way):
        pass

    assert caught.value.code == "spill"
    assert str(in_the_way) in caught.value.message


@pytest.mark.parametrize("limit", ["much", "-1MB", "12 parsecs", "", "512", "80%", "0MB"])
def test_a_limit_that_is_no_size_is_a_usage_error(tmp_path: Path, limit: str) -> None:
    with open_many(limit, tmp_path) as engine, pytest.raises(UsageError, match="--memory-limit"):
        engine.open_database()

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512_000_000),
        ("1.5 gib", 3 * 2**29),
        ("2TB", 2 * 10**12),
        (" 64KB ", 64_000),
        ("5", None),
        ("MB", None),
    ],
)
def test_sizes_are_read_in_thousands_or_with_an_i_in_powers_of_two(text: str, size: int | None) -> None:
    assert read_size(text) == size


def test_nobody_else_can_look_into_the_folder_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_spill_folder(tmp_path / "parent") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_what_a_dead_run_left_is_deleted_by_the_next_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    dead = tmp_path / f"{SPILL_PREFIX}4711-abc"
    dead.mkdir()
    (dead / "duckdb_temp.tmp").write_text("ids")
    foreign = tmp_path / "somebody-elses"
    foreign.mkdir()

    with open_spill_folder(tmp_path) as living:
        (living / "duckdb_temp.tmp").write_text("ids")
        assert not dead.exists()

        with open_spill_folder(tmp_path) as other:
            assert other != living
            assert (living / "duckdb_temp.tmp").exists()

    assert list(tmp_path.iterdir()) == [foreign]


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / f"{SPILL_PREFIX}1-x").symlink_to(precious)

    with open_spill_folder(parent):
        pass

    assert (precious / "file").exists()
