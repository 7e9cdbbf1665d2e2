"""Snowflake, emulated: the real connector (5, in Rust) and dialect against fakesnow, which runs DuckDB."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, Started, Value
from tests.warehouses.engines._serve import serve

PASSWORD = "p@ss:w/rd?#%1"
ENCODED = "p%40ss%3Aw%2Frd%3F%23%251"
UUID = "0b7c1a52-6c1f-4a55-9f4c-0d5b4f2f9a11"


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Serve a database with the schema PUBLIC from the memory of the emulator."""
    import snowflake.connector

    with serve("snowflake", "_fakesnow.py", folder, PASSWORD) as port:
        options = {"account": "shop", "protocol": "http"}
        address = {"host": "127.0.0.1", "port": port, "database": "SHOP", "schema": "PUBLIC"}
        with closing(snowflake.connector.connect(user="reader", password=PASSWORD, **address, **options)) as connection:

            def execute(sql: str) -> object:
                with closing(connection.cursor()) as cursor:
                    return cursor.execute(sql).fetchall()

            url = "snowflake://reader:{}@127.0.0.1:{}/SHOP/PUBLIC"
            yield Started(
                url=url.format(ENCODED, port),
                execute=execute,
                options=options,
                wrong_password=url.format("wr0ng-%40secret", port),
                unreachable=url.format(ENCODED, 1),
            )


VALUES = {
    "an integer": Value("7", "7"),
    # NUMBER(38, 0) has 38 digits; the emulator makes a BIGINT of it.
    "the smallest integer": Value(f"{1 - 2**63}::NUMBER(38, 0)", str(1 - 2**63)),
    "the largest integer": Value(f"{2**63 - 1}::NUMBER(38, 0)", str(2**63 - 1)),
    "an integer that a double can't hold": Value("9007199254740993", "9007199254740993"),
    "an integral decimal": Value("7.00::NUMBER(10, 2)", "7"),
    "a decimal": Value("7.50::NUMBER(10, 2)", None, told=False),
    "the widest decimal": Value(f"{'9' * 36}::NUMBER(38, 2)", "9" * 36),
    "a boolean": Value("TRUE", None),
    "a date": Value("'2026-01-01'::DATE", None),
    # The emulator gives a NULL of these as what the driver can't read.
    "a timestamp": Value("'2026-01-01 00:00:00'::TIMESTAMP_NTZ", None, nullable=False),
    "a timestamp of a zone": Value("'2026-01-01 00:00:00 +0100'::TIMESTAMP_TZ", None, nullable=False),
    "a time": Value("'10:11:12'::TIME", None),
    "a float": Value("7::FLOAT", None),
    "bytes": Value("TO_BINARY('6162', 'HEX')", None),
    "an object": Value("OBJECT_CONSTRUCT('a', 1)", None),
    "a variant": Value("PARSE_JSON('7')", None),
}


def write_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


ENGINE = Engine(
    name="Snowflake (emulated)",
    venv="warehouses",
    start=start,
    emulated=True,
    values=VALUES,
    lacks={
        "a UUID": "a text here: Snowflake has UUID_STRING",
        "a name without a param": "the emulator answers with 500, where Snowflake names the variable",
    },
    text=write_text,
    comments=("-- {}\n", "/* {} */", "// {}\n"),
    strings={
        r"'it\'s :low'": "it's :low",
        r"'\\'": "\\",
        "'a''b -- c'": "a'b -- c",
        "$$it's :low$$": "it's :low",
    },
    writes=(
        "SELECT id FROM kept; DROP TABLE kept",
        "COPY INTO kept FROM @stage",
    ),
    fails="TO_NUMBER('x')",  # the emulator makes NULL of a division by zero
    errors_with_rows=("SELECT CAST(id AS INTEGER) AS id FROM {name}", "SELECT id::DATE AS id FROM {name}"),
)
