"""The rules of ids: from a value of the warehouse to the id that Customer.io gets.

The reference implementation goes value by value. The same rules as SQL, for `reconciler.diff`, are tested against it.
"""

import re
import unicodedata
import uuid
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

MAX_ID_BYTES = 150
"""Longest id in bytes of UTF-8. Source: Track API specification, limits."""

WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space property (str.strip differs: it takes U+001C to U+001F too)."""

_TOO_LARGE = 10**MAX_ID_BYTES
"""Numbers from here on are not written out: Python refuses to write a really long one."""

_PLAIN = re.compile(r"[!-~]([ -~]*[!-~])?")
_PLAIN_EMAIL = re.compile(r"[!-?\[-~]+@[!-?\[-~]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_UPPER, _LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
_ASCII_LOWER = str.maketrans(_UPPER, _LOWER)


class IdType(StrEnum):
    """What kind of identifier the ids of a segment are."""

    ID = "id"
    EMAIL = "email"
    CIO_ID = "cio_id"


class Invalid(StrEnum):
    """Why a value can't be an id."""

    BLANK = "an empty or blank string"
    PADDED = "white space at an end"
    CONTROL = "a control character"
    LONG = "more than 150 bytes"
    TYPE = "a float, boolean, date or bytes"
    """Also a text that has no UTF-8: half a surrogate pair."""
    EMAIL = "not one @ between two non-empty parts"


def identify(value: object, id_type: IdType) -> str | Invalid | None:
    """Give the id for one value as the source typed it, or why there is none; None for a NULL."""
    if value is None:
        return None
    text = write_exactly(value)
    return text if isinstance(text, Invalid) else check_text(text, id_type)


def write_exactly(value: object) -> str | Invalid:
    """Write a string, integer, UUID or integral decimal exactly; anything else is of a wrong type."""
    if isinstance(value, bool):
        return Invalid.TYPE
    if isinstance(value, str):
        return value
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < _TOO_LARGE else Invalid.LONG
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value)) if value.adjusted() < MAX_ID_BYTES else Invalid.LONG
    return Invalid.TYPE


def check_text(text: str, id_type: IdType) -> str | Invalid:
    """Check a text by the rules of ids; an email comes back with A-Z in lower case."""
    if not text.isascii() and not has_utf8(text):
        return Invalid.TYPE
    if not text.strip(WHITE_SPACE):
        return Invalid.BLANK
    if text[0] in WHITE_SPACE or text[-1] in WHITE_SPACE:
        return Invalid.PADDED
    if any(unicodedata.category(character) == "Cc" for character in text):
        return Invalid.CONTROL
    if len(text.encode()) > MAX_ID_BYTES:
        return Invalid.LONG
    if id_type is IdType.EMAIL and not is_email(text):
        return Invalid.EMAIL
    return fold(text, id_type)


def fold(text: str, id_type: IdType) -> str:
    """Write an id as it is compared and stored: an email with A-Z in lower case, any other as it is."""
    return text.translate(_ASCII_LOWER) if id_type is IdType.EMAIL else text


def is_id(text: str, id_type: IdType) -> bool:
    """Tell whether a text is an id as it is. Most are plain ASCII, which a pattern finds in a tenth of the time."""
    plain = _PLAIN_EMAIL if id_type is IdType.EMAIL else _PLAIN
    return (len(text) <= MAX_ID_BYTES and plain.fullmatch(text) is not None) or check_text(text, id_type) == text


def are_ids(texts: Sequence[str], id_type: IdType) -> bool:
    """Tell whether texts are surely ids as they are, by a few looks at all of them at once: printable ASCII."""
    whole = "".join(texts)
    if not (whole.isascii() and whole.isprintable()) or " " in whole:
        return False
    if min(map(len, texts), default=1) == 0 or max(map(len, texts), default=0) > MAX_ID_BYTES:
        return False
    return id_type is not IdType.EMAIL or all(map(_PLAIN_EMAIL.fullmatch, texts))


def can_be_stored(text: str) -> bool:
    """Tell whether a state may store a text as an id; `refresh` adopts any that has no control characters."""
    return bool(text) and has_utf8(text) and _CONTROL.search(text) is None


def has_utf8(text: str) -> bool:
    """Tell whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_email(text: str) -> bool:
    """Tell whether there is exactly one @, between two non-empty parts."""
    local, at, domain = text.partition("@")
    return bool(local and at and domain) and "@" not in domain


# --- the rules as SQL: for DuckDB all of them; for PostgreSQL what lets an id stay there -----------------------------

NULL = "NULL"
"""What `refusal` gives for a NULL; for an invalid value it gives the name of its `Invalid`."""

_SPACES = "".join(rf"\x{{{ord(character):x}}}" for character in WHITE_SPACE)
_BLANK = rf"[{_SPACES}]*"
_PADDED = rf"\A[{_SPACES}]|[{_SPACES}]\z"
_SQL_CONTROL = r"[\x00-\x1f\x7f-\x{9f}]"
_SQL_PLAIN = r"[!-~]([ -~]*[!-~])?"
_SQL_PLAIN_EMAIL = r"[!-?A-~]+@[!-?A-~]+"
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
    """An SQL expression: whether this is printable ASCII, and surely an id; the other rules need not be asked.

    In JSON control characters, quotes and backslashes are escaped: what grows by nothing but its quotes has none. That
    takes half the time of the pattern, which only the rest meets.
    """
    fits = f"strlen({value}) BETWEEN 1 AND {MAX_ID_BYTES}"
    plain = (
        f"strlen({value}) = length({value}) AND NOT contains({value}, ' ') AND NOT contains({value}, chr(127)) "
        f"AND try(strlen(CAST(to_json({value}) AS VARCHAR))) = strlen({value}) + 2"
    )
    pattern = _SQL_PLAIN
    if id_type is IdType.EMAIL:
        plain += f" AND {value} LIKE '_%@_%' AND {value} NOT LIKE '%@%@%'"
        pattern = _SQL_PLAIN_EMAIL
    return f"{fits} AND (({plain}) OR regexp_full_match({value}, '{pattern}'))"


def has_control(value: str) -> str:
    """An SQL expression: whether there is a control character."""
    return f"regexp_matches({value}, '{_SQL_CONTROL}')"


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
