"""Reading a state without a lock: one moment of it, and nothing is changed."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sqlalchemy import Connection, text

from reconciler.models.counts import StateCounts
from reconciler.models.plan import Head
from reconciler.state import schema
from reconciler.state.address import Address, SqliteAddress
from reconciler.state.base import HEAD_COLUMNS, Row, make_head
from reconciler.state.database import Database, transaction
from reconciler.state.failures import explained
from reconciler.state.file import is_missing
from reconciler.state.processes import Clock
from reconciler.state.sqlite import PIECES, open_reader


class Reader(Protocol):
    """Reads one state database."""

    address: Address
    pieces: str
    """As `Database.pieces`."""

    def read(self) -> AbstractContextManager[Connection | None]:
        """A transaction that sees one moment; None: there is no state. Raises StateError."""
        ...

    def find_schema(self) -> tuple[schema.Schema, str]:
        """Which schema there is, and its name. Raises StateError for one of a newer tool."""
        ...

    def now(self, connection: Connection, /) -> float:
        """Unix seconds by the database's clock."""
        ...


class SqliteReader:
    """Reads a file; a missing one stays missing."""

    pieces = PIECES
    address: Address

    def __init__(self, address: SqliteAddress, clock: Clock, must_exist: bool) -> None:
        self.address = address
        self._file = address
        self._clock = clock
        self._must_exist = must_exist

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        if self._is_missing():
            self._refuse_missing()
            yield None
            return
        with transaction(open_reader(self._file), self.address, reading=True) as connection:
            known = schema.is_there(connection, self.address)
            if not known:
                self._refuse_missing()
            yield connection if known else None

    def find_schema(self) -> tuple[schema.Schema, str]:
        if self._is_missing():
            return schema.Schema.NONE, ""
        with transaction(open_reader(self._file), self.address, reading=True) as connection:
            return schema.look(connection, self.address), schema.read_version(connection)

    def now(self, _connection: Connection) -> float:
        return self._clock.wall()

    def _is_missing(self) -> bool:
        with explained(self.address):
            return is_missing(self._file.path)

    def _refuse_missing(self) -> None:
        if self._must_exist:
            raise schema.missing(self.address)


# --- Questions to the state about one segment, one workspace or one plan file.


def find_segment(connection: Connection, workspace: str, segment_id: int) -> Row | None:
    found = connection.execute(
        text(
            f"SELECT {', '.join(HEAD_COLUMNS)} FROM reconcile_segments "
            "WHERE workspace = :workspace AND segment_id = :segment_id"
        ),
        {"workspace": workspace, "segment_id": segment_id},
    ).one_or_none()
    return None if found is None else Row(*found)


def find_environment(connection: Connection, workspace: str) -> int | None:
    """The environment at Customer.io to which a workspace's name is bound."""
    statement = text("SELECT environment_id FROM reconcile_workspaces WHERE name = :workspace")
    found: int | None = connection.execute(statement, {"workspace": workspace}).scalar()
    return found


def read_head(connection: Connection, workspace: str, segment_id: int) -> Head:
    environment_id = find_environment(connection, workspace)
    return make_head(find_segment(connection, workspace, segment_id), environment_id)


def is_spent(connection: Connection, plan_id: str) -> bool:
    """Tell whether a plan file was applied to its end."""
    statement = text("SELECT 1 FROM reconcile_plans WHERE plan_id = :plan_id")
    return connection.execute(statement, {"plan_id": plan_id}).first() is not None


# --- Counting what the state holds of a segment, journal and all.

_FOLDED = """
SELECT
  (SELECT count(*) FROM reconcile_members WHERE segment_key = :key),
  (SELECT count(*) FROM reconcile_marks WHERE segment_key = :key AND mark = 'unsettled'),
  (SELECT count(*) FROM reconcile_marks m WHERE segment_key = :key AND mark = 'unmatched' AND NOT EXISTS
    (SELECT 1 FROM reconcile_marks u WHERE u.segment_key = m.segment_key AND u.id = m.id AND u.mark = 'unsettled'))
"""

_JOURNALED = """
WITH journal AS (
  SELECT piece.value AS id, b.seq, b.direction, coalesce(b.outcome, 'unknown') AS outcome
  FROM {pieces} WHERE b.segment_key = :key
), latest AS (
  SELECT j.* FROM journal j JOIN (SELECT id, max(seq) AS seq FROM journal GROUP BY id) l
  ON j.id = l.id AND j.seq = l.seq
), known AS (
  SELECT l.*,
    EXISTS (SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = l.id) AS was_member,
    EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = l.id AND m.mark = 'unsettled')
      AS was_unsettled,
    EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = l.id AND m.mark = 'unmatched')
      AS was_unmatched,
    EXISTS (SELECT 1 FROM journal r WHERE r.id = l.id AND r.direction = 'remove' AND r.outcome = 'acknowledged')
      AS was_removed
  FROM latest l
)
SELECT
  coalesce(sum(
    CASE WHEN outcome = 'acknowledged' AND direction = 'add' AND (was_removed OR NOT was_unmatched) THEN 1 ELSE 0 END
    - CASE WHEN was_member THEN 1 ELSE 0 END), 0),
  coalesce(sum(CASE WHEN outcome = 'unknown' THEN 1 ELSE 0 END - CASE WHEN was_unsettled THEN 1 ELSE 0 END), 0),
  coalesce(sum(
    CASE WHEN outcome = 'acknowledged' AND direction = 'add' AND was_unmatched AND NOT was_removed THEN 1 ELSE 0 END
    - CASE WHEN was_unmatched AND NOT was_unsettled THEN 1 ELSE 0 END), 0)
FROM known
"""
"""How the journal changes the numbers of what is folded: each id's last row decides."""


def count_ids(database: Database | Reader, connection: Connection, key: int | None) -> StateCounts:
    """Count by status; `key` None: a segment that the state does not know."""
    if key is None:
        return StateCounts(0, 0, 0)
    folded = connection.execute(text(_FOLDED), {"key": key}).one()
    if not _has_journal(connection, key):
        return StateCounts(*folded)
    journaled = connection.execute(text(_JOURNALED.format(pieces=database.pieces)), {"key": key}).one()
    stored, unsettled, unmatched = (a + int(b) for a, b in zip(folded, journaled, strict=True))
    return StateCounts(stored, unsettled, unmatched)


def _has_journal(connection: Connection, key: int) -> bool:
    statement = text("SELECT 1 FROM reconcile_batches WHERE segment_key = :key LIMIT 1")
    return connection.execute(statement, {"key": key}).first() is not None
