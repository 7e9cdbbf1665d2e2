"""Comparing a segment in the database of its query, where the state stands too: only what may change travels.

What travels goes into the same tables as everything else, is held against the same rules and compared once more. So the
database decides nothing but what may stay behind, and the numbers of that.
"""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from reconciler.diff.failures import broken_query
from reconciler.diff.flags import POSSIBLE, Change, Flag, Numbers, Returned, decide
from reconciler.diff.statements import refusal
from reconciler.diff.tables import Tables
from reconciler.embedded_duckdb import translating
from reconciler.models.ids import MAX_ID_BYTES, WHITE_SPACE, IdType, check_text
from reconciler.models.plan import Head
from reconciler.models.pushdown import Site, Unfit
from reconciler.models.spec import Target
from reconciler.sources.base import Host, Visit
from reconciler.state.base import Sited, Snapshot

log = logging.getLogger(__name__)


# --- the rows that travel ---------------------------------------------------------------------------------------------
#
# Of each id that may change: how many rows of the query have it (`typed`: null, none has) and what the state knows of
# it (`flags`: null, nothing); and numbers of what stayed behind.

MOVED, STAYED, KNOWN = "moved", "stayed", "known"
"""Kinds of rows: one id; a number of rows of the query; a number of ids by what is known of them."""

COLUMNS = {
    "kind": "VARCHAR",
    "id": "VARCHAR",
    "typed": "BOOLEAN",
    "number": "BIGINT",
    "flags": "UTINYINT",
    "add_at": "DOUBLE",
    "remove_at": "DOUBLE",
}


class Travelled:
    """The statements for one comparison, whose tables are in the database `name`."""

    def __init__(self, name: str, id_type: IdType) -> None:
        self._db = name
        self._id_type = id_type

    def begin(self) -> str:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        return f"CREATE OR REPLACE TABLE {self._db}.travelled ({columns})"

    def take(self) -> str:
        """Add the rows of the stream `incoming`."""
        return f"INSERT INTO {self._db}.travelled SELECT {', '.join(COLUMNS)} FROM incoming"

    def desire(self) -> str:
        """Into `desired`: each id once or why there is none, and how many rows have it."""
        refused = refusal("id", "typed", self._id_type)
        return f"""CREATE OR REPLACE TABLE {self._db}.desired AS
            SELECT refused, if(refused IS NULL, id, NULL) AS id, number
            FROM (SELECT id, number, {refused} AS refused FROM {self._moved("typed")})"""

    def know(self) -> str:
        """Into `known`."""
        return f"CREATE OR REPLACE TABLE {self._db}.known AS SELECT id, flags FROM {self._moved('flags')}"

    def lay_over(self) -> str:
        """Into `overlay`: its times."""
        source = self._moved("coalesce(add_at, remove_at)")
        return f"CREATE OR REPLACE TABLE {self._db}.overlay AS SELECT id, add_at, remove_at FROM {source}"

    def _moved(self, present: str) -> str:
        return f"(SELECT * FROM {self._db}.travelled WHERE kind = '{MOVED}' AND {present} IS NOT NULL)"

    def tally_desired(self) -> str:
        """Why it is no id (null: it is one), number of rows; those of `desired`, and those that stayed behind."""
        return f"""SELECT refused, sum(number)::BIGINT FROM (
            SELECT refused, number FROM {self._db}.desired UNION ALL
            SELECT NULL, number FROM {self._db}.travelled WHERE kind = '{STAYED}') GROUP BY refused"""

    def tally_known(self) -> str:
        """flags, number of ids; all that the state knows."""
        return f"SELECT flags, number FROM {self._db}.travelled WHERE kind = '{KNOWN}'"

    def drop(self) -> str:
        return f"DROP TABLE {self._db}.travelled"


# --- the statement of PostgreSQL --------------------------------------------------------------------------------------
#
# It leaves behind the ids that surely stay as they are.
#
#   desired  what the query returned, an email with A-Z in lower case; `key`: null where its type makes it no id
#   overlay  what marks and journal say of an id, as in `statements`; old tombstones are left out: no plan needs them
#   held     every id that the state knows
#   matched  both side by side; `stays` where a desired id is stored, and nothing but that
#   the rest rows of `travelled`: each id that does not stay; how many rows stayed; how many ids the state knows
#
# The query of the user comes first, since it must not see the names that follow. Nothing is materialised, though some
# of it is worked out twice: scanning a WITH keeps PostgreSQL from joining in parallel. An id stays only if its text is
# an id for sure, for what `refresh` took over from Customer.io need not be one. All else is left to
# `statements.refusal`.

_ADDED, _REMOVED, _ADDING, _REMOVING = range(4)

_STATEMENT = """
WITH desired AS (
    SELECT id, CASE WHEN typed THEN id END AS key, typed FROM (SELECT {fold} COLLATE "C" AS id, typed FROM (
{values}
) v) folded
), journal AS (
    SELECT unnest(string_to_array(ids, chr(10))) COLLATE "C" AS id, direction = 'add' AS adds,
        seq * 4 + CASE WHEN outcome = 'acknowledged' THEN CASE WHEN direction = 'add' THEN {added} ELSE {removed} END
                       WHEN direction = 'add' THEN {adding} ELSE {removing} END AS entry,
        CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE at END AS doubtful_at
    FROM ({journal}) j
), entries AS (
    SELECT id, adds, entry, NULL AS mark, doubtful_at FROM journal
    UNION ALL
    SELECT id COLLATE "C", direction = 'add', NULL, mark, CASE WHEN mark IN ('unsettled', 'echo') THEN at END
    FROM ({marks}) m
    WHERE mark IN ('unsettled', 'echo', 'unmatched')
), fated AS (
    SELECT id,
        coalesce(max(entry) % 4,
                 max(CASE WHEN adds IS FALSE THEN {removing} ELSE {adding} END) FILTER (WHERE mark = 'unsettled')
        ) AS fate,
        coalesce(bool_or(mark = 'unmatched'), false) AND bool_or(entry % 4 = {removed}) IS NOT TRUE AS unmatched,
        max(doubtful_at) FILTER (WHERE adds IS NOT FALSE) AS add_at,
        max(doubtful_at) FILTER (WHERE adds IS NOT TRUE) AS remove_at
    FROM entries GROUP BY id
), overlay AS NOT MATERIALIZED (
    SELECT id, add_at, remove_at,
        CASE WHEN fate = {removed} THEN {REMOVED}
             WHEN fate = {adding} THEN {UNSETTLED_ADD} + CASE WHEN unmatched THEN {UNMATCHED} ELSE 0 END
             WHEN fate = {removing} THEN {UNSETTLED_REMOVE} + CASE WHEN unmatched THEN {UNMATCHED} ELSE 0 END
             WHEN unmatched THEN {UNMATCHED}
             WHEN fate = {added} THEN {STORED} END AS flags
    FROM fated
), held AS NOT MATERIALIZED (
    SELECT members.id, add_at, remove_at, coalesce(flags, {STORED}) AS flags
    FROM ({members}) members LEFT JOIN overlay ON members.id = overlay.id
    UNION ALL
    SELECT id, add_at, remove_at, flags FROM overlay
    WHERE NOT EXISTS (SELECT 1 FROM ({members}) members WHERE members.id = overlay.id)
), matched AS (
    SELECT coalesce(desired.id, held.id) AS id, typed, flags, add_at, remove_at,
        CASE WHEN typed IS NULL THEN coalesce(flags, 0) IN ({left})
             WHEN typed AND flags IN ({kept}) THEN
                 {sure}
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


def write(values: str, site: Site, id_type: IdType, sentinels: Iterable[str]) -> str:
    """Write the statement. `values` is the query as a `Visit` has it; sentinels travel, whether they stay or not."""
    names = {flag.name: flag.value for flag in Flag if flag.name is not None}
    return _STATEMENT.format(
        **names,
        values=values,
        members=site.members,
        marks=site.marks,
        journal=site.journal,
        fold='lower(value COLLATE "C")' if id_type is IdType.EMAIL else "value",  # in "C", lower knows A-Z alone
        left=_list(_staying(Flag(0))),
        kept=_list(_staying(Flag.DESIRED)),
        sure="\n                 AND ".join([*_be_sure("held.id", id_type), *_differ("held.id", id_type, sentinels)]),
        added=_ADDED,
        removed=_REMOVED,
        adding=_ADDING,
        removing=_REMOVING,
        moved=MOVED,
        stayed=STAYED,
        known=KNOWN,
    )


def _staying(said: Flag) -> list[Flag]:
    """What may be known of an id that needs no change, if the query says this of it."""
    known = {flags & ~(Flag.DESIRED | Flag.SPARED) for flags in POSSIBLE if Flag.REMOTE not in flags}
    return sorted(flags for flags in known if decide(flags | said, exclusive=False) is Change.NONE)


def _be_sure(text: str, id_type: IdType) -> list[str]:
    """Conditions under which a text without control characters, as every text of the state is, is an id for sure."""
    conditions = [
        f"octet_length({text}) <= {MAX_ID_BYTES}",
        f"{text} >= '!'",
        f"CASE WHEN octet_length({text}) = length({text}) THEN {text} NOT LIKE '% ' "
        f"ELSE btrim({text}, {_quote(WHITE_SPACE)}) = {text} END",
    ]
    if id_type is IdType.EMAIL:
        conditions += [f"{text} LIKE '_%@_%'", f"{text} NOT LIKE '%@%@%'"]
    return conditions


def _differ(text: str, id_type: IdType, sentinels: Iterable[str]) -> list[str]:
    ids = sorted({str(check_text(sentinel, id_type)) for sentinel in sentinels})
    return [f"{text} <> ALL (ARRAY[{', '.join(map(_quote, ids))}])"] if ids else []


def _quote(text: str) -> str:
    """A text as SQL, whatever is in it and however the server reads strings."""
    return f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"


def _list(flags: Iterable[Flag]) -> str:
    return ", ".join(str(int(each)) for each in flags)


# --- the comparison ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What the database counted, with what the rules said of the rows that travelled."""

    head: Head
    returned: Returned
    known: Numbers


def compare_there(target: Target, host: Host, snapshot: Snapshot, tables: Tables) -> Found | Unfit:
    """Fill `desired`, `known` and `overlay` with what may change; nothing where the segment is unfit for it."""
    segment = target.segment
    travelled = Travelled(tables.name, segment.id_type)
    with ExitStack() as stack:
        with snapshot.open(target.workspace, segment.segment_id) as stored:
            if not isinstance(stored, Sited):
                return Unfit("the state has nothing of this segment yet")
            head, site = stored.head, stored.site()
            visit = stack.enter_context(host.visit(segment, site))
        # The visit sees the state's moment by itself from here on: the state's own connection is given back.
        if isinstance(visit, Unfit):
            return visit
        statement = write(visit.values, site, segment.id_type, segment.guards.must_include)
        number = _fetch(visit, statement, tables, travelled)
    log.debug("%s: compared in the database; rows that travelled: %d", target.label, number)
    return Found(head, *_unpack(tables, travelled))


def _fetch(visit: Visit, statement: str, tables: Tables, travelled: Travelled) -> int:
    """Give the number of rows."""
    tables.run(travelled.begin())
    with translating(broken_query(), tables.limits), visit.open(statement) as stream:
        return tables.read(travelled.take(), stream)


def _unpack(tables: Tables, travelled: Travelled) -> tuple[Returned, Numbers]:
    for statement in (travelled.desire(), travelled.know(), travelled.lay_over()):
        tables.work(statement)
    returned = Returned(dict(tables.fetch(travelled.tally_desired())))
    known = {Flag(flags): number for flags, number in tables.fetch(travelled.tally_known())}
    tables.run(travelled.drop())
    return returned, known
