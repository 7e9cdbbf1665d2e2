"""Spark itself through Spark Connect: the server that the package pyspark brings, in a JVM of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, Started
from tests.warehouses.engines import _spark as spark


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    port = spark.find_port()
    settings = {"spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(port)}
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    with spark.serve_java(server, folder, port, settings), spark.connect(port) as started:
        yield started


ENGINE = Engine(
    name="Spark Connect",
    venv="spark",
    start=start,
    values={
        **spark.VALUES,
        "a text that is no UTF-8": spark.Value("CAST(X'ff41' AS STRING)", None, told=False),
    },
    lacks={**spark.LACKS, "a wrong password": "the server has no users"},
    text=spark.write_text,
    text_type="STRING",
    table="CREATE TABLE {name} (id STRING, number INT) USING PARQUET",
    quote="`",
    comments=spark.COMMENTS,
    strings={**spark.STRINGS, "'a''b -- c'": "a'b -- c"},
    writes=spark.WRITES,
    errors_with_rows=spark.ERRORS_WITH_ROWS,
)
