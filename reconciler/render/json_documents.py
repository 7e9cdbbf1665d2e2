"""Results as JSON documents of format 1: what other people's jobs read. Fields are only ever added.

Which fields there are, and in which order, is in `json_schema.py`. A number that is not known is null, never 0.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from reconciler import __version__
from reconciler.escaping import escape_json
from reconciler.models.history import History, RunRecord, Trace
from reconciler.models.plan import Examples, Plan, SegmentPlan
from reconciler.models.results import (
    Drift,
    Management,
    Refresh,
    RefreshRow,
    Result,
    Run,
    SegmentDrift,
    SegmentRecord,
    SegmentRun,
    Segments,
    Status,
    StatusRow,
    Validation,
    WorkspaceSegment,
)
from reconciler.render import Options
from reconciler.render.json_schema import (
    DOCUMENTS,
    FORMAT,
    FROM_HISTORY,
    OUTCOME,
    SUMMARIES,
    Document,
    Field,
    name_number,
)

Values = Mapping[str, Any]

_KINDS: Mapping[type, Document] = {
    Plan: Document.PLAN,
    Run: Document.RUN,
    Drift: Document.DRIFT,
    Refresh: Document.REFRESH,
    Status: Document.STATUS,
    History: Document.HISTORY,
    Trace: Document.TRACE,
    Segments: Document.SEGMENTS,
    Validation: Document.VALIDATE,
}


def write(result: Result, options: Options) -> str:
    """Write the document of a result."""
    return write_json(document(result), is_read=options.is_terminal)


def document(result: Result | Validation) -> dict[str, Any]:
    """Give the JSON document of a result as a dictionary."""
    if isinstance(result, RunRecord):
        row = result.row
        left: dict[str, Any]
        if result.document:
            left = json.loads(result.document)
        else:  # one that has not ended has no document: that of the history, and what the state knows of its segments
            known = ("name", "segment_id", "title", "added", "removed", "unsettled")
            parts = [{name: getattr(part, name) for name in known} for part in row.parts]
            left = document(History(datetime.now(UTC), (row,)))
            left |= {"run_id": row.run_id, "workspace": row.workspace, "segments": parts}
        return left | _write_fields(FROM_HISTORY, vars(row) | vars(result))
    if isinstance(result, SegmentRecord):
        fields = {name: write_time(each) if isinstance(each, datetime) else each for name, each in vars(result).items()}
        last = None if result.last is None else _write_fields(OUTCOME, vars(result.last))
        return fields | {"last_run": result.last_run.run_id if result.last_run else None, "last": last}
    kind = _find_kind(result)
    values = vars(result) | {"format_version": FORMAT, "kind": kind, "tool_version": __version__}
    if isinstance(result, Segments):
        workspace = result.workspaces[0] if len(result.workspaces) == 1 else None
        return _write_fields(DOCUMENTS[kind], values | {"workspace": workspace, "summary": count_segments(result)})
    if isinstance(result, Validation):
        numbers = {name: len(getattr(result, name)) for name in ("problems", "warnings")}
        summary = {"specs": result.specs, "segments": result.segments} | numbers
        return _write_fields(DOCUMENTS[kind], values | {"warnings": result.warnings, "summary": summary})
    if not isinstance(result, History | Trace):
        workspaces = {each.target.workspace for each in result.segments}
        values |= {"workspace": workspaces.pop() if len(workspaces) == 1 else None, "summary": summarise(result)}
    return _write_fields(DOCUMENTS[kind], values)


def summarise(result: Plan | Run | Drift | Refresh | Status) -> dict[str, Any]:
    """Count segments by status, and ids by what becomes of them; a sum of numbers that are not all known is null.

    The sums of a plan are of what would be sent.
    """
    if isinstance(result, Status):
        return {"segments": len(result.segments), "orphans": len(result.orphans)}
    statuses, names = SUMMARIES[_find_kind(result)]
    by_status = Counter(str(each.status) for each in result.segments)
    rows = [_list_values(each) for each in result.segments if not isinstance(each, SegmentPlan) or each.has_work]
    sums: dict[str, Any] = {}
    for name in names:
        numbers: list[Any] = [row.get(name) for row in rows]
        sums[name] = None if None in numbers else sum(numbers)
    return {"segments": len(result.segments), **{name_number(each): by_status[each] for each in statuses}, **sums}


def count_segments(result: Segments) -> dict[str, int]:
    """Count the segments of workspaces by what they are."""
    manual, free = (sum(getattr(each, name) for each in result.segments) for name in ("manual", "is_free"))
    orphans = sum(each.status is Management.ORPHAN for each in result.segments)
    return {"segments": len(result.segments), "manual": manual, "free": free, "orphans": orphans}


def members(workspace: str, segment_id: int, ids: Iterable[list[str]]) -> Iterator[str]:
    """Write the stored ids of a segment in pieces, however many there are."""
    head = {"format_version": FORMAT, "kind": "members", "tool_version": __version__}
    opening = write_json(head | {"workspace": workspace, "segment_id": segment_id, "members": []})
    yield opening.removesuffix("]}\n")
    before = ""
    for some in ids:
        yield before + escape_json(", ".join(json.dumps(each, ensure_ascii=False) for each in some))
        before = ", "
    yield "]}\n"


def write_json(document: Values, *, is_read: bool = False) -> str:
    """Write a document as one line, so that no terminal obeys its content; indented where somebody reads it."""
    return escape_json(json.dumps(document, indent=2 if is_read else None, ensure_ascii=False)) + "\n"


def write_time(moment: datetime | None) -> str | None:
    """Write a moment as UTC, to the second: `2026-11-21T02:00:00Z`."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _find_kind(result: Result | Validation) -> Document:
    return next(kind for known, kind in _KINDS.items() if isinstance(result, known))


def _write_fields(fields: Iterable[Field], values: Values) -> dict[str, Any]:
    """Write the values in the order of their fields; null where there is no value, except for optional fields."""
    written: dict[str, Any] = {}
    for field in fields:
        value = values.get(field.name)
        if type(value) in (int, str, bool):
            written[field.name] = value
        elif field.many and value is not None:
            written[field.name] = [_write_value(field, each) for each in value]
        elif value is not None:
            written[field.name] = _write_value(field, value)
        elif not field.optional or field.name in values:
            written[field.name] = None
    return written


def _write_value(field: Field, value: Any) -> Any:
    if field.fields:
        return _write_fields(field.fields, value if isinstance(value, dict) else _list_values(value))
    if isinstance(value, datetime):
        return write_time(value)
    if isinstance(value, float):
        return round(value, 3)
    return value.value if isinstance(value, Enum) else value


def _list_values(value: object) -> Values:
    """Give the values of an object by the names of their fields. Tests hold which names come from two of its parts."""
    match value:
        case SegmentPlan():
            counts, remote = value.counts, value.remote
            values = vars(value) | {"guards": value.verdicts, "used_by": remote.used_by, "uses": remote.used_by}
            values |= {"compare": value.compare}
            values |= {"title": remote.title, "remote_members": remote.members}
            if counts is None:
                values["engine"] = None
            else:
                values |= vars(counts) | {"requests": value.requests, "first_fill": value.first_fill}
            if value.examples == Examples():
                del values["examples"]
        case SegmentRun():
            # `requests`, `unsettled` and `unmatched` are then those of the run.
            return {**_list_values(value.plan), **vars(value), **vars(value.tally), "unmatched": value.unmatched_after}
        case SegmentDrift():
            values = vars(value) | (vars(value.counts) if value.counts else {})
        case RefreshRow():
            values = vars(value)
        case WorkspaceSegment():
            return vars(value) | {"type": "manual" if value.manual else "data_driven"}
        case StatusRow():
            values = vars(value) | {"lock_holder": value.holder}
        case _:
            return vars(value)
    target, segment = value.target, value.target.segment
    values = {**values, "name": segment.name, "workspace": target.workspace, "spec": str(target.spec.path)}
    values |= {name: getattr(segment, name) for name in ("tags", "retired", "paused", "create")}
    values |= {"description": segment.description or None, "owner": segment.owner or None}
    return values | {"segment_id": segment.segment_id, "id_type": segment.id_type}
