"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reconcile_batches",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("segment_key", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("unknown_at", sa.Double(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("ids", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        comment="The journal: intents and outcomes that are not folded yet; ids are joined by line feeds",
        sqlite_autoincrement=True,
    )
    op.create_index("reconcile_batches_segment", "reconcile_batches", ["segment_key", "seq"])
    op.create_table(
        "reconcile_keys",
        sa.Column(
            "segment_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("segment_key"),
        comment="Numbers under which members and marks stand; a cut refresh leaves some that no segment names",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "reconcile_locks",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("pid_namespace", sa.Text(), nullable=True),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("started", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Text(), nullable=True),
        sa.Column("command", sa.Text(), nullable=True),
        sa.Column("acquired_at", sa.Double(), nullable=True),
        sa.Column("heartbeat_at", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "segment_id"),
        comment="Who works on a segment; the row stays when he is done, so that the fence keeps rising",
    )
    op.create_table(
        "reconcile_marks",
        sa.Column("segment_key", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("segment_key", "id", "mark"),
        comment="What is remembered of an id beside membership",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reconcile_members",
        sa.Column("segment_key", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("segment_key", "id"),
        comment="Acknowledged members, folded",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reconcile_plans",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("spent_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id"),
        comment="Plan files that were applied to their end",
    )
    op.create_table(
        "reconcile_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("tool_version", sa.Text(), nullable=False),
        sa.Column("allowed", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("document", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "workspace"),
        comment="The history; allowed is a JSON list of flags, document the JSON that the run printed",
    )
    op.create_index("reconcile_runs_started", "reconcile_runs", ["workspace", "started_at"])
    op.create_table(
        "reconcile_segments",
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.Column("segment_key", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("id_type", sa.Text(), nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("completed_at", sa.Double(), nullable=True),
        sa.Column("confirmed_at", sa.Double(), nullable=True),
        sa.Column("plan_id", sa.Text(), nullable=True),
        sa.Column("plan_base", sa.BigInteger(), nullable=True),
        sa.Column("last_run_id", sa.Text(), nullable=True),
        sa.Column("last_run_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("workspace", "segment_id"),
        sa.UniqueConstraint("segment_key", name="reconcile_segments_key"),
        comment="One row per segment that was ever written to",
    )
    op.create_table(
        "reconcile_workspaces",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("environment_id", sa.BigInteger(), nullable=False),
        sa.Column("bound_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        comment="Which environment of Customer.io a workspace's name stands for",
    )
    op.create_table(
        "reconcile_run_segments",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("workspace", sa.Text(), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.Column("unsettled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "workspace", "segment_id"),
        comment="What a run did to each segment",
    )
