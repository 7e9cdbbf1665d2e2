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
    # By lineage, as two states may have a workspace of one name, and two URLs may lead to one state.
    listed: set[tuple[str, str]] = set()
    left: dict[tuple[str, str], tuple[Snapshot, Listing]] = {}
    for state, workspace in dict.fromkeys((spec.state, spec.destination.workspace) for spec in specs):
        try:
            snapshot = open_state(state)
            known = snapshot.listings(workspace)
        except StateError:
            continue
        place = (state, workspace)
        named = _list_named([spec for spec in specs if (spec.state, spec.destination.workspace) == place], known)
        for each in known:
            if not named.isdisjoint((each.segment_id, each.title, (each.spec, each.name))):
                listed.add((workspace, each.lineage))
            elif each.spec is not None and has_left(each.spec):
                left[workspace, each.lineage] = snapshot, each

    orphans = []
    for (workspace, lineage), (snapshot, each) in left.items():
        if (workspace, lineage) in listed:
            continue
        try:
            with snapshot.read_segment(workspace, each.segment_id) as stored:
                counts, id_type = stored.count(), stored.head.id_type
        except StateError:
            continue
        if counts.held > 0:
            numbers = (counts.stored, counts.unsettled, counts.unmatched)
            orphans.append(Orphan(workspace, each.segment_id, id_type, *numbers, each.name, each.title))
    return tuple(orphans)


def find_departed(specs: Sequence[Spec]) -> Callable[[SpecIdentity], bool]:
    """Give the function that tells of a spec whether a segment that no named spec lists has left it."""
    named = {identify(spec.path) for spec in specs}
    folders = {spec.path.resolve().parent: spec.path for spec in specs}  # most specs share one
    trees = {tree for path in folders.values() if (tree := find_work_tree(path)) is not None}

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
        listed.update(each.title_key if each.segment_id is None else each.segment_id for each in spec.segments)
        if renamed := [each for each in spec.segments if each.segment_id is None and each.title_key not in titles]:
            identity = identify(spec.path)
            listed.update((identity, each.name) for each in renamed)
    return listed
