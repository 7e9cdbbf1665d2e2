"""Picks the parts of a run and closes them at its end; the only place that knows which part fills which seam."""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from reconciler.cli.console import Console
from reconciler.cli.flags import DEFAULT_MEMORY_LIMIT, LogFormat
from reconciler.cli.streams import draw_on
from reconciler.clock import boot_seconds
from reconciler.customerio.base import App, Track
from reconciler.diff.base import SetEngine
from reconciler.errors import DestinationError, SegmentError, SourceError
from reconciler.models.events import Reporter
from reconciler.models.plan import Head
from reconciler.models.spec import DestinationSettings, SourceSettings, StateSettings, Target
from reconciler.operations.apply import Parts
from reconciler.operations.concurrency import Once
from reconciler.render.progress import NoProgress, ProgressJson, ProgressLines
from reconciler.sources.base import Host, Source
from reconciler.state.base import Resident, Snapshot

if TYPE_CHECKING:
    from reconciler.state.store import StateStore

Part = TypeVar("Part")


@dataclass
class Wiring:
    """The parts of one command; each is made when it is first asked for, shared, and closed at the end."""

    console: Console
    targets: Sequence[Target]
    memory_limit: str = DEFAULT_MEMORY_LIMIT
    lock_timeout: float = 0.0
    reads_only: bool = False
    """No state is written to in this command."""
    stop: threading.Event = field(default_factory=threading.Event)
    warnings: list[str] = field(default_factory=list)
    _sets: SetEngine | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _made: dict[object, object] = field(default_factory=dict)
    _environments: Once = field(default_factory=Once)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def warn(self, text: str) -> None:
        """Collect a warning for the document, once; it is shown with it."""
        with self._lock:
            if text not in self.warnings:
                self.warnings.append(text)

    def warn_of_specs(self) -> None:
        """Collect what the specs say of these segments that a reader would not expect."""
        for target in self.targets:
            for warning in target.segment.warnings:
                self.warn(warning)

    def source(self, target: Target) -> Source:
        settings: SourceSettings = target.spec.sources[target.segment.source]

        def make() -> Source:
            from reconciler.sources import open_source

            source = open_source(target.segment.source, settings.url)
            self._stack.enter_context(source.held())
            return source

        return self._share(("source", settings.url), make)

    def snapshot(self, target: Target) -> Snapshot:
        settings: StateSettings = target.spec.state

        def make() -> Snapshot:
            from reconciler.state import open_snapshot

            return open_snapshot(settings, alone=self.reads_only)

        return self._share(("snapshot", settings), make)

    def host(self, target: Target) -> Host | None:
        """The source, where its database is the one that the state stands in."""
        settings: SourceSettings = target.spec.sources[target.segment.source]

        def make() -> Host | None:
            source, snapshot = self.source(target), self.snapshot(target)
            if not (isinstance(source, Host) and isinstance(snapshot, Resident)):
                return None
            try:
                return source if source.answers(snapshot.prove()) else None
            except SourceError:
                return None  # each segment meets it again, and says so

        return self._share(("host", settings.url, target.spec.state), make)

    def ledger(self, target: Target) -> "StateStore":
        settings: StateSettings = target.spec.state

        def make() -> "StateStore":
            from reconciler.state import open_store

            return self._stack.enter_context(
                open_store(settings, lock_timeout=self.lock_timeout, pause=lambda seconds: self.stop.wait(seconds))
            )

        return self._share(("ledger", settings), make)

    def sets(self) -> SetEngine:
        def make() -> SetEngine:
            from reconciler.diff.embedded import EmbeddedSetEngine

            spill = find_spill_parent(os.environ)
            engine = EmbeddedSetEngine(self.memory_limit, spill, self.source, self.snapshot, self.host)
            self._sets = self._stack.enter_context(engine)
            return self._sets

        return self._share("sets", make)

    def track(self, target: Target) -> Track:
        return self._customerio(target)[0]

    def app(self, target: Target) -> App | None:
        return None if target.spec.destination.app_api_key is None else self._customerio(target)[1]

    def checked_app(self, target: Target, head: Head) -> App | None:
        """The App API for a command that only reads: it asks nothing of another environment than the state's."""
        from reconciler.operations.workspace import check_before_reading

        return check_before_reading(target, head, self.app(target), lambda: self.ask_environment(target), self.warn)

    def ask_environment(self, target: Target) -> int | None:
        """The environment of the Track API's keys, asked for once in the command; None where it can't be had."""
        track = self.track(target)

        def ask() -> int | None:
            with suppress(DestinationError):  # an answer that makes no sense
                return track.ask_environment()
            return None

        return self._environments.ask(id(track), ask)

    def _customerio(self, target: Target) -> tuple[Track, App | None]:
        destination = target.spec.destination

        def make() -> tuple[Track, App | None]:
            from reconciler.customerio.connection import connect

            track, app = connect(self._slowest(destination), stop=self.stop, warn=self.warn)
            self._stack.callback(track.close)
            if app is not None:
                self._stack.callback(app.close)
            return track, app

        return self._share(("customerio", _account(destination)), make)

    def pool(self, target: Target) -> Executor:
        """The threads that send, shared by all segments of one workspace."""
        destination = target.spec.destination

        def make() -> Executor:
            return self._stack.enter_context(ThreadPoolExecutor(destination.concurrency, "send"))

        return self._share(("pool", _account(destination)), make)

    def reporter(self) -> Reporter:
        def make() -> Reporter:
            reporter = choose_reporter(self.console)
            self._stack.callback(reporter.close)
            return reporter

        return self._share("reporter", make)

    def pause_progress(self) -> None:
        """Take the bars off the terminal, for a question."""
        reporter = self._made.get("reporter")
        if isinstance(reporter, NoProgress):
            reporter.pause()

    def parts(self, target: Target) -> Parts:
        """Everything that one segment of an apply is worked on with."""
        return Parts(
            self.ledger(target),
            self.sets(),
            self.track(target),
            self.app(target),
            self.pool(target),
            self.stop,
            self.reporter(),
            boot_seconds,
            self.warn,
            lambda: self.ask_environment(target),
        )

    def check_stop(self) -> None:
        """Raise SegmentError once a signal has asked for the end."""
        if self.stop.is_set():
            raise SegmentError("stopped before it was looked at", "run it again; nothing was sent", code="stopped")

    def interrupt(self) -> None:
        """End the comparisons that run; they can't see the stop flag. For a signal's handler: it takes no lock."""
        if self._sets is not None:
            self._sets.interrupt()

    def close(self) -> None:
        self._stack.close()

    def _share(self, key: object, make: Callable[[], Part]) -> Part:
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]  # type: ignore[return-value]

    def _slowest(self, destination: DestinationSettings) -> DestinationSettings:
        """Of several specs for one workspace, the settings with the lowest rate: it is shared by the whole run."""
        every = (target.spec.destination for target in self.targets)
        same = [each for each in every if _account(each) == _account(destination)]
        return min([destination, *same], key=lambda each: each.rate_limit)


def find_spill_parent(environment: Mapping[str, str]) -> Path:
    """Give the folder for temporary files. One that TMPDIR names is taken at its word: Python would quietly take
    another where it can't be used. Raises SegmentError where there is none."""
    if named := environment.get("TMPDIR"):
        return Path(named)
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        raise SegmentError(
            "there is no folder for temporary files that can be written to",
            "name one with the variable TMPDIR",
            code="spill",
        ) from None


def _account(destination: DestinationSettings) -> tuple[object, ...]:
    """What tells one workspace's connection from another's; rates are not part of it."""
    place = (destination.region, destination.track_url, destination.app_url, destination.workspace_id)
    return (*place, destination.site_id, destination.api_key, destination.app_api_key)


def choose_reporter(console: Console) -> NoProgress:
    """Bars on a terminal, a line per segment elsewhere, JSON lines on request, nothing with --quiet."""
    if console.quiet:
        return NoProgress()
    if console.log_format is LogFormat.JSON:
        return ProgressJson(sys.stderr, lambda: datetime.now(UTC))
    if console.animates:
        from reconciler.render.progress_bars import ProgressBars  # it loads Rich, which only a terminal needs

        return ProgressBars(draw_on(sys.stderr))
    return ProgressLines(sys.stderr)


@contextmanager
def wired(
    console: Console,
    targets: Sequence[Target],
    *,
    memory_limit: str = DEFAULT_MEMORY_LIMIT,
    lock_timeout: float = 0.0,
    reads_only: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[Wiring]:
    """Open a wiring for a block."""
    wiring = Wiring(console, targets, memory_limit, lock_timeout, reads_only, stop or threading.Event())
    try:
        yield wiring
    finally:
        wiring.close()
