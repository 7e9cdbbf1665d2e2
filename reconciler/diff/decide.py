"""What is decided for each id: from its flags (what is known of it) follows the change; and the counts by flags.

SQL gives every id its flags and counts them; all decisions are made here, once for each combination of flags.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag, auto

from reconciler.errors import SourceError
from reconciler.models.batches import Direction
from reconciler.models.comparison import Counts, DriftCounts
from reconciler.models.id_status import IdStatus
from reconciler.models.ids import NULL, Invalid
from reconciler.models.spec import OnBad, Segment


class Flag(IntFlag):
    """What is known of one id; together they fit in one byte."""

    STORED = IdStatus.STORED.value
    UNSETTLED_ADD = IdStatus.UNSETTLED_ADD.value
    UNSETTLED_REMOVE = IdStatus.UNSETTLED_REMOVE.value
    UNMATCHED = IdStatus.UNMATCHED.value
    REMOVED = IdStatus.REMOVED.value
    """We removed it, that was acknowledged, and it may not have arrived yet (`models.id_status.lingers_since`)."""
    REMOTE = 32
    """It is in the real membership."""
    DESIRED = 64
    SPARED = 128
    """A plan file does not have it: it is counted, and not changed."""


NOTHING = Flag(0)
UNSETTLED = Flag.UNSETTLED_ADD | Flag.UNSETTLED_REMOVE
HELD = Flag.STORED | UNSETTLED | Flag.UNMATCHED
POSSIBLE = tuple(
    Flag(held | remote | desired)
    for held in (
        NOTHING,
        Flag.STORED,
        Flag.UNMATCHED,
        Flag.UNSETTLED_ADD,
        Flag.UNSETTLED_REMOVE,
        Flag.UNSETTLED_ADD | Flag.UNMATCHED,
        Flag.UNSETTLED_REMOVE | Flag.UNMATCHED,
        Flag.REMOVED,
    )
    for remote in (NOTHING, Flag.REMOTE)
    for desired in (NOTHING, Flag.DESIRED, Flag.SPARED)
)
"""Every combination of flags that an id can have."""


class Change(Enum):
    """What is done with one id."""

    NONE = auto()
    ADD = auto()
    RESEND = auto()
    REMOVE = auto()
    ADOPT = auto()
    """Nothing is sent: it is desired and in the real membership, and the state does not have it yet."""


SENT = {Direction.ADD: (Change.ADD, Change.RESEND), Direction.REMOVE: (Change.REMOVE,)}
"""The changes that are sent, by direction."""


def decide(flags: Flag, exclusive: bool) -> Change:
    """Give the change of an id. Without `exclusive` the real membership is not considered."""
    if Flag.SPARED in flags:
        return Change.NONE
    if Flag.DESIRED not in flags:
        return Change.REMOVE if flags & (HELD | Flag.REMOTE if exclusive else HELD) else Change.NONE
    if flags & UNSETTLED:
        return Change.ADD
    if exclusive and Flag.REMOTE in flags:
        if Flag.REMOVED in flags:
            return Change.ADD  # what was read may be older than the removal
        return Change.NONE if Flag.STORED in flags else Change.ADOPT
    if Flag.STORED in flags and not exclusive:
        return Change.NONE
    return Change.RESEND if Flag.UNMATCHED in flags else Change.ADD


def is_exempt(flags: Flag, exclusive: bool) -> bool:
    """Tell whether a removal repeats an unsettled one or drops an unmatched id, so that no guard judges it."""
    if exclusive and Flag.REMOTE in flags:
        return False
    return bool(flags & (Flag.UNSETTLED_REMOVE | Flag.UNMATCHED))


def select(changes: Collection[Change], exclusive: bool) -> list[Flag]:
    """Every combination of flags that leads to one of these changes."""
    return [flags for flags in POSSIBLE if decide(flags, exclusive) in changes]


def list_unchanged(desired: Flag) -> list[Flag]:
    """The flags of the state with which an id needs no change; `desired`: DESIRED, or nothing."""
    known = {flags & ~(Flag.DESIRED | Flag.SPARED) for flags in POSSIBLE if Flag.REMOTE not in flags}
    return sorted(flags for flags in known if decide(flags | desired, exclusive=False) is Change.NONE)


# --- counts by flags --------------------------------------------------------------------------------------------------

Numbers = Mapping[Flag, int]
"""Numbers of distinct ids by their flags."""


def count_having(numbers: Numbers, any_of: Flag, none_of: Flag = NOTHING) -> int:
    """Count the ids with any of these flags and none of those."""
    return sum(number for flags, number in numbers.items() if flags & any_of and not flags & none_of)


@dataclass(frozen=True)
class Returned:
    """Numbers of rows that a query returned, by why they are no id; None: they are one."""

    rows: Mapping[str | None, int] = field(default_factory=dict)

    @property
    def valid(self) -> int:
        return self.rows.get(None, 0)

    @property
    def nulls(self) -> int:
        return self.rows.get(NULL, 0)

    @property
    def invalid(self) -> int:
        return sum(self.rows.get(reason.name, 0) for reason in Invalid)


def refuse_bad(returned: Returned, segment: Segment) -> None:
    """Raise SourceError for values that stop the segment, with the next step for each kind."""
    faults = []
    if returned.nulls and segment.nulls is OnBad.ERROR:
        found = f"{returned.nulls:,} {'NULL' if returned.nulls == 1 else 'NULLs'}"
        step = "leave them out in the query (WHERE ... IS NOT NULL), or set `nulls: skip` for this segment"
        faults.append(("nulls", found, step))
    if returned.invalid and segment.invalid is OnBad.ERROR:
        noun = "value that can't be an id" if returned.invalid == 1 else "values that can't be ids"
        step = (
            "correct them in the query (for example TRIM(...), or CAST(... AS VARCHAR) of an integer), "
            "or set `invalid: skip` for this segment"
        )
        reasons = [(returned.rows.get(each.name, 0), each.value) for each in Invalid]
        listed = "; ".join(f"{number:,} {reason}" for number, reason in reasons if number)
        faults.append(("invalid", f"{returned.invalid:,} {noun}: {listed}", step))
    if faults:
        codes, found_ones, steps = zip(*faults, strict=True)
        raise SourceError(f"the query returned {' and '.join(found_ones)}", "; ".join(steps), code=codes[0])


def broken_query() -> SourceError:
    """The error of a source that failed while its rows were read, which DuckDB does not distinguish."""
    return SourceError(
        "the source failed while the result of the query was being read", "run the query by hand to its last row"
    )


def count_changes(exclusive: bool, known: Numbers, changed: Numbers, returned: Returned) -> Counts:
    """Give the numbers of a plan, but for those of sentinels, times and people without a key.

    `known` are the ids that the state, or the read-back, knows; `changed` those to send or to adopt.
    """

    def count(change: Change, where: Callable[[Flag], bool] = lambda _: True) -> int:
        return sum(n for flags, n in changed.items() if decide(flags, exclusive) is change and where(flags))

    add, resend, adopt = count(Change.ADD), count(Change.RESEND), count(Change.ADOPT)
    # Of the known ids that stay if they are desired, all but those that are about to go.
    staying = (flags for flags in known if decide(flags | Flag.DESIRED, exclusive) is Change.NONE)
    unchanged = sum(known[flags] - changed.get(flags, 0) for flags in staying) + adopt
    desired = unchanged + add + resend
    return Counts(
        desired=desired,
        stored=count_having(known, Flag.STORED),
        add=add,
        remove=count(Change.REMOVE),
        resend=resend,
        unchanged=unchanged,
        adopt=adopt,
        unsettled=count_having(known, UNSETTLED),
        unmatched=count_having(known, Flag.UNMATCHED, UNSETTLED),
        nulls=returned.nulls,
        invalid=returned.invalid,
        duplicates=returned.valid - desired,
        held=count_having(known, HELD | Flag.REMOTE if exclusive else HELD),
        repeated_adds=count(Change.ADD, lambda flags: Flag.UNSETTLED_ADD in flags),
        exempt_removes=count(Change.REMOVE, lambda flags: is_exempt(flags, exclusive)),
        strays=count(Change.REMOVE, lambda flags: Flag.REMOTE in flags and not flags & HELD),
    )


def count_drift(known: Numbers, people: int, unkeyed: int) -> DriftCounts:
    """Count where state and read-back differ; `people` are all that were read, `unkeyed` those without an id."""
    appeared = Flag.UNMATCHED | Flag.REMOTE
    there = {flags: number for flags, number in known.items() if Flag.REMOTE in flags}
    foreign = {flags: number for flags, number in there.items() if Flag.STORED not in flags and flags != appeared}
    return DriftCounts(
        stored=count_having(known, Flag.STORED),
        remote=people,
        missing=count_having(known, Flag.STORED, Flag.REMOTE),
        foreign=sum(foreign.values()),
        lingering=count_having(foreign, Flag.REMOVED | Flag.UNSETTLED_REMOVE),
        unkeyed=unkeyed,
        strangers=known.get(Flag.REMOTE, 0),
        unmatched=count_having(known, Flag.UNMATCHED, UNSETTLED),
        appeared=known.get(appeared, 0),
        held=count_having(known, HELD) + known.get(Flag.REMOVED | Flag.REMOTE, 0),
    )
