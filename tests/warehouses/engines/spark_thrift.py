"""Spark through Thrift, as Hive speaks it, with PyHive: the server that pyspark brings, in a JVM of its own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.warehouses.engine import Engine, Started
from tests.warehouses.engines import _spark as spark


@contextmanager
def start(folder: Path) -> Iterator[Started]:
    from pyhive import hive

    port = spark.find_port()
    settings = {"spark.hive.server2.thrift.bind.host": "127.0.0.1", "spark.hive.server2.thrift.port": str(port)}
    server = "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2"
    with spark.serve_java(server, folder, port, settings):
        with closing(hive.connect("127.0.0.1", port, username="reader")) as connection:

            def execute(sql: str) -> None:
                with closing(connection.cursor()) as cursor:
                    cursor.execute(sql)

            yield Started(
                url=f"hive://reader@127.0.0.1:{port}/default",
                execute=execute,
                unreachable="hive://reader@127.0.0.1:1/default",
            )


ENGINE = Engine(
    name="Spark Thrift",
    venv="spark",
    start=start,
    values=spark.VALUES,
    lacks={**spark.LACKS, "a wrong password": "the server takes any"},
    text=spark.write_text,
    text_type="STRING",
    table="CREATE TABLE {name} (id STRING, number INT) USING PARQUET",
    quote="`",
    comments=spark.COMMENTS[:2],  # nested ones are none of Hive, so such a query is refused
    strings=spark.STRINGS,
    writes=spark.WRITES,
    errors_with_rows=spark.ERRORS_WITH_ROWS,
)
