"""Who ran what and why, each segment's own outcome, and which ids each run changed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("actor_user", "actor_host", "actor_commit", "actor_job", "reason", "process"):
        op.add_column("reconcile_runs", sa.Column(name, sa.Text(), nullable=True))
    for name in ("code", "title"):
        op.add_column("reconcile_run_segments", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("reconcile_run_segments", sa.Column("ended_at", sa.Double(), nullable=True))
    op.create_index("reconcile_run_segments_segment", "reconcile_run_segments", ["workspace", "segment_id", "ended_at"])
    op.add_column("reconcile_batches", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("reconcile_segments", sa.Column("proved_at", sa.Double(), nullable=True))
    id_type = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    key_type = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "reconcile_audit",
        sa.Column("audit_key", key_type, primary_key=True, autoincrement=True),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("id_type", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_id", id_type, nullable=False),
        sa.Column("last_id", id_type, nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.Column("pending_key", sa.BigInteger(), nullable=True),
        sa.Index("reconcile_audit_segment", "workspace", "segment_id", "first_id", "last_id"),
        sa.Index("reconcile_audit_run", "workspace", "run_id", "segment_id"),
        sa.Index("reconcile_audit_at", "workspace", "at"),
        sa.Index(
            "reconcile_audit_pending",
            "pending_key",
            sqlite_where=sa.text("pending_key IS NOT NULL"),
            postgresql_where=sa.text("pending_key IS NOT NULL"),
        ),
        comment="The audit log; ids are sorted, joined by line feeds, compressed; a pending row does not count yet",
        sqlite_autoincrement=True,
    )
