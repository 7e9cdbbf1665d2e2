"""A state with its members at the source: the commands as a user runs them, kills and losses included.

`tests/warehouses/test_members_on_sail.py` runs the same on Sail.
"""

import json
import signal
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import psycopg
import pytest

from reconciler.sandbox.faults import Fault, answers, late
from reconciler.sandbox.server import Sandbox
from reconciler.sandbox.settings import Settings
from reconciler.sandbox.workspace import Direction
from tests.support.project import Project, Result

ADD = Direction.ADD
APPLY = ("apply", "--yes", "--allow-removals", "vip")


class Session:
    """A project whose spec has its members in a PostgreSQL, in a schema of its own."""

    def __init__(self, project: Project, url: str, schema: str = "members") -> None:
        self.project, self.url, self.schema = project, url, schema
        self.owner = url
        self.write("source")

    @property
    def options(self) -> Mapping[str, object]:
        return {"schema": self.schema}

    def write(self, members: str, state: str = "state.db") -> None:
        state = f"\nstate:\n  url: sqlite:///{state}\n  members: {members}\n"
        self.project.write({"vip": f"segment_id: 56\nquery: SELECT id FROM {self.schema}_people"}, more=state)
        source = f"url: {json.dumps(self.url)}\n    options: {json.dumps(self.options)}\n"
        text = self.project.spec.read_text().replace("url: sqlite:///warehouse.db\n", source)
        self.project.spec.write_text(text)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.owner.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement.encode())

    def fill(self, *ids: str) -> None:
        rows = " UNION ALL ".join(f"SELECT '{each}' AS id" for each in ids)
        self.execute(f"CREATE OR REPLACE VIEW {self.schema}_people AS {rows}")

    def drop(self, table: str) -> None:
        self.execute(f"DROP TABLE {self.schema}.{table}")

    def members(self) -> set[str]:
        return self.project.sandbox.members(56)

    def run(self, command: str, *words: str) -> Result:
        return self.project.run(*command.split(), "spec.yaml", *words)

    def do(self, command: str, *words: str) -> Result:
        done = self.run(command, *words)
        assert done.code == 0, (command, done.out, done.err)
        return done

    def let_an_hour_pass(self) -> None:
        with closing(sqlite3.connect(self.project.folder / "state.db")) as state, state:
            state.execute("UPDATE reconcile_marks SET at = at - 3601")

    def kill_apply(self, direction: Direction, *, applied: bool) -> int:
        """Kill an apply in the middle of its first request in a direction; `applied`: once it has taken effect."""
        words = (APPLY[0], "spec.yaml", *APPLY[1:])
        return self.project.hit(*words, at=lambda call: call.direction is direction, applied=applied).code

    def plan(self) -> dict[str, Any]:
        planned = self.project.json("plan")
        assert planned.code == 0, planned.out + planned.err
        return planned.segments["vip"]


@pytest.fixture
def session(project: Project, postgres_url: str) -> Session:
    made = Session(project, postgres_url)
    made.execute(f"CREATE SCHEMA {made.schema}")
    return made


def test_a_spec_is_planned_applied_changed_drifted_refreshed_and_forgotten(session: Session) -> None:
    session.fill("p0001", "p0002", "p0003")
    assert session.plan()["first_fill"]
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0002", "p0003"}
    again = session.plan()
    assert (again["status"], again["compare"], again["stored"]) == ("unchanged", "pushdown", 3)

    session.fill("p0001", "p0004", "p0005")
    changed = session.plan()
    assert (changed["add"], changed["remove"], changed["compare"]) == (2, 2, "pushdown")
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0004", "p0005"}
    assert session.plan()["status"] == "unchanged"

    assert "less than an hour ago" in session.run("state erase", "p0002", "--yes").err
    session.let_an_hour_pass()
    assert "still holds this id" in session.run("state erase", "p0004", "--yes").err
    assert "old rows at the source of 1 segment" in session.do("state erase", "p0002", "--yes").out
    assert "keeps nothing of this id. Was it the right one" in session.do("state erase", "p0002", "--yes").out
    after = session.plan()
    assert (after["status"], after["compare"], after["stored"]) == ("unchanged", "pushdown", 3)

    session.do("drift")
    session.do("refresh", "--yes")
    assert (session.plan()["status"], session.plan()["stored"]) == ("unchanged", 3)
    assert "3 members" in session.do("status").out
    assert "refresh" in [run["command"] for run in session.project.json("history").document["runs"]]
    assert session.do("state show", "vip", "--members").out == "p0001\np0004\np0005\n"
    assert "Now in vip" in session.do("trace", "p0004").out

    forgotten = session.do("state forget", "vip", "--yes")
    assert "keep the rows" not in forgotten.err
    first = session.plan()
    assert (first["status"], first["first_fill"], first["stored"]) == ("changes", True, 0)


def test_a_first_run_that_left_nothing_at_the_source_blocks_no_later_one(session: Session) -> None:
    text = session.project.spec.read_text()
    options = f"options: {json.dumps(session.options)}\n"
    session.project.spec.write_text(text.replace(options, f"{options}    compare: pushdown\n"))
    session.execute(f"CREATE VIEW {session.schema}_people AS SELECT 'p0001' AS id WHERE false")
    session.do(*APPLY)
    session.fill("p0001", "p0002")
    assert session.plan()["compare"] == "local"
    assert session.kill_apply(Direction.ADD, applied=True) == -signal.SIGKILL
    session.fill("p0001", "p0003")
    session.do(*APPLY)
    assert session.members() == {"p0001", "p0003"}
    assert (session.plan()["status"], session.plan()["compare"]) == ("unchanged", "pushdown")


def test_a_schema_that_is_not_there_is_told_before_anything_is_sent(session: Session) -> None:
    session.fill("p0001")
    text = session.project.spec.read_text()
    session.project.spec.write_text(text.replace(json.dumps(session.options), '{"schema": "nowhere"}'))
    for words in ("validate --connect", "plan", " ".join(APPLY)):
        told = session.run(words)
        assert told.code == 1, words
        shown = " ".join((told.out + told.err).split())
        assert 'the schema "nowhere", which is to hold members, is not there' in shown
        assert "CREATE SCHEMA" in shown
    assert not session.members()


def test_members_are_moved_to_the_source_and_back_and_the_key_alone_is_refused(session: Session) -> None:
    session.write("local")
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    session.write("source")
    for command in ("plan", "drift"):
        refused = session.run(command)
        assert refused.code == 1
        assert "reconcile state copy spec.yaml --members source" in " ".join(refused.err.split())

    moved = session.do("state copy", "--members", "source")
    assert "3 members" in moved.out + moved.err
    assert (session.plan()["status"], session.plan()["compare"]) == ("unchanged", "pushdown")
    session.fill("p0002", "p0003", "p0004")
    session.do(*APPLY)

    session.write("local")
    refused = session.run(*APPLY)
    assert refused.code == 1
    assert "reconcile state copy spec.yaml --members local" in " ".join(refused.err.split())
    session.do("state copy", "--members", "local")
    local = session.plan()
    assert (local["status"], local["compare"], local["stored"]) == ("unchanged", "local", 3)
    assert session.do("state show", "vip", "--members").out == "p0002\np0003\np0004\n"
    session.write("source")
    session.do("state copy", "--members", "source")
    assert session.plan()["status"] == "unchanged"


@pytest.mark.parametrize(("direction", "applied"), [(Direction.REMOVE, False), (Direction.ADD, True)])
def test_a_kill_in_the_middle_of_an_apply_loses_nothing(session: Session, direction: Direction, applied: bool) -> None:
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    session.fill("p0002", "p0004")
    assert session.kill_apply(direction, applied=applied) == -signal.SIGKILL

    again = session.run(*APPLY)
    assert again.code == 0, again.err + again.out
    assert session.members() == {"p0002", "p0004"}
    after = session.plan()
    assert (after["status"], after["stored"]) == ("unchanged", 2)
    assert session.do("state show", "vip", "--members").out == "p0002\np0004\n"


def test_tables_that_were_lost_are_told_and_a_refresh_mends_them(session: Session) -> None:
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    session.fill("p0002", "p0004")
    session.do(*APPLY)
    session.execute(f"DELETE FROM {session.schema}.reconcile_changes WHERE serial > 0")

    for words in (("plan",), APPLY, ("drift",)):
        refused = session.run(*words)
        assert refused.code == 1, words
        assert "reconcile refresh SPEC" in " ".join(refused.err.replace("spec.yaml", "SPEC").split())
    assert session.members() == {"p0002", "p0004"}
    session.do("refresh", "--yes")
    assert (session.plan()["status"], session.plan()["stored"]) == ("unchanged", 2)

    session.drop("reconcile_base")
    assert session.run("plan").code == 1


def test_two_states_and_a_restored_state_are_refused(session: Session) -> None:
    session.fill("p0001", "p0002", "p0003")
    session.do(*APPLY)
    session.do("state backup", "--to", "backup.db")
    session.fill("p0002", "p0004")
    session.do(*APPLY)

    session.write("source", state="other.db")
    refused = session.run(*APPLY)
    assert refused.code == 1
    assert "another state" in refused.err
    assert session.members() == {"p0002", "p0004"}

    session.write("source")
    session.do("state restore", "backup.db", "--yes")
    refused = session.run("plan")
    assert refused.code == 1
    assert "older copy" in refused.err
    session.do("refresh", "--yes")
    assert (session.plan()["status"], session.plan()["stored"]) == ("unchanged", 2)


# --- rights in PostgreSQL ---------------------------------------------------------------------------------------------


@pytest.fixture
def reader(session: Session) -> Iterator[Session]:
    """The session of a role that may read all there is, and write nothing."""
    role = f"reader_{uuid.uuid4().hex}"
    session.fill("p0001", "p0002")
    session.execute(f"CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data")
    session.url = session.url.replace("postgres@", f"{role}@")
    session.write("source")
    yield session
    session.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def let(reader: Session, *words: str) -> None:
    role = reader.url.partition("//")[2].partition("@")[0]
    for statement in words:
        reader.execute(statement.format(role=role, schema=reader.schema))


@pytest.mark.parametrize("members", ["source", "local"])
@pytest.mark.parametrize(
    ("fault", "unmatched", "unsettled"), [(late(direction=ADD), 1, 0), (answers(500, times=None, direction=ADD), 0, 1)]
)
def test_under_exclusive_one_who_was_taken_out_and_is_wanted_no_more_is_no_member(
    session: Session, members: str, fault: Fault, unmatched: int, unsettled: int
) -> None:
    """Members at the source say the same as members in the state."""
    session.write(members)
    spec = session.project.spec
    spec.write_text(spec.read_text().replace("segment_id: 56", "segment_id: 56\n    ownership: exclusive"))
    session.fill("p0001", "p0002", "p0003")
    session.do("apply", "--yes")
    session.project.sandbox.pull_members(56, ["p0002"])

    session.project.sandbox.inject(fault)
    done = session.run("apply", "--yes", "--confirm", "--confirm-timeout", "0")
    session.project.sandbox.faults.clear()
    row = session.project.json("status").segments["vip"]
    assert (done.code, row["members"], row["unmatched"], row["unsettled"]) == (6 * unsettled, 2, unmatched, unsettled)

    session.fill("p0001", "p0003")
    session.do("apply", "--yes")
    assert session.project.stored("vip") == session.members() == {"p0001", "p0003"}
    assert session.plan()["status"] == "unchanged"


def test_a_workspace_that_takes_a_name_that_was_renamed_has_rows_of_its_own(session: Session) -> None:
    session.fill("1", "2")
    session.do("apply", "--yes")
    session.do("state rename", "default", "main")
    other = session.project.folder / "other.yaml"
    other.write_text(session.project.spec.read_text())
    session.project.spec.write_text(other.read_text().replace("workspace: default", "workspace: main"))
    with Sandbox(settings=Settings(environment_id=9)) as sandbox:
        sandbox.add_people([("1", None), ("2", None)])
        sandbox.create_segment("vip", id=56)
        other.write_text(other.read_text().replace(session.project.sandbox.url, sandbox.url))

        refused = session.project.run("apply", "other.yaml", "--yes")
        refreshed = session.project.run("refresh", "other.yaml", "--yes")
        applied = session.project.run("apply", "other.yaml", "--yes")

    assert refused.code == 1
    assert "another state wrote" in refused.out
    assert (refreshed.code, applied.code) == (0, 0), refreshed.err + applied.err
    assert session.project.stored("vip", "other.yaml") == {"1", "2"}
    assert session.project.stored("vip") == {"1", "2"}
    assert session.plan()["status"] == "unchanged"


def test_a_role_that_may_only_read_is_told_which_rights_are_needed(reader: Session) -> None:
    told = " ".join(reader.do(*APPLY).err.split())
    assert "recorded in the state, and not yet at the source, which the next run does" in told
    assert "permission denied for schema members" in told
    assert "needs CREATE and USAGE there, or SELECT, INSERT and DELETE in reconcile_base" in told

    let(reader, "GRANT CREATE ON SCHEMA {schema} TO {role}", "ALTER ROLE {role} SET default_transaction_read_only = on")
    assert "read-only transaction" in " ".join(reader.do(*APPLY).err.split())
    let(reader, "ALTER ROLE {role} RESET default_transaction_read_only")
    assert "not yet at the source" not in reader.do(*APPLY).err
    assert (reader.plan()["status"], reader.plan()["compare"]) == ("unchanged", "pushdown")


def test_tables_that_an_owner_made_need_no_right_to_make_any_and_a_plan_only_reads(reader: Session) -> None:
    tables = "reconcile_base, {schema}.reconcile_changes, {schema}.reconcile_heads"
    mine, reader.url = reader.url, reader.owner
    reader.write("source")
    reader.do(*APPLY)
    reader.url = mine
    reader.write("source")
    assert (reader.plan()["status"], reader.plan()["compare"]) == ("unchanged", "pushdown")

    reader.fill("p0002", "p0003")
    let(reader, "ALTER ROLE {role} SET default_transaction_read_only = on")
    assert reader.plan()["compare"] == "pushdown"
    let(reader, "ALTER ROLE {role} RESET default_transaction_read_only")
    let(reader, f"GRANT SELECT, INSERT, DELETE ON {{schema}}.{tables} TO {{role}}")
    reader.do(*APPLY)
    reader.do("refresh", "--yes")
    assert reader.plan()["status"] == "unchanged"
    assert reader.members() == {"p0002", "p0003"}


@pytest.mark.parametrize("driver", ["pg8000", "asyncpg"])
def test_a_driver_that_holds_no_members_is_refused_with_what_to_write(session: Session, driver: str) -> None:
    session.url = session.url.replace("psycopg", driver)
    session.write("source")
    refused = session.run("validate")
    assert refused.code == 64
    assert f"not supported for a source of postgresql+{driver} (`warehouse`); name no driver" in " ".join(
        (refused.err + refused.out).split()
    )


def test_a_query_that_writes_is_refused_where_it_is_compared_too(session: Session) -> None:
    session.fill("p0001", "p0002")
    session.do(*APPLY)
    session.execute(
        "CREATE TABLE kept (id text); CREATE FUNCTION keep() RETURNS text LANGUAGE sql "
        "AS $$ INSERT INTO kept VALUES ('p0003') RETURNING id $$"
    )
    session.execute(f"CREATE OR REPLACE VIEW {session.schema}_people AS SELECT keep() AS id")
    refused = session.run("plan")
    assert refused.code == 1
    assert "read-only transaction" in " ".join((refused.err + refused.out).split())
