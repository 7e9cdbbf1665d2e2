"""What the state says of a segment as a whole."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from reconciler.core.plan import Head

HEAD_COLUMNS = ("segment_key", "lineage", "serial", "id_type", "completed_at", "plan_id", "plan_base")
"""Of `reconcile_segments`, in the order of Row."""


@dataclass(frozen=True)
class Row:
    """A segment's row."""

    segment_key: int
    lineage: str
    serial: int
    id_type: str
    completed_at: float | None
    plan_id: str | None
    plan_base: int | None


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


def make_head(row: Row | None, environment_id: int | None) -> Head:
    if row is None:
        return Head(environment_id=environment_id)
    return Head(
        lineage=row.lineage,
        serial=row.serial,
        id_type=row.id_type,
        completed=row.completed_at is not None,
        environment_id=environment_id,
        plan_id=row.plan_id,
        plan_base=row.plan_base,
    )
