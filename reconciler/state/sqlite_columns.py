"""Reading a SQLite state as columns, for commands that do not write to it.

The Arrow driver has a SQLite library of its own, and two libraries in one process must not have one file open at the
same time: closing it in one drops the locks of the other. So once this is made, nothing else in the process may open
the file: no store, no history; and segments with few ids are read through Python's library in turns with the driver.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.models.id_status import StateCounts
from reconciler.models.members import MembersAtSource
from reconciler.models.plan import Head
from reconciler.models.results import Listing
from reconciler.state import schema
from reconciler.state.base import (
    DROPPED,
    FORGETTING,
    HEAD_COLUMNS,
    JOURNAL_LINES,
    LISTINGS,
    MARK_LINES,
    SQLITE_PIECES,
    FewStored,
    SegmentRow,
    Stored,
    find_at_source,
    read_few,
    read_listing,
    write_counts,
)
from reconciler.state.failures import explained
from reconciler.state.location import BUSY_SECONDS, SqliteAddress, is_missing, reading_uri

if TYPE_CHECKING:
    from reconciler.state.sqlite_driver import Driver, Execute

_MEMBERS = "SELECT CAST(id AS text) AS id FROM reconcile_members WHERE segment_key = {key}"

_SEGMENT = f"""SELECT {HEAD_COLUMNS},
EXISTS (SELECT 1 FROM reconcile_marks t WHERE t.segment_key = s.segment_key),
EXISTS (SELECT 1 FROM reconcile_batches t WHERE t.segment_key = s.segment_key) FROM reconcile_segments s"""
"""A segment's row, and whether there are marks and batches of it."""

_HEAD = f"SELECT {HEAD_COLUMNS} FROM reconcile_segments WHERE workspace = :workspace AND segment_id = :segment_id"
_BOUND = "SELECT environment_id FROM reconcile_workspaces WHERE name = :workspace"
_COUNTS = write_counts(SQLITE_PIECES)


class ColumnarSnapshot:
    """See `state.base.Snapshot`. A file that is missing is an empty state, and stays missing."""

    def __init__(self, address: SqliteAddress, must_exist: bool) -> None:
        self._address = address
        with explained(address):
            found = _read_segments(address)
        if must_exist and found is None:
            raise schema.missing(address)
        self._is_empty = found is None
        self._heads, self._listings, self._environments = found or ({}, {}, {})
        self._turns = threading.Lock()
        self._driver: Driver | None = None
        self._streaming = 0
        """Transactions of the driver that are open."""

    def head(self, workspace: str, segment_id: int) -> Head:
        """As it was when this was made."""
        return self._heads.get((workspace, segment_id)) or self._heads.get((workspace, None)) or Head()

    def is_spent(self, plan_id: str) -> bool:
        if self._is_empty:
            return False
        statement = f"SELECT 1 AS spent FROM reconcile_plans WHERE plan_id = {_quote(plan_id)}"
        with explained(self._address), self._connect() as (driver, execute):
            return bool(driver.fetch(execute(statement)))

    def find_forgetting(self, workspace: str, segment_id: int) -> str | None:
        if self._is_empty:
            return None
        statement = FORGETTING.format(workspace=_quote(workspace), segment_id=int(segment_id))
        with explained(self._address), self._connect() as (driver, execute):
            return "-".join(token for (token,) in driver.fetch(execute(statement))) or None

    def environments(self) -> Mapping[str, int]:
        """As they were when this was made."""
        return self._environments

    def listings(self, workspace: str) -> Sequence[Listing]:
        """As they were when this was made."""
        return self._listings.get(workspace, ())

    def read_few(self, workspace: str, segment_id: int, most: int) -> FewStored | None:
        """See `state.base.Snapshot`; None, too, while the driver has the file open."""
        if self._is_empty:
            return FewStored(Head(), ())
        with self._turns, explained(self._address):
            if self._streaming:
                return None
            with closing(_connect(self._address)) as connection:

                def fetch(statement: str, **values: object) -> list[Any]:
                    return connection.execute(statement, values).fetchall()

                rows = fetch(_BOUND, workspace=workspace)
                environment_id = rows[0][0] if rows else None
                rows = fetch(_HEAD, workspace=workspace, segment_id=segment_id)
                if not rows:
                    return FewStored(Head(environment_id=environment_id), ())
                row = SegmentRow(*rows[0])
                if row.members_generation is not None:
                    return None
                return read_few(fetch, SQLITE_PIECES, row.head(environment_id), row.segment_key, most)

    @contextmanager
    def read_segment(self, workspace: str, segment_id: int, source: MembersAtSource | None = None) -> Iterator[Stored]:
        """See `state.base.Snapshot`; the head is read anew, in the transaction in which the columns are read."""
        if self._is_empty:
            yield Stored(Head())
            return
        with self._connect() as (driver, execute):
            with explained(self._address):
                where = f"workspace = {_quote(workspace)} AND segment_id = {int(segment_id)}"
                rows = driver.fetch(execute(f"{_SEGMENT} WHERE {where}"))
                named = f"FROM reconcile_workspaces WHERE name = {_quote(workspace)}"
                bound = driver.fetch(execute(f"SELECT environment_id {named}"))
            environment_id = bound[0][0] if bound else None
            if not rows:
                yield Stored(Head(environment_id=environment_id))
                return
            *values, has_marks, has_journal = rows[0]
            row = SegmentRow(*values)
            stored = Stored(row.head(environment_id), time.time())
            stored.members = lambda: execute(_MEMBERS.format(key=row.segment_key))
            if row.members_generation is not None:
                dropped = f"SELECT CAST(id AS text) AS id FROM {DROPPED} WHERE segment_key = {row.segment_key}"
                stored.at_source = find_at_source(row, source, stored.members, lambda: execute(dropped))
            stored.count = lambda: StateCounts(*driver.fetch(execute(_COUNTS.replace(":key", str(row.segment_key))))[0])
            if has_marks:
                stored.marks = partial(driver.read_lines, execute, MARK_LINES.format(key=row.segment_key))
            if has_journal:
                stored.journal = partial(driver.read_lines, execute, JOURNAL_LINES.format(key=row.segment_key))
            yield stored

    @contextmanager
    def _connect(self) -> Iterator["tuple[Driver, Execute]"]:
        """Connect the driver for one transaction, during which Python's library does not open the file."""
        from reconciler.state.sqlite_driver import Driver  # it loads the driver, and DuckDB

        with self._turns:
            self._driver = self._driver or Driver()
            self._streaming += 1
        try:
            with self._driver.connect(self._address) as execute:
                yield self._driver, execute
        finally:
            with self._turns:
                self._streaming -= 1


def _read_segments(
    address: SqliteAddress,
) -> tuple[dict[tuple[str, int | None], Head], dict[str, list[Listing]], dict[str, int]] | None:
    """Read the heads of all segments, under None that of one that is not known, their listings, and the environments.

    None: there is no state. It is read through Python's library, before the driver's begins.
    """
    if is_missing(address.path):
        return None
    with closing(_connect(address)) as connection:
        statement = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        tables = [row[0] for row in connection.execute(statement)]
        known = schema.VERSION_TABLE in tables
        versions = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchall() if known else []
        version = versions[0][0] if versions else ""
        schema.check(tables, version, address)
        if not schema.is_usable(version, address):
            return None
        environments = dict(connection.execute("SELECT name, environment_id FROM reconcile_workspaces"))
        heads = {(workspace, None): Head(environment_id=bound) for workspace, bound in environments.items()}
        rows = connection.execute(f"SELECT workspace, segment_id, {HEAD_COLUMNS} FROM reconcile_segments")
        segments = {(row[0], row[1]): SegmentRow(*row[2:]).head(environments.get(row[0])) for row in rows}
        listings: dict[str, list[Listing]] = {}
        for workspace, *columns in connection.execute(f"{LISTINGS} ORDER BY segment_id"):
            listings.setdefault(workspace, []).append(read_listing(*columns))
        return heads | segments, listings, environments


def _connect(address: SqliteAddress) -> sqlite3.Connection:
    """Connect through Python's library, in a transaction."""
    connection = sqlite3.connect(reading_uri(address.path), uri=True, timeout=BUSY_SECONDS)
    connection.execute("BEGIN")
    return connection


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
