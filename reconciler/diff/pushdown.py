"""Comparing a segment in the database of its query, where the state is, too: only ids that may change are received.

They go into the same tables as everything else, meet the same rules and are compared once more. So the database decides
nothing but which ids may stay behind, and how many these are.
"""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from reconciler.diff.decide import NOTHING, Flag, Numbers, Returned, broken_query, list_unchanged
from reconciler.diff.tables import Tables, list_flags
from reconciler.models.comparison import NotPossible, StateTables
from reconciler.models.freshness import DataTime
from reconciler.models.id_status import write_id_status
from reconciler.models.ids import (
    IdType,
    check_text,
    normalize_in_postgres,
    quote_for_postgres,
    refusal,
    sure_in_postgres,
)
from reconciler.models.plan import Head
from reconciler.models.spec import Target
from reconciler.sources.base import PushdownSource
from reconciler.state.base import Snapshot

log = logging.getLogger(__name__)

MOVED, STAYED, KNOWN = "moved", "stayed", "known"
"""Kinds of rows of the table `received`: one id; a number of rows of the query; a number of ids by what is known."""


@dataclass(frozen=True)
class ComparedInDatabase:
    """What the database counted, with what the rules of ids give for those that were received."""

    head: Head
    returned: Returned
    known: Numbers
    data_time: DataTime | None


def compare_in_database(
    target: Target, source: PushdownSource, snapshot: Snapshot, tables: Tables
) -> ComparedInDatabase | NotPossible:
    """Fill `desired`, `known` and `overlay` with what may change; nothing where that is not possible."""
    segment = target.segment
    with ExitStack() as stack:
        with snapshot.read_segment(target.workspace, target.segment_id) as stored:
            if stored.state_tables is None:
                return NotPossible("the state has nothing of this segment yet", is_new=stored.head.is_new)
            head, state = stored.head, stored.state_tables()
            session = stack.enter_context(source.open_session(segment, state))
        # The session keeps the snapshot from here on: the state's own connection is given back.
        if isinstance(session, NotPossible):
            return session
        statement = write(session.values, state, segment.id_type, segment.guards.must_include)
        tables.begin("received")
        with tables.translating(broken_query()), session.stream(statement) as rows:
            number = tables.load("received", rows)
    log.debug("%s: compared in the database; rows that travelled: %d", target.label, number)

    moved = f"FROM received WHERE kind = '{MOVED}' AND"
    judged = f"SELECT id, number, {refusal('id', 'typed', segment.id_type)} AS refused {moved} typed IS NOT NULL"
    tables.create("desired", f"SELECT refused, if(refused IS NULL, id, NULL) AS id, number FROM ({judged})")
    tables.create("known", f"SELECT id, flags {moved} flags IS NOT NULL")
    tables.create("overlay", f"SELECT id, add_at, remove_at {moved} coalesce(add_at, remove_at) IS NOT NULL")
    returned = tables.fetch(
        f"""SELECT refused, sum(number)::BIGINT FROM (
            SELECT refused, number FROM desired UNION ALL
            SELECT NULL, number FROM received WHERE kind = '{STAYED}') GROUP BY refused"""
    )
    known = tables.fetch(f"SELECT flags, number FROM received WHERE kind = '{KNOWN}'")
    tables.drop("received")
    numbers = {Flag(flags): count for flags, count in known}
    return ComparedInDatabase(head, Returned(dict(returned)), numbers, session.data_time)


# --- the statement of PostgreSQL --------------------------------------------------------------------------------------
#
#   desired    what the query returned, an email with A-Z in lower case; `key`: null where its type makes it no id
#   id_status  the status of an id by marks and journal; old tombstones are left out: no plan needs them
#   held       every id that the state knows
#   matched    both side by side; `stays` where a desired id is stored, and nothing but that
#   the rest   rows of `received`: each id that does not stay; how many rows stayed; how many ids the state knows
#
# The query of the user comes first, since it must not see the names that follow. Nothing is materialised, though some
# of it is worked out twice: scanning a WITH keeps PostgreSQL from joining in parallel. An id stays only if its text is
# an id for sure, for what `refresh` took over from Customer.io need not be one. All else is left to
# `ids.refusal`.

_STATEMENT = """
WITH desired AS (
    SELECT id, CASE WHEN typed THEN id END AS key, typed FROM (SELECT {normalized} COLLATE "C" AS id, typed FROM (
{values}
) v) normalized
), {id_status}, overlay AS NOT MATERIALIZED (
    SELECT id, add_at, remove_at, CASE WHEN decided THEN status END AS flags FROM id_status
), held AS NOT MATERIALIZED (
    SELECT members.id, add_at, remove_at, coalesce(flags, {stored}) AS flags
    FROM ({members}) members LEFT JOIN overlay ON members.id = overlay.id
    UNION ALL
    SELECT id, add_at, remove_at, flags FROM overlay
    WHERE NOT EXISTS (SELECT 1 FROM ({members}) members WHERE members.id = overlay.id)
), matched AS (
    SELECT coalesce(desired.id, held.id) AS id, typed, flags, add_at, remove_at,
        CASE WHEN typed IS NULL THEN coalesce(flags, 0) IN ({left})
             WHEN typed AND flags IN ({kept}) THEN
                 {stays}
             ELSE false END AS stays
    FROM desired FULL JOIN held ON desired.key = held.id
)
SELECT CASE WHEN stays THEN '{stayed}' ELSE '{moved}' END AS kind, id, typed, number, flags, add_at, remove_at FROM (
    SELECT stays, CASE WHEN NOT stays THEN id END AS id, CASE WHEN NOT stays THEN typed END AS typed,
        count(typed) AS number, max(flags) AS flags, max(add_at) AS add_at, max(remove_at) AS remove_at
    FROM matched GROUP BY 1, 2, 3
) found
UNION ALL
SELECT '{known}', NULL, NULL, count(*), flags, NULL, NULL FROM held WHERE flags IS NOT NULL GROUP BY flags"""

_JOURNAL = """
        SELECT unnest(string_to_array(ids, chr(10))) COLLATE "C" AS id, seq, direction, outcome, at, unknown_at
        FROM ({journal}) j"""
_MARKS = """
        SELECT id COLLATE "C" AS id, mark, direction, at FROM ({marks}) m
        WHERE mark IN ('unsettled', 'echo', 'unmatched')"""


def write(values: str, state: StateTables, id_type: IdType, sentinels: Iterable[str]) -> str:
    """Write the statement. `values` is as in `PushdownSession`; sentinels are received, whether they stay or not."""
    stays = sure_in_postgres("held.id", id_type)
    ids = sorted({str(check_text(sentinel, id_type)) for sentinel in sentinels})
    if ids:
        stays.append(f"held.id <> ALL (ARRAY[{', '.join(map(quote_for_postgres, ids))}])")
    return _STATEMENT.format(
        values=values,
        members=state.members,
        id_status=write_id_status(_JOURNAL.format(journal=state.journal), _MARKS.format(marks=state.marks)),
        stored=int(Flag.STORED),
        normalized=normalize_in_postgres("value", id_type),
        left=list_flags(list_unchanged(NOTHING)),
        kept=list_flags(list_unchanged(Flag.DESIRED)),
        stays="\n                 AND ".join(stays),
        moved=MOVED,
        stayed=STAYED,
        known=KNOWN,
    )
