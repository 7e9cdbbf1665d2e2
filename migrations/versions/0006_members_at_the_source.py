"""Members that stand in tables next to the query: their head, and what has changed in them since."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reconcile_segments", sa.Column("members_key", sa.Text(), nullable=True))
    for name in ("members_generation", "members_serial", "members_rows"):
        op.add_column("reconcile_segments", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("reconcile_segments", sa.Column("members_sum", sa.Text(), nullable=True))
    for name in ("members_changed", "attempted_generation", "attempted_serial"):
        op.add_column("reconcile_segments", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_table(
        "reconcile_dropped",
        sa.Column("segment_key", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("segment_key", "id"),
        comment="Ids that stand at the source and are no members, unless they are in reconcile_members",
        sqlite_with_rowid=False,
    )
