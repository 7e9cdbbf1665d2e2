"""What a run reports while it goes on: plain lines, JSON lines, or nothing; all on stderr, without ids.

Bars for a terminal are in `progress_bars`, which needs Rich.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, assert_never

from reconciler.escaping import clean
from reconciler.models.events import (
    Confirming,
    Created,
    Event,
    Finished,
    Planned,
    Postponed,
    Queried,
    ReadBack,
    Reading,
    Sending,
    Waiting,
)
from reconciler.models.plan import PlanStatus
from reconciler.models.results import SegmentRun
from reconciler.models.spec import Target
from reconciler.render.json_documents import write_time
from reconciler.render.sentences import NOT_CONFIRMED, is_declined

POSTPONED = "another run is at work on it: it comes last"


class Progress:
    """Shows the progress of an operation, which tells one event at a time and ignores what that raises.

    The base shows nothing.
    """

    def tell(self, event: Event) -> None:
        """Show an event."""

    def pause(self) -> None:
        """Take what moves off the screen until the next event."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class ProgressLines(Progress):
    """One line per finished segment, and one for each wait."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._latest: dict[str, str] = {}
        """By segment; a plan's `unchanged` or `blocked` is not repeated when the segment is finished."""

    def tell(self, event: Event) -> None:
        match event:
            case Postponed(target):
                sentence = POSTPONED
            case Planned(plan):
                target, sentence = plan.target, str(plan.status)
                if plan.counts is not None and plan.status not in (PlanStatus.FAILED, PlanStatus.UNCHANGED):
                    numbers = f"{plan.counts.remove:,} to remove, {plan.counts.add:,} to add"
                    sentence = f"blocked ({numbers})" if plan.status is PlanStatus.BLOCKED else numbers
            case Waiting(target):
                sentence = f"waiting {describe_wait(event)}"
            case Created(target):
                sentence = describe_creation(target)
            case Finished(run):
                target, sentence = run.target, describe_end(run)
            case Reading() | Queried() | Sending() | Confirming() | ReadBack():
                return
            case _:
                assert_never(event)
        if not self._latest.get(target.label, "").startswith(sentence):
            print(clean(f"{target.label}: {sentence}"), file=self._stream, flush=True)
        self._latest[target.label] = sentence


def describe_creation(target: Target) -> str:
    """`created at Customer.io as segment 61`."""
    return f"created at Customer.io as segment {target.segment_id}"


def describe_wait(waiting: Waiting) -> str:
    """`10 s: an earlier request may still arrive`."""
    span = f"{waiting.seconds:.0f} s" if waiting.seconds >= 1 else "less than 1 s"
    return f"{span}: {waiting.reason}"


def describe_end(run: SegmentRun) -> str:
    """`applied: 10 removed, 20 added in 1.2 s`, or how else it ended."""
    tally = run.tally
    if is_declined(run):
        return NOT_CONFIRMED
    if not tally.touched:
        return str(run.status)
    numbers = f"{tally.removed:,} removed, {tally.added:,} added"
    if tally.rejected:
        numbers += f", {tally.rejected:,} rejected"
    if tally.unsettled:
        numbers += f", {tally.unsettled:,} unsettled"
    return f"{run.status}: {numbers} in {tally.seconds:,.1f} s"


@dataclass(eq=False, repr=False)
class ProgressJson(Progress):
    """One JSON object per event."""

    _stream: IO[str]
    _now: Callable[[], datetime]
    """Gives the time."""

    def tell(self, event: Event) -> None:
        fields: dict[str, Any]
        match event:
            case Planned(plan):
                target, counts = plan.target, plan.counts
                numbers = {"remove": counts.remove if counts else None, "add": counts.add if counts else None}
                fields = {"status": plan.status.value} | numbers
            case Finished(run):
                target = run.target
                head = {"status": run.status.value, "error": run.error.code if run.error else None}
                fields = head | vars(run.tally)
            case ReadBack(row):
                target = row.target
                fields = {"status": row.status.value, "error": row.error.code if row.error else None}
            case _:
                target = event.target
                fields = {name: value for name, value in vars(event).items() if value is not target}
        if "seconds" in fields:
            fields["seconds"] = round(fields["seconds"], 3)
        line = {
            "time": write_time(self._now()),
            "event": type(event).__name__.lower(),
            "workspace": target.workspace,
            "name": target.segment.name,
            "segment_id": target.segment.segment_id,
            **fields,
        }
        self._stream.write(json.dumps(line) + "\n")  # at once: a line of another thread can't come between
        self._stream.flush()
