"""Reading ids through the drivers of `tests/warehouses`, against the bare driver, in the environments of these."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.cases import Row, compare
from benchmarks.measure import run_in_turn, run_once, script
from tests.warehouses.engine import Engine, NotHad

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


ROOT = Path(__file__).parents[1]


def read_warehouses(folder: Path, size: int, times: int) -> Iterator[Row]:
    """The rows of each engine, each measured in the environment that `make test-warehouses` makes for it."""
    for venv in dict.fromkeys(engine.venv for engine in map(find_engine, QUERIES)):
        python = ROOT / f".venv-{venv}" / "bin" / "python"
        if not python.exists():
            print(f"... not measured: there is no .venv-{venv}; `make test-warehouses` makes it", flush=True)
            continue
        rows = folder / f"{venv}.json"
        words = (venv, str(folder), str(size), str(times), str(rows))
        subprocess.run([str(python), "-m", "benchmarks.warehouses", *words], cwd=ROOT, check=True)
        yield from (Row(**each) for each in json.loads(rows.read_text()))


def find_engine(name: str) -> Engine:
    engine: Engine = importlib.import_module(f"tests.warehouses.engines.{name}").ENGINE
    return engine


def read_engines(venv: str, folder: Path, size: int, times: int) -> Iterator[Row]:
    """The rows of the engines of this environment, made as they are read, so that no disk counts."""
    for name, query in QUERIES.items():
        engine = find_engine(name)
        if engine.venv != venv:
            continue
        own = folder / name
        own.mkdir()
        try:
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
        except NotHad as error:
            print(f"... not measured: {engine.name}: {error}", flush=True)
            continue
        ours, other = series.values()
        yield compare(engine.name, size, ours, other, "≤ 1.5" if bare == "columns" else "≤ 1.7")


def main() -> None:
    """Measure what `read_warehouses` asks one environment for, and write it into a file."""
    venv, folder, size, times, rows = sys.argv[1:]
    found = read_engines(venv, Path(folder), int(size), int(times))
    Path(rows).write_text(json.dumps([asdict(row) for row in found]))


if __name__ == "__main__":
    main()
