"""The case of `reconcile report`: 500 segments and 400 nights, written by the generator of the tests in two minutes."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import Row
from benchmarks.measure import RECONCILE, run_in_turn
from tests.fakes.past_runs import Past, write_past

SEGMENTS, NIGHTS, IDS = 500, 400, 2000


def write_report(folder: Path, _size: int, times: int) -> Iterator[Row]:
    """The whole process, and how large its page is."""
    past = [Past(f"segment_{number:03}", IDS, f"Segment {number}") for number in range(SEGMENTS)]
    write_past(folder, past, NIGHTS, ids=IDS)
    words = (*RECONCILE, "report", "--out", "report.html", "--quiet")
    found = run_in_turn({"report": words}, folder, times)["report"]
    size = (folder / "report.html").stat().st_size
    work = f"report of {SEGMENTS} segments and {NIGHTS} nights: {size / 1e6:.1f} MB"
    yield Row(work, f"{SEGMENTS * IDS:,}", found.wall, found.cpu, found.memory, goal="≤ 5 s, ≤ 5 MB")


CASES = {"report": write_report}
