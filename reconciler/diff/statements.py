"""The SQL of a comparison: its tables, but for `received` (see `pushdown`), and the statements that need explaining.

    members, marks, journal  what the state holds, as it gives it
    overlay  the status of an id by marks and journal; decided: it outweighs the members
    people   the real membership, each person once (read into `remote`); keys: their ids of the segment's type
    held     every id that the state knows, with its flags
    known    the same, and (if it was read) every id of the real membership
    desired  what the query returned, row by row: an id, or why it is none
    sealed   instead of it, what a plan file changes
    changes  the ids to send, each once (found as `moved`), with its flags
    add, remove  the same by direction, in the order of sending

A statement joins, groups or sorts once: two such steps in one would fight for the memory, and lose it.
Joins have the larger set on the left; the right one is remembered.
"""

from collections.abc import Iterable

from reconciler.diff.flags import NULL, Change, Flag, select
from reconciler.models.comparison import FIELD_END, ROW_END
from reconciler.models.id_status import write_id_status
from reconciler.models.ids import MAX_ID_BYTES, WHITE_SPACE, IdType, Invalid

COLUMNS = {
    "members": {"id": "VARCHAR"},
    "marks": {"id": "VARCHAR", "mark": "VARCHAR", "direction": "VARCHAR", "at": "DOUBLE"},
    "journal": {
        "seq": "BIGINT",
        "direction": "VARCHAR",
        "outcome": "VARCHAR",
        "at": "DOUBLE",
        "unknown_at": "DOUBLE",
        "ids": "VARCHAR",
    },
    "remote": {"cio_id": "VARCHAR", "key": "VARCHAR"},
    "desired": {"refused": "VARCHAR", "id": "VARCHAR"},
    "sealed": {"id": "VARCHAR", "adds": "BOOLEAN"},
    "changes": {"id": "VARCHAR", "flags": "UTINYINT"},
}
"""The tables that are made before they are filled; the first three as `state.base.Stored` has them."""

_LINES = f"SELECT unnest(string_split(block, chr({ROW_END}))) AS line FROM (VALUES ($1)) AS blocks (block)"
"""The rows of a block of text. A table of one block, as DuckDB would take a bare $1 apart while it plans: three times
slower."""

EXTRA = {"members": f", flags UTINYINT DEFAULT {Flag.STORED:d}"}

_OVERLAY = """
WITH {id_status} SELECT id, add_at, remove_at, decided, status::UTINYINT AS flags FROM id_status"""

_JOURNAL_IDS = """
SELECT unnest(string_split(ids, chr(10))) AS id, seq, direction, outcome, "at", unknown_at FROM {db}.journal"""

_HELD = """
SELECT coalesce(members.id, overlay.id) AS id,
    if(overlay.id IS NULL OR (members.id IS NOT NULL AND NOT overlay.decided), members.flags, overlay.flags) AS flags
FROM {db}.members AS members
FULL JOIN (FROM {db}.overlay WHERE {which}) AS overlay ON members.id = overlay.id"""

_HELD_OR_REMOTE = f"""
SELECT coalesce(held.id, keys.id) AS id,
    (coalesce(held.flags, 0) | if(keys.id IS NULL, 0, {Flag.REMOTE:d}))::UTINYINT AS flags
FROM {{db}}.held AS held FULL JOIN {{db}}.keys AS keys ON held.id = keys.id"""

_MOVED_BY_QUERY = f"""
SELECT coalesce(desired.id, known.id) AS id,
    (coalesce(known.flags, 0) | if(desired.id IS NULL, 0, {Flag.DESIRED:d}))::UTINYINT AS flags
FROM (SELECT id FROM {{db}}.desired WHERE id IS NOT NULL) AS desired
FULL JOIN {{db}}.known AS known ON desired.id = known.id"""

_MOVED_BY_PLAN = f"""
SELECT coalesce(sealed.id, known.id) AS id,
    (coalesce(known.flags, 0) | {{presumed}} | CASE WHEN sealed.id IS NULL THEN {Flag.SPARED:d}
                                                  WHEN sealed.adds THEN {Flag.DESIRED:d}
                                                  ELSE 0 END)::UTINYINT AS flags
FROM {{db}}.sealed AS sealed FULL JOIN {{db}}.known AS known ON sealed.id = known.id"""

# Without a read-back, a plan file under `exclusive` is believed: what is stored is in the segment, and what it removes
# although the state neither holds it nor has removed it was in the segment.
_PRESUMED = f"""CASE WHEN known.flags = {Flag.STORED:d} THEN {Flag.REMOTE:d}
                     WHEN NOT sealed.adds AND coalesce(known.flags, 0) = 0 THEN {Flag.REMOTE:d}
                     ELSE 0 END"""


class Statements:
    """The statements for one comparison; its tables are in the database `name`."""

    def __init__(self, name: str, id_type: IdType, exclusive: bool) -> None:
        self._db = name
        self._id_type = id_type
        self._exclusive = exclusive

    # --- what is known ---

    def make_overlay(self, since: float) -> str:
        """From `marks` and `journal`; removals before `since` count for nothing."""
        id_status = write_id_status(_JOURNAL_IDS.format(db=self._db), f"FROM {self._db}.marks", since)
        return self._create("overlay", _OVERLAY.format(id_status=id_status))

    def make_held(self, table: str, which: str) -> str:
        """Into `table`, from `members` and the rows of `overlay` for which `which` is true."""
        return self._create(table, _HELD.format(db=self._db, which=which))

    def make_known(self) -> str:
        """From `held` and `keys`; without a read-back, what is held is what is known."""
        return self._create("known", _HELD_OR_REMOTE.format(db=self._db))

    # --- what is desired ---

    def make_desired(self, select: str) -> str:
        """From the stream `incoming`; `select` is as in `sources.base.ValueStream`."""
        return self._create("desired", self._judge(select))

    def add_desired(self, select: str) -> str:
        """Add the values of the block of text $1."""
        return f"INSERT INTO {self._db}.desired WITH incoming AS ({_LINES}) {self._judge(select)}"

    def _judge(self, select: str) -> str:
        return f"""SELECT refused, if(refused IS NULL, {normalize("value", self._id_type)}, NULL) AS id
            FROM (SELECT value, {refusal("value", "typed", self._id_type)} AS refused FROM ({select}))"""

    # --- what changes ---

    def match_desired(self) -> str:
        """Find what of `desired` and `known` changes anything."""
        return self._match(_MOVED_BY_QUERY.format(db=self._db))

    def match_sealed(self, with_remote: bool) -> str:
        """Find what of `sealed` still changes anything."""
        presumed = _PRESUMED if self._exclusive and not with_remote else "0"
        return self._match(_MOVED_BY_PLAN.format(db=self._db, presumed=presumed))

    def _match(self, matched: str) -> str:
        unchanged = _list(select(Change.NONE, self._exclusive))
        return self._create("moved", f"SELECT id, flags FROM ({matched}) WHERE flags NOT IN ({unchanged})")

    def add_changes(self, part: int, parts: int) -> str:
        """Take each id that changes once: those of one part of `parts`."""
        where = f"WHERE hash(id) % {parts} = {part}" if parts > 1 else ""
        return f"INSERT INTO {self._db}.changes SELECT id, flags FROM {self._db}.moved {where} GROUP BY id, flags"

    def sort_changes(self, table: str, flags: Iterable[Flag]) -> str:
        """Put those of `changes` with such flags into a table, in the order of their bytes."""
        query = f"SELECT id, flags FROM {self._db}.changes WHERE flags IN ({_list(flags)}) ORDER BY id"
        return self._create(table, query)

    def read_slice(self, table: str, start: int, end: int) -> str:
        """Some rows of a sorted table as one row: the ids, and those that are only sent again, joined by line feeds."""
        joined, resends = "string_agg(id, chr(10))", _list(select(Change.RESEND, self._exclusive))
        return f"""SELECT {joined}, {joined} FILTER (WHERE flags IN ({resends}))
            FROM {self._db}.{table} WHERE rowid >= {start} AND rowid < {end}"""

    def latest_reversed(self, sent: Iterable[Flag]) -> str:
        """One number: the latest attempt of unknown outcome that a change (one of `sent`) reverses, or null."""
        return f"""SELECT max(if(changes.flags & {Flag.DESIRED:d} <> 0, overlay.remove_at, overlay.add_at))
            FROM {self._db}.changes AS changes JOIN {self._db}.overlay AS overlay ON changes.id = overlay.id
            WHERE changes.flags IN ({_list(sent)})"""

    # --- of `known` and of `changes` ---

    def list_ids(self, table: str, flags: Iterable[Flag], limit: int | None = None) -> str:
        """The ids with such flags, in the order of their bytes."""
        end = "" if limit is None else f" LIMIT {int(limit)}"
        return f"SELECT id FROM {self._db}.{table} WHERE flags IN ({_list(flags)}) ORDER BY id{end}"

    # --- tables ---

    def begin(self, table: str) -> str:
        """Make an empty table of COLUMNS."""
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS[table].items())
        return f"CREATE OR REPLACE TABLE {self._db}.{table} ({columns}{EXTRA.get(table, '')})"

    def add_block(self, table: str) -> str:
        """Add the rows of the block of text $1 (see `models.comparison.Rows`)."""
        kinds = COLUMNS[table].values()
        if len(kinds) == 1:
            return f"{self._insert(table)} {_LINES}"
        fields = ", ".join(f"nullif(fields[{place}], '')::{kind}" for place, kind in enumerate(kinds, 1))
        lines = f"SELECT string_split(line, chr({FIELD_END})) AS fields FROM ({_LINES})"
        return f"{self._insert(table)} SELECT {fields} FROM ({lines})"

    def add_page(self) -> str:
        """Add the rows of a page to `remote`: $1 is the block of its column `cio_id`, $2 that of `key`.

        A key that holds a control character can't be an id of ours: it is none. This is checked here, while the next
        page is on its way.
        """
        cio_ids, keys = (f"unnest(string_split({block}, chr({ROW_END})))" for block in ("cio_ids", "keys"))
        rows = f"SELECT {cio_ids} AS cio_id, nullif({keys}, '') AS key FROM (VALUES ($1, $2)) AS blocks (cio_ids, keys)"
        key = f"CASE WHEN NOT {has_control('key')} THEN {normalize('key', self._id_type)} END"
        return f"{self._insert('remote')} SELECT cio_id, {key} FROM ({rows})"

    def add_stream(self, table: str) -> str:
        """Add the rows of the stream `incoming`."""
        return f"{self._insert(table)} SELECT {_quote(COLUMNS[table])} FROM incoming"

    def _insert(self, table: str) -> str:
        return f"INSERT INTO {self._db}.{table} ({_quote(COLUMNS[table])})"

    def rename(self, table: str, name: str) -> str:
        return f"ALTER TABLE {self._db}.{table} RENAME TO {name}"

    def drop(self, table: str) -> str:
        return f"DROP TABLE IF EXISTS {self._db}.{table}"

    def _create(self, table: str, query: str) -> str:
        return f"CREATE OR REPLACE TABLE {self._db}.{table} AS {query}"


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(str(int(number)) for number in numbers) or "NULL"


# --- the rules of `models.ids` as SQL ---------------------------------------------------------------------------------

_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_SPACES = "".join(rf"\x{{{ord(character):x}}}" for character in WHITE_SPACE)
_BLANK = rf"[{_SPACES}]*"
_PADDED = rf"\A[{_SPACES}]|[{_SPACES}]\z"
_CONTROL = r"[\x00-\x1f\x7f-\x{9f}]"
_PLAIN = r"[!-~]([ -~]*[!-~])?"
_PLAIN_EMAIL = r"[!-?A-~]+@[!-?A-~]+"
_EMAIL = r"(?s)[^@]+@[^@]+"


def refusal(value: str, typed: str, id_type: IdType) -> str:
    """An SQL expression: why this value can't be an id, or null. `value` and `typed` are SQL.

    Nearly every id is plain ASCII: one cheap test lets it pass, and only the rest meets the rules one by one.
    """
    is_email = id_type is IdType.EMAIL
    return f"""CASE
        WHEN {value} IS NULL THEN '{NULL}'
        WHEN NOT {typed} THEN '{Invalid.TYPE.name}'
        WHEN {is_plain(value, id_type)} THEN NULL
        WHEN try(decode(encode({value}))) IS NULL THEN '{Invalid.TYPE.name}'
        WHEN regexp_full_match({value}, '{_BLANK}') THEN '{Invalid.BLANK.name}'
        WHEN regexp_matches({value}, '{_PADDED}') THEN '{Invalid.PADDED.name}'
        WHEN {has_control(value)} THEN '{Invalid.CONTROL.name}'
        WHEN strlen({value}) > {MAX_ID_BYTES} THEN '{Invalid.LONG.name}'
        {f"WHEN NOT regexp_full_match({value}, '{_EMAIL}') THEN '{Invalid.EMAIL.name}'" if is_email else ""}
    END"""


def is_plain(value: str, id_type: IdType) -> str:
    """An SQL expression: whether this is printable ASCII, and surely an id; the other rules need not be asked."""
    if id_type is IdType.EMAIL:
        return f"strlen({value}) <= {MAX_ID_BYTES} AND regexp_full_match({value}, '{_PLAIN_EMAIL}')"
    # What a URL need not escape are letters, digits and `-_.~`; this takes half the time of a pattern.
    fits = f"strlen({value}) BETWEEN 1 AND {MAX_ID_BYTES}"
    return f"{fits} AND (url_encode({value}) = {value} OR regexp_full_match({value}, '{_PLAIN}'))"


def has_control(value: str) -> str:
    """An SQL expression: whether it has a control character (category Cc)."""
    return f"regexp_matches({value}, '{_CONTROL}')"


def normalize(value: str, id_type: IdType) -> str:
    """An SQL expression: the id as it is compared; an email with A-Z in lower case, and no other letter touched."""
    if id_type is not IdType.EMAIL:
        return value
    is_ascii = f"strlen({value}) = length({value})"
    return f"CASE WHEN {is_ascii} THEN lower({value}) ELSE translate({value}, '{_UPPER}', '{_LOWER}') END"
