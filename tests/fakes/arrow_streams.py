"""A state and a source of Arrow streams, made from a world by a DuckDB of their own."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb

from reconciler.diff.comparison import Comparison, SetEngine
from reconciler.models.comparison import BUCKETED_FROM, FIELD_END, ROW_END, ArrowStream, Page, Rows
from reconciler.models.fields import Secret
from reconciler.models.plan import Head
from reconciler.models.spec import (
    DestinationSettings,
    GuardSettings,
    OnBad,
    Ownership,
    Segment,
    Spec,
    StateSettings,
    Target,
)
from reconciler.sources.base import SELECT_LINES, ValueStream, write_typed
from reconciler.state.base import FewStored
from tests.fakes.set_model import World
from tests.support.states import overlay_of

HEAD = Head(lineage="a lineage", serial=7)


class Warehouse:
    """Makes Arrow streams of rows; each can be read once."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self._database = database
        self._lock = threading.Lock()  # query and state are read side by side
        self._cursors: list[duckdb.DuckDBPyConnection] = []

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()

    def stream(self, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> ArrowStream:
        """`columns`: names and SQL types."""
        lists = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
        chosen = (f"unnest($c{place}::{kind}[]) AS {name}" for place, (name, kind) in enumerate(columns.items()))
        values = {f"c{place}": list(column) for place, column in enumerate(lists)}
        return self.query(f"SELECT {', '.join(chosen)}", values)

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> ArrowStream:
        with self._lock:
            cursor = self._database.cursor()
            self._cursors.append(cursor)
        return Once(cursor.sql(sql, params=parameters) if parameters else cursor.sql(sql))


class Once:
    """A stream that can be asked for only once, as those of ADBC."""

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self._relation: duckdb.DuckDBPyRelation | None = relation

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        assert self._relation is not None, "the stream was read before"
        relation, self._relation = self._relation, None
        return relation.__arrow_c_stream__(requested_schema)


class FakeStored:
    def __init__(self, warehouse: Warehouse, world: World) -> None:
        self.head = HEAD
        self.now = world.now
        self.at_source = None
        self._warehouse = warehouse
        self._world = world

    def members(self) -> Rows:
        return self._give({"id": "VARCHAR"}, [(member,) for member in self._world.members])

    def marks(self) -> Rows:
        columns = {"id": "VARCHAR", "mark": "VARCHAR", "direction": "VARCHAR", "at": "DOUBLE"}
        return self._give(columns, [(m.id, m.mark, m.direction, m.at) for m in self._world.marks])

    def journal(self) -> Rows:
        columns = {
            "seq": "BIGINT",
            "direction": "VARCHAR",
            "outcome": "VARCHAR",
            "at": "DOUBLE",
            "unknown_at": "DOUBLE",
            "ids": "VARCHAR",
        }
        rows = [(r.seq, r.direction, r.outcome, r.at, r.unknown_at, "\n".join(r.ids)) for r in self._world.journal]
        return self._give(columns, rows)

    def few(self) -> FewStored | None:
        marks = [(m.id, m.mark, m.direction, m.at) for m in self._world.marks]
        journal = [(r.seq, r.direction, r.outcome, r.at, r.unknown_at, "\n".join(r.ids)) for r in self._world.journal]
        return FewStored(self.head, list(self._world.members), overlay_of(marks, journal))

    def _give(self, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> Rows:
        return blocks_of(rows) if self._world.as_blocks else self._warehouse.stream(columns, rows)


def blocks_of(rows: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    size = 2 + len(rows) // 8
    lines = [chr(FIELD_END).join("" if field is None else str(field) for field in row) for row in rows]
    return (chr(ROW_END).join(lines[start : start + size]) for start in range(0, len(lines), size))


class FakeSnapshot:
    def __init__(self, stored: FakeStored) -> None:
        self._stored = stored

    def head(self, workspace: str, segment_id: int) -> Head:
        raise NotImplementedError

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int, source: object = None) -> Iterator[FakeStored]:
        assert (workspace, segment_id) == ("production", 56)
        yield self._stored

    def read_few(self, workspace: str, segment_id: int, most: int) -> FewStored | None:
        assert (workspace, segment_id) == ("production", 56)
        return self._stored.few()

    def environments(self) -> dict[str, int]:
        raise NotImplementedError

    def find_forgetting(self, workspace: str, segment_id: int) -> str | None:
        return None

    def is_spent(self, plan_id: str) -> bool:
        raise NotImplementedError


class FakeSource:
    def __init__(self, values: ValueStream) -> None:
        self._values = values

    @contextmanager
    def stream_values(self, segment: Segment, _few: int = 0, /) -> Iterator[ValueStream]:
        assert segment.name == "vip"
        yield self._values

    def check(self, segment: Segment) -> None:
        raise NotImplementedError


def make_target(world: World, nulls: OnBad, invalid: OnBad) -> Target:
    segment = Segment(
        name="vip",
        segment_id=56,
        query="SELECT id FROM people",
        source="warehouse",
        id_type=world.id_type,
        ownership=Ownership.EXCLUSIVE if world.exclusive else Ownership.TRACKED,
        nulls=nulls,
        invalid=invalid,
        guards=GuardSettings(must_include=world.sentinels),
    )
    destination = DestinationSettings(workspace="production", site_id=Secret("site"), api_key=Secret("key"))
    return Target(
        Spec(
            path=Path("spec.yaml"),
            sources={},
            destination=destination,
            state=StateSettings(url=Secret("")),
            segments=(segment,),
        ),
        segment,
    )


def values_of(warehouse: Warehouse, world: World) -> ValueStream:
    rows = [(value.text, value.typed) for value in world.values]
    return ValueStream(warehouse.stream({"value": "VARCHAR", "typed": "BOOLEAN"}, rows))


def lines_of(world: World) -> ValueStream:
    """As `values_of`, in blocks of text."""
    values, size = world.values, 2 + len(world.values) // 8
    blocks = [
        block
        for start in range(0, len(values), size)
        for block in write_typed([(value.text, value.typed) for value in values[start : start + size]])
    ]
    return ValueStream(iter(blocks), SELECT_LINES)


def make_page(*people: tuple[str, str | None]) -> Page:
    """A page with these people: their cio_id and key."""
    return Page([cio_id for cio_id, _ in people], [key for _, key in people])


def pages_of(world: World) -> Iterator[Page]:
    people = [(person.cio_id, person.key) for person in world.people or ()]
    size = 2 + len(people) // 8
    return (make_page(*people[start : start + size]) for start in range(0, len(people), size))


class AnyComparer(Protocol):
    """A set engine with a world of its own for each comparison."""

    head: Head
    expected: str
    """The engine of a comparison that needs no read-back."""

    def compare(self, world: World, on_bad: OnBad = OnBad.SKIP) -> AbstractContextManager[Comparison]:
        """Open a comparison; what is there is loaded, if the world tells it."""
        ...


class LocalComparer:
    """The worlds are fakes; everything is compared here."""

    head = HEAD
    expected = "local"

    def __init__(
        self,
        memory_limit: str,
        spill_parent: Path,
        database: duckdb.DuckDBPyConnection,
        few: int = 0,
        bucketed_from: int = BUCKETED_FROM,
    ) -> None:
        """`few`: up to so many ids are compared in sets; `bucketed_from`: from so many on bucket by bucket."""
        self._database = database
        self._few = few
        self._worlds: dict[int, tuple[World, Warehouse]] = {}
        self.engine = SetEngine(
            memory_limit, spill_parent, self._source, self._snapshot, few=few, bucketed_from=bucketed_from
        )

    def _source(self, target: Target) -> FakeSource:
        world, warehouse = self._worlds[id(target)]
        return FakeSource(lines_of(world) if self._few else values_of(warehouse, world))

    def _snapshot(self, target: Target) -> FakeSnapshot:
        world, warehouse = self._worlds[id(target)]
        return FakeSnapshot(FakeStored(warehouse, world))

    @contextmanager
    def compare(self, world: World, on_bad: OnBad = OnBad.SKIP) -> Iterator[Comparison]:
        target, warehouse = make_target(world, on_bad, on_bad), Warehouse(self._database)
        self._worlds[id(target)] = world, warehouse
        try:
            with self.engine.begin(target) as comparison:
                if world.people is not None:
                    comparison.load_remote(pages_of(world))
                yield comparison
        finally:
            del self._worlds[id(target)]
            warehouse.close()


@contextmanager
def open_local_comparer(
    spill_parent: Path, memory_limit: str = "64MB", few: int = 0, bucketed_from: int = BUCKETED_FROM
) -> Iterator[LocalComparer]:
    with duckdb.connect(":memory:") as database:
        comparer = LocalComparer(memory_limit, spill_parent, database, few, bucketed_from)
        with comparer.engine.keep():
            yield comparer
