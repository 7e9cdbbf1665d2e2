"""One segment of an apply, its parts, and a session over them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from reconciler.models.comparison import DriftCounts
from reconciler.models.events import Event, Finished
from reconciler.models.guards import Guard
from reconciler.models.plan import Head
from reconciler.models.results import SegmentRun
from reconciler.operations.apply_segment import ApplyOptions, Phase, SegmentApply
from reconciler.operations.context import Parts
from reconciler.operations.plan import Compare, PlanOptions
from reconciler.operations.results import RunResult
from tests.fakes.memory_state import FakeClock, FakeHeld, FakeStore
from tests.fakes.parts import (
    FakeApp,
    FakeComparison,
    FakeReporter,
    FakeSets,
    FakeStop,
    FakeTrack,
    InlinePool,
    make_people,
    make_target,
    name_ids,
)

AGREES = DriftCounts(stored=5, remote=5, missing=0, foreign=0, lingering=0, unkeyed=0)
MISSING = replace(AGREES, missing=2)
LINGERING = replace(AGREES, foreign=3, lingering=3)
KNOWN = Head("lineage", 7, "id", completed=True)


@dataclass
class Play:
    """One segment, its parts, and a session over them. What is changed before `run` counts."""

    add: list[str] = field(default_factory=lambda: name_ids(5))
    remove: list[str] = field(default_factory=lambda: name_ids(3, "gone"))
    head: Head = KNOWN
    settle: float = 10.0
    confirm: bool = False
    confirm_timeout: float = 60.0
    guards_allowed: frozenset[Guard] = frozenset()
    hook: Callable[[Event], None] = lambda event: None
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Of the segment."""

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.stop = FakeStop(self.clock)
        self.held = FakeHeld(self.remove, head=self.head, clock=self.clock)
        self.store = FakeStore(self.held)
        self.comparison = FakeComparison(self.add, self.remove, head=self.head, size=2, drifts=[AGREES])
        count = self.comparison.count()
        self.comparison.counts = replace(count, desired=90 + count.desired, unchanged=90, held=100, stored=100)
        self.sets = FakeSets(self.comparison)
        self.track = FakeTrack(self.held, present=set(self.remove))
        self.app: FakeApp | None = FakeApp(make_people(5))
        self.reporter = FakeReporter(self.hook)
        self.warnings: list[str] = []

    def start(
        self,
        *,
        compare: Compare | None = None,
        check_environment: Callable[[int | None], None] | None = None,
    ) -> SegmentApply:
        """The segment, before its first step."""
        target = make_target(settle=self.settle, concurrency=1, **self.keys)
        parts = Parts(
            self.store,  # type: ignore[arg-type]
            self.sets,
            self.track,
            self.app,
            InlinePool(),
            self.stop,
            self.reporter.tell,
            self.clock,
            self.warnings.append,
            self.track.ask_environment,
            self.track.preflight,
            list,
        )
        plan = PlanOptions({target.label: self.guards_allowed})
        chosen = ApplyOptions("run", plan, None, self.confirm, self.confirm_timeout)
        return SegmentApply(target, parts, chosen, compare, check_environment)

    def run(self, between: Callable[[], None] = lambda: None, compare: Compare | None = None) -> SegmentRun:
        """The whole segment; `between` happens while somebody is asked."""
        applying = self.start(compare=compare)
        applying.lock()
        applying.go_to(Phase.PLANNED)
        between()
        applying.go_to(Phase.CHECKED)
        applying.go_to(Phase.ENDED)
        return self.check(applying)

    def check(self, session: SegmentApply) -> SegmentRun:
        """However it ended: all is given back, and that it ended was told once."""
        assert session.result is not None
        assert not self.store.is_held
        assert self.comparison.is_closed == (self.sets.opened > 0)
        assert [event.run for event in self.reporter.of(Finished)] == [session.result]
        return session.result

    @property
    def nothing_sent(self) -> bool:
        return not self.track.sent and not self.held.rows


def exit_code(result: SegmentRun) -> int:
    return RunResult("run", datetime.now(UTC), (result,)).exit_code
