"""Administration of a state: forgetting a segment, breaking a lock, backups, upgrades, moves."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import chain, count, zip_longest
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select

from reconciler.clock import Clock
from reconciler.errors import LockHeld, StateError, UsageError
from reconciler.files import OutputFile
from reconciler.models.fields import Secret
from reconciler.models.spec import StateSettings
from reconciler.state import open_address, open_database, open_reader, plans, schema
from reconciler.state.database import Backend, Database, Reader, execute, find_segment, run
from reconciler.state.failures import explained
from reconciler.state.location import Address, SqliteAddress, is_empty_database, make_file, parse, reading_uri
from reconciler.state.lock import SegmentRef, break_locks, delete_segment, find_row, read_holder
from reconciler.state.members import sweep
from reconciler.state.runtime import THIS_MACHINE, Runtime
from reconciler.state.store import StateStore
from reconciler.state.tables import LOCKS, METADATA, PLAN_LINES

_NAME_FREE = "name a database that holds no state in `--to`"


def forget(
    settings: StateSettings,
    workspace: str,
    segment_id: int,
    *,
    lock_timeout: float = 0.0,
    runtime: Runtime = THIS_MACHINE,
    drop: Callable[[str], None] = lambda _: None,
) -> bool:
    """Drop all that the state knows of a segment, under its lock, and tell whether it knew anything.

    `drop` is told the key of members at a source, which go first: what is left without them names `refresh`.
    Nothing is removed at Customer.io. Raises LockHeld, StateError.
    """
    segment = SegmentRef(workspace, segment_id, f"id:{segment_id}")
    with open_database(settings, runtime.clock, creates=False) as database:
        store = StateStore(database, runtime, lock_timeout, settings=settings)
        with store.hold(segment, "state forget") as (lock, locked):
            locked.recover()
            locked.compact()  # what a dead run was acknowledged is in the audit log then
            with database.read() as connection:
                row = find_segment(connection, workspace, segment_id)
            if row is not None and row.members_generation is not None and row.members_key:
                drop(row.members_key)
            with lock.write() as connection:
                plans.drop_expired(connection, database.now(connection))
                known = delete_segment(connection, segment)
            sweep(lock.write, segment)
    return known > 0


@dataclass(frozen=True)
class FoundLock:
    """A lock that is held: by which run, why that counts as alive (empty: it does not), and the fence of the lock."""

    holder: str
    life: str
    fence: int


def find_lock(
    settings: StateSettings, workspace: str, segment_id: int, *, runtime: Runtime = THIS_MACHINE
) -> FoundLock | None:
    """Find the lock of a segment; None: it is free. Raises StateError."""
    reader = open_reader(settings.model_copy(update={"must_exist": True}), runtime.clock)
    with reader.read() as connection:
        assert connection is not None
        row = find_row(connection, SegmentRef(workspace, segment_id, ""))
        holder = read_holder(row)
        if row is None or holder is None:
            return None
        now = reader.now(connection)
        life = holder.describe_life(now, runtime.clock.boot(), runtime.processes)
        return FoundLock(holder.describe(now), life, row.fence)


def unlock(
    settings: StateSettings,
    workspace: str,
    segment_id: int,
    *,
    found: FoundLock | None = None,
    runtime: Runtime = THIS_MACHINE,
) -> str | None:
    """Break a segment's lock and describe its holder, which can write no more; None: it had none.

    Raises StateError, also where the lock is not the one that was `found` any more.
    """
    segment = SegmentRef(workspace, segment_id, f"id:{segment_id}")
    with open_database(settings, runtime.clock, creates=False) as database, database.write() as connection:
        row = find_row(connection, segment, database.row_lock)
        holder = read_holder(row)
        if row is None or holder is None:
            return None
        now = database.now(connection)
        if found is not None and row.fence != found.fence:
            raise StateError(
                f"another run has taken the lock meanwhile, and keeps it: {holder.describe(now)}",
                "run it again to decide about that one",
                code="holder_alive",
            )
        break_locks(connection, now, segment)
        plans.drop_expired(connection, now)
        return holder.describe(now)


# --- backups -----------------------------------------------------------------------------------------------------


def name_backup(settings: StateSettings, made_at: datetime) -> str:
    """Name a file for a backup, next to the state. Raises UsageError for a state in a server, StateError for none."""
    address = parse(settings.url)
    if not isinstance(address, SqliteAddress):
        raise UsageError(
            f"the state is no file that a backup could stand next to ({address})",
            "name a file with `--to FILE`, or use the database's own tools (pg_dump, or your provider's backups)",
        )
    if not address.path.parent.is_dir():
        raise schema.missing(address)
    return str(address.path.with_name(f"reconcile-state-{made_at:%Y%m%dT%H%M%SZ}.db"))


def backup(settings: StateSettings, to: str) -> None:
    """Copy a state, as it is at one moment, into a SQLite file of mode 0600; only an empty one is replaced.

    Raises UsageError, with nothing changed, where the file may not be written; StateError, ReconcileError.
    """
    output = OutputFile(to, "--to", "backup", is_empty_database, "state", "empty file or database")
    output.check()
    address = parse(settings.url)
    if isinstance(address, SqliteAddress) and not open_reader(settings, Clock()).find_schema():
        raise schema.missing(address)
    with output.explained(), output.replaced() as draft:
        if isinstance(address, SqliteAddress):
            copy_file(address, draft)
        else:
            clock = Clock()
            with open_database(settings, clock, creates=False) as source, source.read() as reading:
                _copy_rows(reading, SqliteAddress(draft), clock)


def list_copies(address: Address) -> list[Path]:
    """List the copies of a state in a file that `backup`, `upgrade` and `restore` left next to it."""
    if not isinstance(address, SqliteAddress):
        return []
    patterns = ("reconcile-state-*.db", f"{address.path.name}.schema-*", f"{address.path.name}.damaged-*")
    folder = address.path.parent
    return sorted(path for path in folder.iterdir() if any(fnmatchcase(path.name, each) for each in patterns))


def copy_file(address: SqliteAddress, path: Path) -> None:
    """Copy a state into an empty file. Raises StateError."""
    with explained(address), closing(sqlite3.connect(reading_uri(address.path), uri=True)) as source:
        source.execute("SELECT count(*) FROM sqlite_schema")
        with explained(SqliteAddress(path)), closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # else reading it would leave a -wal and a -shm next to it


# --- upgrades ----------------------------------------------------------------------------------------------------


def upgrade(settings: StateSettings, *, runtime: Runtime = THIS_MACHINE) -> Path | None:
    """Bring an older schema up to date; a SQLite file is copied first. Give the copy's path.

    None: nothing was copied, as the schema is up to date, or as the server has backups of its own. Refuses while a
    lock lives. Raises StateError, LockHeld.
    """
    address = parse(settings.url)
    version = open_reader(settings, runtime.clock).find_schema()
    if not version:
        raise schema.missing(address)
    if version == schema.REVISION:
        return None
    with open_address(address, runtime.clock) as database:
        copy = _copy_to_new_name(address, version) if isinstance(address, SqliteAddress) else None
        with database.creating() as connection:
            refuse_live_locks(database, connection, runtime)
            schema.migrate(connection)
    return copy


def _copy_to_new_name(address: SqliteAddress, version: str) -> Path:
    stem = f"{address.path.name}.schema-{version}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    copy = next(path for path in map(address.path.with_name, names) if not path.exists())
    partial = copy.with_name(f"{copy.name}.partial")
    with explained(SqliteAddress(copy)):
        partial.unlink(missing_ok=True)  # what a killed upgrade left
        try:
            make_file(partial)
            copy_file(address, partial)
            partial.rename(copy)
        finally:
            partial.unlink(missing_ok=True)
    return copy


_LIVE_LOCKS = """
SELECT l.*, s.name FROM reconcile_locks l
LEFT JOIN reconcile_segments s ON s.workspace = l.workspace AND s.segment_id = l.segment_id
WHERE l.pid IS NOT NULL
"""


def keep_others_out(connection: Connection) -> None:
    """Let no process take a lock, or write under one, until this transaction ends; a file has one writer anyway."""
    if connection.dialect.name == "postgresql":
        run(connection, "LOCK TABLE reconcile_locks IN EXCLUSIVE MODE")


def refuse_live_locks(
    database: Backend,
    connection: Connection,
    runtime: Runtime,
    concerns: Callable[[str, int], bool] = lambda _workspace, _segment_id: True,
) -> None:
    """Raise LockHeld if a living process holds a lock of this state; on a server, none takes one from now on.

    `concerns`: tells of the workspace and the number of a segment whether its lock matters.
    """
    keep_others_out(connection)
    now = database.now(connection)
    for row in execute(connection, _LIVE_LOCKS):
        holder = read_holder(row) if concerns(row.workspace, row.segment_id) else None
        if holder is not None and not holder.is_gone(now, runtime.clock.boot(), runtime.processes):
            words = holder.describe(now)
            raise LockHeld(
                f"the state is in use: {row.workspace}/{row.name or row.segment_id} is locked by {words}",
                f"wait for that run, or, if it is surely dead, `reconcile state unlock SPEC id:{row.segment_id}` "
                "with `--force`",
                holder=words,
            )


# --- moves -------------------------------------------------------------------------------------------------------


def copy_to(settings: StateSettings, to: Secret, *, runtime: Runtime = THIS_MACHINE) -> None:
    """Move a whole state, lineage and all but locks, into another database that holds none.

    The old place is closed once the copy is there: every later use of it is refused, with the new place named. Cut
    short before that, the same command finds its copy and closes the old place. Refuses while a lock lives.

    Raises UsageError, with nothing changed, where there is something already; StateError, LockHeld.
    """
    origin, target = parse(settings.url), parse(to)
    if _identify(origin) == _identify(target):
        raise UsageError("the copy would go to where the state already is", "name another URL in `--to`")
    open_reader(settings, runtime.clock).find_schema()  # one that has moved already is no fault of `--to`
    _refuse_taken(settings, target, open_reader(StateSettings(url=to), runtime.clock), runtime.clock)
    with open_database(settings, runtime.clock, creates=False) as source, source.write() as reading:
        refuse_live_locks(source, reading, runtime)
        _copy_rows(reading, target, runtime.clock)
        break_locks(reading, source.now(reading))  # a holder that is suspended now has no lock when it goes on
        moved = f"{schema.MOVED}{target}"
        run(reading, f"UPDATE {schema.VERSION_TABLE} SET version_num = :version", version=moved)


def _identify(address: Address) -> object:
    """Give what is equal for two ways to name one place."""
    return address.path.resolve() if isinstance(address, SqliteAddress) else address


def _refuse_taken(settings: StateSettings, target: Address, reader: Reader, clock: Clock) -> None:
    """Raise UsageError unless a place is free: nothing, an empty file, or a database without a state.

    A copy of this very state may be there, too: of a move that was cut short. A PostgreSQL may hold other tables, a
    SQLite file may not.
    """
    try:
        with _naming_to():
            if reader.find_schema() not in ("", schema.REVISION):
                raise _there_is_a_state(target)
            with reader.read() as there:
                if there is not None and not is_empty(there):
                    with open_reader(settings, clock).read() as connection:
                        if connection is None or not is_same(connection, there):
                            raise _there_is_a_state(target)
    except StateError as error:
        if isinstance(target, SqliteAddress):
            raise UsageError(f"{error.message}; nothing was changed", _NAME_FREE) from None
        raise


@contextmanager
def _naming_to() -> Iterator[None]:
    """Tell an error of the place that a state is copied to with the flag that names it, and not with `state.url`."""
    try:
        yield
    except StateError as error:
        error.message = f"--to: {error.message}".replace("`state.url`", "`--to`")
        error.hint = error.hint.replace("`state.url`", "`--to`")
        raise


def _copy_rows(reading: Connection, to: Address, clock: Clock) -> None:
    with ExitStack() as stack:
        with _naming_to():
            target = stack.enter_context(open_address(to, clock))
            target.make_tables()
            writing = stack.enter_context(target.write())
        made = is_empty(writing)
        if made:
            copy_tables(reading, target, writing)
        if is_same(reading, writing):
            return
        if not made:
            raise _there_is_a_state(to)
        raise StateError(f"the copy differs from the state ({to})", "nothing was changed; run it again")


def _there_is_a_state(address: Address) -> UsageError:
    return UsageError(f"there is a state already ({address})", _NAME_FREE)


# --- rows --------------------------------------------------------------------------------------------------------

_ROWS_PER_BLOCK = 10_000
_LINES_PER_BLOCK = 50
"""Of a table of which each row has up to 1,000 ids."""

COPIED: Sequence[Table] = [table for table in METADATA.sorted_tables if table is not LOCKS]
"""All but the locks: they are about processes that work with the old place."""


def is_empty(connection: Connection) -> bool:
    """Tell whether a state has nothing in it."""
    return all(connection.execute(select(table).limit(1)).first() is None for table in COPIED)


def copy_tables(source: Connection, target: Database, writing: Connection) -> None:
    """Copy every row, sorted as it is stored."""
    for table in COPIED:
        for rows in _read_blocks(source, table, select(table).order_by(*table.primary_key.columns)):
            target.load(writing, table, rows)


def is_same(one: Connection, other: Connection) -> bool:
    """Tell whether two states hold the same, but for their locks.

    Sums of hashes are compared, as two databases may sort differently; block by block, so that no connection idles.
    """
    for table in COPIED:
        digest, statement = 0, select(table)
        blocks = (_read_blocks(each, table, statement) for each in (one, other))
        for rows, others in zip_longest(*blocks, fillvalue=()):
            if len(rows) != len(others):
                return False
            digest += sum(map(hash, map(tuple, rows))) - sum(map(hash, map(tuple, others)))
        if digest != 0:
            return False
    return True


def _read_blocks(connection: Connection, table: Table, statement: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    number = _LINES_PER_BLOCK if table is PLAN_LINES else _ROWS_PER_BLOCK
    return connection.execute(statement, execution_options={"yield_per": number}).partitions(number)
