"""Members of segments that stand at a source: moved there and back, dropped, listed. Nothing is sent."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from reconciler.errors import StateError, UsageError
from reconciler.models.members import MembersAtSource
from reconciler.models.spec import MembersAt, Spec, Target
from reconciler.models.urls import DatabaseUrl
from reconciler.operations.context import Context
from reconciler.operations.load import Loaded, list_targets
from reconciler.operations.titles import recall
from reconciler.sources import open_members, open_source
from reconciler.state import moves
from reconciler.state.lock import SegmentRef


@dataclass(frozen=True)
class Move:
    """One segment of a move."""

    target: Target
    moved: int | None
    """How many members; None: they are there already, or the state knows nothing of the segment."""


def move(loaded: Loaded, to: MembersAt, *, warn: Callable[[str], None], lock_timeout: float = 0.0) -> Iterator[Move]:
    """Move the members of each segment of a spec to a source or into the state, one after another.

    Raises UsageError for a source that can't hold them; StateError, SourceError, LockHeld for a segment: those before
    it are moved, and the same command goes on.
    """
    targets = [target for target in loaded.targets if target.segment.source]
    for target in targets:
        url = DatabaseUrl.parse(target.spec.sources[target.segment.source].url.reveal())
        if not url.holds_members:
            raise UsageError(
                f"a source of {url.scheme} holds no members of a state ({target.segment.source})", "keep them"
            )
    with Context(targets) as context:
        for target in targets:
            known = recall(target, context.snapshot(target).listings(target.workspace))
            if known.segment.segment_id is None:
                yield Move(known, None)
                continue
            source = open_members(target.segment.source, context.source(target))
            segment = SegmentRef(known.workspace, known.segment_id, known.segment.name)
            settings = target.spec.state
            yield Move(known, moves.move_members(settings, segment, source, to, warn=warn, lock_timeout=lock_timeout))


@contextmanager
def open_each(load: Callable[[], Spec]) -> Iterator[Callable[[int], MembersAtSource]]:
    """Give what finds the tables of members by a segment's number, for a spec that is loaded when it is needed.

    It raises StateError where nothing says which tables these are.
    """
    with ExitStack() as stack:
        opened: dict[str, MembersAtSource] = {}

        def find(segment_id: int) -> MembersAtSource:
            spec = load()
            name = _find_source(spec, segment_id)
            if name not in opened:
                settings = spec.sources[name]
                source = open_source(name, settings.url, settings.options)
                stack.enter_context(source.keep())
                opened[name] = open_members(name, source)
            return opened[name]

        yield find


def _find_source(spec: Spec, segment_id: int) -> str:
    found = {each.segment.source for each in list_targets([spec]) if each.segment.segment_id in (segment_id, None)}
    names = found & spec.sources.keys() or spec.sources.keys()
    if len(names) != 1 or spec.unset:
        lacks = f"the environment lacks {', '.join(spec.unset)}" if spec.unset else "the spec has several sources"
        raise StateError(
            f"the members of segment {segment_id} stand at a source, and {lacks}",
            "name a spec that lists the segment, with all that its source needs",
        )
    (name,) = names
    return name
