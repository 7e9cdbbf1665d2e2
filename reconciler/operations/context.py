"""The parts that one operation works with: opened when first asked for, shared by its segments, closed at the end."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from reconciler import telemetry
from reconciler.clock import boot_seconds
from reconciler.customerio import App, Track
from reconciler.errors import DestinationError, ReconcileError, SegmentError, SourceError, SpecError, UsageError
from reconciler.models.comparison import DEFAULT_PARALLEL, MIN_MEMORY, MOST_PARALLEL, read_size
from reconciler.models.events import Event, Queried
from reconciler.models.fields import Secret
from reconciler.models.members import MembersAtSource
from reconciler.models.options import Options
from reconciler.models.plan import Head, RemoteSegment
from reconciler.models.results import Listing
from reconciler.models.spec import CompareAt, DestinationSettings, StateSettings, Target
from reconciler.operations.results import DriftResult, PlanResult, RefreshResult, RunResult
from reconciler.operations.workspace import check_before_reading, check_name, warn_of_names
from reconciler.sources import open_members, open_source
from reconciler.sources.base import PushdownSource, Source
from reconciler.state import open_snapshot, open_store
from reconciler.state.base import PushdownSnapshot, Snapshot

if TYPE_CHECKING:
    from reconciler.customerio.connection import Connections
    from reconciler.diff.comparison import SetEngine
    from reconciler.state.store import StateStore

Key = TypeVar("Key")
Part = TypeVar("Part")
Item = TypeVar("Item")
Result = TypeVar("Result")
Observed = TypeVar("Observed", PlanResult, RunResult, DriftResult, RefreshResult)

Account = tuple[object, ...]
"""A workspace's connection, see `identify_account`."""

TURN_SECONDS = 0.1
"""Python runs a handler in the main thread alone, and a signal that another thread takes does not wake it."""


@dataclass(frozen=True)
class Parts:
    """What one segment of an apply is worked on with."""

    store: "StateStore"
    sets: "SetEngine"
    track: Track
    app: App | None
    pool: Executor
    """The threads that send."""
    stop: threading.Event
    report: Callable[[Event], None]
    clock: Callable[[], float]
    """Seconds that never go back."""
    warn: Callable[[str], None]
    ask_environment: Callable[[], int | None]
    """The environment id of the Track API's keys, None where it can't be had."""
    preflight: Callable[[], int | None]
    """As `Track.preflight`, once for all segments of a workspace."""
    list_known: Callable[[], Sequence[Listing]]
    """What the state knows now of the segments of the workspace."""


def identify_account(destination: DestinationSettings) -> Account:
    """Identify a workspace's connection; rates are not part of it."""
    place = (destination.region, destination.track_url, destination.app_url, destination.workspace_id)
    return (*place, destination.site_id, destination.api_key, destination.app_api_key)


@dataclass(eq=False, repr=False)
class Once(Generic[Key, Part]):
    """Makes a part once for each key, under a lock: others that ask for this key wait, and share the part."""

    _lock: AbstractContextManager[object]
    _parts: dict[Key, Part] = field(default_factory=dict, init=False)
    _errors: dict[Key, ReconcileError] = field(default_factory=dict, init=False)

    def get(self, key: Key, make: Callable[[], Part]) -> Part:
        """Give the part of this key. Raises what `make` raises: a ReconcileError for each caller, without a new try."""
        with self._lock:
            if key in self._errors:
                raise self._errors[key]
            if key not in self._parts:
                try:
                    self._parts[key] = make()
                except ReconcileError as error:
                    self._errors[key] = error
                    raise
            return self._parts[key]

    def made(self) -> list[Part]:
        """The parts that there are."""
        return list(self._parts.values())


class Context(ExitStack):
    """The parts of one operation, which leaving it closes; its methods may be called from several threads.

    `progress` is called with one event at a time; what it raises is dropped. `reads_only`: no state is written to.
    Raises UsageError for limits that can't be used, and SpecError where a variable is not set.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        memory_limit: str | None = None,
        parallel: int = DEFAULT_PARALLEL,
        *,
        lock_timeout: float = 0.0,
        reads_only: bool = False,
        stop: threading.Event | None = None,
        progress: Callable[[Event], None] | None = None,
    ) -> None:
        super().__init__()
        if memory_limit is not None and (read_size(memory_limit) or 0) < (read_size(MIN_MEMORY) or 0):
            raise UsageError(f"the memory limit {memory_limit!r} can't be used", f"give {MIN_MEMORY} or more")
        if not isinstance(parallel, int) or not 1 <= parallel <= MOST_PARALLEL:
            raise UsageError(f"{parallel!r} segments can't be processed concurrently", f"give 1 to {MOST_PARALLEL}")
        unset = {target.spec.path: target.spec.unset for target in targets if target.spec.unset}
        if unset:
            problems = [f"{path}: the environment lacks {', '.join(names)}" for path, names in unset.items()]
            raise SpecError(problems, "set them; only what reads the state alone can do without (`offline=True`)")
        self.targets = targets
        self.lock_timeout = lock_timeout
        self.stop = stop or threading.Event()
        self.warnings: list[str] = []
        self._memory_limit = memory_limit
        self._parallel = parallel
        self._reads_only = reads_only
        self._recorder = telemetry.start()
        listeners = (progress, self._recorder.tell if self._recorder else None)
        self._listeners = [each for each in listeners if each is not None]
        self._reporting = threading.Lock()
        self._warning = threading.Lock()
        self._is_interrupted = False

        opening = threading.RLock()  # one for all: opening a part may open others
        self._sources: Once[tuple[Secret, Options], Source] = Once(opening)
        self._members: Once[tuple[Secret, Options], MembersAtSource] = Once(opening)
        self._snapshots: Once[StateSettings, Snapshot] = Once(opening)
        self._names: Once[StateSettings, Mapping[str, int]] = Once(opening)
        self._pushdown_sources: Once[tuple[Secret, Options, StateSettings], PushdownSource | None] = Once(opening)
        self._stores: Once[StateSettings, StateStore] = Once(opening)
        self._engines: Once[None, SetEngine] = Once(opening)
        self._engine: SetEngine | None = None
        self._connections: Once[None, Connections] = Once(opening)
        self._clients: Once[DestinationSettings, tuple[Track, App | None]] = Once(opening)
        self._pools: Once[Account, Executor] = Once(opening)

        asking = threading.Lock()
        self._environments: Once[Account, int | Exception | None] = Once(asking)
        self._preflights: Once[Account, int | Exception | None] = Once(asking)

    # --- what is reported -----------------------------------------------------------------------------------------

    def warn(self, text: str) -> None:
        """Collect a warning for the result, once."""
        with self._warning:
            if text not in self.warnings:
                self.warnings.append(text)

    def warn_of_specs(self) -> None:
        """Collect what the specs say of these segments that a reader would not expect."""
        for target in self.targets:
            for warning in target.segment.warnings:
                self.warn(str(warning))

    def warn_of_names(self) -> None:
        """Collect what is to be said of workspaces for which the state has several names."""
        for warning in warn_of_names(self.targets, self.environments):
            self.warn(warning)

    def report(self, event: Event) -> None:
        """Report an event. A failure to do so is dropped: the operation goes on."""
        with self._reporting:
            for tell in self._listeners:
                with suppress(Exception):
                    tell(event)

    def observed(self, command: str, result: Observed) -> Observed:
        """Export what was recorded of the operation, if the environment asks for that; a failure is a warning."""
        if self._recorder is None:
            return result
        failures: list[str] = telemetry.finish(self._recorder, command, result, result.exit_code)
        return replace(result, warnings=(*result.warnings, *failures))

    # --- where the work is done -----------------------------------------------------------------------------------

    def for_each(self, items: Iterable[Item], work: Callable[[Item], Result], name: str) -> list[Result]:
        """Work on several items at once, in threads of this name; gives the results in the items' order.

        Raises what `work` raises, once all have ended. An exception in the caller's thread, such as KeyboardInterrupt,
        stops the operation in good order, too.
        """
        with ThreadPoolExecutor(self._parallel, name) as pool:
            try:
                futures = [pool.submit(work, item) for item in items]
                while wait(futures, TURN_SECONDS).not_done:
                    if self.stop.is_set():
                        self._interrupt()
            except BaseException:
                self.stop.set()
                raise
            return [future.result() for future in futures]

    def _interrupt(self) -> None:
        """End the queries and comparisons that run, which can't see the stop."""
        for source in self._sources.made():
            source.interrupt()
        if self._engine is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._engine.interrupt()

    def check_stop(self) -> None:
        """Raise SegmentError once the operation is to stop."""
        if self.stop.is_set():
            raise SegmentError("stopped before it was looked at", "run it again; nothing was sent", code="stopped")

    # --- the parts ------------------------------------------------------------------------------------------------

    def source(self, target: Target) -> Source:
        settings = target.spec.sources[target.segment.source]

        def make() -> Source:
            source = open_source(target.segment.source, settings.url, settings.options)
            self.enter_context(source.keep())
            return source

        return self._sources.get((settings.url, settings.options), make)

    def snapshot(self, target: Target) -> Snapshot:
        return self.open_snapshot(target.spec.state)

    def open_snapshot(self, state: StateSettings) -> Snapshot:
        return self._snapshots.get(state, lambda: open_snapshot(state, alone=self._reads_only))

    def members_at_source(self, target: Target) -> MembersAtSource | None:
        """The tables in which the segment's members stand; None: they are in the state. Raises SourceError."""
        if not target.is_at_source:
            return None
        settings = target.spec.sources[target.segment.source]
        key = settings.url, settings.options
        return self._members.get(key, lambda: open_members(target.segment.source, self.source(target)))

    def pushdown_source(self, target: Target) -> PushdownSource | None:
        """The source, where its database is the one that has the state, too."""
        settings = target.spec.sources[target.segment.source]
        if settings.compare is CompareAt.LOCAL:
            return None
        key = settings.url, settings.options, target.spec.state
        return self._pushdown_sources.get(key, lambda: self._find_pushdown_source(target))

    def _find_pushdown_source(self, target: Target) -> PushdownSource | None:
        source, snapshot = self.source(target), self.snapshot(target)
        if not (isinstance(source, PushdownSource) and isinstance(snapshot, PushdownSnapshot)):
            return None
        try:
            return source if source.is_database(snapshot.identify_database()) else None
        except SourceError:
            return None  # each segment meets it again, and says so

    def store(self, target: Target) -> "StateStore":
        state = target.spec.state

        def make() -> "StateStore":
            store = open_store(
                state, lock_timeout=self.lock_timeout, pause=self.stop.wait, members_of=self.members_at_source
            )
            return self.enter_context(store)

        return self._stores.get(state, make)

    def sets(self) -> "SetEngine":
        """The engine that compares, one for all segments."""
        return self._engines.get(None, self._start_engine)

    def _start_engine(self) -> "SetEngine":
        from reconciler.diff.comparison import SetEngine  # it loads DuckDB

        # One that TMPDIR names is used as it is: Python would quietly use another where it can't be written to.
        try:
            spill = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
        except OSError:
            raise SegmentError(
                "there is no folder for temporary files that can be written to",
                "name one with the variable TMPDIR",
                code="spill",
            ) from None
        engine = SetEngine(
            self._memory_limit,
            spill,
            self.source,
            self.snapshot,
            self.pushdown_source,
            queried=lambda target: self.report(Queried(target)),
            members_of=self.members_at_source,
        )
        self._engine = self.enter_context(engine.keep())
        return engine

    def customerio(self, target: Target) -> tuple[Track, App | None]:
        """The two APIs as a spec asks them, by its own time-out; all specs share the limits of an account."""
        destination = target.spec.destination

        def open_clients() -> tuple[Track, App | None]:
            return self._connections.get(None, self._open_connections).open(destination)

        return self._clients.get(destination, open_clients)

    def _open_connections(self) -> "Connections":
        from reconciler.customerio.connection import Connections  # it loads httpx

        connections = Connections([each.spec.destination for each in self.targets], stop=self.stop, warn=self.warn)
        self.callback(connections.close)
        return connections

    def app(self, target: Target) -> App | None:
        return None if target.spec.destination.app_api_key is None else self.customerio(target)[1]

    def pool(self, target: Target) -> Executor:
        """The threads that send, shared by all segments of one workspace."""
        destination = target.spec.destination

        def make() -> Executor:
            return self.enter_context(ThreadPoolExecutor(destination.concurrency, "send"))

        return self._pools.get(identify_account(destination), make)

    def parts(self, target: Target) -> Parts:
        """Everything that one segment of an apply is worked on with. Raises ReconcileError."""
        return Parts(
            store=self.store(target),
            sets=self.sets(),
            track=self.customerio(target)[0],
            app=self.app(target),
            pool=self.pool(target),
            stop=self.stop,
            report=self.report,
            clock=boot_seconds,
            warn=self.warn,
            ask_environment=lambda: self.ask_environment(target),
            preflight=lambda: self.preflight(target),
            list_known=lambda: self.snapshot(target).listings(target.workspace),
        )

    # --- questions that are asked once ----------------------------------------------------------------------------

    def preflight(self, target: Target) -> int | None:
        """Check the Track API's credentials and region; gives the environment id. Raises DestinationError.

        Also where another segment has met since then what no segment can get past.
        """
        track = self.customerio(target)[0]
        environment_id = self._ask_once(self._preflights, target, track.preflight)
        track.check_open()
        return environment_id

    def ask_environment(self, target: Target) -> int | None:
        """The environment of the Track API's keys; None where it can't be had."""
        with suppress(DestinationError):  # an answer that makes no sense
            return self._ask_once(self._environments, target, self.customerio(target)[0].ask_environment)
        return None

    def find_closed(self, target: Target) -> DestinationError | None:
        """Give what an earlier request has met that no other gets past, such as keys that are refused."""
        try:
            self.customerio(target)[0].check_open()
        except DestinationError as error:
            return error
        return None

    def environments(self, target: Target) -> Mapping[str, int]:
        """The names of workspaces in the state with their environments, as they were when it was first asked."""
        return self._names.get(target.spec.state, lambda: self.snapshot(target).environments())

    def check_name(self, target: Target) -> None:
        """Raise DestinationError where the state has another name for the environment of the keys.

        They are asked only where the state does not know the spec's name, and knows others.
        """
        environments = self.environments(target)
        if environments and target.workspace not in environments:
            check_name(target, environments, self.ask_environment(target))

    def checked_app(self, target: Target, head: Head) -> App | None:
        """The App API, which is asked nothing where the keys are of another environment than the state's."""
        return check_before_reading(
            target,
            head,
            self.app(target),
            lambda: self.ask_environment(target),
            self.warn,
            lambda: self.find_closed(target),
        )

    def list_segments(self, target: Target) -> dict[int, RemoteSegment]:
        """The segments of a workspace, from the one list of the run. Raises ReconcileError."""
        return self.reading_app(target).segments()

    def reading_app(self, target: Target) -> App:
        """The App API of a spec that was checked for its key. Raises ReconcileError."""
        app = self.checked_app(target, self.snapshot(target).head(target.workspace, 0))
        assert app is not None, "the spec was checked for an App API key"
        return app

    def _ask_once(
        self, answers: Once[Account, int | Exception | None], target: Target, question: Callable[[], int | None]
    ) -> int | None:
        """Ask a workspace once; the other callers wait, and get the same answer or the same error."""

        def ask() -> int | Exception | None:
            try:
                return question()
            except Exception as error:
                return error

        answer = answers.get(identify_account(target.spec.destination), ask)
        if isinstance(answer, Exception):
            raise answer
        return answer
