"""What `report` shows: the segments of some specs, and what past runs did to them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from reconciler.models.guards import Guard
from reconciler.models.history import HistoryRow
from reconciler.models.plan import Orphan
from reconciler.models.results import StatusRow

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class Point(NamedTuple):
    """One run of a segment. `run`: its place in `Overview.runs`; `members`: stored at its end, None: not known."""

    run: int
    status: str
    code: str | None
    added: int
    removed: int
    members: int | None


@dataclass(frozen=True)
class GuardReach:
    """What one guard found in one run. `share`: how near its limit that is, 1.0 at the limit; None: it has no scale."""

    guard: str
    limit: str
    actual: str
    breached: bool
    allowed: bool
    share: float | None
    run: int


@dataclass(frozen=True)
class ReadBack:
    """What the last read-back of a segment found, in numbers of ids; None: not known.

    `missing`: acknowledged, and not there (unmatched); `strangers`: there, and unknown to the state; `lingering`:
    removed, and still there.
    """

    run: int
    agreed: bool | None = None
    missing: int | None = None
    strangers: int | None = None
    lingering: int | None = None


@dataclass(frozen=True)
class SegmentPast:
    """One segment with its runs, oldest first. `nearest` and `latest` have one guard each once."""

    row: StatusRow
    points: Sequence[Point] = ()
    latest: Sequence[GuardReach] = ()
    """What the guards found in the last run that judged them."""
    nearest: Sequence[GuardReach] = ()
    """The run in which each guard that has a scale came nearest to its limit."""
    read_back: ReadBack | None = None


@dataclass
class Failure:
    """Runs of segments that were not done for one cause. `messages` and `hint` are those of the latest documents."""

    status: str
    code: str
    times: int = 0
    names: set[str] = field(default_factory=set)
    last_run: int = 0
    messages: list[str] = field(default_factory=list)
    hint: str = ""


@dataclass(frozen=True)
class Overview:
    """The page of `report`. `runs` are newest first, and have the selected segments alone."""

    created_at: datetime
    specs: Sequence[str]
    segments: Sequence[SegmentPast]
    runs: Sequence[HistoryRow]
    failures: Sequence[Failure] = ()
    orphans: Sequence[Orphan] = ()
    warnings: Sequence[str] = ()
    read_documents: int = 0
    """Runs of which the document was read: guards, causes and read-backs are those of these runs."""


@lru_cache(maxsize=4096)
def measure_share(guard: str, limit: str, actual: str) -> float | None:
    """Measure how near a guard came to its limit: 0.4 of it, 1.0 at it; None where that has no scale."""
    if guard in (Guard.MUST_INCLUDE, Guard.ALLOW_EMPTY):
        return None
    wanted, found = _NUMBER.search(limit), _NUMBER.search(actual)
    if wanted is None or found is None or limit.endswith("%") != actual.endswith("%"):
        return None
    most, number = float(wanted[0]), float(found[0])
    if guard == Guard.MIN_MEMBERS:  # the fewer there are the nearer
        most, number = number, most
    if most == 0:
        return math.inf if number else None
    return number / most
