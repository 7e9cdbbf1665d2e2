"""Which schema a state has, making one, and bringing an older one up to date."""

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Connection

from reconciler.errors import LockHeld, StateError
from reconciler.git import identify
from reconciler.models.fields import Secret
from reconciler.models.spec import SpecIdentity, StateSettings
from reconciler.state import open_records, open_snapshot, open_store, read_plan, schema, store_plan
from reconciler.state.admin import forget, upgrade
from reconciler.state.database import create_tables
from reconciler.state.runtime import Runtime
from reconciler.state.schema import REVISION, VERSION_TABLE
from tests.support.old_states import make_old_state, migrate
from tests.support.states import ACKNOWLEDGED, Contents, FakeMachine, StateFixture, add

NEXT = f"{int(REVISION) + 1:04}"
"""A schema that is made up."""


def connect(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)


def set_version(state: StateFixture, version: str) -> None:
    with connect(state.url).begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")


def describe(connection: Connection) -> dict[str, object]:
    """All that a database says of its tables."""
    inspector = sqlalchemy.inspect(connection)
    found = {}
    for table in inspector.get_table_names():
        columns = {
            column["name"]: (repr(column["type"]), column["nullable"], str(column.get("default")).replace(table, ""))
            for column in inspector.get_columns(table)
        }
        keys = inspector.get_pk_constraint(table)["constrained_columns"]
        indexes = sorted((index["name"], tuple(index["column_names"])) for index in inspector.get_indexes(table))
        uniques = sorted(tuple(unique["column_names"]) for unique in inspector.get_unique_constraints(table))
        found[table] = (columns, keys, indexes, uniques)
    return found


def test_the_migrations_lead_to_the_tables_that_a_new_state_gets(url: str, tmp_path):
    other = f"sqlite:///{tmp_path}/other.db"
    migrated = url if url.startswith("postgresql") else f"sqlite:///{tmp_path}/migrated.db"
    with connect(migrated).begin() as connection:
        migrate(connection)
        by_migration = describe(connection)
        if migrated.startswith("postgresql"):
            for table in by_migration:
                connection.exec_driver_sql(f"DROP TABLE {table}")
    with connect(migrated if migrated.startswith("postgresql") else other).begin() as connection:
        create_tables(connection)
        assert describe(connection) == by_migration
        assert schema.select_version(connection) == REVISION


def test_in_sqlite_members_lie_in_the_order_of_their_ids(tmp_path):
    for name, make in (("made", create_tables), ("migrated", migrate)):
        with connect(f"sqlite:///{tmp_path}/{name}.db").begin() as connection:
            make(connection)
            statement = "SELECT sql FROM sqlite_master WHERE name = 'reconcile_members'"
            assert "WITHOUT ROWID" in connection.exec_driver_sql(statement).scalar_one()


def test_the_newest_migration_is_the_schema_that_this_version_knows():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(schema.locate_migrations()))
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


def test_a_newer_schema_is_refused_with_both_versions_named(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    set_version(state, "9999")
    for use in (lambda: open_snapshot(state.settings), lambda: open_store(state.settings).__enter__()):
        with pytest.raises(StateError) as caught:
            use()
        assert "9999" in caught.value.message
        assert REVISION in caught.value.message


def test_an_older_schema_is_refused_with_the_command_to_run(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    set_version(state, "0000")
    for use in (lambda: open_snapshot(state.settings), lambda: open_store(state.settings).__enter__()):
        with pytest.raises(StateError) as caught:
            use()
        assert "state upgrade" in caught.value.hint


def test_an_upgrade_of_what_is_up_to_date_does_nothing(state: StateFixture):
    state.send((add("a"), ACKNOWLEDGED))
    assert upgrade(state.settings) is None


def test_an_upgrade_of_what_is_missing_makes_nothing(sqlite_state: StateFixture):
    with pytest.raises(StateError, match="no state"):
        upgrade(sqlite_state.settings)
    assert not Path(sqlite_state.url.removeprefix("sqlite:///")).parent.exists()


@pytest.fixture
def older(monkeypatch, tmp_path) -> Path:
    """Migrations with one more step, so that there is something to upgrade to."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    real = schema.locate_migrations()
    for path in [real / "env.py", *real.glob("versions/*.py")]:
        (folder / path.relative_to(real)).write_text(path.read_text())
    (folder / "versions/more.py").write_text(
        f"from alembic import op\nimport sqlalchemy as sa\nrevision = '{NEXT}'\ndown_revision = '{REVISION}'\n"
        "def upgrade():\n    op.add_column('reconcile_plans', sa.Column('note', sa.Text()))\n"
    )
    monkeypatch.setattr(schema, "locate_migrations", lambda: folder)
    return folder


def test_an_upgrade_keeps_everything_and_backs_up_first(state: StateFixture, older, monkeypatch):
    state.send((add("a"), ACKNOWLEDGED))
    monkeypatch.setattr(schema, "REVISION", NEXT)
    copy = upgrade(state.settings)
    with connect(state.url).begin() as connection:
        assert schema.select_version(connection) == NEXT
        assert connection.exec_driver_sql("SELECT note FROM reconcile_plans").all() == []
    assert state.look().members == ("a",)
    if state.url.startswith("sqlite"):
        assert copy is not None
        assert copy.stat().st_mode & 0o777 == 0o600
        monkeypatch.setattr(schema, "REVISION", REVISION)
        assert StateFixture(f"sqlite:///{copy}").look().members == ("a",)
    else:
        assert copy is None


def test_an_upgrade_is_refused_while_somebody_works(state: StateFixture, older, monkeypatch):
    with state.store() as store, store.lock(state.target(), "run", "apply", None):
        monkeypatch.setattr(schema, "REVISION", NEXT)
        other = FakeMachine(host="there", pid=300, running={300: "t300"})
        with pytest.raises(LockHeld, match="in use"):
            upgrade(state.settings, runtime=Runtime(state.clock, other))
    with connect(state.url).begin() as connection:
        assert schema.select_version(connection) == REVISION


def test_a_step_that_fails_leaves_the_state_as_it_was(state: StateFixture, older, monkeypatch):
    state.send((add("a"), ACKNOWLEDGED))
    step = older / "versions/more.py"
    step.write_text(step.read_text() + "    op.execute('SELECT nonsense FROM nowhere')\n")
    monkeypatch.setattr(schema, "REVISION", NEXT)
    with pytest.raises(StateError):
        upgrade(state.settings)
    monkeypatch.setattr(schema, "REVISION", REVISION)
    assert state.look().members == ("a",)


def test_many_who_make_a_state_at_once_make_one(state: StateFixture):
    errors: list[Exception] = []

    def make() -> None:
        try:
            with state.store() as store:
                store.bind("production", 77)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert open_snapshot(state.settings).head("production", 56).environment_id == 77


def test_must_exist_makes_nothing(state: StateFixture):
    settings = StateSettings(url=Secret(state.url), must_exist=True)
    with pytest.raises(StateError, match="no state") as caught:
        open_store(settings).__enter__()
    assert "must_exist" in caught.value.hint
    with pytest.raises(StateError):
        open_snapshot(settings)


def test_tables_of_others_in_a_postgresql_are_left_alone(postgres_url: str):
    with connect(postgres_url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (id int)")
    state = StateFixture(postgres_url)
    state.send((add("a"), ACKNOWLEDGED))
    assert state.look().members == ("a",)


def test_neither_planning_nor_applying_imports_alembic():
    code = "import sys, reconciler.state, reconciler.state.admin; assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- a state of the first edition ------------------------------------------------------------------------------------


def test_a_state_of_the_first_edition_is_refused_with_the_command_to_run_and_an_upgrade_keeps_all_of_it(
    state: StateFixture,
):
    make_old_state(state.url, "first_edition")
    for use in (lambda: open_snapshot(state.settings), lambda: open_store(state.settings).__enter__()):
        with pytest.raises(StateError, match="older schema") as caught:
            use()
        assert "state upgrade" in caught.value.hint

    upgrade(state.settings, runtime=Runtime(state.clock, state.machine))

    head = open_snapshot(state.settings).head("production", 56)
    assert (head.serial, head.change_token, head.completed, head.environment_id) == (8, None, True, 77)
    assert open_snapshot(state.settings).is_spent("plan-0")
    assert [record.row.command for record in open_records(state.settings).run("run-0")] == ["apply"]
    assert state.look() == Contents(
        ("b", "e", "y", "ü\\n"),
        (
            ("a", "unmatched", None),
            ("e", "echo", "add"),
            ("r", "rejected", None),
            ("u", "unsettled", "add"),
            ("x", "removed", None),
        ),
        (("remove", "acknowledged", ("y",)), ("add", None, ("c", "d"))),
    )


def test_the_next_run_on_an_upgraded_state_goes_on_where_the_first_edition_died(state: StateFixture):
    make_old_state(state.url, "first_edition")
    upgrade(state.settings, runtime=Runtime(state.clock, state.machine))

    state.send((add("u", "c"), ACKNOWLEDGED))

    assert state.look().members == ("b", "c", "e", "u", "ü\\n")
    assert ("d", "unsettled", "add") in state.look().marks
    head = open_snapshot(state.settings).head("production", 56)
    assert (head.serial, head.change_token is None) == (10, False)


# --- a state of schema 0002, as it was before segments had a spec ----------------------------------------------------

SECOND_SCHEMA = Contents(
    ("b", "e", "u", "y", "ü\\n"),
    (
        ("a", "unmatched", None),
        ("q", "rejected", None),
        ("u", "echo", "add"),
        ("v", "unsettled", "add"),
        ("x", "removed", None),
    ),
    (("remove", "acknowledged", ("y",)), ("add", None, ("c", "d"))),
)


@pytest.fixture
def second(state: StateFixture) -> StateFixture:
    make_old_state(state.url, "second_schema")
    return state


def test_a_state_of_schema_0002_is_refused_with_the_command_to_run_and_left_as_it_is(second: StateFixture):
    with connect(second.url).begin() as connection:
        before = describe(connection)
    for use in (
        lambda: open_snapshot(second.settings),
        lambda: open_snapshot(second.settings, alone=True),
        lambda: open_records(second.settings).runs("production", 9),
        lambda: open_store(second.settings).__enter__(),
    ):
        with pytest.raises(StateError, match="older schema") as caught:
            use()
        assert "state upgrade" in caught.value.hint
    with connect(second.url).begin() as connection:
        assert describe(connection) == before
        assert schema.select_version(connection) == "0002"


def test_an_upgrade_from_schema_0002_keeps_all_of_it_and_names_no_spec(second: StateFixture):
    upgrade(second.settings, runtime=Runtime(second.clock, second.machine))

    snapshot, records = open_snapshot(second.settings), open_records(second.settings)
    assert second.look() == SECOND_SCHEMA
    head = snapshot.head("production", 56)
    assert (head.serial, head.plan_id, head.plan_base, head.environment_id) == (10, "plan-1", 8, 77)
    assert (head.completed, head.restored, snapshot.head("production", 58).restored) == (True, False, True)
    assert (snapshot.head("staging", 5).id_type, snapshot.head("staging", 5).environment_id) == ("email", 78)
    assert snapshot.is_spent("plan-0")
    assert [(row.run_id, row.added) for row in records.runs("production", 9)] == [
        ("run-3", None),
        ("run-2", 6),
        ("run-0", None),
    ]
    listed = [each for workspace in ("production", "staging", "prod") for each in snapshot.listings(workspace)]
    assert [(each.segment_id, each.name) for each in listed] == [
        (56, "vip"),
        (58, "restored"),
        (5, "vip"),
        (60, "other"),
    ]
    assert {(each.title, each.spec) for each in listed} == {(None, None)}


def test_the_next_run_on_a_state_from_schema_0002_goes_on_and_names_the_spec(second: StateFixture):
    upgrade(second.settings, runtime=Runtime(second.clock, second.machine))

    second.send((add("c"), ACKNOWLEDGED))
    with second.store() as store, store.lock(second.target(), "run-4", "apply", None) as segment:
        segment.keep_listing(segment.head(), None)

    assert second.look().members == ("b", "c", "e", "u", "ü\\n")
    assert {("d", "unsettled", "add"), ("v", "unsettled", "add")} <= set(second.look().marks)
    named = {each.segment_id: each.spec for each in open_snapshot(second.settings).listings("production")}
    assert (named[56] == identify(second.target().spec.path), named[58]) == (True, None)


# --- a state of schema 0003, as it was before there was an audit log --------------------------------------------------


@pytest.fixture
def third(state: StateFixture) -> StateFixture:
    make_old_state(state.url, "third_schema")
    return state


def test_a_state_of_schema_0003_is_refused_with_the_command_to_run_and_left_as_it_is(third: StateFixture):
    for use in (
        lambda: open_snapshot(third.settings),
        lambda: open_records(third.settings).runs("production", 9),
        lambda: open_store(third.settings).__enter__(),
    ):
        with pytest.raises(StateError, match="older schema") as caught:
            use()
        assert "state upgrade" in caught.value.hint
    with connect(third.url).begin() as connection:
        assert schema.select_version(connection) == "0003"
        assert "reconcile_audit" not in describe(connection)


def test_an_upgrade_from_schema_0003_keeps_all_of_it_and_knows_nobody_who_entered(third: StateFixture):
    upgrade(third.settings, runtime=Runtime(third.clock, third.machine))

    snapshot, records = open_snapshot(third.settings), open_records(third.settings)
    assert third.look() == SECOND_SCHEMA
    head = snapshot.head("production", 56)
    assert (head.serial, head.plan_id, head.plan_base, head.environment_id) == (10, "plan-1", 8, 77)
    assert (head.title, head.spec) == ("VIP customers", SpecIdentity("git.example.com/team/specs", "vip.yaml"))
    assert {each.segment_id: each.is_note for each in snapshot.listings("production")} == {
        56: False,
        58: False,
        61: True,
    }
    assert [(row.run_id, row.added) for row in records.runs("production", 9)] == [
        ("run-3", None),
        ("run-2", 6),
        ("run-0", None),
    ]
    assert third.trace("b") == third.trace("x") == []


def test_the_next_run_on_a_state_from_schema_0003_audits_what_the_dead_run_was_acknowledged(third: StateFixture):
    upgrade(third.settings, runtime=Runtime(third.clock, third.machine))

    third.send((add("c"), ACKNOWLEDGED))

    assert third.trace("y") == [("run-3", "remove", "query")]
    assert third.trace("c") == [("run", "add", "query")]
    assert third.trace("d") == []  # nobody knows whether it was sent
    assert third.trace("b") == []


# --- a state of schema 0004, as it was before it kept plans -----------------------------------------------------------


@pytest.fixture
def fourth(state: StateFixture) -> StateFixture:
    make_old_state(state.url, "fourth_schema")
    return state


def test_a_state_of_schema_0004_is_refused_with_the_command_to_run_and_left_as_it_is(fourth: StateFixture):
    for use in (
        lambda: open_snapshot(fourth.settings),
        lambda: open_records(fourth.settings).runs("production", 9),
        lambda: open_store(fourth.settings).__enter__(),
        lambda: store_plan(fourth.settings, "p", datetime.now(UTC), [b"{}"]),
    ):
        with pytest.raises(StateError, match="older schema") as caught:
            use()
        assert "state upgrade" in caught.value.hint
    with connect(fourth.url).begin() as connection:
        assert schema.select_version(connection) == "0004"
        assert "reconcile_plan_lines" not in describe(connection)


def test_an_upgrade_from_schema_0004_keeps_all_of_it_and_then_keeps_plans(fourth: StateFixture):
    upgrade(fourth.settings, runtime=Runtime(fourth.clock, fourth.machine))

    snapshot, records = open_snapshot(fourth.settings), open_records(fourth.settings)
    assert fourth.look() == SECOND_SCHEMA
    head = snapshot.head("production", 56)
    assert (head.serial, head.plan_id, head.plan_base, head.title) == (10, "plan-1", 8, "VIP customers")
    (run,) = records.run("run-2")
    assert (run.row.actor.user, run.row.actor.host, run.row.reason) == ("ann", "ci-1", "first fill")
    assert fourth.trace("b") == fourth.trace("x") == [("run-2", "add", "query")]
    store_plan(fourth.settings, "p", datetime.now(UTC), [b"one", b"two"])
    assert list(read_plan(fourth.settings, "p")) == [b"one", b"two"]


# --- a state of schema 0006, as it was before forgotten segments were remembered --------------------------------------


@pytest.fixture
def sixth(state: StateFixture) -> StateFixture:
    """The state of schema 0004 with a plan, and with a segment whose members stand at the source."""
    make_old_state(state.url, "fourth_schema")
    with connect(state.url).begin() as connection:
        migrate(connection, "0006")
        for statement in (
            "UPDATE reconcile_segments SET members_key = 'staging/5', members_generation = 2, members_serial = 1, "
            "members_rows = 3, members_sum = '7', members_changed = 1, attempted_generation = 2, attempted_serial = 1 "
            "WHERE workspace = 'staging'",
            "INSERT INTO reconcile_dropped SELECT segment_key, 'gone' FROM reconcile_segments "
            "WHERE workspace = 'staging'",
        ):
            connection.exec_driver_sql(statement)
    return state


def test_a_state_of_schema_0006_is_refused_with_the_command_to_run(sixth: StateFixture):
    with pytest.raises(StateError, match="older schema") as caught:
        open_snapshot(sixth.settings)
    assert "state upgrade" in caught.value.hint


def test_an_upgrade_from_schema_0006_keeps_all_of_it_and_has_forgotten_nothing(sixth: StateFixture):
    def read() -> dict[str, list[tuple[object, ...]]]:
        with connect(sixth.url).begin() as connection:
            names = sorted(name for name in describe(connection) if name != VERSION_TABLE)
            found = {name: connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in names}
            return {name: sorted(map(tuple, rows), key=repr) for name, rows in found.items()}

    before = read()
    upgrade(sixth.settings, runtime=Runtime(sixth.clock, sixth.machine))

    assert read() == {**before, "reconcile_forgotten": []}
    assert open_snapshot(sixth.settings).find_forgetting("production", 56) is None
    assert forget(sixth.settings, "production", 56, runtime=Runtime(sixth.clock, sixth.machine))
    assert open_snapshot(sixth.settings).find_forgetting("production", 56) is not None
    assert open_snapshot(sixth.settings).find_forgetting("production", 58) is None
