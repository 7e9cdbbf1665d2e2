"""What a run tells while it goes on: bars on a terminal, plain lines, JSON lines, or nothing. All on stderr, no ids."""

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, assert_never

from reconciler.models.events import Confirming, Event, Finished, Planned, Postponed, Reading, Sending, Waiting
from reconciler.models.plan import PlanStatus, SegmentPlan
from reconciler.models.run import SegmentRun
from reconciler.models.spec import Target
from reconciler.render import sentences
from reconciler.render.escaping import clean
from reconciler.render.json import write_time

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


POSTPONED = "another run is at work on it: it comes last"


class Quiet:
    """Tells nothing. The base of the others: each is a context manager, and safe to use from several threads."""

    def tell(self, event: Event) -> None:
        """Take an event. What can't be told is not: the run goes on."""
        with suppress(Exception):
            self._take(event)

    def _take(self, event: Event) -> None:
        """Tell it in this one's way."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""


# --- plain lines -------------------------------------------------------------------------------------------------


class Plain(Quiet):
    """One line per finished segment, and one for each wait."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._said: dict[str, str] = {}
        self._lock = threading.Lock()

    def _take(self, event: Event) -> None:
        said = say_event(event)
        if said is not None:
            with self._lock:
                self._say(*said)

    def _say(self, label: str, sentence: str) -> None:
        """An end that the plan has told already (`unchanged`, `blocked`) is not told again."""
        if not self._said.get(label, "").startswith(sentence):
            print(clean(f"{label}: {sentence}"), file=self._stream, flush=True)
        self._said[label] = sentence


def say_event(event: Event) -> tuple[str, str] | None:
    """Put an event into words, behind the segment's label; None for what is not worth a line."""
    match event:
        case Postponed(target):
            return target.label, POSTPONED
        case Planned(plan):
            return plan.target.label, say_planned(plan)
        case Waiting(target, seconds, reason):
            return target.label, f"waiting {seconds:.0f} s: {reason}"
        case Finished(run):
            return run.plan.target.label, say_finished(run)
        case Reading() | Sending() | Confirming():
            return None
        case _:
            assert_never(event)


def say_planned(plan: SegmentPlan) -> str:
    """`10 to remove, 20 to add`, or why not."""
    if plan.counts is None or plan.status in (PlanStatus.FAILED, PlanStatus.UNCHANGED):
        return str(plan.status)
    said = f"{plan.counts.remove:,} to remove, {plan.counts.add:,} to add"
    return f"blocked ({said})" if plan.status is PlanStatus.BLOCKED else said


def say_finished(run: SegmentRun) -> str:
    """`applied: 10 removed, 20 added in 1.2 s`, or how else it ended."""
    tally = run.tally
    if not tally.touched:
        return str(run.status)
    troubles = [
        f", {tally.rejected:,} rejected" if tally.rejected else "",
        f", {tally.unsettled:,} unsettled" if tally.unsettled else "",
    ]
    numbers = f"{tally.removed:,} removed, {tally.added:,} added{''.join(troubles)}"
    return f"{run.status}: {numbers} in {tally.seconds:,.1f} s"


# --- JSON lines --------------------------------------------------------------------------------------------------


class JsonLines(Quiet):
    """One JSON object per event. `now` gives the time."""

    def __init__(self, stream: IO[str], now: Callable[[], datetime]) -> None:
        self._stream = stream
        self._now = now
        self._lock = threading.Lock()

    def _take(self, event: Event) -> None:
        line = json.dumps({"time": write_time(self._now()), **list_fields(event)})
        with self._lock:
            self._stream.write(f"{line}\n")  # at once: a line of somebody else can't come between
            self._stream.flush()


def list_fields(event: Event) -> dict[str, Any]:
    """Give an event's name and numbers."""
    match event:
        case Reading(target):
            return _name_fields("reading", target)
        case Postponed(target):
            return _name_fields("postponed", target)
        case Planned(plan):
            return _name_fields("planned", plan.target) | _plan_fields(plan)
        case Sending(target, done, total):
            return _name_fields("sending", target) | {"done": done, "total": total}
        case Waiting(target, seconds, reason):
            return _name_fields("waiting", target) | {"seconds": round(seconds, 3), "reason": reason}
        case Confirming(target, read):
            return _name_fields("confirming", target) | {"read": read}
        case Finished(run):
            error = run.error.code if run.error else None
            numbers = asdict(run.tally) | {"seconds": round(run.tally.seconds, 3)}
            return _name_fields("finished", run.plan.target) | {"status": run.status.value, "error": error} | numbers
        case _:
            assert_never(event)


def _name_fields(event: str, target: Target) -> dict[str, Any]:
    segment = target.segment
    return {
        "event": event,
        "workspace": target.workspace,
        "name": segment.name,
        "segment_id": segment.segment_id,
    }


def _plan_fields(plan: SegmentPlan) -> dict[str, Any]:
    counts = plan.counts
    return {
        "status": plan.status.value,
        "remove": None if counts is None else counts.remove,
        "add": None if counts is None else counts.add,
    }


# --- bars --------------------------------------------------------------------------------------------------------


class Bars(Quiet):
    """A line per segment at work: a spinner while its query runs, a bar while it is sent. For a terminal.

    Use it as a context manager; `pause` takes it off the screen, for a prompt.
    """

    def __init__(self, stream: IO[str], width: int | None = None) -> None:
        # Here, since it takes a while, and nothing but a terminal needs it.
        from rich.console import Console

        self._console = Console(file=stream, force_terminal=True, width=width, markup=False, emoji=False)
        self._progress = make_progress(self._console)
        self._tasks: dict[str, TaskID] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._progress.stop()

    def pause(self) -> None:
        """Take the lines off the screen until something is told again."""
        with self._lock:
            self._progress.stop()

    def _take(self, event: Event) -> None:
        with self._lock:
            if not self._is_closed:
                self._progress.start()
                self._tell(event)

    def _tell(self, event: Event) -> None:
        match event:
            case Reading(target):
                self._show(target, "query runs", total=None)
            case Postponed(target):
                self._show(target, POSTPONED, total=None)
            case Planned(plan):
                self._remove(plan.target)
            case Sending(target, done, total):
                self._show(target, f"{done:,}/{total:,} ids", done, total)
            case Waiting(target, seconds, reason):
                self._show(target, f"waits {seconds:.0f} s: {reason}", total=None)
            case Confirming(target, read):
                self._show(target, f"reads back: {sentences.count(read, 'member')}", total=None)
            case Finished(run):
                self._finish(run)
            case _:
                assert_never(event)

    def _show(self, target: Target, doing: str, done: int = 0, total: int | None = None) -> None:
        name = clean(target.segment.name)
        if target.label not in self._tasks:
            self._tasks[target.label] = self._progress.add_task(name, total=total, doing=clean(doing))
        self._progress.update(self._tasks[target.label], completed=done, total=total, doing=clean(doing))

    def _remove(self, target: Target) -> None:
        task = self._tasks.pop(target.label, None)
        if task is not None:
            self._progress.remove_task(task)

    def _finish(self, run: SegmentRun) -> None:
        self._remove(run.plan.target)
        self._progress.print(clean(f"{run.plan.target.label}: {say_finished(run)}"), highlight=False)


def make_progress(console: Any) -> "Progress":
    """The columns of a line: spinner, name, bar, what it does, rate, time gone, time left."""
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Ids a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed and task.total else "", style="dim")

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[doing]}", markup=False),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # the document goes elsewhere
    )
