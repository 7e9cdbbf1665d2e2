"""Databricks through its own driver, against an *emulated* SQL warehouse: its protocol in front of Sail."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warehouses.engine import MARKS, Engine, Started
from tests.warehouses.engines import _spark as spark
from tests.warehouses.engines import sail


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    from tests.warehouses.engines import _databricks  # its driver is in one virtual environment alone

    with _databricks.start(folder) as warehouse:
        yield Started(url=warehouse.url, execute=warehouse.execute, options=warehouse.options)


ENGINE = Engine(
    name="Databricks",
    venv="warehouses",
    start=start,
    emulated=True,
    values=spark.VALUES,
    lacks={
        **spark.LACKS,
        MARKS: "its driver would change it, so it is refused together with params",
        "a wrong password": "the token is no part of the URL; test_logins.py has logins refused",
        "an unreachable server": "its driver tries again for 15 minutes",
    },
    text=spark.write_text,
    text_type="STRING",
    table=sail.ENGINE.table,
    quote="`",
    comments=spark.COMMENTS,
    strings=spark.STRINGS,
    writes=spark.WRITES,
    errors_with_rows=spark.ERRORS_WITH_ROWS,
)
