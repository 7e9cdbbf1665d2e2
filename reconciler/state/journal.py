"""The journal: an intent for each batch before its request leaves, and what became of the request.

The column `outcome` is 'acknowledged', 'unknown', or null: an intent without an outcome.

Compaction moves settled batches from the journal into members and marks, and no id's status changes by it (see
`models.id_status` for the status of an id).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from types import MappingProxyType

from sqlalchemy import Connection, insert

from reconciler.errors import StateError
from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.history import Reason
from reconciler.models.id_status import Mark
from reconciler.models.ids import IdType, has_utf8
from reconciler.state import audit, members
from reconciler.state.database import Database, execute, run
from reconciler.state.lock import SegmentRef
from reconciler.state.tables import BATCHES

ID_END = "\n"
"""What separates the ids of a row."""

IDS_PER_CHUNK = 50_000
"""They are compacted in well under a second: a heartbeat waits behind each chunk."""

_ROWS_PER_CHUNK = 1_000

_RESERVED = ("\0", chr(FIELD_END), chr(ROW_END))


# --- writing -----------------------------------------------------------------------------------------------------


def write_intents(
    connection: Connection,
    key: int,
    run_id: str,
    batches: Sequence[Batch],
    reason: Reason,
    now: float,
    unknown_at: float | None = None,
) -> list[int]:
    """Write a row per batch; return their numbers.

    `reason`: why they are sent, for the audit log. `unknown_at`: when an attempt of unknown outcome that carried the
    same ids was given up. Raises StateError for an id that a row can't hold, before anything is written.
    """
    texts = [ID_END.join(batch.ids) for batch in batches]
    if not all(_is_readable(text, batch.ids) for text, batch in zip(texts, batches, strict=True)):
        raise StateError(
            "an id holds a character that the journal can't keep; nothing of its batch was sent",
            "correct the query; a plan file that holds it was edited: make a new one",
        )
    rows = [
        {
            "segment_key": key,
            "run_id": run_id,
            "direction": batch.direction.value,
            "attempts": 1,
            "created_at": now,
            "at": now,
            "unknown_at": unknown_at,
            "number": len(batch.ids),
            "ids": text,
            "reason": reason.value,
        }
        for batch, text in zip(batches, texts, strict=True)
    ]
    statement = insert(BATCHES).returning(BATCHES.c.seq, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def _is_readable(text: str, ids: Sequence[str]) -> bool:
    """Tell whether these ids can be read back from the text of their row: nothing in them separates ids or fields.

    All are looked at together: one by one takes eight times as long.
    """
    is_plain = text.count(ID_END) == len(ids) - 1 and not any(each in text for each in _RESERVED)
    return is_plain and all(ids) and has_utf8(text)


def write_retry(connection: Connection, seq: int, now: float) -> None:
    """Record that one more attempt of a batch is about to start."""
    statement = "UPDATE reconcile_batches SET attempts = attempts + 1, at = :now WHERE seq = :seq"
    run(connection, statement, now=now, seq=seq)


def write_outcomes(connection: Connection, results: Sequence[tuple[int, BatchResult]], now: float, skew: float) -> None:
    """Record outcomes; a batch that certainly was not applied leaves the journal.

    `skew`: seconds that the state's clock is ahead of the one by which the results tell their times.
    """
    acknowledge = "UPDATE reconcile_batches SET outcome = 'acknowledged', at = :now"
    plain = [seq for seq, result in results if result.outcome is Outcome.ACKNOWLEDGED and result.unknown_at is None]
    if plain:  # in one statement: after each, this thread waits for its turn among those that send
        run(connection, f"{acknowledge} WHERE seq IN ({', '.join(map(str, plain))})", now=now)
    for seq, result in results:
        if result.unknown_at is None:
            if result.outcome is not Outcome.ACKNOWLEDGED:
                run(connection, "DELETE FROM reconcile_batches WHERE seq = :seq", seq=seq)
            continue
        unknown_at = min(result.unknown_at + skew, now)
        if result.outcome is Outcome.ACKNOWLEDGED:
            statement = f"{acknowledge}, unknown_at = :unknown_at WHERE seq = :seq"
            run(connection, statement, now=now, unknown_at=unknown_at, seq=seq)
        else:
            statement = "UPDATE reconcile_batches SET outcome = 'unknown', at = :at, unknown_at = :at WHERE seq = :seq"
            run(connection, statement, at=unknown_at, seq=seq)


# --- reading -----------------------------------------------------------------------------------------------------


def find_batch(connection: Connection, seq: int) -> tuple[int, float | None]:
    """Return the key of a batch's segment, and when an attempt of unknown outcome was given up that had its ids."""
    statement = "SELECT segment_key, unknown_at FROM reconcile_batches WHERE seq = :seq"
    key, unknown_at = execute(connection, statement, {"seq": seq}).one()
    return key, unknown_at


def find_doubtful_at(connection: Connection, key: int) -> float | None:
    """Return when the latest attempt of unknown outcome was given up, even if an acknowledged one followed."""
    statement = (
        "SELECT max(at) FROM (SELECT CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE at END AS at "
        "FROM reconcile_batches WHERE segment_key = :key UNION ALL "
        "SELECT at FROM reconcile_marks WHERE segment_key = :key AND mark IN ('unsettled', 'echo')) AS doubts"
    )
    found: float | None = execute(connection, statement, {"key": key}).scalar()
    return found


# --- recovery ----------------------------------------------------------------------------------------------------


_INTENTS_TO_UNKNOWN = """
UPDATE reconcile_batches SET outcome = 'unknown', at = :now, unknown_at = :now
WHERE segment_key = :key AND outcome IS NULL"""

_FUTURE_BATCHES_TO_NOW = """
UPDATE reconcile_batches SET at = CASE WHEN at > :now THEN :now ELSE at END,
unknown_at = CASE WHEN unknown_at > :now THEN :now ELSE unknown_at END
WHERE segment_key = :key AND (at > :now OR unknown_at > :now)"""

_FUTURE_MARKS_TO_NOW = "UPDATE reconcile_marks SET at = :now WHERE segment_key = :key AND at > :now"

_UNKNOWN_TO_TAKEOVER = """
UPDATE reconcile_batches SET at = :at, unknown_at = :at WHERE segment_key = :key AND outcome = 'unknown' AND at < :at"""

_UNSETTLED_TO_TAKEOVER = """
UPDATE reconcile_marks SET at = :at WHERE segment_key = :key AND mark = 'unsettled' AND at < :at"""


def recover(connection: Connection, key: int, now: float, taken_over_at: float | None) -> bool:
    """Recover what a dead run left, and return whether it left intents without an outcome.

    `taken_over_at`: when the lock was last taken from a holder that may live; None: never.
    """
    # An intent without an outcome may have been applied, until now.
    recovered = run(connection, _INTENTS_TO_UNKNOWN, now=now, key=key) > 0
    # A time that lies in the future comes from a clock that was wrong.
    run(connection, _FUTURE_BATCHES_TO_NOW, now=now, key=key)
    run(connection, _FUTURE_MARKS_TO_NOW, now=now, key=key)
    _drop_unreadable(connection, key)
    if taken_over_at is not None:  # a holder that may live may have sent what is unsettled until its lock was taken
        at = min(taken_over_at, now)
        run(connection, _UNKNOWN_TO_TAKEOVER, at=at, key=key)
        run(connection, _UNSETTLED_TO_TAKEOVER, at=at, key=key)
    return recovered


def _drop_unreadable(connection: Connection, key: int) -> None:
    """Drop ids that can't be read back: an old row may hold whatever an edited plan file held.

    No member has an id with a separator of rows or fields, as no control character is in one.
    """
    select = "SELECT seq, ids FROM reconcile_batches WHERE segment_key = :key AND (ids LIKE :row OR ids LIKE :field)"
    values = {"key": key, "row": f"%{chr(ROW_END)}%", "field": f"%{chr(FIELD_END)}%"}
    for seq, ids in execute(connection, select, values).all():
        keep_ids(connection, seq, [id for id in ids.split(ID_END) if _is_readable(id, (id,))])


def keep_ids(connection: Connection, seq: int, ids: Sequence[str]) -> None:
    """Let a row have these ids alone; without any it is deleted."""
    if ids:
        update = "UPDATE reconcile_batches SET ids = :ids, number = :number WHERE seq = :seq"
        run(connection, update, ids=ID_END.join(ids), number=len(ids), seq=seq)
    else:
        run(connection, "DELETE FROM reconcile_batches WHERE seq = :seq", seq=seq)


# --- compaction --------------------------------------------------------------------------------------------------


def compact_chunk(
    database: Database,
    connection: Connection,
    key: int,
    id_type: IdType,
    audited: SegmentRef | None = None,
    known: Mapping[int, Batch] = MappingProxyType({}),
) -> bool:
    """Compact the oldest settled rows up to the first without an outcome; return whether settled ones are left.

    They are compacted in their order; neighbours of one kind together, as sets. `audited`: the segment, if what was
    acknowledged is written into the audit log; what has an unknown outcome too, where it does not count. `known`:
    batches by their number, so that their ids need not be read for it.
    """
    statement = (
        "SELECT seq, direction, outcome, number, unknown_at FROM reconcile_batches WHERE segment_key = :key AND seq < "
        "coalesce((SELECT min(seq) FROM reconcile_batches WHERE segment_key = :key AND outcome IS NULL), :never) "
        f"ORDER BY seq LIMIT {_ROWS_PER_CHUNK + 1}"
    )
    has_marks = "SELECT EXISTS (SELECT 1 FROM reconcile_marks WHERE segment_key = :key)"
    settled = execute(connection, statement, {"key": key, "never": 2**62}).all()
    totals = accumulate(row.number for row in settled[:_ROWS_PER_CHUNK])
    chunk = [row for row, ids in zip(settled, totals, strict=False) if ids <= IDS_PER_CHUNK] or settled[:1]

    for (direction, outcome), group in groupby(chunk, key=lambda row: (row.direction, row.outcome)):
        rows = list(group)
        values = {"key": key, "first": rows[0].seq, "last": rows[-1].seq}
        is_certain = outcome == "acknowledged" and all(row.unknown_at is None for row in rows)
        if is_certain and direction == Direction.ADD and not execute(connection, has_marks, {"key": key}).scalar_one():
            # As below, where there are no marks. Measured: half the time of picking first.
            statement = (
                f"INSERT INTO reconcile_members (segment_key, id) SELECT :key, piece.value FROM {database.pieces} "
                "WHERE b.segment_key = :key AND b.seq BETWEEN :first AND :last ON CONFLICT DO NOTHING"
            )
            if audited is not None:
                audit.write(connection, audited, _list_changes(connection, id_type, known, **values))
            run(connection, statement, **values)
        else:
            database.pick_batches(connection, **values)
            is_known = outcome == "acknowledged"
            if audited is not None:
                unmatched = frozenset[str]()
                if is_known or direction == Direction.REMOVE:  # an add that is in doubt may be what brings it there
                    unmatched = frozenset(members.list_marked(connection, key, Mark.UNMATCHED))
                changes = _list_changes(connection, id_type, known, **values, unmatched=unmatched)
                audit.write(connection, audited, changes, None if is_known else audit.UNKNOWN)
            if not is_known:
                members.drop_members(connection, key, were_stored=direction == Direction.REMOVE)
                members.add_marks(connection, key, Mark.UNSETTLED, direction=Direction(direction))
            elif direction == Direction.ADD:
                members.add_echoes(connection, key, Direction.ADD)
                members.drop_marks(connection, key, Mark.UNSETTLED, Mark.REJECTED, Mark.REMOVED)
                members.add_members(connection, key)
            else:
                members.add_echoes(connection, key, Direction.REMOVE)
                members.add_tombstones(connection, key)
                members.drop_members(connection, key)
                members.drop_marks(connection, key, Mark.UNSETTLED, Mark.UNMATCHED, Mark.REJECTED)
        statement = "DELETE FROM reconcile_batches WHERE segment_key = :key AND seq BETWEEN :first AND :last"
        run(connection, statement, **values)
    return len(chunk) < len(settled)


def _list_changes(
    connection: Connection,
    id_type: IdType,
    known: Mapping[int, Batch],
    key: int,
    first: int,
    last: int,
    unmatched: frozenset[str] = frozenset(),
) -> Iterator[audit.Change]:
    """List what the batches from one number to another changed; of each, the ids that are unmatched by themselves.

    Those were added and never there: they are sent again, or leave the state with nobody leaving the segment.
    """
    rows = (
        "SELECT seq, run_id, at, direction, reason FROM reconcile_batches "
        "WHERE segment_key = :key AND seq BETWEEN :first AND :last ORDER BY seq"
    )
    ids_of = "SELECT ids FROM reconcile_batches WHERE seq = :seq"
    for row in execute(connection, rows, {"key": key, "first": first, "last": last}).all():
        direction, reason = Direction(row.direction), Reason(row.reason or Reason.QUERY)  # NULL: from before the log
        batch = known.get(row.seq)
        ids = execute(connection, ids_of, {"seq": row.seq}).scalar_one().split(ID_END) if batch is None else batch.ids
        absent = unmatched.intersection(ids)
        if len(absent) < len(ids):
            part = [id for id in ids if id not in absent] if absent else ids
            yield audit.Change(row.run_id, row.at, direction, reason, part, id_type)
        if absent:
            reason = Reason.RESEND if direction is Direction.ADD else Reason.UNMATCHED
            yield audit.Change(row.run_id, row.at, direction, reason, tuple(absent), id_type)
