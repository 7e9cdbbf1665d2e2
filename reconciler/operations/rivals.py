"""Specs of other jobs that list a segment, too: each job would remove the people that the other one adds."""

import os
from collections.abc import Sequence
from pathlib import Path

from reconciler.errors import SpecError, StateError
from reconciler.git import find_places, find_work_tree, identify, is_there
from reconciler.models.results import Listing
from reconciler.models.spec import Spec, SpecIdentity, StateSettings, Target
from reconciler.operations.context import Context
from reconciler.spec import find_entries


def warn_of_rivals(context: Context, specs: Sequence[Spec], targets: Sequence[Target]) -> None:
    """Warn of each segment that the state knows from a spec that is not named, can be read here and still lists it.

    `specs` are all that were named: their entries are compared with each other (`find_shared`). `targets` are resolved;
    a retired one is refused (`check_retirement`).
    """
    named = {os.path.realpath(spec.path) for spec in specs}
    for (_, workspace, spec), known in _find_known_from_others(context, targets).items():
        trees = {find_work_tree(path) for path in {target.spec.path for target, _ in known}}
        places = find_places(spec, [tree for tree in trees if tree is not None])
        for place in places:
            if not is_there(place) or os.path.realpath(place) in named:
                continue
            short = os.path.relpath(place)
            path = place if short.startswith("..") else Path(short)
            titles = {listing.segment_id: (None, listing.title) for _, listing in known}
            try:
                entries = find_entries(path, os.environ, workspace, titles)
            except SpecError:
                continue  # it lists nothing that could be applied; its own apply says so
            for target, listing in known:
                if entry := entries.get(listing.segment_id):
                    context.warn(
                        f"{target.where}: segment {listing.segment_id} is listed at {entry} too, and was applied from "
                        "there last: in turn each of the two removes the people that the other one adds; leave one of "
                        "the entries"
                    )


def _find_known_from_others(
    context: Context, targets: Sequence[Target]
) -> dict[tuple[StateSettings, str, SpecIdentity], list[tuple[Target, Listing]]]:
    """Find the targets that the state knows from another spec than their own, by state, workspace and that spec."""
    own = {path: identify(path) for path in {target.spec.path for target in targets}}
    listings: dict[tuple[StateSettings, str], dict[int, Listing]] = {}
    found: dict[tuple[StateSettings, str, SpecIdentity], list[tuple[Target, Listing]]] = {}
    for target in targets:
        place = target.spec.state, target.workspace
        if place not in listings:
            try:
                known = context.open_snapshot(target.spec.state).listings(target.workspace)
            except StateError:
                known = ()  # its segments have the error
            listings[place] = {each.segment_id: each for each in known}
        listing = listings[place].get(target.segment_id)
        if listing is None or listing.spec is None or target.segment.retired:
            continue
        if listing.spec != own[target.spec.path]:
            found.setdefault((*place, listing.spec), []).append((target, listing))
    return found
