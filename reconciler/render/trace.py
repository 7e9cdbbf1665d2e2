"""What people read of a trace: when one person entered and left segments, where the person is now, and what is kept."""

from collections import Counter
from collections.abc import Mapping, Sequence

from reconciler.models.batches import Direction
from reconciler.models.history import Reason, Trace, TraceEvent, TraceRow, TraceStatus, shorten
from reconciler.render import sentences
from reconciler.render.json_documents import write_time
from reconciler.render.report import Cell, Column, Line, Report, fill

MOST_NAMED = 10
"""How many segments a sentence names."""

_COLUMNS: Sequence[Column[TraceEvent]] = (
    Column("When", lambda event: Cell((write_time(event.at) or "").replace("T", " "))),
    Column("Change", lambda event: Cell("entered" if event.direction is Direction.ADD else "left")),
    Column("Segment", lambda event: Cell(_name(event.segment, event.segment_id)), flexible=True),
    Column("Reason", lambda event: Cell(event.reason)),
    Column("Run", lambda event: Cell(shorten(event.run_id), "dim"), drop=1),
    Column("Workspace", lambda event: Cell(event.workspace), drop=2, flexible=True),
)

_REASONS: Mapping[Reason, str] = {
    Reason.RESEND: "sent once more, as Customer.io did not know the person before",
    Reason.RETIRED: "the spec retired the segment, and all were removed",
    Reason.UNDO: "an earlier run was undone",
    Reason.REFRESH: "`refresh` read the segment: by then somebody else, or a request of unknown outcome, "
    "had added or removed the person",
    Reason.ADOPTED: "somebody else had added the person, and the query returns them",
    Reason.UNMATCHED: "Customer.io did not know the person, so what was sent before had no effect (left), "
    "or has one by now (entered)",
}

_NOW: Mapping[TraceStatus, str] = {
    TraceStatus.STORED: "Now in",
    TraceStatus.UNSETTLED: "Perhaps in, as the last request has an unknown outcome:",
    TraceStatus.UNMATCHED: "Sent to, and not known to Customer.io when it was read back:",
    TraceStatus.REMOVED: "Removed from",
}


def describe_trace(result: Trace) -> Report:
    """Put a trace into words, for a reader who asks what is known of one person."""
    is_one = len({row.workspace for row in result.segments}) <= 1
    columns = _COLUMNS[:-1] if is_one else _COLUMNS
    places = {(event.workspace, event.segment_id) for event in result.events}
    if result.events:
        changes, segments = sentences.count(len(result.events), "change"), sentences.count(len(places), "segment")
        summary = f"{changes} in {segments}, oldest first."
    else:
        summary = "No change of this id is kept."
    reasons = {event.reason for event in result.events}
    remarks = [(f"{reason}: {sentence}.", "dim", "") for reason, sentence in _REASONS.items() if reason in reasons]
    return Report(
        "trace",
        summary,
        place=next((row.workspace for row in result.segments), "") if is_one else "",
        facts=[*_tell_where(result.segments), *_tell_what_is_kept(result)],
        columns=columns,
        lines=[Line(fill(columns, event)) for event in result.events],
        noun="changes",
        remarks=remarks,
        warnings=result.warnings,
    )


def _tell_where(rows: Sequence[TraceRow]) -> list[str]:
    facts = []
    for status, beginning in _NOW.items():
        if names := [_name(row.name, row.segment_id) for row in rows if row.status is status]:
            more = len(names) - MOST_NAMED
            shown = [*names[:MOST_NAMED], f"{more:,} more"] if more > 0 else names
            facts.append(f"{beginning} {sentences.join(shown)}.")
    unknown = sum(row.status is TraceStatus.UNKNOWN for row in rows)
    if unknown:
        noun = "segment" if unknown == len(rows) else "other segment"
        facts.append(f"Not in {sentences.count(unknown, noun)}, as far as the state knows.")
    return facts


def _tell_what_is_kept(result: Trace) -> list[str]:
    """Say why changes may be missing, and which person to ask for again."""
    facts = []
    if not result.kept:
        facts.append("The spec keeps no changes (state.audit: off): when and why is not known.")
    else:
        facts.append(f"Changes are kept for {' or '.join(result.kept)} (state.audit); what is older is not known.")
        placed = {(event.workspace, event.segment_id) for event in result.events}
        held = [row for row in result.segments if row.status not in (TraceStatus.UNKNOWN, TraceStatus.REMOVED)]
        if any((row.workspace, row.segment_id) not in placed for row in held):
            facts.append(
                "Where the person is without a change, it is older, or nobody knows whether what was sent took effect."
            )
    types = Counter(str(row.id_type) for row in result.segments if row.id_type is not None)
    if len(types) > 1:
        known = sentences.join([f"{name} ({sentences.count(number, 'segment')})" for name, number in types.items()])
        facts.append(f"The segments know people by {known}: ask for each that the person has.")
    elif not result.events:
        facts += [f"All segments know people by {name}: nobody is found by anything else." for name in types]
    return facts


def _name(name: str | None, segment_id: int | None) -> str:
    """`vip_customers (56)`."""
    if segment_id is None:
        return name or ""
    return f"segment {segment_id}" if name is None else f"{name} ({segment_id})"
