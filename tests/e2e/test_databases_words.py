"""What a user reads when a database refuses: what it says of the query, a next step, and never an id."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.project import Project, segment

IDS = "('jane.roe@example.com', 'c4711')"


class Refusing:
    """A project with a PostgreSQL warehouse that refuses in one way or another."""

    def __init__(self, project: Project, url: str) -> None:
        self.project = project
        self.url = url.replace("+psycopg", "")

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def plan(self, query: str, number: int = 1, options: str = "", user: str = "postgres") -> dict[str, Any]:
        """The segments of a plan in which each has this query."""
        entries = {
            f"s{at}": segment(at, "x").replace("SELECT id FROM x", query.replace('"', '\\"'))
            for at in range(1, number + 1)
        }
        path = self.project.write(entries)
        url = self.url.replace("postgres@", f"{user}@") + options
        path.write_text(path.read_text().replace("sqlite:///warehouse.db", url))
        result = self.project.json("plan", "--parallel", "6")
        for text in ("jane.roe", "c4711", "COPY"):
            assert text not in result.out + result.err
        return result.segments


@pytest.fixture
def refusing(project: Project, postgres_url: str) -> Iterator[Refusing]:
    refusing = Refusing(project, postgres_url)
    for at in range(1, 7):
        project.sandbox.create_segment(f"S{at}", id=at)
    refusing.execute(
        "CREATE TABLE customers AS SELECT 'c' || i AS id FROM generate_series(1, 100) i",
        "CREATE FUNCTION conflict() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
        "'canceling statement due to conflict with recovery' USING ERRCODE = '40001', DETAIL = 'c4711'; END $$",
        "CREATE ROLE closed LOGIN",
        "CREATE ROLE narrow LOGIN CONNECTION LIMIT 2",
        "GRANT SELECT ON customers TO narrow",
    )
    yield refusing
    refusing.execute("DROP OWNED BY narrow, closed", "DROP ROLE narrow", "DROP ROLE closed")


@pytest.mark.parametrize(
    ("query", "options", "user", "words", "hint"),
    [
        ("SELECT conflict AS id FROM conflict()", "", "postgres", "conflict with recovery", "hot_standby_feedback"),
        (
            "SELECT id FROM customers WHERE pg_sleep(0.1) IS NOT NULL",
            "&options=-cstatement_timeout%3D500",
            "postgres",
            "due to statement timeout",
            "make the query faster",
        ),
        (f"SELECT id FROM customers WHERE id NOT IN {IDS}", "", "closed", "denied for table customers", "Grant"),
        (f"SELECT id FROM customers WHERE id NOT IN {IDS} FOR SHARE", "", "postgres", "FOR SHARE in a", "only reads"),
        (f"SELECT nope FROM customers WHERE id NOT IN {IDS}", "", "postgres", 'column "nope" does not', "the names"),
        (f"SELECT id FROM nowhere WHERE id NOT IN {IDS}", "", "postgres", 'relation "nowhere" does not', "the names"),
        ("SELECT id::int FROM customers", "", "postgres", 'type integer: "…"', "can't be converted"),
        ("SELECT ('c47' || '11')::regclass::text AS id", "", "postgres", 'relation "…" does not exist', "the names"),
        ("SELECT id FROM customers WHERE id = 'c4711' GROUP BY 1 + 1", "", "postgres", "must appear", "Correct"),
    ],
)
def test_a_refusal_is_told_with_its_next_step_and_without_an_id(refusing, query, options, user, words, hint):
    error = refusing.plan(query, options=options, user=user)["s1"]["error"]

    assert words in error["message"]
    assert hint in error["hint"]


def test_a_role_with_two_connections_is_enough_for_six_segments_at_once(refusing: Refusing) -> None:
    found = refusing.plan("SELECT id FROM customers, pg_sleep(0.2)", number=6, user="narrow")

    assert [each["error"] for each in found.values()] == [None] * 6
    assert [each["desired"] for each in found.values()] == [100] * 6
