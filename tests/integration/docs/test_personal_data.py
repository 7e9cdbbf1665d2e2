"""docs/personal-data.md says all that is kept: its reasons and periods are those of the code."""

import re
from pathlib import Path

from reconciler.models.history import Reason
from reconciler.models.spec import DEFAULT_AUDIT, DEFAULT_HISTORY
from reconciler.state.members import ECHO_SECONDS, TOMBSTONE_SECONDS
from reconciler.state.tables import METADATA

PAGE = (Path(__file__).parents[3] / "docs" / "personal-data.md").read_text(encoding="utf-8")

WITH_IDS = {
    "reconcile_members",
    "reconcile_dropped",
    "reconcile_batches",
    "reconcile_marks",
    "reconcile_audit",
    "reconcile_plan_lines",
}
"""The tables that hold ids of people. Each is a line of the page, and `state erase` takes ids out of it."""

WITHOUT_IDS = {
    "reconcile_workspaces", "reconcile_keys", "reconcile_segments", "reconcile_creations", "reconcile_locks",
    "reconcile_runs", "reconcile_run_segments", "reconcile_plans", "reconcile_forgotten",
}  # fmt: skip


def test_a_table_that_is_new_is_sorted_into_those_with_ids_and_those_without() -> None:
    assert {table.name for table in METADATA.sorted_tables} == WITH_IDS | WITHOUT_IDS


def test_every_reason_is_explained() -> None:
    _, _, after = PAGE.partition("| reason | why |\n| --- | --- |\n")
    table, _, _ = after.partition("\n\n")

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [*Reason]


def test_the_periods_are_those_of_the_code() -> None:
    assert f"| {TOMBSTONE_SECONDS / 24 / 3600:.0f} days, or until a read-back shows them gone |" in PAGE
    assert f"| {ECHO_SECONDS / 3600:.0f} hours |" in PAGE
    assert f"`state.audit`: {DEFAULT_AUDIT.number} days" in PAGE
    assert f"`state.history`: {DEFAULT_HISTORY.number} days" in PAGE
