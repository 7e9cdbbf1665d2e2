"""The files of docs/ci.md, and a team that has put them into its repository."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.sandbox.server import Sandbox
from tests.support.github import GitHub, Run
from tests.support.project import Project, people

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```", PAGE, re.DOTALL))
PARTS: dict[str, str] = dict(re.findall(r"<!-- part of: (\S+) -->\n```\w*\n(.*?)```", PAGE, re.DOTALL))
PLAN, APPLY, BY_HAND, MERGE = (f"segments-{name}.yml" for name in ("plan", "apply", "by-hand", "merge"))
(STATE,) = re.findall(r"```yaml\n(state:\n.*?)```", PAGE, re.DOTALL)

SPEC = f"""\
version: 1
sources: {{warehouse: {{url: "${{WAREHOUSE_URL}}"}}}}
destination:
  workspace: production
  site_id: ${{CUSTOMERIO_SITE_ID}}
  api_key: ${{CUSTOMERIO_API_KEY}}
  app_api_key: ${{CUSTOMERIO_APP_API_KEY}}
  track_url: ${{CUSTOMERIO_URL:-}}
  app_url: ${{CUSTOMERIO_URL:-}}
  rate_limit: 10000
  settle: 0
{STATE}
segments:
"""
VIP = "  vip: {segment_id: 56, query: SELECT id FROM vip}\n"
CHURN = "  churn: {segment_id: 57, query: SELECT id FROM churn}\n"
CRM = "segments/crm.yaml"


@dataclass(frozen=True)
class Team:
    """A repository with the files of the page, a warehouse with the tables `vip` and `churn`, and two segments."""

    github: GitHub
    warehouse: Project
    sandbox: Sandbox

    def apply(self) -> None:
        """Make the state by a first apply: all but the test of the first state begin with it."""
        github = self.github
        self.warehouse.environment.update({**github.secrets, **github.production, **github.variables})
        self.warehouse.environment["STATE_MUST_EXIST"] = "false"
        done = self.warehouse.run("apply", github.repository / CRM)
        assert done.code == 0, done.err
        self.sandbox.reset_calls()

    def by_hand(self, action: str, segment: str, **inputs: object) -> Run:
        return self.github.run(
            BY_HAND, "workflow_dispatch", inputs={"action": action, "segment": segment, "reason": "a test", **inputs}
        )

    def plan(self, files: dict[str, str], branch: str = "change") -> Run:
        """Push to the branch of a pull request, and run its job."""
        self.github.commit(files, branch)
        return self.github.run(PLAN, "pull_request", branch=branch)


@contextmanager
def make_team(folder: Path, *, is_sealed: bool = False) -> Iterator[Team]:
    """Make a team: 40 people in `vip` and 10 in `churn`, and nobody in the segments."""
    files = dict(FILES)
    if is_sealed:
        workflow = f".github/workflows/{PLAN}"
        files[workflow] = replace_step(files[workflow], "- run: bash ci/reconcile.sh plan", PARTS[workflow])
    with Sandbox() as sandbox:
        sandbox.add_people((person, f"{person}@example.com") for person in people(*range(60)))
        sandbox.create_segment("VIP", id=56)
        sandbox.create_segment("Churn", id=57)
        warehouse = Project(folder, sandbox)
        warehouse.want("vip", people(*range(40)))
        warehouse.want("churn", people(*range(40, 50)))
        state = f"sqlite:///{folder}/state.db"
        github = GitHub(
            folder / "github",
            secrets={
                "WAREHOUSE_URL": f"sqlite:///{folder}/warehouse.db",
                "STATE_READER_URL": state,
                "CUSTOMERIO_APP_API_KEY": "sandbox-app-key",
            },
            production={"STATE_URL": state, "CUSTOMERIO_SITE_ID": "sandbox-site", "CUSTOMERIO_API_KEY": "sandbox-key"},
            variables={"CUSTOMERIO_URL": sandbox.url},
        )
        inside = {name: text for name, text in files.items() if not name.startswith("/")}
        lock = (ROOT / "requirements" / "runtime.lock").read_text()
        github.commit({**inside, "ci/reconcile.lock": lock, CRM: SPEC + VIP + CHURN})
        yield Team(github, warehouse, sandbox)


def replace_step(workflow: str, beginning: str, steps: str) -> str:
    """Put steps in the place of the one that begins so."""
    found = re.search(rf"^      {re.escape(beginning)}.*?(?=^      - )", workflow, re.DOTALL | re.MULTILINE)
    assert found, f"no step begins with {beginning}"
    return workflow.replace(found[0], steps)
