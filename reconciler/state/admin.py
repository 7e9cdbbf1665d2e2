"""Mending a state: forgetting a segment, breaking a lock, backups, upgrades, moving house."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, text

from reconciler.core.spec import Secret, StateSettings
from reconciler.errors import LockHeld, StateError
from reconciler.state import schema
from reconciler.state.address import Address, SqliteAddress, parse
from reconciler.state.adopting import sweep
from reconciler.state.copying import copy_tables, is_empty
from reconciler.state.database import Database, run
from reconciler.state.failures import explained
from reconciler.state.file import is_missing, make_file, reading_uri
from reconciler.state.ledger import Surroundings
from reconciler.state.lock import LockSmith, Place, find_row, read_holder
from reconciler.state.machine import Machine, SystemClock, this_machine
from reconciler.state.opening import open_database, open_reader, open_unchecked


def here() -> Surroundings:
    """This machine as it is."""
    return Surroundings(SystemClock(), this_machine())


def forget(
    settings: StateSettings,
    workspace: str,
    segment_id: int,
    *,
    lock_timeout: float = 0.0,
    surroundings: Surroundings | None = None,
) -> bool:
    """Drop all that the state knows of a segment, under its lock; tells whether it knew anything.

    Nothing is removed at Customer.io. Raises LockHeld, StateError.
    """
    around = surroundings or here()
    place = Place(workspace, segment_id, f"id:{segment_id}")
    with open_database(settings, around.clock, creates=False) as database:
        smith = LockSmith(database, around.clock, around.machine, lock_timeout)
        lock = smith.take(place, uuid.uuid4().hex, "state forget", 0)
        try:

            @contextmanager
            def write() -> Iterator[Connection]:
                with database.write() as connection:
                    lock.check(connection)
                    yield connection

            with write() as connection:
                known = run(
                    connection,
                    "DELETE FROM reconcile_segments WHERE workspace = :workspace AND segment_id = :segment_id",
                    **place.values(),
                )
            with around.pulse(lock.renew, lock.pulse_seconds):
                sweep(write, place)
        finally:
            lock.release()
    return known > 0


def unlock(
    settings: StateSettings, workspace: str, segment_id: int, *, surroundings: Surroundings | None = None
) -> str | None:
    """Break a segment's lock, whoever has it; says who had it. Its holder can write no more. Raises StateError."""
    around = surroundings or here()
    place = Place(workspace, segment_id, f"id:{segment_id}")
    with open_database(settings, around.clock, creates=False) as database, database.write() as connection:
        holder = read_holder(find_row(connection, place, database.lock_row()))
        if holder is None:
            return None
        run(
            connection,
            "UPDATE reconcile_locks SET fence = fence + 1, host = NULL, boot_id = NULL, pid_namespace = NULL, "
            "pid = NULL, started = NULL, run_id = NULL, command = NULL, acquired_at = NULL, heartbeat_at = NULL, "
            "expires_at = NULL WHERE workspace = :workspace AND segment_id = :segment_id",
            **place.values(),
        )
        return holder.describe(database.now(connection))


# --- backups -----------------------------------------------------------------------------------------------------


def backup(settings: StateSettings, path: Path) -> None:
    """Copy a state, as it is at one moment, into a new SQLite file of mode 0600. Raises StateError."""
    if path.exists():
        raise StateError(f"{path} is there already", "name a file that does not exist yet")
    address = parse(settings.url)
    if isinstance(address, SqliteAddress):
        if is_missing(address.path):
            raise schema.missing(address)
        _copy_file(address, path)
    else:
        _copy_into(settings, StateSettings(Secret(f"sqlite:///{path}")), here())


def _copy_file(address: SqliteAddress, path: Path) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with explained(SqliteAddress(path)):
        partial.unlink(missing_ok=True)
        try:
            make_file(partial)
            with (
                closing(sqlite3.connect(reading_uri(address.path), uri=True)) as source,
                closing(sqlite3.connect(partial)) as copy,
            ):
                source.backup(copy)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


# --- upgrades ----------------------------------------------------------------------------------------------------


def upgrade(settings: StateSettings, *, surroundings: Surroundings | None = None) -> Path | None:
    """Bring an older schema up to date; a SQLite file is copied beside itself first, and the copy's path returned.

    None: nothing was copied, as the schema is up to date, or as the server has backups of its own. Refuses while a
    lock lives. Raises StateError, LockHeld.
    """
    around = surroundings or here()
    address = parse(settings.url)
    found, version = open_reader(settings, around.clock).find_schema()
    if found is schema.Schema.NONE:
        raise schema.missing(address)
    if found is schema.Schema.CURRENT:
        return None
    with open_unchecked(settings, around.clock) as database:
        copy = _copy_beside(address, version) if isinstance(address, SqliteAddress) else None
        with database.creating() as connection:
            database.bar_locks(connection)
            refuse_live_locks(database, connection, around.machine)
            _migrate(connection)
    return copy


def _copy_beside(address: SqliteAddress, version: str) -> Path:
    stem = f"{address.path.name}.schema-{version}"
    copy = address.path.with_name(stem)
    number = 1
    while copy.exists():
        number += 1
        copy = address.path.with_name(f"{stem}-{number}")
    _copy_file(address, copy)
    return copy


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.locate_migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def refuse_live_locks(database: Database, connection: Connection, machine: Machine) -> None:
    """Raise LockHeld if somebody works with this state."""
    now = database.now(connection)
    for row in connection.execute(text("SELECT * FROM reconcile_locks WHERE pid IS NOT NULL")):
        holder = read_holder(row)
        if holder is not None and not holder.is_gone(now, machine):
            words = holder.describe(now)
            raise LockHeld(
                f"the state is in use: {row.workspace}/id:{row.segment_id} is locked by {words}",
                "wait for that run, or, if it is surely dead, `reconcile state unlock SPEC NAME`",
                holder=words,
            )


# --- moving house ------------------------------------------------------------------------------------------------


def copy_to(settings: StateSettings, to: Secret, *, surroundings: Surroundings | None = None) -> None:
    """Copy a whole state, lineage and all but locks, into another database that holds none.

    Refuses while a lock lives. Raises StateError, LockHeld.
    """
    around = surroundings or here()
    if _is_same(parse(settings.url), parse(to)):
        raise StateError("the copy would go to where the state already is", "name another URL in `--to`")
    _copy_into(settings, StateSettings(to), around, refuses_locks=True)


def _is_same(one: Address, other: Address) -> bool:
    if isinstance(one, SqliteAddress) and isinstance(other, SqliteAddress):
        return one.path.resolve() == other.path.resolve()
    return one == other


def _copy_into(
    settings: StateSettings, to: StateSettings, around: Surroundings, *, refuses_locks: bool = False
) -> None:
    with (
        open_database(settings, around.clock, creates=False) as source,
        open_database(to, around.clock) as target,
        source.write() as reading,
        target.write() as writing,
    ):
        source.freeze(reading)
        source.bar_locks(reading)
        if refuses_locks:
            refuse_live_locks(source, reading, around.machine)
        if not is_empty(writing):
            raise StateError(
                f"there is a state already ({target.address})", "name a database that holds no state in `--to`"
            )
        copy_tables(reading, target, writing)
