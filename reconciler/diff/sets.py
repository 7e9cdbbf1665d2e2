"""The SQL of sets. Every table of a comparison and every statement on them stands here.

overlay  what marks and journal say of an id; decided: it outweighs the members
remote   the real membership as it was read, page by page; people: each person once
known    every id the state has something to say of, and (if read) every id that is there, with its flags
changes  the ids to send, with flags; and, with a null id, numbers of rows that change nothing
"""

from collections.abc import Iterable

from reconciler.core.ids import IdType
from reconciler.diff.rules import fold, has_control, refusal
from reconciler.diff.standing import Change, Flag, select

# The last journal row of an id is found as one number: its place in the journal times four, plus one of these.
_ADDED, _REMOVED, _ADDING, _REMOVING = range(4)

_OVERLAY = f"""
CREATE OR REPLACE TABLE {{db}}.overlay AS
WITH journal_ids AS (
    SELECT unnest(string_split(ids, chr(10))) AS id, direction = 'add' AS adds,
        seq * 4 + CASE WHEN outcome = 'acknowledged' THEN if(direction = 'add', {_ADDED}, {_REMOVED})
                       ELSE if(direction = 'add', {_ADDING}, {_REMOVING}) END AS entry,
        CASE WHEN outcome = 'acknowledged' THEN unknown_at ELSE "at" END AS doubtful_at
    FROM journal
), entries AS (
    SELECT id, adds, entry, NULL AS mark, doubtful_at::DOUBLE AS doubtful_at FROM journal_ids
    UNION ALL
    SELECT id, direction = 'add', NULL, mark, CASE WHEN mark IN ('unsettled', 'echo') THEN "at" END FROM marks
), gathered AS (
    SELECT id,
        max(entry) % 4 AS last,
        max(if(adds IS FALSE, {_REMOVING}, {_ADDING})) FILTER (mark = 'unsettled') AS unsettled,
        coalesce(bool_or(mark = 'unmatched'), false) AS unmatched,
        coalesce(bool_or(mark = 'removed'), false) AS removed,
        max(doubtful_at) FILTER (adds IS NOT FALSE) AS add_at,
        max(doubtful_at) FILTER (adds IS NOT TRUE) AS remove_at
    FROM entries GROUP BY id
), fated AS (
    SELECT *, coalesce(last, unsettled) AS fate FROM gathered
)
SELECT id, add_at, remove_at, fate IS NOT NULL OR unmatched AS decided,
    (CASE WHEN fate = {_REMOVED} THEN {Flag.REMOVED:d}
          WHEN fate = {_ADDING} THEN {Flag.UNSETTLED_ADD:d} + if(unmatched, {Flag.UNMATCHED:d}, 0)
          WHEN fate = {_REMOVING} THEN {Flag.UNSETTLED_REMOVE:d} + if(unmatched, {Flag.UNMATCHED:d}, 0)
          WHEN unmatched THEN {Flag.UNMATCHED:d}
          WHEN fate = {_ADDED} THEN {Flag.STORED:d}
          WHEN removed THEN {Flag.REMOVED:d}
          ELSE 0 END)::UTINYINT AS flags
FROM fated"""

_HELD = f"""
SELECT coalesce(members.id, overlay.id) AS id,
    CASE WHEN overlay.id IS NULL OR (members.id IS NOT NULL AND NOT overlay.decided) THEN {Flag.STORED:d}
         ELSE overlay.flags END::UTINYINT AS flags
FROM (SELECT id::VARCHAR AS id FROM members) AS members
FULL JOIN {{db}}.overlay AS overlay ON members.id = overlay.id"""

_HELD_AND_REMOTE = f"""
SELECT coalesce(held.id, remote.id) AS id,
    (coalesce(held.flags, 0) | if(remote.id IS NULL, 0, {Flag.REMOTE:d}))::UTINYINT AS flags
FROM ({_HELD}) AS held
FULL JOIN (SELECT DISTINCT key AS id FROM {{db}}.people WHERE key IS NOT NULL) AS remote ON held.id = remote.id"""

_CHANGES = """
CREATE OR REPLACE TABLE {db}.changes AS
WITH joined AS (
    {joined}
)
SELECT if(flags IN ({idle}) OR refusal IS NOT NULL, NULL, id) AS id, flags, refusal, count(*) AS number
FROM joined GROUP BY ALL"""

_DESIRED = f"""
    SELECT coalesce(desired.id, known.id) AS id, desired.refusal,
        (coalesce(known.flags, 0) | coalesce(desired.flag, 0))::UTINYINT AS flags
    FROM (
        SELECT refusal, if(refusal IS NULL, {{folded}}, NULL) AS id, {Flag.DESIRED:d} AS flag
        FROM (SELECT value, {{refusal}} AS refusal FROM desired)
    ) AS desired
    FULL JOIN {{db}}.known AS known ON desired.id = known.id"""

# A plan file that is resumed under `exclusive` without a read-back takes for there what the plan took for there.
_SEALED = f"""
    SELECT coalesce(sealed.id, known.id) AS id, NULL::VARCHAR AS refusal,
        (coalesce(known.flags, 0) | CASE WHEN sealed.adds THEN {Flag.DESIRED:d}
                                         WHEN sealed.id IS NULL THEN {Flag.SPARED:d}
                                         ELSE 0 END | {{presumed}})::UTINYINT AS flags
    FROM {{db}}.sealed AS sealed
    FULL JOIN {{db}}.known AS known ON sealed.id = known.id"""

_PRESUMED = f"""CASE WHEN known.flags = {Flag.STORED:d} THEN {Flag.REMOTE:d}
                     WHEN NOT sealed.adds AND coalesce(known.flags, 0) = 0 THEN {Flag.REMOTE:d}
                     ELSE 0 END"""


class Sets:
    """The statements for one comparison, whose tables are in the database `name`."""

    def __init__(self, name: str, id_type: IdType) -> None:
        self._db = name
        self._id_type = id_type

    def lay_over(self) -> str:
        """Read the streams `marks` and `journal`."""
        return _OVERLAY.format(db=self._db)

    def know(self, with_remote: bool) -> str:
        """Read the stream `members`, after `lay_over`."""
        known = _HELD_AND_REMOTE if with_remote else _HELD
        return f"CREATE OR REPLACE TABLE {self._db}.known AS {known.format(db=self._db)}"

    def match_desired(self, all_typed: bool, exclusive: bool) -> str:
        """Read the stream `desired`, after `know`."""
        typed = "true" if all_typed else "typed"
        folded, refused = fold("value", self._id_type), refusal("value", typed, self._id_type)
        return self._change(_DESIRED.format(db=self._db, folded=folded, refusal=refused), exclusive)

    def match_sealed(self, exclusive: bool, with_remote: bool) -> str:
        """Compare the table `sealed` with what is known."""
        presumed = _PRESUMED if exclusive and not with_remote else "0"
        return self._change(_SEALED.format(db=self._db, presumed=presumed), exclusive)

    def _change(self, joined: str, exclusive: bool) -> str:
        return _CHANGES.format(db=self._db, joined=joined, idle=_list(select(Change.NONE, exclusive)))

    def tally_known(self) -> str:
        """flags, number of ids."""
        return f"SELECT flags, count(*) FROM {self._db}.known GROUP BY flags"

    def tally_changes(self) -> str:
        """flags, number of ids, number of rows; only what changes."""
        return f"""SELECT flags, count(*), sum(number)::BIGINT
            FROM {self._db}.changes WHERE id IS NOT NULL GROUP BY flags"""

    def tally_idle(self) -> str:
        """flags, number of rows; what changes nothing."""
        return f"SELECT flags, number FROM {self._db}.changes WHERE id IS NULL AND refusal IS NULL"

    def tally_refused(self) -> str:
        """Reason, number of rows."""
        return f"SELECT refusal, number FROM {self._db}.changes WHERE refusal IS NOT NULL"

    def latest_reversed(self) -> str:
        """One number: the latest attempt of unknown fate that a change reverses, or null."""
        return f"""SELECT max(if(changes.flags & {Flag.DESIRED:d} <> 0, overlay.remove_at, overlay.add_at))
            FROM {self._db}.changes AS changes JOIN {self._db}.overlay AS overlay ON changes.id = overlay.id"""

    def count_missing(self, exclusive: bool) -> str:
        """One number: how many of the ids in the list $1 are not desired."""
        kept = [flags & ~Flag.DESIRED for flags in select(Change.NONE, exclusive) if flags & Flag.DESIRED]
        desired = f"flags & {Flag.DESIRED:d} <> 0"
        return f"""WITH given AS (SELECT unnest($1::VARCHAR[]) AS value),
            sentinels AS (SELECT {fold("value", self._id_type)} AS id FROM given),
            changed AS (SELECT id, {desired} AS desired FROM {self._db}.changes SEMI JOIN sentinels USING (id)),
            kept AS (SELECT id FROM {self._db}.known SEMI JOIN sentinels USING (id) WHERE flags IN ({_list(kept)}))
            SELECT count(*) FROM sentinels
            WHERE id NOT IN (SELECT id FROM changed WHERE desired)
                AND (id NOT IN (FROM kept) OR id IN (SELECT id FROM changed))"""

    def changes(self, change_flags: Iterable[Flag]) -> str:
        """The ids to send, in the order of their bytes."""
        return f"""SELECT id FROM {self._db}.changes
            WHERE id IS NOT NULL AND flags IN ({_list(change_flags)}) ORDER BY id"""

    def known(self, flags: Iterable[Flag]) -> str:
        """Ids by what is known of them, in the order of their bytes."""
        return f"SELECT id FROM {self._db}.known WHERE flags IN ({_list(flags)}) ORDER BY id"

    def begin_remote(self) -> str:
        return f"CREATE OR REPLACE TABLE {self._db}.remote (cio_id VARCHAR, key VARCHAR)"

    def add_remote(self) -> str:
        """$1, $2: cio_ids and keys of a page, joined by line feeds; no key is an empty text."""
        return f"""INSERT INTO {self._db}.remote
            SELECT unnest(string_split($1, chr(10))), unnest(string_split($2, chr(10)))"""

    def end_remote(self) -> str:
        """Take each person once. A key that holds a control character can't be an id of ours: it is none."""
        is_key = f"key <> '' AND NOT {has_control('key')}"
        return f"""CREATE OR REPLACE TABLE {self._db}.people AS
            SELECT cio_id, max(CASE WHEN {is_key} THEN {fold("key", self._id_type)} END) AS key, count(*) AS number
            FROM {self._db}.remote GROUP BY cio_id"""

    def drop_remote(self) -> str:
        return f"DROP TABLE {self._db}.remote"

    def count_remote(self) -> str:
        """People, those without a key, rows."""
        return f"SELECT count(*), count(*) - count(key), coalesce(sum(number), 0)::BIGINT FROM {self._db}.people"

    def begin_sealed(self) -> str:
        return f"CREATE OR REPLACE TABLE {self._db}.sealed (id VARCHAR, adds BOOLEAN)"

    def add_sealed(self) -> str:
        """$1: ids joined by line feeds; $2: whether they are added."""
        return f"INSERT INTO {self._db}.sealed SELECT unnest(string_split($1, chr(10))), $2"


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(number)) for number in numbers) or "NULL"
