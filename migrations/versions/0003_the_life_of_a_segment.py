"""Which spec lists a segment, and its title at Customer.io; segments that a run asked Customer.io to create."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COMMENTS = {
    "reconcile_segments": "One row per segment that was ever written to; change_token is drawn anew whenever the "
    "serial is raised; origin and spec name the spec that listed it last",
    "reconcile_members": "Acknowledged members that left the journal",
    "reconcile_marks": "What is remembered of an id in addition to membership",
    "reconcile_batches": "The journal: intents and outcomes that are not compacted yet; ids are joined by line feeds",
    "reconcile_locks": "Locks of segments; a row stays when its lock is released, so that the fence keeps rising",
}


def upgrade() -> None:
    for name in ("title", "origin", "spec"):
        op.add_column("reconcile_segments", sa.Column(name, sa.Text(), nullable=True))
    op.create_table(
        "reconcile_creations",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "title"),
        comment="Segments that Customer.io was asked to create; segment_id is its answer",
    )
    if op.get_context().dialect.name == "postgresql":  # SQLite keeps no comments
        for table, comment in COMMENTS.items():
            op.create_table_comment(table, comment)
