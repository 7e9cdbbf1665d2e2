"""What people read of a result, before it has a format: `describe` makes it, and text and Markdown write it."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.models.plan import Examples, Problem
from reconciler.models.spec import Target


@dataclass(frozen=True)
class Cell:
    """One cell of a table, and its style."""

    text: str = ""
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column. `drop`: the higher, the sooner it goes when space is short; 0 stays. Flexible ones are cut first."""

    title: str
    right: bool = False
    drop: int = 0
    flexible: bool = False


Row = Sequence[Cell]


@dataclass(frozen=True)
class Line:
    """One line of the main table. `target`: the segment that it is about, if it is about one."""

    row: Row
    target: Target | None = None
    rank: int = 0
    """Its place where what is wrong comes first."""
    quiet: bool = False
    """Nothing is to be done and nothing is wrong: in a long table these lines become one."""


@dataclass(frozen=True)
class Breach:
    """One guard that was breached. `flag`: what allows it for this segment; None where nothing does."""

    guard: str
    detail: str
    flag: str | None
    allowed: bool


@dataclass(frozen=True)
class Trouble:
    """A segment that was not done, or not whole: `name verb: problem`, or the guards that block it."""

    name: str
    verb: str = ""
    problem: Problem | None = None
    breaches: tuple[Breach, ...] = ()
    rank: int = 0
    """As that of its line."""


@dataclass(frozen=True)
class Note:
    """Details of one segment, each a clause."""

    name: str
    clauses: tuple[str, ...]
    examples: Examples
    quiet: bool
    """As that of its line."""


@dataclass(frozen=True)
class UnknownMembers:
    """What is known of the members that a segment may have before its first fill. `command`: takes them over."""

    name: str
    clause: str
    command: str | None


@dataclass(frozen=True)
class FirstFill:
    """Segments of which the state knows nothing, or knew nothing before a run that is over."""

    segments: int
    is_over: bool
    empty: str
    """How many of them have no members, as a clause."""
    unknown: tuple[UnknownMembers, ...]
    lost_state: str
    """The warning about a state that may be lost between runs."""


@dataclass(frozen=True)
class Remark:
    """An explanation for a reader of the terminal."""

    text: str
    style: str = ""
    marker: str = ""


@dataclass(frozen=True)
class Orphans:
    """The segments that the state knows and no named spec lists. `command`: forgets one of them."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    command: str


@dataclass(frozen=True)
class Report:
    """A result in words and numbers. `summary` is one sentence; `place` names the workspace, or says how many."""

    kind: str
    summary: str
    place: str = ""
    facts: tuple[str, ...] = ()
    columns: Sequence[Column] = ()
    lines: tuple[Line, ...] = ()
    noun: str = "segments"
    """What the lines are about."""
    quiet: str = ""
    """What quiet lines have in common: `187 unchanged`."""
    trouble_title: str = "Not done"
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[Note, ...] = ()
    first_fill: FirstFill | None = None
    remarks: tuple[Remark, ...] = ()
    orphans: Orphans | None = None
    warnings: tuple[str, ...] = ()
