"""From numbers of ids by flags to the numbers of a plan, a drift, an error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.core.counts import Counts
from reconciler.core.drift import DriftCounts
from reconciler.core.ids import Invalid
from reconciler.diff.rules import NULL
from reconciler.diff.standing import HELD, NOTHING, UNSETTLED, Change, Flag, decide, is_exempt, is_stray, repeats_add

Numbers = Mapping[Flag, int]


def count_having(numbers: Numbers, any_of: Flag, none_of: Flag = NOTHING) -> int:
    """Count the ids with any of these flags and none of those."""
    return sum(number for flags, number in numbers.items() if flags & any_of and not flags & none_of)


@dataclass(frozen=True)
class Census:
    """What SQL counted in one comparison."""

    exclusive: bool
    known: Numbers
    """Distinct ids that the state, or the read-back, has something to say of."""
    changed: Numbers
    """Distinct ids to send."""
    changed_rows: Numbers
    """Rows that these came from: repeats of the query included."""
    idle_rows: Numbers
    """Rows that change nothing."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Values that can't be ids, by reason."""

    @property
    def nulls(self) -> int:
        return self.refused.get(NULL, 0)

    @property
    def invalid(self) -> int:
        return sum(self.refused.values()) - self.nulls

    def explain_invalid(self) -> str:
        """The reasons with their numbers, for people."""
        said = [f"{self.refused[reason.name]:,} {reason.value}" for reason in Invalid if reason.name in self.refused]
        return "; ".join(said)

    def count(self, unkeyed: int | None) -> Counts:
        """The numbers of a plan; sentinels and times are not among them."""
        add, resend = self._sum(Change.ADD), self._sum(Change.RESEND)
        unchanged = self._count_unchanged()
        return Counts(
            desired=unchanged + add + resend,
            stored=count_having(self.known, Flag.STORED),
            add=add,
            remove=self._sum(Change.REMOVE),
            resend=resend,
            unchanged=unchanged,
            unsettled=count_having(self.known, UNSETTLED),
            unmatched=count_having(self.known, Flag.UNMATCHED, UNSETTLED),
            nulls=self.nulls,
            invalid=self.invalid,
            duplicates=self._count_desired_rows() - unchanged - add - resend,
            held=count_having(self.known, HELD | Flag.REMOTE if self.exclusive else HELD),
            repeated_adds=self._sum(Change.ADD, repeats_add),
            exempt_removes=self._sum(Change.REMOVE, lambda flags: is_exempt(flags, self.exclusive)),
            strays=self._sum(Change.REMOVE, is_stray),
            unkeyed=unkeyed,
        )

    def _sum(self, change: Change, where: Callable[[Flag], bool] = bool) -> int:
        return sum(n for flags, n in self.changed.items() if decide(flags, self.exclusive) is change and where(flags))

    def _count_unchanged(self) -> int:
        """Idle rows may repeat; of the ids that are known, those that are desired are all but the unwanted."""
        desired = (flags for flags in self.idle_rows if Flag.DESIRED in flags)
        return sum(self._count_known_desired(flags & ~Flag.DESIRED) for flags in desired)

    def _count_known_desired(self, flags: Flag) -> int:
        return self.known.get(flags, 0) - self.changed.get(flags, 0) - self.idle_rows.get(flags, 0)

    def _count_desired_rows(self) -> int:
        return count_having(self.changed_rows, Flag.DESIRED) + count_having(self.idle_rows, Flag.DESIRED)


def count_drift(known: Numbers, people: int, unkeyed: int) -> DriftCounts:
    """The numbers of a drift. What is there and unsettled or unmatched is not foreign."""
    foreign = {flags: number for flags, number in known.items() if is_stray(flags)}
    return DriftCounts(
        stored=count_having(known, Flag.STORED),
        remote=people,
        missing=count_having(known, Flag.STORED, Flag.REMOTE),
        foreign=sum(foreign.values()),
        lingering=count_having(foreign, Flag.REMOVED),
        unkeyed=unkeyed,
    )
