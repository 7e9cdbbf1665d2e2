"""A state with its members at Snowflake and BigQuery, both *emulated*: their real drivers, in front of DuckDB."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from sqlalchemy import Engine, event

from reconciler.errors import SourceError
from reconciler.models.batches import Direction
from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.members import Answer, MembersHead
from reconciler.models.spec import Segment
from reconciler.sources import open_members
from reconciler.sources.failures import Kind
from reconciler.sources.members import Asked, MembersInTables, Session, TablesAtSource
from reconciler.sources.members_sql import TABLES, Statements
from reconciler.sources.row_members import RowSourceWithMembers
from tests.e2e.test_members_at_source import (
    test_a_kill_in_the_middle_of_an_apply_loses_nothing,
    test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten,
    test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused,
    test_tables_that_were_lost_are_told_and_a_refresh_mends_them,
    test_two_states_and_a_restored_state_are_refused,
)
from tests.fakes.members_worlds import MembersComparer, select_rows
from tests.fakes.random_worlds import worlds
from tests.fakes.set_model import World
from tests.support.project import Project
from tests.unit.diff.test_comparison import check_query
from tests.unit.sources.conftest import segment
from tests.warehouses.engine import Warehouse
from tests.warehouses.sessions import WarehouseSession
from tests.warehouses.test_members_on_sail import test_a_schema_that_is_not_there_is_told_before_anything_is_sent

__all__ = [  # pytest runs them here, too
    "test_a_kill_in_the_middle_of_an_apply_loses_nothing",
    "test_a_schema_that_is_not_there_is_told_before_anything_is_sent",
    "test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten",
    "test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused",
    "test_tables_that_were_lost_are_told_and_a_refresh_mends_them",
    "test_two_states_and_a_restored_state_are_refused",
]

ENGINES = ("snowflake", "bigquery")
KEY = "it's/56"


def make_schema(warehouse: Warehouse, name: str) -> None:
    warehouse.execute(f"CREATE SCHEMA {name}")
    if warehouse.url.startswith("snowflake"):
        warehouse.execute("USE SCHEMA PUBLIC")  # who makes a schema is in it


@pytest.fixture
def schema(warehouse: Warehouse, request: pytest.FixtureRequest) -> str:
    name = f"m{abs(hash(request.node.name))}"
    make_schema(warehouse, name)
    return name


@pytest.fixture
def session(project: Project, warehouse: Warehouse, schema: str) -> WarehouseSession:
    return WarehouseSession(project, warehouse.started, schema)


@pytest.fixture
def members(warehouse: Warehouse, schema: str) -> MembersInTables:
    source = warehouse.open(options={"members_schema": schema})
    found = open_members("warehouse", source)
    assert isinstance(found, MembersInTables)
    return found


def read(members: MembersInTables, head: MembersHead) -> set[str]:
    with members.read(KEY, head) as blocks:
        return set("\x1e".join(blocks).split("\x1e"))


@dataclass(frozen=True)
class WorldTables(TablesAtSource):
    """The real tables, but that the rows of a world say themselves whether they are typed."""

    tables: RowSourceWithMembers

    @property
    def statements(self) -> Statements:
        return self.tables.statements

    @property
    def takes_delete(self) -> bool:
        return self.tables.takes_delete

    def begin(self) -> AbstractContextManager[Session]:
        return self.tables.begin()

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream, /) -> Iterator[Asked | NotPossible]:
        with self.tables.ask(segment, overlay) as asked:
            assert not isinstance(asked, NotPossible), asked
            yield replace(asked, values=select_rows(segment), all_typed=False)


@pytest.fixture(scope="module")
def comparer(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MembersComparer]:
    """A set engine that has an emulated warehouse compare."""
    make_schema(warehouse, "worlds")
    warehouse.fill("people", [])  # which the query of a world names
    tables = warehouse.open(options={"members_schema": "worlds"})
    assert isinstance(tables, RowSourceWithMembers)
    text_type = warehouse.engine.text_type

    def write(number: int, world: World) -> None:
        rows = [(value.text, value.typed) for value in world.values]
        texts = (
            (f"CAST(NULL AS {text_type})" if text is None else warehouse.engine.text(text), typed)
            for text, typed in rows
        )
        selects = [f"SELECT {number} AS world, {text} AS value, {str(typed).lower()} AS typed" for text, typed in texts]
        nothing = f"SELECT {number} AS world, '' AS value, true AS typed FROM people WHERE 1 = 0"
        warehouse.execute(f"CREATE OR REPLACE VIEW world_rows AS {' UNION ALL '.join([nothing, *selects])}")

    with duckdb.connect(":memory:") as database:
        members = MembersInTables("warehouse", WorldTables(tables))
        comparer = MembersComparer(members, write, tmp_path_factory.mktemp("spill"), database)
        with comparer.engine.keep():
            yield comparer


@settings(max_examples=10, deadline=None)  # each writes members in ten statements
@given(world=worlds(with_people=False))
def test_it_compares_as_the_model_says(comparer: MembersComparer, world: World) -> None:
    check_query(comparer, replace(world, exclusive=False))


def test_the_number_of_an_id_is_the_same_there_and_here(members: MembersInTables) -> None:
    ids = [
        "1",
        "user-000000000000000042",
        "x" * 150,
        "ann@example.com",
        "zażółć gęślą jaźń",
        "\U0001f600",
        "~",
        "p0001",
    ]
    base = members.write_generation(KEY, "a lineage", 1, iter([ids]))  # it checks the sum

    with members.compare(segment("SELECT '1' AS id"), KEY, base, OVERLAY.empty_table(), (0,), (1,)) as answer:
        assert isinstance(answer, Answer)
        rows = pa.RecordBatchReader.from_stream(answer.rows).read_all().to_pylist()

    assert sum(int(row["total"]) for row in rows) == base.sum
    assert sum(row["members"] for row in rows) == len(ids)


def test_ids_with_any_character_that_may_be_in_one_come_back(members: MembersInTables) -> None:
    odd = [
        "it's",
        'a "b"',
        "\\n",
        "\\",
        "%(x)s",
        "100%",
        "%%",
        ":reconcile_ids_0",
        "a,b|c",
        "né",
        "𝄞",
        "a\u2028b",
        "a  b",
        "{x}",
        "?",
        "$1",
        "@x",
    ]

    base = members.write_generation(KEY, "a lineage", 1, iter([odd]))
    head = members.append(KEY, base, 1, iter([(Direction.REMOVE, odd[:2]), (Direction.ADD, ["-- c"])]))

    assert read(members, head) == {*odd[2:], "-- c"}
    assert members.holds(KEY, head, [*odd, "other"]) == set(odd[2:])
    assert members.generations_of(KEY, ["-- c"]) == {1}


def test_no_statement_holds_an_id(members: MembersInTables) -> None:
    asked: list[str] = []

    def note(connection: Any, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)
        # In another style its driver would write them into the statement.
        assert connection.dialect.name == "bigquery" or connection.connection.driver_connection.paramstyle == "qmark"

    event.listen(Engine, "before_cursor_execute", note)
    try:
        base = members.write_generation(KEY, "a lineage", 1, iter([["p0001", "p0002"]]))
        head = members.append(KEY, base, 1, iter([(Direction.ADD, ["p0003"])]))
        overlay = pa.table([["p0004"], [2], [False]], schema=OVERLAY)
        with members.compare(segment("SELECT :low AS id", low="p0005"), KEY, head, overlay, (0,), (1,)) as answer:
            assert isinstance(answer, Answer)
            assert pa.RecordBatchReader.from_stream(answer.rows).read_all().num_rows
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert len(asked) > 8
    assert not [each for each in asked if "p000" in each]


def test_without_a_schema_the_tables_are_in_the_current_one(warehouse: Warehouse, members: MembersInTables) -> None:
    members.write_generation(KEY, "a lineage", 1, iter([["a"]]))
    here = open_members("warehouse", warehouse.open())
    try:
        assert here.last(KEY) is None
        head = here.write_generation(KEY, "a lineage", 1, iter([["b", "c"]]))

        assert (here.last(KEY), head.rows) == (head, 2)
    finally:
        for table in TABLES:
            warehouse.execute(f"DROP TABLE IF EXISTS {table}")


def test_only_a_schema_that_is_not_there_is_told_as_such(warehouse: Warehouse) -> None:
    tables = warehouse.open(options={"members_schema": "nowhere"})
    assert isinstance(tables, RowSourceWithMembers)

    def refuse(_statement: str) -> list[Any]:
        raise SourceError("source warehouse: Quota exceeded: too many bytes scanned", Kind.OPTIONS)

    with pytest.raises(SourceError, match="Quota exceeded"):
        tables.list_tables(refuse)
    with pytest.raises(SourceError, match=r"the schema nowhere, .* is not there, or not shown to the source's user"):
        tables.open_members().check_schema()


def test_more_ids_than_a_statement_takes_go_up_in_several(members: MembersInTables) -> None:
    ids = [f"{number:05}" + "é" * 10 for number in range(3_000)]

    # The emulator of Snowflake takes minutes for as many as Snowflake does.
    head = replace(members, bytes_at_once=20_000).write_generation(KEY, "a lineage", 1, iter([ids]))

    assert head.rows == len(ids)
    assert read(members, head) == set(ids)


OVERLAY = pa.schema({"id": pa.string(), "flags": pa.int16(), "travels": pa.bool_()})


@pytest.mark.parametrize(
    ("query", "most", "reason"),
    [
        ("SELECT 'a' AS id", 10, "more than a statement of"),
        ("SELECT DATE '2026-01-01' AS id", 1_000, "ids of type"),
        ("SELECT CAST(7 AS NUMERIC(10, 2)) AS id", 1_000, "ids of type"),
    ],
)
def test_what_can_not_be_asked_there_is_compared_here(
    members: MembersInTables, monkeypatch: pytest.MonkeyPatch, query: str, most: int, reason: str
) -> None:
    head = members.write_generation(KEY, "a lineage", 1, iter([["a"]]))
    monkeypatch.setattr(type(members.tables), "most_bytes", most)
    overlay = pa.table([["b", "a long id"], [2, None], [False, True]], schema=OVERLAY)

    with members.compare(segment(query), KEY, head, overlay, (0,), (1,)) as answer:
        assert isinstance(answer, NotPossible)
        assert reason in answer.reason


def test_a_column_without_a_name_is_compared_here(warehouse: Warehouse, members: MembersInTables) -> None:
    head = members.write_generation(KEY, "a lineage", 1, iter([["a"]]))
    unnamed = {"snowflake": "SELECT CONCAT('a', 'b')", "bigquery": "SELECT 'ab' AS f0_"}  # as BigQuery would call it
    query = unnamed[warehouse.url.partition(":")[0]]

    with members.compare(segment(query), KEY, head, OVERLAY.empty_table(), (0,), (1,)) as answer:
        assert isinstance(answer, NotPossible)
        assert "has no name" in answer.reason


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT :low AS id", {"low": "b"}),
        ("SELECT 'b' AS id, '100% %(x)s ? :low' AS note", {}),
        ("SELECT :low AS id, '100% ? @x' AS note -- %s", {"low": "b"}),
        ("SELECT 'b' AS \"ID\", 1 AS n", {}),
    ],
)
def test_a_query_and_an_overlay_are_one_statement(
    warehouse: Warehouse, members: MembersInTables, query: str, params: dict[str, str]
) -> None:
    head = members.write_generation(KEY, "a lineage", 1, iter([["a", "b"]]))
    overlay = pa.table([["b", "c"], [None, 2], [True, False]], schema=OVERLAY)
    asked = segment(query.replace('"', warehouse.engine.quote), id_column="id", **params)

    with members.compare(asked, KEY, head, overlay, (0,), (1,)) as answer:
        assert isinstance(answer, Answer)
        rows = pa.RecordBatchReader.from_stream(answer.rows).read_all().to_pylist()

    found = {row["id"]: (row["stays"], row["flags"], row["number"], row["members"]) for row in rows}
    assert found == {"a": (False, 1, 0, 1), "b": (False, 1, 1, 1), "c": (False, 2, 0, 0)}
