"""What a run reports while it goes on: plain lines, JSON lines, or nothing; all on stderr, without ids.

Bars for a terminal are in `progress_bars`, which needs Rich.
"""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import IO, Any, Self, assert_never

from reconciler.escaping import clean
from reconciler.models.events import Confirming, Event, Finished, Planned, Postponed, Reading, Sending, Waiting
from reconciler.models.plan import PlanStatus, SegmentPlan
from reconciler.models.results import SegmentRun
from reconciler.render.json import write_time

POSTPONED = "another run is at work on it: it comes last"


class NoProgress:
    """Shows nothing. The base of the others: each is a context manager, and safe to use from several threads."""

    def tell(self, event: Event) -> None:
        """Show an event. A failure to show it is ignored: the run goes on."""
        with suppress(Exception):
            self._show(event)

    def _show(self, event: Event) -> None:
        """Show an event in the way of this class."""

    def pause(self) -> None:
        """Take what moves off the screen until the next event."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ProgressLines(NoProgress):
    """One line per finished segment, and one for each wait."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._latest: dict[str, str] = {}
        """By segment; a plan's `unchanged` or `blocked` is not repeated when the segment is finished."""
        self._lock = threading.Lock()

    def _show(self, event: Event) -> None:
        match event:
            case Postponed(target):
                sentence = POSTPONED
            case Planned(plan):
                target, sentence = plan.target, _describe_plan(plan)
            case Waiting(target, seconds, reason):
                sentence = f"waiting {seconds:.0f} s: {reason}"
            case Finished(run):
                target, sentence = run.target, describe_end(run)
            case Reading() | Sending() | Confirming():
                return
            case _:
                assert_never(event)
        with self._lock:
            if not self._latest.get(target.label, "").startswith(sentence):
                print(clean(f"{target.label}: {sentence}"), file=self._stream, flush=True)
            self._latest[target.label] = sentence


def _describe_plan(plan: SegmentPlan) -> str:
    """`10 to remove, 20 to add`, or why not."""
    if plan.counts is None or plan.status in (PlanStatus.FAILED, PlanStatus.UNCHANGED):
        return str(plan.status)
    numbers = f"{plan.counts.remove:,} to remove, {plan.counts.add:,} to add"
    return f"blocked ({numbers})" if plan.status is PlanStatus.BLOCKED else numbers


def describe_end(run: SegmentRun) -> str:
    """`applied: 10 removed, 20 added in 1.2 s`, or how else it ended."""
    tally = run.tally
    if not tally.touched:
        return str(run.status)
    numbers = f"{tally.removed:,} removed, {tally.added:,} added"
    if tally.rejected:
        numbers += f", {tally.rejected:,} rejected"
    if tally.unsettled:
        numbers += f", {tally.unsettled:,} unsettled"
    return f"{run.status}: {numbers} in {tally.seconds:,.1f} s"


class ProgressJson(NoProgress):
    """One JSON object per event. `now` gives the time."""

    def __init__(self, stream: IO[str], now: Callable[[], datetime]) -> None:
        self._stream = stream
        self._now = now
        self._lock = threading.Lock()

    def _show(self, event: Event) -> None:
        fields: dict[str, Any] = {}
        match event:
            case Reading(target) | Postponed(target):
                pass
            case Planned(plan):
                target, counts = plan.target, plan.counts
                numbers = {"remove": counts.remove if counts else None, "add": counts.add if counts else None}
                fields = {"status": plan.status.value} | numbers
            case Sending(target, done, total):
                fields = {"done": done, "total": total}
            case Waiting(target, seconds, reason):
                fields = {"seconds": round(seconds, 3), "reason": reason}
            case Confirming(target, read):
                fields = {"read": read}
            case Finished(run):
                target = run.target
                head = {"status": run.status.value, "error": run.error.code if run.error else None}
                fields = head | asdict(run.tally) | {"seconds": round(run.tally.seconds, 3)}
            case _:
                assert_never(event)
        line = json.dumps(
            {
                "time": write_time(self._now()),
                "event": type(event).__name__.lower(),
                "workspace": target.workspace,
                "name": target.segment.name,
                "segment_id": target.segment.segment_id,
                **fields,
            }
        )
        with self._lock:
            self._stream.write(f"{line}\n")  # at once: a line of another thread can't come between
            self._stream.flush()
