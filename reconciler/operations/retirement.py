"""Where emptying a retired segment is refused, as no guard stops it."""

import os
from collections.abc import Callable
from pathlib import Path

from reconciler.errors import SegmentError, SpecError
from reconciler.git import find_places, find_work_tree, identify, is_there
from reconciler.models.plan import Head
from reconciler.models.spec import Target
from reconciler.spec import find_entries


def check_retirement(target: Target, head: Head, warn: Callable[[str], None]) -> None:
    """Refuse to empty a segment that may be another one than the spec means, or that another spec wants.

    Raises SegmentError where the state knows it by another name, or from a spec that still lists it.
    """
    segment, identity = target.segment, identify(target.spec.path)
    if head.name is not None and head.name != segment.name:
        raise SegmentError(
            f"{target.where}: the state knows segment {target.segment_id} as {head.name!r}, and nobody is removed from "
            f"it as {segment.name!r}",
            f"if it is the one that you mean, retire it as {head.name!r}, or apply its new name before you retire it; "
            "else correct segment_id",
            code="retired",
        )
    if head.spec is None or head.spec == identity:
        return
    tree, here = find_work_tree(target.spec.path), os.path.realpath(target.spec.path)
    places = find_places(head.spec, [tree] if tree else [])
    if not places:
        warn(
            f"{target.label}: the state knows it from {head.spec.path} of {head.spec.origin}, which can't be read "
            "here; make sure that it does not list the segment any more"
        )
    for place in places:
        if not is_there(place) or os.path.realpath(place) == here:
            continue
        short = os.path.relpath(place)
        try:
            path = place if short.startswith("..") else Path(short)
            known = {target.segment_id: (head.name, head.title)}
            entry = find_entries(path, os.environ, target.workspace, known).get(target.segment_id)
        except SpecError as error:
            message = (
                f"{target.where}: the state knows the segment from another spec, which can't be read: {error.message}"
            )
            raise SegmentError(message, "mend that file, or delete it", code="retired") from None
        if entry is not None:
            raise SegmentError(
                f"{target.where}: {entry} still lists the segment, and the state knows it from there",
                "remove it from there first; or retire it there, not here",
                code="retired",
            )
