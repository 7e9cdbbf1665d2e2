"""The sentences that text and Markdown share. They hold numbers, and no name or message of a user."""

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from signal import Signals
from typing import Any

from reconciler.models.counts import Counts
from reconciler.models.drift import Drift
from reconciler.models.guards import ALLOW_FLAGS, Verdict
from reconciler.models.plan import Plan, SegmentPlan, UsedBy
from reconciler.models.results import Refresh, Status
from reconciler.models.run import Run, RunStatus, SegmentRun
from reconciler.models.spec import Ownership, Target
from reconciler.render.escaping import clean
from reconciler.render.json import summarise

SENDS_MESSAGES = "a change can send messages"


def count(number: int, noun: str) -> str:
    """`1 segment`, `3,000 segments`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    said = [part for part in parts if part]
    return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else "".join(said)


def say_share(counts: Counts) -> str:
    """The changes as a share of the stored members; empty where there are none stored, or no change."""
    changes = counts.add + counts.remove
    return f"{changes * 100 / counts.stored:.1f}%" if changes and counts.stored else ""


# --- names -------------------------------------------------------------------------------------------------------


def find_shared(targets: Sequence[Target], given: Collection[str] = ()) -> frozenset[str]:
    """Names that stand in more than one spec: flags need `workspace/NAME` for them."""
    numbers = Counter(target.segment.name for target in targets)
    return frozenset(given) | {name for name, number in numbers.items() if number > 1}


def label(target: Target, shared: Collection[str]) -> str:
    """The name that a flag takes."""
    return target.label if target.segment.name in shared else target.segment.name


def quote(text: str) -> str:
    """Write a text so that a shell takes it as one word."""
    return shlex.quote(clean(text))


# --- one segment -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breach:
    """One guard that was breached: what it says, and the flag that lets the segment past (None: there is none)."""

    guard: str
    detail: str
    flag: str | None
    allowed: bool


def list_breaches(plan: SegmentPlan, shared: Collection[str]) -> list[Breach]:
    """Every breach of a segment, the allowed ones too."""
    name = quote(label(plan.target, shared))
    return [_describe_breach(verdict, name) for verdict in plan.verdicts if verdict.breached]


def _describe_breach(verdict: Verdict, name: str) -> Breach:
    flag = ALLOW_FLAGS.get(verdict.name)
    detail = verdict.detail or f"{verdict.actual}; the limit is {verdict.limit}"
    return Breach(verdict.name.value, detail, f"{flag} {name}" if flag else None, verdict.allowed)


def list_notes(plan: SegmentPlan) -> list[str]:
    """What is worth knowing of a plan beside its numbers, each a few words."""
    counts = plan.counts
    if counts is None:
        return []
    allowed = [verdict.name.value for verdict in plan.verdicts if verdict.breached and verdict.allowed]
    exclusive = plan.target.segment.ownership is Ownership.EXCLUSIVE
    notes = [
        "first fill" if plan.first_fill else "",
        f"{join(allowed)} let past" if allowed else "",
        f"{count(counts.strays, 'stray')} removed" if exclusive and counts.strays else "",
        f"{counts.unkeyed:,} unkeyed" if counts.unkeyed else "",
    ]
    return [note for note in notes if note]


def list_details(plan: SegmentPlan) -> list[str]:
    """What a plan found on the way, each a clause."""
    counts = plan.counts
    if counts is None:
        return []
    clauses = [
        *list_bad_values(counts),
        f"{counts.unsettled:,} unsettled from an earlier run" if counts.unsettled else "",
        f"{counts.unmatched:,} unmatched (not there when last read)" if counts.unmatched else "",
        f"{counts.adopt:,} there already, for apply to take into the state" if counts.adopt else "",
        f"{counts.unkeyed:,} unkeyed (there, and never removed)" if counts.unkeyed else "",
        say_used_by(plan.remote.used_by),
    ]
    return [clause for clause in clauses if clause]


def say_engine(plan: SegmentPlan) -> str:
    """Where it was compared, if that is not here."""
    return "compared in the database" if plan.counts and plan.engine == "in_database" else ""


def list_bad_values(counts: Counts) -> list[str]:
    """What of the query's result is no id of its own, each a clause."""
    clauses = [
        f"{count(counts.nulls, 'NULL')} left out" if counts.nulls else "",
        f"{count(counts.invalid, 'invalid value')} left out" if counts.invalid else "",
        f"{count(counts.duplicates, 'duplicate')} counted once" if counts.duplicates else "",
    ]
    return [clause for clause in clauses if clause]


def say_used_by(used_by: UsedBy | None) -> str:
    """`used by 2 campaigns and 1 newsletter draft: a change can send messages`; empty where nothing uses it."""
    if used_by is None:
        return ""
    parts = [
        count(len(used_by.campaigns), "campaign") if used_by.campaigns else "",
        count(len(used_by.draft_newsletters), "newsletter draft") if used_by.draft_newsletters else "",
        count(len(used_by.sent_newsletters), "sent newsletter") if used_by.sent_newsletters else "",
    ]
    active = used_by.campaigns or used_by.draft_newsletters
    said = join(parts)
    return f"used by {said}{': ' + SENDS_MESSAGES if active else ''}" if said else ""


def list_run_details(run: SegmentRun) -> list[str]:
    """What became of ids that did not simply arrive, each a clause."""
    tally, unmatched = run.tally, run.unmatched_after
    clauses = [
        f"{count(tally.rejected, 'id')} rejected by Customer.io; the next run tries again" if tally.rejected else "",
        f"{tally.unsettled:,} unsettled: whether they arrived is unknown, and the next run settles it"
        if tally.unsettled
        else "",
        f"{unmatched:,} unmatched (not there when last read): each apply sends them again" if unmatched else "",
        "the read-back agrees" if run.confirmed and not unmatched else "",
        "the read-back does not agree yet" if run.confirmed is False else "",
    ]
    return [clause for clause in clauses if clause]


def say_failure(run: SegmentRun) -> str:
    """How a segment of a run stopped short; empty where it did not."""
    verbs = {
        RunStatus.STALE: "is stale; nothing was sent for it",
        RunStatus.LOCKED: "is locked; nothing was sent for it",
        RunStatus.PARTIAL: "is partly done",
        RunStatus.FAILED: "failed",
    }
    if run.status is RunStatus.PARTIAL and run.error is None and run.tally.rejected:
        return f"is partly done: {count(run.tally.rejected, 'id')} rejected"
    if run.status is RunStatus.FAILED and run.error is None:
        return "failed: its ids were rejected" if run.tally.rejected else "was stopped before anything was sent"
    return verbs.get(run.status, "")


# --- first fills -------------------------------------------------------------------------------------------------

LOST_STATE = (
    "The state is a SQLite file: where it is lost between runs (CI, containers), every run is a first fill and can "
    "never remove anybody. Keep the file, or use a PostgreSQL state; `must_exist: true` makes a lost one an error."
)


def find_first_fills(plans: Iterable[SegmentPlan]) -> list[SegmentPlan]:
    """Those of which the state knows nothing; a segment that failed may be known."""
    return [plan for plan in plans if plan.counts is not None and plan.first_fill]


def is_taken_over_by_refresh(plan: SegmentPlan) -> bool:
    """Tell whether members that the state does not know stay until a refresh; `exclusive` reads them in each plan."""
    return plan.target.segment.ownership is not Ownership.EXCLUSIVE


def can_lose_its_state(filled: Iterable[SegmentPlan]) -> bool:
    """Tell whether a first fill for want of a state would leave members behind."""
    return any(map(is_taken_over_by_refresh, filled))


def say_empty_fills(filled: Sequence[SegmentPlan]) -> str:
    """How many of these have no members; empty where none is known to have none."""
    empty = sum(plan.remote.members == 0 for plan in filled)
    verb = "has" if empty == 1 else "have"
    return f"{count(empty, 'segment')} {verb} no members now" if empty else ""


def say_first_fill(plan: SegmentPlan, done: bool = False) -> str:
    """What is known of the members that a segment may have before its first fill (`done`: had before it); empty where
    there are none."""
    members = plan.remote.members
    if members == 0:
        return ""
    if not is_taken_over_by_refresh(plan):
        said = f"it had {count(members, 'member')} when it was read" if members is not None else "it was read"
        return f"{said}; whoever the query does not return is removed"
    if members is None:
        return f"members that it may already have{' had' if done else ''} are unknown, and stay"
    number = count(members, "member")
    said = (
        f"it had {number} whom the state did not know" if done else f"it has {number} now whom the state does not know"
    )
    return f"{said}, and who stay"


def refresh_command(target: Target, shared: Collection[str]) -> str:
    """The command that takes over the members of one segment."""
    return f"reconcile refresh {quote(str(target.spec.path))} --select {quote(label(target, shared))}"


# --- the last line -----------------------------------------------------------------------------------------------


def _join_clauses(kind: str, parts: Iterable[str]) -> str:
    """One sentence: a beginning and what follows it after semicolons."""
    return "; ".join([kind, *(part for part in parts if part)]) + "."


def _tail(summary: dict[str, Any], names: Sequence[str]) -> list[str]:
    return [f"{number:,} {name}" for name in names if (number := summary[name])]


def say_plan(plan: Plan) -> str:
    """`Plan: 10 to remove, 20 to add, in 3 segments; 1 unchanged; 1 blocked.`"""
    summary = summarise(plan)
    segments, changed, resend = summary["segments"], summary["changed"], summary["resend"]
    again = f"{resend:,} unmatched to send again" if resend else ""
    if changed:
        begin = f"Plan: {summary['remove']:,} to remove, {summary['add']:,} to add, in {count(changed, 'segment')}"
    elif summary["unchanged"] == segments and not resend:
        verb = "is as its query says" if segments == 1 else "are as their queries say"
        return _join_clauses(f"Nothing to do: {count(segments, 'segment')} {verb}", [])
    else:
        begin = "Plan: nothing to change" if summary["unchanged"] else "Plan: nothing to send"
    return _join_clauses(begin, [again, *_tail(summary, ("unchanged", "blocked", "failed"))])


def say_run(run: Run) -> str:
    """`Applied: 10 removed, 20 added, in 3 segments; 1 unchanged; 1 blocked.`"""
    summary = summarise(run)
    touched = sum(segment.tally.touched for segment in run.segments)
    ids = [
        f"{summary['resent']:,} sent again" if summary["resent"] else "",
        f"{summary['rejected']:,} rejected" if summary["rejected"] else "",
        f"{summary['unsettled']:,} unsettled" if summary["unsettled"] else "",
        f"{summary['unmatched']:,} unmatched" if summary["unmatched"] else "",
    ]
    tail = _tail(summary, ("unchanged", "blocked", "stale", "locked", "partial", "failed"))
    stopped = f" Stopped by {_name_signal(run.stopped_by)}: run it again to go on." if run.stopped_by else ""
    if touched:
        begin = f"Applied: {summary['removed']:,} removed, {summary['added']:,} added, in {count(touched, 'segment')}"
    elif summary["unchanged"] == summary["segments"] and not stopped:
        verb = "is as its query says" if summary["segments"] == 1 else "are as their queries say"
        begin, tail = f"Nothing to do: {count(len(run.segments), 'segment')} {verb}", []
    else:
        begin = "Nothing was changed"
    return _join_clauses(begin, [*ids, *tail]) + stopped


def _name_signal(number: int | None) -> str:
    known = {each.value: each.name for each in Signals}
    return known.get(number or 0, f"signal {number}")


def say_drift(drift: Drift) -> str:
    """`Drift: 1 of 3 segments; 5 missing; 2 foreign, of these 1 lingering; 1 failed.`"""
    summary = summarise(drift)
    segments, drifted, failed = len(drift.segments), summary["drifted"], summary["failed"]
    known = [segment.counts for segment in drift.segments if segment.counts]
    missing, foreign = sum(each.missing for each in known), sum(each.foreign for each in known)
    lingering = sum(each.lingering for each in known)
    unmatched, appeared = sum(each.unmatched for each in known), sum(each.appeared for each in known)
    parts = [
        f"{missing:,} missing" if missing else "",
        f"{foreign:,} foreign" + (f", of these {lingering:,} lingering" if lingering else "") if foreign else "",
        f"{unmatched:,} unmatched" + (f", of these {appeared:,} there by now" if appeared else "") if unmatched else "",
        f"{failed:,} failed" if failed else "",
    ]
    if drifted:
        return _join_clauses(f"Drift: {drifted:,} of {count(segments, 'segment')}", parts)
    return _join_clauses(f"In sync: {summary['in_sync']:,} of {count(segments, 'segment')}", parts)


def say_refresh(refresh: Refresh) -> str:
    """`Refreshed: 2 segments, 1,000 members; 40 were not known, 40 of them taken over; 1 failed.`"""
    summary = summarise(refresh)
    done = [each for each in refresh.segments if each.stored is not None]
    strangers = sum(each.strangers or 0 for each in done)
    adopted = sum(each.adopted or 0 for each in done)
    members = sum(each.stored or 0 for each in done)
    fate = "all of them taken over" if adopted == strangers else f"{adopted:,} of them taken over"
    taken = f"{strangers:,} were not known, {fate if adopted else 'and are left alone'}" if strangers else ""
    begin = f"Refreshed: {count(summary['refreshed'], 'segment')}, {count(members, 'member')}"
    return _join_clauses(begin, [taken, *_tail(summary, ("locked", "failed"))])


def say_status(value: Status) -> str:
    """`3 segments, 1,000 members; 1 unsettled; 1 orphan.`"""
    members = sum(row.members or 0 for row in value.segments)
    unsettled = sum(row.unsettled or 0 for row in value.segments)
    new = sum(not row.known and row.error is None for row in value.segments)
    failed = sum(row.error is not None for row in value.segments)
    begin = f"{count(len(value.segments), 'segment')}, {count(members, 'member')}"
    parts = [
        f"{unsettled:,} unsettled" if unsettled else "",
        f"{new:,} not in the state yet" if new else "",
        f"{failed:,} can't be read" if failed else "",
        count(len(value.orphans), "orphan") if value.orphans else "",
    ]
    return _join_clauses(begin, parts)
