"""From numbers of ids by flags to the numbers of a plan, a drift, an error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.diff.rules import NULL
from reconciler.diff.standing import HELD, NOTHING, UNSETTLED, Change, Flag, decide, is_exempt, is_stray, repeats_add
from reconciler.models.counts import Counts
from reconciler.models.drift import DriftCounts
from reconciler.models.ids import Invalid

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
