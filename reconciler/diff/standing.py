"""How an id stands to a segment, as one small number, and what is to be done with it.

SQL gives every id its flags and counts them; all decisions are made here, once for each combination of flags.
"""

from enum import Enum, IntFlag, auto

from reconciler.models.batches import Direction


class Flag(IntFlag):
    """What is known of one id; together they fit in one byte."""

    STORED = 1
    UNSETTLED_ADD = 2
    UNSETTLED_REMOVE = 4
    UNMATCHED = 8
    REMOVED = 16
    """We removed it, that was acknowledged, and it may not have arrived yet (`core.batches.lingers_since`)."""
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
