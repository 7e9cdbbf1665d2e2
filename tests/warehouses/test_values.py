"""Each value of a warehouse becomes the id that it is, or is refused as the contract says; by each reader alike."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import make_url

from reconciler.errors import SourceError
from reconciler.models.fields import Secret
from reconciler.models.ids import IdType, Invalid, identify
from reconciler.models.options import read_options
from reconciler.sources import columns
from reconciler.sources.base import Source
from reconciler.sources.failures import Scrubber
from reconciler.sources.rows import RowSource
from tests.unit.sources.conftest import Row, read, segment
from tests.warehouses.engine import ERRORS, MARKS, Value, Warehouse

KINDS = (
    *("an integer", "the smallest integer", "the largest integer", "an integer that a double can't hold"),
    *("an integral decimal", "a decimal", "the widest decimal", "a UUID", "a boolean"),
    *("a date", "a timestamp", "a time", "a float", "bytes"),
)
"""What an engine's `values` have, but for what it lacks."""

TEXTS = {
    "empty": "",
    "blank": " ",
    "padded": " a",
    "trailing blank": "a ",
    "a no-break space at its end": "a\u00a0",
    "an ideographic space first": "\u3000a",
    "inner blanks": "a  b",
    "a tab": "a\tb",
    "a line": "a\nb",
    "a return": "a\r\nb",
    "a NUL": "a\0b",
    "the last control character of ASCII": "a\x7fb",
    "a unit separator": "a\x1fb",
    "a record separator": "a\x1eb",
    "a group separator first": "\x1da",
    "a next line": "a\x85b",
    "a line separator": "a\u2028b",
    "quotes": 'it\'s "q" `b`',
    "backslashes": "a\\b\\",
    "a backslash and a quote": "\\'",
    "percent signs": "100% %s %(x)s %%",
    "a param": ":low",
    "marks": "? $1 {x} {x:String} @a :1",
    "comments": "a -- b /* c */ # d // e",
    "a semicolon": "a;b",
    "a number": "7.0",
    "zeros first": "007",
    "an exponent": "1e5",
    "the word NULL": "NULL",
    "how a dump writes NULL": "\\N",
    "how Hive writes NULL": "__HIVE_DEFAULT_PARTITION__",
    "a boolean": "true",
    "a date": "2026-01-01",
    "accents": "né",
    "accents apart": "ne\u0301",
    "capitals": "NÉ",
    "four bytes": "𝄞 👩‍👩‍👧",
    "right to left": "\u202eab\u200f",
    "no width": "a\u200bb",
    "a byte order mark": "\ufeffa",
    "noncharacters": "a\uffffb",
    "the longest id": "é" * 75,
    "too long": "é" * 75 + "x",
    "an email": "Ann.O'Hara+x@Example.com",
}


class OnlyRows(RowSource):
    """The reader of rows, also where the driver gives columns."""

    @contextmanager
    def _read_columns(self, *_: object) -> Iterator[None]:
        yield None


@pytest.fixture
def sources(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> dict[str, Source]:
    """The source's reader and, where that is another, the reader of rows, which is its oracle."""
    monkeypatch.setattr(columns, "BLOCK_ROWS", 0)  # a few rows are read by column, too
    chosen = warehouse.open()
    if type(chosen) is RowSource and make_url(warehouse.url).get_driver_name() not in columns.DRIVERS:
        return {"rows": chosen}
    if warehouse.url.startswith("sc:"):  # SQLAlchemy has no dialect for it
        return {"columns": chosen}
    scrubber, options = Scrubber.of("warehouse", Secret(warehouse.url)), read_options(warehouse.started.options)
    rows = OnlyRows(make_url(warehouse.url), scrubber, options)
    return {"columns": chosen, "rows": rows}


def values_for(warehouse: Warehouse, reader: str) -> dict[str, Value]:
    return {kind: value for kind, value in warehouse.engine.values.items() if reader == "columns" or value.rows}


def become(source: Source, query: str, **params: str) -> object:
    """What the ids of a query become, or why there are none."""
    try:
        rows = read(source, query, "id", **params)
    except SourceError as error:
        return f"{error.message} {error.hint}"
    return Counter(map(judge, rows))


def judge(row: Row) -> str | None:
    value, typed = row
    found = identify(value, IdType.ID) if typed else Invalid.TYPE
    return f"refused: {found.name}" if isinstance(found, Invalid) else found


def test_every_kind_of_value_is_in_the_table_of_the_engine(warehouse):
    assert set(KINDS) <= set(warehouse.engine.values) | set(warehouse.engine.lacks)
    assert set(warehouse.engine.lacks) <= {*KINDS, *TEXTS, *ERRORS, MARKS}


def test_each_value_becomes_its_id_or_is_refused(warehouse, sources):
    for reader, source in sources.items():
        values = values_for(warehouse, reader)
        found = {kind: become(source, f"SELECT {value.sql} AS id") for kind, value in values.items()}

        refused = {kind for kind, ids in found.items() if isinstance(ids, Counter) and _is_refused(ids)}
        assert {kind: found[kind] for kind in refused} == {
            kind: found[kind] for kind, value in values.items() if value.id is None
        }, reader
        assert {kind: ids for kind, ids in found.items() if kind not in refused} == {
            kind: Counter([value.id]) for kind, value in values.items() if value.id is not None
        }, reader


def _is_refused(ids: Counter[str | None]) -> bool:
    return len(ids) == 1 and str(next(iter(ids))).startswith("refused: ")


def test_null_is_null_whatever_its_type(warehouse, sources):
    lacking = {}
    for reader, source in sources.items():
        for kind, value in values_for(warehouse, reader).items():
            query = f"SELECT CASE WHEN 1 = 0 THEN {value.sql} END AS id"
            if value.nullable and (found := become(source, query)) != Counter([None]):
                lacking[reader, kind] = found

    assert lacking == {}
    assert {reader: become(source, "SELECT NULL AS id") for reader, source in sources.items()} == {
        reader: Counter([None]) for reader in sources
    }


def test_a_type_that_holds_no_id_is_refused_by_the_check(warehouse):
    told = {}
    for kind, value in warehouse.engine.values.items():
        try:
            warehouse.open().check(segment(f"SELECT {value.sql} AS id"))
        except SourceError as error:
            told[kind] = "can be an id" in error.message or error.message

    refused = {kind for kind, value in warehouse.engine.values.items() if value.id is None and value.told}
    assert told == dict.fromkeys(refused, True)


def test_each_text_is_taken_as_it_is(warehouse, sources):
    texts = {name: text for name, text in TEXTS.items() if name not in warehouse.engine.lacks}
    warehouse.fill("odd", list(texts.values()))
    expected = Counter(judge((text, True)) for text in texts.values())

    for reader, source in sources.items():
        assert become(source, "SELECT id FROM odd") == expected, reader
        for name, text in texts.items():
            literal = become(source, f"SELECT {warehouse.engine.text(text)} AS id")
            assert literal == Counter([judge((text, True))]), f"{reader}: {name}"


def test_each_text_is_bound_as_it_is(warehouse, sources):
    query = f"SELECT CAST(:value AS {warehouse.engine.text_type}) AS id"
    for reader, source in sources.items():
        for name, text in TEXTS.items():
            if name not in warehouse.engine.lacks:
                assert become(source, query, value=text) == Counter([judge((text, True))]), f"{reader}: {name}"


def test_a_table_of_several_blocks_is_read_whole(warehouse, sources):
    warehouse.fill("digits", [str(digit) for digit in range(10)])
    tables = ", ".join(f"digits {name}" for name in "abcde")
    number = " + ".join(f"{10**place} * {name}.number" for place, name in enumerate("abcde"))
    query = f"SELECT CASE WHEN {number} >= 60000 THEN 60000 ELSE {number} END AS id FROM {tables}"

    for reader, source in sources.items():
        found = become(source, query)

        assert found == Counter([*(str(number) for number in range(60000)), *["60000"] * 40000]), reader
