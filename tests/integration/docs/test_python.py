"""The page on Python is right: its code is run, in order, on a small project and the sandbox."""

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler.sandbox.server import Sandbox
from tests.support.project import Project, working_in

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")

SEGMENT = "segment_id: 56\ntags: [nightly]\nquery: SELECT customer_id FROM customers WHERE ltv > 1000\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Sandbox() as sandbox:
        sandbox.add_people((name, f"{name}@example.com") for name in ("ada", "bob", "cleo", "dora"))
        sandbox.create_segment("VIP", id=56)
        project = Project(tmp_path, sandbox)
        project.write({"vip": SEGMENT})
        yield project


@pytest.fixture
def warehouse(project: Project) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(project.folder / "warehouse.db")
    connection.execute("CREATE TABLE customers (customer_id, ltv)")
    connection.executemany("INSERT INTO customers VALUES (?, 2000)", [("ada",), ("bob",), ("cleo",)])
    connection.commit()
    yield connection
    connection.close()


def test_the_code_of_the_page_does_what_the_page_says(
    project: Project, warehouse: sqlite3.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {"warehouse": warehouse}

    with working_in(project.folder):
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(code, "docs/python.md", "exec"), names)

    assert capsys.readouterr().out.startswith("default/vip changes 3 0\n"), "nothing is printed but by the page"
    assert project.sandbox.members(56) == {"ada", "bob", "cleo", "dora"}


def test_the_table_names_every_keyword_of_every_function() -> None:
    rows = re.findall(r"^\| `(\w+)\(\w+\)` \| `(\w+)` \| (.*?) ?\|$", PAGE, re.MULTILINE)

    for name, result, keywords in rows:
        function = getattr(reconciler, name)
        accepted = {
            key for key, kind in function.__annotations__.items() if key not in ("loaded", "paths", "run_id", "return")
        }
        assert result in reconciler.__all__
        assert accepted - {"lock_timeout"} == set(re.findall(r"`(\w+)`", keywords)) - {"lock_timeout"}, name
    assert {name for name, *_ in rows} == {"load", "plan", "apply", "drift", "refresh", "status", "history"}
