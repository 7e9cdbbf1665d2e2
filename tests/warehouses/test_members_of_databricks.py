"""A state with its members at an *emulated* Databricks: its real driver, in front of Sail with tables of Delta."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.batches import Direction
from reconciler.models.comparison import ArrowStream, NotPossible
from reconciler.models.fields import Secret
from reconciler.models.members import Answer, MembersHead
from reconciler.models.options import read_options
from reconciler.models.spec import Segment
from reconciler.sources import open_members, open_source
from reconciler.sources.failures import Scrubber
from reconciler.sources.members import Asked, MembersInTables
from reconciler.sources.warehouse_members import DatabricksWithMembers
from tests.e2e.test_members_at_source import APPLY
from tests.fakes.members_worlds import MembersComparer, select_rows
from tests.fakes.random_worlds import worlds
from tests.fakes.set_model import World
from tests.support.project import Project
from tests.unit.diff.test_comparison import check_query
from tests.unit.sources.conftest import segment
from tests.warehouses.engines import _databricks as databricks
from tests.warehouses.engines._spark import write_text
from tests.warehouses.sessions import DatabricksSession

pytestmark = pytest.mark.xdist_group("members of Databricks")

KEY = "production/56"


@pytest.fixture
def schema(databricks_server: databricks.Warehouse, request: pytest.FixtureRequest) -> str:
    name = f"m{abs(hash(request.node.name))}"
    databricks_server.make_schema(name)
    return name


@pytest.fixture
def session(
    project: Project, databricks_server: databricks.Warehouse, request: pytest.FixtureRequest
) -> DatabricksSession:
    return DatabricksSession(project, databricks_server, f"m{abs(hash(request.node.name))}")


@pytest.fixture
def members(databricks_server: databricks.Warehouse, schema: str) -> MembersInTables:
    options = read_options({**databricks_server.options, "members_schema": schema})
    found = open_members("warehouse", open_source("warehouse", Secret(databricks_server.url), options))
    assert isinstance(found, MembersInTables)
    return found


def read(members: MembersInTables, head: MembersHead) -> set[str]:
    with members.read(KEY, head) as blocks:
        return set("\x1e".join(blocks).split("\x1e"))


class WorldTables(DatabricksWithMembers):
    """The real tables, but that the rows of a world say themselves whether they are typed."""

    @contextmanager
    def ask(self, segment: Segment, overlay: ArrowStream) -> Iterator[Asked | NotPossible]:
        with super().ask(segment, overlay) as asked:
            assert not isinstance(asked, NotPossible), asked
            yield replace(asked, values=select_rows(segment), all_typed=False)


@pytest.fixture(scope="module")
def comparer(
    databricks_server: databricks.Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MembersComparer]:
    """A set engine that has an emulated Databricks compare."""
    databricks_server.make_schema("worlds")
    databricks_server.execute("CREATE TEMP VIEW people AS SELECT '' AS id")
    options = read_options({**databricks_server.options, "members_schema": "worlds"})
    tables = WorldTables.of(
        make_url(databricks_server.url), Scrubber.of("warehouse", Secret(databricks_server.url)), options
    )

    def write(number: int, world: World) -> None:
        rows = [(value.text, value.typed) for value in world.values]
        texts = (("CAST(NULL AS STRING)" if text is None else write_text(text), typed) for text, typed in rows)
        selects = [f"SELECT {number} AS world, {text} AS value, {typed} AS typed" for text, typed in texts]
        nothing = f"SELECT {number} AS world, '' AS value, true AS typed WHERE false"
        databricks_server.execute(
            f"CREATE OR REPLACE TEMP VIEW world_rows AS {' UNION ALL '.join([nothing, *selects])}"
        )

    with duckdb.connect(":memory:") as database:
        comparer = MembersComparer(tables.open_members(), write, tmp_path_factory.mktemp("spill"), database)
        with comparer.engine.keep():
            yield comparer


@settings(max_examples=10, deadline=None)  # each writes members in ten commits of Delta
@given(world=worlds(with_people=False))
def test_it_compares_as_the_model_says(comparer: MembersComparer, world: World) -> None:
    check_query(comparer, replace(world, exclusive=False))


def test_no_statement_holds_an_id(session: DatabricksSession) -> None:
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    session.fill("p0001", "p0004")
    before = len(session.server.service.statements)
    session.do(*APPLY)
    session.do("drift")

    asked = session.server.service.statements[before:]
    assert any("reconcile_changes SELECT" in each for each in asked)
    assert not [each for each in asked if "p000" in each]


def test_ids_with_any_character_that_may_be_in_one_come_back(members: MembersInTables) -> None:
    odd = [
        "it's",
        'a "b"',
        "\\n",
        "\\",
        "%(x)s",
        ":reconcile_ids_0",
        "a,b|c",
        "né",
        "𝄞",
        "a\u2028b",
        "a  b",
        "{x}",
        "?",
    ]

    base = members.write_generation(KEY, "a lineage", 1, iter([odd]))
    head = members.append(KEY, base, 1, iter([(Direction.REMOVE, odd[:2]), (Direction.ADD, ["-- c"])]))

    assert read(members, head) == {*odd[2:], "-- c"}
    assert members.holds(KEY, head, [*odd, "other"]) == set(odd[2:])


def test_more_ids_than_a_statement_takes_go_up_in_several(
    members: MembersInTables, databricks_server: databricks.Warehouse
) -> None:
    ids = [f"{number:05}" + "é" * 70 for number in range(2 * DatabricksWithMembers.most_bytes // 146 + 1)]
    before = len(databricks_server.service.statements)

    head = members.write_generation(KEY, "a lineage", 1, iter([ids]))

    assert head.rows == len(ids)
    assert sum("reconcile_base SELECT" in each for each in databricks_server.service.statements[before:]) >= 3
    assert read(members, head) == set(ids)


OVERLAY = pa.schema({"id": pa.string(), "flags": pa.int16(), "travels": pa.bool_()})


@pytest.mark.parametrize(
    ("query", "most", "reason"),
    [
        ("SELECT 'a' AS id", 10, "more than a statement of Databricks takes"),
        ("SELECT '%(x)s' AS id", DatabricksWithMembers.most_bytes, "would change a string of the query"),
        ("SELECT DATE '2026-01-01' AS id", DatabricksWithMembers.most_bytes, "ids of type date"),
        ("SELECT CAST(7 AS DECIMAL(10, 2)) AS id", DatabricksWithMembers.most_bytes, "ids of type decimal"),
    ],
)
def test_what_can_not_be_asked_there_is_compared_here(
    members: MembersInTables, monkeypatch: pytest.MonkeyPatch, query: str, most: int, reason: str
) -> None:
    head = members.write_generation(KEY, "a lineage", 1, iter([["a"]]))
    monkeypatch.setattr(DatabricksWithMembers, "most_bytes", most)
    overlay = pa.table([["b", "a long id"], [2, None], [False, True]], schema=OVERLAY)

    with members.compare(segment(query), KEY, head, overlay, (0,), (1,)) as answer:
        assert isinstance(answer, NotPossible)
        assert reason in answer.reason


def test_a_query_with_params_and_an_overlay_is_one_statement(members: MembersInTables) -> None:
    head = members.write_generation(KEY, "a lineage", 1, iter([["a", "b"]]))
    overlay = pa.table([["b", "c"], [None, 2], [True, False]], schema=OVERLAY)

    with members.compare(segment("SELECT :low AS id", low="b"), KEY, head, overlay, (0,), (1,)) as answer:
        assert isinstance(answer, Answer)
        rows = pa.RecordBatchReader.from_stream(answer.rows).read_all().to_pylist()

    found = {row["id"]: (row["stays"], row["flags"], row["number"], row["members"]) for row in rows}
    assert found == {"a": (False, 1, 0, 1), "b": (False, 1, 1, 1), "c": (False, 2, 0, 0)}


def test_a_server_that_answers_without_arrow_is_refused(members: MembersInTables) -> None:
    queue = type("ColumnQueue", (), {})()  # as the driver calls what it has of such an answer
    description = [("stays", "boolean"), ("id", "string")]
    cursor = SimpleNamespace(active_result_set=SimpleNamespace(results=queue), description=description)
    result = SimpleNamespace(cursor=cursor, dialect=SimpleNamespace(driver="databricks"))
    assert isinstance(members.tables, DatabricksWithMembers)

    with pytest.raises(SourceError, match="answers without Arrow"):
        members.tables.read(result, 1)


@pytest.fixture
def refusals(databricks_server: databricks.Warehouse) -> Iterator[dict[str, str]]:
    yield databricks_server.service.refusals
    databricks_server.service.refusals.clear()


def test_a_right_that_is_missing_is_told_and_the_next_run_writes(
    session: DatabricksSession, refusals: dict[str, str]
) -> None:
    session.fill("p0001", "p0002")
    refusals["CREATE TABLE"] = (
        "[INSUFFICIENT_PERMISSIONS] Insufficient privileges: User has no CREATE TABLE on Schema. SQLSTATE: 42501"
    )
    told = " ".join(session.do(*APPLY).err.split())
    refusals.clear()

    assert "recorded in the state, and not yet at the source, which the next run does" in told
    assert "needs USE CATALOG, USE SCHEMA and CREATE TABLE, or SELECT and MODIFY on reconcile_base" in told
    assert session.members() == {"p0001", "p0002"}
    assert "not yet at the source" not in session.do(*APPLY).err
    assert (session.plan()["status"], session.plan()["compare"]) == ("unchanged", "pushdown")


def test_what_is_said_of_a_statement_with_ids_shows_none(session: DatabricksSession, refusals: dict[str, str]) -> None:
    session.fill("p0001", "p0002")
    refusals["INSERT INTO"] = "[PARSE_SYNTAX_ERROR] Syntax error at or near 'p0001'. SQLSTATE: 42601"

    told = " ".join(session.do(*APPLY).err.split())

    assert "Syntax error" in told
    assert "p0001" not in told
    assert "Correct the query" not in told
    assert "is one of `members: source`, and no query of the spec" in told
    assert "reconcile state copy SPEC --members local" in told


def test_a_table_that_is_gone_under_a_statement_with_ids_is_no_name_in_the_query(
    session: DatabricksSession, refusals: dict[str, str]
) -> None:
    session.fill("p0001")
    refusals["INSERT INTO"] = (
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view `reconcile_base` cannot be found. SQLSTATE: 42P01"
    )

    told = " ".join(session.do(*APPLY).err.split())

    assert "reconcile_base" in told
    assert "Check the names in the query" not in told
    assert "needs USE CATALOG, USE SCHEMA and CREATE TABLE" in told


def test_a_statement_that_the_driver_repeats_since_its_answer_was_lost_does_no_harm(session: DatabricksSession) -> None:
    service = session.server.service
    session.fill("p0001", "p0002", "p0003")
    service.lost.append("reconcile_base SELECT")
    told = " ".join(session.do(*APPLY).err.split())
    assert "not yet at the source, which the next run does" in told
    assert "of 3 ids that were appended, its tables show 6" in told
    assert "not yet at the source" not in session.do(*APPLY).err
    assert (session.plan()["status"], session.plan()["compare"]) == ("unchanged", "pushdown")

    session.fill("p0001", "p0004")
    service.lost += ["reconcile_changes SELECT", "reconcile_heads SELECT"]
    before = len(service.statements)
    assert "not yet at the source" not in session.do(*APPLY).err
    written = [each for each in service.statements[before:] if "INSERT" in each]
    assert [len(written), len(set(written)), service.lost] == [5, 3, []]
    after = session.plan()
    assert (after["status"], after["compare"], after["stored"]) == ("unchanged", "pushdown", 2)
    assert session.do("state show", "vip", "--members").out == "p0001\np0004\n"
    assert session.members() == {"p0001", "p0004"}
