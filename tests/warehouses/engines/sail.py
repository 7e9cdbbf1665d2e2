"""Sail through Spark's client: a distributed engine that speaks Spark Connect, with two workers, all in one process."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, NotHad, Started
from tests.warehouses.engines import _spark as spark


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    server = shutil.which("sail", path=str(Path(sys.executable).parent))
    if not server:
        raise NotHad("there is no sail; install the package pysail")
    port = spark.find_port()
    words = [server, "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
    with spark.serve(words, folder, port, SAIL_MODE="local-cluster"), spark.connect(port) as started:
        yield started


ENGINE = Engine(
    name="Sail",
    venv="warehouses",
    start=start,
    values=spark.VALUES,
    lacks={**spark.LACKS, "a wrong password": "Sail has no users"},
    text=spark.write_text,
    text_type="STRING",
    table="CREATE TABLE {name} (id STRING, number INT) USING PARQUET",
    quote="`",
    comments=spark.COMMENTS,
    strings={**spark.STRINGS, "$$it's :low$$": "it's :low", "'${low}'": "${low}"},
    writes=spark.WRITES,
    errors_with_rows=spark.ERRORS_WITH_ROWS,
)
