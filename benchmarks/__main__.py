"""`python -m benchmarks [--sizes 1M,10M] [--times 3] [CASE...]`: prints tables as Markdown."""

import argparse
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import audit_log, cases, cluster, report_page, warehouses
from benchmarks.cases import SIZED, Row, short

MILLION = 1_000_000
CASES = cases.CASES | audit_log.CASES | report_page.CASES | cluster.CASES | {"warehouses": warehouses.read_warehouses}
ON_DEMAND = ("large", "warehouses", "cluster")
"""These need much time, or an environment with the drivers of `make test-warehouses`."""


def parse_size(text: str) -> int:
    """`10M`, `200k` or a plain number."""
    units = {"k": 1000, "m": MILLION}
    return int(text[:-1]) * units[text[-1].lower()] if text[-1].lower() in units else int(text)


def run_cases(names: list[str], sizes: list[int], times: int, parent: Path) -> Iterator[Row]:
    """Run each case in a folder of its own, which goes afterwards."""
    for name in names:
        for size in sizes if name in SIZED else [MILLION]:
            folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=parent))
            try:
                print(f"... {name}, {short(size)}", flush=True)
                yield from CASES[name](folder, size, times)
            finally:
                shutil.rmtree(folder)


def write(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| work | ids | wall s | CPU s | peak MB | against | its wall s | ratio | goal |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for row in rows:
        other = f"{row.other:.2f}" if row.other is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        process = f"{row.cpu:.2f} | {row.memory:.0f}" if row.cpu else " | "
        lines.append(
            f"| {row.work} | {row.size} | {row.wall:.2f} | {process} | {row.against} | {other} | {ratio} | {row.goal} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse, run, print."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is measured starts as it does for a user
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "cases", nargs="*", choices=[*CASES, []], help=f"which; all but {' and '.join(ON_DEMAND)} without"
    )
    parser.add_argument("--sizes", default="1M,10M", help="numbers of ids, as 1M,10M")
    parser.add_argument("--times", type=int, default=3, help="how often each is measured; the median is shown")
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes, and is deleted again")
    options = parser.parse_args()
    sizes = [parse_size(text) for text in options.sizes.split(",")]
    parent = options.folder or Path(tempfile.gettempdir())
    rows = list(
        run_cases(options.cases or [name for name in CASES if name not in ON_DEMAND], sizes, options.times, parent)
    )
    print(f"\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    print(f"median of {options.times} whole processes; memory is the largest process's peak\n")
    print(write(rows))


if __name__ == "__main__":
    main()
