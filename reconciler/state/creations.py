"""Segments that Customer.io was asked to create: written down before it is asked, as intents are."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from reconciler.models.plan import Creation
from reconciler.state.database import execute, run
from reconciler.state.lock import HeldLock

_WHERE = "workspace = :workspace AND title = :title"

_FIND = (
    "SELECT c.asked_at, r.plan_id, c.segment_id FROM reconcile_creations c "
    "LEFT JOIN reconcile_runs r ON r.run_id = c.run_id AND r.workspace = c.workspace "
    "WHERE c.workspace = :workspace AND c.title = :title"
)

_BEGIN = (
    "INSERT INTO reconcile_creations (workspace, title, run_id, asked_at) "
    "VALUES (:workspace, :title, :run_id, :now) "
    "ON CONFLICT (workspace, title) DO UPDATE SET run_id = :run_id, asked_at = :now, segment_id = NULL"
)


class Creations:
    """The latest request to create a segment of one title, under the lock of that title."""

    def __init__(
        self,
        lock: HeldLock,
        write: Callable[[], AbstractContextManager[Connection]],
        title: str | None,
        run_id: str,
    ) -> None:
        """`write` begins a transaction under the lock. `title`: None for a segment that is named by its number."""
        self._database = lock.database
        self._write = write
        self._title = title
        self._place = {"workspace": lock.segment.workspace, "title": title}
        self._run_id = run_id

    def find(self) -> Creation | None:
        """Find the request, unless it surely came to nothing."""
        if self._title is None:
            return None
        with self._database.read() as connection:
            row = execute(connection, _FIND, self._place).one_or_none()
            return None if row is None else Creation(*row)

    def begin(self) -> None:
        """Make durable that Customer.io is about to be asked to create the segment."""
        assert self._title is not None
        with self._write() as connection:
            run(connection, _BEGIN, **self._place, run_id=self._run_id, now=self._database.now(connection))

    def end(self, segment_id: int | None) -> None:
        """Record the number of the segment that was created; None: it surely was not."""
        assert self._title is not None
        with self._write() as connection:
            if segment_id is None:
                run(connection, f"DELETE FROM reconcile_creations WHERE {_WHERE}", **self._place)
            else:
                statement = f"UPDATE reconcile_creations SET segment_id = :segment_id WHERE {_WHERE}"
                run(connection, statement, segment_id=segment_id, **self._place)
