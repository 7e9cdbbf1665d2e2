"""Which segment of Customer.io a segment of a spec is: by its number, or by its title; made where there is none.

The number that a title led to is remembered in the state, and finds a segment that was renamed since. A number and a
title that lead to different segments are an error: nobody can tell which one is meant.
"""

from collections.abc import Callable, Mapping, Sequence

from reconciler.errors import DestinationError
from reconciler.git import identify
from reconciler.models.ids import IdType
from reconciler.models.plan import RemoteSegment
from reconciler.models.results import Listing
from reconciler.models.spec import SpecIdentity, Target
from reconciler.operations.context import Context


def resolve(context: Context, target: Target) -> Target:
    """Give a target the number that its title leads to, and a retired one the id type that the state has.

    The number stays None where `apply` is to create the segment. A `title` that is pinned is checked. Raises
    ReconcileError.
    """
    segment = target.segment
    if segment.retired:
        return resolve_retired(context, target)
    if segment.segment is not None:
        known = context.snapshot(target).listings(target.workspace)
        target = find_by_title(target, known, context.list_segments(target), context.warn)
    elif segment.title is not None:
        remote = context.list_segments(target).get(target.segment_id)
        if remote is not None:
            check_title(target, remote)
    return target


def resolve_retired(context: Context, target: Target) -> Target:
    """Give a retired target the number that its title led to, and the id type that the state has.

    A title that led to none stays without a number, as nobody is held. Customer.io is asked only where a `title` is
    pinned and somebody is held. Raises DestinationError where the state has the name of the entry by another title.
    """
    snapshot, segment = context.snapshot(target), target.segment
    if segment.segment is not None:
        known = snapshot.listings(target.workspace)
        remembered = find_remembered(target, known)
        if remembered is None:
            former = find_former_number(target, known, identify(target.spec.path), set())
            if former is None:
                return target
            raise DestinationError(
                f"{target.where}: the state knows {segment.name!r} as segment {former.segment_id}"
                + (f", {former.title!r}" if former.title else "")
                + f", and none as {segment.segment!r}",
                f"if it is the one that you mean, name it by its number: `segment_id: {former.segment_id}`",
                code="title",
            )
        target = target.changed(segment_id=remembered.segment_id)
    with snapshot.read_segment(target.workspace, target.segment_id) as stored:
        id_type, held = stored.head.id_type, stored.count().held
    if id_type is not None:
        target = target.changed(id_type=IdType(id_type))
    if segment.title is not None and held:
        remote = context.list_segments(target).get(target.segment_id)
        if remote is not None:
            check_title(target, remote)
    return target


def find_shared(targets: Sequence[Target]) -> dict[int, DestinationError]:
    """Find the targets, by their position, whose number another segment of a named spec has in the same workspace.

    A spec in which two have one number is refused when it is read; one by its number and one by its title are not.
    """
    places: dict[tuple[str, int], dict[str, None]] = {}
    listed = [
        Target(spec, segment)
        for spec in {id(each.spec): each.spec for each in targets}.values()
        for segment in spec.segments
    ]
    for target in [*listed, *targets]:
        if target.segment_id:
            places.setdefault((target.workspace, target.segment_id), {})[target.where] = None

    shared = {}
    for at, target in enumerate(targets):
        others = [where for where in places.get((target.workspace, target.segment_id), ()) if where != target.where]
        if others:
            shared[at] = DestinationError(
                f"{target.where}: this is segment {target.segment_id}, and so is {others[0]}",
                "one segment takes one query: leave one of the two entries",
                code="title",
            )
    return shared


def find_by_title(
    target: Target, known: Sequence[Listing], remote: Mapping[int, RemoteSegment], warn: Callable[[str], None]
) -> Target:
    """Find the segment that `segment: TITLE` means. `known`: what the state has of the workspace; `remote`: all of it.

    Raises DestinationError where it means none (without `create`), several, a data-driven one, or not the one that the
    state remembers.
    """
    title = target.segment.segment
    assert title is not None
    named = [each for each in remote.values() if each.title == title]
    remembered = find_remembered(target, known)

    if remembered is not None:
        segment = remote.get(remembered.segment_id)
        others = [each.segment_id for each in named if each.segment_id != remembered.segment_id]
        if segment is None:
            raise DestinationError(
                f"{target.where}: {title!r} was segment {remembered.segment_id}, which is not there any more"
                + (f"; segment {others[0]} is called so now" if others else ""),
                f"if that is right, drop what the state knows: reconcile state forget SPEC id:{remembered.segment_id}",
                code="no_such_segment",
            )
        if others and segment.title != title:
            raise DestinationError(
                f"{target.where}: {title!r} was segment {segment.segment_id}, which is called {segment.title!r} now, "
                f"and segment {others[0]} is called {title!r}",
                f"name the one that is meant by its number: `segment_id: {segment.segment_id}` or `segment_id: "
                f"{others[0]}`",
                code="title",
            )
        if segment.title != title:
            now = f"segment {segment.segment_id} is called {segment.title!r} now"
            warn(f"{target.where}: {now}; the spec says {title!r}")
        return _found(target, segment)

    if len(named) > 1:
        numbers = ", ".join(str(each.segment_id) for each in named)
        raise DestinationError(
            f"{target.where}: {len(named)} segments of workspace {target.workspace!r} are called {title!r}: {numbers}",
            "name the one that is meant by its number (`segment_id`), or rename the others at Customer.io",
            code="title",
        )
    if named:
        return _found(target, named[0])
    if target.segment.create and not target.segment.retired:
        return target
    raise DestinationError(
        f"{target.where}: no segment of workspace {target.workspace!r} is called {title!r}",
        "check the title (`reconcile segments SPEC` lists them), or let `create: true` make it",
        code="no_such_segment",
    )


def find_remembered(target: Target, known: Sequence[Listing]) -> Listing | None:
    """Find what the state remembers of a title by which a spec names a segment; its own name is the first to count."""
    found = [each for each in known if each.title == target.segment.segment]
    return min(found, key=lambda each: each.name != target.segment.name, default=None)


def check_title(target: Target, remote: RemoteSegment) -> None:
    """Raise DestinationError where a segment is not called what the spec's `title` says."""
    pinned = target.segment.title
    if pinned is not None and remote.title != pinned:
        raise DestinationError(
            f"{target.where}: segment {remote.segment_id} is called {remote.title!r} at Customer.io, and `title` is "
            f"{pinned!r}",
            "correct segment_id, or title if somebody has renamed the segment",
            code="title",
        )


def find_former_number(
    target: Target, known: Sequence[Listing], spec: SpecIdentity | None, listed: set[int]
) -> Listing | None:
    """Find the other number under which the state knows a name of this spec, if no named spec lists that number."""
    for each in known:
        is_same = each.name == target.segment.name and each.spec is not None and each.spec == spec
        if is_same and each.segment_id not in listed and each.segment_id != target.segment_id:
            return each
    return None


def _found(target: Target, segment: RemoteSegment) -> Target:
    if not segment.manual:
        raise DestinationError(
            f"{target.where}: segment {segment.segment_id} is data-driven; only manual segments can be changed",
            "create a manual segment in Customer.io and put its title here",
            code="not_manual",
        )
    return target.changed(segment_id=segment.segment_id)
