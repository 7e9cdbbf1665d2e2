"""The statements of members at the source, written once for all databases (see `models.members`).

A few words differ by dialect. No statement holds an id: ids come in tables that are lent for it (`models.ids` has the
same rules for what comes back). Keys and lineages stand in them as `write_name` writes them.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from urllib.parse import quote

from reconciler.models.ids import MAX_ID_BYTES, WHITE_SPACE, IdType
from reconciler.models.members import MembersHead

BASE, CHANGES, HEADS = "reconcile_base", "reconcile_changes", "reconcile_heads"
TABLES = {
    BASE: "segment_key {text}, generation BIGINT, id {text}",
    CHANGES: "segment_key {text}, generation BIGINT, serial BIGINT, op SMALLINT, id {text}",
    HEADS: "segment_key {text}, lineage {text}, generation BIGINT, serial BIGINT, members BIGINT, "
    "total {decimal}, written_at {text}",
}


_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"


def _sum_md5(digits: slice, ids: Iterable[str]) -> int:
    """Sum some of the 32 hexadecimal digits of the MD5 of each id's UTF-8."""
    return sum(int(md5(each.encode(), usedforsecurity=False).hexdigest()[digits], 16) for each in ids)


_SUM_OF_FIRST_BITS = partial(_sum_md5, slice(15))
"""60 bits, which every engine can tell."""

_SUM_OF_LAST_BITS = partial(_sum_md5, slice(16, None))
"""64 bits, which `MD5_NUMBER_LOWER64` of Snowflake gives."""


def _sum_xxhash(ids: Iterable[str]) -> int:
    """Sum what `xxhash64` of Spark SQL gives: XXH64 of each id's UTF-8 with the seed 42, as a signed number."""
    from xxhash import xxh64_intdigest

    sign = 1 << 63
    return sum((xxh64_intdigest(each.encode(), 42) ^ sign) - sign for each in ids)


@dataclass(frozen=True)
class Dialect:
    """The words that differ; `{}` is an expression."""

    text: str
    """The type of texts, compared by their bytes."""
    number: str
    """The number of an id, of a type in which a sum of many fits; null for null."""
    length: str
    """The number of its bytes."""
    matches: str
    """Whether something in `{0}` matches the pattern `{1}`."""
    decimal: str = "DECIMAL(38,0)"
    """The type of a sum of numbers."""
    sum_of: Callable[[Iterable[str]], int] = _SUM_OF_FIRST_BITS
    """Gives the sum of the numbers of ids."""
    string: str = "{}"
    """An expression for a string, compared by its bytes."""
    digest: str = "md5({})"
    """The MD5 of a text, in hexadecimal."""
    lower: str = f"translate({{}}, '{_UPPER}', '{_LOWER}')"
    """An ASCII text with A-Z in lower case."""
    ending: str = ""
    """What follows the columns of a new table; `{table}` is its name."""


SPARK = Dialect(
    text="STRING",
    # MD5 would take as long as the rest of the comparison. Of NULL `xxhash64` gives its seed.
    number="CASE WHEN {0} IS NOT NULL THEN CAST(xxhash64({0}) AS DECIMAL(38,0)) END",
    sum_of=_sum_xxhash,
    length="octet_length({})",
    matches="{} RLIKE '{}'",
)
DUCKDB = Dialect(
    text="VARCHAR",
    number="CAST(CAST('0x' || substr(md5({}), 1, 15) AS BIGINT) AS DECIMAL(38,0))",
    length="strlen({})",
    matches="regexp_matches({}, '{}')",
)
POSTGRES = Dialect(
    text='TEXT COLLATE "C"',
    number="CAST(CAST('x0' || substr(md5({}), 1, 15) AS BIT(64)) AS BIGINT)",
    length="octet_length({})",
    matches="{} ~ '{}'",
    string='({} COLLATE "C")',
    lower="lower({})",  # 5 µs less a text than `translate`; under the collation C it is the same
)
BIGQUERY = Dialect(
    text="STRING",
    decimal="BIGNUMERIC(38,0)",  # a sum of NUMERIC, too, but the emulator's is narrow
    number="CAST(CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5({})), 1, 15)) AS INT64) AS BIGNUMERIC(38,0))",
    digest="TO_HEX(MD5({}))",
    length="BYTE_LENGTH({})",
    matches="REGEXP_CONTAINS({}, r'{}')",
    ending=" DEFAULT COLLATE '' CLUSTER BY segment_key, generation",
)
SNOWFLAKE = Dialect(
    text="VARCHAR",
    decimal="NUMBER(37,0)",  # of 38 digits the emulator makes a BIGINT
    number="CAST(MD5_NUMBER_LOWER64({}) AS NUMBER(37,0))",
    sum_of=_SUM_OF_LAST_BITS,
    length="OCTET_LENGTH({})",
    matches="REGEXP_INSTR({}, '{}') > 0",
    ending=" DEFAULT_DDL_COLLATION = ''",
)

_APART = (("a", "A"), ("e", "é"), ("", " "))
"""Texts that are not the same, and that a collation may take for the same."""

_ASCII = "^[ -~]*$"
_SPACES = "".join(character for character in WHITE_SPACE if character == " " or character > "\x85")
_PADDED = f"^[{_SPACES}]|[{_SPACES}]$"
"""White space at an end; the control characters among it are in no member."""


def write_name(name: str) -> str:
    """Write a key or a lineage as a literal of SQL; it is stored with %XX for what could end the literal."""
    return f"'{quote(name, safe='/')}'"


@dataclass(frozen=True)
class Statements:
    """The statements of one database; `prefix` stands before the names of its tables."""

    dialect: Dialect
    prefix: str

    def create(self) -> list[str]:
        text, decimal, ending = self.dialect.text, self.dialect.decimal, self.dialect.ending
        return [
            f"CREATE TABLE IF NOT EXISTS {self.prefix}{table} ({columns.format(text=text, decimal=decimal)})"
            f"{ending.format(table=table)}"
            for table, columns in TABLES.items()
        ]

    # --- heads --------------------------------------------------------------------------------------------------------

    def heads(self, key: str) -> str:
        """Give generation, serial, members, total (text) and lineage of each head, and whether texts are folded.

        Folded: 1 where the table has a collation that overlooks case, accents or blanks at an end; else 0.
        """
        folded = " OR ".join(f"concat(lineage, '{one}') = concat(lineage, '{other}')" for one, other in _APART)
        return (
            f"SELECT generation, serial, members, CAST(total AS {self._plain}) AS total, lineage, "
            f"CASE WHEN {folded} THEN 1 ELSE 0 END AS folded "
            f"FROM {self.prefix}{HEADS} WHERE segment_key = {write_name(key)}"
        )

    def add_head(self, key: str, head: MembersHead) -> str:
        # Each column has a name, as one engine takes no two that are written alike.
        return (
            f"INSERT INTO {self.prefix}{HEADS} SELECT {write_name(key)} AS segment_key, "
            f"{write_name(head.lineage)} AS lineage, CAST({head.generation} AS BIGINT) AS generation, "
            f"CAST({head.serial} AS BIGINT) AS serial, CAST({head.rows} AS BIGINT) AS members, "
            f"CAST('{head.sum}' AS {self.dialect.decimal}) AS total, "
            f"CAST(current_timestamp AS {self._plain}) AS written_at"
        )

    # --- what is written ----------------------------------------------------------------------------------------------

    def add_base(self, key: str, generation: int, ids: str) -> str:
        """`ids`: a table, or a query in parentheses, with the column `id`."""
        return (
            f"INSERT INTO {self.prefix}{BASE} "
            f"SELECT {write_name(key)} AS segment_key, CAST({generation} AS BIGINT) AS generation, id FROM {ids} given"
        )

    def add_changes(self, key: str, generation: int, serial: int, op: int, ids: str) -> str:
        return (
            f"INSERT INTO {self.prefix}{CHANGES} SELECT {write_name(key)} AS segment_key, "
            f"CAST({generation} AS BIGINT) AS generation, CAST({serial} AS BIGINT) AS serial, "
            f"CAST({op} AS SMALLINT) AS op, id FROM {ids} given"
        )

    def count_base(self, key: str, generation: int) -> str:
        """Give rows, distinct ids, and sum of a generation."""
        # Grouped, as an engine may gather the ids of a count(DISTINCT id) in one place.
        grouped = f"SELECT id, count(*) AS number FROM ({self._base(key, generation)}) b GROUP BY id"
        return f"SELECT sum(number), count(*), {self._sum('id')} FROM ({grouped}) g"

    def count_changes(self, key: str, head: MembersHead, serial: int) -> str:
        """Give rows and sum of the members before the changes of `serial` and after them, and of these."""
        counted = (
            f"SELECT coalesce(b.id, c.id) AS id, c.sent, "
            f"{_member('c.before')} AS before, {_member('c.after')} AS after "
            f"FROM ({self._base(key, head.generation)}) b FULL OUTER JOIN ("
            f"SELECT id, mod(max(CASE WHEN serial <= {head.serial} THEN serial * 2 + op END), 2) AS before, "
            f"mod(max(serial * 2 + op), 2) AS after, max(CASE WHEN serial = {serial} THEN 1 END) AS sent "
            f"FROM {self._changes(key, head.generation)} AND (serial <= {head.serial} OR serial = {serial}) "
            "GROUP BY id) c ON b.id = c.id"
        )
        sums = ", ".join(
            f"count(CASE WHEN {which} THEN 1 END), {self._sum(f'CASE WHEN {which} THEN id END')}"
            for which in ("before = 1", "after = 1", "sent = 1")
        )
        return f"SELECT {sums} FROM ({counted}) counted"

    def drop(self, key: str, keep: Collection[int]) -> list[str]:
        last = f" AND generation < {max(keep)} AND generation NOT IN ({', '.join(map(str, keep))})" if keep else ""
        return [
            f"DELETE FROM {self.prefix}{table} WHERE segment_key = {write_name(key)}{last}"
            for table in (BASE, CHANGES, HEADS)  # cut short, a head without its members is found out
        ]

    def generations_of(self, key: str, ids: Iterable[str]) -> str:
        """Give the generations that have a row of one of the ids: nothing that logs it learns these."""
        digests = ", ".join(f"'{md5(each.encode(), usedforsecurity=False).hexdigest()}'" for each in ids)
        which = f"segment_key = {write_name(key)} AND {self.dialect.digest.format('id')} IN ({digests})"
        found = (f"SELECT generation FROM {self.prefix}{table} WHERE {which}" for table in (BASE, CHANGES))
        return " UNION ALL ".join(found)

    # --- what is read -------------------------------------------------------------------------------------------------

    def members(self, key: str, head: MembersHead) -> str:
        """Give each member's `id`."""
        if not head.serial:
            return self._base(key, head.generation)
        return (
            f"SELECT coalesce(b.id, c.id) AS id FROM ({self._base(key, head.generation)}) b FULL OUTER JOIN ("
            f"SELECT id, mod(max(serial * 2 + op), 2) AS op FROM {self._changes(key, head.generation)} "
            f"AND serial <= {head.serial} GROUP BY id) c ON b.id = c.id WHERE {_member('c.op')} = 1"
        )

    def held_of(self, key: str, head: MembersHead, ids: str) -> str:
        """Give those of the ids in the table `ids` that are members."""
        return f"SELECT m.id FROM ({self.members(key, head)}) m JOIN {ids} given ON m.id = given.id"

    def compare(
        self,
        key: str,
        head: MembersHead,
        id_type: IdType,
        values: str,
        overlay: str,
        left: Iterable[int],
        kept: Iterable[int],
        *,
        all_typed: bool = False,
    ) -> str:
        """Compare the rows of the query `values` (`value`, `typed`) with members and overlay: rows as in `Answer`.

        An id that is not desired stays with the flags of `left`, a desired one with those of `kept`.
        """
        typed, and_typed = ("true", "") if all_typed else ("typed", ", typed")
        value = self.dialect.string.format("value")
        if id_type is IdType.EMAIL:  # as it is compared, if it is ASCII; any other is judged once it has come
            is_ascii = self.dialect.matches.format(value, _ASCII)
            value = f"CASE WHEN {is_ascii} THEN {self.dialect.lower.format(value)} ELSE {value} END"
        return _COMPARE.format(
            values=values,
            value=value,
            typed=typed,
            and_typed=and_typed,
            base_row=_BASE_ROW,
            base=self._base(key, head.generation),
            changes=f"{self._changes(key, head.generation)} AND serial <= {head.serial}",
            overlay=overlay,
            left=", ".join(map(str, sorted(left))),
            kept=", ".join(map(str, sorted(kept))),
            sure="\n             AND ".join(self._sure("id", id_type)),
            total=self._sum("member_id"),
            text=self._plain,
        )

    # --- parts --------------------------------------------------------------------------------------------------------

    @property
    def _plain(self) -> str:
        return self.dialect.text.partition(" ")[0]

    def _base(self, key: str, generation: int) -> str:
        return f"SELECT id FROM {self.prefix}{BASE} WHERE segment_key = {write_name(key)} AND generation = {generation}"

    def _changes(self, key: str, generation: int) -> str:
        return f"{self.prefix}{CHANGES} WHERE segment_key = {write_name(key)} AND generation = {generation}"

    def _sum(self, member: str) -> str:
        """The sum of numbers as text; null for none. The numbers of a few members exceed a BIGINT."""
        return f"CAST(sum({self.dialect.number.format(member)}) AS {self._plain})"

    def _sure(self, member: str, id_type: IdType) -> list[str]:
        """Conditions under which a member, which has no control characters, is an id for sure."""
        text, octets = self.dialect.string.format(member), self.dialect.length.format(member)
        # Of an ASCII text a few comparisons tell what else takes a regular expression, which is slow.
        is_ascii, unpadded = f"{octets} = length({member})", f"{text} >= '!' AND {member} NOT LIKE '% '"
        conditions = [f"{octets} BETWEEN 1 AND {MAX_ID_BYTES}"]
        if id_type is IdType.EMAIL:
            return [*conditions, is_ascii, unpadded, f"{member} LIKE '_%@_%'", f"{member} NOT LIKE '%@%@%'"]
        padded = self.dialect.matches.format(text, _PADDED)
        return [*conditions, f"CASE WHEN {is_ascii} THEN {unpadded} ELSE NOT {padded} END"]


def _member(op: str) -> str:
    """1 for a member, else 0: by its last change, else by the base."""
    return f"coalesce({op}, CASE WHEN b.id IS NULL THEN 0 ELSE 1 END)"


_BASE_ROW = 1 << 40
"""What a row of the base counts in `weight`, where one of the query counts 1: so both are told by one sum."""

# The query of the user comes first, since it must not see the names that follow, and in Snowflake it sees its own. All
# rows are grouped by their ids once: an engine need not move a side twice, sort it, or keep it for a join. A row of the
# base is its change 0, and one that is there twice makes its member count twice, so that it is found out. Only what may
# change travels.
_COMPARE = """
WITH reconcile_given AS (
    SELECT {value} AS id, typed FROM (
{values}
    ) v
), every AS (
    SELECT id, typed, CAST(1 AS BIGINT) AS weight, CAST(NULL AS BIGINT) AS entry, CAST(NULL AS SMALLINT) AS flags,
        0 AS travels
    FROM reconcile_given
    UNION ALL
    SELECT id, true, CAST({base_row} AS BIGINT), CAST(1 AS BIGINT), CAST(NULL AS SMALLINT), 0 FROM ({base}) b
    UNION ALL
    SELECT id, true, CAST(0 AS BIGINT), serial * 2 + op, CAST(NULL AS SMALLINT), 0 FROM {changes}
    UNION ALL
    SELECT id, true, CAST(0 AS BIGINT), CAST(NULL AS BIGINT), flags, CASE WHEN travels THEN 1 ELSE 0 END
    FROM {overlay} laid
), grouped AS (
    SELECT id, {typed} AS typed, CAST(sum(weight) AS BIGINT) AS weight, coalesce(mod(max(entry), 2), 0) AS is_member,
        max(flags) AS flags, max(travels) AS travels
    FROM every GROUP BY id{and_typed}
), known AS (
    SELECT id, typed, mod(weight, {base_row}) AS number, travels,
        CASE WHEN is_member = 1 AND weight >= 2 * {base_row} THEN 2 ELSE is_member END AS members,
        CASE WHEN is_member = 1 AND flags IS NULL THEN 1 ELSE flags END AS flags
    FROM grouped
), matched AS (
    SELECT id, typed, number, members, flags,
        CASE WHEN number = 0 THEN coalesce(flags, 0) IN ({left})
             WHEN typed AND flags IN ({kept}) AND travels = 0
             AND {sure} THEN true
             ELSE false END AS stays
    FROM known
)
SELECT stays, moved_id AS id, typed, flags, sum(number) AS number, count(flags) AS held, sum(members) AS members,
    coalesce({total}, '0') AS total
FROM (
    SELECT stays, CASE WHEN NOT stays THEN id END AS moved_id, typed, flags, number, members,
        CASE WHEN members > 0 THEN id END AS member_id
    FROM matched
) found
GROUP BY stays, moved_id, typed, flags"""
