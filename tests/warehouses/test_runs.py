"""The commands on each warehouse: validate, plan, apply, and plan again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import Project
from tests.warehouses.engine import Warehouse

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


@pytest.fixture
def spec(project: Project, warehouse: Warehouse, people: list[str]) -> Project:
    """A spec with one segment: the people from p0004 on, by a param."""
    project.write(
        {
            "vip": "segment_id: 56\n"
            "query: |\n  SELECT id FROM people -- 100% of :low\n  WHERE id >= :low AND id LIKE 'p%';\n"
            "params: {low: p0004}\n"
            "guards: {freshness: {query: SELECT CURRENT_TIMESTAMP, max_age: 48h}}"
        }
    )
    source = f"url: {json.dumps(warehouse.url)}\n"
    if warehouse.started.options:
        source += f"    options: {json.dumps(warehouse.started.options)}\n"
    project.spec.write_text(project.spec.read_text().replace("url: sqlite:///warehouse.db\n", source))
    return project


def test_a_segment_is_validated_planned_applied_and_planned_again(spec, warehouse, people):
    validated = spec.run("validate", "spec.yaml", "--connect")
    assert validated.code == 0, validated.err

    assert validated.err == ""

    planned = spec.json("plan")
    assert planned.code == 0, planned.err + planned.out
    assert planned.segments["vip"]["add"] == 6

    applied = spec.json("apply")
    assert applied.code == 0, applied.err + applied.out
    assert spec.sandbox.members(56) == set(people[4:])

    again = spec.json("plan")
    assert (again.segments["vip"]["status"], again.segments["vip"]["stored"]) == ("unchanged", 6)

    warehouse.fill("people", [*people[2:7], "p0100"])
    changed = spec.json("apply", "--allow-removals", "vip")
    assert changed.code == 0, changed.err + changed.out
    assert (changed.segments["vip"]["added"], changed.segments["vip"]["removed"]) == (1, 3)
    assert spec.sandbox.members(56) == {*people[4:7], "p0100"}


def test_what_can_not_be_run_fails_its_segment_alone(spec, warehouse):
    text = spec.spec.read_text()
    spec.spec.write_text(f"{text}  lost:\n    segment_id: 57\n    query: SELECT id FROM no_such_table\n")

    planned = spec.json("plan")

    assert planned.code == 1
    assert planned.segments["vip"]["status"] == "changes"
    assert planned.segments["lost"]["status"] == "failed"
    assert "no_such_table" in planned.segments["lost"]["error"]["message"].lower()


def test_a_row_that_spark_s_client_would_log_is_not_printed(spec, warehouse):
    if not warehouse.url.startswith("sc:"):
        return  # what is logged by others goes through Python's root logger
    warehouse.fill("dark", ["Zq7-null-table"])
    query = warehouse.engine.errors_with_rows[0].format(name="dark")
    spec.spec.write_text(f"{spec.spec.read_text()}  lost:\n    segment_id: 57\n    query: {query}\n")

    command = [Path(sys.prefix) / "bin" / "reconcile", "plan", "spec.yaml", "--select", "lost"]
    planned = subprocess.run(command, cwd=spec.folder, capture_output=True, text=True, timeout=120)

    assert planned.returncode == 1
    assert "Zq7" not in planned.stdout + planned.stderr
    assert "org.apache" not in planned.stderr
