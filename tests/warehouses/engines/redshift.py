"""Redshift's driver, over a PostgreSQL: what is tested is the driver, not the database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, Started
from tests.warehouses.engines import _postgres


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    """Start the PostgreSQL of the tests; it has a folder of its own."""
    with _postgres.start("redshift+redshift_connector://reader:{password}@127.0.0.1:{port}/shop?ssl=False") as started:
        yield started


ENGINE = Engine(
    name="Redshift's driver, over PostgreSQL",
    venv="warehouses",
    start=start,
    values=_postgres.VALUES,
    lacks={"a NUL": "PostgreSQL has no such text"},
    text=lambda text: "'" + text.replace("'", "''").replace("\\", "' || chr(92) || '") + "'",  # Redshift reads \\ alone
    text_type="text",
    table="CREATE TABLE {name} (id TEXT, number INTEGER)",
    comments=("-- {}\n", "/* {} */", "/* /* {} */ */"),
    strings={"'it''s :low'": "it's :low"},
    writes=_postgres.WRITES,
    errors_with_rows=_postgres.ERRORS,
)
