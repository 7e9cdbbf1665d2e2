"""A column can be seen to hold no ids before any row is read, whatever its driver makes of the values."""

import datetime
from types import SimpleNamespace

import psycopg
import pytest
from psycopg.types.string import TextLoader

from reconciler.errors import SourceError
from reconciler.sources.base import read_blocks
from reconciler.sources.column_types import find_unfit

from .conftest import segment, values_of

DUCKDB = {
    "DATE '2026-01-01'": "DATE",
    "7.0::DOUBLE": "DOUBLE",
    "true": "BOOLEAN",
    "'a'::BLOB": "BLOB",
    "'{}'::JSON": "JSON",
    "['a']": r"VARCHAR\[\]",
    "{'a': 1}": "STRUCT",
}
POSTGRES = {
    "DATE '2026-01-01'": "date",
    "now()": "timestamp with time zone|timestamptz",
    "7.0::float8": "float8|double precision",
    "true": "bool",
    "'a'::bytea": "bytea",
    "'{}'::json": "json",
}
FIT = ["7", "'a'", "NULL", "CAST(7.00 AS DECIMAL(10, 2))", "CAST('a' AS VARCHAR(5))", "CAST('a' AS CHAR(5))"]


@pytest.mark.parametrize("value", DUCKDB)
def test_duckdb_knows_that_no_value_of_a_type_can_be_an_id(duckdb_warehouse, value):
    with pytest.raises(SourceError, match=rf"of type ({DUCKDB[value]}).*can be an id") as caught:
        duckdb_warehouse.source.check(segment(f"SELECT {value} AS id"))

    assert "CAST" in caught.value.hint


@pytest.mark.parametrize("value", POSTGRES)
@pytest.mark.parametrize("reader", ["postgres", "postgres_rows"])
def test_postgres_knows_that_no_value_of_a_type_can_be_an_id(request, reader, value):
    warehouse = request.getfixturevalue(f"{reader}_warehouse")

    with pytest.raises(SourceError, match=rf"of type ({POSTGRES[value]}).*can be an id"):
        warehouse.source.check(segment(f"SELECT {value} AS id"))


@pytest.mark.parametrize("value", ["ARRAY['a']", "'1.5'::money", "ROW(1)"])
def test_postgres_knows_it_of_types_that_no_driver_names(postgres_warehouse, value):
    with pytest.raises(SourceError, match="can be an id"):
        postgres_warehouse.source.check(segment(f"SELECT {value} AS id"))


@pytest.mark.parametrize("value", FIT)
def test_a_type_that_may_hold_an_id_passes(warehouse, value):
    warehouse.source.check(segment(f"SELECT {value} AS id"))


def test_another_column_may_be_of_any_type(warehouse):
    warehouse.source.check(segment("SELECT 'a' AS id, CAST(7.5 AS FLOAT) AS score", "id"))


@pytest.fixture
def _texts_for_all():
    """A psycopg that makes texts of dates and doubles, as drivers of other databases do."""
    adapters, kept = psycopg.adapters, {}
    for name in ("date", "float8", "bool"):
        oid = psycopg.postgres.types[name].oid
        kept[name] = adapters.get_loader(oid, psycopg.pq.Format.TEXT)
        adapters.register_loader(name, TextLoader)
    yield
    for name, loader in kept.items():
        adapters.register_loader(name, loader)


@pytest.mark.usefixtures("_texts_for_all")
@pytest.mark.parametrize("value", ["DATE '2026-01-01'", "7.0::float8", "true"])
def test_a_date_that_a_driver_gives_as_text_is_no_id(postgres_rows_warehouse, value):
    query = f"SELECT unnest(ARRAY[{value}, NULL])"

    assert postgres_rows_warehouse.read(query) == [("", False), (None, True)]


class Object:
    """A type object as DB-API describes it: equal to the codes that it stands for."""

    def __init__(self, *codes):
        self.codes = codes

    def __eq__(self, other):
        return other in self.codes

    __hash__ = None


def described(code, driver="other", asked=None, **objects):
    return find_unfit(code, SimpleNamespace(driver=driver, dbapi=SimpleNamespace(**objects)), lambda _: asked)


@pytest.mark.parametrize(
    "code",
    [
        "DATE",
        "date",
        "DATE_TYPE",
        "timestamp(3) with time zone",
        "TIMESTAMP_NTZ",
        "Nullable(DateTime64(3))",
        "LowCardinality(Nullable(Float64))",
        "IntervalDay",
        "Nullable(BFloat16)",
        "Variant(String, UInt8)",
        "Dynamic",
        "Array(String)",
        "DOUBLE",
        "double precision",
        "FLOAT64",
        "BOOL",
        "boolean",
        "varbinary",
        "array(varchar)",
        "interval day to second",
        "JSON",
        datetime.date,
        datetime.datetime,
        float,
        bool,
        bytearray,
        SimpleNamespace(name="DB_TYPE_TIMESTAMP_TZ"),
    ],
)
def test_drivers_tell_by_name_or_class(code):
    assert described(code)


@pytest.mark.parametrize(
    "code",
    [
        None,
        "STRING",
        "STRING_TYPE",
        "varchar(10)",
        "Nullable(String)",
        "UInt64",
        "bigint",
        "decimal(38,0)",
        "DECIMAL_TYPE",
        "UUID",
        "FixedString(3)",
        "timeuuid",
        "rowid",
        str,
        int,
        7,
        SimpleNamespace(name="DB_TYPE_VARCHAR"),
        SimpleNamespace(name="DB_TYPE_NUMBER"),
    ],
)
def test_drivers_that_tell_of_texts_and_numbers_or_nothing_are_believed_value_by_value(code):
    assert described(code) is None


@pytest.mark.parametrize(
    ("driver", "code", "name"),
    [
        ("pymysql", 10, "date"),
        ("mysqldb", 5, "double"),
        ("pymysql", 253, None),
        ("pymysql", 252, None),
        ("psycopg2", 1082, "date"),
        ("psycopg2", 790, "money"),
        ("psycopg2", 6551, "number 6551"),
        ("redshift_connector", 6551, "varbyte"),
        ("redshift_connector", 16999, "number 16999"),
        ("redshift_connector", 1043, None),
        ("psycopg2", 1043, None),
        ("redshift_connector", 4000, "super"),
        ("pg8000", 701, "double precision"),
        ("redshift_connector", 25, None),
        ("snowflake", 3, "date"),
        ("snowflake", 1, "real"),
        ("snowflake", 5, "variant"),
        ("snowflake", 14, "geography"),
        ("snowflake", 2, None),
        ("snowflake", 0, None),
    ],
)
def test_drivers_tell_by_the_numbers_of_their_protocol(driver, code, name):
    assert described(code, driver) == name


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000"])
def test_the_database_is_asked_of_a_type_that_is_not_known(driver):
    assert described(16999, driver, ("shop.mood", True)) is None
    assert described(16999, driver, ("shop.pair", False)) == "shop.pair"
    assert described(2278, driver, ("pg_catalog.void", False)) == "void"


def test_drivers_tell_by_their_type_objects():
    objects = {"DATETIME": Object(4), "STRING": Object(1), "BINARY": Object(2)}

    assert described(4, **objects) == "datetime"
    assert described(1, **objects) is None
    assert described(2, **objects) is None


def test_a_column_of_such_a_type_is_written_as_what_is_no_id():
    rows = iter([[("2026-01-01", 1), (None, 2)], []])

    assert [values_of(block) for block in read_blocks(lambda _: next(rows), 0, fit=False)] == [
        [("", False), (None, True)]
    ]
