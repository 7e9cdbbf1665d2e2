"""A state with its members on Sail, by Spark Connect and by Databricks' driver (*emulated*): the tests of PostgreSQL,
and attacks between what is written there and in the state.
"""

import shutil
import signal

import pytest

from tests.e2e.test_members_at_source import (
    APPLY,
    test_a_kill_in_the_middle_of_an_apply_loses_nothing,
    test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten,
    test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused,
    test_tables_that_were_lost_are_told_and_a_refresh_mends_them,
    test_two_states_and_a_restored_state_are_refused,
)
from tests.support.project import Project
from tests.warehouses.sessions import DatabricksSession, SailSession, SessionOnSail

__all__ = [  # pytest runs them here, too
    "test_a_kill_in_the_middle_of_an_apply_loses_nothing",
    "test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten",
    "test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused",
    "test_tables_that_were_lost_are_told_and_a_refresh_mends_them",
    "test_two_states_and_a_restored_state_are_refused",
]

SESSIONS = {"sail_server": SailSession, "databricks_server": DatabricksSession}
GROUPS = {"sail_server": "members", "databricks_server": "members of Databricks"}


@pytest.fixture(params=[pytest.param(each, marks=pytest.mark.xdist_group(GROUPS[each])) for each in SESSIONS])
def session(project: Project, request: pytest.FixtureRequest) -> SessionOnSail:
    server = request.getfixturevalue(request.param)
    return SESSIONS[request.param](project, server, f"m{abs(hash(request.node.name))}")


def test_kills_between_append_and_head_and_commit_and_tables_of_another_time_send_nobody_wrongly(
    session: SessionOnSail,
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

    with session.watched(b"FROM grouped", lambda: None, passes_on=True):  # the server is gone in the middle
        failed = session.run(*APPLY)
    assert (failed.code, "source warehouse: " in failed.err) == (1, True)
    assert session.members() == {"p0001", "p0007"}
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0008"}


@pytest.mark.parametrize("words", [("validate", "--connect"), ("plan",), APPLY])
def test_a_schema_that_is_not_there_is_told_before_anything_is_sent(
    session: SessionOnSail, words: tuple[str, ...]
) -> None:
    session.fill("p0001")
    session.name_nowhere()
    told = session.run(*words)
    shown = " ".join((told.out + told.err).split())
    assert told.code == 1
    assert "the schema nowhere, which is to hold members, is not there" in shown
    assert "CREATE SCHEMA" in shown
    assert not session.members()
    assert not session.project.sandbox.writes
