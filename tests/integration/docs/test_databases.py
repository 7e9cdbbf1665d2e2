"""The pages on databases: their tables are those of the code, and their roles and grants are enough, and no more."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from reconciler.sandbox.server import Sandbox
from reconciler.sources.rows import _READ_ONLY
from tests.support.project import Project

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "databases.md").read_text(encoding="utf-8")
COMPARING = (ROOT / "docs" / "in-the-database.md").read_text(encoding="utf-8")
ROLES = ("reconcile_reader", "reconcile_state", "reconcile_planner")

SPEC = """\
version: 1
sources: {warehouse: {url: "${WAREHOUSE_URL}"}}
destination:
  site_id: sandbox-site
  api_key: sandbox-key
  track_url: ${SANDBOX_URL}
state: {url: "${STATE_URL}"}
segments:
  everybody:
    segment_id: 56
    query: SELECT customer_id FROM customers
"""


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string()


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def blocks(page: str, run: str = "run") -> list[str]:
    return re.findall(rf"<!-- {run} by [^>]*-->\n```sql\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def roles(postgres_url: str) -> Iterator[str]:
    """A database with one table and the roles of the page; they belong to the whole server, so they go at the end."""
    with connect(postgres_url) as connection:
        connection.execute("CREATE TABLE customers (customer_id int)")
        connection.execute("INSERT INTO customers SELECT generate_series(1, 20)")
        for block in blocks(PAGE):
            connection.execute(block.replace("DATABASE warehouse", f'DATABASE "{make_url(postgres_url).database}"'))
        yield postgres_url
        for role in ROLES:
            connection.execute(f"DROP OWNED BY {role} CASCADE")
        for role in ROLES:
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def project(tmp_path: Path, roles: str) -> Iterator[Project]:
    """A project that reaches its warehouse and state with the roles of the page."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    with Sandbox() as sandbox:
        sandbox.add_people((str(number), None) for number in range(1, 21))
        sandbox.create_segment("Everybody", id=56)
        urls = {
            "WAREHOUSE_URL": as_role(roles, "reconcile_reader"),
            "STATE_URL": as_role(roles, "reconcile_state"),
            "SANDBOX_URL": sandbox.url,
        }
        yield Project(tmp_path, sandbox, urls)


def test_the_roles_of_the_page_are_enough_to_apply_and_to_plan(project: Project, roles: str) -> None:
    applied = project.run("apply", "spec.yaml")
    assert applied.code == 0, applied.out + applied.err
    assert len(project.sandbox.members(56)) == 20

    project.environment["STATE_URL"] = as_role(roles, "reconcile_planner")
    planned = project.run("plan", "spec.yaml", "--format", "json")
    assert planned.code == 0, planned.out + planned.err
    assert planned.segments["everybody"]["unchanged"] == 20

    assert project.run("apply", "spec.yaml").code == 1


def test_the_planner_s_role_stores_a_plan_with_the_grant_of_the_page_and_not_without(
    project: Project, roles: str
) -> None:
    assert project.run("apply", "spec.yaml").code == 0
    project.environment["STATE_URL"] = as_role(roles, "reconcile_planner")
    refused = project.run("plan", "spec.yaml", "--out", "state:")
    assert (refused.code, "docs/databases.md" in refused.err) == (1, True), refused.err

    with connect(roles) as admin:
        for block in blocks(PAGE, "run later"):
            admin.execute(block)
    planned = project.json("plan", "--out", "state:")
    assert planned.code == 0, planned.err

    project.environment["STATE_URL"] = as_role(roles, "reconcile_state")
    assert project.run("apply", planned.document["plan"], "spec.yaml").code == 0


def test_the_reader_s_role_cannot_write(roles: str) -> None:
    with connect(as_role(roles, "reconcile_reader")) as connection, pytest.raises(psycopg.Error):
        connection.execute("INSERT INTO customers VALUES (21)")


def test_with_the_grants_of_the_page_on_comparing_the_roles_are_compared_in_the_database(
    project: Project, roles: str
) -> None:
    assert project.run("apply", "spec.yaml").code == 0
    before = project.json("plan").segments["everybody"]

    with connect(roles) as admin:
        for block in blocks(COMPARING):
            admin.execute(block)
    project.environment["STATE_URL"] = as_role(roles, "reconcile_planner")
    after = project.json("plan").segments["everybody"]

    assert (before["engine"], before["unchanged"]) == ("local", 20)
    assert (after["engine"], after["unchanged"]) == ("in_database", 20)


def test_the_page_names_every_extra_and_every_statement_that_makes_a_session_read_only() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    of_databases = set(extras) - {"otel"}  # where a run's trace goes, not where ids come from
    assert {extra for extra in of_databases if f"`reconcile-segments[{extra}]`" not in PAGE} == set()
    assert {said for said in _READ_ONLY.values() if said.partition(" = ")[0] not in PAGE} == set()
