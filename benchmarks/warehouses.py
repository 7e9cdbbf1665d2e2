"""Reading ids through the drivers of `tests/warehouses`, against the bare driver; in the environment that has them."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Row, compare
from benchmarks.measure import run_in_turn, run_once, script

QUERIES = {
    "mariadb": "SELECT CONCAT('user-', seq) AS id FROM seq_1_to_{}",
    "clickhouse": "SELECT concat('user-', toString(number)) AS id FROM numbers({})",
    "pg8000": "SELECT 'user-' || n AS id FROM generate_series(1, {}) AS s(n)",
    "redshift": "SELECT 'user-' || n AS id FROM generate_series(1, {}) AS s(n)",
    "snowflake": "SELECT 'user-' || SEQ8() AS id FROM TABLE(GENERATOR(ROWCOUNT => {}))",
    "bigquery": "SELECT CONCAT('user-', CAST(n AS STRING)) AS id FROM UNNEST(GENERATE_ARRAY(1, {})) AS n",
    "spark_thrift": "SELECT concat('user-', id) AS id FROM range({})",
    "spark_connect": "SELECT concat('user-', id) AS id FROM range({})",
}
BY_COLUMNS = ("clickhouse", "snowflake", "bigquery", "spark_connect")


def read_warehouses(folder: Path, size: int, times: int) -> Iterator[Row]:
    """The rows of each engine that this environment is for, made as they are read, so that no disk counts."""
    for name, query in QUERIES.items():
        engine = importlib.import_module(f"tests.warehouses.engines.{name}").ENGINE
        if Path(sys.prefix).name != f".venv-{engine.venv}":
            continue
        own = folder / name
        own.mkdir()
        with engine.start(own) as started:
            # The engine in the process has its files for itself alone.
            url = started.url.replace(str(own / "data"), str(own / "other"))
            words = (url, query.format(size), json.dumps(dict(started.options)))
            bare = "columns" if name in BY_COLUMNS else "rows"
            run_once(script("warehouse", bare, *words), own, own / "first.log")  # the first of a JVM compiles
            series = run_in_turn(
                {
                    "reading": script("warehouse", "ours", *words),
                    f"the bare driver, by {bare}": script("warehouse", bare, *words),
                },
                own,
                times,
            )
        ours, other = series.values()
        yield compare(engine.name, size, ours, other, "≤ 1.5" if bare == "columns" else "≤ 1.7")
