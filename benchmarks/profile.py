"""`python -m benchmarks.profile many|send`: where the time of a plan of many segments, and of a first load, goes.

The command runs in this process, with a clock around some of its methods: seconds, of the thread's CPU and of the wall,
calls within calls included. Threads run side by side, so the walls add up to more than the whole.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.cases import seed_small, serving, write_small
from reconciler.cli import run
from reconciler.customerio.transport import Transport
from reconciler.diff.comparison import Comparison
from reconciler.diff.in_tables import ComparisonInTables
from reconciler.diff.tables import Tables
from reconciler.operations.send import Sender
from reconciler.state.locked_segment import LockedSegment

MANY: dict[str, tuple[type, str]] = {
    "a segment's comparison": (Comparison, "compare"),
    "- the state, where it holds few ids": (Comparison, "_read_few"),
    "- in tables": (ComparisonInTables, "compare"),
    "  - what the query returned, with the rules of ids": (ComparisonInTables, "_read_desired"),
    "  - the state (in a thread of its own)": (ComparisonInTables, "_read_state"),
    "(all statements on tables: making and dropping)": (Tables, "run"),
    "(all statements on tables: streams)": (Tables, "load"),
    "(all statements on tables: the rest)": (Tables, "fetch"),
}
SEND: dict[str, tuple[type, str]] = {
    "the segment's sending": (Sender, "send_all"),
    "- starting requests: batches, intents": (Sender, "start_requests"),
    "- intents": (LockedSegment, "intend"),
    "- outcomes": (LockedSegment, "settle"),
    "- compaction": (LockedSegment, "compact"),
    "requests (in 32 threads)": (Transport, "_exchange"),
}


@dataclass
class Clock:
    """What was spent in one method."""

    calls: int = 0
    wall: float = 0.0
    cpu: float = 0.0


@dataclass
class Clocks:
    """Clocks around methods, by what they do."""

    spent: dict[str, Clock] = field(default_factory=lambda: defaultdict(Clock))

    def put_around(self, what: str, owner: type, name: str) -> None:
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*words: Any, **more: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return method(*words, **more)
            finally:
                clock = self.spent[what]
                clock.calls += 1
                clock.wall += time.perf_counter() - wall
                clock.cpu += time.thread_time() - cpu

        setattr(owner, name, timed)

    def tell(self, order: dict[str, tuple[type, str]]) -> str:
        lines = ["| what | calls | CPU s | wall s | CPU ms a call |", "| --- | ---: | ---: | ---: | ---: |"]
        for what in order:
            clock = self.spent[what]
            each = 1000 * clock.cpu / max(1, clock.calls)
            lines.append(f"| {what} | {clock.calls} | {clock.cpu:.2f} | {clock.wall:.2f} | {each:.2f} |")
        return "\n".join(lines)


@contextmanager
def many(folder: Path) -> Iterator[list[str]]:
    """A spec of 300 small segments that are as their queries say."""
    spec = write_small(folder / "spec.yaml", 300)
    seed_small(spec)
    yield ["plan", str(spec)]


@contextmanager
def send(folder: Path) -> Iterator[list[str]]:
    """A first load of a million to a bare server without latency."""
    warehouse = data.make_sqlite(folder, data.make_parquet(folder, 1_000_000)[0])
    with serving(folder, "server", "0") as url:
        knobs = f"  rate_limit: 1000\n  concurrency: 32\n  track_url: {url}"
        spec = data.write_spec(folder, "send.yaml", f"sqlite:///{warehouse}", "SELECT id FROM customers", knobs)
        yield ["apply", str(spec), "--yes"]


def main() -> None:
    """Make the data, run the command under clocks, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("case", choices=["many", "send"])
    case = parser.parse_args().case
    order, prepare = (MANY, many) if case == "many" else (SEND, send)
    folder, clocks = Path(tempfile.mkdtemp(prefix="profile-")), Clocks()
    try:
        with prepare(folder) as words:
            for what, (owner, name) in order.items():
                clocks.put_around(what, owner, name)
            os.chdir(folder)
            began, cpu = time.perf_counter(), time.process_time()
            code = run([*words, "--quiet"])
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    finally:
        shutil.rmtree(folder)
    print(f"\n{' '.join(words[:1])}: exit code {code}; {wall:.2f} s, {cpu:.2f} s of CPU, without the start\n")
    print(clocks.tell(order))


if __name__ == "__main__":
    main()
