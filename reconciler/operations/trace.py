"""`trace`: when and why one id entered and left each segment, and what the state says of it now. Changes nothing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from reconciler.errors import UsageError
from reconciler.models.batches import Direction
from reconciler.models.fields import Secret
from reconciler.models.history import AuditEvent, TraceEvent, TraceRow, TraceStatus
from reconciler.models.id_status import UNSETTLED, IdStatus
from reconciler.models.ids import can_be_stored
from reconciler.models.spec import Spec, Target
from reconciler.operations.load import Loaded, refuse_plan_file
from reconciler.operations.results import TraceResult
from reconciler.operations.titles import recall
from reconciler.state import open_snapshot, person


def trace(loaded: Loaded, id: str) -> TraceResult:
    """Find when and why one id entered and left each selected segment, oldest first, and where it is now.

    Without a selection, segments that the state knows and no named spec lists are looked through, too. The id is not in
    the result. Raises UsageError for a text that is no id, StateError.
    """
    refuse_plan_file(loaded, "trace")
    check_id(id)
    is_whole = not loaded.is_chosen
    events: list[TraceEvent] = []
    rows: list[TraceRow] = []
    warnings: list[str] = []
    places: dict[tuple[Secret, str], list[Spec]] = {}
    for spec in loaded.specs:
        places.setdefault((spec.state.url, spec.destination.workspace), []).append(spec)
    for (url, workspace), specs in places.items():
        found = person.read(specs[0].state, workspace, id)
        listings = open_snapshot(specs[0].state).listings(workspace)
        targets = [
            recall(each, listings)
            for each in loaded.targets
            if (each.spec.state.url, each.workspace) == (url, workspace)
        ]
        listed = {each.segment_id: each for each in targets}
        names = {each.segment_id: each.name for each in found.presences} | found.forgotten
        names |= {number: target.segment.name for number, target in listed.items()}

        chosen = [event for event in found.events if is_whole or event.segment_id in listed]
        kept = [event for event in chosen if _is_kept(event, listed, specs)]
        if len(kept) < len(chosen):
            warnings.append(
                f"the state still has changes of this id in workspace {workspace} from before `state.audit` was off; "
                "the next run that writes to it deletes them"
            )
        for event in kept:
            segment = names.get(event.segment_id), event.segment_id
            at = datetime.fromtimestamp(event.at, UTC)
            events.append(TraceEvent(workspace, *segment, event.run_id, at, event.direction, event.reason))
        elsewhere = {each.segment_id for each in found.presences if each.is_elsewhere} - {e.segment_id for e in kept}
        if unknown := sorted(elsewhere if is_whole else elsewhere & listed.keys()):
            warnings.append(
                f"workspace {workspace}: whether the id is in segment {', '.join(map(str, unknown))} is not known, as "
                "no change of it is kept and the members stand at the source, which `trace` does not ask; "
                "`reconcile state show SPEC NAME --members` reads them"
            )
        rows += _list_rows(workspace, targets, found, kept, names, is_whole=is_whole)
    settings = dict.fromkeys(spec.state.audit for spec in loaded.specs)
    periods = tuple(str(each) for each in settings if each is not None)
    events.sort(key=lambda event: event.at)
    return TraceResult(datetime.now(UTC), tuple(events), tuple(rows), periods, tuple(warnings))


def check_id(id: str) -> None:
    """Raise UsageError, without the text, for what no state can hold as an id."""
    if not can_be_stored(id):
        problem = (
            "holds what no id can hold: a line break, a control character or half a character" if id else "is empty"
        )
        raise UsageError(f"the ID {problem}", "give one id, as the segment's query returns it")


def _is_kept(event: AuditEvent, listed: Mapping[int, Target], specs: Sequence[Spec]) -> bool:
    """Tell whether the spec of an event's segment says to keep it; of one that none lists any spec of the workspace."""
    target = listed.get(event.segment_id)
    return any(spec.state.audit is not None for spec in (specs if target is None else [target.spec]))


def _list_rows(
    workspace: str,
    targets: Sequence[Target],
    found: person.Person,
    events: Sequence[AuditEvent],
    names: Mapping[int, str | None],
    *,
    is_whole: bool,
) -> list[TraceRow]:
    """List the targets, and then, if all are selected, the other segments that have met the id."""
    known = {each.segment_id: each for each in found.presences}
    last = {event.segment_id: event.direction for event in events}
    rows = []
    for target in targets:
        there = known.get(target.segment_id)
        id_type = target.segment.id_type if there is None else there.id_type
        status = _judge(there, last.get(target.segment_id))
        rows.append(TraceRow(workspace, target.segment.name, target.segment.segment_id, id_type, status))
    others = {number for number, each in known.items() if each.status} | last.keys() if is_whole else set[int]()
    for number in sorted(others - {target.segment_id for target in targets}):
        there = known.get(number)
        id_type = None if there is None else there.id_type
        rows.append(TraceRow(workspace, names.get(number), number, id_type, _judge(there, last.get(number))))
    return rows


def _judge(there: person.Presence | None, last: Direction | None) -> TraceStatus:
    """Name the status of an id. A tombstone goes after 30 days; then the last change, if it is kept, says the same."""
    status = IdStatus(0) if there is None else there.status
    if status & UNSETTLED:
        return TraceStatus.UNSETTLED
    if status & IdStatus.UNMATCHED:
        return TraceStatus.UNMATCHED
    is_last = there is not None and there.is_elsewhere and last is Direction.ADD
    if status & IdStatus.STORED or is_last:
        return TraceStatus.STORED
    is_removed = bool(status & IdStatus.REMOVED) or last is Direction.REMOVE
    return TraceStatus.REMOVED if is_removed else TraceStatus.UNKNOWN
