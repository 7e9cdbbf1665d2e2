"""The shell blocks of the other pages are right: each is run by bash, on the spec of the README and a sandbox."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.sandbox.server import Sandbox
from tests.support.github import make_commands
from tests.support.project import Project, people

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
SHELL = re.compile(r"^```(?:sh|bash|shell)\n(.*?)^```", re.DOTALL | re.MULTILINE)
README = (ROOT / "README.md").read_text(encoding="utf-8")
(SPEC,) = re.findall(r"```yaml\n(version: 1\n.*?)```", README, re.DOTALL)
SESSION = "".join(re.findall(r"^    (reconcile (?:validate|plan|apply)\b.*\n)", README, re.MULTILINE))


def blocks(page: str) -> list[str]:
    return SHELL.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """The README's spec, with the sandbox in place of Customer.io, and a warehouse with 20 VIPs among 40 customers."""
    with Sandbox() as sandbox:
        sandbox.add_people((person, None) for person in people(*range(40)))
        sandbox.create_segment("VIP", id=56)
        key = "  app_api_key: ${CUSTOMERIO_APP_API_KEY:-}"
        assert SPEC.count(key) == 1
        urls = f"  track_url: {sandbox.url}\n  app_url: {sandbox.url}\n  settle: 0\n"
        (tmp_path / "spec.yaml").write_text(SPEC.replace(key, f"{urls}{key}"))
        with sqlite3.connect(tmp_path / "warehouse.db") as warehouse:
            warehouse.execute("CREATE TABLE customers (customer_id, ltv)")
            rows = ((person, 100 * number) for number, person in enumerate(people(*range(40))))
            warehouse.executemany("INSERT INTO customers VALUES (?, ?)", rows)
        warehouse.close()
        variables = {
            "WAREHOUSE_URL": "sqlite:///warehouse.db",
            "CUSTOMERIO_SITE_ID": "sandbox-site",
            "CUSTOMERIO_API_KEY": "sandbox-key",
            "CUSTOMERIO_APP_API_KEY": "sandbox-app-key",
        }
        yield Project(tmp_path, sandbox, variables)


def bash(project: Project, script: str) -> str:
    """Run a script that stops at the first command that fails; gives what it prints."""
    commands = project.folder / "bin"
    if not commands.exists():
        make_commands(commands, project.folder)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=project.folder,
        env={**project.environment, "PATH": f"{commands}:{os.defpath}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_of_the_readme_fill_the_segment_of_its_spec(project: Project) -> None:
    project.spec.rename(project.folder / "reconcile.yaml")

    printed = bash(project, SESSION)

    assert SESSION.count("\n") == 3
    assert "Both ends are reachable and right." in printed
    assert "Plan: 0 to remove, 29 to add, in 1 segment." in printed
    assert project.sandbox.members(56) == set(people(*range(11, 40)))


def test_a_state_is_backed_up_restored_and_made_anew_as_the_page_says(project: Project) -> None:
    backup, restore, anew = blocks("restore.md")
    bash(project, "reconcile apply spec.yaml")

    bash(project, backup)
    printed = bash(project, restore)
    assert "Nothing to do: 1 segment is as its query says" in printed

    (project.folder / ".reconcile" / "state.db").unlink()
    printed = bash(project, anew + "reconcile plan spec.yaml\n")
    assert "Nothing to do: 1 segment is as its query says" in printed
    assert len(project.sandbox.members(56)) == 29


def test_a_workspace_is_renamed_as_the_page_of_the_spec_says(project: Project) -> None:
    (rename,) = blocks("spec.md")
    spec = project.spec.read_text()
    project.spec.write_text(spec.replace("workspace: production", "workspace: default"))
    bash(project, "reconcile apply spec.yaml")

    bash(project, rename)
    project.spec.write_text(spec)

    assert "Nothing to do: 1 segment is as its query says" in bash(project, "reconcile plan spec.yaml")


@pytest.mark.parametrize("page", ["README.md", "docs/first-hour.md"])
def test_the_two_lines_for_ci_are_steps_that_do_not_fail_where_something_changes(project: Project, page: str) -> None:
    (lines,) = re.findall(r"```yaml\n(- run: .*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    (project.folder / "segments").mkdir()
    project.spec.rename(project.folder / "segments" / "spec.yaml")
    project.environment["WAREHOUSE_URL"] = f"sqlite:///{project.folder}/warehouse.db"

    for step in yaml.safe_load(lines):
        bash(project, step["run"])

    assert "29 to add" in (project.folder / "plan.md").read_text()
    assert len(project.sandbox.members(56)) == 29


def test_every_page_with_shell_blocks_is_known() -> None:
    with_blocks = {page.name for page in PAGES if SHELL.search(page.read_text(encoding="utf-8"))}

    # test_ci.py; the installation, of which test_pages.py checks the extra; tests/warehouses/test_past_one_machine.py
    elsewhere = {"ci.md", "first-hour.md", "past-one-machine.md"}
    elsewhere.add("container.md")  # it takes Docker; its page says that this was not tried
    assert with_blocks == {"restore.md", "spec.md"} | elsewhere
