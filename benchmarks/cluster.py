"""The case of members at the source, on Sail; in the environment that has it, as tests/warehouses has."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import data
from benchmarks.cases import Row, compare, count_travelled, short
from benchmarks.measure import run_in_turn, script
from tests.warehouses.engines import sail

CLI = str(Path(sys.executable).with_name("reconcile"))
"""A file: Spark's client runs in no program from `python -c`."""


def plan_at_source(folder: Path, size: int, times: int) -> Iterator[Row]:
    """Members at the source, against the same comparison by hand there, and members in the state."""
    desired, stored = data.make_parquet(folder, size)
    (folder / "sail").mkdir()
    with sail.start(folder / "sail") as started:
        started.execute(f"CREATE TABLE people USING PARQUET LOCATION '{desired}'")
        specs = {name: _write_spec(folder, name, started.url, "local") for name in ("local", "source")}
        for spec in specs.values():
            data.seed_state(spec, stored)
        copy = (CLI, "state", "copy", specs["source"].name, "--members", "source")
        moved = run_in_turn({"copy": copy}, folder, 1)["copy"]
        source = _write_spec(folder, "source", started.url, "source")
        series = run_in_turn(
            {
                "at the source": (CLI, "plan", source.name, "--quiet", "--format", "json"),
                "by hand": script("join", started.url, str(folder / "lake" / "reconcile_base")),
                "members: local": (CLI, "plan", specs["local"].name, "--quiet", "--format", "json"),
            },
            folder,
            times,
        )
        rows = count_travelled(folder, source.name, (CLI,))
    there, hand, here = series.values()
    bytes_each = sum(file.stat().st_size for file in (folder / "lake" / "reconcile_base").glob("*.parquet")) / size
    work = f"plan, 1% churn, members at the source; {rows:,} rows travel"
    yield compare(work, size, there, hand, "≤ 1.5; ≤ 200 MB")
    yield compare(work, size, there, here, "")
    yield Row(f"(by hand, {hand.memory:.0f} MB)", short(size), hand.wall, hand.cpu, hand.memory)
    yield Row("(members: local)", short(size), here.wall, here.cpu, here.memory)
    moving = f"state copy --members source; {bytes_each:.1f} bytes an id there"
    yield Row(moving, short(size), moved.wall, moved.cpu, moved.memory)


def _write_spec(folder: Path, name: str, url: str, members: str) -> Path:
    options = json.dumps({"schema": "bench", "location": str(folder / "lake")})
    quoted = f"{json.dumps(url)}\n    options: {options}"
    spec = data.write_spec(folder, f"{name}.yaml", quoted, "SELECT id FROM people")
    with spec.open("a") as file:
        file.write(f"state: {{url: 'sqlite:///{name}.db', members: {members}}}\n")
    return spec


CASES = {"cluster": plan_at_source}
