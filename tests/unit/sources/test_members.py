"""Members at the source, by the neutral statements: what is there counts only as the state has recorded it."""

from collections.abc import Callable, Iterator

import duckdb
import pytest

from reconciler.errors import SourceError, StateError
from reconciler.models.batches import Direction
from reconciler.models.members import Answer, MembersHead
from reconciler.sources import open_members as open_source_members
from reconciler.sources.members import MembersInTables
from reconciler.sources.members_sql import SPARK, Statements
from tests.support.members_in_duckdb import TablesInDuckDB, open_members
from tests.support.one_duckdb import empty_tables
from tests.unit.sources.conftest import Warehouse, segment

KEY = "it's/1"


Execute = Callable[[str], object]


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[tuple[Execute, MembersInTables]]:
    """Runs statements where the tables are, and the members in them."""
    if request.param == "duckdb":
        connection = empty_tables()
        yield connection.execute, open_members(connection)
        return
    warehouse: Warehouse = request.getfixturevalue("postgres_warehouse")
    warehouse.execute("DROP TABLE IF EXISTS reconcile_base, reconcile_changes, reconcile_heads")
    yield warehouse.execute, open_source_members("warehouse", warehouse.source)


@pytest.fixture
def execute(database: tuple[Execute, MembersInTables]) -> Execute:
    return database[0]


@pytest.fixture
def members(database: tuple[Execute, MembersInTables]) -> MembersInTables:
    return database[1]


@pytest.fixture
def head(members: MembersInTables) -> MembersHead:
    base = members.write_generation(KEY, "a lineage", 3, iter([["a", "b"], ["é"]]))
    return members.append(KEY, base, 5, iter([(Direction.ADD, ["c", "d"]), (Direction.REMOVE, ["a"])]))


def read(members: MembersInTables, head: MembersHead) -> list[str]:
    with members.read(KEY, head) as blocks:
        assert isinstance(blocks, Iterator)
        return sorted("\x1e".join(blocks).split("\x1e"))


def count_compared(members: MembersInTables, head: MembersHead) -> tuple[int, int]:
    """Compare with a query of one member, and give number and sum of the members that the answer tells."""
    with duckdb.connect() as engine:
        nothing = engine.sql("SELECT '' AS id, 0::SMALLINT AS flags, false AS travels WHERE false")
        with members.compare(segment("SELECT 'b' AS id"), KEY, head, nothing, (0,), (1,)) as answer:
            assert isinstance(answer, Answer)
            engine.register("answered", answer.rows.__arrow_c_stream__())
            numbers = engine.sql(
                "SELECT sum(members::BIGINT)::BIGINT, sum(total::DECIMAL(38, 0))::BIGINT FROM answered"
            )
            return numbers.fetchall()[0]


def test_members_are_the_base_and_its_changes(members: MembersInTables, head: MembersHead) -> None:
    assert (members.last(KEY), read(members, head)) == (head, ["b", "c", "d", "é"])
    assert members.holds(KEY, head, ["a", "c"]) == {"c"}


def test_rows_that_the_state_has_not_recorded_do_not_count(members: MembersInTables, head: MembersHead) -> None:
    members.append(KEY, head, 6, iter([(Direction.REMOVE, ["b"])]))

    members.check(KEY, head, (3, 6))
    assert read(members, head) == ["b", "c", "d", "é"]
    with pytest.raises(StateError, match="newer than the state"):
        members.check(KEY, head, (3, 5))


def test_a_new_generation_has_the_same_members(members: MembersInTables, head: MembersHead) -> None:
    new = members.rewrite(KEY, head, 4)
    members.drop(KEY, [4])

    assert (new.rows, new.sum, read(members, new)) == (head.rows, head.sum, read(members, new))
    with pytest.raises(StateError, match="state left them"):
        read(members, head)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM reconcile_base WHERE id = 'b'",
        "UPDATE reconcile_base SET id = 'x' WHERE id = 'b'",
        "INSERT INTO reconcile_base SELECT * FROM reconcile_base WHERE id = 'b'",
        "DELETE FROM reconcile_changes WHERE id = 'a'",
    ],
)
def test_what_others_changed_is_noticed(
    execute: Execute, members: MembersInTables, head: MembersHead, change: str
) -> None:
    assert count_compared(members, head) == (head.rows, head.sum)
    execute(change)

    assert count_compared(members, head) != (head.rows, head.sum)
    with pytest.raises(StateError, match="not as the state left them"):
        read(members, head)
    with pytest.raises(StateError, match="not as the state left them"):
        members.append(KEY, head, 6, iter([(Direction.ADD, ["z"])]))


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_what_refuses_a_statement_of_ours_has_nobody_mend_a_query(
    execute: Execute, members: MembersInTables, head: MembersHead
) -> None:
    execute("ALTER TABLE reconcile_changes RENAME COLUMN op TO was")

    with pytest.raises(SourceError, match='"op"') as caught:
        members.append(KEY, head, 6, iter([(Direction.ADD, ["z"])]))

    assert "is one of `members: source`, and no query of the spec" in caught.value.hint


@pytest.mark.parametrize("collation", ["NOCASE", "NOACCENT"])
@pytest.mark.parametrize("database", ["duckdb"], indirect=True)
def test_tables_that_do_not_compare_bytes_are_refused(
    execute: Execute, members: MembersInTables, head: MembersHead, collation: str
) -> None:
    execute(f"ALTER TABLE reconcile_heads ALTER lineage TYPE VARCHAR COLLATE {collation}")

    for ask in (lambda: members.check(KEY, head, (3, 5)), lambda: members.last(KEY)):
        with pytest.raises(SourceError, match="tables of members have a collation"):
            ask()


@pytest.mark.parametrize("table", ["reconcile_base", "reconcile_changes", "reconcile_heads"])
def test_a_lost_table_is_noticed(execute: Execute, members: MembersInTables, head: MembersHead, table: str) -> None:
    execute(f"DROP TABLE {table}")

    with pytest.raises(StateError, match=f"the table {table} is not there"):
        members.check(KEY, head, (3, 5))


def test_another_state_that_writes_there_is_noticed(members: MembersInTables, head: MembersHead) -> None:
    members.write_generation(KEY, "another lineage", 4, iter([["a"]]))

    with pytest.raises(StateError, match="another state writes there"):
        members.check(KEY, head, (9, 0))


def test_ids_go_up_in_statements_of_so_many_bytes_at_most() -> None:
    asked: list[str] = []
    lists = [["a", "b", "é"], ["d", "e"], ["too long"]]
    members = MembersInTables("warehouse", TablesInDuckDB(empty_tables(), before=asked.append), bytes_at_once=6)

    head = members.write_generation(KEY, "a lineage", 1, iter(lists))

    assert read(members, head) == sorted(each for ids in lists for each in ids)
    assert sum("reconcile_base SELECT" in each for each in asked) == 4  # a | b é | d e | too long


def test_no_check_makes_an_engine_gather_all_ids_in_one_place() -> None:
    # Sail's workers refuse a count(DISTINCT id) of two million, whose ids they would hand over as one list.
    head, statements = MembersHead(1, 1, 1, 1, "lineage"), Statements(SPARK, "")

    for check in (statements.count_base(KEY, 1), statements.count_changes(KEY, head, 2)):
        assert "DISTINCT" not in check.upper()
