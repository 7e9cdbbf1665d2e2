"""The recipes of docs/ci.md for a server with cron, for GitLab, Airflow and a sandbox do what the page says."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.docs.recipes import CHURN, CRM, FILES, PAGE, SPEC, VIP, Team, make_team
from tests.support.project import people

GITLAB = yaml.safe_load(FILES[".gitlab-ci.yml"])


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with make_team(tmp_path) as team:
        team.apply()
        yield team


# --- cron ---


@pytest.fixture
def server(team: Team) -> Team:
    """A server with the clone and the files of the page, each below the folder of the test."""
    folder = team.warehouse.folder
    (folder / "log").mkdir()
    variables = {**team.github.secrets, **team.github.production, **team.github.variables}
    names = re.findall(r"^(\w+)='.*'$", FILES["/etc/reconcile.env"], re.MULTILINE)
    assert set(names) == variables.keys() - {"STATE_READER_URL", "CUSTOMERIO_URL"}
    (folder / "reconcile.env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
    text = FILES["ci/nightly.sh"].replace("--confirm ", "--confirm --confirm-timeout 0 ")
    for place, here in (("/etc/reconcile.env", "reconcile.env"), ("/var/log/reconcile", "log"), ("/srv", "srv")):
        assert place in text
        text = text.replace(place, str(folder / here))
    team.github.commit({"ci/nightly.sh": text})
    team.github.git("clone", "-q", team.github.url, str(folder / "srv" / "segments"))
    return team


def run_cron(team: Team) -> "subprocess.CompletedProcess[str]":
    """Run the line of the crontab as cron does: by the shell, and with the variables, that the file says."""
    folder = team.warehouse.folder
    *settings, line = FILES["/etc/cron.d/reconcile"].splitlines()
    variables = dict(setting.split("=", 1) for setting in settings)
    *_, user, command = re.split(r"\s+", line, maxsplit=6)
    assert (variables["SHELL"], user, "%" in command) == ("/bin/bash", "segments", False)
    assert variables["PATH"].startswith("/srv/segments/.venv/bin:")
    path = variables["PATH"].replace("/srv/segments/.venv/bin", str(team.github.commands))
    return subprocess.run(
        ["/bin/bash", "-c", command.replace("/srv", str(folder / "srv"))],
        env={"PATH": path, "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_night_that_is_well_prints_nothing_and_keeps_a_line_of_json(server: Team) -> None:
    server.warehouse.want("vip", people(*range(1, 41)))
    server.github.commit({CRM: SPEC + VIP + CHURN + "# newer\n"})

    done = run_cron(server)
    done_again = run_cron(server)

    assert (done.returncode, done.stdout) == (0, "")
    assert (done_again.returncode, done_again.stdout) == (0, "")
    logs = server.warehouse.folder / "log"
    first, second = read_lines(logs / "runs.jsonl")
    assert (first["kind"], first["summary"]["added"], second["summary"]["added"]) == ("run", 1, 0)
    assert [line["event"] for line in read_lines(logs / "log.jsonl")].count("planned") == 4
    assert {file.stat().st_mode & 0o777 for file in logs.iterdir()} == {0o600}
    assert (server.warehouse.folder / "srv" / "segments" / CRM).read_text().endswith("# newer\n")


def test_a_night_that_a_guard_stopped_prints_what_cron_mails(server: Team) -> None:
    server.warehouse.want("vip", [])

    done = run_cron(server)

    assert done.returncode == 3
    assert done.stdout.startswith("reconcile apply ended with exit code 3.\n")
    assert "blocked" in done.stdout


def test_a_night_with_a_wrong_spec_prints_where_it_is_wrong(server: Team) -> None:
    server.github.commit({CRM: SPEC + VIP + "  churn: {}\n"})

    done = run_cron(server)

    first, error = done.stdout.splitlines()
    assert (done.returncode, first) == (64, "reconcile apply ended with exit code 64.")
    assert "segments/crm.yaml:" in json.loads(error)["message"]


def test_a_night_that_is_partly_done_is_run_again_once(server: Team) -> None:
    ended = server.github.outside / "ended"
    (server.github.commands / "reconcile").write_text(f"#!/bin/sh\n[ -e {ended} ] || {{ touch {ended}; exit 6; }}\n")

    done = run_cron(server)

    assert (done.returncode, done.stdout) == (0, "")
    assert server.github.calls("sleep") == [["0"], ["60"]]


def test_a_value_of_the_file_may_hold_what_a_shell_would_read(tmp_path: Path) -> None:
    (tmp_path / "reconcile.env").write_text(FILES["/etc/reconcile.env"])

    script = "set -a; . ./reconcile.env; set +a; python -c \"import os; print(os.environ['STATE_URL'])\""
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "postgresql://reconcile_state:w&rd@warehouse/shop"


# --- GitLab ---


def run_gitlab(team: Team, job: str, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a job's lines as GitLab does, in a full clone of the branch that is checked out."""
    folder = team.warehouse.folder / f"gitlab-{job}-{len(list(team.warehouse.folder.iterdir()))}"
    team.github.git("clone", "-q", team.github.url, str(folder))
    if branch := variables.get("CI_COMMIT_REF_NAME"):
        team.github.git("checkout", "-q", branch, folder=folder)
    lines = [*GITLAB["default"]["before_script"], *GITLAB[job]["script"]]
    assert lines[0].startswith("apt-get")
    own = {**GITLAB["variables"], **variables, **GITLAB[job].get("variables", {})}
    script = "set -eo pipefail\n" + "\n".join(lines[1:])
    return team.github.bash(["-c", script], folder, {**team.github.variables, **own})


def test_a_merge_request_at_gitlab_plans_what_it_changes(team: Team) -> None:
    base = team.github.git("rev-parse", "main")
    team.github.commit({CRM: SPEC + VIP + CHURN.replace("FROM", "from")}, "change")
    assert GITLAB["plan"]["artifacts"]["paths"] == ["report.md"]

    done = run_gitlab(
        team,
        "plan",
        {**team.github.secrets, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base, "CI_COMMIT_REF_NAME": "change"},
    )

    assert done.returncode == 0, done.stdout
    (report,) = team.warehouse.folder.glob("gitlab-plan-*/report.md")
    assert "Nothing to do: 1 segment is as its query says" in report.read_text()


def test_a_night_at_gitlab_applies_and_a_person_lets_a_guard_past(team: Team) -> None:
    team.warehouse.want("vip", people(0))
    secrets = {**team.github.secrets, **team.github.production}

    night = run_gitlab(team, "apply", secrets)
    by_hand = run_gitlab(team, "by-hand", {**secrets, "ACTION": "apply", "SEGMENT": "vip", "ALLOW_REMOVALS": "true"})

    assert night.returncode == 3, night.stdout
    assert by_hand.returncode == 0, by_hand.stdout
    assert team.sandbox.members(56) == set(people(0))


# --- Airflow, sandbox ---


def test_the_command_of_the_airflow_task_is_right(team: Team) -> None:
    (command,) = re.findall(r'bash_command="(.*?)"', PAGE)

    words = command.replace("/opt/segments", str(team.github.repository / "segments"))
    done = team.github.bash(["-c", words], team.warehouse.folder, team.warehouse.environment)

    assert done.returncode == 0, done.stdout
    assert '"kind":"run"' in done.stdout.replace(" ", "")


def test_specs_are_tried_against_a_sandbox_and_a_second_plan_has_nothing_to_do(team: Team) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    people_file = "".join(f"{person},{person}@example.com\n" for person in people(*range(60)))
    script = FILES["ci/try.sh"].replace("8025", str(port)).replace("56:VIP", "56:VIP --segment 57:Churn")
    team.github.commit({"ci/try.sh": script, "people.csv": f"id,email\n{people_file}"})

    done = team.github.bash(
        ["ci/try.sh"], team.github.repository, {"WAREHOUSE_URL": team.github.secrets["WAREHOUSE_URL"]}
    )

    assert done.returncode == 0, done.stdout
    assert "Nothing to do: 2 segments are as their queries say" in done.stdout
    assert team.sandbox.calls == []
