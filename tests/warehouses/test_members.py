"""A state with its members at the source, on Sail: the tests of PostgreSQL, and what is Sail's own."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.models.fields import Secret
from reconciler.models.options import read_options
from reconciler.sources.members_sql import SPARK
from tests.e2e.test_members_at_source import (
    APPLY,
    test_a_kill_in_the_middle_of_an_apply_loses_nothing,
    test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten,
    test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused,
    test_tables_that_were_lost_are_told_and_a_refresh_mends_them,
    test_two_states_and_a_restored_state_are_refused,
)
from tests.support.project import Project
from tests.warehouses.engine import NotHad, Started
from tests.warehouses.engines import sail
from tests.warehouses.sessions import SessionOnSail
from tests.warehouses.watched import stand_before

__all__ = [  # pytest runs them here, too
    "test_a_kill_in_the_middle_of_an_apply_loses_nothing",
    "test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten",
    "test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused",
    "test_tables_that_were_lost_are_told_and_a_refresh_mends_them",
    "test_two_states_and_a_restored_state_are_refused",
]

pytestmark = pytest.mark.xdist_group("members")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    try:
        with sail.start(tmp_path_factory.mktemp("sail")) as started:
            yield started
    except NotHad as error:
        pytest.fail(f"Sail was not run: {error}", pytrace=False)


class SailSession(SessionOnSail):
    """A project whose spec has its members in tables of Delta."""

    table_format = "delta"

    def __init__(self, project: Project, server: Started, schema: str) -> None:
        self.folder = project.folder / "lake"
        super().__init__(project, server, schema)

    @property
    def options(self) -> dict[str, str]:
        return {"schema": self.schema, "location": str(self.folder), "table_format": self.table_format}

    def drop(self, table: str) -> None:
        shutil.rmtree(self.folder)
        super().drop(table)

    @contextmanager
    def watched(self, words: bytes, then: Callable[[], object], *, passes_on: bool) -> Iterator[None]:
        """Let the spec reach Sail by a place where `then` is done once the words are asked (see `stand_before`)."""
        port = self.server.url.partition("127.0.0.1:")[2].partition("/")[0]
        with stand_before(int(port), words, then, passes_on=passes_on) as own:
            self.url = self.server.url.replace(port, str(own), 1)
            self.write("source")
            yield
        self.url = self.server.url
        self.write("source")

    def kill_apply_at(self, words: bytes, *, written: bool) -> int:
        """Kill an apply when it asks the source for what has these words, or once that is done and not answered yet."""
        aim: list[subprocess.Popen[bytes]] = []
        ready = threading.Event()
        before = self.count_heads()

        def strike() -> None:
            while written and self.count_heads() == before:
                threading.Event().wait(0.01)
            assert ready.wait(60)
            aim[0].kill()

        command = [str(Path(sys.prefix) / "bin" / "reconcile"), APPLY[0], "spec.yaml", *APPLY[1:]]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with (
            self.watched(words, strike, passes_on=written),
            subprocess.Popen(command, cwd=self.project.folder, **streams) as process,
        ):
            aim.append(process)
            ready.set()
            try:
                return process.wait(120)
            finally:
                process.kill()

    def count_heads(self) -> int:
        """Count the commits of Delta that heads came with."""
        return len(list((self.folder / "reconcile_heads" / "_delta_log").glob("*.json")))


@pytest.fixture
def session(project: Project, server: Started, request: pytest.FixtureRequest) -> SailSession:
    return SailSession(project, server, f"m{abs(hash(request.node.name))}")


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


def test_the_number_of_an_id_is_the_same_there_and_here(server: Started) -> None:
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

    source = SparkWithMembers("lake", Secret(server.url), read_options({"schema": "reconcile"}))
    with source.keep():
        numbers = source.fetch(f"SELECT CAST({SPARK.number.format('id')} AS STRING) FROM VALUES {values} AS t (id)")
        assert [int(number) for (number,) in numbers] == [SPARK.sum_of([each]) for each in ids]
        assert source.fetch(f"SELECT {SPARK.number.format('CAST(NULL AS STRING)')} AS n") == [(None,)]


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


def test_kills_between_append_and_head_and_commit_and_tables_of_another_time_send_nobody_wrongly(
    session: SailSession,
) -> None:
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    for words, written, wanted in (
        (b"reconcile_changes SELECT", False, {"p0002", "p0004"}),
        (b"reconcile_heads SELECT", False, {"p0003", "p0005"}),
        (b"reconcile_heads SELECT", True, {"p0001", "p0006"}),
    ):
        session.fill(*wanted)
        assert session.kill_apply_at(words, written=written) == -signal.SIGKILL
        assert session.members() == wanted
        left = session.plan()
        assert (left["status"], left["compare"], left["stored"]) == ("unchanged", "pushdown", 2)
        session.do(*APPLY)
    assert session.do("state show", "vip", "--members").out == "p0001\np0006\n"

    older, newer = session.project.folder / "older", session.project.folder / "newer"
    shutil.copytree(session.folder, older)
    session.fill("p0001", "p0007")
    session.do(*APPLY)
    session.folder.rename(newer)
    older.rename(session.folder)
    session.fill("p0001", "p0008")
    assert "run `reconcile refresh" in " ".join(session.run(*APPLY).err.split())
    shutil.rmtree(session.folder)
    newer.rename(session.folder)
    session.execute(
        f"INSERT INTO {session.schema}.reconcile_base SELECT segment_key, generation, 'p0009' AS id "
        f"FROM {session.schema}.reconcile_heads"
    )
    assert "run `reconcile refresh" in " ".join(session.run(*APPLY).err.split())
    session.execute(f"DELETE FROM {session.schema}.reconcile_base WHERE id = 'p0009'")

    with session.watched(b"FULL OUTER JOIN known", lambda: None, passes_on=True):  # the server is gone in the middle
        failed = session.run(*APPLY)
    assert (failed.code, "source warehouse: " in failed.err) == (1, True)
    assert session.members() == {"p0001", "p0007"}
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0008"}
