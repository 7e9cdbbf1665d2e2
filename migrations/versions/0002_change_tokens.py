"""What tells a segment's state from one with the same serial; when ids were last sent; how a lock was lost.

And whether a segment comes from a backup; and room for the place to which a state has moved.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reconcile_segments", sa.Column("change_token", sa.Text(), nullable=True))
    op.add_column("reconcile_segments", sa.Column("attempted_at", sa.Double(), nullable=True))
    op.execute("UPDATE reconcile_segments SET attempted_at = last_run_at")
    op.add_column("reconcile_segments", sa.Column("restored_at", sa.Double(), nullable=True))
    op.add_column("reconcile_locks", sa.Column("boot_expires_at", sa.Double(), nullable=True))
    op.add_column("reconcile_locks", sa.Column("taken_over_at", sa.Double(), nullable=True))
    if op.get_context().dialect.name == "postgresql":  # SQLite does not enforce a length
        op.alter_column("reconcile_version", "version_num", type_=sa.Text())
