"""Which schema a state has, and making one. Alembic is imported by an upgrade alone."""

from collections.abc import Collection
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import StateError
from reconciler.state.location import Address, SqliteAddress

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISION = "0002"
"""The schema that this version of the tool reads and writes; migrations carry the same names."""

VERSION_TABLE = "reconcile_version"


_MOVED = "moved to "
"""How the version of a state begins that was copied to another place: no tool, older or newer, works with it."""


class Schema(Enum):
    """What a database holds. An older schema must be upgraded first."""

    NONE = "none"
    CURRENT = "current"
    OLDER = "older"


def look(connection: "Connection", address: Address) -> Schema:
    """Tell which schema there is. Raises StateError for one of a newer tool, and for a file of something else."""
    from sqlalchemy import inspect

    return judge(inspect(connection).get_table_names(), read_version(connection), address)


def judge(tables: Collection[str], version: str, address: Address) -> Schema:
    """As `look`; `version` is what the table of versions says, empty where there is none."""
    if VERSION_TABLE not in tables and tables and isinstance(address, SqliteAddress):
        raise StateError(
            f"this file is not a state: it holds other tables ({address})",
            "check `state.url`; give it its own file",
        )
    if not version:
        return Schema.NONE
    refuse_moved(version, address)
    if version > REVISION:
        raise StateError(
            f"the state has schema {version}, and this version of reconcile knows schema {REVISION} ({address})",
            "use the newer version of reconcile that made it",
        )
    return Schema.CURRENT if version == REVISION else Schema.OLDER


def refuse_moved(version: str, address: Address) -> None:
    """Raise StateError if `version` says that the state is somewhere else now."""
    if version.startswith(_MOVED):
        raise StateError(
            f"the state has moved to {version.removeprefix(_MOVED)} ({address})", "set `state.url` to where it is now"
        )


def read_version(connection: "Connection") -> str:
    """The schema's name; empty where there is none."""
    from sqlalchemy import inspect

    return select_version(connection) if inspect(connection).has_table(VERSION_TABLE) else ""


def select_version(connection: "Connection") -> str:
    """As `read_version`, where there is a state."""
    return str(connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() or "")


def is_there(connection: "Connection", address: Address) -> bool:
    """Tell whether there is a state that can be used. Raises StateError for an older or newer one."""
    return is_usable(look(connection, address), address)


def is_usable(schema: Schema, address: Address) -> bool:
    """As `is_there`."""
    if schema is Schema.OLDER:
        raise StateError(
            f"the state has an older schema than {REVISION} ({address})",
            "run `reconcile state upgrade SPEC`; it makes a backup first",
        )
    return schema is Schema.CURRENT


def create(connection: "Connection") -> None:
    """Make all tables, in one transaction. The migrations lead to the same, and a test says so."""
    from sqlalchemy import text

    from reconciler.state.tables import METADATA

    METADATA.create_all(connection)
    kind = "TEXT" if connection.dialect.name == "postgresql" else "VARCHAR(32)"  # as the migrations leave it
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num {kind} NOT NULL, "
            f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:revision)"), {"revision": REVISION})


def close(connection: "Connection", moved_to: str) -> None:
    """Leave word where the state is now; whoever opens it here is told, and refused."""
    from sqlalchemy import text

    statement = text(f"UPDATE {VERSION_TABLE} SET version_num = :version")
    connection.execute(statement, {"version": f"{_MOVED}{moved_to}"})


def missing(address: Address) -> StateError:
    """The error for a state that must exist and doesn't."""
    return StateError(
        f"there is no state ({address})",
        "check `state.url`, or restore the state from a backup; to begin a new one, run `reconcile refresh` once "
        "with `must_exist: false` in the spec",
    )


def locate_migrations() -> Path:
    """Find the migrations: inside the wheel, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"
