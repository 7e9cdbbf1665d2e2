"""The guards: each a function from numbers to a verdict, judged when planning and again when applying."""

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from reconciler.models.comparison import Counts
from reconciler.models.fields import Limit
from reconciler.models.freshness import AHEAD, DataTime, write_age
from reconciler.models.spec import FreshnessSettings, GuardSettings


class Guard(StrEnum):
    """The guards by their key in a spec, in the order of judging."""

    MAX_REMOVALS = "max_removals"
    MAX_ADDITIONS = "max_additions"
    MIN_MEMBERS = "min_members"
    MUST_INCLUDE = "must_include"
    ALLOW_EMPTY = "allow_empty"
    FRESHNESS = "freshness"


ALLOW_FLAGS = {
    Guard.MAX_REMOVALS: "--allow-removals",
    Guard.MAX_ADDITIONS: "--allow-additions",
    Guard.ALLOW_EMPTY: "--allow-empty",
}
"""The flag that lets one segment past a guard for one run; the others have none."""


OF_QUERY = frozenset((Guard.MIN_MEMBERS, Guard.MUST_INCLUDE, Guard.FRESHNESS))
"""The guards that judge what a query returned."""


@dataclass(frozen=True)
class Verdict:
    """One guard's judgement. A breach that is `allowed` does not block."""

    name: Guard
    limit: str
    actual: str
    breached: bool
    allowed: bool = False
    detail: str = ""

    @property
    def blocks(self) -> bool:
        return self.breached and not self.allowed


def judge(settings: GuardSettings, counts: Counts, completed: bool, allowed: Set[Guard]) -> tuple[Verdict, ...]:
    """Judge every guard but `freshness`. `completed`: a run of this segment has completed before.

    An undo has no query, and those that judge what it returned are left out.
    """
    removals, additions = counts.remove - counts.exempt_removes, counts.add - counts.repeated_adds
    is_filling = counts.stored == 0 or not completed  # then a percentage says nothing
    is_waived = settings.max_additions.percent is not None and is_filling
    sentinels = len(settings.must_include)
    only_repeats = counts.remove > 0 and removals == 0 and counts.unmatched == 0  # each was judged before
    is_undo = counts.desired is None
    desired = counts.left if counts.desired is None else counts.desired
    is_emptied = desired == 0 and counts.held > 0 and not only_repeats and not (is_undo and counts.remove == 0)
    nobody = "nobody would be left" if is_undo else "the query returned nobody"
    verdicts = (
        Verdict(
            Guard.MAX_REMOVALS,
            str(settings.max_removals),
            _write_actual(settings.max_removals, removals, counts.held),
            settings.max_removals.is_exceeded(removals, counts.held),
            detail=f"{removals:,} removals of {counts.held:,} members; the limit is {settings.max_removals}",
        ),
        Verdict(
            Guard.MAX_ADDITIONS,
            str(settings.max_additions),
            _write_actual(settings.max_additions, additions, counts.stored),
            not is_waived and settings.max_additions.is_exceeded(additions, counts.stored),
            detail=f"{additions:,} additions of {counts.stored:,} members; the limit is {settings.max_additions}",
        ),
        Verdict(
            Guard.MIN_MEMBERS,
            str(settings.min_members),
            str(desired),
            desired < settings.min_members,
            detail=f"the query returned {desired:,} members; at least {settings.min_members:,} are required",
        ),
        Verdict(
            Guard.MUST_INCLUDE,
            str(sentinels),
            str(sentinels - counts.missing_sentinels),
            counts.missing_sentinels > 0,
            detail=f"of {sentinels:,} sentinel ids, {counts.missing_sentinels:,} not in the query's result",
        ),
        Verdict(
            Guard.ALLOW_EMPTY,
            "true" if settings.allow_empty else "false",
            str(desired),
            is_emptied and not settings.allow_empty,
            detail=f"{nobody}, and the state holds {counts.held:,} members",
        ),
    )
    return tuple(
        replace(verdict, allowed=verdict.breached and verdict.name in allowed)
        for verdict in verdicts
        if not (is_undo and verdict.name in OF_QUERY)
    )


def judge_freshness(settings: FreshnessSettings, data: DataTime, now: datetime) -> Verdict:
    """Judge how old the data is by our clock. What is not known to be fresh is a breach."""
    limit, age = settings.max_age, data.age(now)
    if data.at is None or age is None:
        actual = "NULL" if data.has_row else "no row"
        detail = f"its query returned {actual}: nothing tells how old the data is; the limit is {limit}"
        return Verdict(Guard.FRESHNESS, str(limit), actual, breached=True, detail=detail)
    is_ahead = age < -AHEAD.total_seconds()
    actual = "in the future" if is_ahead else write_age(age, limit)
    zone = "" if data.zoned else " (without a zone: read as UTC)"
    how_old = "more than five minutes in the future by our clock" if is_ahead else f"{actual} old"
    return Verdict(
        Guard.FRESHNESS,
        str(limit),
        actual,
        breached=is_ahead or age > limit.seconds,
        detail=f"the data is from {data.at:%Y-%m-%d %H:%M}Z{zone}, {how_old}; the limit is {limit}",
    )


def _write_actual(limit: Limit, number: int, base: int) -> str:
    """Write a percentage to one decimal, or to as many as it takes to tell it from the limit."""
    if limit.percent is None or not base:
        return str(number)
    exact = Fraction(number * 100, base)
    rounded = f"{float(exact):.1f}"
    return f"{rounded}%" if (Fraction(rounded) > limit.percent) == (exact > limit.percent) else f"{float(exact):.4f}%"
