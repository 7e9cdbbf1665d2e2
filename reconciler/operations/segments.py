"""`segments`: what segments the workspaces of specs have, and which spec manages each. Changes nothing."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event

from reconciler.errors import DestinationError, ReconcileError
from reconciler.models.comparison import DEFAULT_LOOKUP_TIMEOUT
from reconciler.models.plan import RemoteSegment
from reconciler.models.results import Listing, Management, WorkspaceSegment
from reconciler.models.spec import Spec, SpecIdentity, Target
from reconciler.operations.context import Context, identify_account
from reconciler.operations.load import Loaded, refuse_plan_file, refuse_shared, require_app_keys
from reconciler.operations.lookups import Lookups
from reconciler.operations.orphans import find_departed, find_orphans
from reconciler.operations.results import SegmentsResult
from reconciler.operations.titles import check_title, find_by_title
from reconciler.render.sentences import count


def list_segments(
    loaded: Loaded, *, lookup_timeout: float = DEFAULT_LOOKUP_TIMEOUT, stop: Event | None = None
) -> SegmentsResult:
    """List the segments of the workspaces of these specs, each with its people and the spec that manages it.

    People are asked for during at most `lookup_timeout` seconds. Raises SpecError where an App API key is missing,
    DestinationError where a list can't be had, StateError.
    """
    refuse_plan_file(loaded, "segments")
    refuse_shared(loaded.specs)
    targets = [Target(spec, spec.segments[0]) for spec in loaded.specs]
    require_app_keys(targets, "`segments`")
    created_at = datetime.now(UTC)
    with Context(targets, reads_only=True, stop=stop) as context:
        places = {(each.workspace, identify_account(each.spec.destination)): each for each in targets}
        listed = [(target, row) for target in places.values() for row in _list_workspace(context, target, loaded.specs)]
        lookups = context.enter_context(closing(Lookups(lookup_timeout)))
        people = _count_people(context, listed, lookups, lookup_timeout)
        rows = [replace(row, people=number) for (_, row), number in zip(listed, people, strict=True)]
        return SegmentsResult(
            created_at,
            tuple(sorted(rows, key=lambda row: (row.workspace, row.segment_id))),
            workspaces=tuple(sorted({target.workspace for target in targets})),
            specs=tuple(str(spec.path) for spec in loaded.specs),
            names=frozenset(segment.name for spec in loaded.specs for segment in spec.segments),
            warnings=tuple(context.warnings),
        )


def _list_workspace(context: Context, target: Target, specs: Sequence[Spec]) -> list[WorkspaceSegment]:
    """List the segments of one workspace, without their people."""
    workspace, account = target.workspace, identify_account(target.spec.destination)
    remote = context.list_segments(target)
    own = [spec for spec in specs if spec.destination.workspace == workspace]
    states = dict.fromkeys(spec.state for spec in own)
    listings = [each for state in states for each in context.open_snapshot(state).listings(workspace)]
    known = {each.segment_id: each for each in listings if not each.is_note}
    orphans = {each.segment_id for each in find_orphans(own, context.open_snapshot)}
    has_left = find_departed(specs)
    listed: dict[int | None, Target] = {}
    for spec in own:
        if identify_account(spec.destination) == account:
            for each in (Target(spec, segment) for segment in spec.segments):
                listed[_find_number(context, each, listings, remote)] = each

    rows = []
    for segment in remote.values():
        row = WorkspaceSegment(workspace, segment.segment_id, segment.title, segment.manual)
        found, listing = listed.get(segment.segment_id), known.get(segment.segment_id)
        if found is not None:
            row = replace(row, status=Management.MANAGED, name=found.segment.name, spec=str(found.spec.path))
        elif listing is not None:
            is_orphan = segment.segment_id in orphans
            if is_orphan or listing.spec is None or not has_left(listing.spec):
                status = Management.ORPHAN if is_orphan else Management.MANAGED
                path = _show_path(listing.spec) if listing.spec else None
                row = replace(row, status=status, name=listing.name, spec=path)
        rows.append(row)
    return rows


def _show_path(spec: SpecIdentity) -> str:
    """Give the path from the top of the repository; outside git from the working folder, if it is below that."""
    short = spec.path if spec.origin is not None else os.path.relpath(spec.path)
    return spec.path if short.startswith("..") else short


def _find_number(
    context: Context, target: Target, known: Sequence[Listing], remote: Mapping[int, RemoteSegment]
) -> int | None:
    """Find the number of a segment of a spec; None, and a warning, where its title leads to no one segment."""
    segment_id = target.segment.segment_id
    try:
        if segment_id is None:
            return find_by_title(target, known, remote, context.warn).segment.segment_id
        check_title(target, remote)
        if segment_id not in remote:
            context.warn(f"{target.where}: there is no segment {segment_id} in workspace {target.workspace!r}")
    except DestinationError as error:
        context.warn(error.message)
    return segment_id


def _count_people(
    context: Context, listed: Sequence[tuple[Target, WorkspaceSegment]], lookups: Lookups, seconds: float
) -> list[int | None]:
    """Ask how many people each segment has, manual ones first; None, and a warning, for what was not answered."""
    for at in sorted(range(len(listed)), key=lambda at: not listed[at][1].manual):
        target, row = listed[at]
        lookups.ask_members(at, target, context.reading_app(target), row.segment_id)
    lookups.wait(context.stop)

    people: list[int | None] = []
    failures: Counter[str] = Counter()
    for at in range(len(listed)):
        answer = lookups.members(at)
        people.append(None if isinstance(answer, ReconcileError) else answer)
        if isinstance(answer, ReconcileError):
            failures[answer.message] += 1
    for message, number in failures.items():
        context.warn(f"the people of {count(number, 'segment')} can't be counted: {message}")
    if unasked := people.count(None) - failures.total():
        context.warn(
            f"the people of {count(unasked, 'segment')} were not counted within --lookup-timeout ({seconds:g} s)"
        )
    return people
