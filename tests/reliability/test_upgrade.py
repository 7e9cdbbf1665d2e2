"""kill -9 in the middle of `state upgrade`: the old state stays as it was, or the new one is whole; then it goes on.

The step to a next schema is made up: it adds a column, and copies every member.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy

from reconciler.models.fields import Secret
from reconciler.models.spec import StateSettings
from reconciler.state import open_snapshot, schema
from reconciler.state.admin import upgrade
from reconciler.state.schema import REVISION
from tests.support.states import ACKNOWLEDGED, Contents, StateFixture, add, contents_of, remove, unknown

CROWD = [f"p{number:05}" for number in range(4000)]

NEXT = f"{int(REVISION) + 1:04}"

STEP = f"""
import os, signal
from alembic import op
import sqlalchemy as sa

revision, down_revision = "{NEXT}", "{REVISION}"

def upgrade():
    op.add_column("reconcile_plans", sa.Column("note", sa.Text()))
    op.create_table("reconcile_copies", sa.Column("id", sa.Text(), primary_key=True))
    op.execute("INSERT INTO reconcile_copies SELECT id FROM reconcile_members WHERE id < 'p02000'")
    if os.environ.get("MOMENT") == "within the step":
        os.kill(os.getpid(), signal.SIGKILL)
    op.execute("INSERT INTO reconcile_copies SELECT id FROM reconcile_members WHERE id >= 'p02000'")
"""

CHILD = """
import os, signal, sys
from pathlib import Path
from reconciler.models.spec import Secret, StateSettings
from reconciler.state import admin, schema

def die_at(moment):
    if moment == os.environ["MOMENT"]:
        os.kill(os.getpid(), signal.SIGKILL)

def surround(owner, name):
    real = getattr(owner, name)
    def surrounded(*args, **more):
        die_at(f"before {name}")
        found = real(*args, **more)
        die_at(f"after {name}")
        return found
    setattr(owner, name, surrounded)

schema.locate_migrations = lambda: Path(sys.argv[2])
schema.REVISION = sys.argv[3]
for owner, name in [(Path, "rename"), (admin, "_copy_to_new_name"), (admin, "refuse_live_locks"), (schema, "migrate")]:
    surround(owner, name)
admin.upgrade(StateSettings(url=Secret(sys.argv[1])))
die_at("after the commit")
"""

IN_THE_BACKUP = ["before _copy_to_new_name", "before rename", "after rename"]
IN_THE_MIGRATION = ["before refuse_live_locks", "before migrate", "within the step", "after migrate"]
WHOLE = "after the commit"


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The migrations that there are, and the step that is made up."""
    folder, real = tmp_path / "migrations", schema.locate_migrations()
    (folder / "versions").mkdir(parents=True)
    for path in [real / "env.py", *real.glob("versions/*.py")]:
        (folder / path.relative_to(real)).write_text(path.read_text())
    (folder / "versions/copies.py").write_text(STEP)
    return folder


@pytest.mark.parametrize("moment", [*IN_THE_BACKUP, *IN_THE_MIGRATION, WHOLE])
def test_a_killed_upgrade_of_a_sqlite_state_can_be_run_again(
    tmp_path: Path, migrations: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    state = StateFixture(f"sqlite:///{tmp_path}/.reconcile/state.db")
    before = fill(state)

    kill_upgrade(state.url, migrations, moment)

    check_half_way(state, before, monkeypatch, is_whole=moment == WHOLE)
    upgrade_whole(state, before, migrations, monkeypatch)
    names = {path.name for path in (tmp_path / ".reconcile").iterdir()} - {".gitignore", "state.db-wal", "state.db-shm"}
    backups = names - {"state.db"}
    assert len(backups) == (1 if moment in [*IN_THE_BACKUP[:2], WHOLE] else 2)
    for name in names:
        assert (tmp_path / ".reconcile" / name).stat().st_mode & 0o777 == 0o600
    for name in backups:
        assert look(StateFixture(f"sqlite:///{tmp_path}/.reconcile/{name}"), REVISION, monkeypatch) == before


@pytest.mark.parametrize("moment", [*IN_THE_MIGRATION, WHOLE])
def test_a_killed_upgrade_of_a_postgresql_state_can_be_run_again(
    postgres_url: str, migrations: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    state = StateFixture(postgres_url)
    before = fill(state)

    kill_upgrade(state.url, migrations, moment)

    check_half_way(state, before, monkeypatch, is_whole=moment == WHOLE)
    upgrade_whole(state, before, migrations, monkeypatch)


def fill(state: StateFixture) -> Contents:
    """A state with members, marks, a tombstone, and an intent that a dead run left."""
    crowd = [(add(*CROWD[start : start + 1000]), ACKNOWLEDGED) for start in range(0, len(CROWD), 1000)]
    state.send(*crowd, (add("u"), unknown(1.0)), (remove("p00007"), ACKNOWLEDGED))
    with state.store() as store, store.lock(state.target(), "run", "apply", "plan-1") as held:
        held.intend([add("late")])
    contents = state.look()
    assert len(contents.members) == len(CROWD) - 1
    assert contents.journal == (("add", None, ("late",)),)
    return contents


def kill_upgrade(url: str, migrations: Path, moment: str) -> None:
    """Upgrade in a process of its own, which is dead at a moment."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, url, str(migrations), NEXT],
        env={**os.environ, "MOMENT": moment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


def check_half_way(state: StateFixture, before: Contents, monkeypatch: pytest.MonkeyPatch, *, is_whole: bool) -> None:
    """The state is the old one, without a trace of the new, or the new one."""
    assert look(state, NEXT if is_whole else REVISION, monkeypatch) == before
    assert has_copies(state) is is_whole


def look(state: StateFixture, revision: str, monkeypatch: pytest.MonkeyPatch) -> Contents:
    """Read a state as the version of the tool that knows this schema: any other refuses it."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "REVISION", revision)
        with open_snapshot(StateSettings(url=Secret(state.url), must_exist=True)).read_segment(
            "production", 56
        ) as stored:
            return contents_of(stored)


def has_copies(state: StateFixture) -> bool:
    with connect(state) as connection:
        return sqlalchemy.inspect(connection).has_table("reconcile_copies")


def connect(state: StateFixture) -> sqlalchemy.Connection:
    return sqlalchemy.create_engine(state.url, poolclass=sqlalchemy.NullPool).connect()


def upgrade_whole(state: StateFixture, before: Contents, migrations: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it once more, undisturbed; everything is there, and once."""
    with monkeypatch.context() as patched:
        patched.setattr(schema, "locate_migrations", lambda: migrations)
        patched.setattr(schema, "REVISION", NEXT)
        upgrade(state.settings)
        assert upgrade(state.settings) is None
    assert look(state, NEXT, monkeypatch) == before
    with connect(state) as connection:
        copied = connection.exec_driver_sql("SELECT id FROM reconcile_copies ORDER BY id").scalars().all()
        assert tuple(copied) == before.members
        assert connection.exec_driver_sql("SELECT note FROM reconcile_plans").all() == []
