"""States as earlier versions left them: dumps of SQLite; for PostgreSQL their rows, after the migration of that time.

`first_edition` (schema 0001): members, marks, the journal and the lock of a run that died, a history.
`second_schema` (0002): the same, a segment whose state was restored, a spent plan, two more workspaces; `prod` and
`production` stand for one environment.
`third_schema` (0003): the same, with the title and the spec of a segment, and the note of one that was created.
`fourth_schema` (0004): the same, with who made a run and why, and one row of the audit log.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection

from reconciler.state import schema

_FOLDER = Path(__file__).resolve().parents[1] / "unit/state"
_SCHEMAS = {"first_edition": "0001", "second_schema": "0002", "third_schema": "0003", "fourth_schema": "0004"}


def make_old_state(url: str, name: str) -> None:
    """Make a state of an earlier version where there is nothing yet."""
    dump = (_FOLDER / f"{name}.sql").read_text()
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        file.parent.mkdir()
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(dump)
        return
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).begin() as connection:
        migrate(connection, _SCHEMAS[name])
        for statement in dump.split(";\n"):
            if statement.startswith('INSERT INTO "reconcile_') and "reconcile_version" not in statement:
                connection.exec_driver_sql(re.sub(r"\bX'([0-9A-F]*)'", r"'\\x\1'", statement))
        counters = {"reconcile_batches": "seq", "reconcile_keys": "segment_key", "reconcile_audit": "audit_key"}
        for table, column in counters.items():
            if not sqlalchemy.inspect(connection).has_table(table):
                continue
            counter = f"pg_get_serial_sequence('{table}', '{column}')"
            connection.exec_driver_sql(f"SELECT setval({counter}, (SELECT max({column}) FROM {table}))")


def migrate(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to one of them."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.locate_migrations()))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
