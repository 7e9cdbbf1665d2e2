"""What one run sent to a segment, and what became of it since: from the audit log, then from the journal.

Of the run only requests count, by which people entered or left; of later runs also what a read-back showed. Runs hold a
segment's lock, so that the rows of the log and of the journal are in the order of the runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

from sqlalchemy import Connection

from reconciler.models.batches import Direction
from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.history import Reason
from reconciler.models.id_status import Mark
from reconciler.models.plan import Head
from reconciler.state import audit
from reconciler.state.database import Reader, execute, find_segment, read_head

ROWS_PER_BLOCK = 50


class Sent(NamedTuple):
    """What was sent to a segment since a run, and the segment's head at that moment."""

    head: Head
    rows: Iterator[str]
    """Blocks of text (see `models.comparison.Rows`) of `place`, the order of sending; `own`: the run sent it, else
    it is of another one after it; `adds`; `sure`: of the run that the outcome is known, of others that they sent it,
    whatever the outcome, and not only read it back; `ids`, joined by line feeds."""


class _Part(NamedTuple):
    """A row of `Sent.rows`."""

    own: bool
    adds: bool
    sure: bool
    ids: Sequence[str]


_REVERSIBLE = f"('{Reason.QUERY}', '{Reason.UNDO}')"
"""What `undo` reverses: nobody is put back into a retired segment, and an id that was only sent again entered before,
or never. The one removal of an id that was unmatched is not reversed either: it was never there."""

_SENT = (Reason.QUERY, Reason.RESEND, Reason.UNDO, Reason.RETIRED)

_OF_SEGMENT = "workspace = :workspace AND segment_id = :segment_id"
_COUNTS_OR_UNKNOWN = f"(pending_key IS NULL OR pending_key = {audit.UNKNOWN})"
_SINCE = (
    "SELECT run_id, direction, reason, pending_key, number, ids FROM reconcile_audit "
    f"WHERE {_OF_SEGMENT} AND {_COUNTS_OR_UNKNOWN} AND audit_key >= :first AND (reason IN {_REVERSIBLE} "
    f"OR (run_id <> :run_id AND NOT (reason = '{Reason.UNMATCHED}' AND direction = 'add'))) ORDER BY audit_key"
)
"""That an add has by now an effect says nothing against it."""

_NOT_COMPACTED = (
    "SELECT run_id, direction, outcome, ids FROM reconcile_batches WHERE segment_key = :key AND seq >= :first "
    f"AND (coalesce(reason, '{Reason.QUERY}') IN {_REVERSIBLE} OR run_id <> :run_id) ORDER BY seq"
)
_UNMATCHED_NOW = f"SELECT id FROM reconcile_marks WHERE segment_key = :key AND mark = '{Mark.UNMATCHED}'"
_REJECTED_SINCE = (
    f"SELECT id FROM reconcile_marks WHERE segment_key = :key AND mark = '{Mark.REJECTED}' AND \"at\" >= "
    "(SELECT min(started_at) FROM reconcile_runs WHERE workspace = :workspace AND run_id = :run_id)"
)


@contextmanager
def reading_sent(reader: Reader, workspace: str, segment_id: int, run_id: str) -> Iterator[Sent]:
    """Read what a run sent to a segment, and what others have sent or read back after it. Raises StateError."""
    with reader.read() as connection:
        if connection is None:
            yield Sent(Head(), iter(()))
            return
        row = find_segment(connection, workspace, segment_id)
        place = {"workspace": workspace, "segment_id": segment_id, "run_id": run_id}
        rows = _read_sent(connection, place, None if row is None else row.segment_key)
        yield Sent(read_head(connection, workspace, row), rows)


def _read_sent(connection: Connection, place: Mapping[str, object], key: int | None) -> Iterator[str]:
    run_id = place["run_id"]
    find_first = f"SELECT min(audit_key) FROM reconcile_audit WHERE {_OF_SEGMENT} AND run_id = :run_id AND reason IN "
    first = execute(connection, f"{find_first} {_REVERSIBLE} AND {_COUNTS_OR_UNKNOWN}", place).scalar()
    find_seq = "SELECT min(seq) FROM reconcile_batches WHERE segment_key = :key AND run_id = :run_id"
    first_seq = execute(connection, find_seq, {"key": key, "run_id": run_id}).scalar()
    if first is not None:
        first_seq = 0  # what is in the journal now was sent after all that is in the log
    if first_seq is None:
        return
    values = {**place, "key": key, "first_seq": first_seq}
    unmatched = frozenset(execute(connection, _UNMATCHED_NOW, values).scalars())
    parts = chain(() if first is None else _read_log(connection, {**values, "first": first}, unmatched))
    if key is not None:
        parts = chain(parts, _read_journal(connection, {**values, "first": first_seq}, unmatched))
        rejected = execute(connection, _REJECTED_SINCE, values).scalars().all()
        if rejected:  # sent by a later run: what the run itself sent was not refused
            parts = chain(parts, [_Part(own=False, adds=True, sure=True, ids=rejected)])
    numbered = enumerate(part for part in parts if part.ids)
    while some := list(islice(numbered, ROWS_PER_BLOCK)):
        lines = (
            (str(at), _write(part.own), _write(part.adds), _write(part.sure), "\n".join(part.ids)) for at, part in some
        )
        yield chr(ROW_END).join(map(chr(FIELD_END).join, lines))


def _read_log(connection: Connection, values: Mapping[str, object], unmatched: frozenset[str]) -> Iterator[_Part]:
    for row in execute(connection, _SINCE, values, rows_at_once=100):
        own, ids = row.run_id == values["run_id"], audit.unpack(row.ids, row.number)
        sure = row.pending_key is None if own else row.reason in _SENT
        if own and not sure:
            ids = [id for id in ids if id not in unmatched]
        yield _Part(own, row.direction == Direction.ADD, sure, ids)


def _read_journal(connection: Connection, values: Mapping[str, object], unmatched: frozenset[str]) -> Iterator[_Part]:
    """Read what is not compacted yet: that an id was unmatched before, its mark says."""
    for row in execute(connection, _NOT_COMPACTED, values, rows_at_once=100):
        own, ids = row.run_id == values["run_id"], row.ids.split("\n")
        sure = not own or row.outcome == "acknowledged"
        if own:
            ids = [id for id in ids if id not in unmatched]
        yield _Part(own, row.direction == Direction.ADD, sure, ids)


def _write(value: bool) -> str:
    return "true" if value else "false"


# --- what is kept of it ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PastRun:
    """What the history and the audit log have of one run in one workspace; the mappings are by the segment's id."""

    started_at: float
    """Unix seconds by the state's clock."""
    id_types: Mapping[int, frozenset[str]]
    """The id types that its ids have in the audit log, and those of later runs."""
    reported: Mapping[int, int]
    """Numbers of ids that it added or removed, as it said itself; empty where it did not come to its end."""
    kept: Mapping[int, int]
    """Of these, those that audit log and journal have; 0 where it only sent what has an unknown outcome."""
    retired: frozenset[int]
    """Segments that it emptied as retired ones."""
    resent: Mapping[int, int]
    """Numbers of ids that the audit log has as sent again. The run reports one as added if it was unsettled, too."""
    names: Mapping[int, str]
    """What its spec called its segments."""
    unknown_since: frozenset[int]
    """Segments that a later run has changed, of which the audit log has nothing."""


_LATER_UNKNOWN = """
SELECT DISTINCT t.segment_id FROM reconcile_run_segments t
JOIN reconcile_runs r ON r.run_id = t.run_id AND r.workspace = t.workspace
WHERE t.workspace = :workspace AND t.run_id <> :run_id AND r.ended_at >= :started_at AND t.added + t.removed > 0
AND NOT EXISTS (SELECT 1 FROM reconcile_audit a WHERE a.workspace = t.workspace AND a.run_id = t.run_id
    AND a.segment_id = t.segment_id)
AND NOT EXISTS (SELECT 1 FROM reconcile_batches b JOIN reconcile_segments s ON s.segment_key = b.segment_key
    WHERE s.workspace = t.workspace AND s.segment_id = t.segment_id AND b.run_id = t.run_id)"""

_ID_TYPES = (
    "SELECT DISTINCT segment_id, id_type FROM reconcile_audit "
    'WHERE workspace = :workspace AND (run_id = :run_id OR "at" >= :started_at)'
)

_KEPT = f"""
SELECT segment_id, CAST(sum(number) AS bigint) FROM (
    SELECT segment_id, CASE WHEN pending_key IS NULL THEN number ELSE 0 END AS number FROM reconcile_audit
    WHERE workspace = :workspace AND run_id = :run_id AND {_COUNTS_OR_UNKNOWN}
    AND (reason IN ('query', 'undo', 'retired') OR (reason = 'unmatched' AND direction = 'remove'))
    UNION ALL
    SELECT s.segment_id, CASE WHEN b.outcome = 'acknowledged' THEN b.number ELSE 0 END FROM reconcile_batches b
    JOIN reconcile_segments s ON s.segment_key = b.segment_key
    WHERE s.workspace = :workspace AND b.run_id = :run_id
) kept GROUP BY segment_id"""

_RETIRED = f"""
SELECT DISTINCT segment_id FROM reconcile_audit
WHERE workspace = :workspace AND run_id = :run_id AND reason = '{Reason.RETIRED}'
UNION SELECT DISTINCT s.segment_id FROM reconcile_batches b JOIN reconcile_segments s ON s.segment_key = b.segment_key
WHERE s.workspace = :workspace AND b.run_id = :run_id AND b.reason = '{Reason.RETIRED}'"""

_RESENT = f"""
SELECT segment_id, CAST(sum(number) AS bigint) FROM reconcile_audit
WHERE workspace = :workspace AND run_id = :run_id AND reason = '{Reason.RESEND}' GROUP BY segment_id"""


def find_past_run(reader: Reader, workspace: str, run_id: str) -> PastRun | None:
    """Find what a state knows of a run in one workspace; None: nothing. Raises StateError."""
    values: dict[str, object] = {"workspace": workspace, "run_id": run_id}
    with reader.read() as connection:
        if connection is None:
            return None

        def fetch(statement: str, **more: object) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in execute(connection, statement, {**values, **more})]

        of_run = "WHERE workspace = :workspace AND run_id = :run_id"
        runs = fetch(f"SELECT started_at FROM reconcile_runs {of_run}")
        if not runs:
            return None
        ((started_at,),) = runs
        segments = fetch(f"SELECT segment_id, added + removed, name FROM reconcile_run_segments {of_run}")
        id_types: dict[int, frozenset[str]] = {}
        for segment_id, id_type in fetch(_ID_TYPES, started_at=started_at):
            id_types[segment_id] = id_types.get(segment_id, frozenset()) | {id_type}
        return PastRun(
            started_at,
            id_types=id_types,
            reported={segment_id: number for segment_id, number, _ in segments},
            kept=dict(map(tuple, fetch(_KEPT))),
            retired=frozenset(row[0] for row in fetch(_RETIRED)),
            resent=dict(map(tuple, fetch(_RESENT))),
            names={segment_id: name for segment_id, _, name in segments},
            unknown_since=frozenset(row[0] for row in fetch(_LATER_UNKNOWN, started_at=started_at)),
        )
