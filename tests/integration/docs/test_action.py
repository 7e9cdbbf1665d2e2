"""The action of this repository and its template for GitLab do what docs/ci.md says: real bash, in real clones."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.fakes.ci_commands import BOT
from tests.integration.docs.recipes import CHURN, CRM, FILES, PAGE, ROOT, SPEC, VIP, Team, make_team
from tests.support.github import Run
from tests.support.project import people

((PLACE, WORKFLOW),) = re.findall(r"<!-- action: (\S+) -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
NAME = Path(PLACE).name
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GITLAB = yaml.safe_load((ROOT / "gitlab.yml").read_text())
UNSEALED = WORKFLOW.replace('          seal: "state:"\n', "")
CHANGED = {CRM: SPEC + VIP.replace("FROM", "from") + CHURN}


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with make_team(tmp_path) as team:
        team.github.commit({PLACE: UNSEALED})
        team.apply()
        yield team


def plan(team: Team, files: dict[str, str] = CHANGED) -> Run:
    team.github.commit(files, "change")
    return team.github.run(NAME, "pull_request", branch="change")


def apply_with(team: Team, **inputs: str) -> Run:
    """Run the job that applies, with these inputs of the action instead of the page's."""
    workflow = yaml.safe_load(UNSEALED)
    workflow["jobs"]["apply"]["steps"][1]["with"] = inputs
    team.github.commit({PLACE: yaml.safe_dump(workflow)})
    return team.github.run(NAME, "push")


# --- the files ---


def test_no_script_has_an_expression_pasted_into_it_and_each_action_is_pinned() -> None:
    steps = ACTION["runs"]["steps"]
    assert [step["run"] for step in steps if "run" in step and "${{" in step["run"]] == []
    assert {step["shell"] for step in steps if "run" in step} == {"bash"}
    lines = re.findall(r"uses: .*", (ROOT / "action.yml").read_text())
    assert lines
    assert all(re.fullmatch(r"uses: actions/[\w-]+@[0-9a-f]{40} +# v\d+\.\d+\.\d+", line) for line in lines)


@pytest.mark.parametrize("name", ["reconcile.sh", "comment.sh"])
def test_the_scripts_of_the_page_and_those_of_the_action_are_the_same(name: str) -> None:
    assert (ROOT / "action" / name).read_text() == FILES[f"ci/{name}"].replace(f"ci/{name}", name)


def test_the_page_tells_of_each_input_and_output() -> None:
    section = PAGE.partition("## The same as an action\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == [
        *("command", "spec", "arguments", "seal", "plan", "comment", "lock", "fail", "token")
    ]
    assert ACTION["inputs"].keys() == set(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE))
    assert all(f"`{name}`" in section for name in ACTION["outputs"])


def test_what_is_installed_is_of_this_tree_and_the_dependencies_have_hashes(team: Team) -> None:
    done = team.github.bash([str(ROOT / "action" / "install.sh")], team.github.repository, {})
    own = team.github.bash([str(ROOT / "action" / "install.sh")], team.github.repository, {"LOCK": "my.lock"})

    assert (done.returncode, own.returncode) == (0, 0)
    locked, ours, other, _ = team.github.calls("pip")
    assert locked == ["install", "--quiet", "--require-hashes", "--requirement", f"{ROOT}/requirements/runtime.lock"]
    assert ours == ["install", "--quiet", "--no-deps", str(ROOT)]
    assert other[-1] == "my.lock"


# --- a pull request, a merge ---


def test_a_pull_request_has_one_comment_and_merging_applies(team: Team) -> None:
    team.warehouse.want("vip", people(*range(1, 41)))

    first = plan(team)
    wrong = plan(team, {CRM: SPEC + VIP + "  churn: {}\n"})
    told = [each["body"] for each in team.github.comments]
    again = plan(team)
    team.github.merge("change")
    merged = team.github.run(NAME, "push")

    assert first.ok, first.printed
    assert first.outputs == {"exit-code": "2", "plan": "", "report": "report.md"}
    assert (wrong.ok, wrong.outputs["exit-code"]) == (False, "64")
    assert told[0].startswith("<!-- reconcile plan -->\n### reconcile plan: no result, exit code 64")
    assert again.ok
    assert [each["user"]["login"] for each in team.github.comments] == [BOT]
    assert "1 person will enter, 1 person will leave" in team.github.comments[0]["body"]
    assert merged.ok, merged.printed
    assert merged.outputs["exit-code"] == "0"
    assert team.sandbox.members(56) == set(people(*range(1, 41)))


def test_a_fork_is_not_planned(team: Team) -> None:
    team.github.fork = "stranger/segments"
    assert plan(team).codes == []


def test_a_sealed_artefact_is_sent_as_it_was_reviewed(team: Team) -> None:
    team.warehouse.want("vip", people(*range(1, 41)))
    team.github.commit({PLACE: WORKFLOW.replace('"state:"', "artifact")})
    reviewed = plan(team)
    team.warehouse.want("vip", people(*range(2, 42)))
    team.github.merge("change")
    file = team.github.outside / "artefacts" / reviewed.id / "segments-plan" / "segments.plan"

    merged = apply_with(team, command="apply", plan=str(file))

    assert reviewed.ok, reviewed.printed
    assert merged.ok, merged.printed
    assert team.sandbox.members(56) == set(people(*range(1, 41)))


def test_a_plan_in_the_state_is_sent_by_its_id_and_no_artefact_is_kept(team: Team, postgres_url: str) -> None:
    for secrets in (team.github.secrets, team.github.production):
        secrets.update({name: postgres_url for name in secrets if name.startswith("STATE")})
    team.apply()
    team.github.commit({PLACE: WORKFLOW})
    team.warehouse.want("vip", people(*range(1, 41)))
    reviewed = plan(team)
    team.warehouse.want("vip", people(*range(2, 42)))
    team.github.merge("change")
    team.sandbox.reset_calls()

    sent = team.github.run(NAME, "workflow_dispatch", inputs={"plan": reviewed.outputs["plan"]})

    assert reviewed.ok, reviewed.printed
    assert re.fullmatch(r"plan:[0-9a-z-]+", reviewed.outputs["plan"])
    assert f"Sealed as `{reviewed.outputs['plan']}`" in team.github.comments[0]["body"]
    assert not (team.github.outside / "artefacts").exists()
    assert sent.ok, sent.printed
    assert team.sandbox.members(56) == set(people(*range(1, 41)))


# --- exit codes, inputs ---


def test_a_guard_fails_the_step_and_with_fail_false_only_the_output_tells(team: Team) -> None:
    team.warehouse.want("vip", [])

    failed = apply_with(team, command="apply")
    told = apply_with(team, command="apply", fail="false")

    assert (failed.ok, failed.outputs["exit-code"]) == (False, "3")
    assert (told.ok, told.outputs["exit-code"]) == (True, "3")
    assert team.sandbox.writes == []


@pytest.mark.parametrize(
    "inputs",
    [
        {"command": "undo"},
        {"command": "apply", "seal": "artifact"},
        {"command": "plan", "plan": "plan:1"},
        {"command": "plan", "seal": "here"},
        {"command": "apply", "spec": "$(touch pwned)"},
        {"command": 'plan"; touch pwned; "'},
        {"command": "apply", "plan": "--allow-empty=vip"},
        {"command": "apply", "arguments": "--select=$(touch pwned)"},
        {"command": "apply", "arguments": "--select=vip; touch pwned"},
    ],
)
def test_what_the_action_is_given_is_never_read_as_shell(team: Team, inputs: dict[str, str]) -> None:
    team.warehouse.want("vip", people(1))

    run = apply_with(team, **inputs)

    assert not run.ok
    assert run.outputs["exit-code"] in ("64", "1")
    assert not list(team.warehouse.folder.rglob("pwned"))
    assert team.sandbox.writes == []


# --- GitLab ---


def run_gitlab(team: Team, job: str, variables: dict[str, str], tmp_path: Path, branch: str = "main") -> Run:
    """Run the lines of a job of the template, in a full clone, with this tree in the place of its own clone."""
    folder = tmp_path / f"gitlab-{job}"
    team.github.git("clone", "-q", "-b", branch, team.github.url, str(folder))
    base, own = GITLAB[".reconcile"], GITLAB[f".reconcile-{job}"]
    lines = [line for line in base["before_script"] if "/tmp/reconcile " not in f"{line} " and "command -v" not in line]
    lines += own.get("script", base["script"])
    assert len(lines) > 1
    script = "set -eo pipefail\n" + "\n".join(lines).replace("/tmp/reconcile/", f"{ROOT}/")
    values = {**team.github.variables, **base["variables"], **variables, **own["variables"]}
    done = team.github.bash(["-c", script], folder, values)
    report = folder / "report.md"
    return Run("1", [done.returncode], done.stdout, report.read_text() if report.exists() else "")


def test_a_merge_request_at_gitlab_is_planned_and_merging_applies(team: Team, tmp_path: Path) -> None:
    base = team.github.git("rev-parse", "main")
    team.warehouse.want("vip", people(*range(1, 41)))
    team.github.commit(CHANGED, "change")

    planned = run_gitlab(
        team, "plan", {**team.github.secrets, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base}, tmp_path, "change"
    )
    applied = run_gitlab(team, "apply", {**team.github.secrets, **team.github.production}, tmp_path)

    assert planned.ok, planned.printed
    assert "1 person will enter, 1 person will leave" in planned.summary
    assert applied.ok, applied.printed
    assert team.sandbox.members(56) == set(people(*range(1, 41)))
