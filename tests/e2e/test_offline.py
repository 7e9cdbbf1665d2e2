"""Who has no secrets of the warehouse and of Customer.io can still read the state, and check a spec."""

import pytest

import reconciler
from tests.support.project import Project, people, segment, working_in

SPEC = """\
version: 1
sources: {{warehouse: {{url: "${{WAREHOUSE_URL}}"}}}}
destination:
  workspace: ${{WORKSPACE}}
  site_id: ${{SITE_ID}}
  api_key: ${{API_KEY}}
  app_api_key: ${{APP_API_KEY}}
  track_url: {url}
  app_url: {url}
segments:
  vip: {{segment_id: "${{VIP}}", query: SELECT id FROM vip, tags: ["${{TEAM}}"]}}
"""

SECRETS = {
    "WAREHOUSE_URL": "sqlite:///warehouse.db",
    "SITE_ID": "sandbox-site",
    "API_KEY": "sandbox-key",
    "APP_API_KEY": "sandbox-app-key",
    "TEAM": "crm",
}


@pytest.fixture
def on_call(project: Project) -> Project:
    """A segment of five was applied; now only what names the workspace and the segment is set."""
    project.want("vip", people(*range(5)))
    project.spec.write_text(SPEC.format(url=project.sandbox.url))
    project.environment |= {"WORKSPACE": "main", "VIP": "56", **SECRETS}
    assert project.run("apply", "spec.yaml").code == 0
    for name in SECRETS:
        del project.environment[name]
    return project


def test_the_state_is_read_without_a_secret(on_call: Project) -> None:
    [vip] = on_call.json("status").document["segments"]
    assert (vip["members"], vip["segment_id"], vip["workspace"]) == (5, 56, "main")
    [run] = on_call.json("history").document["runs"]
    assert on_call.json("history", run["run_id"]).document["summary"]["added"] == 5
    assert on_call.stored("vip") == set(people(*range(5)))
    assert on_call.run("state", "unlock", "spec.yaml", "vip", "--yes").code == 0
    assert on_call.run("state", "backup", "spec.yaml").code == 0


@pytest.mark.parametrize("missing", ["WORKSPACE", "VIP"])
@pytest.mark.parametrize("command", ["status", "history", "state"])
def test_a_variable_by_which_the_state_is_found_is_named(on_call: Project, command: str, missing: str) -> None:
    del on_call.environment[missing]

    words = ["show", "spec.yaml", "vip"] if command == "state" else ["spec.yaml"]
    done = on_call.run(command, *words)

    assert done.code == 64
    assert f"needs {missing}, which is not set" in done.err
    assert "API_KEY" not in done.err


@pytest.mark.parametrize("command", ["plan", "apply", "drift", "segments", "validate"])
def test_what_needs_the_secrets_says_so_before_it_begins(on_call: Project, command: str) -> None:
    done = on_call.run(command, "spec.yaml")

    assert done.code == 64
    assert "spec.yaml:2: `sources.warehouse.url` needs WAREHOUSE_URL, which is not set" in done.err


def test_python_reads_the_state_offline_and_begins_nothing_else(on_call: Project, monkeypatch) -> None:
    for name, value in on_call.environment.items():
        monkeypatch.setenv(name, value)
    with working_in(on_call.folder):
        with pytest.raises(reconciler.ReconcileError, match="SITE_ID"):
            reconciler.load("spec.yaml")
        loaded = reconciler.load("spec.yaml", offline=True)

        assert reconciler.status(loaded).segments[0].members == 5
        assert len(reconciler.history(loaded).runs) == 1
        for operation in (reconciler.plan, reconciler.apply, reconciler.drift, reconciler.refresh):
            with pytest.raises(reconciler.ReconcileError) as caught:
                operation(loaded)
            assert caught.value.exit_code == 64
            assert "API_KEY, APP_API_KEY, SITE_ID, TEAM, WAREHOUSE_URL" in caught.value.message
        assert len(reconciler.history(loaded).runs) == 1


# --- validate ------------------------------------------------------------------------------------------------------


def test_validate_offline_does_without_values_and_names_them(on_call: Project) -> None:
    done = on_call.run("validate", "spec.yaml", "--offline")

    assert (done.code, done.err) == (0, "")
    assert (
        done.out
        == "Valid: 1 spec, 1 segment, without the values of API_KEY, APP_API_KEY, SITE_ID, TEAM, WAREHOUSE_URL.\n"
    )
    assert on_call.run("validate", "spec.yaml", "--offline", "--connect").code == 64


@pytest.mark.parametrize("query", ["DELETE FROM vip", "SELECT (1", "SELECT 1; SELECT 2"])
def test_validate_offline_still_refuses_what_is_a_query_nowhere(on_call: Project, query: str) -> None:
    on_call.spec.write_text(on_call.spec.read_text().replace("SELECT id FROM vip", query))

    done = on_call.run("validate", "spec.yaml", "--offline")

    assert done.code == 64
    assert done.err.startswith("error: spec.yaml:11: segment vip: the query ")


@pytest.mark.parametrize("query", ["'SELECT ''a\\'' FROM x'", "'SELECT [a''b] FROM x'", "SELECT $$'$$"])
def test_validate_offline_accepts_what_is_a_query_somewhere(on_call: Project, query: str) -> None:
    on_call.spec.write_text(on_call.spec.read_text().replace("SELECT id FROM vip", query))

    assert on_call.run("validate", "spec.yaml", "--offline").code == 0


def test_problems_are_a_document_also_on_64(project: Project) -> None:
    project.write({"vip": segment(56, "vip") + "\ntag: [a]\n"})
    project.want("vip", people(0))

    done = project.json("validate")

    assert done.code == 64
    [problem] = done.document["problems"]
    assert (problem["file"], problem["line"], problem["code"]) == ("spec.yaml", 21, "spec")
    assert "did you mean `tags`" in problem["message"]
    assert "did you mean `tags`" in done.err


def test_a_segment_that_fails_is_a_problem_at_its_entry(project: Project) -> None:
    project.want("vip", people(0))
    project.write({"vip": segment(56, "vip"), "gone": segment(99, "vip")})

    done = project.json("validate", "--connect")

    assert done.code == 1
    [problem] = done.document["problems"]
    assert (problem["line"], problem["code"]) == (21, "no_such_segment")
    assert done.document["summary"] == {"specs": 1, "segments": 2, "problems": 1, "warnings": 0}
    annotated = project.run("validate", "spec.yaml", "--connect", "--format", "github")
    assert annotated.code == 1
    assert annotated.out.startswith("::error file=spec.yaml,line=21,title=reconcile validate::default/gone: ")


def test_annotations_reach_the_runner_as_they_are(project: Project) -> None:
    project.write({"vip": segment(56, "vip") + "\ntag: [a]\n"})

    done = project.run("validate", "spec.yaml", "--format", "github")

    assert done.code == 64
    assert done.out.startswith("::error file=spec.yaml,line=21,title=reconcile validate::`segments.vip.tag` is not a ")
    assert done.err == ""


def test_a_url_on_the_command_line_is_in_no_document(project: Project) -> None:
    done = project.run("validate", "postgresql://u:geheim@host/db", "--format", "json")

    assert done.code == 64
    assert "geheim" not in done.out + done.err
