"""The rules of `models.ids` as SQL: for DuckDB all of them; for PostgreSQL what lets an id stay there.

Each takes and gives SQL expressions.
"""

from reconciler.diff.decide import NULL
from reconciler.models.ids import MAX_ID_BYTES, WHITE_SPACE, IdType, Invalid

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
    """An SQL expression: whether there is a control character."""
    return f"regexp_matches({value}, '{_CONTROL}')"


def normalize(value: str, id_type: IdType) -> str:
    """An SQL expression: the id as it is compared; an email with A-Z in lower case, and no other letter touched."""
    if id_type is not IdType.EMAIL:
        return value
    is_ascii = f"strlen({value}) = length({value})"
    return f"CASE WHEN {is_ascii} THEN lower({value}) ELSE translate({value}, '{_UPPER}', '{_LOWER}') END"


def normalize_in_postgres(value: str, id_type: IdType) -> str:
    """Like `normalize`: under the collation "C", `lower` knows A-Z alone."""
    return f'lower({value} COLLATE "C")' if id_type is IdType.EMAIL else value


def sure_in_postgres(text: str, id_type: IdType) -> list[str]:
    """Conditions under which a text without control characters, as every text of the state is, is an id for sure."""
    conditions = [
        f"octet_length({text}) <= {MAX_ID_BYTES}",
        f"{text} >= '!'",
        f"CASE WHEN octet_length({text}) = length({text}) THEN {text} NOT LIKE '% ' "
        f"ELSE btrim({text}, {quote_for_postgres(WHITE_SPACE)}) = {text} END",
    ]
    if id_type is IdType.EMAIL:
        conditions += [f"{text} LIKE '_%@_%'", f"{text} NOT LIKE '%@%@%'"]
    return conditions


def quote_for_postgres(text: str) -> str:
    """A text as SQL that holds for any text and for any setting of the server."""
    return f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"
