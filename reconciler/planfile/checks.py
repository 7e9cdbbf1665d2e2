"""May a sealed plan be applied? Pure functions that raise PlanFileError if not."""

import os
from collections.abc import Sequence
from datetime import datetime, timedelta

from reconciler.errors import PlanFileError
from reconciler.models.plan import Head
from reconciler.models.spec import Target
from reconciler.planfile.sealed import AGAIN, SealedPlan, SealedSegment

AHEAD = timedelta(minutes=5)
"""How far the clock of the machine that made a plan file may be ahead of ours."""


def check(
    sealed: SealedPlan, targets: Sequence[Target], heads: Sequence[Head], now: datetime, *, spent: bool = False
) -> None:
    """Raise PlanFileError, naming every reason of the first kind there is, unless the whole plan may be applied.

    `targets`: what the specs say now; `heads`: what the state says now, one for each of `sealed.segments`.
    """
    check_age(sealed, now, spent=spent)
    check_specs(sealed, targets)
    check_heads(sealed, heads)


def check_age(sealed: SealedPlan, now: datetime, *, spent: bool = False) -> None:
    """Raise PlanFileError if the plan was applied already, is older than 24 hours, or was made in the future."""
    if spent:
        _refuse(["The plan file is spent: it has been applied already."])
    if now >= sealed.expires_at:
        _refuse([f"The plan file has expired: it was made at {sealed.created_at:%Y-%m-%d %H:%M} and lasts 24 hours."])
    if sealed.created_at > now + AHEAD:
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


def check_specs(sealed: SealedPlan, targets: Sequence[Target]) -> None:
    """Raise PlanFileError, naming each segment that the specs no longer list, or that has changed in them."""
    known = {(os.path.normpath(target.spec.path), target.segment.name): target for target in targets}
    found = [_compare(segment, known.get((segment.spec, segment.name))) for segment in sealed.segments]
    _refuse([problem for problem in found if problem])


def _compare(segment: SealedSegment, target: Target | None) -> str:
    """Say how a segment differs from what was sealed; an empty text if it does not."""
    where = f"segment {segment.name} in {segment.spec}"
    if target is None:
        return f"{where} is no longer there"
    now = target.segment
    if target.workspace != segment.workspace:
        return f"{where} is now in workspace {target.workspace}; the plan was made for {segment.workspace}"
    if now.segment_id != segment.segment_id:
        return f"{where} has another segment_id now: {now.segment_id}; the plan was made for {segment.segment_id}"
    if now.id_type is not segment.id_type:
        return f"{where} has another id_type now: {now.id_type}; the plan was made for {segment.id_type}"
    if target.definition() != segment.definition:
        return f"{where} has changed since the plan was made (query, params, source, ownership, guards or region)"
    return ""


def check_heads(sealed: SealedPlan, heads: Sequence[Head]) -> None:
    """Raise PlanFileError, naming each segment whose environment or state is not the one the plan was made from."""
    pairs = list(zip(sealed.segments, heads, strict=True))
    _refuse([_another(segment, head.environment_id) for segment, head in pairs if _has_moved(segment, head)])
    _refuse(
        [
            f"segment {segment.name} in {segment.spec} is stale: its state has changed since the plan was made"
            for segment, head in pairs
            if is_stale(sealed.plan_id, segment, head)
        ]
    )


def check_environment(sealed: SealedPlan, workspace: str, environment_id: int | None) -> None:
    """Raise PlanFileError if Customer.io reports another environment for a workspace than the plan was made for."""
    head = Head(environment_id=environment_id)
    found = (each for each in sealed.segments if each.workspace == workspace and _has_moved(each, head))
    _refuse([_another(segment, environment_id) for segment in found])


def _has_moved(segment: SealedSegment, head: Head) -> bool:
    """An environment that is not known yet differs from none."""
    known = segment.environment_id is not None and head.environment_id is not None
    return known and segment.environment_id != head.environment_id


def _another(segment: SealedSegment, environment_id: int | None) -> str:
    return (
        f"segment {segment.name} in {segment.spec}: the plan was made for environment {segment.environment_id} "
        f"of Customer.io; workspace {segment.workspace} is now environment {environment_id}"
    )


def is_stale(plan_id: str, segment: SealedSegment, head: Head) -> bool:
    """Tell whether the state moved since; what this plan itself changed does not count (it may be a first fill)."""
    if head.plan_id == plan_id and head.plan_base == segment.serial and segment.lineage in (None, head.lineage):
        return False
    return head.version != segment.version


def _refuse(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise PlanFileError(problems[0][0].upper() + problems[0][1:], AGAIN)
    if problems:
        raise PlanFileError(f"The plan file can't be applied: {'; '.join(problems)}", AGAIN)
