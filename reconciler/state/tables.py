"""The tables of the state database. Their names carry a prefix, as a PostgreSQL may hold other things too."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import Double, TypeEngine

METADATA = MetaData()

_KEY: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database hands out: SQLite only does so for INTEGER."""

_ID: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
"""A member id: compared, sorted and indexed as bytes. SQLite does so by itself."""

WORKSPACES = Table(
    "reconcile_workspaces",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("environment_id", BigInteger, nullable=False),
    Column("bound_at", Double, nullable=False),
    comment="Which environment of Customer.io a workspace's name stands for",
)

KEYS = Table(
    "reconcile_keys",
    METADATA,
    Column("segment_key", _KEY, primary_key=True, autoincrement=True),
    Column("workspace", Text, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    comment="Numbers under which members and marks stand; a cut refresh leaves some that no segment names",
    sqlite_autoincrement=True,
)

SEGMENTS = Table(
    "reconcile_segments",
    METADATA,
    Column("workspace", Text, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    Column("segment_key", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("id_type", Text, nullable=False),
    Column("lineage", Text, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("completed_at", Double),
    Column("confirmed_at", Double),
    Column("proved_at", Double),
    Column("plan_id", Text),
    Column("plan_base", BigInteger),
    Column("last_run_id", Text),
    Column("last_run_at", Double),
    Column("change_token", Text),
    Column("attempted_at", Double),
    Column("restored_at", Double),
    Column("title", Text),
    Column("origin", Text),
    Column("spec", Text),
    Column("members_key", Text),
    Column("members_generation", BigInteger),
    Column("members_serial", BigInteger),
    Column("members_rows", BigInteger),
    Column("members_sum", Text),
    Column("members_changed", BigInteger),
    Column("attempted_generation", BigInteger),
    Column("attempted_serial", BigInteger),
    PrimaryKeyConstraint("workspace", "segment_id"),
    UniqueConstraint("segment_key", name="reconcile_segments_key"),
    comment="One row per segment that was ever written to; change_token is drawn anew whenever the serial is raised; "
    "origin and spec name the spec that listed it last; members_* are the head of members at the source "
    "(generation 0: none written yet; null: they are here), attempted_* the highest numbers that may be there",
)

FORGOTTEN = Table(
    "reconcile_forgotten",
    METADATA,
    Column("workspace", Text, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    Column("token", Text, nullable=False),
    PrimaryKeyConstraint("workspace", "segment_id"),
    comment="Segments that were forgotten; the token is drawn anew each time, and sealed into plans of a first "
    "fill. The row without a workspace stands for all segments: the state was restored",
)

CREATIONS = Table(
    "reconcile_creations",
    METADATA,
    Column("workspace", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("asked_at", Double, nullable=False),
    Column("segment_id", BigInteger),
    PrimaryKeyConstraint("workspace", "title"),
    comment="Segments that Customer.io was asked to create; segment_id is its answer",
)

MEMBERS = Table(
    "reconcile_members",
    METADATA,
    Column("segment_key", BigInteger, nullable=False),
    Column("id", _ID, nullable=False),
    PrimaryKeyConstraint("segment_key", "id"),
    comment="Acknowledged members that left the journal",
    sqlite_with_rowid=False,
)

DROPPED = Table(
    "reconcile_dropped",
    METADATA,
    Column("segment_key", BigInteger, nullable=False),
    Column("id", _ID, nullable=False),
    PrimaryKeyConstraint("segment_key", "id"),
    comment="Ids that stand at the source and are no members, unless they are in reconcile_members",
    sqlite_with_rowid=False,
)

MARKS = Table(
    "reconcile_marks",
    METADATA,
    Column("segment_key", BigInteger, nullable=False),
    Column("id", _ID, nullable=False),
    Column("mark", Text, nullable=False),
    Column("direction", Text),
    Column("at", Double, nullable=False),
    PrimaryKeyConstraint("segment_key", "id", "mark"),
    comment="What is remembered of an id in addition to membership",
    sqlite_with_rowid=False,
)

BATCHES = Table(
    "reconcile_batches",
    METADATA,
    Column("seq", _KEY, primary_key=True, autoincrement=True),
    Column("segment_key", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("outcome", Text),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("at", Double, nullable=False),
    Column("unknown_at", Double),
    Column("number", Integer, nullable=False),
    Column("ids", Text, nullable=False),
    Column("reason", Text),
    Index("reconcile_batches_segment", "segment_key", "seq"),
    comment="The journal: intents and outcomes that are not compacted yet; ids are joined by line feeds",
    sqlite_autoincrement=True,
)

LOCKS = Table(
    "reconcile_locks",
    METADATA,
    Column("workspace", Text, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("host", Text),
    Column("boot_id", Text),
    Column("pid_namespace", Text),
    Column("pid", BigInteger),
    Column("started", Text),
    Column("run_id", Text),
    Column("command", Text),
    Column("acquired_at", Double),
    Column("heartbeat_at", Double),
    Column("expires_at", Double),
    Column("boot_expires_at", Double),
    Column("taken_over_at", Double),
    PrimaryKeyConstraint("workspace", "segment_id"),
    comment="Locks of segments; a row stays when its lock is released, so that the fence keeps rising",
)

RUNS = Table(
    "reconcile_runs",
    METADATA,
    Column("run_id", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("exit_code", Integer),
    Column("tool_version", Text, nullable=False),
    Column("allowed", Text, nullable=False),
    Column("plan_id", Text),
    Column("document", Text),
    Column("actor_user", Text),
    Column("actor_host", Text),
    Column("actor_commit", Text),
    Column("actor_job", Text),
    Column("reason", Text),
    Column("process", Text),
    PrimaryKeyConstraint("run_id", "workspace"),
    Index("reconcile_runs_started", "workspace", "started_at"),
    comment="The history; allowed is a JSON list of flags, document the JSON that the run printed, "
    "process the identity of its process in JSON",
)

RUN_SEGMENTS = Table(
    "reconcile_run_segments",
    METADATA,
    Column("run_id", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("removed", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("unsettled", BigInteger, nullable=False),
    Column("code", Text),
    Column("title", Text),
    Column("ended_at", Double),
    PrimaryKeyConstraint("run_id", "workspace", "segment_id"),
    Index("reconcile_run_segments_segment", "workspace", "segment_id", "ended_at"),
    comment="What a run did to each segment",
)

AUDIT = Table(
    "reconcile_audit",
    METADATA,
    Column("audit_key", _KEY, primary_key=True, autoincrement=True),
    Column("workspace", Text, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("id_type", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("first_id", _ID, nullable=False),
    Column("last_id", _ID, nullable=False),
    Column("ids", LargeBinary, nullable=False),
    Column("pending_key", BigInteger),
    Index("reconcile_audit_segment", "workspace", "segment_id", "first_id", "last_id"),
    Index("reconcile_audit_run", "workspace", "run_id", "segment_id"),
    Index("reconcile_audit_at", "workspace", "at"),
    Index(
        "reconcile_audit_pending",
        "pending_key",
        sqlite_where=text("pending_key IS NOT NULL"),
        postgresql_where=text("pending_key IS NOT NULL"),
    ),
    comment="The audit log; ids are sorted, joined by line feeds, compressed; a pending row does not count yet",
    sqlite_autoincrement=True,
)

PLANS = Table(
    "reconcile_plans",
    METADATA,
    Column("plan_id", Text, primary_key=True),
    Column("spent_at", Double, nullable=False),
    comment="Plan files that were applied to their end",
)

PLAN_LINES = Table(
    "reconcile_plan_lines",
    METADATA,
    Column("plan_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("line", LargeBinary, nullable=False),
    PrimaryKeyConstraint("plan_id", "number"),
    comment="Sealed plans, line by line as a plan file has them; a plan goes when it is spent or has expired",
)
