"""The guards: each a function from numbers to a verdict, judged when planning and again when applying."""

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from reconciler.models.counts import Counts
from reconciler.models.spec import GuardSettings, Limit


class Guard(StrEnum):
    """The guards by their key in a spec, in the order of judging."""

    MAX_REMOVALS = "max_removals"
    MAX_ADDITIONS = "max_additions"
    MIN_MEMBERS = "min_members"
    MUST_INCLUDE = "must_include"
    ALLOW_EMPTY = "allow_empty"


ALLOW_FLAGS = {
    Guard.MAX_REMOVALS: "--allow-removals",
    Guard.MAX_ADDITIONS: "--allow-additions",
    Guard.ALLOW_EMPTY: "--allow-empty",
}
"""The flag that lets one segment past a guard for one run; the others have none."""


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
    """Judge every guard. `completed`: a run of this segment has completed before."""
    verdicts = (
        _judge_removals(settings, counts),
        _judge_additions(settings, counts, completed),
        _judge_members(settings, counts),
        _judge_sentinels(settings, counts),
        _judge_emptiness(settings, counts),
    )
    return tuple(_allow(verdict, allowed) for verdict in verdicts)


def _allow(verdict: Verdict, allowed: Set[Guard]) -> Verdict:
    if not verdict.breached or verdict.name not in allowed:
        return verdict
    return Verdict(verdict.name, verdict.limit, verdict.actual, True, True, verdict.detail)


def _judge_removals(settings: GuardSettings, counts: Counts) -> Verdict:
    number, base = counts.judged_removals, counts.held
    breached = settings.max_removals.is_exceeded(number, base)
    return _limited(Guard.MAX_REMOVALS, settings.max_removals, number, base, breached, "removals")


def _judge_additions(settings: GuardSettings, counts: Counts, completed: bool) -> Verdict:
    number, base = counts.judged_additions, counts.stored
    is_filling = base == 0 or not completed
    waived = settings.max_additions.percent is not None and is_filling
    breached = not waived and settings.max_additions.is_exceeded(number, base)
    return _limited(Guard.MAX_ADDITIONS, settings.max_additions, number, base, breached, "additions")


def _limited(guard: Guard, limit: Limit, number: int, base: int, breached: bool, noun: str) -> Verdict:
    detail = f"{number:,} {noun} of {base:,} members; the limit is {limit}"
    return Verdict(guard, str(limit), _say_actual(limit, number, base), breached, detail=detail)


def _say_actual(limit: Limit, number: int, base: int) -> str:
    """A percentage to one decimal, or to as many as it takes to tell it from the limit."""
    if limit.percent is None or not base:
        return str(number)
    exact = Fraction(number * 100, base)
    rounded = f"{float(exact):.1f}"
    return f"{rounded}%" if (Fraction(rounded) > limit.percent) == (exact > limit.percent) else f"{float(exact):.4f}%"


def _judge_members(settings: GuardSettings, counts: Counts) -> Verdict:
    least = settings.min_members
    detail = f"the query returned {counts.desired:,} members; at least {least:,} are required"
    return Verdict(Guard.MIN_MEMBERS, str(least), str(counts.desired), counts.desired < least, detail=detail)


def _judge_sentinels(settings: GuardSettings, counts: Counts) -> Verdict:
    wanted, missing = len(settings.must_include), counts.missing_sentinels
    detail = f"of {wanted:,} sentinel ids, {missing:,} not in the query's result"
    return Verdict(Guard.MUST_INCLUDE, str(wanted), str(wanted - missing), missing > 0, detail=detail)


def _judge_emptiness(settings: GuardSettings, counts: Counts) -> Verdict:
    emptied = counts.desired == 0 and counts.held > 0 and not counts.only_repeats
    breached = emptied and not settings.allow_empty
    said = "true" if settings.allow_empty else "false"
    detail = f"the query returned nobody, and the state holds {counts.held:,} members"
    return Verdict(Guard.ALLOW_EMPTY, said, str(counts.desired), breached, detail=detail)
