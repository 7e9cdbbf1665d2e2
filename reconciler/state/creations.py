"""Segments that Customer.io was asked to create: written down before it is asked, as intents are."""

from sqlalchemy import Connection

from reconciler.models.plan import Creation
from reconciler.state.database import execute, run

_WHERE = "workspace = :workspace AND title = :title"


def find(connection: Connection, workspace: str, title: str) -> Creation | None:
    """Find the latest request to create a segment of this title, unless it surely came to nothing."""
    statement = (
        "SELECT c.asked_at, r.plan_id, c.segment_id FROM reconcile_creations c "
        "LEFT JOIN reconcile_runs r ON r.run_id = c.run_id AND r.workspace = c.workspace "
        "WHERE c.workspace = :workspace AND c.title = :title"
    )
    row = execute(connection, statement, {"workspace": workspace, "title": title}).one_or_none()
    return None if row is None else Creation(*row)


def begin(connection: Connection, workspace: str, title: str, run_id: str, now: float) -> None:
    """Write down that Customer.io is about to be asked."""
    statement = (
        "INSERT INTO reconcile_creations (workspace, title, run_id, asked_at) "
        "VALUES (:workspace, :title, :run_id, :now) "
        "ON CONFLICT (workspace, title) DO UPDATE SET run_id = :run_id, asked_at = :now, segment_id = NULL"
    )
    run(connection, statement, workspace=workspace, title=title, run_id=run_id, now=now)


def end(connection: Connection, workspace: str, title: str, segment_id: int) -> None:
    """Write down the number that Customer.io answered."""
    statement = f"UPDATE reconcile_creations SET segment_id = :segment_id WHERE {_WHERE}"
    run(connection, statement, segment_id=segment_id, workspace=workspace, title=title)


def cancel(connection: Connection, workspace: str, title: str) -> None:
    """Drop a request that surely came to nothing."""
    run(connection, f"DELETE FROM reconcile_creations WHERE {_WHERE}", workspace=workspace, title=title)
