"""A state in a PostgreSQL that others have set up, and one that stops answering."""

import pytest
from sqlalchemy import make_url

from tests.support.postgres import Postgres
from tests.support.project import Project, people, segment

ROLE = {
    "synchronous_commit": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "statement_timeout": "5s",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "5s",
    "transaction_timeout": "5s",
    "idle_session_timeout": "5s",
}


@pytest.fixture
def eight(project: Project, postgres_url: str) -> Project:
    """Eight segments, whose state is in a PostgreSQL."""
    for number in range(8):
        project.sandbox.create_segment(f"Segment {number}", id=100 + number)
        project.want(f"s{number}", people(*range(number, number + 50)))
    segments = {f"s{number}": segment(100 + number, f"s{number}") for number in range(8)}
    project.write(segments, more=f"state: {{url: '{postgres_url}'}}\n")
    return project


def test_a_role_with_settings_for_other_jobs_is_good_for_eight_segments_at_once(
    eight: Project, postgres_server: Postgres, postgres_url: str
) -> None:
    database = make_url(postgres_url).database
    for name, value in ROLE.items():
        postgres_server.execute(f"ALTER ROLE postgres IN DATABASE \"{database}\" SET {name} = '{value}'")

    ran = eight.json("apply", "--parallel", "8")

    assert ran.code == 0, ran.err
    assert {each["status"] for each in ran.segments.values()} == {"applied"}
    assert eight.json("plan").document["summary"]["unchanged"] == 8
