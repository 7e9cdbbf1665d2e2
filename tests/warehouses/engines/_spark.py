"""What the engines that speak Spark SQL share: values, strings, comments, and how a server is begun and ended."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from tests.warehouses.engine import NotHad, Started, Value

LACKS = {
    "a UUID": "Spark has no such type",
    "a time": "Spark has the type TIME on request only",
}

VALUES = {
    "an integer": Value("7", "7"),
    "the smallest integer": Value(f"CAST('{-(2**63)}' AS BIGINT)", str(-(2**63))),
    "the largest integer": Value(f"{2**63 - 1}", str(2**63 - 1)),
    "an integer that a double can't hold": Value("9007199254740993", "9007199254740993"),
    "an integral decimal": Value("CAST(7 AS DECIMAL(10, 2))", "7"),
    "a decimal": Value("CAST(7.5 AS DECIMAL(10, 2))", None, told=False),
    "the widest decimal": Value(f"CAST('{'9' * 38}' AS DECIMAL(38, 0))", "9" * 38),
    "a boolean": Value("TRUE", None),
    "a date": Value("DATE '2026-01-01'", None),
    "a timestamp": Value("TIMESTAMP '2026-01-01 00:00:00'", None),
    "a float": Value("CAST(7 AS DOUBLE)", None),
    "bytes": Value("X'61'", None),
    "a byte": Value("CAST(7 AS TINYINT)", "7"),
    "a short integer": Value("CAST(-7 AS SMALLINT)", "-7"),
    "a real": Value("CAST(7 AS FLOAT)", None),
    "a negative integral decimal": Value("CAST(-7 AS DECIMAL(10, 3))", "-7"),
    "nought as a decimal": Value("CAST(0 AS DECIMAL(38, 18))", "0"),
    "a hundred as a decimal": Value("CAST(100 AS DECIMAL(10, 2))", "100"),
    "an array": Value("ARRAY('a')", None),
    "a map": Value("MAP('a', 1)", None),
    "a struct": Value("NAMED_STRUCT('a', 1)", None),
    "an interval": Value("INTERVAL '1' DAY", None),
}

STRINGS = {
    r"'it\'s :low'": "it's :low",
    '"it\'s :low"': "it's :low",
    r"'\\'": "\\",
    r"r'\'": "\\",
    r"'\u0041\t'": "A\t",
    "'a' 'b -- c'": "ab -- c",
    "'# :low'": "# :low",
}

COMMENTS = ("-- {}\n", "/* {} */", "/* /* {} */ */")

WRITES = (
    "FROM people INSERT INTO kept SELECT id, 1",
    "FROM people INSERT OVERWRITE TABLE kept SELECT id, 1",
    "SELECT id FROM kept; DROP TABLE kept",
    "CACHE TABLE made AS SELECT id FROM kept",
    "MERGE INTO kept USING people ON FALSE WHEN NOT MATCHED THEN INSERT *",
    "ALTER TABLE kept RENAME TO made",
)

ERRORS_WITH_ROWS = (
    "SELECT CAST(id AS INT) AS id FROM {name}",
    "SELECT CAST(id AS DATE) AS id FROM {name}",
    "SELECT raise_error(id) AS id FROM {name}",
)


def write_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serve(words: Sequence[str], folder: Path, port: int, **variables: str) -> Iterator[None]:
    """Run a server in a folder until the block ends; begin the block when its port takes connections."""
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(words, cwd=folder, env={**os.environ, **variables}, stdout=log, stderr=log)
        stack.callback(process.wait, timeout=60)
        stack.callback(process.terminate)
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
                raise NotHad(f"{words[0]} ended: {(folder / 'log').read_text()[-1000:]}")
        yield


@contextmanager
def connect(port: int) -> Iterator[Started]:
    """Open the session of Spark Connect that the tests and the source share: tables may be those of a session."""
    # A worker of the tests is a program from `python -c`, which the client would end.
    sys.modules["__main__"].__file__ = __file__
    from pyspark.sql.connect.client import SparkConnectClient
    from pyspark.sql.connect.plan import SQL

    url = f"sc://127.0.0.1:{port}/;user_id=reader;session_id={uuid4()}"
    with closing(SparkConnectClient(url)) as client:
        yield Started(
            url=url,
            execute=lambda sql: client.execute_command(SQL(sql).command(client)),
            unreachable="sc://127.0.0.1:1",
        )


@contextmanager
def serve_java(server: str, folder: Path, port: int, settings: Mapping[str, str]) -> Iterator[None]:
    """Run a server of Spark's own distribution, which the package pyspark brings, with little memory."""
    import pyspark

    home = Path(pyspark.__file__).parent
    if not shutil.which("java") and not os.environ.get("JAVA_HOME"):
        raise NotHad("there is no java; install the package openjdk-17-jre-headless (Debian, Ubuntu)")
    everywhere = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.shuffle.partitions": "2",
        # Of queries of a few rows most would be spent on compiling them.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.warehouse.dir": f"{folder}/tables",
    }
    words = [f"{home}/bin/spark-submit", "--class", server, "--master", "local[2]", "--driver-memory", "1g"]
    for name, value in {**everywhere, **settings}.items():
        words += ["--conf", f"{name}={value}"]
    with serve([*words, "spark-internal"], folder, port, SPARK_HOME=str(home), SPARK_LOCAL_IP="127.0.0.1"):
        yield
