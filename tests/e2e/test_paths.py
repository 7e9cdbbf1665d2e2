"""One file is one thing, by whatever path it is reached."""

import os
from pathlib import Path

import pytest

from tests.support.project import Project, people, segment


def states(project: Project) -> list[str]:
    return sorted(
        str(path.relative_to(project.folder)) for path in project.folder.rglob("*.db") if "state" in path.name
    )


def with_warehouse(project: Project, spec: Path) -> None:
    """Let a spec in another folder use the project's warehouse."""
    text = spec.read_text().replace("sqlite:///warehouse.db", f"sqlite:///{project.folder}/warehouse.db")
    spec.write_text(text)


@pytest.fixture
def released(project: Project) -> Project:
    """A spec in releases/1, to which the link `current` leads; its state and its query stand in folders next to it."""
    project.want("vip", people(1, 2, 3))
    (project.folder / "releases" / "sql").mkdir(parents=True)
    (project.folder / "releases" / "sql" / "vip.sql").write_text("SELECT id FROM vip")
    spec = project.write(
        {"vip": "segment_id: 56\nquery_file: ../sql/vip.sql"},
        name="releases/1/spec.yaml",
        more="state: {url: 'sqlite:///../shared/state.db'}\n",
    )
    with_warehouse(project, spec)
    (project.folder / "current").symlink_to("releases/1")
    return project


@pytest.mark.parametrize("first", ["releases/1/spec.yaml", "current/spec.yaml", "current/../1/spec.yaml"])
def test_a_state_next_to_a_linked_folder_is_one_state(released: Project, first: str) -> None:
    assert released.run("apply", first).code == 0
    released.want("vip", people(2))

    for spec in ("releases/1/spec.yaml", "current/spec.yaml", str(released.folder / "current" / "spec.yaml")):
        planned = released.run("plan", spec, "--allow-removals", "vip", "--format", "json")
        assert (planned.segments["vip"]["first_fill"], planned.segments["vip"]["remove"]) == (False, 2)
    assert states(released) == ["releases/shared/state.db"]


def test_a_link_to_a_spec_is_that_spec(released: Project) -> None:
    (released.folder / "link.yaml").symlink_to("releases/1/spec.yaml")
    assert released.run("apply", "releases/1/spec.yaml").code == 0
    released.want("vip", people(2))

    for names in (["link.yaml"], ["link.yaml", "current/spec.yaml"], ["current/spec.yaml", "link.yaml"]):
        planned = released.run("plan", *names, "--allow-removals", "vip", "--format", "json")
        assert (planned.segments["vip"]["first_fill"], planned.segments["vip"]["remove"]) == (False, 2)
    assert states(released) == ["releases/shared/state.db"]


def test_a_plan_file_names_the_spec_as_the_system_finds_it(released: Project) -> None:
    (released.folder / "releases" / "sql" / "x").mkdir()
    (released.folder / "deep").symlink_to("releases/sql/x")
    assert released.run("plan", "deep/../../1/spec.yaml", "--out", "plan.bin").code == 0

    assert released.run("apply", "plan.bin").code == 0
    assert released.sandbox.members(56) == set(people(1, 2, 3))


def test_a_state_that_is_a_link_is_the_file_that_it_leads_to(project: Project) -> None:
    project.want("vip", people(1))
    project.write({"vip": segment(56, "vip")}, more="state: {url: 'sqlite:///link.db'}\n")
    (project.folder / "kept").mkdir()
    (project.folder / "link.db").symlink_to("kept/state.db")

    assert project.run("apply", "spec.yaml").code == 0
    assert states(project) == ["kept/state.db"]


@pytest.mark.parametrize("strict", ["neither", "first", "second"])
def test_two_specs_that_name_one_state_in_two_ways_share_it(project: Project, strict: str) -> None:
    project.want("vip", people(1, 2))
    (project.folder / "link").symlink_to(project.folder, target_is_directory=True)
    names = {"first": "./x/../state.db", "second": f"/{project.folder}/link/state.db"}
    (project.folder / "x").mkdir()
    for number, (name, path) in enumerate(names.items()):
        state = f"state: {{url: 'sqlite:///{path}', must_exist: {'true' if name == strict else 'false'}}}\n"
        project.write({name: segment(56 + number, "vip")}, name=f"{name}.yaml", more=state)
    (project.folder / "state.db").touch()
    assert project.run("apply", "first.yaml", "second.yaml").code == (0 if strict == "neither" else 1)
    for name in names:
        spec = project.folder / f"{name}.yaml"
        spec.write_text(spec.read_text().replace("must_exist: true", "must_exist: false"))
    assert project.run("apply", "first.yaml").code == 0
    spec = project.folder / "second.yaml"
    spec.write_text(spec.read_text().replace("must_exist: false", "must_exist: true"))
    project.want("vip", people(1, 2, 3))

    done = project.run("apply", "first.yaml", "second.yaml", "--format", "json")

    assert done.code == 0, done.err
    assert {each["status"] for each in done.document["segments"]} == {"applied"}
    status = project.run("status", "first.yaml", "second.yaml", "--format", "json").document
    assert status["orphans"] == []
    assert states(project) == ["state.db"]


def test_a_tilde_is_the_home_folder(project: Project) -> None:
    home = project.folder / "home"
    home.mkdir()
    project.environment["HOME"] = str(home)
    project.want("vip", people(1))
    (project.folder / "warehouse.db").rename(home / "w.db")
    (home / "q.sql").write_text("SELECT id FROM vip")
    spec = project.write({"vip": "segment_id: 56\nquery_file: ~/q.sql"}, more="state: {url: 'sqlite:///~/state.db'}\n")
    spec.write_text(spec.read_text().replace("sqlite:///warehouse.db", "sqlite:///~/w.db"))

    assert project.run("apply", "spec.yaml").code == 0
    assert states(project) == ["home/state.db"]
    assert project.run("state", "copy", "spec.yaml", "--to", "sqlite:///~/state2.db").code == 0
    assert states(project) == ["home/state.db", "home/state2.db"]
    assert not (project.folder / "~").exists()


@pytest.mark.parametrize("place", ["source", "state", "query_file", "to"])
def test_the_home_folder_of_nobody_is_refused(project: Project, place: str) -> None:
    project.want("vip", people(1))
    nowhere = "~no-such-user/x.db"
    query = f"query_file: {nowhere}" if place == "query_file" else "query: SELECT id FROM vip"
    more = f"state: {{url: 'sqlite:///{nowhere}'}}\n" if place == "state" else ""
    spec = project.write({"vip": f"segment_id: 56\n{query}"}, more=more)
    if place == "source":
        spec.write_text(spec.read_text().replace("sqlite:///warehouse.db", f"sqlite:///{nowhere}"))
    words = ["state", "copy", "spec.yaml", "--to", f"sqlite:///{nowhere}"] if place == "to" else ["plan", "spec.yaml"]

    done = project.run(*words)

    assert done.code == 64
    assert "begins with ~" in done.err
    assert not os.path.lexists(project.folder / "~no-such-user")


def test_two_urls_of_one_postgresql_are_one_state(project: Project, postgres_url: str) -> None:
    project.want("vip", people(1, 2))
    other = f"{postgres_url}{'&' if '?' in postgres_url else '?'}application_name=other"
    for number, (name, url) in enumerate({"first": postgres_url, "second": other}.items()):
        project.write({name: segment(56 + number, "vip")}, name=f"{name}.yaml", more=f"state: {{url: '{url}'}}\n")

    done = project.run("apply", "first.yaml", "second.yaml", "--format", "json")

    assert done.code == 0, done.err
    assert {each["status"] for each in done.document["segments"]} == {"applied"}
    assert project.run("refresh", "first.yaml", "second.yaml", "--yes").code == 0
    status = project.run("status", "first.yaml", "second.yaml", "--format", "json").document
    assert (status["orphans"], [each["members"] for each in status["segments"]]) == ([], [2, 2])
    runs = project.run("history", "second.yaml", "--format", "json").document["runs"]
    assert [run["command"] for run in runs] == ["refresh", "apply"]


def test_under_c_the_next_commands_hold_where_the_user_stands(project: Project) -> None:
    project.want("vip", ["p0001"])
    project.write({"vip": segment(56, "vip")})
    above = Project(project.folder.parent, project.sandbox)
    name = project.folder.name

    made = above.run("-C", name, "init", "first")
    planned = above.run("plan", "-C", name, "spec.yaml", "--out", "sealed.plan")
    applied = above.run("-C", name, "apply", "sealed.plan", "--yes")
    backed_up = above.run("-C", name, "state", "backup", "spec.yaml", "--to", "backup.db")

    assert f"reconcile -C {name} validate first/reconcile.yaml" in made.out
    assert f"Apply exactly this with: reconcile -C {name} apply sealed.plan" in planned.err
    assert applied.code == 0
    assert f"reconcile -C {name} state restore spec.yaml backup.db" in backed_up.out
