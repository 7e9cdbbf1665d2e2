"""The sentences that text and Markdown share. They hold numbers, and no name or message of a user.

What a guard found is put into words where it is judged: `Verdict.detail`.
"""

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from signal import Signals

from reconciler.errors import DECLINED
from reconciler.escaping import clean
from reconciler.models.comparison import Counts
from reconciler.models.guards import Guard
from reconciler.models.history import RunState
from reconciler.models.plan import Plan, PlanStatus, SegmentPlan
from reconciler.models.results import (
    Drift,
    DriftStatus,
    Refresh,
    RefreshRow,
    RefreshStatus,
    Run,
    RunStatus,
    SegmentDrift,
    SegmentRow,
    SegmentRun,
    Segments,
    Status,
    StatusRow,
)
from reconciler.models.spec import Ownership, Target
from reconciler.render.json_documents import count_segments, summarise

DRIFT_LEGEND = (
    "Missing: stored, and not there. Foreign: there, and not stored. Lingering: removed by reconcile in the last "
    "hour, and still there. To mend it: `reconcile refresh {specs}`, then `reconcile apply {specs}`. It puts the "
    "missing back, and removes the foreign that the query does not return; `refresh --adopt known` lets them stay."
)
MOST_SPECS = 3
"""Specs that a command to copy names."""

LINGERING_LEGEND = "Lingering: removed by reconcile, and still there. The next apply removes them again, or adds them."
ADOPTED_LEGEND = "The next plan removes those taken over that the query does not return."
LOST_STATE = (
    "The state is a SQLite file: where it is lost between runs (CI, containers), every run is a first fill and can "
    "never remove anybody. Keep the file, or use a PostgreSQL state; `must_exist: true` makes a lost one an error."
)

ORPHAN_ADVICE = (
    "Nothing is sent for them: their members stay, with the campaigns that they start. To end one, make sure that no "
    "other spec lists it, and list it with `retired: true`: the next apply removes its members, then the entry may go."
)

BAD: Sequence[StrEnum] = (
    *(RunState.KILLED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.BLOCKED, RunStatus.STALE, RunStatus.LOCKED),
)
"""What became of a segment in a run, where somebody has to look at it; the worst comes first."""

LOAD_FIRST = "load the data, then run it again"

# After a guard that was breached: before the flag that allows it, or instead of one.
NO_FLAG, ALLOWED_BY, IF_RIGHT = "no flag allows this", "allowed by", "if that is right"

_TROUBLES: Mapping[StrEnum, str] = {
    RunStatus.PARTIAL: "is partly done",
    RunStatus.FAILED: "failed",
    RunStatus.BLOCKED: "is blocked; nothing is sent for it",
    RunStatus.STALE: "is stale; nothing was sent for it",
    RunStatus.LOCKED: "is locked; nothing was sent for it",
}
"""By status, one line for each word (see RunStatus)."""

_LOCKED_AT_REFRESH = "is locked; nothing was changed for it"
_LEFT = "is left as it was"
_STOPPED = "was stopped before anything was sent"
_UNREADABLE = "can't be read"

SEVERAL: Mapping[str, str] = {
    "": "",
    "failed": "failed",
    "drifted": "drifted",
    _UNREADABLE: _UNREADABLE,
    _LEFT: "are left as they were",
    _STOPPED: "were stopped before anything was sent",
    _LOCKED_AT_REFRESH: "are locked; nothing was changed for them",
    _TROUBLES[RunStatus.PARTIAL]: "are partly done",
    _TROUBLES[RunStatus.STALE]: "are stale; nothing was sent for them",
    _TROUBLES[RunStatus.LOCKED]: "are locked; nothing was sent for them",
}
"""What goes on after several segments, by what goes on after one; those with numbers of their own are not there."""

NOT_DONE = frozenset(SEVERAL) - {"", "drifted", _TROUBLES[RunStatus.PARTIAL]}
"""The troubles in which nothing of a segment was done."""


def count(number: int, noun: str) -> str:
    """`1 segment`, `3,000 segments`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def join(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def list_numbers(*numbers: tuple[int | None, str]) -> list[str]:
    """`2 rejected` for each number with what it counts; those that are 0 or not known are left out."""
    return [f"{number:,} {what}" for number, what in numbers if number]


def label(target: Target, shared: Collection[str]) -> str:
    """The name that a flag takes; `shared`: those that stand in more than one spec."""
    return target.label if target.segment.name in shared else target.segment.name


def name_segment(label: str, segment_id: int, title: str | None, members: int, *more: str) -> str:
    """`production/vip (segment 56, "VIP customers", 1,234 members)`, for a question about it."""
    called = "title not known" if title is None else f'"{clean(title)}"'
    return f"{label} ({', '.join([f'segment {segment_id}', called, count(members, 'member'), *more])})"


def name_specs(targets: Iterable[Target]) -> str:
    """The specs of some segments as the words of a command; of many `SPEC...`."""
    paths = sorted({str(target.spec.path) for target in targets})
    return " ".join(map(quote, paths)) if len(paths) <= MOST_SPECS else "SPEC..."


def quote(text: str) -> str:
    """Write a text so that a shell takes it as one word."""
    return shlex.quote(clean(text))


# --- one segment -------------------------------------------------------------------------------------------------


def describe_trouble(row: SegmentRow | StatusRow) -> str | None:
    """What goes on after the name of a segment that was not done, or not whole; None for any other."""
    if isinstance(row, StatusRow):
        return _UNREADABLE if row.error else None
    if row.status is RefreshStatus.LOCKED:
        return _LOCKED_AT_REFRESH
    if is_declined(row):
        return _LEFT
    if isinstance(row, SegmentDrift) and row.status is DriftStatus.DRIFTED and row.error is not None:
        return "drifted"
    if isinstance(row, SegmentRun) and row.error is None:
        rejected = row.tally.rejected
        if row.status is RunStatus.PARTIAL and rejected:
            return f"is partly done: {count(rejected, 'id')} rejected"
        if row.status is RunStatus.FAILED:
            return "failed: its ids were rejected" if rejected else _STOPPED
    return _TROUBLES.get(row.status)


NOT_CONFIRMED = "not confirmed"
"""What became of a segment for which the answer was no."""


def is_declined(row: SegmentRow | StatusRow) -> bool:
    """Tell whether a segment was not done as the answer to a question was no."""
    return row.error is not None and row.error.code == DECLINED


def write_notes(plan: SegmentPlan) -> str:
    """The most important facts of a plan that are no numbers of ids, each a few words."""
    counts = plan.counts
    if counts is None:
        return ""
    facts = (("to be created", plan.creates), ("first fill", plan.first_fill and not plan.creates))
    notes = [word for word, holds in (*facts, ("retired", plan.target.segment.retired)) if holds]
    if allowed := [verdict.name.value for verdict in plan.verdicts if verdict.breached and verdict.allowed]:
        notes.append(f"{join(allowed)} allowed")
    if plan.target.segment.ownership is Ownership.EXCLUSIVE and counts.strays:
        notes.append(f"{count(counts.strays, 'stray')} removed")
    return ", ".join(notes + list_numbers((counts.unkeyed, "unkeyed")))


def list_details(plan: SegmentPlan, counts: Counts) -> list[str]:
    """What a plan found on the way, each a clause."""
    clauses = ["not there: apply creates it"] if plan.creates else []
    if counts.sent_since:
        clauses.append(f"{count(counts.sent_since, 'id')} left alone, as a later run sent them or read them back")
    clauses += list_life(plan, counts, is_over=False) + list_bad_values(counts)
    clauses += list_numbers(
        (counts.unsettled, "unsettled from an earlier run"),
        (counts.unmatched, "unmatched (not there when last read)"),
        (counts.adopt, "there already, for apply to take into the state"),
        (counts.unkeyed, "unkeyed (there, and never removed)"),
    )
    if plan.status is not PlanStatus.BLOCKED:  # which lists its breaches
        clauses += [verdict.detail for verdict in plan.verdicts if verdict.name is Guard.FRESHNESS]
    if used_by := plan.remote.used_by:
        campaigns, drafts, sent = used_by.campaigns, used_by.draft_newsletters, used_by.sent_newsletters
        users = ((campaigns, "campaign"), (drafts, "newsletter draft"), (sent, "sent newsletter"))
        if names := [count(len(ids), noun) for ids, noun in users if ids]:
            effect = ": a change can send messages" if campaigns or drafts else ""
            clauses.append(f"used by {join(names)}{effect}")
    return clauses


def list_life(plan: SegmentPlan, counts: Counts, *, is_over: bool) -> list[str]:
    """What the spec says of a segment's life that this plan follows, each a clause."""
    segment, clauses = plan.target.segment, []
    if segment.retired and not is_over:
        if plan.head.is_new:
            clauses.append("retired: the state knows nobody of it; its entry may be removed from the spec")
        else:
            leavers = "1 person leaves" if counts.remove == 1 else f"{counts.remove:,} people leave"
            clauses.append(f"retired: {leavers if counts.remove else 'nobody is held'}, then the state forgets it")
    if segment.paused and plan.is_undo:
        clauses.append("paused by the spec: an undo is sent all the same")
    elif segment.paused:
        left = list_numbers(
            (counts.remove, "to remove"), (counts.add, "to add"), (counts.resend, "unmatched to send again")
        )
        waits = f"; {join(left)} when it goes on" if left else ""
        clauses.append(f"paused by the spec: nothing {'was' if is_over else 'is'} sent{waits}")
        clauses += [f"{each.name} is breached: {each.detail}" for each in plan.verdicts if each.blocks]
    return clauses


def list_bad_values(counts: Counts) -> list[str]:
    """The values in the query's result that are no id of their own, each kind a clause."""
    values = (
        (counts.nulls, "NULL", "left out"),
        (counts.invalid, "invalid value", "left out"),
        (counts.duplicates, "duplicate", "counted once"),
    )
    return [f"{count(number, noun)} {what}" for number, noun, what in values if number]


def list_run_details(run: SegmentRun) -> list[str]:
    """What became of ids that did not simply arrive, each a clause."""
    rejected, unmatched = run.tally.rejected, run.unmatched_after
    clauses = list_life(run.plan, run.plan.counts, is_over=True) if run.plan.counts else []
    if run.target.segment.retired and run.error is None and run.status is not RunStatus.PAUSED:
        if run.forgotten or run.plan.head.is_new:
            reason = (
                "all its members have left, and the state forgot it"
                if run.forgotten
                else "the state knows nobody of it"
            )
            clauses.append(f"retired: {reason}; its entry may be removed from the spec")
        else:
            clauses.append("retired: the state has not forgotten it yet; the next apply goes on")
    if run.tally.created and run.target.segment.segment_id is not None:
        clauses.append(f"created at Customer.io as segment {run.target.segment_id}")
    clauses += [f"{count(rejected, 'id')} rejected by Customer.io; the next run tries again"] if rejected else []
    clauses += list_numbers(
        (run.tally.unsettled, "unsettled: whether they arrived is unknown, and the next run settles it"),
        (unmatched, "unmatched (not there when last read): each apply sends them again"),
    )
    if run.confirmed and not unmatched:
        clauses.append("the read-back agrees")
    if run.confirmed is False:
        clauses.append("the read-back does not agree yet")
    return clauses + (list_bad_values(run.plan.counts) if run.plan.counts else [])


# --- the last line -----------------------------------------------------------------------------------------------


def summarise_plan(plan: Plan) -> str:
    """`Plan: 10 to remove, 20 to add, in 3 segments; 1 unchanged; 1 blocked.`"""
    numbers = summarise(plan)
    if not numbers["changed"] and not numbers["resend"] and numbers["unchanged"] == numbers["segments"]:
        if plan.undo_of is not None:
            return f"Nothing to undo in {count(numbers['segments'], 'segment')}."
        return _report_nothing_to_do(numbers)
    word = "Plan" if plan.undo_of is None else "Undo"
    begin = f"{word}: nothing to change" if numbers["unchanged"] else f"{word}: nothing to send"
    if numbers["changed"]:
        where = count(numbers["changed"], "segment")
        begin = f"{word}: {numbers['remove']:,} to remove, {numbers['add']:,} to add, in {where}"
    created = sum(each.creates and each.has_work for each in plan.segments)
    again = [f"{count(created, 'segment')} to create"] if created else []
    again += list_numbers((numbers["resend"], "unmatched to send again"))
    return _join_clauses(begin, again, _list_named(numbers, "unchanged", "paused", "blocked", "failed"))


def summarise_run(run: Run) -> str:
    """`Applied: 10 removed, 20 added, in 3 segments; 1 unchanged; 1 blocked.`"""
    numbers = summarise(run)
    ids = list_numbers((numbers["resent"], "sent again"))
    ids += _list_named(numbers, "rejected", "unsettled", "unmatched")
    segments = _list_named(numbers, "unchanged", "paused", "blocked", "stale", "locked", "partial")
    segments += _count_failed(run.segments)
    if touched := sum(segment.tally.touched for segment in run.segments):
        where = count(touched, "segment")
        begin = f"Applied: {numbers['removed']:,} removed, {numbers['added']:,} added, in {where}"
        sentence = _join_clauses(begin, ids, segments)
    elif numbers["unchanged"] == numbers["segments"] and not run.stopped_by:
        sentence = "Nothing to undo." if run.undo_of is not None else _report_nothing_to_do(numbers, ids)
    else:
        sentence = _join_clauses("Nothing was changed", ids, segments)
    if run.stopped_by:
        known = {each.value: each.name for each in Signals}
        name = known.get(run.stopped_by, f"signal {run.stopped_by}")
        sentence += f" Stopped by {name}: run it again to go on."
    return sentence


def summarise_drift(drift: Drift) -> str:
    """`Drift: 1 of 3 segments; 5 missing; 2 foreign, of these 1 lingering; 1 failed.`"""
    numbers = summarise(drift)
    known = [segment.counts for segment in drift.segments if segment.counts]
    names = ("missing", "foreign", "lingering", "unmatched", "appeared")
    missing, foreign, lingering, unmatched, appeared = (sum(getattr(each, name) for each in known) for name in names)
    clauses = list_numbers(
        (missing, "missing"),
        (foreign, "foreign" + (f", of these {lingering:,} lingering" if lingering else "")),
        (unmatched, "unmatched" + (f", of these {appeared:,} there by now" if appeared else "")),
        (numbers["failed"], "failed"),
    )
    begin, concerned = ("Drift", numbers["drifted"]) if numbers["drifted"] else ("In sync", numbers["in_sync"])
    return _join_clauses(f"{begin}: {concerned:,} of {count(numbers['segments'], 'segment')}", clauses)


def summarise_refresh(refresh: Refresh) -> str:
    """`Refreshed: 2 segments, 1,000 members; 40 were not known, 40 of them taken over; 1 failed.`"""
    numbers = summarise(refresh)
    done = [each for each in refresh.segments if each.stored is not None]
    strangers = sum(each.strangers or 0 for each in done)
    adopted = sum(each.adopted or 0 for each in done)
    fate = "and are left alone"
    if adopted:
        fate = "all of them taken over" if adopted == strangers else f"{adopted:,} of them taken over"
    members = count(sum(each.stored or 0 for each in done), "member")
    return _join_clauses(
        f"Refreshed: {count(numbers['refreshed'], 'segment')}, {members}",
        list_numbers((strangers, f"were not known, {fate}")),
        _list_named(numbers, "locked"),
        _count_failed(refresh.segments),
    )


def summarise_status(status: Status) -> str:
    """`3 segments, 1,000 members; 1 unsettled; 1 orphan.`"""
    rows = status.segments
    members = sum(row.members or 0 for row in rows)
    bad = list_numbers(
        *((sum(row.last is not None and row.last.status == word for row in rows), word.value) for word in BAD)
    )
    unread = sum(row.error is not None for row in rows)
    known = count(members, "member")
    if unread:
        known = "members not known" if unread == len(rows) else f"{known} in those that can be read"
    return _join_clauses(
        f"{count(len(rows), 'segment')}, {known}",
        [f"in the last run {join(bad)}"] if bad else [],
        list_numbers(
            (sum(row.unsettled or 0 for row in rows), "unsettled"),
            (
                sum(not row.known and row.error is None and not row.target.segment.retired for row in rows),
                "not in the state yet",
            ),
            (unread, "can't be read"),
        ),
        [count(len(status.orphans), "orphan")] if status.orphans else [],
    )


def summarise_segments(result: Segments) -> str:
    """`3 segments; 2 manual; 1 of them managed by no spec.`"""
    numbers = count_segments(result)
    clauses = [f"{numbers['manual']:,} manual"]
    if numbers["manual"]:
        free = f"{numbers['free']:,} of them managed by no spec"
        clauses.append(free if numbers["free"] else "each of them managed by a spec")
    return _join_clauses(count(numbers["segments"], "segment"), clauses)


def _report_nothing_to_do(numbers: Mapping[str, int], clauses: Sequence[str] = ()) -> str:
    segments = numbers["segments"]
    verb = "is as its query says" if segments == 1 else "are as their queries say"
    return _join_clauses(f"Nothing to do: {count(segments, 'segment')} {verb}", clauses)


def _count_failed(rows: Sequence[SegmentRun | RefreshRow]) -> list[str]:
    """`1 failed`, `2 not confirmed`: a no is no failure."""
    declined = sum(map(is_declined, rows))
    failed = sum(row.status == RunStatus.FAILED for row in rows) - declined
    return list_numbers((failed, "failed"), (declined, NOT_CONFIRMED))


def _list_named(numbers: Mapping[str, int | None], *names: str) -> list[str]:
    return list_numbers(*((numbers[name], name) for name in names))


def _join_clauses(begin: str, *clauses: Iterable[str]) -> str:
    """One sentence: a beginning and what follows it after semicolons."""
    return "; ".join([begin, *(clause for some in clauses for clause in some)]) + "."
