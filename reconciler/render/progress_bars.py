"""Progress on a terminal: a line per segment at work."""

import threading
from typing import IO, assert_never

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

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
from reconciler.models.spec import Target
from reconciler.render.progress import POSTPONED, Progress, describe_creation, describe_end, describe_wait


class ProgressBars(Progress):
    """A line per segment at work: a spinner while its query runs, a bar while it is sent."""

    def __init__(self, stream: IO[str], width: int | None = None) -> None:
        console = Console(file=stream, force_terminal=True, width=width, markup=False, emoji=False)
        self._progress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[doing]}", markup=False),
            RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,  # the document goes elsewhere
        )
        self._tasks: dict[str, TaskID] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._progress.stop()

    def pause(self) -> None:
        with self._lock:
            self._progress.stop()

    def tell(self, event: Event) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._progress.start()
            match event:
                case Reading(target):
                    self._update(target, "query runs")
                case Queried(target):
                    self._update(target, "compares")
                case Postponed(target):
                    self._update(target, POSTPONED)
                case Planned(plan):
                    self._remove(plan.target)
                case Sending(target, done, total):
                    self._update(target, f"{done:,}/{total:,} ids", done, total)
                case Waiting(target):
                    self._update(target, f"waits {describe_wait(event)}")
                case Created(target):
                    self._update(target, describe_creation(target))
                case Confirming(target):
                    self._update(target, "reads back")
                case ReadBack(row):
                    self._remove(row.target)
                case Finished(run):
                    self._remove(run.target)
                    self._progress.print(clean(f"{run.target.label}: {describe_end(run)}"), highlight=False)
                case _:
                    assert_never(event)

    def _update(self, target: Target, doing: str, done: int = 0, total: int | None = None) -> None:
        if target.label not in self._tasks:
            name = clean(target.segment.name)
            self._tasks[target.label] = self._progress.add_task(name, total=total, doing=clean(doing))
        self._progress.update(self._tasks[target.label], completed=done, total=total, doing=clean(doing))

    def _remove(self, target: Target) -> None:
        task = self._tasks.pop(target.label, None)
        if task is not None:
            self._progress.remove_task(task)


class RateColumn(ProgressColumn):
    """Ids a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed and task.total else "", style="dim")
