"""The status of an id in the state: the one rule, as SQL that SQLite, PostgreSQL and DuckDB understand.

The last journal row that has an id decides, else its marks, else the members. An acknowledged removal in the journal
ends that an id is unmatched. Compaction moves journal rows into marks and members, and changes no id's status.
"""

from dataclasses import dataclass
from enum import IntFlag, StrEnum


class IdStatus(IntFlag):
    """What the state says of one id; UNMATCHED may come with one of the two before it."""

    STORED = 1
    UNSETTLED_ADD = 2
    UNSETTLED_REMOVE = 4
    UNMATCHED = 8
    REMOVED = 16
    """Removed by us and acknowledged; a read-back has not shown it gone yet."""


UNSETTLED = IdStatus.UNSETTLED_ADD | IdStatus.UNSETTLED_REMOVE


class Mark(StrEnum):
    """What the state keeps of an id besides membership."""

    UNSETTLED = "unsettled"
    """Sent, outcome unknown."""
    UNMATCHED = "unmatched"
    """Acknowledged as added, and a read-back did not show it."""
    REJECTED = "rejected"
    """Refused by itself with a 400."""
    REMOVED = "removed"
    """A tombstone: acknowledged as removed, for 30 days or until a read-back shows it gone."""
    ECHO = "echo"
    """Acknowledged after an attempt of unknown outcome, which may still arrive."""


@dataclass(frozen=True)
class StateCounts:
    """Numbers of ids that the state holds of one segment."""

    stored: int
    unsettled: int
    unmatched: int

    @property
    def held(self) -> int:
        return self.stored + self.unsettled + self.unmatched


LATE_SECONDS = 3600.0
"""How long after `settle` a removal may still be on its way: slack for a slow Customer.io and for clocks."""


def lingers_since(now: float, settle: float) -> float:
    """Return the time of the oldest removal that may explain why an id is still there; all are Unix seconds.

    An id that was removed earlier and is there was added again by others.
    """
    return now - settle - LATE_SECONDS


# The last journal row of an id is found as one number: its place in the journal times four, plus one of these.
_ADDED, _REMOVED, _ADDING, _REMOVING = range(4)

_EXPRESSIONS = f"""entries AS (
    SELECT id, direction, NULL AS mark,
        seq * 4 + CASE WHEN outcome = 'acknowledged' THEN CASE WHEN direction = 'add' THEN {_ADDED} ELSE {_REMOVED} END
                       WHEN direction = 'add' THEN {_ADDING} ELSE {_REMOVING} END AS entry,
        CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE "at" END AS doubtful_at,
        CASE WHEN outcome = 'acknowledged' AND direction = 'remove' THEN "at" END AS removed_at
    FROM ({{journal}}) journal_ids
    UNION ALL
    SELECT id, direction, mark, NULL,
        CASE WHEN mark IN ('unsettled', 'echo') THEN "at" END,
        CASE WHEN mark = 'removed' THEN "at" END
    FROM ({{marks}}) marks
), gathered AS (
    SELECT id,
        coalesce(
            max(entry) % 4,
            max(CASE WHEN direction = 'remove' THEN {_REMOVING} ELSE {_ADDING} END) FILTER (WHERE mark = 'unsettled')
        ) AS latest,
        max(CASE WHEN mark = 'unmatched' THEN 1 ELSE 0 END)
            > max(CASE WHEN entry % 4 = {_REMOVED} THEN 1 ELSE 0 END) AS unmatched,
        coalesce(max(removed_at) >= {{since}}, false) AS removed,
        max(doubtful_at) FILTER (WHERE coalesce(direction, 'add') = 'add') AS add_at,
        max(doubtful_at) FILTER (WHERE coalesce(direction, 'remove') = 'remove') AS remove_at
    FROM entries GROUP BY id
), id_status AS (
    SELECT id, add_at, remove_at, latest IS NOT NULL OR unmatched AS decided,
        CASE WHEN latest = {_REMOVED} THEN CASE WHEN removed THEN {IdStatus.REMOVED:d} ELSE 0 END
             WHEN latest = {_ADDING}
                 THEN {IdStatus.UNSETTLED_ADD:d} + CASE WHEN unmatched THEN {IdStatus.UNMATCHED:d} ELSE 0 END
             WHEN latest = {_REMOVING}
                 THEN {IdStatus.UNSETTLED_REMOVE:d} + CASE WHEN unmatched THEN {IdStatus.UNMATCHED:d} ELSE 0 END
             WHEN unmatched THEN {IdStatus.UNMATCHED:d}
             WHEN latest = {_ADDED} THEN {IdStatus.STORED:d}
             WHEN removed THEN {IdStatus.REMOVED:d}
             ELSE 0 END AS status
    FROM gathered
)"""


def write_id_status(journal: str, marks: str, since: float = 0.0) -> str:
    """Write the common table expressions that follow a WITH; the last, `id_status`, has a row per id.

    Its columns are `id`, `status` (an IdStatus, or 0), `decided` (true: it outweighs the members), and the latest
    attempts of unknown outcome, `add_at` and `remove_at`. An id of the members that is missing or undecided is STORED.

    `journal` is a query for `id`, `seq`, `direction`, `outcome`, "at" and `unknown_at`, one row per id of each batch;
    `marks` is one for `id`, `mark`, `direction` and "at"; removals before `since` say nothing any more.
    """
    return _EXPRESSIONS.format(journal=journal, marks=marks, since=f"{since:.6f}")
