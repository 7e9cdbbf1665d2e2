"""Files that may not be read, that are no plain files, or that have odd names: each is a known error, or works."""

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.permissions import heeding_modes, run_bound
from tests.support.project import Project, Result, people, segment

READERS = [
    ("plan", "spec.yaml"),
    ("apply", "spec.yaml"),
    ("drift", "spec.yaml"),
    ("refresh", "spec.yaml", "--yes"),
    ("status", "spec.yaml"),
    ("history", "spec.yaml"),
    ("state", "show", "spec.yaml", "vip"),
    ("state", "backup", "spec.yaml", "--to", "copy.db"),
    ("state", "copy", "spec.yaml", "--to", "sqlite:///copy.db"),
    ("state", "forget", "spec.yaml", "vip", "--yes"),
    ("state", "upgrade", "spec.yaml"),
]


@pytest.fixture
def filled(project: Project) -> Project:
    """A project with a query file, a state of a hundred people, and a plan file."""
    project.want("vip", people(*range(100)))
    (project.folder / "sql").mkdir()
    (project.folder / "sql" / "vip.sql").write_text("SELECT id FROM vip")
    project.write({"vip": "segment_id: 56\nquery_file: sql/vip.sql"})
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(110)))
    assert project.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    return project


def run_as_process(project: Project, *words: str, **variables: str) -> Result:
    """Run `reconcile` as a process, which reads the words and the variables from the system."""
    done = subprocess.run(
        [sys.executable, "-c", "from reconciler.cli import main; main()", *words],
        cwd=project.folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def check_known(result: Result, *codes: int) -> None:
    said = result.out + result.err
    assert result.code in codes, said
    assert "defect" not in said
    assert "Traceback" not in said


# --- without the right to read or write ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", READERS, ids=" ".join)
@pytest.mark.parametrize("name", [".reconcile", ".reconcile/state.db"])
def test_a_state_that_may_not_be_read_says_so(filled: Project, words: tuple[str, ...], name: str) -> None:
    (filled.folder / name).chmod(0)

    refused = run_bound(filled, *words)

    (filled.folder / name).chmod(0o700)
    check_known(refused, 1)
    assert "permission" in refused.out + refused.err
    assert "state.db" in refused.out + refused.err
    assert not (filled.folder / "copy.db").exists()


@pytest.mark.parametrize(
    "words", [("plan", "spec.yaml"), ("apply", "spec.yaml"), ("apply", "sealed.plan")], ids=" ".join
)
@pytest.mark.parametrize("name", ["spec.yaml", "sql", "sql/vip.sql"])
def test_a_spec_or_query_that_may_not_be_read_is_named(filled: Project, words: tuple[str, ...], name: str) -> None:
    (filled.folder / name).chmod(0)

    refused = run_bound(filled, *words)

    (filled.folder / name).chmod(0o700)
    check_known(refused, 64)
    assert "Permission denied" in refused.err
    assert "spec.yaml:" in refused.err


def test_a_plan_file_that_may_not_be_read_is_neither_applied_nor_replaced(filled: Project) -> None:
    (filled.folder / "sealed.plan").chmod(0)

    applied = run_bound(filled, "apply", "sealed.plan")
    planned = run_bound(filled, "plan", "spec.yaml", "--out", "sealed.plan")

    for refused in (applied, planned):
        check_known(refused, 64)
        assert "Permission denied" in refused.err
    assert (filled.folder / "sealed.plan").exists()


def test_a_warehouse_that_may_not_be_read_is_named(filled: Project) -> None:
    (filled.folder / "warehouse.db").chmod(0)

    refused = run_bound(filled, "plan", "spec.yaml")

    check_known(refused, 1)
    assert "warehouse.db can't be read: Permission denied" in refused.err


@pytest.mark.parametrize(
    ("words", "name"),
    [("plan spec.yaml --out new.plan", "."), ("state backup spec.yaml", ".reconcile")],
)
def test_a_folder_that_may_not_be_written_to_is_named(filled: Project, words: str, name: str) -> None:
    (filled.folder / name).chmod(0o500)

    refused = run_bound(filled, *words.split())

    (filled.folder / name).chmod(0o700)
    check_known(refused, 64)
    assert "can't be written to" in refused.err


@pytest.mark.parametrize(
    "given", ["specs", "specs/**/*.yaml", "specs/*/*.yaml", "specs/private", "specs/private/b.yaml"]
)
@pytest.mark.parametrize("command", ["validate", "plan", "apply", "status"])
def test_a_folder_that_may_not_be_looked_into_is_an_error(filled: Project, command: str, given: str) -> None:
    private = filled.folder / "specs" / "private"
    filled.write({"vip": segment(56, "vip")}, name="specs/a.yaml")
    filled.write({"two": segment(57, "vip")}, name="specs/private/b.yaml")
    private.chmod(0)
    filled.sandbox.reset_calls()

    refused = run_bound(filled, command, given)

    private.chmod(0o700)
    check_known(refused, 64)
    assert "specs/private" in refused.err
    assert "Permission denied" in refused.err
    assert filled.sandbox.writes == []


def test_a_hidden_folder_that_may_not_be_looked_into_is_left_out(filled: Project) -> None:
    hidden = filled.folder / "specs" / ".git"
    filled.write({"vip": segment(56, "vip")}, name="specs/a.yaml")
    filled.write({"two": segment(57, "vip")}, name="specs/.git/b.yaml")
    hidden.chmod(0)

    validated = run_bound(filled, "validate", "specs")

    hidden.chmod(0o700)
    assert (validated.code, validated.out) == (0, "Valid: 1 spec, 1 segment.\n")


# --- what is no plain file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", ["fifo", "folder", "device"])
@pytest.mark.parametrize("key", ["state", "sqlite", "duckdb"])
@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_a_database_url_that_names_no_plain_file_is_refused_by_the_spec(
    project: Project, command: str, key: str, thing: str
) -> None:
    path = make_thing(project.folder, thing)
    before = path.stat()
    project.want("vip", people(1))
    state = f"sqlite:///{path.name}" if key == "state" else "sqlite:///state.db"
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{state}'}}\n")
    if key != "state":
        project.spec.write_text(project.spec.read_text().replace("sqlite:///warehouse.db", f"{key}:///{path.name}"))

    refused = project.run(command, "spec.yaml")

    check_known(refused, 64)
    assert "must name a plain file" in refused.err
    assert "spec.yaml:" in refused.err
    assert (path.stat().st_mode, path.stat().st_ino) == (before.st_mode, before.st_ino)
    assert not list(project.folder.glob(f"{path.name}-*"))


@pytest.mark.parametrize("thing", ["fifo", "folder", "device"])
def test_a_default_state_that_is_no_plain_file_is_left_as_it_is(project: Project, thing: str) -> None:
    project.state_file.parent.mkdir()
    path = make_thing(project.state_file.parent, thing).rename(project.state_file)
    before = stat.S_IMODE(path.stat().st_mode)
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})

    refused = project.run("apply", "spec.yaml")

    check_known(refused, 64)
    assert stat.S_IMODE(path.stat().st_mode) == before
    assert project.sandbox.writes == []


@pytest.mark.parametrize("words", [("validate",), ("plan",), ("apply",), ("status",)], ids=" ".join)
def test_a_fifo_as_spec_or_query_or_plan_file_is_not_waited_for(filled: Project, words: tuple[str, ...]) -> None:
    os.mkfifo(filled.folder / "fifo")
    filled.write({"vip": "segment_id: 56\nquery_file: fifo"}, name="queried.yaml")

    for name in ("fifo", "queried.yaml"):
        refused = filled.run(*words, name)

        check_known(refused, 64)
        assert "is a FIFO, not a plain file" in refused.err


@pytest.mark.parametrize("words", [("--people",), ("--state",)], ids=" ".join)
@pytest.mark.parametrize("thing", ["fifo", "folder", "device"])
def test_the_sandbox_reads_plain_files(project: Project, words: tuple[str, ...], thing: str) -> None:
    path = make_thing(project.folder, thing)

    refused = project.run("sandbox", "--port", "0", *words, path.name)

    check_known(refused, 64)
    assert "must be a plain file" in refused.err


def test_the_sandbox_writes_its_state_to_no_stdout(project: Project) -> None:
    assert project.run("sandbox", "--port", "0", "--state", "-").code == 64


def test_init_waits_for_no_fifo_and_writes_nothing_then(project: Project) -> None:
    os.mkfifo(project.folder / ".gitignore")

    check_known(project.run("init"), 64)

    assert not (project.folder / "reconcile.yaml").exists()


def make_thing(folder: Path, thing: str) -> Path:
    """Make what is no plain file; the device is the system's, behind a link, as making one takes root."""
    path = folder / thing
    if thing == "fifo":
        os.mkfifo(path)
    elif thing == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    return path


# --- a plan file from elsewhere -----------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(filled: Project) -> Path:
    """Another folder, with the plan file in it."""
    folder = filled.folder / "elsewhere"
    folder.mkdir()
    (filled.folder / "sealed.plan").rename(folder / "sealed.plan")
    return folder


def test_a_plan_file_from_elsewhere_names_the_spec_that_is_not_here(filled: Project, elsewhere: Path) -> None:
    refused = Project(elsewhere, filled.sandbox).run("apply", "sealed.plan")

    assert refused.code == 4
    assert "made for spec.yaml, which is not here" in refused.err
    assert "run it from the folder where the plan was made" in refused.err
    assert filled.run("apply", "elsewhere/sealed.plan").code == 0


def test_another_spec_of_that_name_makes_it_stale(filled: Project, elsewhere: Path) -> None:
    filled.write({"other": segment(57, "vip")}, name="elsewhere/spec.yaml")

    refused = Project(elsewhere, filled.sandbox).run("apply", "sealed.plan")

    assert refused.code == 4
    assert "no longer there" in refused.err


def test_one_of_several_specs_that_is_missing_is_named(filled: Project) -> None:
    filled.write({"two": segment(57, "vip")}, name="more/two.yaml")
    (filled.folder / "more" / "warehouse.db").write_bytes((filled.folder / "warehouse.db").read_bytes())
    assert filled.run("plan", "spec.yaml", "more", "--out", "both.plan").code == 0
    (filled.folder / "more" / "two.yaml").rename(filled.folder / "more" / "three.yaml")

    refused = filled.run("apply", "both.plan")

    assert refused.code == 4
    assert "made for more/two.yaml, which is not here" in refused.err


def test_a_plan_file_and_a_path_that_is_not_there_are_a_slip_of_the_command_line(filled: Project) -> None:
    assert filled.run("apply", "sealed.plan", "nowhere.yaml").code == 64
    assert filled.run("apply", "nowhere.plan").code == 64


# --- odd names, and a machine that is short of something ------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [b"n\xff\xfe", b"a?b#c%41 d", b"new\nline"], ids=["no UTF-8", "of a URL", "a line feed"]
)
def test_a_folder_may_have_any_name(project: Project, name: bytes) -> None:
    folder = project.folder / os.fsdecode(name)
    folder.mkdir()
    inside = Project(folder, project.sandbox)
    inside.want("vip", people(1, 2, 3))
    inside.write({"vip": segment(56, "vip")})

    applied = run_as_process(project, "apply", folder.name)
    backed_up = run_as_process(project, "state", "backup", folder.name, "--to", f"{folder.name}/copy.db")

    check_known(applied, 0)
    check_known(backed_up, 0)
    assert project.sandbox.members(56) == set(people(1, 2, 3))
    with closing(sqlite3.connect(folder / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM reconcile_members").fetchone() == (3,)


@pytest.mark.parametrize(
    "words",
    [("plan", "{spec}"), ("plan", "spec.yaml"), ("plan", "*.yaml"), ("plan", "{spec}", "--out", "x"), ("init",)],
    ids=" ".join,
)
def test_a_working_folder_that_is_gone_is_a_known_error(filled: Project, words: tuple[str, ...]) -> None:
    gone = filled.folder / "gone"
    gone.mkdir()
    program = "import os, sys; os.rmdir(os.getcwd()); from reconciler.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *(word.format(spec=filled.spec) for word in words)],  # as the script runs
        cwd=gone,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )

    check_known(Result(done.returncode, done.stdout, done.stderr), 0, 1, 64)


@pytest.mark.parametrize("variable", ["missing/file", "spec.yaml", "sql"])
def test_a_folder_for_temporary_files_that_can_not_be_used_is_named(filled: Project, variable: str) -> None:
    (filled.folder / "sql").chmod(0o500)

    with heeding_modes():
        done = run_as_process(filled, "plan", "spec.yaml", TMPDIR=variable)

    (filled.folder / "sql").chmod(0o700)
    check_known(done, 0, 1)
    assert done.code == 0 or "TMPDIR" in done.err
