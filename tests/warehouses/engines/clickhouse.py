"""ClickHouse through clickhouse-connect: the real engine, which the package chdb runs in this process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.warehouses.engine import Engine, Started, Value

UUID = "0b7c1a52-6c1f-4a55-9f4c-0d5b4f2f9a11"


def connect(folder: Path) -> Any:
    """Open the database in a folder; a process has one at a time, and the tests use it from the same process."""
    import chdb  # noqa: F401
    import clickhouse_connect

    return clickhouse_connect.get_client(interface="chdb", path=str(folder / "data"))


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Open a database in the folder."""
    with closing(connect(folder)) as client:
        url = f"clickhousedb://localhost/default?interface=chdb&path={folder / 'data'}"
        yield Started(url=url, execute=client.command)


VALUES = {
    "an integer": Value("7", "7"),
    "the smallest integer": Value(f"toInt256('{-(2**255)}')", str(-(2**255))),
    "the largest integer": Value(f"toUInt256('{2**256 - 1}')", str(2**256 - 1)),
    "an integer that a double can't hold": Value("toInt64(9007199254740993)", "9007199254740993"),
    "an integral decimal": Value("toDecimal64('7.00', 2)", "7"),
    "a decimal": Value("toDecimal64('7.50', 2)", None, told=False),
    "the widest decimal": Value(f"toDecimal256('{'9' * 72}', 4)", "9" * 72),
    "a UUID": Value(f"toUUID('{UUID.upper()}')", UUID),
    "a boolean": Value("true", None),
    "a date": Value("toDate('2026-01-01')", None),
    "a timestamp": Value("toDateTime('2026-01-01 00:00:00')", None),
    "a time": Value("toTime('10:11:12')", None),
    "a float": Value("toFloat64(7)", None),
    "bytes": Value("unhex('ff41')", None, told=False, rows=False),
    "a short float": Value("toBFloat16(7)", None),
    "a wide date": Value("toDate32('1900-01-01')", None),
    "a timestamp of nanoseconds": Value("toDateTime64('2026-01-01 00:00:00', 9)", None),
    "a timestamp of a zone": Value("toDateTime('2026-01-01 00:00:00', 'Europe/Berlin')", None),
    "a timestamp that may be NULL": Value("toNullable(toDateTime('2026-01-01 00:00:00'))", None),
    "an interval": Value("INTERVAL 3 DAY", None, rows=False),
    "an interval of months": Value("toIntervalMonth(3)", None, rows=False),
    "an integer that may be NULL": Value("toNullable(7)", "7"),
    "a text of few": Value("toLowCardinality('a')", "a"),
    "a text of few that may be NULL": Value("toLowCardinality(toNullable('a'))", "a"),
    "an enum": Value("CAST('a)' AS Enum8('a)' = 1, 'b' = 2))", "a)"),
    "an aggregate": Value("CAST(7 AS SimpleAggregateFunction(max, UInt64))", "7"),
    "an aggregate of texts": Value("CAST('a' AS SimpleAggregateFunction(anyLast, Nullable(String)))", "a"),
    "a small negative decimal": Value("toDecimal32('-0.10', 2)", None, told=False),
    "a negative integral decimal": Value("toDecimal32('-7.0', 2)", "-7"),
    "nought as a decimal": Value("toDecimal32('-0.0', 2)", "0"),
    "a hundred as a decimal": Value("toDecimal32('100', 2)", "100"),
    "a text of a fixed length": Value("toFixedString('ab', 2)", None),
    "an address": Value("toIPv4('1.2.3.4')", None),
    "an array": Value("['a']", None, nullable=False),
    "a map": Value("map('a', 'b')", None, nullable=False),
    "a tuple": Value("tuple('a', 1)", None, nullable=False),
    "JSON": Value("CAST('{\"a\": 1}' AS JSON)", None, nullable=False),
    "a variant": Value("CAST(7 AS Variant(String, UInt8))", None, rows=False),
    "a dynamic value": Value("CAST(7 AS Dynamic)", None, rows=False),
}


def write_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"


ENGINE = Engine(
    name="ClickHouse",
    venv="warehouses",
    start=start,
    values=VALUES,
    lacks={
        "a wrong password": "the engine in the process has no users",
        "an unreachable server": "the engine in the process has no port",
    },
    text=write_text,
    text_type="Nullable(String)",
    table="CREATE TABLE {name} (id String, number Int64) ENGINE = MergeTree ORDER BY tuple()",
    quote="`",
    comments=("-- {}\n", "/* {} */", "/* /* {} */ */", "# {}\n", "#! {}\n", "// {}\n"),
    strings={
        r"'it\'s :low'": "it's :low",
        r"'\\'": "\\",
        r"'\x41\t'": "A\t",
        "'a''b -- c'": "a'b -- c",
        "'# :low'": "# :low",
        "$a$it's :low$a$": "it's :low",
        "'{x:String}'": "{x:String}",
        "‘it's :low’": "it's :low",
    },
    writes=(
        "SELECT id FROM kept INTO OUTFILE '/tmp/made'",
        "SELECT id FROM kept; DROP TABLE kept",
        "ALTER TABLE kept DELETE WHERE 1",
        "OPTIMIZE TABLE kept",
        "SYSTEM FLUSH LOGS",
    ),
    fails="intDiv(1, a.number - a.number)",
    errors_with_rows=(
        "SELECT toUInt8(id) AS id FROM {name}",
        "SELECT CAST(id AS UUID) AS id FROM {name}",
        "SELECT throwIf(id != '', 'Zq7-null-table') AS id FROM {name}",
    ),
)
