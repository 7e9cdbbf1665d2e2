"""What the state is to the rest of the program: reading it, and writing it under a lock."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from reconciler.models.comparison import FIELD_END, DatabaseIdentity, Rows, StateTables
from reconciler.models.id_status import UNSETTLED, IdStatus, StateCounts, write_id_status
from reconciler.models.members import MembersAtSource, MembersHead, StoredAtSource
from reconciler.models.plan import Head
from reconciler.models.results import Listing
from reconciler.models.spec import SpecIdentity

LEAST_FENCE_SECONDS = 1.0
"""Seconds for which a read of a lock's fence is good at least; otherwise half of `settle`."""


def _read_nothing() -> Iterator[str]:
    return iter(())


@dataclass
class Stored:
    """One consistent view of a segment in the state: everything is read in one transaction, each stream once.

    Nothing can be read of a segment that the state has never met. What the rows say of an id: see `models.id_status`.
    """

    head: Head
    now: float = 0.0
    """Unix seconds by the state's clock."""

    members: Callable[[], Rows] = _read_nothing
    """`id` (utf8): acknowledged members that left the journal, distinct."""

    marks: Callable[[], Rows] = _read_nothing
    """`id`, `mark` (values of Mark), `direction` (values of Direction or null), `at` (double, Unix seconds)."""

    journal: Callable[[], Rows] = _read_nothing
    """What is not compacted yet: `seq` (bigint), `direction`, `outcome` (acknowledged, unknown, or null: an intent
    without an outcome), `at` (double: latest attempt that may have carried it), `unknown_at` (double or null: of an
    acknowledged one, the latest earlier attempt of unknown outcome), `ids` (utf8, joined by line feeds)."""

    count: Callable[[], StateCounts] = lambda: StateCounts(0, 0, 0)
    """Counts the ids by status."""

    state_tables: Callable[[], StateTables] | None = None
    """Finds its tables, where other queries of the same database can see them."""

    at_source: StoredAtSource | None = None
    """Where the members are in the source's database; `members` then reads them there, with what changed since."""


class Overlaid(NamedTuple):
    """What marks and journal say of one id: a row of `models.id_status`."""

    id: str
    status: int
    decided: bool
    add_at: float | None
    remove_at: float | None


@dataclass(frozen=True)
class FewStored:
    """One consistent view of a segment that holds few ids, read whole."""

    head: Head
    members: Sequence[str]
    overlay: Sequence[Overlaid] = ()
    """Ids with marks or a journal; without tombstones, which no comparison with a query needs."""


class Snapshot(Protocol):
    """The reading side of a state database; takes no lock and waits for none."""

    def head(self, workspace: str, segment_id: int) -> Head: ...

    def read_segment(
        self, workspace: str, segment_id: int, source: MembersAtSource | None = None
    ) -> AbstractContextManager[Stored]:
        """Give the view of a segment; `source` is what its `at_source` reads, which it has only then."""
        ...

    def read_few(self, workspace: str, segment_id: int, most: int) -> FewStored | None:
        """Read a segment whole; None: it has more ids than `most`, or can't be read so now."""
        ...

    def is_spent(self, plan_id: str) -> bool: ...

    def find_forgetting(self, workspace: str, segment_id: int) -> str | None:
        """Give what differs after each time that the state forgot a segment, or was restored; None: it never did."""
        ...

    def listings(self, workspace: str) -> Sequence[Listing]: ...

    def environments(self) -> Mapping[str, int]: ...


@runtime_checkable
class PushdownSnapshot(Protocol):
    """A Snapshot in a database server in which other queries can run, too."""

    def identify_database(self) -> DatabaseIdentity: ...


class SegmentRow(NamedTuple):
    """What is read of a segment's row; the fields are named as the columns of `reconcile_segments`."""

    segment_key: int
    lineage: str
    serial: int
    id_type: str
    completed_at: float | None
    plan_id: str | None
    plan_base: int | None
    change_token: str | None
    restored_at: float | None
    attempted_at: float | None
    confirmed_at: float | None
    name: str
    title: str | None
    origin: str | None
    spec: str | None
    members_key: str | None
    members_generation: int | None
    members_serial: int | None
    members_rows: int | None
    members_sum: str | None
    members_changed: int | None
    attempted_generation: int | None
    attempted_serial: int | None

    @property
    def members_head(self) -> MembersHead | None:
        """What the state has recorded of members at the source; None: they are here, or none were written yet."""
        if not self.members_generation:
            return None
        serial, rows, total = self.members_serial or 0, self.members_rows or 0, int(self.members_sum or 0)
        return MembersHead(self.members_generation, serial, rows, total, self.lineage)

    @property
    def attempted(self) -> tuple[int, int]:
        """The greatest generation and serial that may stand at the source."""
        return self.attempted_generation or 0, self.attempted_serial or 0

    def head(self, environment_id: int | None) -> Head:
        return Head(
            lineage=self.lineage,
            serial=self.serial,
            id_type=self.id_type,
            completed=self.completed_at is not None,
            environment_id=environment_id,
            plan_id=self.plan_id,
            plan_base=self.plan_base,
            change_token=self.change_token,
            restored=self.restored_at is not None,
            confirmed=self.attempted_at is None or (self.confirmed_at or 0.0) > self.attempted_at,
            read_back=self.confirmed_at is not None,
            name=self.name,
            title=self.title,
            spec=None if self.spec is None else SpecIdentity(self.origin, self.spec),
            at_source=self.members_generation is not None,
        )


def find_at_source(
    row: SegmentRow, source: MembersAtSource | None, added: Callable[[], Rows], dropped: Callable[[], Rows]
) -> StoredAtSource | None:
    """Give what `source` has of a segment; None: no source was given, or no members were written there yet."""
    if source is None or row.members_head is None:
        return None
    return StoredAtSource(source, row.members_key or "", row.members_head, row.attempted, added, dropped)


FORGETTING = (
    "SELECT token FROM reconcile_forgotten "
    "WHERE workspace = '' OR (workspace = {workspace} AND segment_id = {segment_id}) ORDER BY workspace"
)
"""The tokens of a segment, of which `Snapshot.find_forgetting` makes one text."""


DROPPED = """(SELECT d.segment_key, d.id FROM reconcile_dropped d WHERE NOT EXISTS (
    SELECT 1 FROM reconcile_members s WHERE s.segment_key = d.segment_key AND s.id = d.id)) dropped_members"""
"""Ids that are no members any more, and at the source still are, with the columns of `reconcile_members`."""

HEAD_COLUMNS = ", ".join(SegmentRow._fields)

LISTINGS = """
SELECT workspace, segment_id, name, title, origin, spec, lineage, proved_at, attempted_at, 0 AS is_note
FROM reconcile_segments
UNION ALL
SELECT c.workspace, c.segment_id, '', c.title, NULL, NULL, '', NULL, NULL, 1 FROM reconcile_creations c
WHERE c.segment_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM reconcile_segments s WHERE s.workspace = c.workspace AND s.segment_id = c.segment_id
)"""
"""All segments of the state, and those that were created and have nothing but the note of it."""


def read_listing(
    segment_id: int,
    name: str,
    title: str | None,
    origin: str | None,
    spec: str | None,
    lineage: str,
    proved_at: float | None,
    attempted_at: float | None,
    is_note: int,
) -> Listing:
    """Make a listing of a row of LISTINGS, without its workspace."""
    identity = None if spec is None else SpecIdentity(origin, spec)
    is_proved, was_sent = proved_at is not None, attempted_at is not None
    return Listing(segment_id, name, title, identity, lineage, is_proved, was_sent, bool(is_note))


def write_numbers(segment_ids: Collection[int]) -> str:
    """Write the common table expression `numbers` with a row, `segment_id`, for each of these segments.

    Its rows lead into the tables by their indexes; a list after IN may have too many parameters for a driver.
    """
    rows = ", ".join(f"({segment_id:d})" for segment_id in segment_ids)
    return f"numbers (segment_id) AS ({f'VALUES {rows}' if rows else 'SELECT 0 WHERE false'})"


# --- numbers by status -------------------------------------------------------------------------------------------

_QUOTED = """replace(json_quote(b.ids), '\\\\', '\\u005c')"""
_AS_JSON = f"""'[' || replace({_QUOTED}, '\\n', '","') || ']'"""
"""A batch's ids as a JSON list, whatever they hold. Once a backslash is written as a number, `\\n` is a line feed."""

SQLITE_PIECES = f"reconcile_batches b, json_each({_AS_JSON}) piece"
"""Batches, each with the ids of it as rows, in SQLite; see `Database.pieces`."""


_JOURNAL = """
SELECT piece.value AS id, b.seq, b.direction, b.outcome, b."at", b.unknown_at
FROM {pieces} WHERE b.segment_key = :key"""


def write_statuses(pieces: str) -> str:
    """Write the expressions of `models.id_status` for the segment `:key`; `pieces` is `Database.pieces`.

    Tombstones and echoes are left out: there may be many, and no status but REMOVED depends on them.
    """
    return write_id_status(
        journal=_JOURNAL.format(pieces=pieces),
        marks='SELECT id, mark, direction, "at" FROM reconcile_marks '
        "WHERE segment_key = :key AND mark IN ('unsettled', 'unmatched')",
    )


_MEMBER_AT_SOURCE = f"""(status & {IdStatus.REMOVED | IdStatus.UNSETTLED_REMOVE:d} <> 0
            AND EXISTS (SELECT 1 FROM reconcile_segments t WHERE t.segment_key = :key AND t.members_generation > 0)
            AND NOT EXISTS (SELECT 1 FROM reconcile_dropped d WHERE d.segment_key = :key AND d.id = id_status.id)
            AND NOT EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = id_status.id
                AND m.mark IN ('unsettled', 'unmatched')))"""
"""Whether an id that the journal decides is one of the members at the source, which are not asked: only a member, or
one that has a mark, is sent to be removed, and none else has left the members by then."""


def write_counts(pieces: str) -> str:
    """Write the statement that counts the ids of the segment `:key`: the fields of StateCounts."""
    return f"""
    WITH {write_statuses(pieces)}, decided AS (
        SELECT status, EXISTS (
            SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = id_status.id
        ) OR {_MEMBER_AT_SOURCE} AS is_member
        FROM id_status WHERE decided
    )
    SELECT
        (SELECT count(*) FROM reconcile_members WHERE segment_key = :key)
            + (SELECT coalesce(max(members_rows), 0) FROM reconcile_segments WHERE segment_key = :key)
            - (SELECT count(*) FROM reconcile_dropped WHERE segment_key = :key)
            - count(CASE WHEN is_member THEN 1 END) + count(CASE WHEN status = {IdStatus.STORED:d} THEN 1 END),
        count(CASE WHEN (status & {UNSETTLED:d}) <> 0 THEN 1 END),
        count(CASE WHEN status = {IdStatus.UNMATCHED:d} THEN 1 END)
    FROM decided"""


# --- a segment with few ids -------------------------------------------------------------------------------------------

_SOME_MEMBERS = "SELECT id FROM reconcile_members WHERE segment_key = :key LIMIT :more"
_DECIDING = "segment_key = :key AND mark IN ('unsettled', 'echo', 'unmatched')"
_COUNT_DECIDING = f"""
SELECT (SELECT count(*) FROM reconcile_marks WHERE {_DECIDING}),
    (SELECT coalesce(sum(number), 0) FROM reconcile_batches WHERE segment_key = :key)"""


def read_few(fetch: Callable[..., list[Any]], pieces: str, head: Head, key: int, most: int) -> FewStored | None:
    """Read the segment `key` whole by statements in one transaction; None: it has more ids than `most`.

    `fetch` runs a statement with named values; `pieces` is `Database.pieces`.
    """
    members = [row[0] for row in fetch(_SOME_MEMBERS, key=key, more=most + 1)]
    ((marks, sent),) = fetch(_COUNT_DECIDING, key=key)
    if max(len(members), marks, sent) > most:
        return None
    if not marks and not sent:
        return FewStored(head, members)
    id_status = write_id_status(
        journal=_JOURNAL.format(pieces=pieces),
        marks=f'SELECT id, mark, direction, "at" FROM reconcile_marks WHERE {_DECIDING}',
    )
    columns = ", ".join(Overlaid._fields)
    rows = fetch(f"WITH {id_status} SELECT {columns} FROM id_status", key=key)
    return FewStored(head, members, [Overlaid(*row) for row in rows])


# --- rows as lines of blocks of text (see `models.comparison.Rows`) --------------------------------------------------

BLOCK_ROWS = 16_384
"""Rows of a block. Measured: larger blocks are slower."""

MARK_LINE = f"""id || char({FIELD_END}) || mark || char({FIELD_END}) || coalesce(direction, '')
    || char({FIELD_END}) || printf('%.6f', at)"""

MARK_LINES = f"SELECT {MARK_LINE} AS line FROM reconcile_marks WHERE segment_key = {{key}}"
"""Each mark as one line of a block; with `{key}` to be filled in."""

JOURNAL_LINES = f"""
SELECT seq || char({FIELD_END}) || direction || char({FIELD_END}) || coalesce(outcome, '') || char({FIELD_END})
    || printf('%.6f', at) || char({FIELD_END})
    || CASE WHEN outcome = 'acknowledged' AND unknown_at IS NOT NULL THEN printf('%.6f', unknown_at) ELSE '' END
    || char({FIELD_END}) || ids AS line
FROM reconcile_batches WHERE segment_key = {{key}} ORDER BY seq"""
"""Each row of the journal as one line of a block."""
