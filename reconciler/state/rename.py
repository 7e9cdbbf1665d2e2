"""Renaming a workspace: in one transaction, every row that has the old name gets the new one.

Where both names stand for one environment of Customer.io, which the first edition allowed, they become one.
"""

from collections.abc import Iterable

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from reconciler.errors import LockHeld, StateError, UsageError
from reconciler.models.fields import WorkspaceName
from reconciler.models.spec import StateSettings
from reconciler.state import open_database, plans
from reconciler.state.admin import refuse_live_locks
from reconciler.state.database import Database, execute, find_environments, run
from reconciler.state.lock import move_locks
from reconciler.state.runtime import THIS_MACHINE, Runtime
from reconciler.state.schema import refuse_moved, select_version
from reconciler.state.store import POLL_SECONDS
from reconciler.state.tables import LOCKS, METADATA

_NUMBERS_SHOWN = 10

_OF_WORKSPACE = "SELECT segment_id FROM reconcile_segments WHERE workspace = :workspace ORDER BY segment_id"

_DROP_EARLIER_CREATIONS = """
DELETE FROM reconcile_creations WHERE workspace = :new AND EXISTS (
    SELECT 1 FROM reconcile_creations o
    WHERE o.workspace = :old AND o.title = reconcile_creations.title AND o.asked_at > reconcile_creations.asked_at
)"""
"""Of two notes about one title the later one counts: the next run waits from then before it lists the segments."""


def rename(
    settings: StateSettings, old: str, new: str, *, lock_timeout: float = 0.0, runtime: Runtime = THIS_MACHINE
) -> int:
    """Give a workspace another name in the state, and return how many segments it has under that name.

    `new` may be another name of the same environment. Nothing is sent, and lineages stay as they are. It is done as a
    whole or not at all, while no process has a lock under either name. Raises UsageError, LockHeld, StateError.
    """
    try:
        TypeAdapter(WorkspaceName).validate_python(new)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["ctx"]["error"]
        raise UsageError(f"the new name can't be used: it {reason}", "give another name") from None
    if old == new:
        raise UsageError("the old and the new name are the same", "nothing was changed")
    deadline = runtime.clock.boot() + lock_timeout
    with open_database(settings, runtime.clock, creates=False) as database:
        while True:
            try:
                with database.write() as connection:
                    refuse_live_locks(database, connection, runtime, lambda workspace, _: workspace in (old, new))
                    return _rename(database, connection, old, new)
            except LockHeld:
                left = deadline - runtime.clock.boot()
                if left <= 0:
                    raise
            runtime.clock.sleep(min(POLL_SECONDS, left))


def _rename(database: Database, connection: Connection, old: str, new: str) -> int:
    """Rename in the transaction that is open. Raises StateError where that can't be."""
    refuse_moved(select_version(connection), database.address)  # it may have since it was opened
    environments = find_environments(connection)
    mine, others = _find_segments(connection, old), _find_segments(connection, new)
    if old not in environments and not mine:
        known = ", ".join(map(repr, sorted(environments))) or "none"
        raise StateError(
            f"the state knows no workspace {old!r}; nothing was changed",
            f"it knows: {known}" + (f" (is {old!r} renamed already?)" if new in environments or others else ""),
        )
    _check_new_name(environments, old, new, others)
    if both := sorted(mine & others):
        more = len(both) - _NUMBERS_SHOWN
        shown = ", ".join(map(str, both[:_NUMBERS_SHOWN])) + (f" and {more} more" if more > 0 else "")
        raise StateError(
            f"{old!r} and {new!r} both hold segment{'s' if len(both) > 1 else ''} {shown}; nothing was changed",
            f"look at both (`reconcile status`), and let the state forget the wrong one: reconcile state forget SPEC "
            f"id:{both[0]}, where the spec says `workspace: {old}` or `workspace: {new}`; then rename again",
        )

    run(connection, _DROP_EARLIER_CREATIONS, old=old, new=new)
    for table in METADATA.sorted_tables:
        if "workspace" not in table.columns or table is LOCKS:
            continue
        rest = [column.name for column in table.primary_key if column.name != "workspace"]
        if "workspace" in table.primary_key.columns:  # a run that worked on both is in the history once
            same = " AND ".join(f"n.{name} = {table.name}.{name}" for name in rest)
            there = f"SELECT 1 FROM {table.name} n WHERE n.workspace = :new AND {same}"
            run(connection, f"DELETE FROM {table.name} WHERE workspace = :old AND EXISTS ({there})", old=old, new=new)
        run(connection, f"UPDATE {table.name} SET workspace = :new WHERE workspace = :old", old=old, new=new)
    if new in environments:
        run(connection, "DELETE FROM reconcile_workspaces WHERE name = :old", old=old)
    else:
        run(connection, "UPDATE reconcile_workspaces SET name = :new WHERE name = :old", old=old, new=new)
    now = database.now(connection)
    move_locks(connection, now, old, new)
    plans.drop_expired(connection, now)
    return len(mine | others)


def _check_new_name(environments: dict[str, int], old: str, new: str, others: Iterable[int]) -> None:
    """Raise StateError where the new name stands for another environment, or for one that is not known."""
    mine, other = environments.get(old), environments.get(new)
    if mine is not None and mine == other:
        return
    if other is not None:
        is_mine = f"{old!r} is environment {mine}" if mine is not None else f"that of {old!r} is not known"
        raise StateError(
            f"{new!r} is environment {other} of Customer.io in this state, and {is_mine}; nothing was changed",
            "give another name",
        )
    if others:
        raise StateError(
            f"{new!r} holds segments in this state, and its environment is not known; nothing was changed",
            "give another name; or let an `apply` or `refresh` under that name tell the environment",
        )


def _find_segments(connection: Connection, workspace: str) -> set[int]:
    return set(execute(connection, _OF_WORKSPACE, {"workspace": workspace}).scalars())
