"""Comparing a segment where its query runs, with members that stand there (see `models.members`): few ids travel.

What the state itself knows is laid over the members: marks and journal, and the changes that the source does not have
yet. What comes back goes into the same tables as everything else, meets the same rules and is compared once more, and
nothing of it is believed unless the numbers of the members are those that the state has recorded.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from reconciler.diff.decide import NOTHING, Flag, Returned, broken_query, list_unchanged
from reconciler.diff.overlay import broken_state, load_marks, make_overlay
from reconciler.diff.pushdown import ComparedInDatabase
from reconciler.diff.tables import Tables
from reconciler.errors import StateError
from reconciler.models.comparison import NotPossible
from reconciler.models.ids import check_text, normalize, refusal
from reconciler.models.members import StoredAtSource, check_members
from reconciler.models.plan import Head
from reconciler.models.spec import Target
from reconciler.state.base import Stored

log = logging.getLogger(__name__)

ReadSegment = Callable[[Target], AbstractContextManager[Stored]]
"""Reads the state of a segment, with its members at the source checked by their heads."""

_UNCHANGED = list_unchanged(NOTHING), list_unchanged(Flag.DESIRED)


def compare_at_source(target: Target, read_segment: ReadSegment, tables: Tables) -> ComparedInDatabase | NotPossible:
    """Fill `desired`, `known` and `overlay` with what may change; nothing where that is not possible.

    Raises StateError if the members there are not as the state left them.
    """
    before = None
    while True:
        read = _read_state(target, read_segment, tables)
        if isinstance(read, NotPossible):
            return read
        head, place = read
        try:
            return _compare(target, head, place, tables)
        except StateError:
            # Another run may have appended, and dropped what was read; then the state has other numbers by now.
            if before == (place.head, place.attempted):
                raise
            before = place.head, place.attempted


def _read_state(target: Target, read_segment: ReadSegment, tables: Tables) -> tuple[Head, StoredAtSource] | NotPossible:
    """Make `overlay` of marks and journal, and `laid` of all that the state knows besides the members."""
    segment = target.segment
    with read_segment(target) as stored:
        place = stored.at_source
        if place is None:
            return NotPossible("nothing of this segment stands there yet", is_new=True)
        if stored.head.id_type not in (None, segment.id_type):
            return NotPossible("the state has ids of another type")
        if not load_marks(stored, tables):
            tables.begin("marks", "journal")
        for table, read in (("added", place.added), ("dropped", place.dropped)):
            tables.begin(table)
            with tables.translating(broken_state()):
                tables.load(table, read())
        head, now = stored.head, stored.now
    make_overlay(tables, now, target.spec.destination.settle)
    sentinels = {str(check_text(sentinel, segment.id_type)) for sentinel in segment.guards.must_include}
    tables.create("laid", _LAID, [sorted(sentinels)])
    tables.drop("marks", "journal", "added", "dropped")
    return head, place


def _compare(target: Target, head: Head, place: StoredAtSource, tables: Tables) -> ComparedInDatabase | NotPossible:
    """Have the database compare, check the numbers of its members, and take over what may change."""
    segment, members = target.segment, place.source
    members.check(place.key, place.head, place.attempted)
    tables.begin("answered")
    with (
        tables.translating(broken_query()),
        tables.lend("laid") as laid,
        members.compare(segment, place.key, place.head, laid, *_UNCHANGED) as answer,
    ):
        if isinstance(answer, NotPossible):
            return answer
        rows = tables.load("answered", answer.rows)
    log.debug("%s: compared at the source; rows that travelled: %d", target.label, rows)
    ((number, total),) = tables.fetch("SELECT sum(members), sum(total::DECIMAL(38, 0)) FROM answered")
    check_members(segment.source, place.head, int(number or 0), int(total or 0))

    judged = f"SELECT id, number, {refusal('id', 'typed', segment.id_type)} AS refused {_MOVED} AND number > 0"
    normal = normalize("id", segment.id_type)
    tables.create("desired", f"SELECT refused, if(refused IS NULL, {normal}, NULL) AS id, number FROM ({judged})")
    tables.create("known", f"SELECT id, flags {_MOVED} AND flags IS NOT NULL")
    returned = tables.fetch(
        """SELECT refused, sum(number)::BIGINT FROM (
            SELECT refused, number FROM desired UNION ALL SELECT NULL, number FROM answered WHERE stays)
        GROUP BY refused HAVING sum(number) > 0"""
    )
    known = tables.fetch("SELECT flags, sum(held)::BIGINT FROM answered WHERE flags IS NOT NULL GROUP BY flags")
    tables.drop("answered", "laid")
    numbers = {Flag(flags): count for flags, count in known}
    return ComparedInDatabase(head, Returned(dict(returned)), numbers, answer.data_time)


_MOVED = "FROM answered WHERE NOT stays"

_LAID = f"""
WITH decided AS (SELECT id, flags FROM overlay WHERE decided)
SELECT id, max(flags)::SMALLINT AS flags, bool_or(travels) AS travels FROM (
    SELECT id, flags, false AS travels FROM decided
    UNION ALL SELECT id, {Flag.STORED:d}, false FROM added WHERE id NOT IN (SELECT id FROM decided)
    UNION ALL SELECT id, 0, false FROM dropped WHERE id NOT IN (SELECT id FROM decided)
    UNION ALL SELECT unnest($1::VARCHAR[]), NULL, true
) GROUP BY id"""
