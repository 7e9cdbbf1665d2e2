"""What is Sail's own of a state with its members there."""

import shutil

import pytest

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.sources.members_sql import SPARK
from tests.e2e.test_members_at_source import APPLY
from tests.support.project import Project
from tests.warehouses.engine import Started
from tests.warehouses.sessions import SailSession

pytestmark = pytest.mark.xdist_group("members")


@pytest.fixture
def session(project: Project, sail_server: Started, request: pytest.FixtureRequest) -> SailSession:
    return SailSession(project, sail_server, f"m{abs(hash(request.node.name))}")


def test_a_session_of_its_own_finds_the_tables_again(session: SailSession) -> None:
    session.write("source")
    text = session.project.spec.read_text().replace(session.server.url, session.server.url.partition("/;")[0])
    query = f"SELECT id FROM {session.schema}_people"

    def want(*ids: str) -> None:
        rows = ", ".join(f"('{each}')" for each in ids)
        session.project.spec.write_text(text.replace(query, f"SELECT id FROM VALUES {rows} AS t (id)"))

    want("p0001", "p0002", "p0003")
    session.do(*APPLY)
    assert (session.plan()["status"], session.plan()["compare"]) == ("unchanged", "pushdown")
    want("p0002", "p0004")
    session.do(*APPLY)
    assert session.members() == {"p0002", "p0004"}
    assert session.plan()["status"] == "unchanged"
    shutil.rmtree(session.folder)
    lost = session.run("plan")
    assert lost.code == 1
    assert "reconcile refresh" in lost.err


def test_the_number_of_an_id_is_the_same_there_and_here(sail_server: Started) -> None:
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
    values = ", ".join(f"('{each}')" for each in ids)
    from reconciler.sources.spark_members import SparkWithMembers  # not above: a worker of xdist would be ended

    source = SparkWithMembers("lake", Secret(sail_server.url), read_options({"schema": "reconcile"}))
    with source.keep():
        numbers = source.fetch(f"SELECT CAST({SPARK.number.format('id')} AS STRING) FROM VALUES {values} AS t (id)")
        assert [int(number) for (number,) in numbers] == [SPARK.sum_of([each]) for each in ids]
        assert source.fetch(f"SELECT {SPARK.number.format('CAST(NULL AS STRING)')} AS n") == [(None,)]
        for ask, statement in ((source.fetch, "SELECT 1 FROM nowhere"), (source.run, "INSERT INTO nowhere SELECT 1")):
            with pytest.raises(SourceError) as caught:
                ask(statement)
            assert "is one of `members: source`, and no query of the spec" in caught.value.hint


def test_tables_of_parquet_take_whole_runs_and_tell_what_no_delete_leaves(session: SailSession) -> None:
    session.table_format = "parquet"
    session.write("source")
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    session.fill("p0001", "p0004")
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0004"}
    after = session.plan()
    assert (after["status"], after["compare"], after["stored"]) == ("unchanged", "pushdown", 2)

    session.let_an_hour_pass()
    kept = session.run("state erase", "p0002", "--yes")
    assert kept.code == 1
    assert "old rows there still have it" in " ".join(kept.err.split())
    session.fill("p0001", "p0005")
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0005"}
    assert "keep the rows" in session.do("state forget", "vip", "--yes").err
