"""What the state is bound to, who may change it, and the commands that show and repair it."""

import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sandbox.faults import answers
from tests.support.old_states import make_old_state
from tests.support.project import Project, people, segment


@pytest.fixture
def filled(project: Project) -> Project:
    project.want("vip", people(*range(20)))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    project.sandbox.reset_calls()
    return project


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of what it holds; SQLite's own -wal and -shm files are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


# -- the workspace


def test_another_environment_under_a_bound_name_is_refused(filled: Project) -> None:
    filled.sandbox.configure(environment_id=99)
    filled.want("vip", people(*range(21)))
    done = filled.json("apply")
    assert done.code == 1
    assert filled.sandbox.writes == []
    assert "99" in str(done.segments["vip"]["error"])
    filled.sandbox.configure(environment_id=3)
    assert filled.run("apply", "spec.yaml").code == 0


def test_refresh_binds_a_workspace_too(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    assert project.run("refresh", "spec.yaml", "--yes").code == 0
    project.sandbox.configure(environment_id=99)
    assert project.run("apply", "spec.yaml").code == 1
    assert project.sandbox.writes == []


def test_a_pinned_workspace_id_refuses_any_other(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, destination="workspace_id: 4")
    done = project.run("apply", "spec.yaml")
    assert done.code == 1
    assert project.sandbox.writes == []
    assert project.run("validate", "spec.yaml", "--connect").code == 1
    project.write({"vip": segment(56, "vip")}, destination="workspace_id: 3")
    assert project.run("validate", "spec.yaml", "--connect").code == 0
    assert project.run("apply", "spec.yaml").code == 0


@pytest.mark.parametrize("ownership", ["tracked", "exclusive"])
@pytest.mark.parametrize("command", ["plan", "drift", "refresh"])
def test_nothing_is_computed_from_another_environment(filled: Project, command: str, ownership: str) -> None:
    filled.want("vip", people(*range(21)))
    filled.write({"vip": segment(56, "vip", f"ownership: {ownership}")})
    filled.sandbox.configure(environment_id=99)
    filled.sandbox.reset_calls()
    done = filled.json(command, *(["--yes"] if command == "refresh" else []))
    assert (done.code, done.segments["vip"]["error"]["code"]) == (1, "environment")
    assert [call.path for call in filled.sandbox.calls] == ["/api/v1/accounts/region"]
    filled.sandbox.configure(environment_id=3)
    assert len(filled.stored("vip")) == 20


@pytest.mark.parametrize("command", ["plan", "drift", "refresh"])
def test_nothing_is_computed_from_another_environment_than_the_pinned_one(project: Project, command: str) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, destination="workspace_id: 4")
    done = project.run(command, "spec.yaml", *(["--yes"] if command == "refresh" else []))
    assert done.code == 1
    assert "workspace_id" in done.out + done.err


def test_no_plan_file_is_sealed_for_another_environment_than_the_pinned_one(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, destination="workspace_id: 4")
    project.spec.write_text(project.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    assert project.run("plan", "spec.yaml", "--out", "vip.plan").code == 1
    assert not (project.folder / "vip.plan").exists()


@pytest.mark.parametrize("flags", [[], ["--confirm"]])
def test_a_read_back_of_another_environment_marks_nobody(filled: Project, flags: list[str]) -> None:
    filled.sandbox.configure(environment_id=99)
    filled.sandbox.pull_members(56, people(*range(20)))
    done = filled.run("apply", "spec.yaml", *flags)
    assert done.code == (1 if flags else 0), "a run with nothing to send makes no request"
    assert len(filled.stored("vip")) == 20


def test_an_environment_that_is_not_told_is_a_warning_where_nothing_is_written(filled: Project) -> None:
    filled.sandbox.inject(answers(503, path="*region", times=None))
    done = filled.run("drift", "spec.yaml")
    assert done.code == 0
    assert "environment" in done.err


def test_a_plan_without_an_app_key_asks_nothing_at_all(filled: Project) -> None:
    filled.sandbox.reset_calls()
    filled.want("vip", people(*range(21)))
    filled.spec.write_text(filled.spec.read_text().replace("app_api_key: sandbox-app-key", 'app_api_key: ""'))
    assert filled.run("plan", "spec.yaml").code == 0
    assert filled.sandbox.calls == []


def test_another_id_type_is_refused_naming_the_two_ways_out(filled: Project) -> None:
    filled.write({"vip": segment(56, "vip", "id_type: email", "invalid: skip")})
    for command in ("plan", "apply"):
        done = filled.run(command, "spec.yaml")
        assert done.code == 1
        assert "refresh" in done.out + done.err
        assert "state forget" in done.out + done.err
    assert filled.sandbox.writes == []


def test_after_forget_another_id_type_is_welcome(filled: Project) -> None:
    filled.want("vip", ["p0001@example.com"])
    filled.write({"vip": segment(56, "vip", "id_type: email")})
    assert filled.run("state", "forget", "spec.yaml", "vip", "--yes").code == 0
    assert filled.json("plan").segments["vip"]["first_fill"] is True
    assert filled.run("apply", "spec.yaml").code == 0


def test_renaming_a_segments_key_changes_nothing(filled: Project) -> None:
    filled.write({"very_important": segment(56, "vip")})
    row = filled.json("plan", "--detailed-exitcode")
    assert (row.code, row.segments["very_important"]["status"]) == (0, "unchanged")
    filled.sandbox.reset_calls()
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.calls == []


def test_a_missing_state_is_an_error_where_it_must_exist(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, more="state: {must_exist: true}\n")
    for command in ("plan", "apply"):
        done = project.run(command, "spec.yaml")
        assert done.code in (1, 64)
        assert project.sandbox.writes == []
    assert not project.state_file.exists()


# -- reading changes nothing


READING = [
    ["plan"], ["plan", "--format", "json"], ["plan", "--detailed-exitcode"], ["validate"], ["validate", "--connect"],
    ["drift"], ["status"], ["history"],
]  # fmt: skip


def test_a_reading_command_creates_no_state(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    before = fingerprint(project.folder)
    for words in READING:
        project.run(words[0], "spec.yaml", *words[1:])
        assert fingerprint(project.folder) == before, words
        assert not (project.folder / ".reconcile").exists()
    assert project.sandbox.writes == []


def test_a_reading_command_leaves_the_state_as_it_is(filled: Project) -> None:
    filled.want("vip", people(*range(25)))
    before = fingerprint(filled.folder)
    for words in READING:
        filled.run(words[0], "spec.yaml", *words[1:])
        assert fingerprint(filled.folder) == before, words
    assert filled.sandbox.writes == []


def test_state_show_changes_nothing(filled: Project) -> None:
    before = fingerprint(filled.folder)
    assert filled.run("state", "show", "spec.yaml", "vip").code == 0
    assert filled.run("state", "show", "spec.yaml", "vip", "--members").code == 0
    assert fingerprint(filled.folder) == before


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_state_files_are_0600_and_the_folder_0700_whatever_the_umask_and_what_was_there(project: Project) -> None:
    folder = project.folder / ".reconcile"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    project.state_file.touch(0o666)
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    assert project.run("apply", "spec.yaml").code == 0
    assert project.run("state", "backup", "spec.yaml", "--to", "copy.db").code == 0
    assert project.run("state", "backup", "spec.yaml").code == 0
    assert project.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [*folder.iterdir(), project.folder / "copy.db", project.folder / "sealed.plan"]
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {p.name: "0o600" for p in files}


# -- status, history


def test_status_counts_and_lists_orphans(filled: Project) -> None:
    filled.want("churn", people(*range(7)))
    filled.write({"vip": segment(56, "vip"), "churn": segment(57, "churn")})
    assert filled.run("apply", "spec.yaml").code == 0
    filled.write({"churn": segment(57, "churn")})
    status = filled.json("status")
    assert status.code == 0
    assert status.segments["churn"]["members"] == 7
    assert [(row["workspace"], row["segment_id"]) for row in status.document["orphans"]] == [("default", 56)]
    assert "56" in filled.run("status", "spec.yaml").out
    filled.sandbox.reset_calls()
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.calls == []
    assert len(filled.sandbox.members(56)) == 20


def test_history_lists_runs_newest_first_and_shows_one_whole(filled: Project) -> None:
    filled.want("vip", people(*range(25)))
    second = filled.json("apply").document
    runs = filled.json("history").document["runs"]
    assert len(runs) == 2
    assert runs[0]["run_id"] == second["run_id"]
    assert runs[0]["started_at"] >= runs[1]["started_at"]
    whole = filled.run("history", "spec.yaml", runs[0]["run_id"], "--format", "json")
    assert whole.code == 0
    assert second["run_id"] in whole.out
    assert '"added": 5' in whole.out
    for form in ("text", "markdown"):
        assert filled.run("history", "spec.yaml", runs[0]["run_id"], "--format", form).code == 0
    assert filled.run("history", "spec.yaml", "nosuchrun").code in (1, 64)


# -- state show, forget, unlock, upgrade, backup, copy


def test_a_segment_may_be_named_with_its_workspace_as_everywhere_else(filled: Project) -> None:
    shown = filled.run("state", "show", "spec.yaml", "vip")
    assert filled.run("state", "show", "spec.yaml", "default/vip") == shown
    refused = filled.run("state", "show", "spec.yaml", "other/vip")
    assert (refused.code, refused.out) == (64, "")
    assert filled.run("state", "forget", "spec.yaml", "default/vip", "--yes").code == 0


def test_the_members_may_be_had_as_a_json_document(filled: Project) -> None:
    shown = filled.run("state", "show", "spec.yaml", "vip", "--members", "--format", "json")
    assert shown.code == 0
    document = shown.document
    assert (document["format_version"], document["kind"]) == ("1.0", "members")
    assert (document["workspace"], document["segment_id"]) == ("default", 56)
    assert document["members"] == people(*range(20))
    filled.write({"new": segment(57, "vip")})
    assert filled.run("state", "show", "spec.yaml", "new", "--members", "--format", "json").document["members"] == []


def test_members_are_no_markdown(filled: Project) -> None:
    refused = filled.run("state", "show", "spec.yaml", "vip", "--members", "--format", "markdown")
    assert (refused.code, refused.out) == (64, "")


def test_forget_drops_all_that_the_state_knows_and_nobody_at_customer_io(filled: Project) -> None:
    filled.write({"other": segment(57, "vip")})
    assert filled.run("state", "show", "spec.yaml", "id:56").code == 0
    assert filled.run("state", "forget", "spec.yaml", "id:56", "--yes").code == 0
    assert filled.json("status").document["orphans"] == []
    assert len(filled.sandbox.members(56)) == 20
    assert filled.sandbox.writes == []


def test_unlock_of_what_is_not_locked_says_so_and_harms_nothing(filled: Project) -> None:
    before = filled.stored("vip")
    done = filled.run("state", "unlock", "spec.yaml", "vip", "--yes")
    assert done.code in (0, 1)
    assert filled.stored("vip") == before


def test_upgrade_of_a_current_state_has_nothing_to_do(filled: Project) -> None:
    assert filled.run("state", "upgrade", "spec.yaml").code == 0
    assert filled.json("plan").segments["vip"]["status"] == "unchanged"


def revise(project: Project, revision: str) -> None:
    connection = sqlite3.connect(project.state_file)
    connection.execute("UPDATE reconcile_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def test_a_newer_schema_is_refused_by_every_command_and_left_alone(filled: Project) -> None:
    revise(filled, "9999")
    before = fingerprint(filled.folder)
    for words in (["plan"], ["apply"], ["status"], ["drift"], ["refresh", "--yes"], ["history"]):
        done = filled.run(words[0], "spec.yaml", *words[1:])
        assert done.code == 1, (words, done.err)
        assert "9999" in done.out + done.err
    assert fingerprint(filled.folder) == before
    assert filled.sandbox.writes == []


def test_a_backup_is_a_whole_state(filled: Project) -> None:
    assert filled.run("state", "backup", "spec.yaml", "--to", "copy.db").code == 0
    shutil.rmtree(filled.folder / ".reconcile")
    filled.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///copy.db'}\n")
    assert filled.json("plan").segments["vip"]["status"] == "unchanged"
    assert filled.stored("vip") == set(people(*range(20)))


def test_a_copy_has_lineage_and_all_and_is_refused_where_a_state_is(filled: Project) -> None:
    filled.want("vip", people(*range(30)))
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    shown = filled.run("state", "show", "spec.yaml", "vip").out
    url = f"sqlite:///{filled.folder / 'team.db'}"
    assert filled.run("state", "copy", "spec.yaml", "--to", url).code == 0
    assert filled.run("state", "copy", "spec.yaml", "--to", url).code != 0
    filled.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///team.db'}\n")
    assert filled.run("state", "show", "spec.yaml", "vip").out == shown
    assert filled.run("history", "spec.yaml", "--format", "json").document["runs"]
    done = filled.run("apply", "sealed.plan")
    assert done.code in (0, 4)
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.members(56) == set(people(*range(30)))


def test_a_copy_to_postgresql_is_the_same_state(filled: Project, postgres_url: str) -> None:
    before = filled.stored("vip")
    assert filled.run("state", "copy", "spec.yaml", "--to", postgres_url).code == 0
    filled.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")
    assert filled.stored("vip") == before
    assert filled.json("plan").segments["vip"]["status"] == "unchanged"
    filled.want("vip", people(*range(2, 25)))
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.members(56) == set(people(*range(2, 25)))


def test_a_state_that_is_no_database_is_an_error_without_a_traceback(project: Project) -> None:
    (project.folder / ".reconcile").mkdir()
    project.state_file.write_text("this is not a database, whatever its name says")
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})
    for command in ("plan", "apply", "status", "history"):
        done = project.run(command, "spec.yaml")
        assert done.code == 1
        assert "Traceback" not in done.err
        assert "unexpected" not in done.err + done.out
    assert project.state_file.read_text().startswith("this is not")


def test_must_exist_works_with_a_state_that_exists(filled: Project) -> None:
    filled.write({"vip": segment(56, "vip")}, more="state: {must_exist: true}\n")
    assert filled.json("plan").segments["vip"]["status"] == "unchanged"


def test_an_older_schema_is_refused_with_the_command_to_run(filled: Project) -> None:
    revise(filled, "0000")
    for words in (["plan"], ["apply"], ["status"], ["history"]):
        done = filled.run(words[0], "spec.yaml", *words[1:])
        assert done.code == 1, (words, done.err)
        assert "9999" not in done.out + done.err
    assert filled.sandbox.writes == []


# -- a state from before segments had a spec


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, project: Project) -> Project:
    """A state of schema 0002 in its workspace: it holds b, e, u and ü\\n in segment 56, m and n in 58, restored."""
    in_file = request.param == "sqlite"
    url = f"sqlite:///{project.state_file}" if in_file else request.getfixturevalue("postgres_url")
    make_old_state(url, "second_schema")
    project.sandbox.configure(environment_id=77)
    project.sandbox.add_people((each, f"{each}@example.com") for each in ("b", "c", "e", "m", "n", "u", "ü\\n"))
    project.sandbox.workspace.set_members(56, ["b", "e", "u", "ü\\n"])
    project.sandbox.workspace.set_members(58, ["m", "n"])
    project.want("vip", ["b", "c", "e", "u"])
    project.want("kept", ["m", "n"])
    project.environment["STATE"] = url
    write_with(project, vip=56, kept=58)
    return project


def write_with(project: Project, **segments: int) -> None:
    """Write a spec with segments that select the tables of their names."""
    listed = {name: segment(number, name) for name, number in segments.items()}
    project.write(listed, workspace="production", more="state: {url: '${STATE}'}\n")


def test_a_state_of_schema_0002_is_refused_by_every_command_and_left_as_it_is(older: Project) -> None:
    before = fingerprint(older.folder)
    for words in (
        ["validate", "--connect"], ["plan"], ["apply"], ["drift"], ["refresh", "--yes"], ["status"], ["history"],
    ):  # fmt: skip
        done = older.run(words[0], "spec.yaml", *words[1:])
        assert done.code == 1, words
        assert "reconcile state upgrade" in done.out + done.err, words
    for words in (["show", "vip"], ["forget", "vip", "--yes"], ["unlock", "vip", "--yes"]):
        done = older.run("state", words[0], "spec.yaml", *words[1:])
        assert done.code == 1, words
        assert "reconcile state upgrade" in done.err, words
    assert fingerprint(older.folder) == before
    assert older.sandbox.writes == []


def test_a_state_of_schema_0002_is_planned_and_applied_after_its_upgrade(older: Project) -> None:
    assert older.run("state", "upgrade", "spec.yaml").code == 0

    write_with(older, vip=56)
    planned = older.json("plan")
    assert (planned.code, planned.document["orphans"]) == (0, [])  # no apply has named a spec of segment 58 yet
    assert planned.segments["vip"]["status"] == "changes"

    write_with(older, vip=56, kept=58)
    assert older.json("apply").code == 0
    assert older.sandbox.members(56) == {"b", "c", "e", "u"}
    assert older.json("plan").document["summary"]["unchanged"] == 2

    write_with(older, vip=56)
    assert [orphan["segment_id"] for orphan in older.json("plan").document["orphans"]] == [58]
