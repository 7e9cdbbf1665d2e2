"""Orphans: segments that hold members and have left their spec. Nothing is ever sent for one."""

from collections.abc import Callable, Sequence

from reconciler.errors import StateError
from reconciler.git import find_work_tree, identify
from reconciler.models.plan import Orphan
from reconciler.models.results import Listing
from reconciler.models.spec import Segment, Spec, SpecIdentity, StateSettings
from reconciler.state.base import Snapshot


def find_orphans(specs: Sequence[Spec], open_state: Callable[[StateSettings], Snapshot]) -> tuple[Orphan, ...]:
    """Find the segments that hold somebody, that no named spec lists, and that have left their spec.

    A segment has left it if that spec is named, or if it is of the same repository as a named one and is not there any
    more. A segment that no apply has named a spec for yet is no orphan. A state that can't be read has none: its
    segments have the error.
    """
    named = {identify(spec.path) for spec in specs}
    trees = [tree for spec in specs if (tree := find_work_tree(spec.path)) is not None]

    def has_left(identity: SpecIdentity) -> bool:
        if identity in named:
            return True
        tops = [tree.top for tree in trees if identity.origin is not None and tree.origin == identity.origin]
        return bool(tops) and not any((top / identity.path).exists() for top in tops)

    listed: dict[str, list[Segment]] = {}
    for spec in specs:
        listed.setdefault(spec.destination.workspace, []).extend(spec.segments)
    orphans: dict[Orphan, None] = {}  # each once, also where two URLs lead to one database
    for state, workspace in dict.fromkeys((spec.state, spec.destination.workspace) for spec in specs):
        try:
            snapshot = open_state(state)
            for each in snapshot.listings(workspace):
                if each.spec is None or any(is_listed(each, segment) for segment in listed[workspace]):
                    continue
                if not has_left(each.spec):
                    continue
                with snapshot.read_segment(workspace, each.segment_id) as stored:
                    counts, id_type = stored.count(), stored.head.id_type
                if counts.stored + counts.unsettled + counts.unmatched > 0:
                    numbers = (counts.stored, counts.unsettled, counts.unmatched)
                    orphan = Orphan(workspace, each.segment_id, id_type, *numbers, each.name, each.title)
                    orphans[orphan] = None
        except StateError:
            continue
    return tuple(orphans)


def is_listed(listing: Listing, segment: Segment) -> bool:
    """Tell whether a segment of a spec is this one of the state: by its number, else by the title that led to it."""
    if segment.segment_id is not None:
        return segment.segment_id == listing.segment_id
    return segment.segment == listing.title or segment.name == listing.name
