"""The journal: an intent for each batch before its request leaves, and what became of the request."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, insert, text

from reconciler.errors import StateError
from reconciler.models.batches import Batch, BatchResult, Outcome
from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.ids import has_utf8
from reconciler.state.backends.base import run
from reconciler.state.tables import BATCHES

ACKNOWLEDGED = "acknowledged"
UNKNOWN = "unknown"
"""Values of the column `outcome`; null: an intent without an outcome."""

ID_END = "\n"
"""What separates the ids of a row."""

_RESERVED = frozenset(("\0", ID_END, chr(FIELD_END), chr(ROW_END)))


# --- writing -----------------------------------------------------------------------------------------------------


def write_intents(
    connection: Connection, key: int, run_id: str, batches: Sequence[Batch], now: float, unknown_at: float | None = None
) -> list[int]:
    """Write a row per batch; return their numbers.

    `unknown_at`: when an attempt of unknown outcome that carried the same ids was given up. Raises StateError for an id
    that a row can't hold, before anything is written.
    """
    if not all(_find_readable(batch.ids) == list(batch.ids) for batch in batches):
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
            "ids": ID_END.join(batch.ids),
        }
        for batch in batches
    ]
    statement = insert(BATCHES).returning(BATCHES.c.seq, sort_by_parameter_order=True)
    return list(connection.execute(statement, rows).scalars())


def _find_readable(ids: Iterable[str]) -> list[str]:
    """Return the ids that can be read back: nothing in them separates ids, fields or rows."""
    return [id for id in ids if id and _RESERVED.isdisjoint(id) and has_utf8(id)]


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


# --- recovery ----------------------------------------------------------------------------------------------------


def recover_intents(connection: Connection, key: int, now: float) -> bool:
    """Make intents without an outcome unknown, as of now; return whether there were any."""
    statement = (
        "UPDATE reconcile_batches SET outcome = 'unknown', at = :now, unknown_at = :now "
        "WHERE segment_key = :key AND outcome IS NULL"
    )
    return run(connection, statement, now=now, key=key) > 0


def drop_unreadable(connection: Connection, key: int) -> None:
    """Drop ids that can't be read back: they contain a separator of rows or fields.

    The first edition wrote whatever an edited plan file held. No member has such an id: no control character is one.
    """
    statement = (
        "SELECT seq, ids FROM reconcile_batches "
        "WHERE segment_key = :key AND (ids LIKE :with_row_end OR ids LIKE :with_field_end)"
    )
    separators = {"with_row_end": f"%{chr(ROW_END)}%", "with_field_end": f"%{chr(FIELD_END)}%"}
    for seq, ids in connection.execute(text(statement), {"key": key, **separators}).all():
        kept = _find_readable(ids.split(ID_END))
        if kept:
            statement = "UPDATE reconcile_batches SET ids = :ids, number = :number WHERE seq = :seq"
            run(connection, statement, ids=ID_END.join(kept), number=len(kept), seq=seq)
        else:
            run(connection, "DELETE FROM reconcile_batches WHERE seq = :seq", seq=seq)


def clamp_times(connection: Connection, key: int, now: float) -> None:
    """Set each time that lies in the future to now: it comes from a clock that was wrong. Marks have times, too."""
    statement = (
        "UPDATE reconcile_batches SET at = CASE WHEN at > :now THEN :now ELSE at END, "
        "unknown_at = CASE WHEN unknown_at > :now THEN :now ELSE unknown_at END "
        "WHERE segment_key = :key AND (at > :now OR unknown_at > :now)"
    )
    run(connection, statement, now=now, key=key)
    run(connection, "UPDATE reconcile_marks SET at = :now WHERE segment_key = :key AND at > :now", now=now, key=key)


def renew_doubts(connection: Connection, key: int, at: float) -> None:
    """Let nothing unsettled be older than this."""
    statement = (
        "UPDATE reconcile_batches SET at = :at, unknown_at = :at "
        "WHERE segment_key = :key AND outcome = 'unknown' AND at < :at"
    )
    run(connection, statement, at=at, key=key)
    statement = "UPDATE reconcile_marks SET at = :at WHERE segment_key = :key AND mark = 'unsettled' AND at < :at"
    run(connection, statement, at=at, key=key)


def find_latest_doubt(connection: Connection, key: int) -> float | None:
    """Return when the latest attempt of unknown outcome was given up, even if an acknowledged one followed."""
    statement = (
        "SELECT max(at) FROM (SELECT CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE at END AS at "
        "FROM reconcile_batches WHERE segment_key = :key UNION ALL "
        "SELECT at FROM reconcile_marks WHERE segment_key = :key AND mark IN ('unsettled', 'echo')) AS doubts"
    )
    found: float | None = connection.execute(text(statement), {"key": key}).scalar()
    return found
