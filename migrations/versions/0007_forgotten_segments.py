"""Segments that the state has forgotten, so that no older plan of a first fill fits them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reconcile_forgotten",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("workspace", "segment_id"),
        comment="Segments that were forgotten; the token is drawn anew each time, and sealed into plans of a first "
        "fill. The row without a workspace stands for all segments: the state was restored",
    )
