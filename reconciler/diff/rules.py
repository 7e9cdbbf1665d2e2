"""The rules of `core.ids` as SQL, by column."""

from reconciler.models.ids import MAX_ID_BYTES, WHITE_SPACE, IdType, Invalid

NULL = "NULL"
"""What `refusal` says of a NULL; of an invalid value it says the name of its `Invalid`."""

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
    return f"""CASE
        WHEN {value} IS NULL THEN '{NULL}'
        WHEN NOT {typed} THEN '{Invalid.TYPE.name}'
        WHEN {is_plain(value, id_type)} THEN NULL
        WHEN try(decode(encode({value}))) IS NULL THEN '{Invalid.TYPE.name}'
        WHEN regexp_full_match({value}, '{_BLANK}') THEN '{Invalid.BLANK.name}'
        WHEN regexp_matches({value}, '{_PADDED}') THEN '{Invalid.PADDED.name}'
        WHEN {has_control(value)} THEN '{Invalid.CONTROL.name}'
        WHEN strlen({value}) > {MAX_ID_BYTES} THEN '{Invalid.LONG.name}'
        {_refuse_email(value) if id_type is IdType.EMAIL else ""}
    END"""


def is_plain(value: str, id_type: IdType) -> str:
    """An SQL expression: whether this is printable ASCII, and surely an id; the other rules need not be asked."""
    if id_type is IdType.EMAIL:
        return f"strlen({value}) <= {MAX_ID_BYTES} AND regexp_full_match({value}, '{_PLAIN_EMAIL}')"
    # What a URL need not escape are letters, digits and `-_.~`; this takes half the time of a pattern.
    fits = f"strlen({value}) BETWEEN 1 AND {MAX_ID_BYTES}"
    return f"{fits} AND (url_encode({value}) = {value} OR regexp_full_match({value}, '{_PLAIN}'))"


def _refuse_email(value: str) -> str:
    return f"WHEN NOT regexp_full_match({value}, '{_EMAIL}') THEN '{Invalid.EMAIL.name}'"


def has_control(value: str) -> str:
    """An SQL expression: whether there is a control character (category Cc)."""
    return f"regexp_matches({value}, '{_CONTROL}')"


def fold(value: str, id_type: IdType) -> str:
    """An SQL expression: the id as it is compared; an email with A-Z in lower case, and no other letter touched."""
    if id_type is not IdType.EMAIL:
        return value
    is_ascii = f"strlen({value}) = length({value})"
    return f"CASE WHEN {is_ascii} THEN lower({value}) ELSE translate({value}, '{_UPPER}', '{_LOWER}') END"
