"""How an id stands to a segment, as one small number, and what is to be done with it.

SQL gives every id its flags and counts them; all decisions are made here, once for each combination of flags.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag, auto

from reconciler.models.batches import Direction
from reconciler.models.counts import Counts
from reconciler.models.drift import DriftCounts
from reconciler.models.id_status import IdStatus
from reconciler.models.ids import Invalid


class Flag(IntFlag):
    """What is known of one id; together they fit in one byte."""

    STORED = IdStatus.STORED.value
    UNSETTLED_ADD = IdStatus.UNSETTLED_ADD.value
    UNSETTLED_REMOVE = IdStatus.UNSETTLED_REMOVE.value
    UNMATCHED = IdStatus.UNMATCHED.value
    REMOVED = IdStatus.REMOVED.value
    """We removed it, that was acknowledged, and it may not have arrived yet (`models.batches.lingers_since`)."""
    REMOTE = 32
    """It is in the real membership."""
    DESIRED = 64
    SPARED = 128
    """A plan file says nothing of it: it is counted, and left alone."""


NOTHING = Flag(0)
UNSETTLED = Flag.UNSETTLED_ADD | Flag.UNSETTLED_REMOVE
HELD = Flag.STORED | UNSETTLED | Flag.UNMATCHED
POSSIBLE = tuple(
    Flag(held | remote | said)
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
    for said in (NOTHING, Flag.DESIRED, Flag.SPARED)
)
"""Every combination of flags that an id can have."""


class Change(Enum):
    """What becomes of one id."""

    NONE = auto()
    ADD = auto()
    RESEND = auto()
    REMOVE = auto()
    ADOPT = auto()
    """Nothing is sent: it is wanted and there, and the state does not say so yet."""

    @property
    def direction(self) -> Direction | None:
        if self in (Change.NONE, Change.ADOPT):
            return None
        return Direction.REMOVE if self is Change.REMOVE else Direction.ADD


def decide(flags: Flag, exclusive: bool) -> Change:
    """Tell what is to be done with an id. Without `exclusive` the real membership has no say."""
    if Flag.SPARED in flags:
        return Change.NONE
    if Flag.DESIRED in flags:
        return _decide_desired(flags, exclusive)
    known = HELD | Flag.REMOTE if exclusive else HELD
    return Change.REMOVE if flags & known else Change.NONE


def _decide_desired(flags: Flag, exclusive: bool) -> Change:
    if flags & UNSETTLED:
        return Change.ADD
    if exclusive and Flag.REMOTE in flags:
        return _decide_there(flags)
    if Flag.STORED in flags and not exclusive:
        return Change.NONE
    return Change.RESEND if Flag.UNMATCHED in flags else Change.ADD


def _decide_there(flags: Flag) -> Change:
    if Flag.REMOVED in flags:
        return Change.ADD  # what was read may be older than the removal
    return Change.NONE if Flag.STORED in flags else Change.ADOPT


def repeats_add(flags: Flag) -> bool:
    """Tell whether adding this id only repeats an unsettled add."""
    return Flag.UNSETTLED_ADD in flags


def is_exempt(flags: Flag, exclusive: bool) -> bool:
    """Tell whether a removal repeats an unsettled one or drops an unmatched id, so that no guard judges it."""
    if exclusive and Flag.REMOTE in flags:
        return False
    return bool(flags & (Flag.UNSETTLED_REMOVE | Flag.UNMATCHED))


def is_stray(flags: Flag) -> bool:
    """Tell whether it is there and the state does not hold it."""
    return Flag.REMOTE in flags and not flags & HELD


def select(change: Change, exclusive: bool) -> list[Flag]:
    """Every combination of flags that leads to this change."""
    return [flags for flags in POSSIBLE if decide(flags, exclusive) is change]


# --- counts by flags --------------------------------------------------------------------------------------------------

Numbers = Mapping[Flag, int]
"""Numbers of distinct ids by their flags."""

NULL = "NULL"
"""What `statements.refusal` says of a NULL; of an invalid value it says the name of its `Invalid`."""


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

    def explain_invalid(self) -> str:
        """The reasons with their numbers, for people."""
        present = [reason for reason in Invalid if reason.name in self.rows]
        return "; ".join(f"{self.rows[reason.name]:,} {reason.value}" for reason in present)


@dataclass(frozen=True)
class Census:
    """What SQL counted in one comparison."""

    exclusive: bool
    known: Numbers
    """Ids that the state, or the read-back, has something to say of."""
    changed: Numbers
    """Ids to send or to adopt."""

    def count(self, returned: Returned) -> Counts:
        """The numbers of a plan; sentinels, times and the unkeyed are not among them."""
        add, resend, adopt = self._sum(Change.ADD), self._sum(Change.RESEND), self._sum(Change.ADOPT)
        unchanged = self._count_unchanged() + adopt
        desired = unchanged + add + resend
        return Counts(
            desired=desired,
            stored=count_having(self.known, Flag.STORED),
            add=add,
            remove=self._sum(Change.REMOVE),
            resend=resend,
            unchanged=unchanged,
            adopt=adopt,
            unsettled=count_having(self.known, UNSETTLED),
            unmatched=count_having(self.known, Flag.UNMATCHED, UNSETTLED),
            nulls=returned.nulls,
            invalid=returned.invalid,
            duplicates=returned.valid - desired,
            held=count_having(self.known, HELD | Flag.REMOTE if self.exclusive else HELD),
            repeated_adds=self._sum(Change.ADD, repeats_add),
            exempt_removes=self._sum(Change.REMOVE, lambda flags: is_exempt(flags, self.exclusive)),
            strays=self._sum(Change.REMOVE, is_stray),
        )

    def _sum(self, change: Change, where: Callable[[Flag], bool] = lambda _: True) -> int:
        return sum(n for flags, n in self.changed.items() if decide(flags, self.exclusive) is change and where(flags))

    def _count_unchanged(self) -> int:
        """Of the known ids that stay if they are desired, all but those that are about to go."""
        staying = (flags for flags in self.known if decide(flags | Flag.DESIRED, self.exclusive) is Change.NONE)
        return sum(self.known[flags] - self.changed.get(flags, 0) for flags in staying)


def count_drift(known: Numbers, people: int, unkeyed: int) -> DriftCounts:
    """The numbers of a drift."""
    appeared = known.get(Flag.UNMATCHED | Flag.REMOTE, 0)
    others = {flags: number for flags, number in known.items() if Flag.STORED not in flags}
    foreign = {
        flags: n for flags, n in others.items() if Flag.REMOTE in flags and flags != Flag.UNMATCHED | Flag.REMOTE
    }
    return DriftCounts(
        stored=count_having(known, Flag.STORED),
        remote=people,
        missing=count_having(known, Flag.STORED, Flag.REMOTE),
        foreign=sum(foreign.values()),
        lingering=count_having(foreign, Flag.REMOVED | Flag.UNSETTLED_REMOVE),
        unkeyed=unkeyed,
        strangers=sum(number for flags, number in foreign.items() if flags == Flag.REMOTE),
        unmatched=count_having(known, Flag.UNMATCHED, UNSETTLED),
        appeared=appeared,
    )
