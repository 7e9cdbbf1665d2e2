"""The rules of ids by column give what `models.ids` gives value by value."""

import unicodedata
from collections.abc import Iterator
from contextlib import closing

import adbc_driver_sqlite.dbapi
import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.diff.decide import NULL
from reconciler.models.ids import WHITE_SPACE, IdType, Invalid, check_text, is_plain, normalize, refusal

CONTROLS = "".join(chr(point) for point in range(0xA0) if unicodedata.category(chr(point)) == "Cc")
ODD = "@\u200b\ufeff\u00ad\u180e\x1c\x1d\x1e\x1f\u00e9\u0301ßıİK\U0001f600\U0010ffff%+~_.-"
characters = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(WHITE_SPACE),
    st.sampled_from(CONTROLS),
    st.sampled_from(ODD),
    st.sampled_from("abzABZ019 @@"),
)
texts = st.one_of(
    st.text(characters, max_size=12),
    st.builds(str.__mul__, characters, st.integers(48, 152)),
    st.builds("{}@{}".format, st.text(characters, max_size=5), st.text(characters, max_size=5)),
)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config={"enable_external_access": False}) as connection:
        yield connection


def check_column(
    database: duckdb.DuckDBPyConnection, values: list[str | None], id_type: IdType, typed: bool = True
) -> list[str | Invalid | None]:
    database.execute(
        f"SELECT refused, {normalize('value', id_type)} "
        f"FROM (SELECT value, {refusal('value', 'typed', id_type)} AS refused "
        "FROM (SELECT unnest($values::VARCHAR[]) AS value, $typed AS typed))",
        {"values": values, "typed": typed},
    )
    found = database.fetchall()
    return [None if refused == NULL else Invalid[refused] if refused else text for refused, text in found]


@settings(max_examples=200, deadline=None)
@given(values=st.lists(texts, min_size=1, max_size=40), id_type=st.sampled_from(IdType))
def test_a_column_of_any_texts_is_judged_as_the_oracle_judges_each(
    database: duckdb.DuckDBPyConnection, values: list[str], id_type: IdType
) -> None:
    assert check_column(database, [*values], id_type) == [check_text(value, id_type) for value in values]


@pytest.mark.parametrize("id_type", IdType)
def test_every_space_and_control_counts_at_the_start_the_end_and_within(
    database: duckdb.DuckDBPyConnection, id_type: IdType
) -> None:
    shapes = ["{}", "{}a@b", "a@b{}", "a@{}b", "{0}{0}"]
    values = [shape.format(character) for character in WHITE_SPACE + CONTROLS + ODD for shape in shapes]

    assert check_column(database, [*values], id_type) == [check_text(value, id_type) for value in values]


@pytest.mark.parametrize("id_type", IdType)
def test_the_limit_is_150_bytes_however_many_characters(database: duckdb.DuckDBPyConnection, id_type: IdType) -> None:
    values = [
        "a" * 148 + "@b",
        "a" * 149 + "@b",
        "é" * 74 + "@b",
        "é" * 75 + "@b",
        "\U0001f600" * 37 + "@b",
        "x" * 5000,
    ]

    assert check_column(database, [*values], id_type) == [check_text(value, id_type) for value in values]


def test_a_null_is_a_null_and_what_the_source_gave_as_another_type_is_invalid(
    database: duckdb.DuckDBPyConnection,
) -> None:
    assert check_column(database, ["7", None], IdType.ID) == ["7", None]
    assert check_column(database, ["7.0", None, ""], IdType.ID, typed=False) == [Invalid.TYPE, None, Invalid.TYPE]


def test_what_is_not_two_parts_around_one_at_sign_is_no_email(database: duckdb.DuckDBPyConnection) -> None:
    values = ["a@b", "@b", "a@", "@", "a", "a@@b", "a@b@c", "@a@b", "é@", "@é", "é@@b"]

    assert check_column(database, [*values], IdType.EMAIL) == ["a@b", *([Invalid.EMAIL] * 10)]


def test_whatever_is_printable_ascii_needs_the_quick_look_alone(database: duckdb.DuckDBPyConnection) -> None:
    signs = [chr(point) for point in range(0x21, 0x7F)]
    shapes = ("{0}", "{0}{0}", "a{0}b", "{0} {0}", "a {0} b")
    ids = [shape.format(sign) for sign in signs for shape in shapes] + ["x" * 150]
    emails = [f"{sign}@{sign}" for sign in signs if sign != "@"] + ["a@" + "b" * 148]

    for values, id_type in ((ids, IdType.ID), (emails, IdType.EMAIL)):
        quick = f"SELECT value FROM (SELECT unnest($1::VARCHAR[]) AS value) WHERE NOT ({is_plain('value', id_type)})"
        assert database.execute(quick, [values]).fetchall() == []


@pytest.mark.parametrize("id_type", IdType)
def test_bytes_that_are_no_utf8_are_no_text_whatever_they_look_like(
    database: duckdb.DuckDBPyConnection, id_type: IdType
) -> None:
    texts = [b"a@b\xff", b"\xc3a@b", b"a@\x80b", b"a@b\xed\xa0\x80", b"a@\xf0\x9f\x98", b"a@b" + b"c" * 20 + b"\xfe"]
    select = " UNION ALL ".join(f"SELECT CAST(x'{text.hex()}' AS TEXT) AS value" for text in texts)
    with closing(adbc_driver_sqlite.dbapi.connect(":memory:")) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(select)
        database.register("bytes", cursor.fetch_arrow().__arrow_c_stream__())
        found = database.execute(f"SELECT {refusal('value', 'true', id_type)} FROM bytes").fetchall()

    assert found == [(Invalid.TYPE.name,)] * len(texts)
