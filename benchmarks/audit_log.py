"""The cases of the audit log: its size, finding one id in it, and what keeping it costs an `apply`."""

import hashlib
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import data
from benchmarks.cases import Row, Sent, compare, serving, short
from benchmarks.measure import RECONCILE, Series, run_in_turn
from reconciler.models.batches import MAX_BATCH, Direction
from reconciler.models.history import Reason
from reconciler.spec import load
from reconciler.state import audit, open_store
from reconciler.state.lock import SegmentRef
from reconciler.state.store import StateStore

RUNS = 20
BATCHES_AT_ONCE = 50
SEGMENT = SegmentRef("bench", data.SEGMENT, "big")


def find_one(folder: Path, size: int, times: int) -> Iterator[Row]:
    """Find when one id entered and left, in a log of so many ids of twenty runs."""
    spec = data.write_spec(folder, "trace.yaml", "sqlite:///none.db", "SELECT 1")
    (loaded,) = load([str(spec)], {})
    with open_store(loaded.state) as store:
        for number in range(RUNS):
            ids = [f"cus_{hashlib.md5(f'{number} {at}'.encode()).hexdigest()[:14]}" for at in range(size // RUNS - 1)]
            _write_log(store, f"run-{number}", [*ids, "cus_5eve9"])
    words = (*RECONCILE, "trace", spec.name, "cus_5eve9", "--quiet", "--format", "json")
    found = run_in_turn({"trace": words}, folder, times)["trace"]
    yield Row(f"trace of one id, {RUNS} runs", short(size), found.wall, found.cpu, found.memory, goal="≤ 1 s")


def measure_size(folder: Path, size: int, _times: int) -> Iterator[Row]:
    """How large the log of a first fill is, with all that the state's file grows by, in percent of the raw ids."""
    chance = random.Random(13)
    kinds: dict[str, Sequence[str]] = {
        "numbers from 1": [str(number) for number in range(1, size + 1)],
        "random numbers of eight digits": [str(n) for n in chance.sample(range(10_000_000, 100_000_000), size)],
        "UUIDs": [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(size)],
    }
    for name, ids in kinds.items():
        file = folder / f"{len(name)}.db"
        spec = data.write_spec(folder, "size.yaml", "sqlite:///none.db", "SELECT 1", state=f"sqlite:///{file.name}")
        (loaded,) = load([str(spec)], {})
        with open_store(loaded.state) as store:
            store.database.checkpoint()
        before, began = file.stat().st_size, time.perf_counter()
        with open_store(loaded.state) as store:
            _write_log(store, "a run", ids)
            store.database.checkpoint()
        took, grown, raw = time.perf_counter() - began, file.stat().st_size - before, sum(map(len, ids))
        work = f"audit log of a first fill, {name}: {grown / 1e6:.1f} MB of {raw / 1e6:.1f} MB, {grown / raw:.0%}"
        yield Row(work, short(size), took, 0, 0, goal="≤ 40% of the raw ids")


def _write_log(store: StateStore, run_id: str, ids: Sequence[str]) -> None:
    """Write what a run has added, in batches of sorted ids as they are sent."""
    ordered = sorted(ids)
    batches = [ordered[start : start + MAX_BATCH] for start in range(0, len(ordered), MAX_BATCH)]
    for start in range(0, len(batches), BATCHES_AT_ONCE):
        changes = [
            audit.Change(run_id, time.time(), Direction.ADD, Reason.QUERY, batch)
            for batch in batches[start : start + BATCHES_AT_ONCE]
        ]
        with store.database.write() as connection:
            audit.write(connection, SEGMENT, changes)


def keep_log(folder: Path, size: int, times: int) -> Iterator[Row]:
    """A first load without latency, with the log and without it."""
    desired, _ = data.make_parquet(folder, size)
    warehouse = data.make_sqlite(folder, desired)
    sent = {kept: Sent(Series(f"audit: {kept}")) for kept in ("90d", "off")}
    for number in range(times):
        for kept, each in sent.items():
            with serving(folder, "server", "0") as url:
                name = f"{kept}{number}"
                more = f"  rate_limit: 1000\n  concurrency: 32\n  track_url: {url}"
                spec = data.write_spec(
                    folder, f"{name}.yaml", f"sqlite:///{warehouse.name}", "SELECT id FROM customers", more
                )
                with spec.open("a") as file:
                    file.write(f"state: {{url: 'sqlite:///{name}.db', audit: {kept}}}\n")
                words = (*RECONCILE, "apply", spec.name, "--yes", "--quiet", "--format", "json")
                each.take(run_in_turn({"apply": words}, folder, 1)["apply"])
            each.arrived(folder, 1)
    kept, off = sent["90d"], sent["off"]
    yield compare("first load, 0 ms, audit: 90d (the whole process)", size, kept.series, off.series, "≤ 1.03")
    yield kept.row("the same", size, off.series.name, off.seconds, "≤ 1.03")


CASES = {"trace": find_one, "log": measure_size, "audit": keep_log}
