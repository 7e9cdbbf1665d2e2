"""The cases: each makes its data, runs the command, its floor and its peers in turn, and gives rows of a table."""

import os
import re
import signal
import statistics
import subprocess
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import data
from benchmarks.measure import PYTHON, RECONCILE, Figure, Series, run_in_turn, script
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT


@dataclass(frozen=True)
class Row:
    """One line of the report; seconds, MB, and how many times the floor or the peer."""

    work: str
    size: str
    wall: float
    cpu: float
    memory: float
    against: str = ""
    other: float | None = None
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        return self.wall / self.other if self.other else None


def compare(work: str, size: int, ours: Series, other: Series, goal: str) -> Row:
    """A row that sets one series against another."""
    return Row(work, short(size), ours.wall, ours.cpu, ours.memory, other.name, other.wall, goal)


def short(size: int) -> str:
    """`10 M`."""
    return f"{size // 1_000_000} M" if size >= 1_000_000 else f"{size // 1000} k"


def plan_words(spec: str) -> tuple[str, ...]:
    return (*RECONCILE, "plan", spec, "--quiet", "--format", "json")


# --- planning ----------------------------------------------------------------------------------------------------


def plan_files(folder: Path, size: int, times: int) -> Iterator[Row]:
    """SQLite and Parquet as source, against reading both sides, `sort` and `comm`, and the naive script."""
    desired, stored = data.make_parquet(folder, size)
    warehouse, same = data.make_sqlite(folder, desired), data.make_sqlite(folder, stored, "same.db")
    query = "SELECT id FROM customers"
    spec = data.write_spec(folder, "sqlite.yaml", f"sqlite:///{warehouse.name}", query)
    data.seed_state(spec, stored)
    data.write_spec(folder, "same.yaml", f"sqlite:///{same.name}", query)
    data.write_spec(folder, "parquet.yaml", "'duckdb:///:memory:'", f"SELECT id FROM '{desired}'")
    data.make_text(folder, desired, "desired.txt")
    data.make_text(folder, stored, "stored.txt")
    snapshot = folder / "snapshot.json"
    snapshot.write_text("[" + ",".join(f'"{id_}"' for block in data.read(stored) for id_ in block) + "]")
    state = str(folder / ".reconcile" / "state.db")
    shell = (
        "LC_ALL=C sort desired.txt >d.sorted; LC_ALL=C sort stored.txt >s.sorted; LC_ALL=C comm -3 d.sorted s.sorted >c"
    )
    series = run_in_turn(
        {
            "plan, SQLite": plan_words("sqlite.yaml"),
            "reading both (SQLite)": script("floor", "sqlite", str(warehouse), state),
            "sort and comm": ("sh", "-c", shell),
            "plan, Parquet": plan_words("parquet.yaml"),
            "reading both (Parquet)": script("floor", "parquet", str(desired), state),
            "plan, no change": plan_words("same.yaml"),
            **{limit: (*plan_words("sqlite.yaml"), "--memory-limit", limit) for limit in ("512MB", "2GB")},
            "naive script": script("naive", str(warehouse), str(snapshot)),
        },
        folder,
        times,
    )
    floor = series["reading both (SQLite)"]
    yield compare("plan, 1% churn, SQLite source", size, series["plan, SQLite"], floor, "≤ 2.5")
    yield compare("plan, 1% churn, SQLite source", size, series["plan, SQLite"], series["sort and comm"], "< 1")
    yield compare("plan, 1% churn, SQLite source", size, series["plan, SQLite"], series["naive script"], "< 1")
    yield compare(
        "plan, 1% churn, Parquet source", size, series["plan, Parquet"], series["reading both (Parquet)"], "≤ 3"
    )
    yield compare("plan, no change, SQLite source", size, series["plan, no change"], floor, "≤ 2")
    for limit, goal in (("512MB", "≤ 700 MB"), ("2GB", "≤ 1.5")):
        yield compare(f"plan, 1% churn, SQLite source, --memory-limit {limit}", size, series[limit], floor, goal)
    naive = series["naive script"]
    yield Row("(the naive script)", short(size), naive.wall, naive.cpu, naive.memory)


def plan_large(folder: Path, size: int, times: int) -> Iterator[Row]:
    """Parquet as source, against reading both sides alone: for sizes that the peers can't take."""
    desired, stored = data.make_parquet(folder, size)
    spec = data.write_spec(folder, "parquet.yaml", "'duckdb:///:memory:'", f"SELECT id FROM '{desired}'")
    data.seed_state(spec, stored)
    state = str(folder / ".reconcile" / "state.db")
    floor = "reading both (Parquet)"
    series = run_in_turn(
        {"plan": plan_words(spec.name), floor: script("floor", "parquet", str(desired), state)}, folder, times
    )
    yield compare("plan, 1% churn, Parquet source", size, series["plan"], series[floor], "≤ 1 GB")


def plan_postgres(folder: Path, size: int, times: int) -> Iterator[Row]:
    """PostgreSQL as source, from a wheel."""
    from tests.support.postgres import run_postgres

    desired, stored = data.make_parquet(folder, size)
    with run_postgres() as server:
        url = server.url(server.make_database())
        data.make_postgres_table(url, desired)
        spec = data.write_spec(folder, "postgres.yaml", url, "SELECT id FROM customers")
        data.seed_state(spec, stored)
        state = str(folder / ".reconcile" / "state.db")
        series = run_in_turn(
            {
                "plan": plan_words("postgres.yaml"),
                "reading both (PostgreSQL)": script("floor", "postgres", url.replace("+psycopg", ""), state),
            },
            folder,
            times,
        )
    yield compare(
        "plan, 1% churn, PostgreSQL source", size, series["plan"], series["reading both (PostgreSQL)"], "≤ 2.5"
    )


def plan_in_database(folder: Path, size: int, times: int) -> Iterator[Row]:
    """State and source in one PostgreSQL: compared there, and compared here by a user who may not read the state."""
    from tests.support.postgres import run_postgres

    desired, stored = data.make_parquet(folder, size)
    with run_postgres() as server:
        url = server.url(server.make_database())
        data.make_postgres_table(url, desired)
        there = data.write_spec(folder, "there.yaml", url, "SELECT id FROM customers", state=url)
        data.seed_state(there, stored)
        reader = data.make_reader(url)
        data.write_spec(folder, "here.yaml", reader, "SELECT id FROM customers", state=url)
        rows = count_travelled(folder, "there.yaml")
        words = {"there": plan_words("there.yaml"), "compared here": plan_words("here.yaml")}
        series = run_in_turn(words, folder, times)
    here = series["compared here"]
    yield compare(f"plan, 1% churn, in the database; {rows:,} rows travel", size, series["there"], here, "memory flat")
    yield Row(f"(the same, compared here; {2 * size:,} rows travel)", short(size), here.wall, here.cpu, here.memory)


def count_travelled(folder: Path, spec: str, command: tuple[str, ...] = RECONCILE) -> int:
    """Plan once, and read from what it says how many rows came out of the database."""
    words = (*command, "plan", spec, "--verbose", "--format", "json")
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    found = re.search(r"rows that travelled: (\d+)", done.stderr)
    if found is None:
        raise SystemExit(f"{spec} was not compared in the database: {done.stderr}")
    return int(found[1])


# --- sending -----------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, name: str, *words: str) -> Iterator[str]:
    """Run one of our servers in a process of its own; gives its URL. At its end it writes into the file `port`."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(script(name, str(port_file), *words))
    try:
        while not port_file.exists() or not port_file.read_text():
            if process.poll() is not None:
                raise SystemExit(f"{name}.py ended before it served")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def send_at_limit(folder: Path, size: int, times: int) -> Iterator[Row]:
    """A first load at 100 requests a second and 50 ms of latency, against the limit itself."""
    work, sent = "first load, rate_limit: 100, 50 ms", _send(folder, size, times, 0.05, "rate_limit: 100")
    yield sent.row(work, size, "the limit (100/s)", size / 1000 / 100, "≤ 1.05; never above 100")
    yield sent.whole(size)


def send_fast(folder: Path, size: int, times: int) -> Iterator[Row]:
    """A first load without latency, against a bare loop that posts the same bodies."""
    loop = Sent(Series("bare httpx loop"))
    with serving(folder, "server", "0") as url:
        loop.take(run_in_turn({"loop": script("loop", url, str(size // 1000))}, folder, times)["loop"])
    loop.arrived(folder, times)
    work = "first load, rate_limit: 1000, concurrency: 32, 0 ms"
    sent = _send(folder, size, times, 0, "rate_limit: 1000, concurrency: 32")
    yield sent.row(work, size, loop.series.name, loop.seconds, "≤ 1.67; ≥ 300 requests/s")
    yield sent.whole(size)


@dataclass
class Sent:
    """Processes that sent, and when their requests came to the server."""

    series: Series
    arrivals: list[list[float]] = field(default_factory=list)

    def take(self, series: Series) -> None:
        self.series.figures += series.figures

    def arrived(self, folder: Path, times: int) -> None:
        """Read what a server has written at its end: the requests of several processes."""
        moments = [float(line) for line in (folder / "port").read_text().split()]
        each = len(moments) // times
        self.arrivals += [moments[start : start + each] for start in range(0, len(moments), each)]

    @property
    def seconds(self) -> float:
        """From the first request to the last."""
        return statistics.median(moments[-1] - moments[0] for moments in self.arrivals)

    @property
    def busiest(self) -> int:
        """Most requests in any sliding second."""
        return max(
            place + 1 - bisect_right(moments, moment - 1)
            for moments in self.arrivals
            for place, moment in enumerate(moments)
        )

    def row(self, work: str, size: int, against: str, other: float, goal: str) -> Row:
        """What the server saw."""
        pace = (len(self.arrivals[0]) - 1) / self.seconds
        seen = f"{work}: first to last request; {pace:.0f}/s, at most {self.busiest} in a second"
        return Row(seen, short(size), self.seconds, 0, 0, against, other, goal)

    def whole(self, size: int) -> Row:
        return Row("(the whole process)", short(size), self.series.wall, self.series.cpu, self.series.memory)


def _send(folder: Path, size: int, times: int, latency: float, knobs: str) -> Sent:
    desired, _ = data.make_parquet(folder, size)
    warehouse = data.make_sqlite(folder, desired)
    sent = Sent(Series("apply"))
    for number in range(times):
        with serving(folder, "server", str(latency)) as url:
            more = "\n".join(f"  {knob.strip()}" for knob in [*knobs.split(","), f"track_url: {url}"])
            name = f"send{number}.yaml"
            state = f"sqlite:///send{number}-{os.getpid()}.db"
            data.write_spec(folder, name, f"sqlite:///{warehouse.name}", "SELECT id FROM customers", more, state)
            words = (*RECONCILE, "apply", name, "--yes", "--quiet", "--format", "json")
            sent.take(run_in_turn({"apply": words}, folder, 1)["apply"])
        sent.arrived(folder, 1)
    return sent


# --- several runners ---------------------------------------------------------------------------------------------

SEGMENTS = 10
REQUESTS_PER_SECOND = 8
"""So few that a process waits for its own budget, not for a processor."""


def runners(folder: Path, _size: int, times: int) -> Iterator[Row]:
    """Ten first loads of 20,000 by one process, and by two that start at once on the same spec and state."""
    size = 20_000
    one, two = Series("one runner"), Series("two runners")
    for number in range(times):
        for count, series in ((1, one), (2, two)):
            series.figures.append(_load_ten(folder, size, f"ten{count}-{number}", count))
    work = f"{SEGMENTS} first loads, {REQUESTS_PER_SECOND} requests/s each, 50 ms, two runners"
    yield compare(work, SEGMENTS * size, two, one, "≤ 0.7; no id twice")


def _load_ten(folder: Path, size: int, name: str, count: int) -> Figure:
    """Run `count` processes at once. Raises SystemExit where one fails, or ids were sent twice or not at all."""
    sent = folder / f"{name}.tally"
    with serving(folder, "server", "0.05", str(sent)) as url:
        spec = data.write_many(folder, name, SEGMENTS, size, f"  rate_limit: {REQUESTS_PER_SECOND}\n  track_url: {url}")
        words = [*RECONCILE, "apply", spec.name, "--yes", "--quiet", "--lock-timeout", "600", "--format", "json"]
        # Each answers for its exit code: all must be 0.
        starts = '"$@" & ' * count
        together = f"{starts} for _ in {'1 ' * count}; do wait -n || exit 1; done"
        figure = run_in_turn({name: ("bash", "-c", together, "bash", *words)}, folder, 1)[name].figures[0]
    every, different = map(int, sent.read_text().split())
    if not every == different == SEGMENTS * size:
        raise SystemExit(f"{name}: {every:,} ids were sent, {different:,} of them different")
    return figure


# --- reading back ------------------------------------------------------------------------------------------------


def read_back(folder: Path, size: int, times: int) -> Iterator[Row]:
    """`drift` of a whole segment, against what nobody can save: `drift` of a segment with one member, and the App
    API's limit, which is 30,000 a page and 10 pages a second."""
    desired, stored = data.make_parquet(folder, size)
    with serving(folder, "members", str(desired), str(data.SEGMENT)) as url:
        more = f"  app_api_key: bench\n  app_url: {url}"
        spec = data.write_spec(folder, "drift.yaml", "sqlite:///none.db", "SELECT 1", more)
        data.seed_state(spec, stored)
        one = folder / "one.yaml"
        one.write_text(spec.read_text().replace(f"segment_id: {data.SEGMENT}", f"segment_id: {data.SEGMENT + 1}"))
        words = (*RECONCILE, "drift", "--quiet", "--format", "json")
        series = run_in_turn({"all": (*words, spec.name), "one": (*words, one.name)}, folder, times, expected=2)
    every, start = series["all"], series["one"].wall
    least = -(-size // 30_000) / 10
    against = f"drift of one member ({start:.2f}) and the limit, 10/s ({least:.1f})"
    yield Row("drift, 1% apart", short(size), every.wall, every.cpu, every.memory, against, start + least, "≤ 1.33")


# --- starting ----------------------------------------------------------------------------------------------------


SMALL = """\
version: 1
sources: {{warehouse: {{url: 'duckdb:///:memory:'}}}}
destination: {{site_id: a, api_key: b{destination}}}
segments:
{segments}"""


def start(folder: Path, _size: int, times: int) -> Iterator[Row]:
    """What it costs to start, and many small segments; their queries give what the state holds."""
    for name, number in (("tiny", 1), ("many", 300)):
        seed_small(write_small(folder / name / "spec.yaml", number))
    series = run_in_turn(
        {
            "reconcile --help": (*RECONCILE, "--help"),
            "python -c pass": (PYTHON, "-c", "pass"),
            "plan of a tiny spec, no change": plan_words("tiny/spec.yaml"),
            "importing SQLAlchemy, httpx, Typer": (PYTHON, "-c", "import sqlalchemy, httpx, typer"),
            "plan of 300 segments, no change": plan_words("many/spec.yaml"),
        },
        folder,
        times,
    )
    help_, bare, tiny, libraries, many = series.values()
    yield Row(help_.name, "", help_.wall, help_.cpu, help_.memory, bare.name, bare.wall, "≤ 0.3 s")
    yield Row(tiny.name, "", tiny.wall, tiny.cpu, tiny.memory, libraries.name, libraries.wall, "≤ 1.0 s")
    yield Row(many.name, "", many.wall, many.cpu, many.memory, goal="≤ 5 s")


def write_small(spec: Path, number: int, destination: str = "") -> Path:
    """Write a spec of some segments with one member each."""
    spec.parent.mkdir(exist_ok=True)
    lines = (f"  s{n}: {{segment_id: {n}, query: \"SELECT 'c{n}' AS id\"}}\n" for n in range(1, number + 1))
    spec.write_text(SMALL.format(segments="".join(lines), destination=destination))
    return spec


def seed_small(spec: Path) -> None:
    """Let the state hold what the queries give."""
    data.seed_segments(spec, lambda segment: iter([[f"c{segment.segment_id}"]]))


def app_key(folder: Path, _size: int, times: int) -> Iterator[Row]:
    """What an App key costs a plan of 300 segments: one list of segments, and what a reader is told of first fills."""
    with serving(folder, "segments", "300") as url:
        for name in ("same", "first"):
            write_small(folder / name / "without.yaml", 300)
            write_small(folder / name / "with.yaml", 300, f", app_api_key: c, app_url: {url}")
        seed_small(folder / "same" / "without.yaml")
        specs = [f"{name}/{key}.yaml" for name in ("same", "first") for key in ("without", "with")]
        series = run_in_turn({spec: plan_words(spec) for spec in specs}, folder, times)
    same, same_with, first, first_with = series.values()
    work, against = "plan of 300 segments with an App key", "without one"
    yield Row(f"{work}, no change", "", same_with.wall, same_with.cpu, same_with.memory, against, same.wall, "≤ 1.2")
    against = f"without one ({first.wall:.2f}) and --lookup-timeout (10)"
    other = first.wall + DEFAULT_LOOKUP_TIMEOUT
    yield Row(f"{work}, first fills", "", first_with.wall, first_with.cpu, first_with.memory, against, other, "≤ 1")


CASES = {
    "start": start,
    "key": app_key,
    "plan": plan_files,
    "large": plan_large,
    "postgres": plan_postgres,
    "database": plan_in_database,
    "limit": send_at_limit,
    "send": send_fast,
    "runners": runners,
    "drift": read_back,
}
SIZED = frozenset({"plan", "large", "postgres", "database", "drift", "trace", "log", "cluster"})
"""These run once for each size; the sending ones with one million."""
