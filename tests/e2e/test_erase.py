"""`state erase`: a person asked to be forgotten, and left every segment an hour ago."""

import sqlite3

import pytest

from reconciler.state import sqlite
from tests.support.project import Project, people, segment
from tests.support.terminal import at_a_terminal, below_a_terminal

PERSON = "canary-person-7"
EMAIL = "Canary-Person-7@Example.com"


@pytest.fixture
def keeps_what_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite leaves deleted rows in the file; how Debian builds it, it would write zeros over them."""
    connect = sqlite._connect

    def connect_without_zeros(uri: str) -> sqlite3.Connection:
        connection = connect(uri)
        assert connection.execute("PRAGMA secure_delete=OFF").fetchone() == (0,)
        return connection

    monkeypatch.setattr(sqlite, "_connect", connect_without_zeros)


@pytest.fixture
def gone(project: Project, keeps_what_is_deleted: None) -> Project:
    """One person was in two segments, by id and by email, and is in none now."""
    project.sandbox.add_people([(PERSON, EMAIL.lower())])
    project.write({"vip": segment(56, "vip"), "risk": segment(57, "risk", "id_type: email")})
    for left in ([PERSON], []):
        project.want("vip", [*people(*range(400)), *left])
        project.want("risk", [*(f"{id}@example.com" for id in people(*range(400))), *([EMAIL] if left else [])])
        assert project.run("apply", "spec.yaml").code == 0
    return project


def wait_an_hour(project: Project) -> None:
    with sqlite3.connect(project.state_file) as connection:
        connection.execute("UPDATE reconcile_marks SET at = at - 3601")
    connection.close()


def read_files(project: Project) -> bytes:
    """All that is on the disk, in lower case."""
    return b"".join(path.read_bytes() for path in project.state_file.parent.iterdir()).lower()


def test_nothing_of_the_person_is_left_in_the_file_nor_in_what_trace_shows(gone: Project) -> None:
    wait_an_hour(gone)
    assert b"canary" in read_files(gone)

    for id in (PERSON, EMAIL):
        done = gone.run("state", "erase", "spec.yaml", id, "--yes")
        assert (done.code, done.err) == (0, "")
        assert "Erased: 2 changes in the audit log and tombstones or marks in 1 segment." in done.out
        assert "backups and copies of the state, plan files, lists of ids" in done.out
        assert "canary" not in done.out.lower()

    assert b"canary" not in read_files(gone)
    assert gone.json("trace", PERSON).document["events"] == []
    assert len(gone.json("trace", people(7)[0]).document["events"]) == 1
    assert gone.json("plan").document["summary"]["unchanged"] == 2


def test_it_comes_from_stdin_and_the_copies_of_the_state_are_named(gone: Project) -> None:
    wait_an_hour(gone)
    assert gone.run("state", "backup", "spec.yaml").code == 0

    done = gone.run("state", "erase", "spec.yaml", "-", "--yes", stdin=f"{PERSON}\n")

    assert done.code == 0
    assert "copies of the state (here: .reconcile/reconcile-state-" in done.out


def test_it_refuses_within_the_hour_and_while_the_person_is_in_a_segment_and_names_it(gone: Project) -> None:
    done = gone.run("state", "erase", "spec.yaml", PERSON, "--yes")
    assert (done.code, done.out) == (1, "")
    assert "sent to default/vip (56) less than an hour ago" in done.err

    wait_an_hour(gone)
    gone.want("vip", [*people(*range(400)), PERSON])
    assert gone.run("apply", "spec.yaml").code == 0
    done = gone.run("state", "erase", "spec.yaml", PERSON, "--yes")
    assert (done.code, done.out) == (1, "")
    assert "the state still holds this id, in default/vip (56); nothing was erased" in done.err
    assert PERSON not in done.err
    assert len(gone.json("trace", PERSON).document["events"]) == 3


def test_without_a_terminal_it_needs_yes_before_it_looks_at_anything(project: Project) -> None:
    done = project.run("state", "erase", "missing.yaml", PERSON)

    assert (done.code, done.out) == (64, "")
    assert "state erase asks first" in done.err


def test_on_a_terminal_it_asks_and_says_how_much_would_go(gone: Project) -> None:
    wait_an_hour(gone)
    done = at_a_terminal(gone, "state", "erase", "spec.yaml", PERSON, says="no")
    assert (done.code, done.out) == (1, "")
    assert "2 changes in the audit log and tombstones or marks in 1 segment? [yes/no]" in done.err
    assert len(gone.json("trace", PERSON).document["events"]) == 2

    done = below_a_terminal(gone, "state", "erase", "spec.yaml", "-", given=f"{PERSON}\n", says="yes")
    assert done.code == 0, done.err
    assert "Erased: 2 changes" in done.out
    assert gone.json("trace", PERSON).document["events"] == []


def test_the_history_of_a_run_that_showed_ids_holds_none(gone: Project) -> None:
    gone.want("vip", [*people(*range(400)), PERSON])
    assert PERSON in gone.run("apply", "spec.yaml", "--show-ids", "5", "--reason", "a test").out

    with sqlite3.connect(gone.state_file) as connection:
        rows = [
            *connection.execute("SELECT * FROM reconcile_runs"),
            *connection.execute("SELECT * FROM reconcile_run_segments"),
        ]
    connection.close()
    assert "a test" in str(rows)
    assert "canary" not in str(rows).lower()
    assert people(7)[0] not in str(rows)


def test_who_was_never_there_is_said_to_be_so(gone: Project) -> None:
    done = gone.run("state", "erase", "spec.yaml", "nobody", "--yes")

    assert done.code == 0
    assert "The state keeps nothing of this id. Was it the right one?" in done.out


def test_no_state_is_an_error_and_none_is_made(project: Project) -> None:
    project.write({"vip": segment(56, "vip")})

    assert project.run("state", "erase", "spec.yaml", PERSON, "--yes").code == 1
    assert not project.state_file.exists()


def test_it_waits_for_no_run_and_refuses_while_one_goes_on(gone: Project) -> None:
    wait_an_hour(gone)
    gone.want("vip", people(*range(401)))
    refused: list[tuple[int, str]] = []

    def try_it(_call: object) -> None:
        if not refused:
            process = gone.start("state", "erase", "spec.yaml", PERSON, "--yes")
            _, err = process.communicate()
            refused.append((process.returncode, err))

    gone.sandbox.on_arrival(try_it)
    assert gone.run("apply", "spec.yaml").code == 0

    ((code, err),) = refused
    assert code == 5
    assert "the state is in use: default/" in err
    assert gone.run("state", "erase", "spec.yaml", PERSON, "--yes").code == 0
