"""The page on comparing in the database: the grants it names are enough, and without them ids are compared here."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from reconciler.sandbox.server import Sandbox
from tests.integration.docs.test_databases import PAGE as ROLES_PAGE
from tests.integration.docs.test_databases import ROLES, ROOT, SPEC, as_role, connect
from tests.support.project import Project

PAGE = (ROOT / "docs" / "in-the-database.md").read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    return re.findall(r"<!-- run by .*?-->\n```sql\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A database with a table of customers and the roles of the page on databases."""
    with connect(postgres_url) as connection:
        connection.execute("CREATE TABLE customers (customer_id int)")
        connection.execute("INSERT INTO customers SELECT generate_series(1, 20)")
        for block in blocks(ROLES_PAGE):
            name = make_url(postgres_url).database
            connection.execute(block.replace("DATABASE warehouse", f'DATABASE "{name}"').encode())
        yield connection
        for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
            for role in ROLES:
                connection.execute(statement.format(role).encode())


def test_with_the_grants_of_the_page_the_roles_are_compared_in_the_database(
    tmp_path: Path, postgres_url: str, admin: psycopg.Connection
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    with Sandbox() as sandbox:
        sandbox.add_people((str(number), None) for number in range(1, 21))
        sandbox.create_segment("Everybody", id=56)
        urls = {
            "WAREHOUSE_URL": as_role(postgres_url, "reconcile_reader"),
            "STATE_URL": as_role(postgres_url, "reconcile_state"),
            "SANDBOX_URL": sandbox.url,
        }
        project = Project(tmp_path, sandbox, urls)
        assert project.run("apply", "spec.yaml").code == 0
        before = project.json("plan").segments["everybody"]

        for block in blocks(PAGE):
            admin.execute(block.encode())
        project.environment["STATE_URL"] = as_role(postgres_url, "reconcile_planner")
        after = project.json("plan").segments["everybody"]

    assert (before["engine"], before["unchanged"]) == ("local", 20)
    assert (after["engine"], after["unchanged"]) == ("in_database", 20)
