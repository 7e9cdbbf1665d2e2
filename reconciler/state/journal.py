"""The journal: an intent for each batch before its request leaves, and what became of the request."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, text

from reconciler.models.batches import Batch, BatchResult, Outcome
from reconciler.models.columns import FIELD_END, ROW_END
from reconciler.state.backends.base import run
from reconciler.state.blocks import ID_END, check_ids, is_readable
from reconciler.state.tables import BATCHES

ACKNOWLEDGED = "acknowledged"
UNKNOWN = "unknown"
"""Values of the column `outcome`; null: an intent without an outcome."""


def write_intents(
    connection: Connection, key: int, run_id: str, batches: Sequence[Batch], now: float, unknown_at: float | None = None
) -> list[int]:
    """Write a row per batch; return their numbers.

    `unknown_at`: when an attempt of unknown outcome that carried the same ids was given up. Raises StateError for an id
    that a row can't hold, before anything is written.
    """
    for batch in batches:
        check_ids(batch.ids)
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


def write_attempt(connection: Connection, seq: int, now: float) -> None:
    """Record that one more attempt of a batch is about to start."""
    run(
        connection, "UPDATE reconcile_batches SET attempts = attempts + 1, at = :now WHERE seq = :seq", now=now, seq=seq
    )


def write_outcomes(connection: Connection, results: Sequence[tuple[int, BatchResult]], now: float, skew: float) -> None:
    """Record outcomes; a batch that certainly was not applied leaves the journal.

    `skew`: seconds that the state's clock is ahead of the one by which the results tell their times.
    """
    plain = [seq for seq, result in results if result.outcome is Outcome.ACKNOWLEDGED and result.unknown_at is None]
    if plain:  # in one statement: after each, this thread waits for its turn among those that send
        numbers = ", ".join(map(str, plain))
        run(
            connection,
            f"UPDATE reconcile_batches SET outcome = 'acknowledged', at = :now WHERE seq IN ({numbers})",
            now=now,
        )
    for seq, result in results:
        unknown_at = None if result.unknown_at is None else min(result.unknown_at + skew, now)
        if result.outcome is Outcome.ACKNOWLEDGED and unknown_at is not None:
            run(
                connection,
                "UPDATE reconcile_batches SET outcome = 'acknowledged', at = :now, unknown_at = :unknown_at "
                "WHERE seq = :seq",
                now=now,
                unknown_at=unknown_at,
                seq=seq,
            )
        elif result.outcome is not Outcome.ACKNOWLEDGED and unknown_at is not None:
            run(
                connection,
                "UPDATE reconcile_batches SET outcome = 'unknown', at = :at, unknown_at = :at WHERE seq = :seq",
                at=unknown_at,
                seq=seq,
            )
        elif result.outcome is not Outcome.ACKNOWLEDGED:
            run(connection, "DELETE FROM reconcile_batches WHERE seq = :seq", seq=seq)


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
    rows = connection.execute(
        text(
            "SELECT seq, ids FROM reconcile_batches "
            "WHERE segment_key = :key AND (ids LIKE :with_row_end OR ids LIKE :with_field_end)"
        ),
        {"key": key, "with_row_end": f"%{chr(ROW_END)}%", "with_field_end": f"%{chr(FIELD_END)}%"},
    ).all()
    for seq, ids in rows:
        kept = [id for id in ids.split(ID_END) if is_readable(id)]
        if kept:
            statement = "UPDATE reconcile_batches SET ids = :ids, number = :number WHERE seq = :seq"
            run(connection, statement, ids=ID_END.join(kept), number=len(kept), seq=seq)
        else:
            run(connection, "DELETE FROM reconcile_batches WHERE seq = :seq", seq=seq)


def clamp_times(connection: Connection, key: int, now: float) -> None:
    """Set each time that lies in the future to now: it comes from a clock that was wrong. Marks have times, too."""
    run(
        connection,
        "UPDATE reconcile_batches SET at = CASE WHEN at > :now THEN :now ELSE at END, "
        "unknown_at = CASE WHEN unknown_at > :now THEN :now ELSE unknown_at END "
        "WHERE segment_key = :key AND (at > :now OR unknown_at > :now)",
        now=now,
        key=key,
    )
    run(connection, "UPDATE reconcile_marks SET at = :now WHERE segment_key = :key AND at > :now", now=now, key=key)


def renew_doubts(connection: Connection, key: int, at: float) -> None:
    """Let nothing unsettled be older than this."""
    run(
        connection,
        "UPDATE reconcile_batches SET at = :at, unknown_at = :at "
        "WHERE segment_key = :key AND outcome = 'unknown' AND at < :at",
        at=at,
        key=key,
    )
    run(
        connection,
        "UPDATE reconcile_marks SET at = :at WHERE segment_key = :key AND mark = 'unsettled' AND at < :at",
        at=at,
        key=key,
    )


def find_latest_doubt(connection: Connection, key: int) -> float | None:
    """Return when the latest attempt of unknown outcome was given up, even if an acknowledged one followed."""
    statement = (
        "SELECT max(at) FROM (SELECT CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE at END AS at "
        "FROM reconcile_batches WHERE segment_key = :key UNION ALL "
        "SELECT at FROM reconcile_marks WHERE segment_key = :key AND mark IN ('unsettled', 'echo')) AS doubts"
    )
    found: float | None = connection.execute(text(statement), {"key": key}).scalar()
    return found
