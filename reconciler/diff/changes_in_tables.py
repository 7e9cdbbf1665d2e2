"""The changes of a comparison in tables: found there, and read from there as batches, lists and examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.diff.buckets import BUCKET, choose_hashes, find_differing
from reconciler.diff.changes import Changes, make_batches
from reconciler.diff.decide import SENT, Change, Flag, Numbers, select
from reconciler.diff.tables import Tables, list_flags, list_ids
from reconciler.models.batches import MAX_BATCH, Batch, Direction

IDS_AT_ONCE = 20 * MAX_BATCH
"""Ids that are read together to be sent: few enough for the little memory that may be left."""


@dataclass(frozen=True)
class ChangesInTables(Changes):
    """As `Changes`, in the tables of the comparison."""

    _has_any: bool
    """Without any there is no table `changes`."""
    _exclusive: bool
    _tables: Tables = field(repr=False)
    _sorted: dict[Direction, int] = field(default_factory=dict, repr=False)
    """Numbers of rows of the tables `add` and `remove`; they are made when they are first needed."""

    def batches(self, direction: Direction) -> Iterator[Batch]:
        if not self._has_any:
            return
        # Both directions before the first batch: what takes memory fails before the first request or never.
        if not self._sorted:
            self._sorted.update({each: self._sort(each) for each in Direction})
        joined, resent = "string_agg(id, chr(10))", list_flags(select([Change.RESEND], self._exclusive))
        slices = (
            f"""SELECT {joined}, {joined} FILTER (WHERE flags IN ({resent}))
            FROM {direction.value} WHERE rowid >= {start} AND rowid < {start + IDS_AT_ONCE}"""
            for start in range(0, self._sorted[direction], IDS_AT_ONCE)
        )
        for row, resends in self._tables.stream_each(slices):
            ids, again = sorted(row.split("\n")), frozenset(resends.split("\n") if resends else ())
            yield from make_batches(direction, ids, again)

    def _sort(self, direction: Direction) -> int:
        """Make the table `add` or `remove`, sorted; give its number of rows."""
        flags = list_flags(select(SENT[direction], self._exclusive))
        return self._tables.create(
            direction.value, f"SELECT id, flags FROM changes WHERE flags IN ({flags}) ORDER BY id"
        )

    def already_there(self) -> Iterator[list[str]]:
        if not self._has_any:
            return iter(())
        return self._tables.stream(list_ids("changes", select([Change.ADOPT], self._exclusive)))

    def stored_additions(self) -> Iterator[list[str]]:
        flags = [each for each in select([Change.ADD], self._exclusive) if Flag.STORED in each]
        return self._tables.stream(list_ids("changes", flags)) if self._has_any and flags else iter(())

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]:
        if not self._has_any:
            return ()
        ids = list_ids("changes", select(SENT[direction], self._exclusive))
        return tuple(row[0] for row in self._tables.fetch(f"{ids} LIMIT {int(number)}"))


def find_changes(
    tables: Tables, table: str, exclusive: bool, has_overlay: bool, bucketed: bool = False
) -> tuple[Numbers, float | None]:
    """Make `changes` of `desired` or `sealed` (which goes then), side by side with `known`.

    Give their numbers, and the time of the latest attempt of unknown outcome that one of them reverses. `bucketed`:
    `desired` is compared bucket by bucket first.
    """
    unchanged = list_flags(select([Change.NONE], exclusive))
    matched = _MATCHED[table].format(where="true")
    if bucketed:
        differing = find_differing(tables, exclusive, choose_hashes())
        if differing is not None:
            matched = _MATCHED[table].format(where=f"{BUCKET} IN (FROM differing)")
    moved = tables.create("moved", f"SELECT id, flags FROM ({matched}) WHERE flags NOT IN ({unchanged})")
    tables.drop(table, "differing")
    if not moved:
        return {}, None
    tables.begin("changes")
    parts = moved // tables.rows_at_once + 1
    for part in range(parts):
        where = f"WHERE hash(id) % {parts} = {part}" if parts > 1 else ""
        tables.fetch(f"INSERT INTO changes SELECT id, flags FROM moved {where} GROUP BY id, flags")
    tables.drop("moved")
    reversed_at = None
    if has_overlay:
        sent = list_flags(flags for each in Direction for flags in select(SENT[each], exclusive))
        attempted_at = f"if(changes.flags & {Flag.DESIRED:d} <> 0, overlay.remove_at, overlay.add_at)"
        matched = "changes JOIN overlay ON changes.id = overlay.id"
        rows = tables.fetch(f"SELECT max({attempted_at}) FROM {matched} WHERE changes.flags IN ({sent})")
        reversed_at = rows[0][0]
    return tables.count_flags("changes"), reversed_at


_MATCHED = {
    "desired": f"""
SELECT coalesce(desired.id, known.id) AS id,
    (coalesce(known.flags, 0) | if(desired.id IS NULL, 0, {Flag.DESIRED:d}))::UTINYINT AS flags
FROM (SELECT id FROM desired WHERE id IS NOT NULL AND {{where}}) AS desired
    FULL JOIN (FROM known WHERE {{where}}) AS known ON desired.id = known.id""",
    "sealed": f"""
SELECT coalesce(sealed.id, known.id) AS id,
    (coalesce(known.flags, 0) | CASE WHEN sealed.id IS NULL THEN {Flag.SPARED:d}
                                     WHEN sealed.adds THEN {Flag.DESIRED:d}
                                     ELSE 0 END)::UTINYINT AS flags
FROM sealed FULL JOIN known ON sealed.id = known.id""",
}
"""Every id of the table (where that is so) or of `known`, with its flags."""
