"""A sealed plan that the state keeps: no artefact holds ids, and `apply plan:ID` sends it once."""

import re
import sqlite3
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import make_url

import reconciler
from tests.support.project import Project, Result, people, segment


@pytest.fixture
def server(project: Project, postgres_url: str) -> Project:
    """A segment of 100 with its state in a PostgreSQL; its query now returns 20 more and 10 fewer."""
    project.want("vip", people(*range(100)))
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", people(*range(10, 120)))
    project.sandbox.reset_calls()
    return project


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def count_lines(url: str) -> int:
    return len(ask(url, "SELECT 1 FROM reconcile_plan_lines"))


def seal(project: Project, *words: str) -> str:
    planned = project.json("plan", "--out", "state:", *words)
    assert planned.code == 0, planned.err
    name = planned.document["plan"]
    assert isinstance(name, str)
    return name


def refused(project: Project, *words: str, code: int = 4) -> Result:
    done = project.run("apply", *words)
    assert done.code == code, done.out + done.err
    assert project.sandbox.writes == []
    return done


def test_the_stored_ids_are_sent_once_whatever_the_query_returns_now(server: Project, postgres_url: str) -> None:
    name = seal(server)
    assert re.fullmatch(r"plan:[0-9a-f]{32}", name)
    server.want("vip", people(*range(500, 900)))

    done = server.run("apply", name, "spec.yaml", "--format", "json")

    assert done.code == 0, done.err
    assert [(call.direction, call.ids) for call in server.sandbox.writes] == [
        ("remove", tuple(people(*range(10)))),
        ("add", tuple(people(*range(100, 120)))),
    ]
    assert count_lines(postgres_url) == 0
    server.sandbox.reset_calls()
    spent = refused(server, name, "spec.yaml").err
    assert "applied already" in spent
    assert "reconcile plan spec.yaml --out state:" in spent


def test_the_id_stands_on_stderr_where_the_document_is_text_also_with_quiet(server: Project) -> None:
    planned = server.run("-q", "plan", "spec.yaml", "--out", "state:")

    (name,) = re.findall(r"plan:[0-9a-f]{32}", planned.err)
    assert "plan:" not in planned.out
    assert server.run("apply", name, "spec.yaml").code == 0


def test_the_spec_may_be_the_default_one(server: Project) -> None:
    server.spec.rename(server.folder / "reconcile.yaml")
    planned = server.run("plan", "--out", "state:", "--format", "json")

    done = server.run("apply", planned.document["plan"])

    assert done.code == 0, done.err
    assert len(server.sandbox.writes) == 2


def test_a_plan_is_all_that_is_written_and_no_file_is_left(server: Project, postgres_url: str) -> None:
    dump = "SELECT * FROM reconcile_segments", "SELECT * FROM reconcile_runs", "SELECT * FROM reconcile_batches"
    before, files = [ask(postgres_url, each) for each in dump], sorted(server.folder.iterdir())

    seal(server)

    assert [ask(postgres_url, each) for each in dump] == before
    assert sorted(server.folder.iterdir()) == files
    assert server.sandbox.writes == []


def test_an_empty_server_is_made_a_state_for_the_first_plan(project: Project, postgres_url: str) -> None:
    project.want("vip", people(1, 2, 3))
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}'}}\n")

    name = seal(project)

    assert project.run("apply", name, "spec.yaml").code == 0
    assert project.sandbox.members(56) == set(people(1, 2, 3))


def test_a_state_that_must_exist_and_does_not_keeps_no_plan(project: Project, postgres_url: str) -> None:
    project.want("vip", people(1, 2, 3))
    project.write({"vip": segment(56, "vip")}, more=f"state: {{url: '{postgres_url}', must_exist: true}}\n")

    assert project.run("plan", "spec.yaml", "--out", "state:").code == 1
    assert ask(postgres_url, "SELECT 1 FROM pg_tables WHERE tablename LIKE 'reconcile%'") == []


def test_a_plan_that_is_blocked_is_not_stored(server: Project, postgres_url: str) -> None:
    server.want("vip", people(*range(90, 120)))

    planned = server.json("plan", "--out", "state:")

    assert planned.code == 3
    assert planned.document["plan"] is None
    assert count_lines(postgres_url) == 0


def test_a_plan_is_stale_once_another_run_has_changed_the_segment(server: Project) -> None:
    name = seal(server)
    assert server.run("apply", "spec.yaml").code == 0
    server.want("vip", people(*range(10, 130)))
    server.sandbox.reset_calls()

    done = refused(server, name, "spec.yaml")

    assert "is stale" in done.err
    assert "reconcile plan spec.yaml --out state:" in done.err


def test_a_changed_spec_refuses_the_plan(server: Project) -> None:
    name = seal(server)
    server.spec.write_text(server.spec.read_text().replace("FROM vip", "FROM vip WHERE 1 = 1"))

    assert "has changed since the plan was made" in refused(server, name, "spec.yaml").err


def test_a_run_that_was_cut_short_is_gone_on_with(server: Project) -> None:
    name = seal(server)
    server.hit("apply", name, "spec.yaml", at=lambda call: call.direction == "add")

    done = server.run("apply", name, "spec.yaml")

    assert done.code == 0, done.err
    assert server.sandbox.members(56) == set(people(*range(10, 120)))


def test_an_expired_plan_is_refused_and_goes_with_the_next_run(server: Project, postgres_url: str) -> None:
    expired, fresh = seal(server), seal(server)
    ask(
        postgres_url,
        f"UPDATE reconcile_plan_lines SET expires_at = expires_at - 90000 WHERE plan_id = '{expired[5:]}' RETURNING 1",
    )
    assert count_lines(postgres_url) == 8
    seal(server)
    assert count_lines(postgres_url) == 12, "a plan stores itself, and deletes nothing"

    assert server.run("apply", fresh, "spec.yaml").code == 0

    assert ask(postgres_url, f"SELECT 1 FROM reconcile_plan_lines WHERE plan_id = '{expired[5:]}'") == []
    assert count_lines(postgres_url) == 4, "the third one has not expired yet"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE reconcile_plan_lines SET line = overlay(line placing 'p0777' from 45) WHERE number = 1 RETURNING 1",
        "DELETE FROM reconcile_plan_lines WHERE number = 2 RETURNING 1",
        "UPDATE reconcile_plan_lines SET number = number + 10 WHERE number = 1 RETURNING 1",
    ],
)
def test_a_plan_that_was_changed_in_the_database_is_refused(server: Project, postgres_url: str, damage: str) -> None:
    name = seal(server)
    ask(postgres_url, damage)

    assert "damaged or was edited" in refused(server, name, "spec.yaml").err


USAGES: dict[str, Callable[[Project, str], Result]] = {
    "no plan is known": lambda project, name: refused(project, f"plan:{'0' * 32}", "spec.yaml"),
    "a name that is SQL": lambda project, name: refused(project, "plan:' OR 1=1 --", "spec.yaml"),
    "a selection": lambda project, name: refused(project, name, "spec.yaml", "--select", "vip", code=64),
    "a consent": lambda project, name: refused(project, name, "spec.yaml", "--allow-removals", "vip", code=64),
    "two plans": lambda project, name: refused(project, name, name, "spec.yaml", code=64),
    "no spec at all": lambda project, name: refused(project, name, code=64),
}


@pytest.mark.parametrize("case", USAGES)
def test_what_can_t_be_applied_is_refused(server: Project, case: str) -> None:
    done = USAGES[case](server, seal(server))
    assert "next:" in done.err


def test_other_commands_take_no_stored_plan(server: Project) -> None:
    name = seal(server)
    for command in ("plan", "drift", "refresh"):
        done = server.run(command, name, "spec.yaml", *(["--yes"] if command == "refresh" else []))
        assert (done.code, "can only be applied" in done.err) == (64, True), done.err


def test_a_state_in_a_file_keeps_no_plans(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")})

    planned = project.run("plan", "spec.yaml", "--out", "state:")

    assert (planned.code, planned.out) == (64, "")
    assert "PostgreSQL" in planned.err
    assert not project.state_file.exists()


def test_specs_with_two_states_are_refused(server: Project) -> None:
    server.write({"other": segment(57, "vip")}, workspace="other", name="other.yaml")

    planned = server.run("plan", "spec.yaml", "other.yaml", "--out", "state:")

    assert planned.code == 64
    assert "2 states" in planned.err


def test_erasing_a_person_drops_the_plans_that_have_the_person_and_no_others(
    server: Project, postgres_url: str
) -> None:
    with_the_person = seal(server)
    server.want("vip", people(*range(10, 118)))
    without = seal(server)

    erased = server.run("state", "erase", "spec.yaml", "p0119", "--yes")

    assert erased.code == 0, erased.err
    assert "1 stored plan" in erased.out
    assert ask(postgres_url, "SELECT 1 FROM reconcile_plan_lines WHERE position('p0119'::bytea in line) > 0") == []
    refused(server, with_the_person, "spec.yaml")
    assert server.run("apply", without, "spec.yaml").code == 0


def test_a_plan_whose_person_is_erased_after_it_was_opened_is_refused(
    server: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(server.folder)
    opened = reconciler.load([seal(server), "spec.yaml"])
    assert server.run("state", "erase", "spec.yaml", "p0119", "--yes").code == 0

    result = reconciler.apply(opened)

    assert result.exit_code == 4
    assert all(each.error and "was erased" in each.error.message for each in result.segments)
    assert server.sandbox.writes == []


def test_an_id_that_is_a_word_of_the_format_erases_no_plan(server: Project, postgres_url: str) -> None:
    seal(server)
    for word in ("ids", "remove", "vip", "0", "segment"):
        assert server.run("state", "erase", "spec.yaml", word, "--yes").code == 0
    assert count_lines(postgres_url) == 4


def test_a_moved_state_keeps_its_plans_and_a_restored_one_drops_them(server: Project, postgres_url: str) -> None:
    name = seal(server)
    assert server.run("state", "copy", "spec.yaml", "--to", "sqlite:///moved.db").code == 0
    server.spec.write_text(server.spec.read_text().replace(postgres_url, "sqlite:///moved.db"))
    assert server.run("state", "backup", "spec.yaml", "--to", "backup.db").code == 0

    assert server.run("apply", name, "spec.yaml").code == 0
    assert server.sandbox.members(56) == set(people(*range(10, 120)))
    server.sandbox.reset_calls()

    assert server.run("state", "restore", "spec.yaml", "backup.db", "--yes").code == 0
    refused(server, name, "spec.yaml")
    with sqlite3.connect(server.folder / "moved.db") as state:
        assert state.execute("SELECT count(*) FROM reconcile_plan_lines").fetchone() == (0,)
    state.close()
