"""Orphans: segments that hold members and have left their spec. Nothing is ever sent for one."""

from collections.abc import Callable, Sequence

from reconciler.errors import StateError
from reconciler.git import find_places, find_work_tree, identify, is_there
from reconciler.models.plan import Orphan
from reconciler.models.results import Listing
from reconciler.models.spec import Spec, SpecIdentity, StateSettings
from reconciler.state.base import Snapshot


def find_orphans(specs: Sequence[Spec], open_state: Callable[[StateSettings], Snapshot]) -> tuple[Orphan, ...]:
    """Find the segments that hold somebody, that no named spec lists, and that have left their spec.

    A segment has left it if that spec is named, or if it is of the same repository as a named one and is not there any
    more. A segment that no apply has named a spec for yet is no orphan. A state that can't be read has none: its
    segments have the error.
    """
    has_left = find_departed(specs)
    orphans: dict[Orphan, None] = {}  # each once, also where two URLs lead to one database
    for state, workspace in dict.fromkeys((spec.state, spec.destination.workspace) for spec in specs):
        try:
            snapshot = open_state(state)
            known = snapshot.listings(workspace)
            listed = _list_named([spec for spec in specs if spec.destination.workspace == workspace], known)
            for each in known:
                if each.spec is None or not has_left(each.spec):
                    continue
                if not listed.isdisjoint((each.segment_id, each.title, (each.spec, each.name))):
                    continue
                with snapshot.read_segment(workspace, each.segment_id) as stored:
                    counts, id_type = stored.count(), stored.head.id_type
                if counts.held > 0:
                    numbers = (counts.stored, counts.unsettled, counts.unmatched)
                    orphan = Orphan(workspace, each.segment_id, id_type, *numbers, each.name, each.title)
                    orphans[orphan] = None
        except StateError:
            continue
    return tuple(orphans)


def find_departed(specs: Sequence[Spec]) -> Callable[[SpecIdentity], bool]:
    """Give the function that tells of a spec whether a segment that no named spec lists has left it."""
    named = {identify(spec.path) for spec in specs}
    trees = [tree for spec in specs if (tree := find_work_tree(spec.path)) is not None]

    def has_left(identity: SpecIdentity) -> bool:
        if identity in named:
            return True
        places = [] if identity.origin is None else find_places(identity, trees)
        return bool(places) and not any(map(is_there, places))

    return has_left


def _list_named(specs: Sequence[Spec], known: Sequence[Listing]) -> set[object]:
    """List the numbers and titles of all segments of some specs.

    A title that the state does not know may be a new one of a segment that it knows: then its spec and name are listed.
    """
    titles = {each.title for each in known}
    listed: set[object] = set()
    for spec in specs:
        for segment in spec.segments:
            listed.add(segment.segment if segment.segment_id is None else segment.segment_id)
            if segment.segment_id is None and segment.segment not in titles:
                listed.add((identify(spec.path), segment.name))
    return listed
