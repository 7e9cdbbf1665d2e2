"""Folding: what the journal's settled batches mean for members and marks.

An id's status is decided by the last journal row that has it, else by its marks, else by the members; an
acknowledged removal in the journal ends that it is unmatched. Folding moves the oldest rows from the first place to the
others and changes no id's status.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, text

from reconciler.models.batches import Direction, Mark
from reconciler.models.columns import FIELD_END, ROW_END
from reconciler.models.drift import Adoption
from reconciler.state.backends.base import Database, run
from reconciler.state.blocks import ID_END, is_readable
from reconciler.state.lock import Place

IDS_PER_CHUNK = 50_000
"""So many fold in well under a second: a heartbeat waits behind each chunk."""

TOMBSTONE_SECONDS = 30 * 24 * 3600.0
ECHO_SECONDS = 24 * 3600.0

ACKNOWLEDGED = "acknowledged"
UNKNOWN = "unknown"

_KEEP_LATER = (
    "ON CONFLICT (segment_key, id, mark) DO UPDATE SET direction = excluded.direction, at = excluded.at "
    "WHERE excluded.at >= reconcile_marks.at"
)
_OVERWRITE = "ON CONFLICT (segment_key, id, mark) DO UPDATE SET direction = excluded.direction, at = excluded.at"
_OF_PICKED = "segment_key = :key AND id IN (SELECT id FROM picked)"


@dataclass(frozen=True)
class Entry:
    """A settled row of the journal, without its ids."""

    seq: int
    direction: str
    outcome: str
    number: int
    doubtful: bool
    """An attempt of it has an unknown outcome."""


def next_chunk(connection: Connection, key: int) -> list[Entry]:
    """The oldest settled rows, in order, up to the first that has no outcome yet."""
    rows = connection.execute(
        text(
            "SELECT seq, direction, outcome, number, unknown_at IS NOT NULL FROM reconcile_batches "
            "WHERE segment_key = :key AND seq < coalesce("
            "(SELECT min(seq) FROM reconcile_batches WHERE segment_key = :key AND outcome IS NULL), :never) "
            "ORDER BY seq LIMIT 1000"
        ),
        {"key": key, "never": 2**62},
    )
    return list(_up_to(IDS_PER_CHUNK, (Entry(*row) for row in rows)))


def _up_to(ids: int, entries: Iterator[Entry]) -> Iterator[Entry]:
    taken = 0
    for entry in entries:
        if taken and taken + entry.number > ids:
            return
        taken += entry.number
        yield entry


def compact(database: Database, connection: Connection, key: int, entries: Sequence[Entry]) -> None:
    """Fold rows in their order; neighbours of one kind together, as sets."""
    for (direction, outcome), group in groupby(entries, key=lambda entry: (entry.direction, entry.outcome)):
        rows = list(group)
        first, last = rows[0].seq, rows[-1].seq
        if direction == Direction.ADD and outcome == ACKNOWLEDGED and _are_new(connection, key, rows):
            _admit_batches(database, connection, key, first, last)
        else:
            database.pick_batches(connection, key, first, last)
            _compact_picked(connection, key, direction, outcome)
        run(
            connection,
            "DELETE FROM reconcile_batches WHERE segment_key = :key AND seq BETWEEN :first AND :last",
            key=key,
            first=first,
            last=last,
        )


def _are_new(connection: Connection, key: int, rows: Sequence[Entry]) -> bool:
    """Nothing is remembered of the segment beside its members, and no doubt is to be: a first fill is so."""
    if any(row.doubtful for row in rows):
        return False
    marks = text("SELECT EXISTS (SELECT 1 FROM reconcile_marks WHERE segment_key = :key)")
    return not connection.execute(marks, {"key": key}).scalar_one()


def _admit_batches(database: Database, connection: Connection, key: int, first: int, last: int) -> None:
    """As `admit` where there are no marks. Measured: half the time of picking first."""
    run(
        connection,
        f"INSERT INTO reconcile_members (segment_key, id) SELECT :key, piece.value FROM {database.pieces} "
        "WHERE b.segment_key = :key AND b.seq BETWEEN :first AND :last ON CONFLICT DO NOTHING",
        key=key,
        first=first,
        last=last,
    )


def _compact_picked(connection: Connection, key: int, direction: str, outcome: str) -> None:
    if outcome == UNKNOWN:
        unsettle(connection, key, Direction(direction))
    elif direction == Direction.ADD:
        _acknowledge_adds(connection, key)
    else:
        _acknowledge_removes(connection, key)


def _acknowledge_adds(connection: Connection, key: int) -> None:
    _leave_echoes(connection, key, Direction.ADD)
    _drop_marks(connection, key, Mark.UNSETTLED, Mark.REJECTED, Mark.REMOVED)
    admit(connection, key)


def admit(connection: Connection, key: int) -> None:
    """Make members of all that are picked, but the unmatched: only a read-back ends their being so."""
    run(
        connection,
        "INSERT INTO reconcile_members (segment_key, id) SELECT :key, p.id FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = 'unmatched') "
        "ORDER BY p.id ON CONFLICT DO NOTHING",
        key=key,
    )


def admit_settled(connection: Connection, key: int) -> None:
    """Make members of all that are picked, but the unsettled."""
    run(
        connection,
        "INSERT INTO reconcile_members (segment_key, id) SELECT :key, p.id FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = 'unsettled') "
        "ORDER BY p.id ON CONFLICT DO NOTHING",
        key=key,
    )


def _acknowledge_removes(connection: Connection, key: int) -> None:
    _leave_echoes(connection, key, Direction.REMOVE)
    _bury(connection, key)
    _drop_marks(connection, key, Mark.UNSETTLED, Mark.UNMATCHED, Mark.REJECTED)
    drop_members(connection, key)


def _bury(connection: Connection, key: int) -> None:
    """Leave tombstones; one who was only unmatched was never there, and is forgotten."""
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) "
        "SELECT :key, p.id, 'removed', NULL, p.at FROM picked p WHERE NOT EXISTS "
        "(SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id AND m.mark = 'unmatched') "
        "OR EXISTS (SELECT 1 FROM reconcile_marks m WHERE m.segment_key = :key AND m.id = p.id "
        "AND m.mark = 'unsettled') OR EXISTS "
        f"(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :key AND s.id = p.id) ORDER BY p.id {_OVERWRITE}",
        key=key,
    )


def _leave_echoes(connection: Connection, key: int, direction: Direction) -> None:
    """Remember attempts of unknown outcome that may still arrive: of this request, and of an earlier one like it."""
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) "
        "SELECT :key, p.id, 'echo', :direction, p.unknown_at FROM picked p "
        f"WHERE p.unknown_at IS NOT NULL ORDER BY p.id {_KEEP_LATER}",
        key=key,
        direction=direction.value,
    )
    turn_into_echoes(connection, key, "AND direction = :direction AND id IN (SELECT id FROM picked)", direction)


def turn_into_echoes(connection: Connection, key: int, which: str = "", direction: Direction | None = None) -> None:
    """Give unsettled ids an echo beside it. Needs `_drop_marks` after it."""
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) SELECT segment_key, id, 'echo', "
        "direction, at FROM reconcile_marks WHERE segment_key = :key AND mark = 'unsettled' "
        f"{which} {_KEEP_LATER}",
        key=key,
        **({"direction": direction.value} if direction else {}),
    )


def unsettle(connection: Connection, key: int, direction: Direction) -> None:
    """Make all that are picked unsettled, as of their `at`; nobody unsettled is stored."""
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) "
        f"SELECT :key, p.id, 'unsettled', :direction, p.at FROM picked p WHERE true ORDER BY p.id {_OVERWRITE}",
        key=key,
        direction=direction.value,
    )
    drop_members(connection, key)


def mark_picked(
    connection: Connection,
    key: int,
    mark: Mark,
    at: float,
    direction: Direction | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Give all that are picked a mark; without `overwrite` one that is there stays as it is."""
    clause = _OVERWRITE if overwrite else "ON CONFLICT DO NOTHING"
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) "
        f"SELECT :key, p.id, :mark, :direction, :at FROM picked p WHERE true ORDER BY p.id {clause}",
        key=key,
        mark=mark.value,
        direction=direction.value if direction else None,
        at=at,
    )


def drop_members(connection: Connection, key: int) -> None:
    run(connection, f"DELETE FROM reconcile_members WHERE {_OF_PICKED}", key=key)


def drop_mark(connection: Connection, key: int, mark: Mark) -> None:
    _drop_marks(connection, key, mark)


def _drop_marks(connection: Connection, key: int, *marks: Mark) -> None:
    names = ", ".join(f"'{mark}'" for mark in marks)
    run(connection, f"DELETE FROM reconcile_marks WHERE {_OF_PICKED} AND mark IN ({names})", key=key)


def recover_intents(connection: Connection, key: int, now: float) -> bool:
    """Make intents without an outcome unknown, as of now; tell whether there were any."""
    statement = (
        "UPDATE reconcile_batches SET outcome = 'unknown', at = :now, unknown_at = :now "
        "WHERE segment_key = :key AND outcome IS NULL"
    )
    return run(connection, statement, now=now, key=key) > 0


def drop_unreadable(connection: Connection, key: int) -> None:
    """Drop ids from the journal that can't be read back: they hold what parts rows and fields.

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
    """Let no time lie in the future: it comes from a clock that was wrong."""
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
    """When the latest attempt of unknown outcome was given up, also one that an acknowledged one followed."""
    statement = (
        "SELECT max(at) FROM (SELECT CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE at END AS at "
        "FROM reconcile_batches WHERE segment_key = :key UNION ALL "
        "SELECT at FROM reconcile_marks WHERE segment_key = :key AND mark IN ('unsettled', 'echo')) AS doubts"
    )
    found: float | None = connection.execute(text(statement), {"key": key}).scalar()
    return found


def forget_rejections(connection: Connection, key: int, before: float) -> None:
    """Forget who was refused by an earlier run: whoever is still wanted was tried again since."""
    run(
        connection,
        "DELETE FROM reconcile_marks WHERE segment_key = :key AND mark = 'rejected' AND at < :before",
        key=key,
        before=before,
    )


def prune(connection: Connection, key: int, now: float) -> None:
    """Forget tombstones and echoes that have had their time."""
    run(
        connection,
        "DELETE FROM reconcile_marks WHERE segment_key = :key AND "
        "((mark = 'removed' AND at < :tombstones) OR (mark = 'echo' AND at < :echoes))",
        key=key,
        tombstones=now - TOMBSTONE_SECONDS,
        echoes=now - ECHO_SECONDS,
    )


# --- A new generation of a segment's members: written beside the old one in chunks, and then put in its place at once.

Write = Callable[[], AbstractContextManager[Connection]]

_ROWS_PER_SWEEP = 50_000


def new_key(connection: Connection, place: Place) -> int:
    """Draw a number under which members can be stored."""
    key: int = connection.execute(
        text(
            "INSERT INTO reconcile_keys (workspace, segment_id) VALUES (:workspace, :segment_id) RETURNING segment_key"
        ),
        place.values(),
    ).scalar_one()
    return key


def copy_generation(database: Database, write: Write, place: Place, old: int | None, adoption: Adoption) -> int:
    """Write what `refresh` found under a new key; `old`: whose rejections and late arrivals stay remembered."""
    with write() as connection:
        new = new_key(connection, place)
    for ids in adoption.members():
        _store(database, write, new, ids, admit)
    for ids in adoption.unmatched():
        _store(database, write, new, ids, _mark_unmatched(database))
    for ids in adoption.lingering():
        _store(database, write, new, ids, _mark_lingering(database))
    if old is not None:
        with write() as connection:
            _keep_memories(connection, old, new)
    return new


def _store(
    database: Database, write: Write, key: int, ids: list[str], change: Callable[[Connection, int], None]
) -> None:
    with write() as connection:
        database.pick(connection, ids)
        change(connection, key)


def _mark_unmatched(database: Database) -> Callable[[Connection, int], None]:
    return lambda connection, key: mark_picked(connection, key, Mark.UNMATCHED, database.now(connection))


def _mark_lingering(database: Database) -> Callable[[Connection, int], None]:
    def change(connection: Connection, key: int) -> None:
        drop_members(connection, key)
        mark_picked(connection, key, Mark.UNSETTLED, database.now(connection), Direction.REMOVE)

    return change


def _keep_memories(connection: Connection, old: int, new: int) -> None:
    """Echoes stay, unsettled ids become echoes, rejections stay where the id is not there by now."""
    turn_into_echoes(connection, old)
    run(
        connection,
        "INSERT INTO reconcile_marks (segment_key, id, mark, direction, at) "
        "SELECT :new, id, mark, direction, at FROM reconcile_marks o WHERE o.segment_key = :old AND "
        "(o.mark = 'echo' OR (o.mark = 'rejected' AND NOT EXISTS "
        "(SELECT 1 FROM reconcile_members s WHERE s.segment_key = :new AND s.id = o.id))) ON CONFLICT DO NOTHING",
        old=old,
        new=new,
    )


def find_forgotten(connection: Connection) -> list[Place]:
    """Segments that the state has no row of, but still ids: a `state forget` was cut short."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT k.workspace, k.segment_id FROM reconcile_keys k WHERE NOT EXISTS (SELECT 1 "
            "FROM reconcile_segments s WHERE s.workspace = k.workspace AND s.segment_id = k.segment_id)"
        )
    )
    return [Place(workspace, segment_id, f"id:{segment_id}") for workspace, segment_id in rows]


def sweep(write: Write, place: Place) -> None:
    """Delete, in chunks, what stands under keys that the segment no longer has."""
    for key in _find_left_over(write, place):
        for table in ("reconcile_members", "reconcile_marks"):
            while _sweep_chunk(write, table, key):
                pass
        with write() as connection:
            run(connection, "DELETE FROM reconcile_batches WHERE segment_key = :key", key=key)
            run(connection, "DELETE FROM reconcile_keys WHERE segment_key = :key", key=key)


def _find_left_over(write: Write, place: Place) -> Iterator[int]:
    with write() as connection:
        keys = connection.execute(
            text(
                "SELECT segment_key FROM reconcile_keys WHERE workspace = :workspace AND segment_id = :segment_id "
                "AND segment_key NOT IN (SELECT segment_key FROM reconcile_segments)"
            ),
            place.values(),
        ).scalars()
        return iter(list(keys))


def _sweep_chunk(write: Write, table: str, key: int) -> bool:
    with write() as connection:
        touched = run(
            connection,
            f"DELETE FROM {table} WHERE segment_key = :key AND id IN "
            f"(SELECT id FROM {table} WHERE segment_key = :key ORDER BY id LIMIT {_ROWS_PER_SWEEP})",
            key=key,
        )
    return touched > 0
