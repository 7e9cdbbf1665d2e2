"""Which schema a state has, whether this version of the tool can use it, and bringing an older one up to date."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import StateError
from reconciler.state.location import Address, SqliteAddress

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISION = "0007"
"""The schema that this version of the tool reads and writes; migrations carry the same names."""

VERSION_TABLE = "reconcile_version"

MOVED = "moved to "
"""How the version of a state begins that was copied to another place: no tool, older or newer, works with it."""


def check(tables: Collection[str], version: str, address: Address) -> None:
    """Check the tables of a database and the version of its schema, empty where there is none.

    Raises StateError for one of a newer tool, one that was moved away, and a file of something else.
    """
    if VERSION_TABLE not in tables and tables and isinstance(address, SqliteAddress):
        raise StateError(
            f"this file is not a state: it holds other tables ({address})", "check `state.url`; give it its own file"
        )
    refuse_moved(version, address)
    if version > REVISION:
        raise StateError(
            f"the state has schema {version}, and this version of reconcile knows schema {REVISION} ({address})",
            "use the newer version of reconcile that made it",
        )


def refuse_moved(version: str, address: Address) -> None:
    """Raise StateError if `version` records that the state was moved."""
    if version.startswith(MOVED):
        raise StateError(
            f"the state has moved to {version.removeprefix(MOVED)} ({address})", "set `state.url` to where it is now"
        )


def select_version(connection: "Connection") -> str:
    """Read the version of the schema, where there is a state."""
    return str(connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() or "")


def is_usable(version: str, address: Address) -> bool:
    """Tell whether a version that passed `check` can be used; there may be none. Raises StateError for an older one."""
    if version not in ("", REVISION):
        raise StateError(
            f"the state has an older schema than {REVISION} ({address})",
            "run `reconcile state upgrade SPEC`; it makes a backup first",
        )
    return version != ""


def missing(address: Address) -> StateError:
    """The error for a state that must exist and doesn't."""
    return StateError(
        f"there is no state ({address})",
        "check `state.url`, or restore the state from a backup; to begin a new one, run `reconcile refresh` once "
        "with `must_exist: false` in the spec",
    )


def migrate(connection: "Connection") -> None:
    """Bring the tables up to date."""
    from alembic import command  # slow to import, and only an upgrade needs it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(locate_migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def locate_migrations() -> Path:
    """Find the migrations: inside the wheel, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"
