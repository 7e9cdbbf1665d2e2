"""PostgreSQL through pg8000, as one may have it where psycopg is not to be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, Started, Value
from tests.warehouses.engines import _postgres


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Start the PostgreSQL of the tests; it has a folder of its own."""
    with _postgres.start("postgresql+pg8000://reader:{password}@127.0.0.1:{port}/shop") as started:
        yield started


ENGINE = Engine(
    name="PostgreSQL through pg8000",
    venv="warehouses",
    start=start,
    values=_postgres.VALUES
    | {
        "the widest decimal": Value(f"CAST('{'9' * 150}.000' AS numeric)", "9" * 150),
        "an enum": Value("CAST('a' AS mood)", "a"),
        "no number": Value("CAST('NaN' AS numeric)", None, told=False),
    },
    lacks={"a NUL": "PostgreSQL has no such text"},
    text_type="text",
    table="CREATE TABLE {name} (id TEXT, number INTEGER)",
    comments=("-- {}\n", "/* {} */", "/* /* {} */ */"),
    strings={
        "'it''s :low'": "it's :low",
        "'\\'": "\\",
        "U&'\\0041'": "A",
    },
    writes=_postgres.WRITES,
    errors_with_rows=_postgres.ERRORS,
)
