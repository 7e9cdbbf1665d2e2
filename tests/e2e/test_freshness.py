"""`freshness` through the command line: a full but stale table stops the segment, in every command that plans."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.project import Project, Result, people, segment

FRESHNESS = 'guards: {{freshness: {{query: "SELECT max(at) FROM loads{more}", max_age: 26h}}}}'
BEFORE, AFTER = people(*range(20)), people(*range(23))


def load(project: Project, *texts: object) -> None:
    """Let the log of the loads hold these times, and nothing else."""
    with closing(sqlite3.connect(project.folder / "warehouse.db")) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS loads (at)")
        connection.execute("DELETE FROM loads")
        connection.executemany("INSERT INTO loads VALUES (?)", [(text,) for text in texts])


def ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


def write(project: Project, *lines: str, more: str = "", **options: Any) -> None:
    project.write({"vip": segment(56, "vip", FRESHNESS.format(more=more), *lines)}, **options)


@pytest.fixture
def filled(project: Project) -> Project:
    """A segment of twenty members, and a query that by now returns three more."""
    load(project, ago(1))
    project.want("vip", BEFORE)
    write(project)
    assert project.run("apply", "spec.yaml").code == 0
    project.want("vip", AFTER)
    project.sandbox.reset_calls()
    return project


def verdict_of(done: Result) -> dict[str, Any]:
    return next(guard for guard in done.segments["vip"]["guards"] if guard["name"] == "freshness")


def test_fresh_data_is_sent_and_the_plan_says_how_old_it_is(filled):
    load(filled, ago(100), ago(3))

    planned = filled.run("plan", "spec.yaml")
    assert planned.code == 0
    assert "3h old; the limit is 26h." in planned.out
    assert "without a zone" not in planned.out
    assert "3h old" in filled.run("plan", "spec.yaml", "--format", "markdown").out
    assert verdict_of(filled.json("plan")) == {
        "name": "freshness", "limit": "26h", "actual": "3h", "breached": False, "allowed": False
    }  # fmt: skip
    assert filled.run("apply", "spec.yaml").code == 0
    assert filled.sandbox.members(56) == set(AFTER)


def test_a_time_without_a_zone_is_utc_and_the_plan_says_so(filled):
    load(filled, f"{datetime.now(UTC) - timedelta(hours=25):%Y-%m-%d %H:%M:%S}")

    done = filled.run("plan", "spec.yaml")

    assert done.code == 0
    assert "(without a zone: read as UTC), 25h old; the limit is 26h." in " ".join(done.out.split())


STALE = {
    "old": (lambda: [ago(31)], "31h", "31h old; the limit is 26h"),
    "a minute too old": (lambda: [ago(26 + 1 / 60)], None, "the limit is 26h"),
    "in the future": (lambda: [ago(-2)], "in the future", "more than five minutes in the future"),
    "an empty table": (list, "NULL", "nothing tells how old the data is"),
}


@pytest.mark.parametrize("situation", STALE)
@pytest.mark.parametrize("command", [["plan"], ["plan", "--out", "sealed.plan"], ["apply"], ["apply", "--confirm"]])
def test_stale_data_stops_the_segment_whatever_the_flags_say(filled, situation, command):
    make, actual, words = STALE[situation]
    load(filled, *make())
    flags = ["--allow-removals", "vip", "--allow-additions", "vip", "--allow-empty", "vip"]

    done = filled.json(*command, *flags)

    row, verdict = done.segments["vip"], verdict_of(done)
    assert (done.code, row["status"]) == (3, "blocked")
    assert (verdict["limit"], verdict["breached"], verdict["allowed"]) == ("26h", True, False)
    assert actual is None or verdict["actual"] == actual
    assert filled.sandbox.writes == []
    assert not (filled.folder / "sealed.plan").exists()
    for words_of_format in ([], ["--format", "markdown"]):
        text = " ".join(filled.run(command[0], "spec.yaml", *words_of_format).out.split())
        assert words in text
        assert "no flag allows this: load the data, then run it again" in text


def test_no_row_is_a_breach_too(filled):
    write(filled, more=" GROUP BY at")
    load(filled)

    assert verdict_of(filled.json("plan"))["actual"] == "no row"


def test_a_segment_without_a_change_is_judged_as_well(filled):
    filled.want("vip", BEFORE)
    load(filled, ago(31))

    assert filled.json("apply").code == 3


def test_what_is_no_time_fails_the_segment_and_is_not_shown(filled):
    load(filled, "jane@example.com")

    done = filled.json("apply", "--verbose")

    error = done.segments["vip"]["error"]
    assert (done.code, error["code"]) == (1, "freshness")
    assert error["message"].startswith("spec.yaml:")
    assert "the query of `freshness`: it returns" in error["message"]
    assert "jane" not in done.out + done.err
    assert filled.sandbox.writes == []


def test_a_plan_file_was_judged_when_it_was_made(filled):
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    load(filled, ago(31))

    assert filled.json("apply").code == 3
    done = filled.run("apply", "sealed.plan", "--format", "json")

    assert done.code == 0, done.err
    assert filled.sandbox.members(56) == set(AFTER)


def test_a_plan_file_is_bound_to_it(filled):
    assert filled.run("plan", "spec.yaml", "--out", "sealed.plan").code == 0
    write(filled, more=" WHERE at > ''")

    assert filled.run("apply", "sealed.plan").code == 4


def test_exclusive_paused_and_retired_segments(filled):
    load(filled, ago(31))
    write(filled, "ownership: exclusive")
    assert filled.json("apply").segments["vip"]["status"] == "blocked"

    write(filled, "paused: true")
    done = filled.json("apply")
    assert (done.code, done.segments["vip"]["status"], verdict_of(done)["breached"]) == (0, "paused", True)
    assert "31h old" in filled.run("plan", "spec.yaml").out

    retired = ["segment_id: 56", "retired: true", FRESHNESS.format(more="")]
    filled.write({"vip": "\n".join(retired)})
    done = filled.json("apply")
    assert (done.code, done.segments["vip"]["removed"], done.segments["vip"]["guards"]) == (0, len(BEFORE), [])


def test_validate_checks_and_prepares_the_query(filled):
    write(filled, more="; SELECT 2")
    refused = filled.run("validate", "spec.yaml")
    assert refused.code == 64
    assert "the query of `freshness`" in refused.err

    write(filled, more=" JOIN no_such_table")
    assert filled.run("validate", "spec.yaml").code == 0
    failed = filled.run("validate", "spec.yaml", "--connect")
    assert failed.code == 1
    assert "the query of `freshness`: source warehouse: no such table: no_such_table" in failed.out

    write(filled, more=" WHERE at < '${DAY}'")
    assert "variables are not read in a query" in filled.run("validate", "spec.yaml").out
