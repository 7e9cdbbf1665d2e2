"""From a value to an id: the contract's table, and the laws that hold for any value."""

import datetime
import string
import unicodedata
import uuid
from decimal import Decimal
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.models.ids import WHITE_SPACE, IdType, Invalid, check_text, identify, is_email, write_exactly

# Unicode 15.1, PropList.txt, White_Space.
WHITE_SPACE_POINTS = (
    *range(0x9, 0xE),
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
)
ANY_TYPE = st.sampled_from(IdType)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(WHITE_SPACE + "@\x00\x1c\x7f\u200b\ufeff"))


class Number(IntEnum):
    SEVEN = 7


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("7", "7"),
        ("7.0", "7.0"),
        ("007", "007"),
        ("Ada", "Ada"),
        ("a b", "a b"),
        ("true", "true"),
        ("é", "é"),
        ("e\u0301", "e\u0301"),
        ("\u200bid", "\u200bid"),
        ("\ufeffid", "\ufeffid"),
        ("👩‍🚀", "👩‍🚀"),
        (7, "7"),
        (0, "0"),
        (-7, "-7"),
        (2**53 + 1, "9007199254740993"),
        (2**70, "1180591620717411303424"),
        (10**150 - 1, "9" * 150),
        (1 - 10**149, "-" + "9" * 149),
        (Number.SEVEN, "7"),
        (Decimal("7"), "7"),
        (Decimal("7.00"), "7"),
        (Decimal("-7.0"), "-7"),
        (Decimal("-0"), "0"),
        (Decimal("0.00"), "0"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E+149"), "1" + "0" * 149),
        (Decimal("9007199254740993.0"), "9007199254740993"),
        (Decimal("1234567890123456789012345678901234567890.000"), "1234567890123456789012345678901234567890"),
        (uuid.UUID("12345678-1234-5678-1234-567812345678"), "12345678-1234-5678-1234-567812345678"),
    ],
)
def test_a_value_that_is_an_id_is_written_exactly(value: object, written: str) -> None:
    assert identify(value, IdType.ID) == written


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", Invalid.BLANK),
        (" ", Invalid.BLANK),
        ("\t\n", Invalid.BLANK),
        ("\u3000\u2003", Invalid.BLANK),
        (" 7", Invalid.PADDED),
        ("7 ", Invalid.PADDED),
        ("7\n", Invalid.PADDED),
        ("\u00a07", Invalid.PADDED),
        ("7\u0085", Invalid.PADDED),
        ("a\x00b", Invalid.CONTROL),
        ("a\tb", Invalid.CONTROL),
        ("a\nb", Invalid.CONTROL),
        ("a\x85b", Invalid.CONTROL),
        ("\x1c7", Invalid.CONTROL),
        ("\x1c", Invalid.CONTROL),
        ("7\x7f", Invalid.CONTROL),
        ("x" * 151, Invalid.LONG),
        ("é" * 76, Invalid.LONG),
        (10**150, Invalid.LONG),
        (1 - 10**150, Invalid.LONG),
        (Decimal("1E+150"), Invalid.LONG),
        (7.0, Invalid.TYPE),
        (7.5, Invalid.TYPE),
        (float("nan"), Invalid.TYPE),
        (True, Invalid.TYPE),
        (False, Invalid.TYPE),
        (Decimal("7.5"), Invalid.TYPE),
        (Decimal("NaN"), Invalid.TYPE),
        (Decimal("sNaN"), Invalid.TYPE),
        (Decimal("Infinity"), Invalid.TYPE),
        (Decimal("12345678901234567890123456789012345.5"), Invalid.TYPE),
        (datetime.date(2026, 1, 1), Invalid.TYPE),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), Invalid.TYPE),
        (b"7", Invalid.TYPE),
        (["7"], Invalid.TYPE),
    ],
)
def test_a_value_that_is_no_id_says_why(value: object, why: Invalid) -> None:
    assert identify(value, IdType.ID) is why


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), Decimal("1E+5000"), Decimal("1E+400000")],
    ids=["int", "negative", "decimal", "vast"],
)
def test_a_huge_number_is_too_long_and_not_a_crash(value: object) -> None:
    assert identify(value, IdType.ID) is Invalid.LONG


@pytest.mark.parametrize("value", [10**150, -(10**150), Decimal(10**150)], ids=["int", "negative", "decimal"])
def test_a_number_of_151_digits_is_not_written_out_to_be_found_too_long(value: object) -> None:
    assert write_exactly(value) is Invalid.LONG


def test_null_is_neither_an_id_nor_invalid() -> None:
    assert identify(None, IdType.ID) is None


@pytest.mark.parametrize("text", ["x" * 150, "é" * 75, "😀" * 37])
def test_150_bytes_of_utf8_are_not_too_long(text: str) -> None:
    assert check_text(text, IdType.ID) == text


@pytest.mark.parametrize("id_type", IdType)
def test_half_a_surrogate_pair_has_no_utf8_and_is_invalid(id_type: IdType) -> None:
    assert check_text("a@\ud800", id_type) is Invalid.TYPE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("ÀDA@EXAMPLE.COM", "Àda@example.com"),
        ("İ@x", "İ@x"),
        ("\u212a@x", "\u212a@x"),  # KELVIN SIGN: lower() would make it a k
        ("a b@c", "a b@c"),
        ("@b", Invalid.EMAIL),
        ("a@", Invalid.EMAIL),
        ("@", Invalid.EMAIL),
        ("a", Invalid.EMAIL),
        ("a@b@c", Invalid.EMAIL),
        ("a@@c", Invalid.EMAIL),
        (" a@b", Invalid.PADDED),
        ("", Invalid.BLANK),
    ],
)
def test_an_email_has_one_at_sign_and_its_a_to_z_in_lower_case(text: str, found: object) -> None:
    assert check_text(text, IdType.EMAIL) == found


@pytest.mark.parametrize("id_type", [IdType.ID, IdType.CIO_ID])
def test_other_ids_keep_their_case(id_type: IdType) -> None:
    assert check_text("Ada@Example.COM", id_type) == "Ada@Example.COM"


@pytest.mark.parametrize(("value", "found"), [("Ada@X", "ada@x"), (7.0, Invalid.TYPE), (7, Invalid.EMAIL)])
def test_a_value_for_an_email_is_first_of_the_right_type_and_then_an_email(value: object, found: object) -> None:
    assert identify(value, IdType.EMAIL) == found


def test_the_kinds_of_ids_have_the_words_of_a_spec_and_reasons_those_for_people() -> None:
    assert list(IdType) == ["id", "email", "cio_id"]
    assert list(Invalid) == [
        "an empty or blank string",
        "white space at an end",
        "a control character",
        "more than 150 bytes",
        "a float, boolean, date or bytes",
        "not one @ between two non-empty parts",
    ]


def test_white_space_is_unicodes_property() -> None:
    assert sorted(map(ord, WHITE_SPACE)) == sorted(WHITE_SPACE_POINTS)


# --- laws --------------------------------------------------------------------------------------------------------


@given(TEXTS, ANY_TYPE)
def test_what_passes_keeps_every_rule(text: str, id_type: IdType) -> None:
    found = check_text(text, id_type)
    if not isinstance(found, Invalid):
        assert found
        assert found[0] not in WHITE_SPACE
        assert found[-1] not in WHITE_SPACE
        assert not any(unicodedata.category(character) == "Cc" for character in found)
        assert len(found.encode()) <= 150
        assert id_type is not IdType.EMAIL or not set(found) & set(string.ascii_uppercase)


@given(TEXTS, ANY_TYPE)
def test_an_id_is_its_own_id(text: str, id_type: IdType) -> None:
    found = check_text(text, id_type)
    assert isinstance(found, Invalid) or check_text(found, id_type) == found


@given(TEXTS)
def test_an_id_is_never_changed(text: str) -> None:
    assert check_text(text, IdType.ID) in (text, *Invalid)


@given(TEXTS)
def test_an_email_changes_only_in_the_case_of_a_to_z(text: str) -> None:
    found = check_text(text, IdType.EMAIL)
    if not isinstance(found, Invalid):
        assert len(found) == len(text)
        pairs = zip(text, found, strict=True)
        assert all(new == (old.lower() if old in string.ascii_uppercase else old) for old, new in pairs)


@given(st.integers())
def test_an_integer_and_its_integral_decimal_are_one_id(number: int) -> None:
    assert identify(number, IdType.ID) == identify(Decimal(number), IdType.ID)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12))
def test_a_decimal_is_an_id_only_where_it_is_integral(number: Decimal) -> None:
    found = identify(number, IdType.ID)
    assert found == (str(int(number)) if number == int(number) else Invalid.TYPE)


@given(st.text("ab@", max_size=6))
def test_an_email_is_two_parts_around_one_at_sign(text: str) -> None:
    parts = text.split("@")
    assert is_email(text) == (len(parts) == 2 and all(parts))
