"""States for tests: a clock that does not advance, processes that are made up, and ways to look inside."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
from sqlalchemy import text

from reconciler.models.batches import Batch, BatchResult, Direction, Outcome
from reconciler.models.comparison import FIELD_END, ROW_END, Adoption, ArrowStream, Findings, Rows
from reconciler.models.fields import Secret
from reconciler.models.id_status import write_id_status
from reconciler.models.ids import IdType
from reconciler.models.spec import DestinationSettings, Segment, SourceSettings, Spec, StateSettings, Target
from reconciler.state import audit, open_reader, open_snapshot, open_store
from reconciler.state.base import Overlaid, Snapshot, Stored
from reconciler.state.database import Reader
from reconciler.state.runtime import ProcessIdentity, Runtime
from reconciler.state.store import StateStore
from tests.support.one_duckdb import open_cursor

ACKNOWLEDGED = BatchResult(Outcome.ACKNOWLEDGED, 1)
NOT_STARTED = BatchResult(Outcome.NOT_STARTED)
REFUSED = BatchResult(Outcome.REFUSED, 1)


def unknown(at: float) -> BatchResult:
    return BatchResult(Outcome.UNKNOWN, 1, at)


def acknowledged_after_unknown(at: float) -> BatchResult:
    return BatchResult(Outcome.ACKNOWLEDGED, 2, at)


def add(*ids: str) -> Batch:
    return Batch(Direction.ADD, tuple(ids))


def remove(*ids: str) -> Batch:
    return Batch(Direction.REMOVE, tuple(ids))


@dataclass
class FakeClock:
    """A clock that moves when told to; `sleep` moves it, too. It starts at a time like today's."""

    time: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def wall(self) -> float:
        return self.time

    def boot(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@dataclass
class FakeMachine:
    """A machine on which the processes of `running` run: pid to start time."""

    host: str = "here"
    boot_id: str = "boot-1"
    pid_namespace: str = "pid:[1]"
    pid: int = 100
    running: dict[int, str] = field(default_factory=lambda: {100: "t100"})

    def me(self) -> ProcessIdentity:
        return ProcessIdentity(self.host, self.boot_id, self.pid_namespace, self.pid, self.running[self.pid])

    def started(self, pid: int) -> str | None:
        return self.running.get(pid)


@dataclass
class Pulse:
    """Keeps the heartbeats for a test to call by hand."""

    beats: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, renew: Callable[[], None], seconds: float) -> AbstractContextManager[None]:
        self.beats.append(renew)
        return nullcontext()


@dataclass(frozen=True)
class Contents:
    """All that a state says of one segment, as plain values."""

    members: tuple[str, ...]
    marks: tuple[tuple[str, str, str | None], ...]
    journal: tuple[tuple[str, str | None, tuple[str, ...]], ...]


@dataclass
class StateFixture:
    """A state with its runtime, made up."""

    url: str
    clock: FakeClock = field(default_factory=FakeClock)
    machine: FakeMachine = field(default_factory=FakeMachine)
    pulse: Pulse = field(default_factory=Pulse)

    @property
    def settings(self) -> StateSettings:
        return StateSettings(url=Secret(self.url))

    @cached_property
    def snapshot(self) -> Snapshot:
        """What reads the state, as often as wanted: it connects anew each time."""
        return open_snapshot(self.settings)

    @cached_property
    def reader(self) -> Reader:
        return open_reader(self.settings, self.clock)

    @contextmanager
    def store(self, *, lock_timeout: float = 0.0, machine: FakeMachine | None = None) -> Iterator[StateStore]:
        around = Runtime(self.clock, machine or self.machine, heartbeat=self.pulse)
        with open_store(self.settings, lock_timeout=lock_timeout, runtime=around) as store:
            yield store

    def target(self, segment_id: int = 56, *, id_type: IdType = IdType.ID, timeout: float = 10) -> Target:
        return make_target(self.settings, segment_id, id_type=id_type, timeout=timeout)

    def send(self, *pairs: tuple[Batch, BatchResult], plan_id: str | None = None) -> None:
        """One run: each batch is intended and answered."""
        with self.store() as store, store.lock(self.target(), "run", "apply", plan_id) as held:
            seqs = held.intend([batch for batch, _ in pairs])
            held.settle([(seq, answer) for seq, (_, answer) in zip(seqs, pairs, strict=True)])

    def trace(self, id: str) -> list[tuple[str, str, str]]:
        """What the audit log says of one id: run, direction, reason."""
        with self.reader.read() as connection:
            assert connection is not None
            found = audit.find(connection, "production", id)
        return [(event.run_id, event.direction, event.reason) for event in found]

    def latest_changes(self) -> dict[str, Direction]:
        """The latest change of each id that the audit log has."""
        latest = {}
        with self.reader.read() as connection:
            assert connection is not None
            rows = connection.execute(text("SELECT direction, number, ids FROM reconcile_audit ORDER BY audit_key"))
            for direction, number, ids in rows:
                latest.update(dict.fromkeys(audit.unpack(ids, number), Direction(direction)))
        return latest

    def look(self, segment_id: int = 56) -> Contents:
        """Read everything through the reading side; both of its ways must say the same."""
        snapshot = self.snapshot
        with snapshot.read_segment("production", segment_id) as stored:
            check_few(snapshot, stored, segment_id)
            return contents_of(stored)

    def marks(self) -> dict[tuple[str, str], tuple[str | None, float]]:
        with self.snapshot.read_segment("production", 56) as stored:
            rows = fetch(stored.marks())
        return {(id, mark): (direction, at) for id, mark, direction, at in rows}


def make_target(
    state: StateSettings, segment_id: int = 56, *, id_type: IdType = IdType.ID, timeout: float = 10
) -> Target:
    segment = Segment(name="vip", segment_id=segment_id, query="SELECT 1", source="warehouse", id_type=id_type)
    spec = Spec(
        path=Path("spec.yaml"),
        sources={"warehouse": SourceSettings(url=Secret("sqlite://"))},
        destination=DestinationSettings(
            workspace="production", site_id=Secret("site"), api_key=Secret("key"), timeout=timeout
        ),
        state=state,
        segments=(segment,),
    )
    return Target(spec, segment)


def check_few(snapshot: Snapshot, stored: Stored, segment_id: int = 56) -> None:
    """Check that a segment that is read whole is what its streams say."""
    few = snapshot.read_few("production", segment_id, 100_000)
    assert few is not None
    assert few.head == stored.head
    assert sorted(few.members) == sorted(row[0] for row in fetch(stored.members()))
    overlay = overlay_of(fetch(stored.marks()), fetch(stored.journal()))
    assert sorted(few.overlay) == [_about(row) for row in overlay]


def _about(row: Overlaid) -> Overlaid:
    """Let its times be equal to others within ten microseconds: a block of text has six digits of them."""
    add_at, remove_at = (
        None if at is None else pytest.approx(at, rel=0, abs=1e-5) for at in (row.add_at, row.remove_at)
    )
    return row._replace(add_at=add_at, remove_at=remove_at)


def overlay_of(marks: Sequence[Sequence[object]], journal: Sequence[Sequence[object]]) -> list[Overlaid]:
    """Lay marks and journal over each other by the one statement of the status of an id; tombstones left out."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE marks (id, mark, direction, at)")
        connection.execute("CREATE TABLE journal (id, seq, direction, outcome, at, unknown_at)")
        connection.executemany("INSERT INTO marks VALUES (?, ?, ?, ?)", marks)
        rows = [(id_, *row) for *row, ids in journal for id_ in str(ids).split("\n")]
        connection.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", rows)
        deciding = "SELECT * FROM marks WHERE mark IN ('unsettled', 'echo', 'unmatched')"
        id_status = write_id_status("SELECT * FROM journal", deciding)
        found = connection.execute(f"WITH {id_status} SELECT {', '.join(Overlaid._fields)} FROM id_status")
        return sorted(Overlaid(*row) for row in found)


def contents_of(stored: Stored) -> Contents:
    return Contents(
        tuple(sorted(row[0] for row in fetch(stored.members()))),
        tuple(sorted((id, mark, direction) for id, mark, direction, _ in fetch(stored.marks()))),
        tuple((d, outcome, tuple(ids.split("\n"))) for _, d, outcome, _, _, ids in fetch(stored.journal())),
    )


_COLUMNS = {1: [str], 4: [str, str, str, float], 6: [int, str, str, float, float, str]}
"""What the fields of a row of members, marks and the journal are, by their number."""


def fetch(stream: Rows) -> list[tuple]:
    """Read all rows, whichever way they come."""
    if isinstance(stream, Iterator):
        return [_parse(row) for block in stream for row in block.split(chr(ROW_END))]
    with open_cursor() as connection:
        return connection.execute("SELECT * FROM stream").fetchall()


def _parse(row: str) -> tuple:
    fields = row.split(chr(FIELD_END))
    return tuple(kind(field) if field else None for kind, field in zip(_COLUMNS[len(fields)], fields, strict=True))


def types_of(stream: ArrowStream) -> dict[str, str]:
    with open_cursor() as connection:
        return {row[0]: row[1] for row in connection.execute("DESCRIBE SELECT * FROM stream").fetchall()}


def lists(ids: Sequence[str], size: int | None = None) -> Callable[[], Iterator[list[str]]]:
    """Ids in lists, as the set engine gives them: several, to show that each is taken."""
    size = size or max(2, len(ids) // 3)
    return lambda: iter([list(ids[start : start + size]) for start in range(0, len(ids), size)])


def findings(
    appeared: Sequence[str] = (), vanished: Sequence[str] = (), lingering: Sequence[str] = (), gone: Sequence[str] = ()
) -> Findings:
    return Findings(lists(appeared), lists(vanished), lists(lingering), lists(gone))


def adoption(
    members: Sequence[str] = (),
    unmatched: Sequence[str] = (),
    lingering: Sequence[str] = (),
    id_type: IdType = IdType.ID,
    entered: Sequence[str] = (),
    left: Sequence[str] = (),
) -> Adoption:
    return Adoption(id_type, *map(lists, (members, unmatched, lingering, entered, left)))
