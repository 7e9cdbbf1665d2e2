"""Questions to the state about one segment, one workspace or one plan file."""

from sqlalchemy import Connection, text

from reconciler.models.plan import Head
from reconciler.state.heads import HEAD_COLUMNS, Row, make_head


def find_segment(connection: Connection, workspace: str, segment_id: int) -> Row | None:
    found = connection.execute(
        text(
            f"SELECT {', '.join(HEAD_COLUMNS)} FROM reconcile_segments "
            "WHERE workspace = :workspace AND segment_id = :segment_id"
        ),
        {"workspace": workspace, "segment_id": segment_id},
    ).one_or_none()
    return None if found is None else Row(*found)


def find_environment(connection: Connection, workspace: str) -> int | None:
    """The environment at Customer.io to which a workspace's name is bound."""
    statement = text("SELECT environment_id FROM reconcile_workspaces WHERE name = :workspace")
    found: int | None = connection.execute(statement, {"workspace": workspace}).scalar()
    return found


def read_head(connection: Connection, workspace: str, segment_id: int) -> Head:
    environment_id = find_environment(connection, workspace)
    return make_head(find_segment(connection, workspace, segment_id), environment_id)


def is_spent(connection: Connection, plan_id: str) -> bool:
    """Tell whether a plan file was applied to its end."""
    statement = text("SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id")
    return connection.execute(statement, {"plan_id": plan_id}).first() is not None
