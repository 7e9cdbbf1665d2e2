"""Putting a backup in the place of a state in a SQLite file.

The backup is prepared as a file of its own. The old state is then brought into one file and locked, and a rename puts
the new one in its place: killed at any moment, one of the two is there whole. SQLite plays a -wal or a -journal into
any database that has its name, so none may be left.
"""

import os
import shutil
import sqlite3
import tempfile
import uuid
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import StateError, UsageError
from reconciler.files import NotPlain, check_plain, sync_folder
from reconciler.models.results import SegmentRecord
from reconciler.models.spec import StateSettings
from reconciler.state import open_address, schema
from reconciler.state.admin import copy_file, refuse_live_locks
from reconciler.state.database import execute, find_schema, run
from reconciler.state.failures import explained, is_damage
from reconciler.state.history import Records
from reconciler.state.location import SqliteAddress, folder_lock, is_missing, make_folder, make_uri, parse, side_files
from reconciler.state.lock import ALL_SEGMENTS, break_locks, mark_forgotten
from reconciler.state.runtime import THIS_MACHINE, Processes, Runtime
from reconciler.state.sqlite import SqliteReader

_OWN_TOOLS = (
    "restore the PostgreSQL database with its own tools (pg_dump, pg_restore, or your provider's backups) while "
    "nothing runs, then run `reconcile refresh SPEC`"
)


@dataclass(frozen=True)
class Contents:
    """What a state holds."""

    segments: int
    members: int

    def __str__(self) -> str:
        return f"{self.segments:,} segment{'s' * (self.segments != 1)}, {self.members:,} stored members"


@dataclass(frozen=True)
class Restored:
    """What was done. `aside`: the copy of the old state, if that could not be read."""

    contents: Contents
    aside: Path | None = None


def find_target(settings: StateSettings, file: Path) -> SqliteAddress:
    """The state that `file` is to replace. Raises UsageError where that can't be."""
    address = parse(settings.url)
    if not isinstance(address, SqliteAddress):
        raise UsageError("`state restore` is for a state in a SQLite file", _OWN_TOOLS)
    try:
        check_plain(file)
    except NotPlain as error:
        raise UsageError(f"{file} is {error.kind}, not a backup", "name a file that `state backup` made") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", "name a file that `state backup` made") from None
    if os.path.realpath(file) == os.path.realpath(address.path):
        raise UsageError(f"{file} is the state itself", "name a file that `state backup` made")
    return address


def list_segments(address: SqliteAddress) -> list[SegmentRecord] | None:
    """List what is there; None: it can't be read, or its schema is older. Raises StateError for anything else."""
    reader = SqliteReader(address, Clock(), must_exist=False)
    try:
        if reader.find_schema() not in ("", schema.REVISION):
            return None
        return Records(reader, Clock(), Processes()).segments()
    except StateError as error:
        if is_damage(error.__cause__):
            return None
        raise


def restore(settings: StateSettings, file: Path, *, runtime: Runtime = THIS_MACHINE) -> Restored:
    """Put a backup in the place of the state. Plan files that were made before are stale then.

    Refuses while a run is alive, and where the file is no state. Raises UsageError, LockHeld, StateError.
    """
    address = find_target(settings, file)
    path = Path(os.path.realpath(address.path))
    with ExitStack() as stack:
        with explained(address):
            make_folder(path)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:61]}.")
            os.close(handle)
        draft = Path(name)
        for left in (draft, *side_files(draft)):
            stack.callback(left.unlink, missing_ok=True)
        contents = _prepare(file, draft, runtime)
        with explained(address), folder_lock(path):
            return Restored(contents, _replace(address, path, draft, runtime))


# --- the new state -----------------------------------------------------------------------------------------------


def _prepare(file: Path, draft: Path, runtime: Runtime) -> Contents:
    """Copy the backup, verify the copy, and make it a state that knows where it comes from."""
    backup = SqliteAddress(file)
    copy_file(backup, draft)
    with explained(backup), closing(sqlite3.connect(draft)) as connection:
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise StateError(f"the backup is damaged ({backup})", "take another one; nothing was changed")
    with open_address(SqliteAddress(draft), runtime.clock) as database:
        with database.read() as connection:
            version = find_schema(connection, backup)
        if not version:
            raise StateError(f"the backup holds no state ({backup})", "take another one; nothing was changed")
        with database.creating() as connection:
            if version != schema.REVISION:
                schema.migrate(connection)
            now = database.now(connection)
            break_locks(connection, now)
            # A new token for each segment: no plan file of the history that is lost, or of before, fits any more.
            statement = (
                "UPDATE reconcile_segments SET change_token = :token, plan_id = NULL, plan_base = NULL, "
                "restored_at = :now WHERE workspace = :workspace AND segment_id = :segment_id"
            )
            segments = execute(connection, "SELECT workspace, segment_id FROM reconcile_segments").mappings()
            for segment in segments.all():
                run(connection, statement, token=uuid.uuid4().hex, now=now, **segment)
            mark_forgotten(connection, ALL_SEGMENTS)  # nor one of a segment that the backup does not know
            run(connection, "DELETE FROM reconcile_plan_lines")
            count = (
                "SELECT (SELECT count(*) FROM reconcile_segments), (SELECT count(*) FROM reconcile_members) "
                "+ (SELECT coalesce(sum(members_rows), 0) FROM reconcile_segments)"
                "- (SELECT count(*) FROM reconcile_dropped)"
            )
            contents = Contents(*execute(connection, count).one())
    with draft.open("rb") as copy:
        os.fsync(copy.fileno())
    return contents


# --- replacing the old state -------------------------------------------------------------------------------------


def _replace(address: SqliteAddress, path: Path, draft: Path, runtime: Runtime) -> Path | None:
    """Put the draft in the place of the old state; give the copy of an old state that could not be read."""
    aside = None
    try:
        if is_missing(path):
            _keep_damaged(path)
            draft.replace(path)
        else:
            reader = SqliteReader(address, runtime.clock, must_exist=False)
            if reader.find_schema() == schema.REVISION:  # raises StateError for a file that is no state
                with reader.read() as connection:
                    if connection is not None:
                        refuse_live_locks(reader, connection, runtime)
            uri = make_uri(path, "mode=rw")
            with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as old:
                # All of the database is brought into its one file, which is locked; sqlite3.Error: it is in use.
                if old.execute("PRAGMA journal_mode=DELETE").fetchone() != ("delete",):
                    raise StateError(f"the state is open in another process ({path})", "wait for it, and run it again")
                old.execute("BEGIN EXCLUSIVE")
                draft.replace(path)
    except (StateError, sqlite3.Error) as error:
        if not is_damage(error.__cause__ if isinstance(error, StateError) else error):
            raise
        aside = _keep_damaged(path)
        draft.replace(path)
    sync_folder(path.parent)
    return aside


def _keep_damaged(path: Path) -> Path | None:
    """Copy what is there to other names, and leave no file that SQLite would play into the database."""
    name = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    copied = None
    for file in (path, *side_files(path)):
        if file.exists() and file.stat().st_size > 0:
            copied = path.with_name(name)
            shutil.copy2(file, path.with_name(name + file.name.removeprefix(path.name)))
    for file in side_files(path):
        file.unlink(missing_ok=True)
    return copied
