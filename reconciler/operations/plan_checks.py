"""May a sealed plan still be applied? Its age, its specs, and the states and environments that it was made for."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.errors import PlanFileError
from reconciler.models.plan import Creation, Head
from reconciler.models.spec import Target
from reconciler.plan_file import AGAIN, SealedPlan, SealedSegment
from reconciler.state.base import Snapshot

MAX_CLOCK_LEAD = timedelta(minutes=5)
"""How far the clock of the machine that made a plan file may be ahead of ours."""


def check_age(sealed: SealedPlan, now: datetime, *, spent: bool = False) -> None:
    """Raise PlanFileError if the plan was applied already, is older than 24 hours, or was made in the future."""
    if spent:
        _refuse(["The plan file is spent: it has been applied already."])
    if now >= sealed.expires_at:
        _refuse([f"The plan file has expired: it was made at {sealed.created_at:%Y-%m-%d %H:%M} and lasts 24 hours."])
    if sealed.created_at > now + MAX_CLOCK_LEAD:
        _refuse(
            [
                f"The plan file was made at {sealed.created_at:%Y-%m-%d %H:%M}, and it is {now:%Y-%m-%d %H:%M} here: "
                "one of the two clocks is wrong, so its age is not known."
            ]
        )


def check_place(sealed: SealedPlan) -> None:
    """Raise PlanFileError unless each of its specs is a file, seen from the working folder."""
    absent = [spec for spec in sealed.specs() if not os.path.isfile(spec)]  # noqa: PTH113 (Path.is_file may raise)
    if absent:
        is_or_are = "is" if len(absent) == 1 else "are"
        raise PlanFileError(
            f"The plan file was made for {', '.join(absent)}, which {is_or_are} not here.",
            "run it from the folder where the plan was made",
        )


def find_targets(sealed: SealedPlan, targets: Sequence[Target]) -> tuple[Target, ...]:
    """Find each segment in the specs. Raises PlanFileError, naming each that is not there, or has changed."""
    known = {(os.path.normpath(target.spec.path), target.segment.name): target for target in targets}
    is_undo = sealed.undo_of is not None
    found = []
    problems = []
    for segment in sealed.segments:
        now = known.get((segment.spec, segment.name))
        if now is None:
            problems.append(f"{segment} is no longer there")
            continue
        id_now, type_now = now.segment.segment_id, now.segment.id_type
        if now.workspace != segment.workspace:
            problems.append(f"{segment} is now in workspace {now.workspace}; the plan was made for {segment.workspace}")
        elif now.segment.segment is None and id_now != segment.segment_id:
            problems.append(
                f"{segment} has another segment_id now: {id_now}; the plan was made for {segment.segment_id}"
            )
        elif type_now is not segment.id_type and not now.segment.retired:
            problems.append(f"{segment} has another id_type now: {type_now}; the plan was made for {segment.id_type}")
        elif now.definition(is_undo=is_undo) != segment.definition:
            problems.append(
                f"{segment} has changed since the plan was made (query, params, source, ownership, guards, region, "
                f"title, or whether it is {'created or retired' if is_undo else 'created, retired or paused'})"
            )
        found.append(now)
    _refuse(problems)
    return tuple(found)


def bind_new(head: Head, target: Target, snapshot: Snapshot) -> Head:
    """Give a head; that of a segment which the state does not know with what differs once it was forgotten again."""
    if not head.is_new:
        return head
    return replace(head, change_token=snapshot.find_forgetting(target.workspace, target.segment_id))


def check_heads(sealed: SealedPlan, heads: Sequence[Head]) -> None:
    """Raise PlanFileError, naming each segment with another environment or state than the plan was made from."""
    pairs = list(zip(sealed.segments, heads, strict=True))
    _refuse_other_environments((segment, head.environment_id) for segment, head in pairs)
    stale = []
    for segment, head in pairs:
        is_by_this_plan = head.plan_id == sealed.plan_id and head.plan_base == segment.serial
        if is_by_this_plan and segment.lineage in (None, head.lineage):
            continue  # all changes since were made by this plan itself, maybe as a first fill
        if segment.retired and head.is_new:
            continue  # it was forgotten, as nobody was held any more: nothing of it can be sent
        if head.version != (segment.lineage, segment.serial, segment.change_token):
            stale.append(f"{segment} is stale: its state has changed since the plan was made")
    _refuse(stale)


def check_number(sealed: SealedPlan, segment: SealedSegment, segment_id: int | None, creation: Creation | None) -> None:
    """Raise PlanFileError if a title leads to another number than when it was planned, None where it led to none.

    The segment may be there where applying this plan has created it: `creation` is the latest request to do so.
    """
    if segment_id == segment.segment_id:
        return
    if segment.segment_id is None and creation is not None and creation.plan_id == sealed.plan_id:
        is_made = creation.segment_id in (None, segment_id)  # None: what became of the request is not known
        if is_made:
            return
    then = "was to be created" if segment.segment_id is None else f"was segment {segment.segment_id}"
    is_now = "is not there" if segment_id is None else f"is segment {segment_id}"
    _refuse([f"{segment} is stale: it {then} when the plan was made, and {is_now} now"])


def check_environment(sealed: SealedPlan, workspace: str, environment_id: int | None) -> None:
    """Raise PlanFileError if Customer.io reports another environment for a workspace than the plan was made for."""
    _refuse_other_environments((each, environment_id) for each in sealed.segments if each.workspace == workspace)


def _refuse_other_environments(pairs: Iterable[tuple[SealedSegment, int | None]]) -> None:
    """Raise PlanFileError for each segment with another environment; one that is not known yet differs from none."""
    _refuse(
        [
            f"{segment}: the plan was made for environment {segment.environment_id} of Customer.io; "
            f"workspace {segment.workspace} is now environment {now}"
            for segment, now in pairs
            if None not in (segment.environment_id, now) and segment.environment_id != now
        ]
    )


def _refuse(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise PlanFileError(problems[0][0].upper() + problems[0][1:], AGAIN)
    if problems:
        raise PlanFileError(f"The plan file can't be applied: {'; '.join(problems)}", AGAIN)
