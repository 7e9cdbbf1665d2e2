"""The seams: what the engine needs of a warehouse, a state, a set engine and Customer.io."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from reconciler.models.batches import Answer, Batch, Direction
from reconciler.models.counts import Counts
from reconciler.models.drift import DriftCounts
from reconciler.models.events import Event
from reconciler.models.ids import IdType
from reconciler.models.plan import Head, UsedBy
from reconciler.models.run import Run
from reconciler.models.spec import Segment, Target

# --- columns -----------------------------------------------------------------------------------------------------


class ArrowStream(Protocol):
    """Anything that speaks the Arrow C stream interface; it can be read once."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True)
class ValueStream:
    """What a query returned, before the rules of ids.

    Columns: `value` (utf8; null: NULL) is the value written exactly (`7`, never `7.0`); `typed` (bool) is true where
    the *source* gave a string, integer, UUID or integral decimal. `all_typed`: the column `typed` is absent, all are.
    """

    arrow: ArrowStream
    all_typed: bool = False


class Source(Protocol):
    """One database that answers queries, read-only."""

    def held(self) -> AbstractContextManager[None]:
        """Keep what its queries share while the block runs, rather than make it anew for each."""
        ...

    def open(self, segment: Segment) -> AbstractContextManager[ValueStream]:
        """Run the query and stream its ids. Raises SourceError, also while the stream is read."""
        ...

    def check(self, segment: Segment) -> None:
        """Prepare the query without reading it (for `validate --connect`). Raises SourceError."""
        ...


# --- the state ---------------------------------------------------------------------------------------------------


ROW_END = 0x1E
FIELD_END = 0x1F
"""The control characters (Unicode: record and unit separator) that end rows and fields in blocks of text."""

Rows: TypeAlias = "ArrowStream | Iterator[str]"
"""Rows by column: an Arrow stream; or blocks of text, in which rows are parted by ROW_END, their fields by FIELD_END,
and an empty field is a null. Ids hold no control characters."""


class Stored(Protocol):
    """One consistent view of a segment in the state: everything is read in one transaction, each stream once.

    An id's status is decided by the last journal row that has it, else by its marks, else by `members`. An
    acknowledged removal in the journal ends that it is unmatched.
    """

    head: Head
    now: float
    """Unix seconds by the state's clock."""

    def members(self) -> Rows:
        """`id` (utf8): acknowledged members, folded, distinct."""
        ...

    def marks(self) -> Rows:
        """`id`, `mark` (values of Mark), `direction` (values of Direction or null), `at` (double, Unix seconds)."""
        ...

    def journal(self) -> Rows:
        """What is not folded yet: `seq` (bigint), `direction`, `outcome` (acknowledged, unknown, or null: an intent
        without an outcome), `at` (double: latest attempt that may have carried it), `unknown_at` (double or null: of an
        acknowledged one, the latest earlier attempt of unknown fate), `ids` (utf8, joined by line feeds)."""
        ...


class Snapshot(Protocol):
    """The reading side of a state database; takes no lock and waits for none."""

    def head(self, workspace: str, segment_id: int) -> Head: ...

    def open(self, workspace: str, segment_id: int) -> AbstractContextManager[Stored]: ...

    def is_spent(self, plan_id: str) -> bool: ...


class Lease(Protocol):
    """The hold on a segment's lock."""

    def covers(self, seconds: float) -> bool:
        """Tell whether it surely lasts so long from now; false for ever once it is lost."""
        ...

    def is_in_sight(self) -> bool:
        """Make sure that the state has shown it as ours a short while ago: less than half of `settle`, or a second."""
        ...


@dataclass(frozen=True)
class Findings:
    """What a read-back showed against the state; each iterates ids in sorted order, in lists of up to 50,000."""

    appeared: Callable[[], Iterator[list[str]]]
    """Unmatched before, and there now: they become members."""
    vanished: Callable[[], Iterator[list[str]]]
    """Stored, and not there: they become unmatched."""
    lingering: Callable[[], Iterator[list[str]]]
    """Tombstones that are still there: they become unsettled removes."""
    gone: Callable[[], Iterator[list[str]]]
    """Tombstones that are no longer there: they are forgotten."""


@dataclass(frozen=True)
class Adoption:
    """What `refresh` makes the snapshot to be; each a way to iterate ids in sorted order, in lists of up to 50,000."""

    id_type: IdType
    members: Callable[[], Iterator[list[str]]]
    """There, and taken over."""
    unmatched: Callable[[], Iterator[list[str]]]
    """Held by the state in any way, and not there."""
    lingering: Callable[[], Iterator[list[str]]]
    """Tombstones that are still there: they become unsettled removes, not members."""


@dataclass(frozen=True)
class Census:
    """Numbers of ids that the state holds of one segment."""

    stored: int
    unsettled: int
    unmatched: int


class HeldSegment(Protocol):
    """One segment's state under its lock; every write compares the fence and raises LeaseLost when it has moved.

    Getting hold of it has already recovered what a dead run left: its intents count as unknown, as of now.
    """

    @property
    def lease(self) -> Lease: ...

    @property
    def taken_over_at(self) -> float | None:
        """When the lock was last taken from a holder that may live (by the state's clock); None: never."""
        ...

    def head(self) -> Head:
        """As it is now."""
        ...

    def intend(self, batches: Sequence[Batch]) -> list[int]:
        """Make the intent to send durable; gives a journal number per batch."""
        ...

    def retry(self, seq: int) -> None:
        """Record, durably, that one more attempt of this batch is about to start."""
        ...

    def settle(self, answers: Sequence[tuple[int, Answer]]) -> None:
        """Record outcomes. A batch that certainly was not applied puts its ids back to where they were."""
        ...

    def split(self, seq: int, answer: Answer, parts: Sequence[Batch]) -> list[int]:
        """Replace one batch by parts of it, whose intents are then durable."""
        ...

    def reject(self, ids: Sequence[str]) -> None:
        """Remember ids that were refused by themselves."""
        ...

    def fold(self) -> None:
        """Fold settled batches into the members, in chunks."""
        ...

    def admit(self, find: Callable[[], Iterator[list[str]]]) -> None:
        """Make members of wanted ids that a read-back showed (`exclusive`), a list of `find` in each transaction."""
        ...

    def record(self, findings: Findings) -> None:
        """Take over what a read-back showed."""
        ...

    def adopt(self, adoption: "Adoption") -> None:
        """Make the snapshot equal to what is there (`refresh`), in one transaction. Unsettled marks become echoes."""
        ...

    def census(self) -> "Census":
        """Count what the state holds of this segment now."""
        ...

    def complete(self) -> None:
        """A run of this segment came to its end with nothing unsettled by it."""
        ...

    def now(self) -> float:
        """Unix seconds by the state's clock."""
        ...

    def doubtful_at(self) -> float | None:
        """When the latest attempt of unknown outcome was given up, also one that an acknowledged one followed."""
        ...

    def attempted_at(self) -> float | None:
        """When the latest attempt ended that was or may have been accepted."""
        ...


class Ledger(Protocol):
    """The writing side of a state database."""

    def begin(self, run_id: str, workspace: str, command: str, allowed: Sequence[str], plan_id: str | None) -> None:
        """Open a run in the history."""
        ...

    def end(self, run_id: str, workspace: str, exit_code: int, document: str, segments: Run) -> None:
        """Close it, with its JSON document."""
        ...

    def hold(
        self, target: Target, run_id: str, plan_id: str | None, *, waits: bool = True
    ) -> AbstractContextManager[HeldSegment]:
        """Take a segment's lock, or raise LockHeld; leaving gives it back. `waits`: so long as the user asked for."""
        ...

    def environment(self, workspace: str) -> int | None: ...

    def bind(self, workspace: str, environment_id: int) -> None:
        """Bind a workspace's name to an environment; it must be free or bound to the same. Raises StateError."""
        ...

    def spend(self, plan_id: str) -> None: ...


# --- one database for both ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """Tells one database from all others: a query that any user may run, and what it answers there alone."""

    question: str
    answer: str


@runtime_checkable
class Resident(Protocol):
    """A Snapshot in a database server, beside which other queries can run."""

    def prove(self) -> Proof:
        """Say which database it is in."""
        ...


@dataclass(frozen=True)
class Site:
    """Where a segment's state stands in its database, for a statement that reads it there."""

    proof: Proof
    moment: str
    """The name of a snapshot that other transactions of the database can take, as long as the view is open."""
    tables: tuple[int, ...]
    """What has to be readable, as object ids."""
    members: str
    """A query with the columns of `Stored.members`; the next two likewise. Their tables are named in full."""
    marks: str
    journal: str


@runtime_checkable
class Sited(Protocol):
    """A Stored that other queries of the same database can see."""

    def site(self) -> Site: ...


@dataclass(frozen=True)
class Unfit:
    """A segment can't be compared in its database; `reason` says why, without ids."""

    reason: str


class Visit(Protocol):
    """A read-only transaction of a source that sees a state as one moment of it was."""

    values: str
    """The segment's query, as one with the columns `value` (text) and `typed` (boolean, never null)."""

    def open(self, statement: str) -> AbstractContextManager[ArrowStream]:
        """Run one statement and stream its rows. Raises SourceError, also while the stream is read."""
        ...


@runtime_checkable
class Host(Protocol):
    """A Source in whose database a statement can read the state, too."""

    def answers(self, proof: Proof) -> bool:
        """Tell whether it is the database of this proof. Raises SourceError."""
        ...

    def visit(self, segment: Segment, site: Site) -> AbstractContextManager[Visit | Unfit]:
        """Begin a transaction that sees the site's moment, or say why not. Raises SourceError."""
        ...


# --- sets --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """Members as the App API lists them, by column: both are equally long.

    `keys` are their ids of the segment's id type, ready to compare; None: a member has none.
    """

    cio_ids: Sequence[str]
    keys: Sequence[str | None]


@dataclass(frozen=True)
class RemoteCount:
    """What was loaded of a real membership: distinct people, those without a key, and rows that were repeats."""

    people: int
    unkeyed: int
    repeated: int


class Comparison(Protocol):
    """One segment's sets side by side. Either `compare` or `resume` is called, once; what gives the changes after it.

    `load_remote`, `drift`, `examine` and `adoption` may be called again and again: each reads the snapshot afresh.
    """

    engine: str
    head: Head
    """As of the comparison; valid after `compare`, `resume`, `drift` or `examine`."""

    def load_remote(self, pages: Iterable[Page]) -> RemoteCount:
        """Load the real membership; called again, it starts afresh."""
        ...

    def compare(self) -> Counts:
        """Run the query and compare: with the snapshot, and with what is there if that was loaded (`exclusive`)."""
        ...

    def resume(self, sealed: Iterable[Batch]) -> Counts:
        """Instead of running the query, take a plan file's changes; those that are already so in the state drop out."""
        ...

    def batches(self, direction: Direction) -> Iterator[Batch]:
        """The changes, in id order, 1,000 at a time; additions include the resends."""
        ...

    def already_there(self) -> Iterator[list[str]]:
        """Under `exclusive`: ids that are wanted and there, and not stored yet; sorted, in lists of up to 50,000."""
        ...

    def examples(self, direction: Direction, number: int) -> tuple[str, ...]: ...

    def drift(self) -> DriftCounts:
        """Compare the loaded membership with the snapshot."""
        ...

    def examine(self) -> Findings:
        """Like `drift`, but gives the ids, for recording."""
        ...

    def adoption(self, known_only: bool) -> Adoption:
        """For `refresh`; `known_only` leaves alone whoever the state does not hold."""
        ...


class SetEngine(Protocol):
    """Where sets are compared."""

    def open(self, target: Target) -> AbstractContextManager[Comparison]: ...

    def interrupt(self) -> None:
        """End the comparisons that run: they fail. May be called by a signal's handler."""
        ...


# --- Customer.io -------------------------------------------------------------------------------------------------


class Gate(Protocol):
    """Asked right before each attempt leaves."""

    def admit(self, attempt: int) -> bool:
        """Let attempt number `attempt` (from 1) start, having recorded it; False: no further attempt may start."""
        ...


class Track(Protocol):
    """Customer.io's Track API: writes."""

    def preflight(self) -> int | None:
        """Check credentials and region; gives the environment id, None where it is not told. What can't be checked is
        a warning. Raises DestinationError."""
        ...

    def ask_environment(self) -> int | None:
        """The environment id, for a plan file; None where it can't be had at once."""
        ...

    def send(self, segment: Segment, batch: Batch, gate: Gate) -> Answer:
        """Send one batch, with its retries."""
        ...


@dataclass(frozen=True)
class RemoteSegment:
    """A segment as the App API describes it; `manual` is false for a data-driven one."""

    segment_id: int
    title: str
    manual: bool


class App(Protocol):
    """Customer.io's App API: reads. All raise DestinationError."""

    def segments(self) -> dict[int, RemoteSegment]:
        """Every segment of the workspace; asked once a run."""
        ...

    def used_by(self, segment_id: int) -> UsedBy: ...

    def count(self, segment_id: int) -> int:
        """How many members Customer.io counts."""
        ...

    def members(self, segment_id: int, id_type: IdType) -> Generator[Page, None, None]:
        """Page through the membership; to be closed. Raises IncompleteRead where the pages make no sense."""
        ...


class Reporter(Protocol):
    """Is told what happens."""

    def tell(self, event: Event) -> None: ...
