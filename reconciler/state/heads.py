"""What the state says of a segment as a whole."""

from dataclasses import dataclass

from reconciler.models.plan import Head

HEAD_COLUMNS = (
    "segment_key",
    "lineage",
    "serial",
    "id_type",
    "completed_at",
    "plan_id",
    "plan_base",
    "change_token",
    "restored_at",
)
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
    change_token: str | None
    restored_at: float | None


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
        change_token=row.change_token,
        restored=row.restored_at is not None,
    )
