"""The query that is checked is the query that is run, whatever it looks like."""

import sqlite3
from contextlib import closing

import pytest

from tests.support.project import Project, people, segment

SQLITE = "sqlite:///warehouse.db"
QUERIES = {
    "union": "SELECT id FROM vip UNION SELECT * FROM q",
    "view": "SELECT id FROM raw",
    "parentheses": "(SELECT id FROM vip) -- all",
    "values": "VALUES ('p0001'), ('p0002')",
    "with": "WITH q AS (SELECT id FROM vip) SELECT id FROM q ORDER BY id LIMIT 2",
}


def test_validate_and_plan_agree_on_queries_of_any_form(project: Project) -> None:
    project.want("vip", people(1, 2))
    with closing(sqlite3.connect(project.folder / "warehouse.db")) as database, database:
        database.execute("CREATE TABLE q (id TEXT)")
        database.execute("INSERT INTO q VALUES ('p0003'), ('p0004')")
        database.execute("CREATE VIEW raw AS SELECT id FROM q")
    entries = {}
    for number, (name, query) in enumerate(QUERIES.items(), start=100):
        project.sandbox.create_segment(name, id=number)
        entries[name] = segment(number, "vip").replace("SELECT id FROM vip", f'"{query}"')
    project.write(entries)

    checked = project.run("validate", "spec.yaml", "--connect")
    planned = project.json("plan")

    assert checked.code == planned.code == 0, checked.err + planned.err
    assert {name: planned.segments[name]["add"] for name in QUERIES} == {
        "union": 4,
        "view": 2,
        "parentheses": 2,
        "values": 2,
        "with": 2,
    }


def test_validate_says_what_is_wrong_with_each_query_and_what_to_do(project: Project) -> None:
    project.want("vip", ["p0001"])
    project.write(
        {
            "mark": "segment_id: 56\nowner: crm\nquery: SELECT id FROM vip WHERE id = :who\nparams: {unused: 1}",
            "quote": "segment_id: 57\nquery: |\n  SELECT id\n  FROM vip WHERE id = 'p",
        }
    )

    told = project.run("validate", "spec.yaml")
    document = project.json("validate").document
    annotated = project.run("validate", "spec.yaml", "--format", "github")

    line = {each: at for at, each in enumerate(project.spec.read_text().splitlines(), start=1)}
    places = (line["    query: SELECT id FROM vip WHERE id = :who"], line["    query: |"])
    assert told.code == 64
    assert "`params` has no who." in told.err
    assert "Look for a lone '." in told.err
    assert "warning: spec.yaml:" in told.err
    assert ".params.unused` is used nowhere" in told.err
    assert tuple(each["line"] for each in document["problems"]) == places
    assert [each["hint"][:12] for each in document["problems"]] == ["`params` has", "Look for a l"]
    assert len(document["warnings"]) == 1
    assert f"line={places[0]},title=reconcile validate::segment mark: " in annotated.out
    assert "%0Anext: Look for a lone" in annotated.out
    assert "::warning file=spec.yaml" in annotated.out


def test_validate_of_one_wrong_query_says_its_next_step_on_a_line_of_its_own(project: Project) -> None:
    project.want("vip", ["p0001"])
    project.write({"vip": segment(56, "vip WHERE id = :who")})

    told = project.run("validate", "spec.yaml")

    assert "\n  next: `params` has no who." in told.err


def test_validate_of_a_wrong_spec_says_what_else_is_odd(project: Project) -> None:
    project.want("vip", ["p0001"])
    project.write({"vip": segment(56, "vip", "params: {unused: 1}", "colour: red")})

    told = project.run("validate", "spec.yaml")
    document = project.json("validate").document

    assert ".params.unused` is used nowhere" in told.err
    assert len(document["warnings"]) == 1


@pytest.mark.parametrize("value", ["DATE '2026-01-01'", "7.5::DOUBLE", "true", "'a'::BLOB", "['a']"])
def test_validate_tells_a_column_that_can_hold_no_id(project: Project, value: str) -> None:
    entry = segment(56, "vip").replace("SELECT id FROM vip", f'"SELECT {value} AS id"')
    project.write({"vip": entry})
    project.spec.write_text(project.spec.read_text().replace(SQLITE, "'duckdb:///:memory:'"))

    checked = project.run("validate", "spec.yaml", "--connect")

    assert checked.code == 1, checked.out + checked.err
    assert "no value of this type can be an id" in checked.out + checked.err


@pytest.mark.parametrize("query", ["SHOW TABLES", "DESCRIBE SELECT 1 AS id", "SUMMARIZE SELECT 1 AS id"])
def test_what_is_no_query_is_refused_by_each_command(project: Project, query: str) -> None:
    project.write({"vip": segment(56, "vip").replace("SELECT id FROM vip", query)})
    project.spec.write_text(project.spec.read_text().replace(SQLITE, "'duckdb:///:memory:'"))

    for command, *words, code in (("validate", 64), ("validate", "--connect", 64), ("plan", 1), ("apply", "--yes", 1)):
        done = project.run(command, "spec.yaml", *words)

        assert done.code == code, done.out + done.err
        assert f"the query is no query: it begins with {query.split()[0]}" in done.out + done.err
