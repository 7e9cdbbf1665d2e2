"""Reading ids through the drivers of `tests/warehouses`, against the bare driver; in the environment that has them."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Row, compare
from benchmarks.measure import run_in_turn, script

QUERIES = {
    "mariadb": "SELECT CONCAT('user-', seq) AS id FROM seq_1_to_{}",
    "clickhouse": "SELECT concat('user-', toString(number)) AS id FROM numbers({})",
    "pg8000": "SELECT 'user-' || n AS id FROM generate_series(1, {}) AS s(n)",
    "redshift": "SELECT 'user-' || n AS id FROM generate_series(1, {}) AS s(n)",
}
BY_COLUMNS = ("clickhouse",)


def read_warehouses(folder: Path, size: int, times: int) -> Iterator[Row]:
    """Each engine's rows, made as they are read, so that no disk counts."""
    for name, query in QUERIES.items():
        engine = importlib.import_module(f"tests.warehouses.engines.{name}").ENGINE
        own = folder / name
        own.mkdir()
        with engine.start(own) as started:
            # The engine in the process has its files for itself alone.
            url = started.url.replace(str(own), str(own / "other"))
            words = query.format(size)
            bare = "columns" if name in BY_COLUMNS else "rows"
            series = run_in_turn(
                {
                    "reading": script("warehouse", "ours", url, words),
                    f"the bare driver, by {bare}": script("warehouse", bare, url, words),
                },
                own,
                times,
            )
        ours, other = series.values()
        yield compare(engine.name, size, ours, other, "≤ 1.5" if bare == "columns" else "≤ 1.7")
